"""Export, sets, help, problems, and the screen as a whole."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from textual.binding import Binding
from textual.keys import format_key
from textual.widgets import Input

from streamscope.core.errors import StoreError, UsageError
from streamscope.core.store import Store
from streamscope.tui.app.app import run_app
from streamscope.tui.screens.channels import ChannelsScreen
from streamscope.tui.table.headings import UPDATE_STYLES, cell, number
from streamscope.tui.widgets.blocks import histogram, percent
from streamscope.tui.widgets.status import duration
from streamscope.tui.widgets.table import ChannelTable
from tests.support.app_driver import (
    channels_screen,
    dialog_text,
    open_export,
    opened,
    options,
    screen_text,
    shown,
    small_store,
    status_left,
    until,
)
from tests.support.app_store import fill, make_info


async def test_export_writes_exactly_the_channels_shown_in_the_order_shown(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    file = tmp_path / "out.csv"
    async with opened(options(tmp_path)) as (app, pilot):
        await pilot.press("slash", *"channel < 2", "enter")
        await pilot.press("s", *"mix_ratio", "enter")
        await until(pilot, lambda: status_left(app) == "mix_ratio, descending")
        await open_export(pilot, app)
        await until(pilot, lambda: "6  filtered" in screen_text(app))
        app.screen.query_one("#path", Input).value = str(file)
        await pilot.press("enter")
        await until(pilot, lambda: status_left(app).startswith("6 channels written to"))
        expected = shown(app)
    rows = list(csv.DictReader(file.open()))
    assert [(row["block"], int(row["channel"])) for row in rows] == expected
    assert json.loads((tmp_path / "out.csv.meta.json").read_text())["filter"] == "channel < 2"


async def test_export_of_marked_channels_ignores_the_filter(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    file = tmp_path / "out.json"
    async with opened(options(tmp_path)) as (app, pilot):
        await pilot.press("y", "j", "n")
        await until(pilot, lambda: len(app.judgements) == 2)
        await pilot.press("slash", *"channel > 3", "enter")
        await open_export(pilot, app, "keep")
        app.screen.query_one("#path", Input).value = str(file)
        await pilot.press("enter")
        await until(pilot, lambda: status_left(app).startswith("1 channel written"))
    assert [(row["block"], row["channel"], row["marked"]) for row in json.loads(file.read_text())] == [
        ("1.1", 0, "keep")
    ]


async def test_an_export_that_fails_is_one_line_in_a_dialog(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path)) as (app, pilot):
        await open_export(pilot, app)
        app.screen.query_one("#path", Input).value = str(tmp_path / "no" / "such.csv")
        await pilot.press("enter")
        await until(pilot, lambda: "there is no folder" in screen_text(app))


async def test_another_set_is_opened_by_name(tmp_path: Path) -> None:
    store = small_store(tmp_path / "cache", ("1.1",))
    fill(store, make_info(), ["2.1"], steps=64)
    async with opened(options(tmp_path, steps=64)) as (app, pilot):
        assert "paper 64 seed 0" in screen_text(app)
        await pilot.press("o", *"2560", "enter")
        await until(pilot, lambda: "paper 2560 seed 0" in screen_text(app))
        frame = channels_screen(app).frame
        assert frame is not None
        assert set(frame["status"][frame["block"] == "1.1"]) == {"ok"}


async def test_an_empty_store_opens_on_what_to_do_first(tmp_path: Path) -> None:
    small_store(tmp_path / "cache", ())
    async with opened(options(tmp_path, device="cpu")) as (app, pilot):
        assert len(shown(app)) == 22
        await until(pilot, lambda: "nothing is computed yet" in screen_text(app))
        # Of 1.1, 2.0 and 2.1: three FZs of each of 22 channels, less the 4, 6 and so on that are another's.
        assert re.search(r"C +Compute 58 feature visualizations, about \d+ (s|min) on this machine", screen_text(app))
        assert "Scan a folder of images" in screen_text(app)
        for key in ("s", "enter", "E", "escape", "C", "escape", "o", "S", "G", "y", "w", "v", "b", "z"):
            await pilot.press(key)
        assert channels_screen(app).table.key == ("2.1", 7)


async def test_damage_in_the_store_is_counted_and_listed(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    for file in (tmp_path / "cache").rglob("measures/2.0/on_in/*/batch.json"):
        file.write_text("{")
    async with opened(options(tmp_path)) as (app, pilot):
        await until(pilot, lambda: "1 problem (!)" in screen_text(app))
        await pilot.press("exclamation_mark")
        await until(pilot, lambda: "cache verify" in dialog_text(app))


async def test_the_key_help_names_every_binding_and_finds_one_by_what_it_does(tmp_path: Path) -> None:
    small_store(tmp_path / "cache", ())
    async with opened(options(tmp_path), size=(120, 100)) as (app, pilot):
        await pilot.press("question_mark")
        text = screen_text(app)
        for binding in Binding.make_bindings([*ChannelsScreen.BINDINGS, *ChannelTable.BINDINGS]):
            assert not binding.description or binding.description in text
            assert not binding.description or format_key(binding.key) in text
        await pilot.press(*"reject")
        await until(pilot, lambda: "mark.reject" in screen_text(app) and "mark.keep" not in screen_text(app))


async def test_no_key_is_bound_twice_on_the_main_screen(tmp_path: Path) -> None:
    small_store(tmp_path / "cache", ())
    async with opened(options(tmp_path)) as (app, _):
        bound = [
            key for part in (app, app.screen, channels_screen(app).table) for key in part._bindings.key_to_bindings
        ]
        ours = [key for key in bound if key not in ("ctrl+c", "super+c", "tab", "shift+tab", "ctrl+i", "escape")]
        twice = {key for key in ours if ours.count(key) > 1}
        assert twice <= {
            "up",
            "down",
            "left",
            "right",
            "home",
            "end",
            "pageup",
            "pagedown",
            "ctrl+pageup",
            "ctrl+pagedown",
        }


async def test_the_command_palette_finds_our_commands(tmp_path: Path) -> None:
    small_store(tmp_path / "cache", ())
    async with opened(options(tmp_path)) as (app, pilot):
        await pilot.press("ctrl+p", *"whole image")
        await until(pilot, lambda: "key w" in screen_text(app))
        await pilot.press("enter", "enter")
        await until(pilot, lambda: status_left(app) == "whole images")


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (160, 48), (200, 60), (300, 100)])
async def test_the_table_the_pictures_and_the_status_are_on_the_screen(tmp_path: Path, size: tuple[int, int]) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path), size=size) as (app, pilot):
        await until(pilot, lambda: "FZ(B)" in screen_text(app))
        text = screen_text(app)
        for wanted in ("mix", "of 22 judged", "half", "1.1 · 0"):
            assert wanted in text
        assert all(len(line) <= size[0] for line in text.split("\n"))
        assert ("block   ch   I B    O" in text) == (size[0] >= 100)


async def test_what_textual_says_goes_to_the_status_bar_and_no_toast_covers_the_pictures(tmp_path: Path) -> None:
    small_store(tmp_path / "cache", ())
    async with opened(options(tmp_path)) as (app, pilot):
        app.notify("Press q", title="Quit?", timeout=30)
        assert status_left(app) == "Press q"
        await pilot.pause()
        assert len(app._notifications) == 0


async def test_hidden_panes_come_back(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path), size=(80, 24)) as (app, pilot):
        await pilot.press("b")
        await until(pilot, lambda: "block   ch   I B    O" in screen_text(app))
        await pilot.press("b", "v")
        await until(pilot, lambda: "FZ(I)" not in screen_text(app) and "done" not in screen_text(app))
        await pilot.press("v")
        await until(pilot, lambda: "FZ(I)" in screen_text(app))


def test_a_cache_of_another_version_stops_the_app_before_it_opens(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "store.json").write_text('{"format": 7}')
    with pytest.raises(StoreError, match="format 7"):
        run_app(options(tmp_path))


def test_an_unknown_graphics_mode_stops_the_app_before_it_opens(tmp_path: Path) -> None:
    Store.open(tmp_path / "cache", create=True)
    with pytest.raises(UsageError, match="iterm"):
        run_app(options(tmp_path, graphics="iterm"))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.00"), (-0.001, "0.00"), (3.14159, "3.14"), (-12.5, "-12.50"), (1234.5, "1234"), (float("nan"), "·")],
)
def test_numbers_take_few_cells(value: float, text: str) -> None:
    assert number(value) == text


def test_a_criterion_that_is_not_met_differs_from_one_that_is_unknown() -> None:
    assert [cell("meets_mix", value)[0] for value in (1.0, 0.0, float("nan"))] == ["✓", "✗", "·"]


@pytest.mark.parametrize(
    ("part", "whole", "text"), [(0, 9, "0%"), (1, 900, "<1%"), (899, 900, "99%"), (9, 9, "100%"), (0, 0, "–")]
)
def test_a_share_is_100_only_for_all_and_0_only_for_none(part: int, whole: int, text: str) -> None:
    assert percent(part, whole) == text


def test_the_histogram_shows_a_single_channel_and_scales_to_the_highest_bin() -> None:
    stacks = [(0, 0, 0)] * 20
    stacks[0], stacks[19] = (100, 0, 0), (0, 0, 1)
    assert histogram(stacks).plain == "▇        ▁"


def test_the_histogram_has_the_colour_of_most_channels_where_a_bound_lies_within_a_bar() -> None:
    stacks = [(0, 0, 0)] * 20
    stacks[2], stacks[3] = (5, 1, 0), (0, 3, 0)
    stacks[18] = (0, 0, 2)
    styles = [span.style for span in histogram(stacks).spans]
    assert [styles[place] for place in (1, 9)] == [UPDATE_STYLES["overwrite"], UPDATE_STYLES["skip"]]
    stacks[3] = (0, 5, 0)
    assert histogram(stacks).spans[1].style == UPDATE_STYLES["mix"]


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "1 s"), (45, "45 s"), (750, "12 min"), (12000, "3 h 20 min")])
def test_durations_read_well(seconds: float, text: str) -> None:
    assert duration(seconds) == text
