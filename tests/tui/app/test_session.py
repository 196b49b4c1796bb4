"""The app opens where one was; settings change its keys and looks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from streamscope.core.model.preprocessing import Changes
from streamscope.core.model.spec import ModelSpec
from streamscope.core.store import JobSpec, create_job
from streamscope.core.store.files.documents import read_document, write_document
from streamscope.core.store.jobs.events import Report
from streamscope.tui.app.memory import Memory
from streamscope.tui.app.settings import Settings
from streamscope.tui.screens.dialogs.keys import KeysDialog
from streamscope.tui.table.session import Session
from streamscope.tui.widgets.preview import Preview
from tests.support.app_driver import (
    channels_screen,
    opened,
    options,
    screen_text,
    shown,
    small_store,
    status_left,
    until,
)
from tests.support.app_store import make_info


async def test_the_app_opens_where_one_was(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    given = options(tmp_path, state=tmp_path / "state")
    async with opened(given) as (app, pilot):
        await pilot.press("right_square_bracket", "right_square_bracket", "right_square_bracket")
        await until(pilot, lambda: {block for block, _ in shown(app)} == {"2.0"})
        await pilot.press("s", *"scale_metric", "enter")
        await pilot.press("slash", *"channel > 2", "enter", "a", "G", "k")
        await until(pilot, lambda: len(shown(app)) == 5)
        await pilot.press("L", "space", "enter")
        before, key = shown(app), channels_screen(app).table.key
        assert app.memory.problems == []
        await pilot.press("q")
    async with opened(given) as (app, pilot):
        screen = channels_screen(app)
        assert (shown(app), screen.table.key) == (before, key)
        assert screen.filter_bar.text == "channel > 2"
        assert (screen.arrangement.column, screen.arrangement.descending) == ("scale_metric", True)
        assert "mix_ratio" not in screen.arrangement.shown
        assert screen.advance
        await pilot.press("slash", "escape", "slash", "up")
        assert screen.filter_bar.text == "channel > 2"


async def test_the_cursor_is_where_it_was_under_a_filter_on_marks(tmp_path: Path) -> None:
    """Marks are read after the table: until then the filter hides every channel."""
    small_store(tmp_path / "cache")
    given = options(tmp_path, state=tmp_path / "state")
    async with opened(given) as (app, pilot):
        await pilot.press("V", "G", "y", "slash", *"marked and channel > 2", "enter", "j", "j")
        await until(pilot, lambda: bool(app.judgements) and len(shown(app)) == 13)
        key = channels_screen(app).table.key
        assert key is not None
        assert key != shown(app)[0]
        await pilot.press("q")
    async with opened(given) as (app, pilot):
        await until(pilot, lambda: len(shown(app)) == 13)
        assert channels_screen(app).table.key == key


async def test_a_preview_that_was_made_larger_is_so_again(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    given = options(tmp_path, state=tmp_path / "state")
    async with opened(given, size=(160, 48)) as (app, pilot):
        before = channels_screen(app).query_one(Preview).outer_size.width
        await pilot.press("right_curly_bracket", "right_curly_bracket")
        await until(pilot, lambda: channels_screen(app).query_one(Preview).outer_size.width > before)
        after = channels_screen(app).query_one(Preview).outer_size.width
        await pilot.press("q")
    async with opened(given, size=(160, 48)) as (app, pilot):
        await until(pilot, lambda: channels_screen(app).query_one(Preview).outer_size.width == after)
    async with opened(given, size=(90, 40)) as (app, pilot):
        preview = channels_screen(app).query_one(Preview)
        await until(pilot, lambda: abs(preview.outer_size.height / 40 - after / 160) < 0.1)


async def test_the_end_of_a_long_job_rings_or_notifies_where_that_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = small_store(tmp_path / "cache")
    for when_done, sequence in (("line", ""), ("bell", "\a"), ("notify", "\x1b]9;streamscope: job done\x1b\\")):
        given = options(tmp_path, settings=Settings(when_done=when_done))
        async with opened(given) as (app, pilot):
            written: list[str] = []
            monkeypatch.setattr(app, "_write_to_terminal", written.append)
            job = create_job(store, JobSpec("resnet18", blocks=("2.1",)))
            job.heartbeat(Report(1, 2))
            await until(pilot, lambda job=job: job.id in app.jobs)  # type: ignore[misc]
            record = json.loads(job.files.record.read_text())
            job.files.record.write_text(json.dumps({**record, "started": record["started"] - 60}))
            job.finish("done")
            await until(pilot, lambda: status_left(app).startswith("job done"))
            assert "".join(written) == sequence


async def test_a_place_is_kept_while_the_app_runs_so_that_a_dropped_line_loses_nothing(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path, state=tmp_path / "state")) as (app, pilot):
        await pilot.press("G")

        def kept() -> bool:
            session = Memory(tmp_path / "state").session(make_info())
            return session is not None and session.cursor == ("2.1", 7)

        await until(pilot, kept)
        assert app.is_running


async def test_a_damaged_session_is_ignored_with_a_line(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    given = options(tmp_path, state=tmp_path / "state")
    async with opened(given) as (_, pilot):
        await pilot.press("G", "q")
    file = next((tmp_path / "state").glob("resnet18-*.json"))
    file.write_text(file.read_text().replace("2.1", "2.0"))
    async with opened(given) as (app, _):
        assert channels_screen(app).table.key == ("1.1", 0)
        assert f"{file} is damaged" in status_left(app)


def test_the_model_of_last_time_is_remembered_while_its_weights_are_there(tmp_path: Path) -> None:
    weights = tmp_path / "w.pth"
    weights.write_bytes(b"x")
    memory = Memory(tmp_path / "state")
    assert memory.model() is None
    memory.keep_model(ModelSpec("resnet34", weights))
    assert memory.model() == ModelSpec("resnet34", weights)
    memory.keep_model(ModelSpec("resnet34", weights, entry="teacher"))
    assert memory.model() == ModelSpec("resnet34", weights, entry="teacher")
    shown = ModelSpec("resnet34", weights, Changes(size=160, mean=(0.5, 0.5, 0.5), interpolation="bicubic"))
    memory.keep_model(shown)
    assert memory.model() == shown
    weights.unlink()
    assert Memory(tmp_path / "state").model() is None
    memory.keep_model(ModelSpec("resnet50", release="IMAGENET1K_V1"))
    assert memory.model() == ModelSpec("resnet50", release="IMAGENET1K_V1")


def test_filters_are_remembered_once_the_latest_last(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "state")
    for expression in ("marked", "channel < 2", "marked"):
        memory.keep_filter(expression)
    assert Memory(tmp_path / "state").filters() == ["channel < 2", "marked"]
    (tmp_path / "state" / "filters.json").write_text("{")
    assert memory.filters() == []
    assert len(memory.problems) == 1


WRONG: tuple[Any, ...] = (
    None,
    True,
    7,
    10**40,
    1.5,
    "x",
    "\ud800",
    "a\0b",
    "(" * 2000,
    [],
    [[]],
    ["x"],
    ["x", True],
    {},
    {"x": []},
)


def test_whatever_a_file_of_what_is_remembered_says_it_is_used_or_ignored_with_a_line(tmp_path: Path) -> None:
    """Each field with each wrong value, with a checksum that is right."""
    folder, info = tmp_path / "state", make_info()
    memory = Memory(folder)
    memory.keep_session(info, Session())
    memory.keep_model(ModelSpec("resnet18"))
    memory.keep_filter("marked")
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["filters.json", "last.json", f"resnet18-{info.identity[:16]}.json"]
    ignored = 0
    for name in names:
        whole = read_document(folder / name)
        for field, value in ((field, value) for field in whole for value in WRONG):
            write_document(folder / name, {**whole, field: value})
            reader = Memory(folder)
            found = (reader.session(info), reader.model(), reader.filters())
            lost = [part for part in found if part in (None, [])]
            assert all(f"{folder / name} is damaged" in line for line in reader.problems)
            assert len(reader.problems) == min(1, len(lost)) or value in ("x", "(" * 2000, []), (name, field, value)
            ignored += len(reader.problems)
        write_document(folder / name, whole)
    assert ignored > 80


async def test_keys_of_the_settings_hold_and_the_help_shows_them(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    settings = Settings(theme="light", advance=True, columns=("rho",), keys={"mark.keep": "f2", "mark.reject": "y"})
    async with opened(options(tmp_path, settings=settings), size=(120, 40)) as (app, pilot):
        assert not app.current_theme.dark
        assert channels_screen(app).arrangement.shown == ("rho",)
        await pilot.press("f2", "y", "n")
        await until(pilot, lambda: len(app.judgements) == 2)
        assert [app.judgement(("1.1", channel)).mark for channel in (0, 1, 2)] == ["keep", "reject", ""]
        await pilot.press("question_mark", *"mark.keep")
        await until(pilot, lambda: isinstance(app.screen, KeysDialog) and "f2" in screen_text(app))


@pytest.mark.parametrize("theme", ["dark", "light"])
async def test_a_selection_and_a_mark_can_be_told_without_colour(tmp_path: Path, theme: str) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path, settings=Settings(theme=theme, advance=False)), size=(80, 24)) as (app, pilot):
        await pilot.press("y", "j", "space")
        await until(pilot, lambda: len(app.judgements) == 1)
        lines = screen_text(app).split("\n")
        assert any(line.startswith(" ✓ 1.1      0") for line in lines)
        assert any(line.startswith("▌  1.1      1") for line in lines)
