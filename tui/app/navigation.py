"""Opens the full screens over the channel table, and keeps those that are open up to date."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from textual.screen import Screen

from streamscope.core.store import JobState
from streamscope.tui.app.window import Opener, Window
from streamscope.tui.data.channel_facts import FactsReader
from streamscope.tui.data.null_facts import NullsReader
from streamscope.tui.data.store_reader import Reading
from streamscope.tui.screens.channel_view import ChannelView, ZoomScreen
from streamscope.tui.screens.channels import ChannelsScreen
from streamscope.tui.screens.compare import CompareScreen
from streamscope.tui.screens.detail import DetailScreen
from streamscope.tui.screens.jobs import JobControls, JobsScreen
from streamscope.tui.screens.spectrum import SpectrumScreen
from streamscope.tui.screens.wall import WallScreen
from streamscope.tui.table.arrangement import Key, key_at


class ScreensWindow(Window, Protocol):
    """A window that has the screens that are open, and the jobs."""

    @property
    def screen_stack(self) -> Sequence[Screen[Any]]: ...

    @property
    def jobs(self) -> Mapping[str, JobState]: ...

    def key_of(self, name: str) -> str:
        """The key of an action, as a person would name it."""


class Navigation:
    """`images` is the folder whose scan is shown, None for the last one."""

    def __init__(self, window: ScreensWindow, cache: Path, images: Path | None, controls: JobControls) -> None:
        self._window = window
        self._cache = cache
        self._images = images
        self._controls = controls
        self._free: int | None = None

    def by_name(self) -> Mapping[str, Opener]:
        """What opens which screen, by the names that bindings use."""
        return {
            "compare": self._compare,
            "detail": self._detail,
            "jobs": self._jobs,
            "spectrum": self._spectrum,
            "wall": self._wall,
            "zoom": self._zoom,
        }

    def follow(self) -> None:
        """The frame or the marks have changed."""
        for screen in self._window.screen_stack:
            if isinstance(screen, ChannelView | SpectrumScreen) and screen.is_mounted:
                screen.show()

    def follow_jobs(self, states: Sequence[JobState], free: int | None) -> None:
        """The jobs have moved on."""
        self._free = free
        for screen in self._window.screen_stack:
            if isinstance(screen, JobsScreen) and screen.is_mounted:
                screen.show_jobs(states, free)

    def say(self, text: str) -> bool:
        """Say something on the screen on top; False when it has no line for that."""
        screen = self._window.screen
        if isinstance(screen, ChannelView | JobsScreen):
            screen.say(text)
            return True
        return False

    def _compare(self, screen: ChannelsScreen, reading: Reading) -> None:
        keys = keys_to_compare(screen)
        if len(keys) < 2:
            screen.say("choose two channels or more with space, or mark some unsure, to compare them")
            return
        self._window.push(CompareScreen(screen, keys))

    def _detail(self, screen: ChannelsScreen, reading: Reading) -> None:
        if screen.table.key is None:
            return
        facts = FactsReader(self._cache, reading.info, reading.key, self._images)
        self._window.push(DetailScreen(screen, facts, self._nulls(reading), self._window.key_of))

    def _spectrum(self, screen: ChannelsScreen, reading: Reading) -> None:
        self._window.push(SpectrumScreen(screen, self._nulls(reading), self._window.key_of))

    def _nulls(self, reading: Reading) -> NullsReader:
        return NullsReader(self._cache, reading.info, reading.key)

    def _zoom(self, screen: ChannelsScreen, reading: Reading) -> None:
        if screen.table.key is not None:
            self._window.push(ZoomScreen(screen))

    def _wall(self, screen: ChannelsScreen, reading: Reading) -> None:
        self._window.push(WallScreen(screen))

    def _jobs(self, screen: ChannelsScreen, reading: Reading) -> None:
        states = list(self._window.jobs.values())
        self._window.push(JobsScreen(self._controls, states, self._free, screen.cache))


def keys_to_compare(screen: ChannelsScreen) -> list[Key]:
    """The channels chosen; with fewer than two, those in view that are marked unsure."""
    if len(screen.table.chosen) > 1:
        return list(screen.table.chosen)
    frame, index = screen.frame, screen.table.index
    if frame is None:
        return []
    return [key_at(frame, int(row)) for row in index if frame.columns["marked"][row] == "unsure"]
