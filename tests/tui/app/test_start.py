"""From the command line to the first table."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamscope.core.errors import StoreError
from streamscope.core.model.recipe import SetKey
from streamscope.core.store import Store
from streamscope.tui.bench.app_start import app_start
from streamscope.tui.data.store_reader import Reading, StoreReader
from streamscope.tui.screens.dialogs.base import Notice
from tests.support.app_driver import channels_screen, opened, options, shown, small_store, until
from tests.support.app_store import make_info


async def test_a_store_that_cannot_be_read_at_first_is_said_and_shown_once_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_store(tmp_path / "cache")
    really, asked = StoreReader.read, []

    def read(self: StoreReader) -> Reading | None:
        asked.append(self)
        if len(asked) == 1:
            raise StoreError("the disk is not there; mount it")
        return really(self)

    monkeypatch.setattr(StoreReader, "read", read)
    async with opened(options(tmp_path)) as (app, pilot):
        await until(pilot, lambda: isinstance(app.screen, Notice))
        assert "mount it" in app.screen.text  # type: ignore[attr-defined]
        await pilot.press("escape")
        assert app.screen is channels_screen(app)
        assert len(shown(app)) == 22


def test_a_start_is_timed_on_a_terminal_of_its_own(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    info = make_info()
    Store.open(tmp_path / "cache").remember("resnet18", info.fingerprint)
    found = app_start(tmp_path / "cache", "resnet18", info.fingerprint, rounds=1)
    assert 0 < found["first_frame"]["median_ms"] <= found["table"]["median_ms"]
    assert found["first_start_ms"] > 0


@pytest.mark.parametrize(("converged", "steps"), [(None, 2560), (True, 640)])
async def test_a_set_that_stopped_when_converged_is_opened_when_asked_for(
    tmp_path: Path, converged: bool | None, steps: int
) -> None:
    store = small_store(tmp_path / "cache")
    info = make_info()
    recipe = info.recipe(640).until_converged()
    store.set(info, SetKey(recipe), create=True)
    async with opened(options(tmp_path, converged=converged, steps=steps)) as (app, _):
        assert app.reading is not None
        assert (app.reading.key.recipe == recipe) is bool(converged)
        assert app.reading.stored


async def test_a_set_that_is_to_stop_when_converged_is_begun_where_none_is_stored(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path, converged=True)) as (app, _):
        assert app.reading is not None
        assert app.reading.key.recipe == make_info().recipe(None).until_converged()
        assert not app.reading.stored
