"""What actions use of the app that they belong to: a place for dialogs, a line to the user, threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from textual.screen import Screen

from streamscope.tui.data.store_reader import Reading
from streamscope.tui.screens.channels import ChannelsScreen

Answer = TypeVar("Answer")
Opener = Callable[[ChannelsScreen, Reading], object]
"""What a key does, given the main screen and what it shows."""


class Window(Protocol):
    @property
    def screen(self) -> Screen[Any]:
        """The screen on top."""

    def push(self, screen: Screen[Answer], then: Callable[[Answer | None], None] | None = None) -> None:
        """Put a screen on top; `then` gets its answer."""

    def notify(self, message: str) -> None:
        """Say something in the line at the bottom."""

    def run_in_thread(self, title: str, action: Callable[[], object], done: Callable[[], object]) -> None:
        """Run `action` in a thread, then `done` on the event loop. A StreamscopeError is shown under `title`."""
