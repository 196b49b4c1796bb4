"""The channel table: lines drawn straight from the frame through an order index (15,000 rows paint in 30 ms)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from streamscope.core.table.frame import Frame
from streamscope.core.text import short_names
from streamscope.tui.table.arrangement import Key, key_at, keys_at
from streamscope.tui.table.headings import DEFAULT_SHOWN, DIM, FIXED, HEADINGS, Heading, cell
from streamscope.tui.table.selection import Selection

GAP = 1
GUTTER = 1
"""Cells before the first column: a bar stands there for a chosen channel, colours or not."""
CHOSEN = "▌"
NOTHING = " no channel passes the filter; Esc clears it"


class ChannelTable(ScrollView, can_focus=True):
    """Rows of a frame in a given order, with a cursor that stays on its channel when either changes.

    Channels are chosen one by one, all that are shown, or as a range from an anchor to the cursor; a selection holds on
    to its channels through sorting, and what a filter hides is not part of it.
    """

    DEFAULT_CSS = """
    ChannelTable {
        background: $surface; overflow-x: hidden; overflow-y: scroll; scrollbar-size-vertical: 1;
        scrollbar-background: $surface; scrollbar-background-hover: $surface; scrollbar-background-active: $surface;
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "table--header",
        "table--sorted",
        "table--cursor",
        "table--cursor-blurred",
        "table--chosen",
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "move(1)", "Next channel", show=False, id="table.down"),
        Binding("k,up", "move(-1)", "Previous channel", show=False, id="table.up"),
        Binding("ctrl+d,pagedown", "page(1)", "Page down", show=False, id="table.page_down"),
        Binding("ctrl+u,pageup", "page(-1)", "Page up", show=False, id="table.page_up"),
        Binding("g,home", "edge(-1)", "First channel", show=False, id="table.first"),
        Binding("G,end", "edge(1)", "Last channel", show=False, id="table.last"),
        Binding("space", "pick", "Select or deselect a channel", show=False, id="table.pick"),
        Binding("V", "span", "Choose a range: from here to the cursor", show=False, id="table.range"),
        Binding("A", "pick_all", "Choose all channels shown, or none", show=False, id="table.all"),
        Binding("l,right", "columns(1)", "Columns to the right", show=False, id="table.right"),
        Binding("h,left", "columns(-1)", "Columns to the left", show=False, id="table.left"),
    ]

    class ChannelHighlighted(Message):
        """The cursor came to another channel, or left the last one (`key` None)."""

        def __init__(self, key: Key | None) -> None:
            super().__init__()
            self.key = key

    class SelectionChanged(Message):
        """Other channels are chosen."""

    class HeadingClicked(Message):
        def __init__(self, column: str) -> None:
            super().__init__()
            self.column = column

    def __init__(self, blocks: Sequence[str] = (), name_cells: int = 5, *, id: str | None = None) -> None:
        """`blocks` are all there may be: their names are shown in `name_cells`."""
        super().__init__(id=id)
        self._names = short_names(blocks, name_cells)
        self._fixed = tuple(replace(h, width=name_cells) if h.name == "block" else h for h in FIXED)
        self.frame: Frame | None = None
        self.index: np.ndarray = np.zeros(0, dtype=np.int64)
        self.position = 0
        self._anchor: Key | None = None
        self._highlighted: Key | None = None
        self._selection = Selection()
        self._shown: tuple[str, ...] = DEFAULT_SHOWN
        self.advances = True
        """Whether the cursor goes on after a channel was selected, as after a mark."""
        self._first_column = 0
        self._sorted: tuple[str | None, bool] = (None, False)

    @property
    def key(self) -> Key | None:
        """The channel under the cursor."""
        if self.frame is None or not len(self.index):
            return None
        return key_at(self.frame, int(self.index[self.position]))

    @property
    def chosen(self) -> list[Key]:
        """The channels chosen, as far as they are shown, in the order shown."""
        return keys_at(self.frame, self.rows_chosen) if self.frame is not None else []

    @property
    def rows_chosen(self) -> np.ndarray:
        """As `chosen`, as row numbers of the frame."""
        return self.index[self._selection.mask(self.position)] if self.frame is not None else self.index[:0]

    @property
    def targets(self) -> list[Key]:
        """The channels that a key acts on: those chosen, else the one under the cursor."""
        return self.chosen or ([self.key] if self.key is not None else [])

    def show(
        self,
        frame: Frame,
        index: np.ndarray,
        column: str | None,
        descending: bool,
        shown: Sequence[str] = DEFAULT_SHOWN,
    ) -> None:
        """Show `frame`'s rows `index`, sorted by `column` as the header says, and the columns `shown` after the fixed
        ones. The cursor stays on its channel."""
        reordered = not np.array_equal(self.index, index)
        self.frame, self.index, self._shown = frame, index, tuple(shown)
        self._first_column = min(self._first_column, max(0, len(self._shown) - 1))
        self._sorted = (column, descending)
        self.virtual_size = Size(0, len(index) + 1)
        found = self._find(self._anchor) if self._anchor else None
        self.position = found if found is not None else max(0, min(self.position, len(index) - 1))
        self._selection.arrange(len(frame), index)
        if column is not None:
            self._reveal_column(column)
        if reordered and self.position < self._rows:
            # In another order the first rows are what one looks for.
            self.scroll_to(y=0, animate=False)
        self._reveal_row()
        self.refresh()
        self._report_highlight()

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

    def clear_selection(self) -> bool:
        """Choose nothing; False when nothing was chosen."""
        held = self._selection.clear()
        self._chose()
        return held

    def action_pick(self) -> None:
        if len(self.index):
            self._selection.toggle(self.position, self.position)
            self._chose()
            if self.advances:
                self.action_move(1)

    def action_span(self) -> None:
        """Begin a range at the cursor, or keep the one that was begun."""
        if self._selection.spanning:
            self._selection.keep_span(self.position)
        elif len(self.index):
            self._selection.begin_span(self.position)
        self._chose()

    def action_pick_all(self) -> None:
        self._selection.toggle_all(self.position)
        self._chose()

    def _chose(self) -> None:
        self.refresh()
        self.post_message(self.SelectionChanged())

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
        if position >= len(self.index):
            return
        if event.shift and not self._selection.spanning:
            self._selection.begin_span(self.position)
        self._go(position)
        if event.ctrl:
            self._selection.toggle(position, position)
            self._chose()

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
            # Only a filter leaves nothing: every block has channels.
            text = NOTHING if self.frame is not None and position == 0 else ""
            return Strip([Segment(text, self.rich_style + DIM)]).adjust_cell_length(width, self.rich_style)
        row = int(self.index[position])
        style = self.rich_style
        if position == self.position:
            name = "table--cursor" if self.has_focus else "table--cursor-blurred"
            style = self.get_component_rich_style(name)
        chosen = self._selection.holds(position, self.position)
        if chosen and position != self.position:
            style = self.get_component_rich_style("table--chosen")
        segments = [Segment(CHOSEN if chosen else " " * GUTTER, style)]
        for heading in self._visible(width):
            text, own = cell(heading.name, self.frame.columns[heading.name][row], heading.places)
            text = self._names.get(text, text) if heading.name == "block" else text
            segments.append(Segment(_padded(text, heading) + " " * GAP, style + own))
        return Strip(segments).adjust_cell_length(width, style)

    def _header(self, width: int) -> Strip:
        plain = self.get_component_rich_style("table--header")
        marked = self.get_component_rich_style("table--sorted")
        column, descending = self._sorted
        segments = [Segment(" " * GUTTER, plain)]
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
        names = [name for name in self._shown if name in self.frame.columns]
        if column is not None and column not in names and column not in {heading.name for heading in FIXED}:
            names.insert(0, column)
        return [HEADINGS[name] for name in names]

    def _visible(self, width: int) -> list[Heading]:
        """Columns that fit whole: a figure cut off would be another figure. Text may be cut."""
        shown: list[Heading] = []
        used = GUTTER
        for heading in (*self._fixed, *self._headings()[self._first_column :]):
            if used + (1 if heading.left else heading.width) > width:
                break
            shown.append(heading)
            used += heading.width + GAP
        return shown

    def _column_at(self, x: int) -> str | None:
        used = GUTTER
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
        used = GUTTER
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
        before, self.position = self.position, max(0, min(position, len(self.index) - 1))
        self._anchor = self.key
        self._reveal_row()
        if self._selection.spanning:
            self.refresh()
        else:
            # The other lines are as they were, unless it scrolls, which draws all of them anyway.
            top = self.scroll_offset.y - 1
            self.refresh(*(Region(0, place - top, self.size.width, 1) for place in (before, self.position)))
        self._report_highlight()
        if self._selection.spanning:
            self.post_message(self.SelectionChanged())

    def _report_highlight(self) -> None:
        key = self.key
        if self._anchor is None:
            self._anchor = key
        if key != self._highlighted:
            self._highlighted = key
            self.post_message(self.ChannelHighlighted(key))

    @property
    def _rows(self) -> int:
        """Rows that are in view."""
        return max(1, self.size.height - 1)

    def _reveal_row(self) -> None:
        """Scroll so that the cursor is in view, a quarter of the rows further than it must.

        A scroll paints all rows, which takes six times as long as a cursor that moves: a held key is to do it seldom.
        """
        top, further = self.scroll_offset.y, self._rows // 4
        if self.position < top:
            self.scroll_to(y=max(0, self.position - further), animate=False)
        elif self.position >= top + self._rows:
            self.scroll_to(y=self.position - self._rows + 1 + further, animate=False)


def _padded(text: str, heading: Heading) -> str:
    length = cell_len(text)
    if length > heading.width:
        return set_cell_size(text, heading.width - 1) + "…" if heading.width > 1 else set_cell_size(text, heading.width)
    space = " " * (heading.width - length)
    return text + space if heading.left else space + text
