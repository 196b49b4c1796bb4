"""The main screen: blocks at the left, the channel table, the preview; it arranges what the app hands it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Static

from streamscope.core.model.blocks import ModelInfo
from streamscope.core.store import JobState
from streamscope.core.table.columns import BY_NAME
from streamscope.core.table.frame import Frame
from streamscope.tui.data.store_reader import Reading, set_name
from streamscope.tui.forms.quick_filters import invert, join
from streamscope.tui.screens.dialogs.arranging import STREAM_ORDER, quick_filter_choice, sort_choice
from streamscope.tui.screens.dialogs.columns import ColumnsDialog
from streamscope.tui.table.arrangement import JUDGED, Key, arrange, channels_by_block, judging_progress, marked_rows
from streamscope.tui.table.channel_text import ChannelValues
from streamscope.tui.table.headings import DIM
from streamscope.tui.table.session import PREVIEW_LEAST, PREVIEW_MOST, Session
from streamscope.tui.widgets.block_figures import LINES as FIGURE_LINES
from streamscope.tui.widgets.block_figures import BlockFigures
from streamscope.tui.widgets.blocks import BlockList, heading, name_cells
from streamscope.tui.widgets.filter import FilterBar
from streamscope.tui.widgets.first_steps import FirstSteps
from streamscope.tui.widgets.keys_footer import KeysFooter
from streamscope.tui.widgets.painter import Painter
from streamscope.tui.widgets.preview import Preview
from streamscope.tui.widgets.status import JobLine, StatusBar
from streamscope.tui.widgets.table import ChannelTable

AHEAD = (1, -1, 2, 3)
"""Which neighbours of the highlighted channel are drawn before anybody asks for them."""
WIDE = 150
"""Columns from which the preview stands beside the table, not below."""
BLOCKS_WIDTH = 35
"""Cells of the list of blocks beside their names."""
BESIDE_LINES = 11
"""Lines beside the blocks and their figures: frames, names, bars at the bottom."""
FRAME = 2
"""Cells of a frame's two sides."""
WIDTHS = [(0, "-narrow"), (100, "-medium"), (WIDE, "-wide")]
HEIGHTS = [(0, "-low"), (30, "-tall"), (44, "-taller")]
"""Classes of the screen by the terminal's size, which the style sheet lays out by."""


