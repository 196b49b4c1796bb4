"""What is shown until the model is known."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Middle
from textual.screen import Screen
from textual.widgets import Static


class LoadingScreen(Screen[None]):
    """One line in the middle."""

    CSS = """
    LoadingScreen Middle { width: 1fr; }
    LoadingScreen Static { width: 1fr; text-align: center; padding: 0 4; }
    LoadingScreen .failed { color: $error; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "app.quit", "Quit", show=False)]

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def compose(self) -> ComposeResult:
        with Middle():
            yield Static(Text(self.text, justify="center"), id="what")

    def say(self, text: str, failed: bool = False) -> None:
        self.text = text
        what = self.query_one("#what", Static)
        what.set_class(failed, "failed")
        what.update(Text(text, justify="center"))
