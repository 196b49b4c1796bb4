"""The filter line: an expression checked at every key; below it what may be written, or what is wrong and where."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, Label, Static

from streamscope.core.errors import FilterError
from streamscope.core.table.completion import Completion, complete
from streamscope.core.table.filter import Filter, compile_filter
from streamscope.tui.table.headings import DIM

PROMPT = 2
"""Cells before what is written."""


class FilterLine(Input):
    """The line itself. Enter gives the focus to `below` before the next key: on a slow line several arrive at once. It
    keeps the focus while what is written is wrong."""

    below: Widget | None = None

    async def action_submit(self) -> None:
        await super().action_submit()
        if self.below is not None and try_compile(self.value)[1] is None:
            self.screen.set_focus(self.below)


class FilterBar(Container):
    """Hidden while there is nothing to filter by and nobody writes."""

    DEFAULT_CSS = """
    FilterBar { height: 0; background: $surface; }
    FilterBar.shown { height: auto; }
    FilterBar Horizontal { height: 1; }
    FilterBar Label { width: 2; color: $text-accent; text-style: bold; }
    FilterBar Input { width: 1fr; }
    FilterBar #wrong { height: auto; min-height: 1; max-height: 4; color: $foreground; display: none; }
    FilterBar #wrong.wrong { color: $text-error; }
    FilterBar.written #wrong { display: block; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "clear", "Clear the filter", show=False, id="filter.clear"),
        Binding("tab", "complete", "Complete the name", show=False, id="filter.complete"),
        Binding("ctrl+n", "candidate(1)", "Next name to complete", show=False, id="filter.next_name"),
        Binding("ctrl+p", "candidate(-1)", "Previous name to complete", show=False, id="filter.previous_name"),
        Binding("up", "recall(-1)", "Earlier filter", show=False, id="filter.earlier"),
        Binding("down", "recall(1)", "Later filter, then back to the table", show=False, id="filter.later"),
        Binding("ctrl+j", "leave", "Back to the table", show=False, id="filter.leave"),
    ]

    class FilterChanged(Message):
        """A filter that compiles was written, or (None) the line was emptied."""

        def __init__(self, filter: Filter | None) -> None:
            super().__init__()
            self.filter = filter

    class FilterLeft(Message):
        """Writing ended; the filter stays."""

    class FilterKept(Message):
        """A filter that compiles was left standing: worth remembering."""

        def __init__(self, expression: str) -> None:
            super().__init__()
            self.expression = expression

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.history: Sequence[str] = ()
        """Filters written before, the latest last."""
        self.values: Callable[[str], Sequence[str]] = lambda name: ()
        """The texts that a column has."""
        self._completions: list[Completion] = []
        self._candidate = 0
        self._recalled: int | None = None
        self._written = ""
        """What was being written when earlier filters were called back."""
        self._error: FilterError | None = None
        self._applied = ""
        """What the table is filtered by."""

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield Label("/")
            line = FilterLine(placeholder="mix_ratio > 1 and not marked", compact=True)
            line.can_focus = False
            yield line
        yield Static(id="wrong")

    def stand_above(self, widget: Widget) -> None:
        """Say what the focus goes to when the filter is written."""
        self.query_one(FilterLine).below = widget

    @property
    def text(self) -> str:
        return self.query_one(Input).value

    def open(self) -> None:
        """Show the line and write in it, from the next key on: `.focus()` would come after what is typed meanwhile."""
        self.add_class("shown")
        line = self.query_one(Input)
        line.can_focus = True
        self._recalled = None
        self.screen.set_focus(line)

    def write(self, text: str) -> None:
        """Filter by `text`, as if it were written."""
        self.query_one(Input).value = text
        self._close()

    def clear(self) -> None:
        """Filter by nothing."""
        self.write("")

    def _close(self) -> None:
        """Stop writing, unless what is written is wrong: then it is said, and nothing else happens."""
        text = self.text.strip()
        self._error = try_compile(text)[1]
        if self._error is not None:
            self._completions = []
            self._show_hint()
            return
        if text:
            self.post_message(self.FilterKept(text))
        self.set_class(bool(text), "shown")
        self.post_message(self.FilterLeft())
        # Out of reach of Tab while it is hidden.
        self.query_one(Input).can_focus = self.has_class("shown")

    def on_descendant_focus(self) -> None:
        self.add_class("written")
        self._hint()

    def on_descendant_blur(self) -> None:
        self.remove_class("written")
        if self._error is not None:
            # What stands above the table is what it is filtered by.
            self.query_one(Input).value = self._applied
            self.set_class(bool(self._applied), "shown")

    def action_clear(self) -> None:
        self.clear()

    def action_leave(self) -> None:
        self._close()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_leave()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        if self._recalled is not None and event.value != self.history[self._recalled]:
            self._recalled = None
        written, self._error = try_compile(event.value)
        self._hint()
        if self._error is None:
            self._applied = event.value.strip()
            self.post_message(self.FilterChanged(written))

    def action_complete(self) -> None:
        if not self._completions:
            return
        chosen, line = self._completions[self._candidate], self.query_one(Input)
        line.replace(chosen.text, chosen.start, line.cursor_position)
        line.cursor_position = chosen.start + len(chosen.text)
        self._hint()

    def action_candidate(self, by: int) -> None:
        if self._completions:
            self._candidate = (self._candidate + by) % len(self._completions)
            self._show_hint()

    def action_recall(self, by: int) -> None:
        """Earlier filters instead of the one being written; past the latest it comes back, then the table."""
        place = len(self.history) if self._recalled is None else self._recalled
        if by > 0 and self._recalled is None:
            self._close()
            return
        wanted = max(0, min(len(self.history), place + by))
        if self._recalled is None:
            self._written = self.text
        self._recalled = wanted if wanted < len(self.history) else None
        line = self.query_one(Input)
        line.value = self._written if self._recalled is None else self.history[self._recalled]
        line.action_end()

    def _hint(self) -> None:
        """Look again what may be written at the caret."""
        line = self.query_one(Input)
        recalled = self._recalled is not None
        self._completions = [] if recalled else complete(line.value[: line.cursor_position], self.values)
        self._candidate = 0
        self._show_hint()

    def _show_hint(self) -> None:
        hint: Text | str = ""
        if self._completions:
            hint = self._offering()
        elif self._error is not None:
            hint = self._pointing(self._error)
        line = self.query_one("#wrong", Static)
        line.set_class(not self._completions, "wrong")
        line.update(hint)

    def _offering(self) -> Text:
        """The names that may be completed, on one line that begins with the one that Tab takes."""
        names = [*self._completions[self._candidate :], *self._completions[: self._candidate]]
        text = Text(" " * PROMPT, no_wrap=True)
        text.append(f" {names[0].text} ", Style(reverse=True)).append(" Tab  ", DIM)
        for place, name in enumerate(names[1:], 1):
            rest = len(names) - place
            if text.cell_len + len(name.text) + len(f"  +{rest} ") > self.size.width:
                text.append(f"+{rest}  ", DIM)
                break
            text.append(f"{name.text}  ")
        text.append(names[0].help, DIM)
        text.truncate(max(1, self.size.width), overflow="ellipsis")
        return text

    def _pointing(self, error: FilterError) -> Text:
        """On one line where it fits, so that the table does not jump while one writes."""
        width = max(1, self.size.width)
        column = max(0, min(PROMPT + error.position - self.query_one(Input).scroll_offset.x, width - 1))
        if column + 2 + len(error.reason) <= width:
            return Text(" " * column + "^ " + error.reason)
        if len(error.reason) + 1 <= column:
            return Text(f"{error.reason:>{column - 1}} ^")
        return Text(" " * column + "^\n" + error.reason)


def try_compile(text: str) -> tuple[Filter | None, FilterError | None]:
    """What is written as a filter, None for nothing; or what is wrong with it."""
    try:
        return (compile_filter(text) if text.strip() else None), None
    except FilterError as error:
        return None, error
