"""What the keys do, found by typing a part of it; read off the bindings, as the settings changed them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

from rich.style import Style
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.widgets import Input, Static

from streamscope.tui.screens.dialogs.base import InputDialog
from streamscope.tui.table.headings import DIM

KEY = Style(color="cyan", bold=True)
KEYS_WIDTH = 14
WHAT_WIDTH = 42
"""Most of what keys do is said in this; what takes more moves the name behind it, which 80 columns have no room for."""


class KeyAction(Protocol):
    """Something that keys do."""

    @property
    def id(self) -> str:
        """What the settings call it."""

    @property
    def description(self) -> str: ...

    @property
    def shown(self) -> str:
        """Its keys as a person would name them."""


class KeysDialog(InputDialog[None]):
    """Sections of actions; those of the screen that was asked on come first."""

    DEFAULT_CSS = """
    KeysDialog VerticalScroll { max-height: 80vh; }
    KeysDialog .body { text-wrap: nowrap; text-overflow: ellipsis; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter", "leave", "Close", show=False),
        Binding("down,ctrl+j,ctrl+n", "scroll_by(1)", "Down", show=False),
        Binding("up,ctrl+k,ctrl+p", "scroll_by(-1)", "Up", show=False),
        Binding("pagedown,ctrl+d", "scroll_by(15)", "Page down", show=False),
        Binding("pageup,ctrl+u", "scroll_by(-15)", "Page up", show=False),
    ]

    def __init__(
        self, sections: Sequence[tuple[str, Sequence[KeyAction]]], legend: Sequence[tuple[str, str]] = ()
    ) -> None:
        """`legend` are words of the screens, each with what it means."""
        super().__init__()
        self._sections = sections
        self._legend = legend

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = "Keys"
            box.border_subtitle = "type to find, arrows scroll, Esc closes"
            yield Input(placeholder="find", compact=True)
            with VerticalScroll(can_focus=False):
                yield Static(key_help(self._sections, "", self._legend), classes="body")

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.query_one(".body", Static).update(key_help(self._sections, event.value, self._legend))
        self.query_one(VerticalScroll).scroll_home(animate=False)

    def action_scroll_by(self, lines: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=lines, animate=False)

    def action_leave(self) -> None:
        self.dismiss(None)


def key_help(
    sections: Sequence[tuple[str, Sequence[KeyAction]]], typed: str, legend: Sequence[tuple[str, str]] = ()
) -> Text:
    """One action a line: its keys, what it does, what the settings call it; those that hold every word typed, or that
    one of whose keys it is. The legend after them."""
    words = typed.casefold().split()
    text = Text()
    for title, actions in sections:
        found = [
            action
            for action in actions
            if all(word in f"{title} {action.description} {action.id}".casefold() for word in words)
            or typed.strip() in action.shown.split(", ")
        ]
        if not found:
            continue
        text.append(f"{title}\n", Style(bold=True))
        for action in found:
            text.append(f"  {action.shown:<{KEYS_WIDTH}}", KEY).append(f"{action.description:<{WHAT_WIDTH}}  ")
            text.append(f"{action.id}\n", DIM)
        text.append("\n")
    meant = [(word, what) for word, what in legend if all(w in f"{word} {what}".casefold() for w in words)]
    if meant:
        text.append("Words of the table\n", Style(bold=True))
        for word, what in meant:
            text.append(f"  {word:<{KEYS_WIDTH}}", KEY).append(f"{what}\n")
        text.append("\n")
    if not text:
        return Text("no key does that; the command palette (Ctrl+P) has more", DIM)
    return text.append("Ctrl+P finds all of these by name too; the settings can give them other keys", DIM)
