"""The work that the app is for, as a script of keys that are counted; and each tool it takes."""

from __future__ import annotations

import csv
from pathlib import Path

from PIL import Image
from textual.pilot import Pilot
from textual.widgets import Input

from tests.app_driver import channels_screen, opened, options, screen_text, shown, small_store, status_left, until
from tests.app_store import fill, make_info, open_store
from tui.app import StreamscopeApp
from tui.screens.export import ExportDialog

CHANNELS = 48


class Counted:
    """Presses keys and counts them."""

    def __init__(self, pilot: Pilot[None]) -> None:
        self.pilot = pilot
        self.count = 0

    async def press(self, *keys: str) -> None:
        self.count += len(keys)
        await self.pilot.press(*keys)


async def test_channels_are_judged_noted_and_exported_with_two_keys_a_channel(tmp_path: Path) -> None:
    info = make_info((("1.1", 6), ("2.0", CHANNELS), ("2.1", CHANNELS)), 24)
    fill(open_store(tmp_path / "cache", info), info, ["2.1"])
    async with opened(options(tmp_path)) as (app, pilot):
        keys, screen = Counted(pilot), channels_screen(app)
        # M near 1 in 2.1, highest scale metric first.
        await keys.press("right_square_bracket", "right_square_bracket", "right_square_bracket")
        await until(pilot, lambda: len(shown(app)) == CHANNELS)
        await keys.press("slash", *"mix", "tab", *" < 1.5 and mix", "tab", *" > .5", "enter")
        await keys.press("s", *"scale_m", "enter")
        await until(pilot, lambda: status_left(app) == "scale_metric, descending")
        near_one = shown(app)
        assert 10 < len(near_one) < CHANNELS
        judged_from = keys.count
        for place in range(len(near_one)):
            assert screen.table.key == near_one[place]
            await keys.press("y" if place % 3 == 0 else "n" if place % 3 == 1 else "u", "j")
        assert keys.count - judged_from == 2 * len(near_one)
        await until(pilot, lambda: f"{len(near_one)} of {len(near_one)} judged" in screen_text(app))
        # Why the first was kept; then those that were kept, with pictures, into tonight's note.
        await keys.press("g", "e", *"curve", "enter")
        await until(pilot, lambda: app.judgement(near_one[0]).note == "curve")
        await keys.press("E", *"keep", "enter")
        await until(pilot, lambda: isinstance(app.screen, ExportDialog))
        app.screen.query_one("#path", Input).value = str(tmp_path / "tonight.md")
        await until(pilot, lambda: "tonight-pictures/" in screen_text(app))
        await keys.press("enter")
        await until(pilot, lambda: status_left(app).endswith(f"written to {tmp_path / 'tonight.md'}"))
    kept = near_one[::3]
    note = (tmp_path / "tonight.md").read_text()
    assert [note.count(f"## {block} · {channel} ") for block, channel in kept] == [1] * len(kept)
    assert "> curve" in note
    assert len(list((tmp_path / "tonight-pictures").glob("*.png"))) == len(kept)


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


async def test_escape_lets_go_of_the_choice_before_the_filter(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path)) as (app, pilot):
        await pilot.press("slash", *"channel < 2", "enter", "space", "space", "escape")
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
        await pilot.press("E", "enter")
        await until(pilot, lambda: isinstance(app.screen, ExportDialog))
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
        await pilot.press("space", "j", "space", "E", *"chosen", "enter")
        await until(pilot, lambda: isinstance(app.screen, ExportDialog))
        app.screen.query_one("#path", Input).value = str(tmp_path / "two.csv")
        await pilot.press("ctrl+t", "ctrl+t", "ctrl+t")
        await until(pilot, lambda: "two.png" in screen_text(app) and "pixels" in screen_text(app))
        await pilot.press("enter")
        await until(pilot, lambda: status_left(app).startswith("2 channels written"))
    assert Image.open(tmp_path / "two.png").width > 700


async def test_copying_asks_the_terminal_and_says_that_a_file_is_surer(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path)) as (app, pilot):
        await pilot.press("slash", *"channel == 1", "enter", "E", "enter", "ctrl+y")
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
