"""From the command line to the first table."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from streamscope.core.model.descriptions import bundled_description
from streamscope.core.model.recipe import SetKey
from streamscope.core.model.spec import ModelSpec
from streamscope.core.store import Store
from streamscope.tui.app.app import StreamscopeApp
from streamscope.tui.bench.app_start import app_start, first_look, visible
from streamscope.tui.data.store_reader import StoreReader
from streamscope.tui.screens.loading import LoadingScreen
from streamscope.tui.terminal.detection import Graphics
from tests.support.app_driver import channels_screen, dialog_text, opened, options, shown, small_store, until
from tests.support.app_store import make_info


async def test_a_store_that_could_not_be_read_at_first_is_shown_once_it_can_be(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"slow to read")
    given = options(tmp_path, spec=ModelSpec("resnet18", weights))
    app = StreamscopeApp(given, Store.open(given.cache), Graphics("half"), given.spec.text)
    async with app.run_test(size=(160, 48)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, LoadingScreen))
        reader = StoreReader(given.cache, make_info(), given.set_choice)
        app.screen.post_message(LoadingScreen.ModelFound(reader, None, "the disk is not there; mount it"))
        await until(pilot, lambda: "mount it" in dialog_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is channels_screen(app) and channels_screen(app).frame is not None)
        assert len(shown(app)) == 22


def test_a_start_is_timed_on_a_terminal_of_its_own(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    info = make_info()
    Store.open(tmp_path / "cache").remember("resnet18", info.fingerprint)
    found = app_start(tmp_path / "cache", "resnet18", info.fingerprint, rounds=1)
    assert 0 < found["first_words"]["median_ms"] <= found["first_frame"]["median_ms"] <= found["table"]["median_ms"]
    assert 0 < found["first_start_words_ms"] < found["first_start_ms"]


def test_a_start_on_an_empty_store_is_timed_beside_one_on_a_filled_store(tmp_path: Path) -> None:
    store, text = Store.open(tmp_path / "cache", create=True), ModelSpec("demo").text
    info = bundled_description(text)
    assert info is not None
    store.register(info)
    store.remember(text, info.fingerprint)
    found = first_look(tmp_path / "cache", "demo", info.fingerprint, rounds=1)
    assert found["ratio"] == pytest.approx(found["empty"]["median_ms"] / found["filled"]["median_ms"], abs=0.02)


def test_what_can_be_seen_of_a_terminals_output_is_its_text() -> None:
    drawn = b"\x1b[?1049h\x1b[1;1H\x1b[48;5;233m   \x1b]22;default\x07\x1b]0;title\x1b\\\x1bP1$q\x1b\\\x1b(B\r\n"
    assert visible(drawn) == b""
    assert visible(drawn + b"an\x1b[0m app \x1b]22;unfinished") == b"anapp"


async def test_the_demo_opens_on_an_empty_store_without_a_process_and_is_kept_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", refuse)
    spec = ModelSpec("demo")
    async with opened(options(tmp_path, spec=spec)) as (app, _):
        assert app.info == bundled_description(spec.text)
        assert len(shown(app)) == 176
    (alias,) = (tmp_path / "cache" / "aliases").iterdir()
    assert json.loads(alias.read_text())["spec"] == spec.text
    assert Store.open(tmp_path / "cache").models() == [app.info]


async def test_a_store_that_takes_no_description_is_said_instead_of_the_table(tmp_path: Path) -> None:
    Store.open(tmp_path / "cache", create=True)
    (tmp_path / "cache" / "models").write_text("a file in the folder's place")
    given = options(tmp_path, spec=ModelSpec("demo"))
    app = StreamscopeApp(given, Store(given.cache), Graphics("off", (8, 17)), given.spec.text)
    async with app.run_test() as pilot:
        await until(pilot, lambda: isinstance(app.screen, LoadingScreen) and "q quits" in app.screen.text)
        assert isinstance(app.screen, LoadingScreen)
        assert str(tmp_path / "cache" / "models") in app.screen.text


@pytest.mark.parametrize(("converged", "steps"), [(None, 2560), (True, 640)])
async def test_a_set_that_stopped_when_converged_is_opened_when_asked_for(
    tmp_path: Path, converged: bool | None, steps: int
) -> None:
    store = small_store(tmp_path / "cache")
    info = make_info()
    recipe = info.recipe("paper", 640, converged=True)
    store.set(info, SetKey(recipe), create=True)
    async with opened(options(tmp_path, converged=converged, steps=steps)) as (app, _):
        assert app.reading is not None
        assert (app.reading.key.recipe == recipe) is bool(converged)
        assert app.reading.stored


async def test_a_set_that_is_to_stop_when_converged_is_begun_where_none_is_stored(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path, converged=True)) as (app, _):
        assert app.reading is not None
        assert app.reading.key == SetKey(make_info().recipe("paper", converged=True), protocol="centred")
        assert not app.reading.stored
