"""The app on a network of one's own whose code is gone, and what is remembered of such models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from streamscope.core.model.spec import ModelSpec
from streamscope.core.store import Store, stored_text
from streamscope.tui.app.app import StreamscopeApp
from streamscope.tui.app.memory import Memory
from streamscope.tui.data.job_control import describe_command
from streamscope.tui.table.session import Session
from streamscope.tui.terminal.detection import Graphics
from tests.support.app_driver import options, screen_text, shown, until
from tests.support.app_store import fill, make_info
from tests.support.own_code import research_folder


def store_of(root: Path, path: Path) -> ModelSpec:
    spec = ModelSpec.given(f"{path}:make")
    info = replace(make_info(), name=spec.name, code=spec.code_sha256)
    store = Store.open(root, create=True)
    store.register(info)
    store.remember(spec.text, info.identity)
    fill(store, info, ("1.1", "2.0", "2.1"))
    return spec


async def test_what_is_stored_of_a_model_whose_code_is_gone_is_shown_and_why_it_stays_so(tmp_path: Path) -> None:
    path = research_folder(tmp_path / "research")
    spec = store_of(tmp_path / "cache", path)
    path.unlink()
    given = options(tmp_path, spec=spec)
    store = Store.open(given.cache)
    app = StreamscopeApp(given, store, Graphics("half"), stored_text(store, spec))
    async with app.run_test(size=(200, 48)) as pilot:
        await until(pilot, lambda: app.channels is not None and app.channels.frame is not None)
        assert len(shown(app)) == 22
        await until(pilot, lambda: "no such file" in screen_text(app))
        assert "net.py:make" in screen_text(app)
        assert f"no such file: {path}" in screen_text(app)


def test_the_app_remembers_ones_own_model_by_its_path_while_it_is_there(tmp_path: Path) -> None:
    path = research_folder(tmp_path / "research")
    spec = ModelSpec.given(f"{path}:make")
    memory = Memory(tmp_path / "state")
    memory.keep_model(spec)
    assert memory.model() == spec
    path.unlink()
    assert memory.model() is None
    assert memory.problems == []


def test_a_model_of_any_name_has_a_place_of_its_own_to_be_remembered_in(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "state")
    for name in ("net.py:make", "timm:resnet50.a1_in1k", "../../elsewhere", "a/b"):
        info = replace(make_info(), name=name)
        memory.keep_session(info, Session())
        assert memory.session(info) is not None
    assert memory.problems == []
    assert len(list((tmp_path / "state").iterdir())) == 4


def test_the_process_that_describes_it_is_told_its_path(tmp_path: Path) -> None:
    path = research_folder(tmp_path / "research")
    command = describe_command(tmp_path / "cache", ModelSpec.given(f"{path}:make-untrained-1"))
    assert command[command.index("--model") + 1] == f"{path}:make-untrained-1"