class ChannelsScreen(Screen[None]):
    """Keys that change what is shown are answered here; what changes the store or the marks is asked of the app."""

    CSS_PATH = "channels.tcss"
    AUTO_FOCUS = "ChannelTable"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "mark('keep')", "Keep", id="mark.keep"),
        Binding("n", "mark('reject')", "Reject", id="mark.reject"),
        Binding("u", "mark('unsure')", "Unsure", id="mark.unsure"),
        Binding("c", "mark('')", "Clear the mark", show=False, id="mark.clear"),
        Binding(
            "a",
            "toggle_advance",
            "After a mark or space: go on, or stay",
            show=False,
            id="mark.advance",
        ),
        Binding("e", "app.ask('note')", "Write a note", show=False, id="note"),
        Binding("t", "app.ask('tags')", "Set tags", show=False, id="tags"),
        Binding("z", "app.ask('undo')", "Undo", id="undo"),
        Binding("Z,ctrl+r", "app.ask('redo')", "Redo", show=False, id="redo"),
        Binding("slash", "filter", "Filter", id="filter"),
        Binding("escape", "clear_selection", "Clear selection, then the filter", show=False, id="filter.off"),
        Binding("f", "quick_filter", "Filter by this channel, a mark or a criterion", show=False, id="filter.quick"),
        Binding("I", "invert_filter", "Show what the filter hides instead", show=False, id="filter.invert"),
        Binding("s", "sort", "Sort", id="sort"),
        Binding("r", "reverse", "Reverse the order", show=False, id="sort.reverse"),
        Binding("greater_than_sign", "sort_next(1)", "Sort by the column to the right", show=False, id="sort.right"),
        Binding("less_than_sign", "sort_next(-1)", "Sort by the column to the left", show=False, id="sort.left"),
        Binding("L", "columns", "Choose and order columns", show=False, id="columns"),
        Binding("right_square_bracket", "block(1)", "Next block", show=False, id="block.next"),
        Binding("left_square_bracket", "block(-1)", "Previous block", show=False, id="block.previous"),
        Binding("b", "toggle_blocks", "Show or hide the blocks", show=False, id="blocks"),
        Binding("v", "toggle_preview", "Show or hide the preview", show=False, id="preview"),
        Binding("right_curly_bracket", "widen(5)", "Larger preview", show=False, id="preview.larger"),
        Binding("left_curly_bracket", "widen(-5)", "Smaller preview", show=False, id="preview.smaller"),
        Binding("x", "next_kind", "Other pictures: scaled, MEIs, channel FZs, seeds", show=False, id="look"),
        Binding("w", "toggle_whole", "Whole image, or what the neuron sees", show=False, id="whole"),
        Binding("enter", "app.ask('detail')", "Detail", id="detail"),
        Binding("p", "app.ask('zoom')", "Pictures on the whole screen", show=False, id="zoom"),
        Binding("equals_sign", "app.ask('compare')", "Compare those chosen, or unsure", show=False, id="compare"),
        Binding("W", "app.ask('wall')", "Wall", id="wall"),
        Binding("H", "app.ask('spectrum')", "Spectrum: histograms and shares of all blocks", show=False, id="spectrum"),
        Binding("J", "app.ask('jobs')", "Jobs", id="jobs"),
        Binding("C", "app.ask('compute')", "Compute", id="compute"),
        Binding("plus", "app.ask('more_steps')", "Compute more steps for those chosen", show=False, id="more_steps"),
        Binding("asterisk", "app.ask('another_seed')", "Compute another seed of those chosen", show=False, id="seed"),
        Binding("S", "app.ask('stop')", "Stop a job", show=False, id="stop"),
        Binding("E", "app.ask('export')", "Export", id="export"),
        Binding("o", "app.ask('set')", "Open another set", show=False, id="set"),
        Binding(
            "exclamation_mark", "app.ask('problems')", "Problems in the cache and the marks", show=False, id="problems"
        ),
    ]

    class MarkGiven(Message):
        def __init__(self, keys: Sequence[Key], mark: str) -> None:
            super().__init__()
            self.keys = keys
            self.mark = mark

    def __init__(self, info: ModelInfo, painter: Painter, cache: str, device: str, session: Session) -> None:
        super().__init__()
        self.info = info
        self._name_cells = name_cells([block.name for block in info.blocks])
        self.painter = painter
        self.graphics = painter.graphics
        self.cache = cache
        self.device = device
        self.reading: Reading | None = None
        self.frame: Frame | None = None
        self.arrangement = session.arrangement
        self.advance = session.advance
        self._cursor = session.cursor
        """Where the cursor goes when the first table is there, and where a filter on marks hides it until those are
        read, with them."""
        self._share = session.preview
        self.marks_problems = 0
        self._line = ""
        """What the status bar says of the line to the terminal."""
        self._status_parts: tuple[str, ...] = ()
        """What the status bar says at its right, beside where the cursor is."""

    def compose(self) -> ComposeResult:
        with Container(id="main"):
            with Container(id="upper"):
                with Vertical(id="left") as left:
                    left.border_title = "Blocks"
                    left.styles.width = BLOCKS_WIDTH + self._name_cells + FRAME
                    yield Static(id="model")
                    yield Static(heading(self._name_cells), id="heading")
                    yield BlockList()
                    yield BlockFigures()
                with Vertical(id="middle"):
                    yield FilterBar()
                    yield FirstSteps()
                    yield ChannelTable([block.name for block in self.info.blocks], self._name_cells)
            yield Preview(self.painter, id="preview")
        yield JobLine()
        yield StatusBar()
        yield KeysFooter()

    def on_mount(self) -> None:
        self.table.advances = self.advance
        self.filter_bar.values = self._texts
        self.filter_bar.stand_above(self.table)
        if self.arrangement.filter is not None:
            self.filter_bar.write(self.arrangement.filter.expression)
        half = f"half blocks: {self.graphics.reason}" if self.graphics.mode == "half" and self.graphics.reason else ""
        self.say(self.graphics.hint or half or "? shows the keys")

    @property
    def table(self) -> ChannelTable:
        return self.query_one(ChannelTable)

    @property
    def session(self) -> Session:
        """What to open with the next time."""
        return Session(self.arrangement, self._cursor or self.table.key, self.advance, self._share)

    @property
    def filter_bar(self) -> FilterBar:
        return self.query_one(FilterBar)

    @property
    def channel_values(self) -> ChannelValues | None:
        """Every column of the channel under the cursor."""
        index = self.table.index
        return self.frame.rows(index[[self.table.position]])[0] if self.frame is not None and len(index) else None

    @property
    def filtered(self) -> dict[str, list[int]]:
        """The channels shown, by block."""
        return channels_by_block(self.frame, self.table.index) if self.frame is not None else {}

    def channels_marked(self, mark: str | None = None) -> dict[str, list[int]]:
        """Channels of the model with this mark, or any, by block."""
        return channels_by_block(self.frame, self.rows_marked(mark)) if self.frame is not None else {}

    def rows_marked(self, mark: str | None = None) -> np.ndarray:
        """Rows of the frame with this mark, or any, in stream order."""
        return marked_rows(self.frame, mark) if self.frame is not None else np.zeros(0, dtype=np.int64)

    # -- what the app hands over ---------------------------------------------------------------------------------------

    def show_reading(self, reading: Reading, frame: Frame) -> None:
        """Show a new reading of the store, under marks."""
        self.reading, self.frame = reading, frame
        listed, chosen = self.query_one(BlockList), self.arrangement.block
        listed.show(self.info.blocks, self.info.default_blocks, reading.summaries, chosen)
        unusual = f"{self.info.preprocessing}\n" if self.info.preprocessing else ""
        which = (f"  {self.info.fingerprint[:12]}\n{unusual}", DIM)
        about = Text.assemble(self.info.name, which, set_name(reading.key))
        self.query_one("#model", Static).update(about)
        was_empty = self.has_class("nothing")
        self.set_class(not reading.stored, "nothing")
        if was_empty and reading.stored:
            self.table.focus()
        self._arrange()
        if self._cursor is not None and self.table.move_to(self._cursor):
            self._cursor = None
        self._show_channel()

    def show_frame(self, frame: Frame, marks_problems: int = 0) -> None:
        """Show other marks on the same reading."""
        self.frame = frame
        self.marks_problems = marks_problems
        used = {self.arrangement.column} | set(self.arrangement.filter.columns if self.arrangement.filter else ())
        if used & JUDGED:
            self._arrange()
        else:
            self.table.replace(frame)
            self._status()
        if self._cursor is not None:
            self.table.move_to(self._cursor)
            self._cursor = None
        self._show_channel()

    def show_first_steps(self, text: Text) -> None:
        """What is to be read where there is no row to show."""
        self.query_one(FirstSteps).update(text)

    def show_jobs(self, jobs: Sequence[JobState]) -> None:
        self.query_one(JobLine).show(jobs)

    def show_line(self, words: str) -> None:
        """What there is to say of the line to the terminal."""
        self._line = words
        self._status()

    def say(self, text: str, failed: bool = False) -> None:
        """Put a line in the status bar."""
        self.query_one(StatusBar).say(text, failed)

    def _texts(self, column: str) -> list[str]:
        """The texts that a column has, in the order of the stream."""
        return list(dict.fromkeys(self.frame.columns[column].tolist())) if self.frame is not None else []

    # -- arranging -----------------------------------------------------------------------------------------------------

    def _arrange(self) -> None:
        if self.frame is None:
            return
        index = arrange(self.frame, self.arrangement, self.info.default_blocks)
        self.table.show(self.frame, index, self.arrangement.column, self.arrangement.descending, self.arrangement.shown)
        self._show_titles()
        self._status()

    def go_to(self, key: Key) -> bool:
        """Put the cursor on a channel, showing its block where another is shown; False where the filter hides it."""
        before = self.arrangement
        if self.table.move_to(key):
            return True
        self.arrangement = replace(before, block=key[0])
        self._arrange()
        if self.table.move_to(key):
            self.query_one(BlockList).choose(key[0])
            return True
        self.arrangement = before
        self._arrange()
        return False

    def sort_by(self, column: str | None, descending: bool) -> None:
        self.arrangement = replace(self.arrangement, column=column, descending=descending)
        self._arrange()
        self.say(f"{column or STREAM_ORDER}, {'descending' if descending else 'ascending'}")

    def choose_column(self, column: str) -> None:
        """Sort by a column, figures from the largest; one that is sorted by already is reversed."""
        if column == self.arrangement.column:
            self.sort_by(column, not self.arrangement.descending)
        else:
            self.sort_by(column, BY_NAME[column].kind != "text" and column != "channel")

    def show_columns(self, shown: tuple[str, ...]) -> None:
        """Show these columns beside the fixed ones."""
        self.arrangement = replace(self.arrangement, shown=shown)
        self._arrange()

    def _show_titles(self) -> None:
        """What the panes show, in their frames and in the figures of the block."""
        block, column = self.arrangement.block, self.arrangement.column
        order = f", by {column}{' (descending)' if self.arrangement.descending else ''}" if column else ""
        self.query_one("#middle").border_title = f"Channels of {block or 'all blocks'}{order}"
        if self.reading is not None:
            names = [block] if block is not None else self.info.default_blocks
            self.set_class(self.size.height >= len(self.info.blocks) + FIGURE_LINES + BESIDE_LINES, "roomy")
            self.query_one(BlockFigures).show(block or "all blocks", [self.reading.summaries[name] for name in names])

    def _status(self) -> None:
        if self.reading is None:
            return
        problems = len(self.reading.problems) + self.marks_problems
        blocks = [self.arrangement.block] if self.arrangement.block else self.info.default_blocks
        shown, whole = len(self.table.index), sum(self.reading.summaries[block].channels for block in blocks)
        chosen = len(self.table.chosen)
        done, to_judge = (
            judging_progress(self.frame, self.arrangement, self.info.default_blocks) if self.frame else (0, 0)
        )
        self._status_parts = (
            f"{chosen} chosen" if chosen else "",
            f"{problems} problem{'s' * (problems != 1)} (!)" if problems else "",
            f"{shown} of {whole} shown" if shown != whole else "",
            f"{done} of {to_judge} judged",
            f"{self.graphics.mode}, {self._line}" if self._line else self.graphics.mode,
            self.info.name,
            self.device,
            set_name(self.reading.key),
            self.cache,
        )
        self._show_status()

    def _show_status(self) -> None:
        """Where the cursor is, and all else that the status bar says."""
        shown = len(self.table.index)
        row = f"row {self.table.position + 1} of {shown}" if shown else ""
        self.query_one(StatusBar).tell(row, *self._status_parts)

    def _show_channel(self) -> None:
        index, place, preview = self.table.index, self.table.position, self.query_one(Preview)
        key = self.table.key
        preview.border_title = f"{key[0]} · {key[1]}" if key is not None else ""
        if self.frame is None or not len(index):
            self.query_one(Preview).show_channel(None)
            return
        near = [place, *(place + by for by in AHEAD if 0 <= place + by < len(index))]
        row, *neighbours = self.frame.rows(index[near])
        self.query_one(Preview).show_channel(row, neighbours)

    # -- what the widgets say ------------------------------------------------------------------------------------------

    def on_screen_resume(self) -> None:
        self.query_one(Preview).resume()

    def on_resize(self, event: events.Resize) -> None:
        self.query_one(Preview).set_class(event.size.width >= WIDE, "stacked")
        self._share_out()
        self.call_after_refresh(self._show_titles)

    def on_channel_table_channel_highlighted(self) -> None:
        self._show_status()
        self._show_channel()

    def on_channel_table_selection_changed(self) -> None:
        self._status()

    def on_channel_table_heading_clicked(self, event: ChannelTable.HeadingClicked) -> None:
        self.choose_column(event.column)

    def on_block_list_block_highlighted(self, event: BlockList.BlockHighlighted) -> None:
        self.arrangement = replace(self.arrangement, block=event.block)
        self._arrange()

    def on_option_list_option_selected(self) -> None:
        self.table.focus()

    def on_filter_bar_filter_changed(self, event: FilterBar.FilterChanged) -> None:
        self.arrangement = replace(self.arrangement, filter=event.filter)
        self._arrange()

    def on_filter_bar_filter_left(self) -> None:
        self.table.focus()

    # -- keys ----------------------------------------------------------------------------------------------------------

    def action_mark(self, mark: str) -> None:
        chosen, targets = self.table.chosen, self.table.targets
        if not targets:
            return
        self.post_message(self.MarkGiven(targets, mark))
        if chosen:
            self.table.clear_selection()
        elif self.advance and mark:
            self.table.action_move(1)

    def action_toggle_advance(self) -> None:
        self.advance = self.table.advances = not self.advance
        self.say(self.advance_text)

    @property
    def advance_text(self) -> str:
        return f"after a mark or space: {'the next channel' if self.advance else 'stay'}"

    def action_filter(self) -> None:
        self.filter_bar.open()

    def action_clear_selection(self) -> None:
        if self.focused is not self.table:
            self.table.focus()
        elif not self.table.clear_selection():
            self.filter_bar.clear()

    def action_quick_filter(self) -> None:
        values, bar = self.channel_values, self.filter_bar
        if values is None:
            self.say("no channel is shown; Esc clears the filter")
            return

        def answered(expression: str | None) -> None:
            if expression is not None:
                bar.write(join(bar.text, expression))

        self.app.push_screen(quick_filter_choice(values, self.arrangement), answered)

    def action_invert_filter(self) -> None:
        if self.arrangement.filter is None:
            self.say("no filter to invert; / writes one, f offers some")
        else:
            self.filter_bar.write(invert(self.arrangement.filter.expression))

    def action_columns(self) -> None:
        def answered(shown: tuple[str, ...] | None) -> None:
            if shown is not None:
                self.show_columns(shown)

        self.app.push_screen(ColumnsDialog(self.arrangement.shown), answered)

    def action_sort(self) -> None:
        def answered(column: str | None) -> None:
            if column == STREAM_ORDER:
                self.sort_by(None, False)
            elif column is not None:
                self.choose_column(column)

        self.app.push_screen(sort_choice(self.arrangement.column), answered)

    def action_reverse(self) -> None:
        self.sort_by(self.arrangement.column, not self.arrangement.descending)

    def action_sort_next(self, by: int) -> None:
        names = self.arrangement.shown
        column = self.arrangement.column
        place = names.index(column) + by if column in names else 0 if by > 0 else len(names) - 1
        if 0 <= place < len(names):
            self.sort_by(names[place], self.arrangement.descending if column else True)

    def action_block(self, by: int) -> None:
        listed = self.query_one(BlockList)
        listed.action_cursor_down() if by > 0 else listed.action_cursor_up()

    def action_toggle_blocks(self) -> None:
        self.toggle_class("blocks-flipped")
        self.table.focus()

    def action_toggle_preview(self) -> None:
        self.toggle_class("preview-hidden")

    def action_widen(self, by: int) -> None:
        """Give the preview more of the screen, or less; it is remembered."""
        preview = self.query_one(Preview)
        if not preview.display:
            return
        wide = preview.has_class("stacked")
        now = preview.outer_size.width / self.size.width if wide else preview.outer_size.height / self.size.height
        before = self._share if self._share is not None else 5 * round(20 * now)
        self._share = max(PREVIEW_LEAST, min(PREVIEW_MOST, before + by))
        self._share_out()

    def _share_out(self) -> None:
        """Give the preview what it is to have, beside the table or below it."""
        styles, wide = self.query_one(Preview).styles, self.size.width >= WIDE
        share = self._share
        if share is None:
            for rule in ("width", "min_width", "height"):
                styles.clear_rule(rule)
            return
        styles.width = f"{share}%" if wide else "100%"
        styles.min_width = 0
        styles.height = "1fr" if wide else f"{share}%"

    def action_next_kind(self) -> None:
        self.say(self.query_one(Preview).next_kind())

    def action_toggle_whole(self) -> None:
        preview = self.query_one(Preview)
        preview.show_whole(not preview.whole)
        self.say("whole images" if preview.whole else "what the centre neuron sees")
