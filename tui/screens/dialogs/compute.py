"""The compute dialog: which FZs to optimise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.screen import ModalScreen
from textual.timer import Timer
from textual.widgets import Input, Label, Static

from streamscope.core.errors import StoreError, UsageError
from streamscope.tui.advice import worded
from streamscope.tui.forms.compute import ComputeForm

FIELDS = (
    ("blocks", "Blocks", "names, or all"),
    ("tensors", "Tensors", "in, block, out"),
    ("channels", "Channels", "all, keep, filtered, chosen, 0-31,108"),
    ("steps", "Steps", ""),
    ("seed", "Seed", ""),
    ("device", "Device", "auto, cpu, cuda or cuda:1"),
)

REST = 0.1
"""Seconds after the last key before the disk is looked at."""


class ComputeDialog(ModalScreen[ComputeForm | None]):
    """Returns what was written once it makes sense. `check` gives a line on it at once, or raises UsageError; `count`
    gives a better one, for which it looks at the disk: in a thread, and once no more is typed."""

    DEFAULT_CSS = """
    ComputeDialog .row { height: 1; }
    ComputeDialog .row Label { width: 10; color: $text-muted; }
    ComputeDialog .row Input { width: 22; }
    ComputeDialog .row .hint { width: 1fr; padding: 0 0 0 1; height: 1; }
    ComputeDialog #summary { margin: 1 0 0 0; height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Leave", show=False),
        Binding("down,ctrl+n", "app.focus_next", "Next field", show=False),
        Binding("up,ctrl+p", "app.focus_previous", "Previous field", show=False),
    ]

    class Counted(Message):
        def __init__(self, form: ComputeForm, line: str) -> None:
            super().__init__()
            self.form = form
            self.line = line

    def __init__(
        self, title: str, form: ComputeForm, check: Callable[[ComputeForm], str], count: Callable[[ComputeForm], str]
    ) -> None:
        super().__init__(classes="dialog")
        self._title = title
        self._form = form
        self._check = check
        self._count = count
        self._rests: Timer | None = None

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = Content(self._title)
            box.border_subtitle = "Enter starts, Tab next field, Esc leaves"
            for name, value in asdict(self._form).items():
                _, label, hint = next(field for field in FIELDS if field[0] == name)
                with Horizontal(classes="row"):
                    yield Label(label)
                    yield Input(value, compact=True, id=name)
                    yield Static(hint, classes="hint")
            yield Static(id="summary")

    def on_mount(self) -> None:
        self._summarise()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._summarise()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if self._summarise():
            self.dismiss(self._read())

    def action_leave(self) -> None:
        self.dismiss(None)

    def _read(self) -> ComputeForm:
        return ComputeForm(**{name: self.query_one(f"#{name}", Input).value for name, _, _ in FIELDS})

    def _summarise(self) -> bool:
        summary, form = self.query_one("#summary", Static), self._read()
        if self._rests is not None:
            self._rests.stop()
        try:
            line = self._check(form)
        except UsageError as error:
            summary.set_class(True, "wrong")
            summary.update(Text(str(error)))
            return False
        summary.set_class(False, "wrong")
        summary.update(Text(line))
        self._rests = self.set_timer(REST, lambda: self._look(form))
        return True

    @work(thread=True, exclusive=True, group="count")
    def _look(self, form: ComputeForm) -> None:
        try:
            self.post_message(self.Counted(form, self._count(form)))
        except StoreError as error:
            self.post_message(self.Counted(form, worded(error)))

    def on_compute_dialog_counted(self, event: Counted) -> None:
        if event.form == self._read():
            self.query_one("#summary", Static).update(Text(event.line))
