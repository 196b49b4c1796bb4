"""Opens the app on a store without a terminal and waits for what it shows."""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.pilot import Pilot

from streamscope.core.model.spec import ModelSpec
from streamscope.core.store import Store, stored_text
from streamscope.tui.app.actions import SCOPES
from streamscope.tui.app.app import StreamscopeApp
from streamscope.tui.app.options import AppOptions
from streamscope.tui.app.settings import Settings
from streamscope.tui.data.job_control import Workers
from streamscope.tui.screens.channels import ChannelsScreen
from streamscope.tui.screens.dialogs.base import Notice
from streamscope.tui.screens.dialogs.export import ExportDialog
from streamscope.tui.terminal.detection import Graphics
from streamscope.tui.widgets.picture import WAITING, PictureBox
from streamscope.tui.widgets.status import JobLine, StatusBar
from tests.support.app_store import fill, make_info, open_store

WAIT_SECONDS = 20.0


def small_store(root: Path, blocks: tuple[str, ...] = ("1.1", "2.0", "2.1")) -> Store:
    """A store of a model of 28 channels in four blocks; 1.0 is not among the default ones."""
    info = make_info()
    store = open_store(root, info)
    if blocks:
        fill(store, info, blocks)
    return store


def options(folder: Path, **changes: Any) -> AppOptions:
    """What the app is opened with; its cursor stays after a mark and after space."""
    given: dict[str, Any] = {"spec": ModelSpec("resnet18"), "cache": folder / "cache", "marks": folder / "marks"}
    given["settings"] = Settings(advance=False)
    return AppOptions(**{**given, **changes})


@asynccontextmanager
async def opened(
    given: AppOptions,
    size: tuple[int, int] = (160, 48),
    graphics: Graphics | None = None,
    workers: Workers | None = None,
) -> AsyncIterator[tuple[StreamscopeApp, Pilot[None]]]:
    """The app on its main screen, with the store read, which is the default one: commands shown do not name it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STREAMSCOPE_CACHE", str(given.cache))
        store = Store.open(given.cache)
        app = StreamscopeApp(given, store, graphics or Graphics("half"), stored_text(store, given.spec), workers)
        async with _on_main_screen(app, size) as pilot:
            yield app, pilot


@asynccontextmanager
async def _on_main_screen(app: StreamscopeApp, size: tuple[int, int]) -> AsyncIterator[Pilot[None]]:
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.channels is not None and app.channels.frame is not None)
        await pilot.pause()
        yield pilot


async def until(pilot: Pilot[None], condition: Callable[[], bool], seconds: float = WAIT_SECONDS) -> None:
    """Let the app work until the condition holds; fails when it does not within `seconds`."""
    for _ in range(int(seconds / 0.02)):
        if condition():
            return
        await pilot.pause(0.02)
    raise AssertionError("the app did not come to what was waited for; the screen shows\n" + screen_text(pilot.app))


def idle_workers() -> Workers:
    """Workers that end at once: jobs are queued, and stay there."""
    return Workers([sys.executable, "-c", ""])


def channels_screen(app: StreamscopeApp) -> ChannelsScreen:
    screen = app.channels
    assert screen is not None
    return screen


async def open_export(pilot: Pilot[None], app: StreamscopeApp, scope: str = "") -> ExportDialog:
    """The export dialog, on these channels; "" leaves it at those that it opens with."""
    await pilot.press("E")
    await until(pilot, lambda: isinstance(app.screen, ExportDialog))
    dialog = app.screen
    assert isinstance(dialog, ExportDialog)
    for _ in SCOPES:
        if not scope or dialog.scope == scope:
            return dialog
        await pilot.press("ctrl+g")
    raise AssertionError(f"no channels are {scope}")


def type_ahead(app: StreamscopeApp, text: str) -> None:
    """Keys that arrive at once, as when a person is quicker than the app."""
    names = {"/": "slash", " ": "space", "_": "underscore", "=": "equals_sign", "<": "less_than_sign", "\r": "enter"}
    for letter in text:
        app.post_message(events.Key(names.get(letter, letter), letter))


def shown(app: StreamscopeApp) -> list[tuple[str, int]]:
    """The channels in the table, in order."""
    screen = channels_screen(app)
    assert screen.frame is not None
    columns = screen.frame.columns
    return [(str(columns["block"][row]), int(columns["channel"][row])) for row in screen.table.index]


def status_left(app: StreamscopeApp) -> str:
    return channels_screen(app).query_one(StatusBar).left


def job_line(app: StreamscopeApp) -> str:
    line = channels_screen(app).query_one(JobLine)
    return str(line.render()) if line.has_class("shown") else ""


def dialog_text(app: StreamscopeApp) -> str:
    """What the dialog on top says, "" when there is none."""
    return app.screen.text if isinstance(app.screen, Notice) else ""


def screen_text(app: object) -> str:
    """What stands on the screen, line by line."""
    assert isinstance(app, StreamscopeApp)
    return "\n".join(strip.text.rstrip() for strip in app.screen._compositor.render_strips())


def said(app: object, pattern: str) -> bool:
    """Whether some line of the screen has this."""
    return re.search(pattern, screen_text(app)) is not None


def boxes(app: StreamscopeApp) -> list[PictureBox]:
    """The boxes of pictures that the screen on top shows."""
    found = app.screen.query("#pictures PictureBox").results(PictureBox)
    return [box for box in found if box.display and box.size.area]


def drawn(app: StreamscopeApp) -> Callable[[], bool]:
    """A condition for `until`: every picture is there, or what is said in its place."""
    return lambda: bool(boxes(app)) and all(box.picture is not None or box.message != WAITING for box in boxes(app))
