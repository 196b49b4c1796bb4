"""The filter line: an expression checked at every key, with what is wrong with it below, under the place."""

from __future__ import annotations

from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal
from textual.message import Message
from textual.widgets import Input, Label, Static

from core.errors import FilterError
from core.filter import Filter, compile_filter


class FilterBar(Container):
    """Hidden while there is nothing to filter by and nobody writes."""

    DEFAULT_CSS = """
    FilterBar { height: auto; display: none; background: $surface; }
    FilterBar.shown { display: block; }
    FilterBar Horizontal { height: 1; }
    FilterBar Label { width: 2; color: $accent; text-style: bold; }
    FilterBar Input { width: 1fr; }
    FilterBar #wrong { height: auto; display: none; color: $error; }
    FilterBar #wrong.shown { display: block; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "clear", "Clear the filter", show=False, id="filter.clear"),
        Binding("down,ctrl+j", "leave", "Back to the table", show=False, id="filter.leave"),
    ]

    class FilterChanged(Message):
        """A filter that compiles was written, or (None) the line was emptied."""

        def __init__(self, filter: Filter | None) -> None:
            super().__init__()
            self.filter = filter

    class FilterLeft(Message):
        """Writing ended; the filter stays."""

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield Label("/")
            yield Input(placeholder="mix_ratio > 1 and not marked", compact=True)
        yield Static(id="wrong")

    @property
    def text(self) -> str:
        return self.query_one(Input).value

    def open(self) -> None:
        """Show the line and write in it."""
        self.add_class("shown")
        self.query_one(Input).focus()

    def clear(self) -> None:
        """Filter by nothing."""
        self.query_one(Input).value = ""
        self.remove_class("shown")

    def action_clear(self) -> None:
        self.clear()
        self.post_message(self.FilterLeft())

    def action_leave(self) -> None:
        if not self.text.strip():
            self.remove_class("shown")
        self.post_message(self.FilterLeft())

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_leave()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        if not event.value.strip():
            self._say(None)
            self.post_message(self.FilterChanged(None))
            return
        try:
            compiled = compile_filter(event.value)
        except FilterError as error:
            self._say(error)
            return
        self._say(None)
        self.post_message(self.FilterChanged(compiled))

    def _say(self, error: FilterError | None) -> None:
        wrong = self.query_one("#wrong", Static)
        wrong.set_class(error is not None, "shown")
        if error is None:
            return
        column = max(0, 2 + error.position - self.query_one(Input).scroll_offset.x)
        column = min(column, max(0, self.size.width - 1))
        if column + 2 + len(error.reason) <= self.size.width:
            wrong.update(Text(" " * column + "^ " + error.reason))
        else:
            wrong.update(Text(" " * column + "^\n" + error.reason, style=Style()))
