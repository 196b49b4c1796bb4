"""The channel table: lines drawn straight from the frame through an order index (15,000 rows paint in 30 ms)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from core.table import Frame
from tui.view import Key, key_at
from tui.widgets.columns import FIXED, SCROLLED, Heading, cell

GAP = 1


class ChannelTable(ScrollView, can_focus=True):
    """Rows of a frame in a given order, with a cursor that stays on its channel when either changes."""

    DEFAULT_CSS = """
    ChannelTable {
        background: $surface; overflow-x: hidden; overflow-y: scroll; scrollbar-size-vertical: 1;
        scrollbar-background: $surface; scrollbar-background-hover: $surface; scrollbar-background-active: $surface;
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {"table--header", "table--sorted", "table--cursor", "table--cursor-blurred"}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "move(1)", "Next channel", show=False, id="table.down"),
        Binding("k,up", "move(-1)", "Previous channel", show=False, id="table.up"),
        Binding("ctrl+d,pagedown", "page(1)", "Page down", show=False, id="table.page_down"),
        Binding("ctrl+u,pageup", "page(-1)", "Page up", show=False, id="table.page_up"),
        Binding("g,home", "edge(-1)", "First channel", show=False, id="table.first"),
        Binding("G,end", "edge(1)", "Last channel", show=False, id="table.last"),
        Binding("l,right", "columns(1)", "Columns to the right", show=False, id="table.right"),
        Binding("h,left", "columns(-1)", "Columns to the left", show=False, id="table.left"),
    ]

    class ChannelHighlighted(Message):
        """The cursor came to another channel, or left the last one (`key` None)."""

        def __init__(self, key: Key | None) -> None:
            super().__init__()
            self.key = key

    class HeadingClicked(Message):
        def __init__(self, column: str) -> None:
            super().__init__()
            self.column = column

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.frame: Frame | None = None
        self.index: np.ndarray = np.zeros(0, dtype=np.int64)
        self.position = 0
        self._anchor: Key | None = None
        self._told: Key | None = None
        self._first_column = 0
        self._sorted: tuple[str | None, bool] = (None, False)

    @property
    def key(self) -> Key | None:
        """The channel under the cursor."""
        if self.frame is None or not len(self.index):
            return None
        return key_at(self.frame, int(self.index[self.position]))

    def show(self, frame: Frame, index: np.ndarray, column: str | None, descending: bool) -> None:
        """Show `frame`'s rows `index`, sorted by `column` as the header says. The cursor stays on its channel."""
        self.frame, self.index = frame, index
        self._sorted = (column, descending)
        self.virtual_size = Size(0, len(index) + 1)
        found = self._find(self._anchor) if self._anchor else None
        self.position = found if found is not None else max(0, min(self.position, len(index) - 1))
        if column is not None:
            self._reveal_column(column)
        self._reveal_row()
        self.refresh()
        self._tell()

    def replace(self, frame: Frame) -> None:
        """Show another frame of the same channels in the same order, as after a mark."""
        self.frame = frame
        self.refresh()

    def move_to(self, key: Key) -> bool:
        """Put the cursor on a channel; False when it is not shown."""
        position = self._find(key)
        if position is not None:
            self._go(position)
        return position is not None

    def action_move(self, by: int) -> None:
        self._go(self.position + by)

    def action_page(self, by: int) -> None:
        self._go(self.position + by * max(1, self.size.height - 2))

    def action_edge(self, towards: int) -> None:
        self._go(0 if towards < 0 else len(self.index) - 1)

    def action_columns(self, by: int) -> None:
        self._first_column = max(0, min(len(self._headings()) - 1, self._first_column + by))
        self.refresh()

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is None:
            return
        if offset.y == 0:
            column = self._column_at(offset.x)
            if column:
                self.post_message(self.HeadingClicked(column))
            return
        position = offset.y - 1 + self.scroll_offset.y
        if position < len(self.index):
            self._go(position)

    def on_resize(self) -> None:
        self._reveal_row()

    def on_focus(self) -> None:
        self.refresh()

    def on_blur(self) -> None:
        self.refresh()

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        if y == 0:
            return self._header(width)
        position = y - 1 + self.scroll_offset.y
        if self.frame is None or position >= len(self.index):
            return Strip.blank(width, self.rich_style)
        row = int(self.index[position])
        style = self.rich_style
        if position == self.position:
            name = "table--cursor" if self.has_focus else "table--cursor-blurred"
            style = self.get_component_rich_style(name)
        segments = []
        for heading in self._visible(width):
            text, own = cell(heading.name, self.frame.columns[heading.name][row], heading.places)
            segments.append(Segment(_padded(text, heading) + " " * GAP, style + own))
        return Strip(segments).adjust_cell_length(width, style)

    def _header(self, width: int) -> Strip:
        plain = self.get_component_rich_style("table--header")
        marked = self.get_component_rich_style("table--sorted")
        column, descending = self._sorted
        segments = []
        for heading in self._visible(width):
            if heading.name == column:
                label = ("▼" if descending else "▲") + heading.label
                segments.append(Segment(_padded(label, heading), marked))
                segments.append(Segment(" " * GAP, plain))
            else:
                segments.append(Segment(_padded(heading.label, heading) + " " * GAP, plain))
        return Strip(segments).adjust_cell_length(width, plain)

    def _headings(self) -> list[Heading]:
        """The scrolled columns; one that is sorted by but has no heading of its own comes first."""
        if self.frame is None:
            return []
        column = self._sorted[0]
        known = [heading for heading in SCROLLED if heading.name in self.frame.columns]
        if column is None or any(heading.name == column for heading in (*FIXED, *known)):
            return known
        return [Heading(column, column, max(8, len(column) + 1)), *known]

    def _visible(self, width: int) -> list[Heading]:
        """Columns that fit whole: a figure cut off would be another figure. Text may be cut."""
        shown: list[Heading] = []
        used = 0
        for heading in (*FIXED, *self._headings()[self._first_column :]):
            if used + (1 if heading.left else heading.width) > width:
                break
            shown.append(heading)
            used += heading.width + GAP
        return shown

    def _column_at(self, x: int) -> str | None:
        used = 0
        for heading in self._visible(self.scrollable_content_region.width):
            used += heading.width + GAP
            if x < used:
                return heading.name
        return None

    def _reveal_column(self, column: str) -> None:
        names = [heading.name for heading in self._headings()]
        if column not in names:
            return
        wanted = names.index(column)
        if wanted < self._first_column:
            self._first_column = wanted
        while self._first_column < wanted and not self._wholly_visible(column):
            self._first_column += 1

    def _wholly_visible(self, column: str) -> bool:
        used = 0
        for heading in self._visible(self.scrollable_content_region.width):
            used += heading.width + GAP
            if heading.name == column:
                return used - GAP <= self.scrollable_content_region.width
        return False

    def _find(self, key: Key) -> int | None:
        row = self.frame.row_of(*key) if self.frame is not None else None
        found = np.flatnonzero(self.index == row) if row is not None else np.zeros(0, dtype=np.int64)
        return int(found[0]) if len(found) else None

    def _go(self, position: int) -> None:
        if not len(self.index) or self.frame is None:
            return
        self.position = max(0, min(position, len(self.index) - 1))
        self._anchor = self.key
        self._reveal_row()
        self.refresh()
        self._tell()

    def _tell(self) -> None:
        key = self.key
        if self._anchor is None:
            self._anchor = key
        if key != self._told:
            self._told = key
            self.post_message(self.ChannelHighlighted(key))

    def _reveal_row(self) -> None:
        rows = max(1, self.size.height - 1)
        top = self.scroll_offset.y
        if self.position < top:
            self.scroll_to(y=self.position, animate=False)
        elif self.position >= top + rows:
            self.scroll_to(y=self.position - rows + 1, animate=False)


def _padded(text: str, heading: Heading) -> str:
    length = cell_len(text)
    if length > heading.width:
        return set_cell_size(text, heading.width - 1) + "…" if heading.width > 1 else set_cell_size(text, heading.width)
    space = " " * (heading.width - length)
    return text + space if heading.left else space + text
