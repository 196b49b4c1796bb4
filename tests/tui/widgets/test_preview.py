"""The preview of the highlighted channel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streamscope.core.store import Store
from streamscope.tui.app.app import StreamscopeApp
from streamscope.tui.terminal.detection import Graphics
from streamscope.tui.terminal.encoding import encode
from streamscope.tui.widgets.picture import PictureBox
from streamscope.tui.widgets.preview import Preview
from tests.support.app_driver import channels_screen, opened, options, screen_text, small_store, until
from tests.support.app_store import commit_fzs, made_up_image, make_info


def boxes(app: StreamscopeApp) -> list[PictureBox]:
    return list(channels_screen(app).query("#pictures PictureBox").results(PictureBox))


def captions(app: StreamscopeApp) -> list[str]:
    return [box.caption for box in boxes(app)]


async def test_it_shows_the_three_fzs_cropped_to_what_the_neuron_sees_and_whole_on_w(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    info = make_info()
    async with opened(options(tmp_path)) as (app, pilot):
        channels_screen(app).table.move_to(("1.1", 2))
        await until(pilot, lambda: captions(app) == ["FZ(I) 1.0.out 2", "FZ(B) 1.1.block 2", "FZ(O) 1.1.out 2"])
        field = info.fields["1.0.out"]
        assert (field.start, field.stop) == (3, 46)
        image = made_up_image("1.0.out20", info.input_size)
        box = boxes(app)[0]
        assert box.picture is not None
        size = (box.picture.width, box.picture.height)
        cropped = image[field.start : field.stop, field.start : field.stop]
        assert box.picture.lines == encode(cropped, size, app.graphics).lines
        await pilot.press("w")
        whole = encode(image, size, app.graphics).lines
        await until(pilot, lambda: box.picture is not None and box.picture.lines == whole)


@pytest.mark.parametrize(
    ("size", "captions"), [((160, 48), ["S(FZ(I)) 0", "S⁻(FZ(B)) 0", "FZ(O) 0"]), ((150, 30), None)]
)
async def test_where_there_is_room_the_next_kind_of_pictures_stands_below_the_figures(
    tmp_path: Path, size: tuple[int, int], captions: list[str] | None
) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path), size=size) as (app, pilot):
        await until(pilot, lambda: boxes(app)[0].picture is not None)
        more = list(channels_screen(app).query("#more PictureBox").results(PictureBox))
        if captions is None:
            assert [box.subject for box in more] == [None] * 3
            return
        await until(pilot, lambda: [box.caption for box in more] == captions)
        assert more[0].region.y > channels_screen(app).query_one("#figures").region.y
        await pilot.press("x")
        await until(pilot, lambda: [box.caption for box in more] == ["MEIs(I) 0", "MEIs(B) 0", "MEIs(O) 0"])


async def test_a_missing_fz_has_a_placeholder_and_appears_when_it_is_computed(tmp_path: Path) -> None:
    info = make_info()
    small_store(tmp_path / "cache", ("1.1",))
    async with opened(options(tmp_path)) as (app, pilot):
        channels_screen(app).table.move_to(("2.0", 1))
        await until(pilot, lambda: [box.message for box in boxes(app)] == ["not computed"] * 3)
        fzset = Store(tmp_path / "cache").choose_set(info)
        assert fzset is not None
        commit_fzs(fzset, info.source("2.0", "block"), range(8))
        await until(pilot, lambda: boxes(app)[1].picture is not None)
        assert [box.message for box in boxes(app)] == ["not computed", "", "not computed"]


async def test_a_damaged_fz_says_so(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    for png in (tmp_path / "cache").rglob("fzs/2.0.block/*/0003.png"):
        png.write_bytes(b"not an image")
    async with opened(options(tmp_path)) as (app, pilot):
        channels_screen(app).table.move_to(("2.0", 3))
        await until(pilot, lambda: [box.message for box in boxes(app)] == ["", "damaged", ""])


async def test_figures_change_with_the_cursor_before_any_picture_is_drawn(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path)) as (app, pilot):
        await pilot.press("j")
        assert "1.1 · 1" in str(channels_screen(app).query_one(Preview).query_one("#text").render())


async def test_the_figures_are_those_of_the_row(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path)) as (app, pilot):
        screen = channels_screen(app)
        screen.table.move_to(("2.1", 4))
        assert screen.frame is not None
        row = screen.frame.rows([screen.frame.row_of("2.1", 4) or 0])[0]
        await pilot.pause()
        text = screen_text(app)
        for name in ("in_on_in", "block_on_block", "out_on_out", "block_on_in_up", "in_on_block_down"):
            assert f"{row[name]:.2f}" in text


async def test_with_graphics_off_nothing_is_drawn(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path), graphics=Graphics("off")) as (app, pilot):
        await until(pilot, lambda: [box.message for box in boxes(app)] == ["graphics off"] * 3)


async def test_sixel_pictures_are_wiped_under_a_dialog_and_drawn_again_after_it(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path), graphics=Graphics("sixel", (8, 16))) as (app, pilot):
        await until(pilot, lambda: all(box.picture for box in boxes(app)))
        box = boxes(app)[0]
        picture = box.picture
        assert picture is not None

        def marks() -> set[tuple[int, int]]:
            """Numbers and rows of the pictures that are to be drawn."""
            lines = box.render_lines(box.size.region)
            assert {line.cell_length for line in lines} == {box.size.width}
            found = (part.style.meta.get("picture") for line in lines for part in line if part.style)
            return {mark for mark in found if mark is not None}

        whole = {(picture.number, row) for row in range(picture.height)}
        assert marks() == whole
        await pilot.press("question_mark")
        assert marks() == set()
        await pilot.press("escape")
        assert marks() == whole


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (160, 48), (200, 60), (60, 16), (80, 60)])
async def test_pictures_fit_their_room_at_every_size(tmp_path: Path, size: tuple[int, int]) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path), size=size) as (app, pilot):
        await until(pilot, lambda: all(box.picture is not None for box in boxes(app)))
        for box in boxes(app):
            assert box.picture is not None
            assert box.picture.width <= box.size.width
            assert box.picture.height <= box.size.height - 1
            assert box.picture.height >= 4


async def test_resizing_at_any_moment_leaves_a_whole_screen(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    random = np.random.default_rng(0)
    async with opened(options(tmp_path)) as (app, pilot):
        for _ in range(12):
            width, height = int(random.integers(20, 220)), int(random.integers(6, 70))
            await pilot.resize_terminal(width, height)
            await pilot.press("j" if random.random() < 0.5 else "G")
        await pilot.resize_terminal(160, 48)
        await until(pilot, lambda: all(box.picture is not None for box in boxes(app)))
        assert channels_screen(app).table.key == ("2.1", 7)
        assert "2.1 · 7" in screen_text(app)
