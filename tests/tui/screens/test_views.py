"""The full screens over the channel table: zoom, detail, compare, spectrum."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from textual.geometry import Region
from textual.pilot import Pilot
from textual.strip import Strip

from streamscope.core.images.scaling import SIZES, patch_at_sizes, scaled_up
from streamscope.core.model.recipe import Recipe, SetKey
from streamscope.core.store import JobSpec, JobState, Judgement, Store, create_job
from streamscope.core.store.jobs.events import Report
from streamscope.core.store.scans.photographs import patches_to_read, stored_photographs
from streamscope.tui.app.app import StreamscopeApp
from streamscope.tui.data.channel_facts import (
    CURVE_STYLES,
    Facts,
    FactsReader,
    OwnCurves,
    curves_text,
    patches_text,
)
from streamscope.tui.data.pictures import PictureLibrary, Subject, crop, mosaic
from streamscope.tui.screens.channel_view import ChannelView, ZoomScreen
from streamscope.tui.screens.compare import CompareScreen
from streamscope.tui.screens.detail import DetailScreen
from streamscope.tui.screens.spectrum import SpectrumScreen
from streamscope.tui.terminal.encoding import encode
from streamscope.tui.widgets.picture import PictureBox
from streamscope.tui.widgets.preview import Preview
from tests.support.app_driver import (
    boxes,
    channels_screen,
    drawn,
    opened,
    options,
    said,
    screen_text,
    small_store,
    status_left,
    until,
)
from tests.support.app_store import commit_fzs, made_up_image, make_info
from tests.support.optional import present
from tests.support.photographs import commit_made_up
from tests.support.scans import write_scan

INFO = make_info()


async def show(pilot: Pilot[None], app: StreamscopeApp, *keys: str) -> None:
    await pilot.press(*keys)
    await until(pilot, drawn(app))


def another_seed(folder: Path, seed: int, block: str = "2.0") -> None:
    fzset = Store(folder / "cache").set(INFO, SetKey(Recipe(steps=2560), seed), create=True)
    commit_fzs(fzset, INFO.source(block, "block"), range(8))


# -- where pictures come from ------------------------------------------------------------------------------------------


def library(folder: Path) -> PictureLibrary:
    return PictureLibrary(folder / "cache", INFO, SetKey(Recipe(steps=2560)))


def test_the_scaled_fz_is_cropped_to_what_the_tensor_that_reads_it_sees(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    found = library(tmp_path).find(Subject("scaled", ("2.1", 3), "in"))
    assert found.load is not None
    whole = scaled_up(made_up_image("2.0.out30", INFO.input_size))
    assert found.load().tolist() == crop(whole, INFO.fields["2.1.block"]).tolist()
    assert found.caption == "S(FZ(I)) 3"


def test_other_seeds_are_one_picture_of_all_of_them_side_by_side(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    assert library(tmp_path).find(Subject("seeds", ("2.0", 1), "block")).message == "no other seed"
    for seed in (1, 2):
        another_seed(tmp_path, seed)
    found = library(tmp_path).find(Subject("seeds", ("2.0", 1), "block", whole=True))
    assert found.caption == "FZ(B) 1 seed 1 2"
    assert found.load is not None
    image = made_up_image("2.0.block10", INFO.input_size)
    assert found.load().tolist() == mosaic([image, image], 2).tolist()


def test_a_mosaic_holds_its_images_row_by_row_on_grey() -> None:
    images = [np.full((4, 4, 3), value, dtype=np.uint8) for value in (10, 20, 30)]
    made = mosaic(images, 9)
    assert made.shape == (16, 16, 3)
    assert [int(made[1, x, 0]) for x in (1, 7, 13)] == [10, 20, 30]
    assert int(made[7, 7, 0]) == 40


def test_what_is_not_there_says_what_is_missing(tmp_path: Path) -> None:
    small_store(tmp_path / "cache", ("1.1",))
    found = library(tmp_path)
    assert found.find(Subject("fzs", ("2.1", 0), "in")).message == "not computed"
    assert found.find(Subject("channel", ("1.1", 0), "in")).message == "not computed"
    for kind in ("meis", "patches"):
        assert found.find(Subject(kind, ("1.1", 0), "in")).message == "no scan of images"


def test_patches_are_the_best_places_of_photographs_a_row_each_small_to_large(tmp_path: Path) -> None:
    store = small_store(tmp_path / "cache")
    scan = write_scan(store, INFO, tmp_path / "images")
    rows, centres = (part[0, 1] for part in vars(present(patches_to_read(scan, "2.1", [4]))).values())
    area = INFO.field_of(INFO.source("2.1", "block"))
    for whole, window in ((False, (area.start, area.stop)), (True, (0, INFO.input_size))):
        found = library(tmp_path).find(Subject("patches", ("2.1", 4), "block", whole=whole))
        assert found.caption == "patches(B) 4"
        expected = []
        for row, (y, x) in list(zip(rows.tolist(), centres.tolist(), strict=True))[:5]:
            if row >= 0:
                expected += patch_at_sizes(scan.image(row), (y, x), area.centre, window, SIZES)
        assert len(expected) == 25
        assert present(found.load)().tolist() == mosaic(expected, 25).tolist()


def test_patches_say_what_is_in_their_way(tmp_path: Path) -> None:
    store = small_store(tmp_path / "cache")
    scan = write_scan(store, INFO, tmp_path / "images")
    subject = Subject("patches", ("2.1", 4), "block")
    old = replace(INFO, fields={name: replace(area, middle=None) for name, area in INFO.fields.items()})
    assert PictureLibrary(tmp_path / "cache", old, SetKey(Recipe(steps=2560))).find(subject).message == (
        "open the app again"
    )
    shutil.rmtree(scan.path / "patches")
    assert library(tmp_path).find(subject).message == "scan again"


# -- the preview -------------------------------------------------------------------------------------------------------


async def test_one_key_goes_through_all_kinds_of_pictures_and_back(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    another_seed(tmp_path, 1)
    async with opened(options(tmp_path, seed=0)) as (app, pilot):
        channels_screen(app).table.move_to(("2.0", 3))
        await until(pilot, lambda: boxes(app)[1].caption == "FZ(B) 2.0.block 3")
        seen = []
        for _ in range(7):
            await until(pilot, lambda: all(box.message != "…" and box.caption for box in boxes(app)))
            seen.append(boxes(app)[1].caption)
            await pilot.press("x")
        assert seen == [
            "FZ(B) 2.0.block 3",
            "S⁻(FZ(B)) 3",
            "MEIs(B) 3",
            "patches(B) 3",
            "channel FZ(B) 3",
            "FZ(B) 3 seed 1",
            "FZ(B) 2.0.block 3",
        ]


async def test_neighbours_are_drawn_before_anybody_asks_and_then_shown_at_once(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path)) as (app, pilot):
        screen = channels_screen(app)
        await until(pilot, drawn(app))
        box = boxes(app)[0]
        ahead = box.request_for(Subject("fzs", ("1.1", 1), "in"))
        assert ahead is not None
        await until(pilot, lambda: app.painter.ready(ahead) is not None)
        app.painter.refresh()
        await until(pilot, lambda: app.painter.ready(ahead) is not None)
        screen.table.action_move(1)
        screen._show_channel()
        assert box.caption == "FZ(I) 1.0.out 1"
        assert box.picture is not None


async def test_a_channel_far_away_shows_a_placeholder_until_its_pictures_are_drawn(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path)) as (app, pilot):
        screen = channels_screen(app)
        await until(pilot, drawn(app))
        screen.table.move_to(("2.1", 5))
        screen._show_channel()
        assert [(box.picture, box.message) for box in boxes(app)] == [(None, "…")] * 3
        await until(pilot, lambda: all(box.picture is not None for box in boxes(app)))


# -- zoom --------------------------------------------------------------------------------------------------------------


async def test_zoom_shows_the_pictures_as_large_as_the_terminal_and_follows_the_cursor(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path), size=(120, 40)) as (app, pilot):
        await show(pilot, app, "p")
        assert isinstance(app.screen, ZoomScreen)
        assert [box.picture.width for box in boxes(app) if box.picture] == [38] * 3
        await show(pilot, app, "2")
        (box,) = boxes(app)
        assert box.picture is not None
        assert box.picture.height >= 34
        await pilot.press("j")
        await until(pilot, lambda: box.caption == "FZ(B) 1.1.block 1" and box.picture is not None)
        await pilot.press("escape")
        assert channels_screen(app).table.key == ("1.1", 1)
        await until(pilot, lambda: boxes(app)[0].caption == "FZ(I) 1.0.out 1")


# -- judging in every view --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("opens", [["enter"], ["p"], ["space", "j", "space", "equals_sign"]])
async def test_every_view_judges_with_the_keys_of_the_table(tmp_path: Path, opens: list[str]) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path)) as (app, pilot):
        await show(pilot, app, "j", *opens)
        view, here, chosen = app.screen, ("1.1", 1), len(channels_screen(app).table.chosen)
        assert isinstance(view, ChannelView)

        async def said(expected: Judgement) -> None:
            await until(pilot, lambda: app.screen is view and app.judgements.get(here, Judgement()) == expected)

        await pilot.press("u")
        await said(Judgement("unsure"))
        await pilot.press("e", *"odd", "enter")
        await said(Judgement("unsure", note="odd"))
        await until(pilot, lambda: "note kept" in screen_text(app))
        await pilot.press("t", *"edge", "enter")
        await said(Judgement("unsure", ("edge",), "odd"))
        await pilot.press("z", "z")
        await said(Judgement("unsure"))
        await pilot.press("Z", "ctrl+r")
        await said(Judgement("unsure", ("edge",), "odd"))
        await pilot.press("c")
        await said(Judgement("", ("edge",), "odd"))
        assert len(app.judgements) == 1
        assert len(channels_screen(app).table.chosen) == chosen


async def test_auto_advance_is_turned_on_in_a_view_and_holds_in_the_table_too(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path)) as (app, pilot):
        await show(pilot, app, "p", "a")
        await until(pilot, lambda: "after a mark or space: the next channel" in screen_text(app))
        await pilot.press("y", "n", "escape", "u")
        await until(pilot, lambda: len(app.judgements) == 3)
        assert channels_screen(app).table.key == ("1.1", 3)


async def test_more_steps_are_asked_for_all_that_are_compared(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path), size=(120, 40)) as (app, pilot):
        await show(pilot, app, *["space", "j"] * 3, "equals_sign", "d")
        await pilot.press("plus")
        await until(pilot, lambda: said(app, r"6 of 6 FZs are missing: .*; a new set: paper 5120 seed 0"))


# -- detail ------------------------------------------------------------------------------------------------------------


async def test_the_detail_screen_shows_pictures_figures_and_how_the_fzs_grew(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path), size=(160, 50)) as (app, pilot):
        channels_screen(app).table.move_to(("2.1", 4))
        await show(pilot, app, "enter")
        assert isinstance(app.screen, DetailScreen)
        await until(pilot, lambda: "no tuning curves yet" in screen_text(app))
        text = screen_text(app)
        frame = channels_screen(app).frame
        assert frame is not None
        row = frame.rows([frame.row_of("2.1", 4) or 0])[0]
        for name in ("in_on_in", "in_on_block", "in_on_out", "block_on_in", "out_on_out", "mix_ratio", "bn_weight"):
            assert f"{row[name]:.2f}" in text
        for said in ("FZ(I) 2.0.out 4", "S(FZ(I)) 4", "no images scanned yet; M scans", "FZ(B) ▁", "one seed stored"):
            assert said in text
        await show(pilot, app, "j")
        await until(pilot, lambda: "FZ(I) 2.0.out 5" in screen_text(app))
        await show(pilot, app, "y")
        await until(pilot, lambda: app.judgement(("2.1", 5)).mark == "keep" and "✓ keep" in screen_text(app))
        await pilot.press("escape")
        assert channels_screen(app).table.key == ("2.1", 5)


async def test_the_detail_screen_shows_what_photographs_say_beside_its_nulls(tmp_path: Path) -> None:
    store = small_store(tmp_path / "cache")
    scan = write_scan(store, INFO, tmp_path / "images")
    commit_made_up(scan, "2.1", range(8))
    async with opened(options(tmp_path), size=(200, 90)) as (app, pilot):
        channels_screen(app).table.move_to(("2.1", 4))
        await show(pilot, app, "enter", "x", "x", "x")
        await until(pilot, lambda: "patches(O) of " in screen_text(app))
        text = screen_text(app)
        row = present(channels_screen(app).frame).rows([present(present(channels_screen(app).frame).row_of("2.1", 4))])[
            0
        ]
        assert row["photo_invariant"] is True
        assert f"in photographs  ✓ both ways  ✓ beyond blur  n {row['photo_images']} images" in text
        for name, tensor, preference in (
            ("B wants I's larger ", "block", "photo_block_larger"),
            ("I wants B's smaller", "in", "photo_in_smaller"),
        ):
            numbers = f"{row[preference]:>+8.2f}{row[f'photo_{tensor}_low']:>+10.2f}"
            nulls = f"{100 * float(str(row[f'photo_pairs_{tensor}'])):>8.0f}%{row[f'photo_p_{tensor}']:>6.3f}"
            assert f"{name}{numbers}{nulls}{row[f'photo_mates_{tensor}']:>7}" in text
        assert "patches(I) 4" in text
        images = present(stored_photographs(scan, "2.1")).readings.images[4].tolist()
        for letter, count in zip("IBO", images, strict=True):
            assert f"patches({letter}) of {count} photographs, over scale" in text
        # Of another block nothing was read.
        channels_screen(app).table.move_to(("2.0", 1))
        assert isinstance(app.screen, DetailScreen)
        app.screen.show()
        await until(pilot, lambda: "not measured in photographs yet; P measures" in screen_text(app))
        assert "in photographs  " not in screen_text(app)


def test_curves_on_patches_are_means_and_those_of_too_few_images_are_left_out(tmp_path: Path) -> None:
    store = small_store(tmp_path / "cache")
    scan = write_scan(store, INFO, tmp_path / "images", count=4)
    reader = FactsReader(tmp_path / "cache", INFO, SetKey(Recipe(steps=2560)), None)
    assert reader.read(("2.1", 4), 0).unread_scan == scan.source
    commit_made_up(scan, "2.1", range(8))
    assert reader.read(("2.1", 4), 0).by_patch == {}
    scan = write_scan(store, INFO, tmp_path / "more", count=24)
    commit_made_up(scan, "2.1", range(8))
    facts = reader.read(("2.1", 4), 0)
    readings = present(stored_photographs(scan, "2.1")).readings
    own = facts.by_patch["block"]
    assert own.images == readings.images[4, 1]
    assert own.values["in", "block"] == pytest.approx(np.nanmean(readings.curves[4, 1, :, :, 0], axis=0), abs=1e-5)
    shutil.rmtree(scan.path / "photographs")
    shutil.rmtree(scan.path / "patches")
    lines = patches_text(reader.read(("2.1", 4), 0), 60, 6)
    assert lines[0].plain.endswith("is of an earlier release and has no patches; scan scans it again")


def test_tuning_curves_are_plotted_with_their_figures() -> None:
    scales = 2.0 ** np.linspace(-1, 1, 17)
    flat, spike = np.full(17, 4.0, dtype=np.float32), np.zeros(17, dtype=np.float32)
    spike[8] = 4.0
    values = {("in", "in"): flat, ("block", "in"): spike, ("out", "in"): flat}
    text = curves_text(Facts(("2.1", 0), by_fz=OwnCurves(scales, values, 1)), 60, 6)
    plain = "\n".join(line.plain for line in text)
    assert plain.startswith("FZ(I) over scale")
    assert "I invariance 1.00  half-width 2.00 oct" in plain
    assert "B invariance 0.06  half-width 0.13 oct" in plain
    assert CURVE_STYLES["block"] in {span.style for line in text[1:7] for span in line.spans}


# -- compare -----------------------------------------------------------------------------------------------------------


async def test_chosen_channels_stand_side_by_side_and_take_marks(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path)) as (app, pilot):
        await show(pilot, app, "space", "j", "space", "j", "space", "j", "equals_sign")
        assert isinstance(app.screen, CompareScreen)
        assert app.screen.keys == [("1.1", 0), ("1.1", 1), ("1.1", 2)]
        frame = channels_screen(app).frame
        assert frame is not None
        for row in frame.rows([frame.row_of("1.1", c) or 0 for c in range(3)]):
            assert f"{row['mix_ratio']:.2f}" in screen_text(app)
        await pilot.press("l", "n")
        await until(pilot, lambda: app.judgement(("1.1", 1)).mark == "reject")
        assert app.judgement(("1.1", 0)).mark == ""
        await show(pilot, app, "d")
        assert app.screen.keys == [("1.1", 0), ("1.1", 2)]
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is channels_screen(app))


async def test_the_unsure_ones_are_compared_when_none_is_chosen_and_more_than_six_in_turns(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path)) as (app, pilot):
        await pilot.press("equals_sign")
        assert "choose two channels or more" in status_left(app)
        keys = [("2.0", c) for c in range(8)]
        channels_screen(app).post_message(channels_screen(app).MarkGiven(keys, "unsure"))
        await until(pilot, lambda: app.judgement(("2.0", 7)).mark == "unsure")
        await show(pilot, app, "equals_sign")
        screen = app.screen
        assert isinstance(screen, CompareScreen)
        assert screen.shown == keys[:6]
        assert len(boxes(app)) % 6 == 0
        await show(pilot, app, "right_square_bracket")
        assert screen.shown == keys[6:]


@pytest.mark.parametrize("size", [(80, 24), (200, 60)])
async def test_two_to_six_channels_fit_side_by_side(tmp_path: Path, size: tuple[int, int]) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path), size=size) as (app, pilot):
        await pilot.press(*["space", "j"] * 6)
        await show(pilot, app, "equals_sign")
        assert all(box.picture is not None for box in boxes(app))
        text = screen_text(app)
        assert all(f"1.1 · {channel}" in text for channel in range(6))
        assert all(label in text for label in ("update", "SM", "SI"))


# -- spectrum ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(80, 24), (200, 60)])
async def test_the_spectrum_shows_every_computed_block_with_its_shares(tmp_path: Path, size: tuple[int, int]) -> None:
    small_store(tmp_path / "cache", ("1.1", "2.0"))
    async with opened(options(tmp_path), size=size) as (app, pilot):
        await pilot.press("H")
        assert isinstance(app.screen, SpectrumScreen)
        await until(pilot, lambda: "of 6 computed" in screen_text(app))
        frame = channels_screen(app).frame
        assert frame is not None
        invariant = int((frame["scale_invariant"][frame["block"] == "2.0"] == 1).sum())
        text = screen_text(app)
        assert "6 of 6 computed" in text
        assert "8 of 8 computed" in text
        assert f"{invariant}/8 " in text
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is channels_screen(app))


async def test_a_view_that_is_open_shows_what_is_computed_meanwhile(tmp_path: Path) -> None:
    small_store(tmp_path / "cache", ("1.1",))
    async with opened(options(tmp_path)) as (app, pilot):
        channels_screen(app).table.move_to(("2.0", 1))
        await show(pilot, app, "enter")
        assert boxes(app)[1].message == "not computed"
        fzset = Store(tmp_path / "cache").choose_set(INFO)
        assert fzset is not None
        commit_fzs(fzset, INFO.source("2.0", "block"), range(8))
        await until(pilot, lambda: boxes(app)[1].picture is not None)
        expected = crop(made_up_image("2.0.block10", INFO.input_size), INFO.fields["2.0.block"])
        picture = boxes(app)[1].picture
        assert picture is not None
        assert picture.lines == encode(expected, (picture.width, picture.height), app.graphics).lines


async def test_pictures_below_an_open_view_are_not_drawn(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path)) as (app, pilot):
        await show(pilot, app, "p")
        below = channels_screen(app).query_one(Preview).query_one("#fz-in", PictureBox)
        await show(pilot, app, "j")
        assert below.caption == "FZ(I) 1.0.out 0"
        assert replace(present(below.subject), key=("1.1", 0)) == below.subject


@pytest.mark.parametrize("opens", [[], ["p"], ["enter"], ["space", "j", "space", "equals_sign"]])
async def test_no_picture_is_sent_again_when_a_job_moves_on_or_something_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opens: list[str]
) -> None:
    small_store(tmp_path / "cache")
    sent: list[str | None] = []
    render_lines = PictureBox.render_lines

    def counted(box: PictureBox, crop: Region) -> list[Strip]:
        sent.append(box.id)
        return render_lines(box, crop)

    async with opened(options(tmp_path), size=(120, 40)) as (app, pilot):
        await show(pilot, app, *opens)
        screen = channels_screen(app)
        job = create_job(app.store, JobSpec("resnet18", blocks=("2.1",)))
        job.heartbeat(Report(done=1, total=9))
        await until(pilot, lambda: len(app.jobs) == 1)
        screen.show_jobs([JobState(job, "running", done=1, total=9)])
        screen.say("1 done")
        await until(pilot, drawn(app))
        with monkeypatch.context() as counting:
            counting.setattr(PictureBox, "render_lines", counted)
            # Whatever the first sight of the job makes room for is painted first, late on a busy machine.
            for _ in range(50):
                sent.clear()
                await pilot.pause(0.3)
                if not sent:
                    break
            for done in range(2, 5):
                screen.show_jobs([JobState(job, "running", done=done, total=9)])
                screen.say(f"{done} done")
                await pilot.pause()
    assert sent == []
