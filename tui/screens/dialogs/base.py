"""Small dialogs: something to read, one line to write, one thing to choose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, TypeVar

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from streamscope.core.errors import UsageError

Answer = TypeVar("Answer")
DIALOG_CSS = """
.dialog { align: center middle; background: $background 60%; }
.dialog > .box {
    width: 84; max-width: 96%; height: auto; max-height: 92%;
    background: $surface; border: round $primary; padding: 0 1;
}
.dialog .box.failed { border: round $error; }
.dialog .hint { color: $text-muted; height: auto; }
.dialog .wrong { color: $error; height: auto; }
.dialog .body { width: 1fr; height: auto; }
.dialog VerticalScroll { height: auto; max-height: 86vh; scrollbar-size-vertical: 1; }
.dialog OptionList {
    text-wrap: nowrap; text-overflow: ellipsis; height: auto; max-height: 18;
    border: none; background: $surface; scrollbar-size-vertical: 1;
}
"""


class Notice(ModalScreen[None]):
    """Lines to read, with a title; any of Esc, Enter and q closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter,q", "dismiss", "Close", show=False),
        Binding("j", "scroll_by(1)", "Down", show=False),
        Binding("k", "scroll_by(-1)", "Up", show=False),
    ]

    def __init__(self, title: str, body: str | Text, failed: bool = False) -> None:
        super().__init__(classes="dialog")
        self._title = title
        self._body = body
        self.text = str(body)
        self._failed = failed

    def compose(self) -> ComposeResult:
        with Vertical(classes="box failed" if self._failed else "box") as box:
            box.border_title = Content(self._title)
            box.border_subtitle = "Esc closes"
            with VerticalScroll():
                yield Static(Text(self._body) if isinstance(self._body, str) else self._body, classes="body")

    async def action_dismiss(self, result: None = None) -> None:
        self.dismiss()

    def action_scroll_by(self, lines: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=lines, animate=False)


class InputDialog(ModalScreen[Answer]):
    """A dialog with a line to write in, which takes what was typed before it could be drawn."""

    def __init__(self) -> None:
        super().__init__(classes="dialog")
        self._early = ""

    def check_consume_key(self, key: str, character: str | None) -> bool:
        return self.focused is None and character is not None and character.isprintable()

    def on_key(self, event: events.Key) -> None:
        if self.focused is None and event.is_printable and event.character:
            self._early += event.character
            event.stop()

    def on_descendant_focus(self) -> None:
        early, self._early = self._early, ""
        if early and isinstance(self.focused, Input):
            self.focused.insert_text_at_cursor(early)


class Prompt(InputDialog[str | None]):
    """One line to write; None when it was left with Esc. `check` raises UsageError for what will not do."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Leave", show=False)]

    def __init__(self, title: str, value: str, hint: str = "", check: Callable[[str], object] | None = None) -> None:
        super().__init__()
        self._title = title
        self._value = value
        self._hint = hint
        self._check = check

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = Content(self._title)
            box.border_subtitle = "Enter keeps, Esc leaves"
            yield Input(self._value, compact=True, select_on_focus=False)
            yield Static(self._hint, classes="hint")
            yield Static("", classes="wrong")

    def on_mount(self) -> None:
        self.query_one(".wrong").display = False
        self.query_one(".hint").display = bool(self._hint)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        try:
            if self._check is not None:
                self._check(event.value)
        except UsageError as error:
            wrong = self.query_one(".wrong", Static)
            wrong.update(Text(str(error)))
            wrong.display = True
            return
        self.dismiss(event.value)

    def action_leave(self) -> None:
        self.dismiss(None)


class Choice(InputDialog[str | None]):
    """One of several things, found by typing a part of its text; None when it was left with Esc."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Leave", show=False),
        Binding("down,ctrl+j,ctrl+n", "move(1)", "Next", show=False),
        Binding("up,ctrl+k,ctrl+p", "move(-1)", "Previous", show=False),
    ]

    def __init__(self, title: str, options: Sequence[tuple[str, str]], current: str | None = None) -> None:
        super().__init__()
        self._title = title
        self._options = options
        self._current = current

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = Content(self._title)
            box.border_subtitle = "type to find, Enter takes, Esc leaves"
            yield Input(placeholder="find", compact=True)
            listed = OptionList()
            listed.can_focus = False
            yield listed

    def on_mount(self) -> None:
        self._list("")

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._list(event.value)

    def _list(self, typed: str) -> None:
        """Those whose name starts with what was typed come first, then those that hold every word of it."""
        words = typed.casefold().split()
        found = [(name, text) for name, text in self._options if all(w in f"{name} {text}".casefold() for w in words)]
        found.sort(key=lambda option: not option[0].casefold().startswith(typed.casefold().strip()))
        listed = self.query_one(OptionList)
        listed.clear_options()
        listed.add_options([Option(Text(text, no_wrap=True, overflow="ellipsis"), id=name) for name, text in found])
        names = [name for name, _ in found]
        if names:
            listed.highlighted = names.index(self._current) if not words and self._current in names else 0

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        option = self.query_one(OptionList).highlighted_option
        if option is not None:
            self.dismiss(option.id)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.dismiss(event.option.id)

    def action_move(self, by: int) -> None:
        listed = self.query_one(OptionList)
        listed.action_cursor_down() if by > 0 else listed.action_cursor_up()

    def action_leave(self) -> None:
        self.dismiss(None)
