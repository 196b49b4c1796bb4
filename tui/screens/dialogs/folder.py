"""A dialog to choose a folder: written with completion, or picked from what is there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from streamscope.core.errors import StreamscopeError
from streamscope.tui.advice import worded
from streamscope.tui.screens.dialogs.base import InputDialog

MOST_LISTED = 500
REST = 0.25
"""Seconds after the last key before the folder is looked at."""
ABOVE = ".."


class FolderDialog(InputDialog[Path | None]):
    """Returns a folder, None when it was left. `describe` says in a thread what is in it (how many images, say) or
    raises StreamscopeError, which keeps it from being taken; `exists` says whether it has to be there already."""

    DEFAULT_CSS = """
    FolderDialog OptionList { height: 12; max-height: 12; margin: 1 0 0 0; }
    FolderDialog #found { margin: 1 0 0 0; height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Leave", show=False),
        Binding("down,ctrl+j,ctrl+n", "move(1)", "Next", show=False),
        Binding("up,ctrl+k,ctrl+p", "move(-1)", "Previous", show=False),
        Binding("tab,right", "enter", "Enter the folder", show=False, priority=True),
    ]

    class Described(Message):
        def __init__(self, path: Path, text: str, failed: bool) -> None:
            super().__init__()
            self.path = path
            self.text = text
            self.failed = failed

    class Listed(Message):
        def __init__(self, written: str, names: list[str]) -> None:
            super().__init__()
            self.written = written
            self.names = names

    def __init__(self, title: str, start: Path, hint: str, describe: Callable[[Path], str]) -> None:
        super().__init__()
        self._title = title
        self._start = start
        self._hint = hint
        self._describe = describe
        self._waits: Timer | None = None
        self._wanted: Path | None = None
        """What Enter was pressed on before it was looked at."""
        self._known: tuple[Path, bool] | None = None
        """The folder looked at last, and whether it will do."""

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = Content(self._title)
            box.border_subtitle = "Tab enters the folder below, Enter takes what is written, Esc leaves"
            yield Input(_shown(self._start), compact=True, select_on_focus=False)
            listed = OptionList()
            listed.can_focus = False
            yield listed
            yield Static(id="found")
            yield Static(self._hint, classes="hint")

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._known = self._wanted = None
        self._list(event.value)
        if self._waits is not None:
            self._waits.stop()
        self.query_one("#found", Static).update(Text("…"))
        self._waits = self.set_timer(REST, lambda: self._look(_path(event.value)))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        path = _path(event.value)
        if self._known is not None and self._known[0] == path:
            if self._known[1]:
                self.dismiss(path)
        else:
            self._wanted = path

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self._enter(str(event.option.id))

    def action_move(self, by: int) -> None:
        listed = self.query_one(OptionList)
        listed.action_cursor_down() if by > 0 else listed.action_cursor_up()

    def action_enter(self) -> None:
        option = self.query_one(OptionList).highlighted_option
        if option is not None:
            self._enter(str(option.id))

    def action_leave(self) -> None:
        self.dismiss(None)

    def _enter(self, name: str) -> None:
        line = self.query_one(Input)
        folder = _folder(line.value)
        path = folder.parent if name == ABOVE else folder / name
        line.value = _shown(path)
        line.cursor_position = len(line.value)

    @work(thread=True, exclusive=True, group="list")
    def _list(self, written: str) -> None:
        self.post_message(self.Listed(written, _folders(written)))

    def on_folder_dialog_listed(self, event: Listed) -> None:
        if event.written != self.query_one(Input).value:
            return
        listed = self.query_one(OptionList)
        listed.clear_options()
        listed.add_options([Option(Text(f"{name}/", no_wrap=True), id=name) for name in event.names])
        if event.names:
            # What was begun is most likely meant; else the way up comes first.
            listed.highlighted = 1 if len(event.names) > 1 and event.names[0] == ABOVE else 0

    @work(thread=True, exclusive=True, group="look")
    def _look(self, path: Path) -> None:
        try:
            self.post_message(self.Described(path, self._describe(path), failed=False))
        except StreamscopeError as error:
            self.post_message(self.Described(path, worded(error), failed=True))

    def on_folder_dialog_described(self, event: Described) -> None:
        if event.path != _path(self.query_one(Input).value):
            return
        self._known = event.path, not event.failed
        found = self.query_one("#found", Static)
        found.set_class(event.failed, "wrong")
        found.update(Text(event.text))
        if self._wanted == event.path and not event.failed:
            self.dismiss(event.path)


def _path(written: str) -> Path:
    return Path(os.path.abspath(Path(written.strip() or ".").expanduser()))


def _folder(written: str) -> Path:
    """The folder whose contents are listed: up to the last slash."""
    text = written.strip()
    return _path(text if text.endswith("/") else os.path.dirname(text) or ".")


def _shown(path: Path) -> str:
    return f"{str(path).rstrip('/')}/"


def _folders(written: str) -> list[str]:
    """Folders that what is written may go on with, the way up before them; hidden ones where a dot was written."""
    begun = "" if written.strip().endswith("/") else os.path.basename(written.strip())
    try:
        with os.scandir(_folder(written)) as entries:
            names = [entry.name for entry in entries if entry.is_dir()]
    except OSError:
        return [ABOVE]
    fitting = [
        name
        for name in names
        if name.casefold().startswith(begun.casefold()) and (begun.startswith(".") or not name.startswith("."))
    ]
    return [ABOVE, *sorted(fitting, key=str.casefold)[:MOST_LISTED]]
