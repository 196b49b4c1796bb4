"""The columns dialog: which columns the table shows beside the fixed ones, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from streamscope.core.table.columns import BY_NAME
from streamscope.tui.table.headings import CHOOSABLE, DEFAULT_SHOWN, DIM, HEADINGS


class ColumnsDialog(ModalScreen[tuple[str, ...] | None]):
    """The names chosen, in order; None when it was left with Esc."""

    DEFAULT_CSS = """
    ColumnsDialog OptionList { max-height: 80vh; }
    """
    AUTO_FOCUS = "OptionList"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "leave", "Leave as it was", show=False),
        Binding("enter", "keep", "Keep", show=False, priority=True),
        Binding("space,x", "flip", "Show or hide", show=False),
        Binding("J,shift+down", "shift(1)", "Move the column down", show=False),
        Binding("K,shift+up", "shift(-1)", "Move the column up", show=False),
        Binding("j,down", "move(1)", "Next", show=False),
        Binding("k,up", "move(-1)", "Previous", show=False),
        Binding("0", "reset", "As at first", show=False),
    ]

    def __init__(self, shown: Sequence[str]) -> None:
        super().__init__(classes="dialog")
        self._shown = list(shown)

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = "Columns"
            box.border_subtitle = "Space shows or hides, J K move, 0 as at first, Enter keeps, Esc leaves"
            yield OptionList()

    def on_mount(self) -> None:
        self._list(self._names[0])

    @property
    def _names(self) -> list[str]:
        return [*self._shown, *(name for name in CHOOSABLE if name not in self._shown)]

    @property
    def _current(self) -> str:
        option = self.query_one(OptionList).highlighted_option
        return str(option.id) if option is not None else self._names[0]

    def _list(self, current: str) -> None:
        listed = self.query_one(OptionList)
        listed.clear_options()
        listed.add_options([Option(self._line(name), id=name) for name in self._names])
        listed.highlighted = self._names.index(current)

    def _line(self, name: str) -> Text:
        label = HEADINGS[name].label
        short = label if label != name else ""
        sign = "✓" if name in self._shown else " "
        return Text.assemble(f"{sign} {name:<17} ", (f"{short:<8}{BY_NAME[name].help}", DIM))

    def action_flip(self) -> None:
        """A column that is hidden goes behind those shown, one that comes in goes last."""
        name = self._current
        place = self._names.index(name)
        if name in self._shown:
            self._shown.remove(name)
        else:
            self._shown.append(name)
        self._list(self._names[min(place + (name in self._shown), len(CHOOSABLE) - 1)])

    def action_shift(self, by: int) -> None:
        name = self._current
        if name not in self._shown:
            return
        place = self._shown.index(name)
        wanted = max(0, min(len(self._shown) - 1, place + by))
        self._shown.insert(wanted, self._shown.pop(place))
        self._list(name)

    def action_move(self, by: int) -> None:
        listed = self.query_one(OptionList)
        listed.action_cursor_down() if by > 0 else listed.action_cursor_up()

    def action_reset(self) -> None:
        self._shown = list(DEFAULT_SHOWN)
        self._list(self._names[0])

    def action_keep(self) -> None:
        self.dismiss(tuple(self._shown))

    def action_leave(self) -> None:
        self.dismiss(None)
