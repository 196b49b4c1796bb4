"""The export dialog: which channels, where to, which columns, and what will be written, shown before it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Input, Label, Static

from streamscope.core.errors import UsageError
from streamscope.core.export.note import NOTE_COLUMNS
from streamscope.core.table.columns import COLUMNS
from streamscope.tui.forms.export import SUFFIXES, ExportForm
from streamscope.tui.screens.dialogs.base import InputDialog


class ExportDialog(InputDialog[ExportForm | None]):
    """Returns what was written once it makes sense. `scopes` are the channels there are to choose from, with what each
    is; `begin` gives the file to begin with for each. `preview` says what would be written, or raises UsageError;
    `copied` gives what can be copied, "" for what is no text."""

    DEFAULT_CSS = """
    ExportDialog > .box { width: 100; }
    ExportDialog .row { height: 1; }
    ExportDialog .row Label { width: 9; color: $text-muted; }
    ExportDialog .row Input, ExportDialog #scope { width: 1fr; }
    ExportDialog #preview { margin: 1 0 0 0; height: auto; max-height: 16; text-wrap: nowrap; text-overflow: ellipsis; }
    ExportDialog #preview.wrong { text-wrap: wrap; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Leave", show=False),
        Binding("ctrl+g", "next_scope", "Other channels", show=False),
        Binding("ctrl+t", "next_format", "Next format", show=False),
        Binding("ctrl+y", "copy", "Copy", show=False),
        Binding("down,ctrl+n", "app.focus_next", "Next field", show=False),
        Binding("up,ctrl+p", "app.focus_previous", "Previous field", show=False),
    ]

    def __init__(
        self,
        scopes: Sequence[tuple[str, str]],
        scope: str,
        begin: Callable[[str], str],
        preview: Callable[[ExportForm], Text],
        copied: Callable[[ExportForm], str],
    ) -> None:
        super().__init__()
        self._scopes = dict(scopes)
        self.scope = scope
        self._begin = begin
        self._form = ExportForm(begin(scope), channels=scope)
        self._preview = preview
        self._copied = copied

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = "Export"
            box.border_subtitle = "Enter writes, Ctrl+G channels, Ctrl+T format, Ctrl+Y copies, Esc leaves"
            with Horizontal(classes="row"):
                yield Label("Channels")
                yield Static(id="scope")
            for name, value in (("path", self._form.path), ("columns", self._form.columns)):
                with Horizontal(classes="row"):
                    yield Label(name.capitalize())
                    yield Input(value, compact=True, id=name, select_on_focus=False)
            every = f"all ({len(COLUMNS)}; .md: {len(NOTE_COLUMNS)})"
            yield Static(f"Columns: {every}, shown, or names such as block,mix_ratio", classes="hint")
            yield Static(id="preview")

    def on_mount(self) -> None:
        self._show()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._show()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if self._show():
            self.dismiss(self._read())

    def action_next_scope(self) -> None:
        """Other channels; the file's name follows where it is still the one that was offered."""
        names, line = list(self._scopes), self.query_one("#path", Input)
        was_offered = line.value == self._begin(self.scope)
        self.scope = names[(names.index(self.scope) + 1) % len(names)]
        if was_offered:
            line.value = self._begin(self.scope)
        self._show()

    def action_next_format(self) -> None:
        """The next ending, and so the next format."""
        line = self.query_one("#path", Input)
        path = Path(line.value.strip() or "channels")
        place = SUFFIXES.index(path.suffix.lower()) if path.suffix.lower() in SUFFIXES else -1
        line.value = str(path.with_suffix(SUFFIXES[(place + 1) % len(SUFFIXES)]))

    def action_copy(self) -> None:
        if not self._show():
            return
        text = self._copied(self._read())
        preview = self.query_one("#preview", Static)
        if text:
            self.app.copy_to_clipboard(text)
            preview.update("asked the terminal to copy it; not all do, so write the file too")
        else:
            preview.update("a picture is not copied; write the file")

    def action_leave(self) -> None:
        self.dismiss(None)

    def _read(self) -> ExportForm:
        path, columns = (self.query_one(name, Input).value for name in ("#path", "#columns"))
        return ExportForm(path, columns, self.scope)

    def _show(self) -> bool:
        self.query_one("#scope", Static).update(Text(self._scopes[self.scope], no_wrap=True, overflow="ellipsis"))
        preview = self.query_one("#preview", Static)
        try:
            text = self._preview(self._read())
        except UsageError as error:
            preview.set_class(True, "wrong")
            preview.update(Text(str(error)))
            return False
        preview.set_class(False, "wrong")
        preview.update(text)
        return True
