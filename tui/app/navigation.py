"""Opens the full screens over the channel table, and keeps those that are open up to date."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from streamscope.core.store import JobState
from streamscope.tui.cli.options import command_line
from streamscope.tui.command_lines import CommandLine, set_words
from streamscope.tui.data.channel_facts import FactsReader
from streamscope.tui.data.null_facts import NullsReader
from streamscope.tui.data.store_reader import Reading
from streamscope.tui.screens.channel_view import ChannelView, ZoomScreen
from streamscope.tui.screens.channels import ChannelsScreen
from streamscope.tui.screens.compare import CompareScreen
from streamscope.tui.screens.detail import DetailScreen
from streamscope.tui.screens.jobs import JobsScreen
from streamscope.tui.screens.spectrum import SpectrumScreen
from streamscope.tui.table.arrangement import Key, key_at

if TYPE_CHECKING:
    from streamscope.tui.app.app import StreamscopeApp


class Views:
    def __init__(self, app: StreamscopeApp) -> None:
        self._app = app
        self._free: int | None = None

    def openers(self) -> dict[str, Callable[[ChannelsScreen, Reading], None]]:
        """What opens which screen, by the name that bindings use."""
        return {
            "compare": self._compare,
            "detail": self._detail,
            "jobs": self._jobs,
            "spectrum": lambda screen, reading: self._open(
                SpectrumScreen(screen, self._nulls(reading), self._commands(reading))
            ),
            "zoom": self._zoom,
        }

    def follow(self) -> None:
        """The frame or the marks have changed."""
        for screen in self._app.screen_stack:
            if isinstance(screen, ChannelView | SpectrumScreen) and screen.is_mounted:
                screen.show()

    def follow_jobs(self, states: Sequence[JobState], free: int | None) -> None:
        """The jobs have moved on."""
        self._free = free
        for screen in self._app.screen_stack:
            if isinstance(screen, JobsScreen) and screen.is_mounted:
                screen.show_jobs(states, free)

    def say(self, text: str) -> bool:
        """Say something on the screen on top; False when it has no line for that."""
        screen = self._app.screen
        if isinstance(screen, ChannelView | JobsScreen):
            screen.say(text)
            return True
        return False

    def _open(self, screen: ChannelView | SpectrumScreen | JobsScreen) -> None:
        self._app.push_screen(screen)

    def _compare(self, screen: ChannelsScreen, reading: Reading) -> None:
        keys = compared(screen)
        if len(keys) < 2:
            screen.say("choose two channels or more with space, or mark some unsure, to compare them")
            return
        self._open(CompareScreen(screen, keys))

    def _detail(self, screen: ChannelsScreen, reading: Reading) -> None:
        if screen.table.key is None:
            return
        options = self._app.options
        facts = FactsReader(options.cache, reading.info, reading.key, options.images)
        self._open(DetailScreen(screen, facts, self._nulls(reading), self._commands(reading)))

    def _commands(self, reading: Reading) -> CommandLine:
        """Command lines about what the app shows."""
        commands = command_line(self._app.options.spec, self._app.options.cache)
        return replace(commands, of_set=set_words(reading.key, reading.info.default_recipe))

    def _nulls(self, reading: Reading) -> NullsReader:
        return NullsReader(self._app.options.cache, reading.info, reading.key)

    def _zoom(self, screen: ChannelsScreen, reading: Reading) -> None:
        if screen.table.key is not None:
            self._open(ZoomScreen(screen))

    def _jobs(self, screen: ChannelsScreen, reading: Reading) -> None:
        states = list(self._app.jobs.values())
        self._open(JobsScreen(self._app.requests.jobs, states, self._free, screen.cache))


def compared(screen: ChannelsScreen) -> list[Key]:
    """The channels chosen; with fewer than two, those in view that are marked unsure."""
    if len(screen.table.chosen) > 1:
        return list(screen.table.chosen)
    frame, index = screen.frame, screen.table.index
    if frame is None:
        return []
    return [key_at(frame, int(row)) for row in index if frame.columns["marked"][row] == "unsure"]
