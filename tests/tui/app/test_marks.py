"""Marks, tags and notes given in the app."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from streamscope.core.store import Marks
from tests.support.app_driver import (
    channels_screen,
    dialog_text,
    opened,
    options,
    screen_text,
    shown,
    small_store,
    status_left,
    until,
)
from tests.support.app_store import make_info


def stored_marks(folder: Path) -> Marks:
    """The marks as another process reads them."""
    return Marks(folder / "marks", make_info().fingerprint)


async def test_marks_survive_sorting_filtering_and_a_restart(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path)) as (app, pilot):
        screen = channels_screen(app)

        def marked(key: tuple[str, int], mark: str) -> bool:
            return app.judgement(key).mark == mark

        for key, letter, mark in ((("1.1", 4), "y", "keep"), (("2.1", 0), "n", "reject"), (("2.0", 7), "u", "unsure")):
            screen.table.move_to(key)
            await pilot.press(letter)
            await until(pilot, partial(marked, key, mark))
        await pilot.press("s", *"scale_metric", "enter")
        await pilot.press("slash", *"marked", "enter")
        await until(pilot, lambda: len(shown(app)) == 3)
        assert set(shown(app)) == {("1.1", 4), ("2.1", 0), ("2.0", 7)}
    assert stored_marks(tmp_path).get("1.1", 4).mark == "keep"
    async with opened(options(tmp_path)) as (app, pilot):
        await until(pilot, lambda: len(app.judgements) == 3)
        row = next(line for line in screen_text(app).split("\n") if "1.1      4" in line)
        assert "✓ 1.1      4" in row


async def test_a_mark_can_be_cleared_and_every_change_undone(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path)) as (app, pilot):
        key = ("1.1", 0)
        await pilot.press("y")
        await until(pilot, lambda: app.judgement(key).mark == "keep")
        await pilot.press("c")
        await until(pilot, lambda: app.judgement(key).mark == "")
        await pilot.press("t", *"edge big", "enter")
        await until(pilot, lambda: app.judgement(key).tags == ("big", "edge"))
        await pilot.press("e", *"hello", "enter")
        await until(pilot, lambda: app.judgement(key).note == "hello")
        await pilot.press("z")
        await until(pilot, lambda: app.judgement(key).note == "")
        await pilot.press("z")
        await until(pilot, lambda: app.judgement(key).tags == ())
        await pilot.press("z")
        await until(pilot, lambda: app.judgement(key).mark == "keep")
        await pilot.press("z")
        await until(pilot, lambda: app.judgement(key).mark == "")
        await pilot.press("z")
        await until(pilot, lambda: status_left(app) == "nothing to undo")
    assert stored_marks(tmp_path).all() == {}


async def test_undo_brings_back_the_mark_that_was_replaced(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path)) as (app, pilot):
        await pilot.press("y")
        await until(pilot, lambda: app.judgement(("1.1", 0)).mark == "keep")
        await pilot.press("n")
        await until(pilot, lambda: app.judgement(("1.1", 0)).mark == "reject")
        await pilot.press("z")
        await until(pilot, lambda: app.judgement(("1.1", 0)).mark == "keep")


async def test_marking_moves_on_only_when_asked_to(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path)) as (app, pilot):
        table = channels_screen(app).table
        await pilot.press("y")
        assert table.position == 0
        await pilot.press("a", "y", "n")
        assert table.position == 2
        await until(pilot, lambda: app.judgement(("1.1", 1)).mark == "reject")
        assert app.judgement(("1.1", 0)).mark == "keep"


async def test_a_channel_that_a_mark_takes_out_of_the_filter_leaves_the_table(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path)) as (app, pilot):
        await pilot.press("slash", *"not marked", "enter")
        await pilot.press("j", "n")
        await until(pilot, lambda: len(shown(app)) == 21)
        assert channels_screen(app).table.key == ("1.1", 2)


async def test_what_a_colleague_marks_appears(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path)) as (app, pilot):
        stored_marks(tmp_path).mark("2.0", [3], "keep")
        await until(pilot, lambda: "✓ 2.0      3" in screen_text(app))


async def test_a_tag_of_two_words_becomes_two_and_tags_are_offered_again(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    stored_marks(tmp_path).tag("2.1", [1], add=["curve"])
    async with opened(options(tmp_path)) as (app, pilot):
        await until(pilot, lambda: bool(app.judgements))
        await pilot.press("t")
        await until(pilot, lambda: "used so far: curve" in screen_text(app))


async def test_marks_that_cannot_be_written_are_an_error_shown_once(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    (tmp_path / "marks").write_text("a file where a folder should be")
    async with opened(options(tmp_path)) as (app, pilot):
        await pilot.press("y")
        await until(pilot, lambda: str(tmp_path / "marks") in dialog_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is channels_screen(app))
        assert app.judgement(("1.1", 0)).mark == ""


async def test_nothing_that_a_note_holds_is_obeyed_by_the_terminal(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    info = make_info()
    marks = Marks(tmp_path / "marks", info.fingerprint, info.name)
    note = "a\x1b]0;title\x07b [red]c[/red] \x9b2J \u202e"
    marks.note("1.1", 0, note)
    marks.tag("1.1", [0], add=["\x1b[31m"])
    async with opened(options(tmp_path)) as (app, pilot):
        await until(pilot, lambda: "␛]0;title␇b [red]c[/red] \\x9b2J" in screen_text(app))
        for keys in ((), ("enter",), ("e",)):
            await pilot.press(*keys)
            await pilot.pause()
            assert not set(screen_text(app)) & set("\x1b\x07\x9b\u202e")
        await pilot.press("enter")
    assert stored_marks(tmp_path).get("1.1", 0).note == note


async def test_where_marks_have_no_place_the_app_opens_and_a_mark_says_that_it_cannot_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMSCOPE_MARKS", "~nobody-of-that-name/marks")
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path, marks=None)) as (app, pilot):
        assert "no place for them is known" in status_left(app)
        await pilot.press("y")
        await until(pilot, lambda: "set HOME, or STREAMSCOPE_MARKS" in dialog_text(app))
        await pilot.press("escape")
        assert not app.judgements
        assert app.is_running
