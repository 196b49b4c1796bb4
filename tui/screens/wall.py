"""The wall: the FZs of as many channels as there is room for, in the table's order, to be judged by eye."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.message import Message
from textual.widgets import Static

from streamscope.core.model.blocks import TENSORS, Tensor
from streamscope.tui.data.pictures import LETTERS, PICTURE_KINDS, Subject
from streamscope.tui.screens.channel_view import ChannelView
from streamscope.tui.screens.channels import ChannelsScreen
from streamscope.tui.table.arrangement import Key
from streamscope.tui.table.channel_text import ChannelValues
from streamscope.tui.table.headings import DIM, EMPTY, FIXED, HEADINGS, MARK_GLYPHS, cell
from streamscope.tui.terminal.encoding import fit
from streamscope.tui.widgets.keys_footer import KeysFooter
from streamscope.tui.widgets.painter import Painter
from streamscope.tui.widgets.picture import GAP, PictureBox
from streamscope.tui.widgets.preview import DEBOUNCE, subjects
from streamscope.tui.widgets.status import MessageLine

HEIGHTS = (3, 5, 8, 12, 18)
"""Lines of a picture, from small to large."""
BEGINS = {"half": 2, "kitty": 1, "sixel": 1, "off": 1}
"""Which of them the wall opens with: half blocks have two pixels a line."""
FRAME = 2
MOST = 240
"""Tiles at most: kitty keeps 256 pictures."""
NARROWEST = 6
"""Cells of a tile's picture at least, for the channel's number above it."""


class _Picture(PictureBox):
    """Named by the frame around it."""

    CAPTION_LINES = 0

    def _said(self, width: int) -> str:
        return self.message if len(self.message) <= width else EMPTY


class WallTile(Container):
    """One channel: its picture in a frame that has the colour of its mark, its number above it."""

    DEFAULT_CSS = """
    WallTile { border: round $foreground 20%; border-title-color: $text-muted; border-title-align: left; }
    WallTile.keep { border: round $success; }
    WallTile.reject { border: round $error; }
    WallTile.unsure { border: round $warning; }
    WallTile.chosen { background: $accent 30%; }
    WallTile.cursor { border: thick $primary; border-title-style: bold reverse; border-title-color: $foreground; }
    WallTile.cursor.keep { border: thick $success; }
    WallTile.cursor.reject { border: thick $error; }
    WallTile.cursor.unsure { border: thick $warning; }
    """

    class Clicked(Message):
        def __init__(self, place: int) -> None:
            super().__init__()
            self.place = place

    def __init__(self, painter: Painter, place: int) -> None:
        super().__init__()
        self._painter = painter
        self._place = place
        self._label = ""

    def compose(self) -> ComposeResult:
        yield _Picture(self._painter)

    def show_channel(self, subject: Subject | None, label: str, mark: str, chosen: bool, here: bool) -> None:
        self.query_one(_Picture).want(subject, DEBOUNCE)
        if label != self._label:
            self._label = label
            self.border_title = label
        for name in MARK_GLYPHS:
            self.set_class(mark == name, name)
        self.set_class(chosen, "chosen")
        self.set_class(here, "cursor")

    def on_click(self, event: events.Click) -> None:
        event.stop()
        self.post_message(self.Clicked(self._place))


class WallScreen(ChannelView):
    """A page of the table as pictures of one tensor. The cursor is the table's, and goes from picture to picture."""

    CSS = """
    WallScreen #wall { layout: grid; height: 1fr; grid-gutter: 0; align: center top; background: $surface; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("l,right", "move(1)", "Next", show=False, id="wall.right"),
        Binding("h,left", "move(-1)", "Previous", show=False, id="wall.left"),
        Binding("j,down", "row(1)", "Down", show=False, id="wall.down"),
        Binding("k,up", "row(-1)", "Up", show=False, id="wall.up"),
        Binding("ctrl+d,pagedown", "page(1)", "Next page", show=False, id="wall.page_down"),
        Binding("ctrl+u,pageup", "page(-1)", "Previous page", show=False, id="wall.page_up"),
        Binding("g,home", "edge(-1)", "First channel", show=False, id="wall.first"),
        Binding("G,end", "edge(1)", "Last channel", show=False, id="wall.last"),
        Binding("space", "pick", "Select or deselect a channel", show=False, id="wall.pick"),
        Binding("1", "only('in')", "I", id="wall.in"),
        Binding("2", "only('block')", "B", id="wall.block"),
        Binding("3", "only('out')", "O", id="wall.out"),
        Binding("comma", "resize(-1)", "Smaller", id="wall.smaller"),
        Binding("full_stop", "resize(1)", "Larger", id="wall.larger"),
        Binding("right_square_bracket", "block(1)", "Next block", show=False, id="wall.next_block"),
        Binding("left_square_bracket", "block(-1)", "Previous block", show=False, id="wall.previous_block"),
        Binding("s", "sort", "Sort", id="wall.sort"),
        Binding("r", "reverse", "Reverse the order", show=False, id="wall.reverse"),
        Binding("f", "quick_filter", "Filter", id="wall.filter"),
        Binding("equals_sign", "app.ask('compare')", "Compare those selected", show=False, id="wall.compare"),
        Binding("enter", "app.ask('detail')", "Detail", id="wall.detail"),
        Binding("p", "app.ask('zoom')", "Large", show=False, id="wall.zoom"),
        Binding("W", "leave", "Back", show=False, id="wall.leave"),
    ]

    def __init__(self, source: ChannelsScreen) -> None:
        super().__init__(source)
        self._tensor: Tensor = "block"
        self._level = BEGINS[source.painter.graphics.mode]
        self.across = self._down = 1
        self._first = 0
        """The row of the table that the first tile shows."""

    def compose(self) -> ComposeResult:
        yield Static(id="title", classes="line")
        yield Container(id="wall")
        yield MessageLine(id="message", classes="line")
        yield KeysFooter()

    @property
    def tiles(self) -> list[WallTile]:
        """Those in view."""
        return list(self.query(WallTile).results())[: self.across * self._down]

    def marked_keys(self) -> list[Key]:
        return self.source.table.targets

    async def on_resize(self) -> None:
        await self._arrange()

    def on_screen_resume(self) -> None:
        """A dialog may have sorted or filtered, or a screen on top moved the cursor."""
        self.show()

    async def _arrange(self) -> None:
        """As many tiles as there is room for, all of one size."""
        cell_size = self.source.painter.graphics.cell
        height = max(FRAME + 1, self.size.height - 3)
        self._down = max(1, height // (HEIGHTS[self._level] + FRAME))
        # What is left of the height makes all of them a little larger.
        rows = max(1, height // self._down - FRAME)
        columns = max(NARROWEST, fit((10**3, rows), cell_size)[0]) + GAP
        wall = self.query_one("#wall", Container)
        self.across = max(1, self.size.width // (columns + FRAME))
        while self.across * self._down > MOST:
            self._down -= 1
        wall.styles.grid_size_columns = self.across
        missing = self.across * self._down - len(wall.children)
        if missing > 0:
            first = len(wall.children)
            await wall.mount_all(WallTile(self.source.painter, first + place) for place in range(missing))
        for place, tile in enumerate(self.query(WallTile).results()):
            tile.styles.width, tile.styles.height = columns + FRAME, rows + FRAME
            tile.display = place < self.across * self._down
        wall.styles.grid_columns = str(columns + FRAME)
        wall.styles.grid_rows = str(rows + FRAME)
        self.call_after_refresh(self.show)

    def show(self) -> None:
        table, frame = self.source.table, self.source.frame
        tiles = self.tiles
        if frame is None or not tiles:
            return
        count = len(tiles)
        self._first = table.position // count * count
        page = table.index[self._first : self._first + count]
        rows = frame.rows(page) if len(page) else []
        chosen = set(table.chosen)
        for place, tile in enumerate(tiles):
            row = rows[place] if place < len(rows) else None
            if row is None:
                tile.show_channel(None, "", "", chosen=False, here=False)
                tile.visible = False
                continue
            tile.visible = True
            key = (str(row["block"]), int(str(row["channel"])))
            here = self._first + place == table.position
            tile.show_channel(self._subject(row), self._label(row), str(row["marked"] or ""), key in chosen, here)
        self._tell(count)
        beyond = table.index[self._first + count : self._first + 2 * count]
        box = tiles[0].query_one(_Picture)
        ahead = [box.request_for(self._subject(row)) for row in (frame.rows(beyond) if len(beyond) else [])]
        self.source.painter.prepare([request for request in ahead if request is not None])

    def _subject(self, row: ChannelValues) -> Subject:
        subject = subjects(row, self.kind, self.whole)[TENSORS.index(self._tensor)]
        assert subject is not None
        return subject

    def _label(self, row: ChannelValues) -> str:
        """`108 ✓ 0.97`: the channel, its mark, and what is sorted by; its block where several are shown."""
        several = self.source.arrangement.block is None
        words = [f"{row['block']} {row['channel']}" if several else str(row["channel"])]
        if row["marked"]:
            words.append(MARK_GLYPHS[str(row["marked"])])
        column = self.source.arrangement.column
        if column is not None and column not in {heading.name for heading in FIXED}:
            value = row.get(column)
            if value is not None:
                shown = float(value) if isinstance(value, bool) else value
                words.append(cell(column, shown, HEADINGS[column].places)[0])
        return " ".join(words)

    def _tell(self, count: int) -> None:
        table, arrangement = self.source.table, self.source.arrangement
        total = len(table.index)
        kind = PICTURE_KINDS[self.kind].partition(":")[0]
        name = f"{kind} of {LETTERS[self._tensor]}"
        text = Text(name, no_wrap=True, overflow="ellipsis")
        text.append(f"  {arrangement.block or 'all blocks'}")
        if not total:
            text.append("  no channel passes the filter; Esc goes back, Esc there clears it")
        else:
            last = min(total, self._first + count)
            text.append(f"  {self._first + 1} to {last} of {total}", DIM)
        if arrangement.column is not None:
            text.append(f"  by {arrangement.column}{', descending' if arrangement.descending else ''}", DIM)
        if arrangement.filter is not None:
            text.append(f"  {arrangement.filter.expression}", DIM)
        self.query_one("#title", Static).update(text)

    # -- keys ----------------------------------------------------------------------------------------------------------

    def action_move(self, by: int) -> None:
        self.source.table.action_move(by)
        self.show()

    def action_row(self, by: int) -> None:
        table = self.source.table
        if 0 <= table.position + by * self.across < len(table.index):
            self.action_move(by * self.across)
        elif by > 0 and table.position // self.across < (len(table.index) - 1) // self.across:
            self.action_edge(1)

    def action_page(self, by: int) -> None:
        self.action_move(by * self.across * self._down)

    def action_edge(self, towards: int) -> None:
        self.source.table.action_edge(towards)
        self.show()

    def action_pick(self) -> None:
        self.source.table.action_pick()
        self.show()

    def action_only(self, tensor: Tensor) -> None:
        self._tensor = tensor
        self.show()

    async def action_resize(self, by: int) -> None:
        self._level = max(0, min(len(HEIGHTS) - 1, self._level + by))
        await self._arrange()

    def action_block(self, by: int) -> None:
        self.source.action_block(by)
        self.call_after_refresh(self.show)

    def action_sort(self) -> None:
        self.source.action_sort()

    def action_reverse(self) -> None:
        self.source.action_reverse()
        self.show()

    def action_quick_filter(self) -> None:
        self.source.action_quick_filter()

    def action_mark(self, mark: str) -> None:
        chosen = self.source.table.chosen
        super().action_mark(mark)
        if chosen:
            self.source.table.clear_selection()
            self.show()

    def on_wall_tile_clicked(self, event: WallTile.Clicked) -> None:
        position = self._first + event.place
        self.source.table.action_move(position - self.source.table.position)
        self.show()
