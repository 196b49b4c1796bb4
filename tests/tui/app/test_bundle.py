"""The app on a bundle: what came with it is shown, and judged over; nothing else is done to it."""

from __future__ import annotations

from pathlib import Path

from streamscope.core.export.bundle import write_bundle
from streamscope.core.model.spec import ModelSpec
from streamscope.core.store import Judgement, Marks
from streamscope.core.store.bundles.archive import unpacked
from streamscope.core.table.frame import build_frame
from tests.support.app_driver import (
    boxes,
    channels_screen,
    drawn,
    opened,
    options,
    screen_text,
    shown,
    status_left,
    until,
)
from tests.support.app_store import fill, make_info, open_store

CHOSEN = [("2.1", 0), ("2.1", 3), ("2.1", 5)]
INFO = make_info()


def bundle(folder: Path) -> Path:
    """Of a model that the sender knew by a file of weights; channel 0 is kept, 3 has a note."""
    weights = folder / "mine.pth"
    weights.write_bytes(b"weights")
    store = open_store(folder / "store", INFO, ModelSpec("resnet18", weights))
    fzset = fill(store, INFO, ["1.1", "2.1"])
    marks = Marks(folder / "sent", INFO.identity, INFO.name)
    marks.mark("2.1", [0], "keep")
    marks.note("2.1", 3, "odd")
    frame = build_frame(INFO, fzset, ["2.1"], marks)
    write_bundle(folder / "tonight.zip", store, fzset, frame, [c for _, c in CHOSEN], {}, marks=marks)
    weights.unlink()
    return folder / "tonight.zip"


async def test_the_channels_that_came_with_it_are_shown_with_pictures_and_marks(tmp_path: Path) -> None:
    path = bundle(tmp_path)
    with unpacked(path) as folder:
        before = sorted(folder.rglob("*"))
        async with opened(options(tmp_path, cache=folder, bundle=path, state=tmp_path / "state")) as (app, pilot):
            await until(pilot, lambda: len(app.judgements) == 2)
            assert shown(app) == CHOSEN
            assert app.judgement(CHOSEN[0]) == Judgement("keep")
            assert "resnet18 │ read only" in screen_text(app)
            await until(pilot, drawn(app))
            assert all(box.picture is not None for box in boxes(app))
            # The filter is one as any other: without it the rest of the block has its figures too.
            await pilot.press("escape", "escape")
            await until(pilot, lambda: ("2.1", 1) in shown(app))
            for key in ("C", "plus", "asterisk", "N", "T", "P", "D", "R"):
                channels_screen(app).say("")
                await pilot.press(key)
                await until(pilot, lambda: "read only: no job can be started in it" in status_left(app))
                assert app.screen is channels_screen(app)
        assert sorted(folder.rglob("*")) == before


async def test_agreeing_with_a_mark_that_came_with_it_is_a_judgement_of_ones_own(tmp_path: Path) -> None:
    path = bundle(tmp_path)
    with unpacked(path) as folder:
        async with opened(options(tmp_path, cache=folder, bundle=path)) as (app, pilot):
            await until(pilot, lambda: len(app.judgements) == 2)
            screen = channels_screen(app)
            screen.table.move_to(CHOSEN[0])
            await pilot.press("y")
            await until(pilot, lambda: "keep" in status_left(app))
            screen.table.move_to(CHOSEN[1])
            await pilot.press("n")
            await until(pilot, lambda: app.judgement(CHOSEN[1]).mark == "reject")
    own = Marks(tmp_path / "marks", INFO.identity).own()
    assert own == {CHOSEN[0]: Judgement("keep"), CHOSEN[1]: Judgement("reject")}
