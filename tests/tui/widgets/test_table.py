"""The channel table in the running app: order, filter, and a cursor that stays on its channel."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from streamscope.core.store import Store
from streamscope.tui.app.settings import Settings
from streamscope.tui.table.headings import cell
from streamscope.tui.widgets.blocks import BlockList
from streamscope.tui.widgets.filter import FilterBar, FilterLine
from streamscope.tui.widgets.table import ChannelTable
from tests.support.app_driver import (
    channels_screen,
    opened,
    options,
    screen_text,
    shown,
    small_store,
    status_left,
    type_ahead,
    until,
)
from tests.support.app_store import commit_fzs, commit_measures, fill, make_info


async def test_the_table_shows_the_default_blocks_in_stream_order(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path)) as (app, _):
        expected = [(block, c) for block, count in (("1.1", 6), ("2.0", 8), ("2.1", 8)) for c in range(count)]
        assert shown(app) == expected
        assert "of 22 judged" in screen_text(app)


async def test_sorting_puts_empty_fields_last_in_both_directions_and_the_cursor_stays_on_its_channel(
    tmp_path: Path,
) -> None:
    info = make_info()
    store = small_store(tmp_path / "cache", ())
    fill(store, info, ["2.1"], range(5))
    async with opened(options(tmp_path)) as (app, pilot):
        table = channels_screen(app).table
        table.move_to(("2.1", 2))
        await pilot.press("s", *"mix_ratio", "enter")
        await until(pilot, lambda: status_left(app) == "mix_ratio, descending")
        frame = channels_screen(app).frame
        assert frame is not None
        values = frame["mix_ratio"][table.index]
        assert np.all(np.diff(values[:5]) <= 0)
        assert np.isnan(values[5:]).all()
        assert table.key == ("2.1", 2)
        await pilot.press("r")
        values = frame["mix_ratio"][table.index]
        assert np.all(np.diff(values[:5]) >= 0)
        assert np.isnan(values[5:]).all()
        assert table.key == ("2.1", 2)


async def test_choosing_the_sorted_column_again_reverses_and_stream_order_comes_back(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path)) as (app, pilot):
        before = shown(app)
        await pilot.press("s", *"scale_m", "enter")
        await until(pilot, lambda: status_left(app) == "scale_metric, descending")
        descending = shown(app)
        await pilot.press("s", "enter")
        await until(pilot, lambda: status_left(app) == "scale_metric, ascending")
        assert shown(app) == descending[::-1]
        await pilot.press("s", *"stream", "enter")
        await until(pilot, lambda: shown(app) == before)


async def test_greater_and_less_than_move_the_sorted_column_and_bring_it_into_view(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path), size=(80, 24)) as (app, pilot):
        await pilot.press("greater_than_sign")
        assert status_left(app) == "mix_ratio, descending"
        for _ in range(21):
            await pilot.press("greater_than_sign")
        assert status_left(app) == "rho, descending"
        assert "▼rho" in screen_text(app)
        await pilot.press("less_than_sign")
        assert status_left(app) == "robust, descending"


async def test_a_click_on_a_heading_sorts_and_one_on_a_row_moves_the_cursor(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path), size=(80, 24)) as (app, pilot):
        await pilot.click(ChannelTable, offset=(16, 0))
        await until(pilot, lambda: status_left(app) == "mix_ratio, descending")
        await pilot.click(ChannelTable, offset=(3, 4))
        table = channels_screen(app).table
        await until(pilot, lambda: table.position == 3)
        assert table.key == shown(app)[3]


async def test_the_filter_applies_while_it_is_written_and_escape_ends_it(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path)) as (app, pilot):
        await pilot.press("slash", *"channel < 2")
        await until(pilot, lambda: len(shown(app)) == 6)
        assert {channel for _, channel in shown(app)} == {0, 1}
        assert "6 of 22 shown" in screen_text(app)
        await pilot.press("enter")
        assert channels_screen(app).focused is channels_screen(app).table
        assert len(shown(app)) == 6
        await pilot.press("escape")
        await until(pilot, lambda: len(shown(app)) == 22)
        assert "no channel passes" not in screen_text(app)
        await pilot.press("slash", *"channel < 0")
        await until(pilot, lambda: "no channel passes the filter" in screen_text(app))


async def test_a_filter_that_is_wrong_says_where_and_leaves_the_last_good_one(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path)) as (app, pilot):
        await pilot.press("slash", *"channel < 2 and mixx_ratio")
        await until(
            pilot, lambda: "did you mean" in screen_text(app) and "mix_ratio, mei_mix_ratio or" in screen_text(app)
        )
        lines = screen_text(app).split("\n")
        bar = next(line for line in lines if "mixx_ratio" in line)
        pointer = next(line for line in lines if "^" in line)
        assert pointer.index("^") == bar.index("mixx_ratio")
        assert len(shown(app)) == 6


async def test_a_wrong_filter_is_neither_taken_by_enter_nor_left_standing(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path)) as (app, pilot):
        screen = channels_screen(app)
        await pilot.press("slash", *"channel < 2 and foo", "enter")
        await until(pilot, lambda: "unknown column 'foo'" in screen_text(app))
        assert isinstance(screen.focused, FilterLine)
        # What is typed on is text, not commands.
        await pilot.press("s")
        assert screen.filter_bar.text == "channel < 2 and foos"
        await pilot.click(ChannelTable, offset=(3, 2))
        await until(pilot, lambda: screen.filter_bar.text == "channel < 2")
        await until(pilot, lambda: screen.focused is screen.table)
        assert len(shown(app)) == 6
        assert screen.arrangement.filter is not None
        assert screen.arrangement.filter.expression == "channel < 2"


async def test_after_a_sort_the_top_is_in_view_where_the_cursor_allows_it(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path), size=(120, 24)) as (app, pilot):
        table = channels_screen(app).table
        await pilot.press("slash", *"not missing(mix_ratio)", "enter", "G")
        await until(pilot, lambda: table.scroll_offset.y > 0)
        count = len(shown(app))
        assert f"row {count} of {count}" in screen_text(app)
        key = table.key
        await pilot.press("r")
        await until(pilot, lambda: table.position == 0)
        assert (table.key, table.scroll_offset.y) == (key, 0)
        assert f"row 1 of {count}" in screen_text(app)
        await pilot.press("j", "r")
        await until(pilot, lambda: table.position == count - 2)
        await pilot.press("r")
        await until(pilot, lambda: table.position == 1)
        assert table.scroll_offset.y == 0


async def test_keys_typed_faster_than_the_filter_line_opens_are_not_taken_for_marks(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path)) as (app, pilot):
        type_ahead(app, "/channel == n")
        bar = channels_screen(app).query_one(FilterBar)
        await until(pilot, lambda: bar.text == "channel == n")
        await pilot.press("escape")
        assert app.judgements == {}


async def test_keys_typed_faster_than_a_dialog_opens_are_written_in_it(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path)) as (app, pilot):
        type_ahead(app, "ey n")
        await pilot.pause()
        await pilot.press("enter")
        await until(pilot, lambda: bool(app.judgements))
        judgement = app.judgement(("1.1", 0))
        assert (judgement.note, judgement.mark) == ("y n", "")


async def test_the_highlighted_block_is_the_one_shown(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path)) as (app, pilot):
        await pilot.press("right_square_bracket")
        await until(pilot, lambda: {block for block, _ in shown(app)} == {"1.0"})
        await pilot.press("right_square_bracket", "right_square_bracket")
        await until(pilot, lambda: {block for block, _ in shown(app)} == {"2.0"})
        await pilot.press("left_square_bracket", "left_square_bracket", "left_square_bracket")
        await until(pilot, lambda: len(shown(app)) == 22)


async def test_the_block_list_counts_what_is_computed(tmp_path: Path) -> None:
    info = make_info()
    store = small_store(tmp_path / "cache", ("2.0",))
    fill(store, info, ["2.1"], range(2))
    async with opened(options(tmp_path)) as (app, _):
        listed = channels_screen(app).query_one(BlockList)
        assert str(listed.get_option("2.0").prompt).split()[:3] == ["2.0", "8", "100%"]
        assert str(listed.get_option("2.1").prompt).split()[:3] == ["2.1", "8", "25%"]
        assert str(listed.get_option("1.1").prompt).split() == ["1.1", "6", "–", "–", "–"]


async def test_what_another_process_computes_appears_and_the_cursor_stays(tmp_path: Path) -> None:
    info = make_info()
    small_store(tmp_path / "cache", ("1.1",))
    async with opened(options(tmp_path)) as (app, pilot):
        screen = channels_screen(app)
        await pilot.press("s", *"mix_ratio", "enter")
        await until(pilot, lambda: status_left(app) == "mix_ratio, descending")
        screen.table.move_to(("1.1", 3))
        other = Store(tmp_path / "cache")
        fzset = other.choose_set(info)
        assert fzset is not None
        for tensor in ("in", "block"):
            commit_fzs(fzset, info.source("2.1", tensor), range(8))
        commit_measures(fzset, "2.1", range(8), scale=[1.0] * 8)

        def arrived() -> bool:
            frame = screen.frame
            return frame is not None and frame["update"][frame["block"] == "2.1"].tolist() == ["mix"] * 8

        await until(pilot, arrived)
        assert screen.table.key == ("1.1", 3)
        assert screen.table.position == shown(app).index(("1.1", 3))


async def test_vim_keys_move_and_stop_at_the_ends(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path), size=(80, 24)) as (app, pilot):
        table = channels_screen(app).table
        await pilot.press("k")
        assert table.position == 0
        await pilot.press("j", "j", "down", "k")
        assert table.position == 2
        await pilot.press("G", "j")
        assert table.position == 21
        assert "2.1      7" in screen_text(app)
        await pilot.press("g")
        assert table.position == 0
        await pilot.press("ctrl+d")
        assert table.position == table.size.height - 2


async def test_a_figure_is_never_cut_at_the_edge(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path), size=(99, 24)) as (app, pilot):
        table = channels_screen(app).table
        whole = table.render_line(3).text

        def filled(cells: int) -> bool:
            return table.render_line(3).cell_length == cells

        for width in range(98, 50, -3):
            await pilot.resize_terminal(width, 24)
            await until(pilot, partial(filled, width - 1))
            row = table.render_line(3).text.rstrip()
            assert whole.startswith(f"{row} ")


async def test_control_c_says_what_ends_the_app(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path, settings=Settings(keys={"quit": "Q"}))) as (app, pilot):
        await pilot.press("ctrl+c")
        await until(pilot, lambda: "Q quits" in screen_text(app))


def test_an_m_that_was_cut_off_says_so() -> None:
    assert [cell("mix_ratio", value)[0] for value in (4.994, 5.0)] == ["4.99", "≥5"]
    assert cell("scale_metric", 5.0)[0] == "5.00"
