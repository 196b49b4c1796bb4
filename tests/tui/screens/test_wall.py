"""The wall: many channels' pictures at once, under the cursor, the filter and the marks of the table."""

from __future__ import annotations

from pathlib import Path

from textual.pilot import Pilot

from streamscope.tui.app.app import StreamscopeApp
from streamscope.tui.screens.detail import DetailScreen
from streamscope.tui.screens.wall import WallScreen, WallTile
from tests.support.app_driver import channels_screen, opened, options, screen_text, shown, small_store, until


async def wall_of(app: StreamscopeApp, pilot: Pilot[None]) -> WallScreen:
    await pilot.press("W")
    await until(pilot, lambda: isinstance(app.screen, WallScreen) and bool(labels(app)))
    assert isinstance(app.screen, WallScreen)
    return app.screen


def labels(app: StreamscopeApp) -> list[str]:
    """What stands over each picture that is shown."""
    screen = app.screen
    assert isinstance(screen, WallScreen)
    return [str(tile.border_title) for tile in screen.tiles if tile.visible and tile.border_title]


def here(app: StreamscopeApp) -> list[str]:
    return [str(tile.border_title) for tile in app.screen.query(WallTile) if tile.has_class("cursor") and tile.visible]


async def test_it_shows_the_channels_of_the_table_in_its_order(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path), size=(160, 48)) as (app, pilot):
        await pilot.press("slash", *'block == "2.1"', "enter", "s", *"mix_ratio", "enter")
        screen = await wall_of(app, pilot)
        assert [label.split()[:2] for label in labels(app)] == [[block, str(number)] for block, number in shown(app)]
        # What is sorted by stands beside the number.
        frame = channels_screen(app).frame
        assert frame is not None
        first = frame.rows(channels_screen(app).table.index[:1])[0]
        assert labels(app)[0].split()[-1] == f"{first['mix_ratio']:.2f}"
        pictures = [tile.query_one("_Picture") for tile in screen.tiles[: len(labels(app))]]
        await until(pilot, lambda: all(picture.picture is not None for picture in pictures))  # type: ignore[attr-defined]


async def test_the_cursor_goes_from_picture_to_picture_and_is_the_tables(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path), size=(100, 40)) as (app, pilot):
        screen = await wall_of(app, pilot)
        across = screen.across
        assert 1 < across < 22
        for keys, place in ((("l", "right"), 2), (("j",), 2 + across), (("h",), 1 + across), (("k",), 1), (("G",), 21)):
            await pilot.press(*keys)
            await until(pilot, lambda place=place: channels_screen(app).table.position == place)  # type: ignore[misc]
            assert here(app) == [" ".join(map(str, shown(app)[place]))]
        await pilot.press("g", "enter")
        await until(pilot, lambda: isinstance(app.screen, DetailScreen))
        assert channels_screen(app).table.position == 0


async def test_marks_are_frames_and_go_to_those_selected(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path), size=(100, 40)) as (app, pilot):
        screen = await wall_of(app, pilot)
        await pilot.press("y")
        await until(pilot, lambda: screen.tiles[0].has_class("keep") and "✓" in labels(app)[0])
        await pilot.press("l", "space", "l", "space", "n")
        await until(pilot, lambda: [t.has_class("reject") for t in screen.tiles[:4]] == [False, True, True, False])
        assert app.judgement(("1.1", 2)).mark == "reject"
        assert not channels_screen(app).table.chosen


async def test_pictures_are_made_larger_and_smaller_and_pages_turned(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path), size=(100, 40)) as (app, pilot):
        screen = await wall_of(app, pilot)
        before = len(screen.tiles)
        await pilot.press("full_stop")
        await until(pilot, lambda: 0 < len(screen.tiles) < before)
        count = len(screen.tiles)
        await pilot.press("pagedown")
        await until(pilot, lambda: f"{count + 1} to" in screen_text(app))
        await pilot.press("comma", "comma")
        await until(pilot, lambda: len(screen.tiles) > before)


async def test_another_tensor_and_another_kind_are_shown(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path), size=(100, 40)) as (app, pilot):
        await wall_of(app, pilot)
        await until(pilot, lambda: "FZs of B" in screen_text(app))
        await pilot.press("1")
        await until(pilot, lambda: "FZs of I" in screen_text(app))
        await pilot.press("x")
        await until(pilot, lambda: "FZs scaled of I" in screen_text(app))


async def test_a_filter_that_leaves_nothing_is_said(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path), size=(100, 40)) as (app, pilot):
        await pilot.press("slash", *"mix_ratio > 99", "enter", "W")
        await until(pilot, lambda: "no channel passes the filter" in screen_text(app))
