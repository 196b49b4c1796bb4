"""The work that the app is for, done whole by keys that are counted; and each tool it takes."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from PIL import Image
from textual.widgets import Input

from streamscope.core.store import Judgement
from streamscope.tui.app.app import StreamscopeApp
from streamscope.tui.screens.detail import DetailScreen
from tests.support.app_driver import (
    channels_screen,
    idle_workers,
    open_export,
    opened,
    options,
    screen_text,
    shown,
    small_store,
    status_left,
    type_ahead,
    until,
)
from tests.support.app_store import fill, make_info, open_store
from tests.support.triage import check, triage

CHANNELS = 48


async def test_the_whole_triage_by_keys_two_a_channel_or_one_with_auto_advance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = make_info((("1.1", 6), ("2.0", CHANNELS), ("2.1", CHANNELS)), 24)
    fill(open_store(tmp_path / "cache", info), info, ["2.1"])
    monkeypatch.chdir(tmp_path)
    given = options(tmp_path)
    async with opened(given, size=(110, 32), workers=idle_workers()) as (app, pilot):
        outcome = await triage(app, pilot, "2.1")
    check(outcome, given, app)
    assert len(outcome.verdicts) > 12
    assert len(outcome.channels("keep")) > 2
    assert len(outcome.channels("unsure")) > 2


async def test_a_second_export_of_the_same_goes_to_the_same_file_and_another_beside_it(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path)) as (app, pilot):
        await pilot.press("y")
        await open_export(pilot, app, "keep")
        app.screen.query_one("#path", Input).value = str(tmp_path / "tonight.md")
        await pilot.press("enter")
        await until(pilot, lambda: "written to" in status_left(app))
        for scope, path in (("keep", "tonight.md"), ("filtered", "resnet18-filtered.md")):
            await open_export(pilot, app, scope)
            assert app.screen.query_one("#path", Input).value == str(tmp_path / path)
            await pilot.press("escape")


async def test_with_auto_advance_one_key_judges_and_moves_on(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path)) as (app, pilot):
        await pilot.press("a", "y", "n", "u")
        await until(pilot, lambda: len(app.judgements) == 3)
        assert channels_screen(app).table.key == shown(app)[3]
        assert "3 of 22 judged" in screen_text(app)


async def test_a_range_is_marked_at_once_undone_at_once_and_done_again(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path)) as (app, pilot):
        await pilot.press("j", "V", "j", "j")
        assert "3 chosen" in screen_text(app)
        await pilot.press("n")
        await until(pilot, lambda: len(app.judgements) == 3)
        assert set(app.judgements) == {("1.1", 1), ("1.1", 2), ("1.1", 3)}
        assert channels_screen(app).table.chosen == []
        await pilot.press("z")
        await until(pilot, lambda: not app.judgements)
        await pilot.press("Z")
        await until(pilot, lambda: len(app.judgements) == 3)


async def test_all_that_a_filter_keeps_get_a_tag_and_a_note(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path)) as (app, pilot):
        await pilot.press("slash", *"channel < 2", "enter", "A", "t", *"edge", "enter")
        await until(pilot, lambda: len(app.judgements) == 6)
        await pilot.press("A", "e", *"low", "enter")
        await until(pilot, lambda: all(judgement.note == "low" for judgement in app.judgements.values()))
        assert {judgement.tags for judgement in app.judgements.values()} == {("edge",)}
        await pilot.press("escape")
        await until(pilot, lambda: len(shown(app)) == 22)


async def test_escape_clears_the_selection_before_the_filter(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path)) as (app, pilot):
        await pilot.press("slash", *"channel < 2", "enter", "space", "j", "space", "escape")
        assert channels_screen(app).table.chosen == []
        assert len(shown(app)) == 6
        await pilot.press("escape")
        await until(pilot, lambda: len(shown(app)) == 22)


async def test_progress_counts_what_is_to_judge_and_does_not_shrink_with_not_marked(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path)) as (app, pilot):
        await pilot.press("slash", *"channel < 2 and not marked", "enter", "y", "n")
        await until(pilot, lambda: len(shown(app)) == 4)
        assert "2 of 6 judged" in screen_text(app)


async def test_quick_filters_join_and_are_inverted(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path)) as (app, pilot):
        bar = channels_screen(app).filter_bar
        await pilot.press("f", *"block like", "enter")
        await until(pilot, lambda: bar.text == 'block == "1.1"')
        await pilot.press("f", *"not judged", "enter")
        await until(pilot, lambda: bar.text == 'block == "1.1" and not marked')
        await until(pilot, lambda: len(shown(app)) == 6)
        await pilot.press("I")
        await until(pilot, lambda: len(shown(app)) == 16)
        assert all(block != "1.1" for block, _ in shown(app))
        await pilot.press("I")
        await until(pilot, lambda: len(shown(app)) == 6)


async def test_columns_are_chosen_ordered_and_exported_as_shown(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    file = tmp_path / "few.csv"
    async with opened(options(tmp_path)) as (app, pilot):
        # M hidden; update one place down.
        await pilot.press("L", "space", "J", "enter")
        await until(pilot, lambda: channels_screen(app).arrangement.shown[:2] == ("scale_metric", "update"))
        header = channels_screen(app).table.render_line(0).text.split()
        assert header[:4] == ["block", "ch", "SM", "update"]
        await open_export(pilot, app)
        app.screen.query_one("#path", Input).value = str(file)
        app.screen.query_one("#columns", Input).value = "channel,mix_rati"
        await until(pilot, lambda: "did you mean mix_ratio" in screen_text(app))
        app.screen.query_one("#columns", Input).value = "shown"
        await pilot.press("enter")
        await until(pilot, lambda: status_left(app).startswith("22 channels written"))
    assert next(csv.reader(file.open()))[:5] == ["marked", "block", "channel", "scale_metric", "update"]


async def test_the_format_key_turns_an_export_into_a_contact_sheet_of_those_chosen(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path)) as (app, pilot):
        await pilot.press("space", "j", "space")
        assert (await open_export(pilot, app)).scope == "chosen"
        app.screen.query_one("#path", Input).value = str(tmp_path / "two.csv")
        await pilot.press("ctrl+t", "ctrl+t", "ctrl+t")
        await until(pilot, lambda: "two.png" in screen_text(app) and "pixels" in screen_text(app))
        await pilot.press("enter")
        await until(pilot, lambda: status_left(app).startswith("2 channels written"))
    assert Image.open(tmp_path / "two.png").width > 700


async def test_copying_asks_the_terminal_and_says_that_a_file_is_surer(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path)) as (app, pilot):
        await pilot.press("slash", *"channel == 1", "enter", "E", "ctrl+y")
        await until(pilot, lambda: "write the file too" in screen_text(app))
        assert copied(app).splitlines()[0].startswith("model,fingerprint,block")
        assert len(copied(app).splitlines()) == 4


def copied(app: StreamscopeApp) -> str:
    return app.clipboard


async def test_tab_completes_and_the_next_candidate_can_be_taken(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path)) as (app, pilot):
        bar = channels_screen(app).filter_bar
        await pilot.press("slash", *"scale")
        await until(pilot, lambda: "scale_invariant" in screen_text(app))
        await pilot.press("ctrl+n", "tab")
        assert bar.text == "scale_invariant"
        await pilot.press(*" and upd", "tab", *" == m", "tab")
        assert bar.text == 'scale_invariant and update == "mix"'
        await pilot.press("enter", "slash", "escape", "slash", "up")
        assert bar.text == 'scale_invariant and update == "mix"'
        await pilot.press("down")
        assert bar.text == ""


async def test_keys_typed_ahead_of_the_filters_enter_are_commands_of_the_table(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path)) as (app, pilot):
        type_ahead(app, "/channel < 2\ru\ry")
        await until(pilot, lambda: app.judgements == {("1.1", 0): Judgement("keep")})
        assert channels_screen(app).filter_bar.text == "channel < 2"
        assert isinstance(app.screen, DetailScreen)
        await pilot.press("escape", "slash", "x", "backspace", "enter", "n")
        await until(pilot, lambda: app.judgement(("1.1", 0)).mark == "reject")
