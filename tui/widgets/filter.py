"""The filter line: an expression checked at every key, with what is wrong with it below, under the place."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal
from textual.message import Message
from textual.widgets import Input, Label, Static

from core.errors import FilterError
from core.filter import Filter, compile_filter

PROMPT = 2
"""Cells before what is written."""


class FilterBar(Container):
    """Hidden while there is nothing to filter by and nobody writes."""

    DEFAULT_CSS = """
    FilterBar { height: 0; background: $surface; }
    FilterBar.shown { height: auto; }
    FilterBar Horizontal { height: 1; }
    FilterBar Label { width: 2; color: $accent; text-style: bold; }
    FilterBar Input { width: 1fr; }
    FilterBar #wrong { height: auto; min-height: 1; max-height: 4; color: $text-error; display: none; }
    FilterBar.written #wrong { display: block; }
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
            line = Input(placeholder="mix_ratio > 1 and not marked", compact=True)
            line.can_focus = False
            yield line
        yield Static(id="wrong")

    @property
    def text(self) -> str:
        return self.query_one(Input).value

    def open(self) -> None:
        """Show the line and write in it, from the next key on: `.focus()` would come after what is typed meanwhile."""
        self.add_class("shown")
        line = self.query_one(Input)
        line.can_focus = True
        self.screen.set_focus(line)

    def write(self, text: str) -> None:
        """Filter by `text`, as if it were written."""
        self.query_one(Input).value = text
        self._close()

    def clear(self) -> None:
        """Filter by nothing."""
        self.write("")

    def _close(self) -> None:
        self.set_class(bool(self.text.strip()), "shown")
        self.post_message(self.FilterLeft())
        # Out of reach of Tab while it is hidden.
        self.query_one(Input).can_focus = self.has_class("shown")

    def on_descendant_focus(self) -> None:
        self.add_class("written")

    def on_descendant_blur(self) -> None:
        self.remove_class("written")

    def action_clear(self) -> None:
        self.clear()

    def action_leave(self) -> None:
        self._close()

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
        self.query_one("#wrong", Static).update(self._pointing(error) if error is not None else "")

    def _pointing(self, error: FilterError) -> Text:
        """On one line where it fits, so that the table does not jump while one writes."""
        width = max(1, self.size.width)
        column = max(0, min(PROMPT + error.position - self.query_one(Input).scroll_offset.x, width - 1))
        if column + 2 + len(error.reason) <= width:
            return Text(" " * column + "^ " + error.reason)
        if len(error.reason) + 1 <= column:
            return Text(f"{error.reason:>{column - 1}} ^")
        return Text(" " * column + "^\n" + error.reason)
