"""The compare screen: two to six channels side by side, their pictures above their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Static

from streamscope.core.model.blocks import TENSORS
from streamscope.core.table.columns import BY_NAME
from streamscope.tui.screens.channel_view import ChannelView
from streamscope.tui.screens.channels import ChannelsScreen
from streamscope.tui.table.arrangement import Key
from streamscope.tui.table.channel_text import ChannelValues
from streamscope.tui.table.headings import DIM, HEADINGS, MARK_GLYPHS, MARK_STYLES, PLAIN, Heading, cell
from streamscope.tui.terminal.encoding import fit
from streamscope.tui.widgets.keys_footer import KeysFooter
from streamscope.tui.widgets.picture import GAP, PictureBox
from streamscope.tui.widgets.preview import DEBOUNCE, subjects
from streamscope.tui.widgets.status import MessageLine

MOST = 6
"""Channels side by side."""
LABELS = 9
"""Cells of the names at the left."""
MOST_FIGURES = 16
"""Lines of numbers that pictures leave in view at least, where that is less than half the terminal."""
ROWS = (
    "update",
    "mix_ratio",
    "scale_metric",
    "scale_invariant",
    "meets_mix",
    "meets_block",
    "meets_input",
    "robust",
    "block_gain",
    "input_gain",
    "in_on_in",
    "in_on_block",
    "block_on_in",
    "block_on_block",
    "out_on_in",
    "out_on_block",
    "block_on_in_up",
    "in_on_block_down",
    "rho",
    "stable_scale_invariant",
    "late_rise",
    "bn_weight",
    "conv_weight",
    "tags",
    "note",
)
"""Columns of the table that are compared, from the one that decides first."""
CRITERIA = {"meets_mix": "2 mix", "meets_block": "3 block", "meets_input": "4 input"}
"""Here is room for what the table calls c2, c3 and c4."""


class CompareScreen(ChannelView):
    """Shows `keys` six at a time; a mark goes to the channel that the cursor is on."""

    CSS = """
    CompareScreen #pictures { height: 1fr; }
    CompareScreen #margin { width: 9; }
    CompareScreen .column { width: 1fr; height: 1fr; }
    CompareScreen .column PictureBox { height: 1fr; }
    CompareScreen #heads { height: 1; }
    CompareScreen #figures { height: auto; max-height: 60%; scrollbar-size-vertical: 1; background: $surface; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("l,right", "focus_on(1)", "Next", show=False, id="compare.right"),
        Binding("h,left", "focus_on(-1)", "Previous", show=False, id="compare.left"),
        Binding("j,down", "scroll_by(1)", "Figures down", show=False, id="compare.down"),
        Binding("k,up", "scroll_by(-1)", "Figures up", show=False, id="compare.up"),
        Binding("d,delete", "drop", "Drop", id="compare.drop"),
        Binding("right_square_bracket", "page(1)", "Next six", show=False, id="compare.next"),
        Binding("left_square_bracket", "page(-1)", "Previous six", show=False, id="compare.previous"),
        Binding("enter", "detail", "Detail", id="compare.detail"),
        Binding("equals_sign", "leave", "Back", show=False, id="compare.leave"),
    ]

    def __init__(self, source: ChannelsScreen, keys: Sequence[Key]) -> None:
        super().__init__(source)
        self.keys = list(keys)
        self.place = 0
        self._levels = len(TENSORS)

    def compose(self) -> ComposeResult:
        yield Static(id="heads")
        with Horizontal(id="pictures"):
            yield Static(id="margin")
            for column in range(MOST):
                with Vertical(classes="column", id=f"column-{column}"):
                    for tensor in TENSORS:
                        yield PictureBox(self.source.painter, id=f"compare-{column}-{tensor}")
        with VerticalScroll(id="figures", can_focus=False):
            yield Static(id="text")
        yield MessageLine(id="message", classes="line")
        yield KeysFooter()

    @property
    def key(self) -> Key | None:
        """The channel under the cursor."""
        return self.keys[self.place] if self.keys else None

    @property
    def shown(self) -> list[Key]:
        """Those side by side now."""
        first = self.place // MOST * MOST
        return self.keys[first : first + MOST]

    def marked_keys(self) -> list[Key]:
        return [self.key] if self.key is not None else []

    def computed_keys(self) -> list[Key]:
        return list(self.keys)

    def after_mark(self) -> None:
        self.action_focus_on(1)

    def on_resize(self) -> None:
        self.call_after_refresh(self.show)

    def show(self) -> None:
        rows = [self.row_at(key) for key in self.shown]
        width = self._column_width()
        self._arrange(len(rows), width)
        for column in range(MOST):
            row = rows[column] if column < len(rows) else None
            for level, (tensor, subject) in enumerate(zip(TENSORS, subjects(row, self.kind, self.whole), strict=True)):
                box = self.query_one(f"#compare-{column}-{tensor}", PictureBox)
                box.want(subject if level < self._levels else None, DEBOUNCE)
        here = self.place % MOST
        self.query_one("#heads", Static).update(heads(rows, here, width))
        self.query_one("#text", Static).update(figures([row for row in rows if row is not None], width))
        if len(self.keys) > MOST:
            self.say(f"{self.place + 1} of {len(self.keys)} channels; [ and ] show the others")

    def _column_width(self) -> int:
        return max(8, (self.size.width - LABELS) // max(1, len(self.shown)))

    def _arrange(self, count: int, width: int) -> None:
        """As many of the three pictures below one another as leave room for the first numbers."""
        height = self.size.height - 3
        rows = fit((width - GAP, height), self.source.painter.graphics.cell)[1] + 1
        room = max(4, height - min(MOST_FIGURES, height // 2))
        self._levels = next((levels for levels in (3, 2) if levels * min(rows, 7) <= room), 1)
        taken = min(room, self._levels * rows)
        self.query_one("#pictures").styles.height = taken
        self.query_one("#figures").styles.max_height = max(1, height - taken)
        self.query_one("#figures").styles.height = max(1, height - taken)
        for column in range(MOST):
            self.query_one(f"#column-{column}").display = column < count
            for level, tensor in enumerate(TENSORS):
                self.query_one(f"#compare-{column}-{tensor}").display = level < self._levels

    def action_focus_on(self, by: int) -> None:
        if self.keys:
            self.place = max(0, min(len(self.keys) - 1, self.place + by))
            self.show()

    def action_page(self, by: int) -> None:
        first = (self.place // MOST + by) * MOST
        if 0 <= first < len(self.keys):
            self.place = first
            self.show()

    def action_scroll_by(self, by: int) -> None:
        self.query_one("#figures", VerticalScroll).scroll_relative(y=by, animate=False)

    def action_drop(self) -> None:
        """Compare the others only."""
        if len(self.keys) <= 1:
            self.action_leave()
            return
        del self.keys[self.place]
        self.place = min(self.place, len(self.keys) - 1)
        self.show()

    def action_detail(self) -> None:
        if self.key is not None and self.source.table.move_to(self.key):
            self.app.call_later(self.app.run_action, "ask('detail')")
        else:
            self.say("the filter hides this channel: it has no place in the table")


def heads(rows: Sequence[ChannelValues | None], here: int, width: int) -> Text:
    """The channels' names with their marks, the one under the cursor reversed."""
    text = Text(" " * LABELS, no_wrap=True)
    for place, row in enumerate(rows):
        mark = str(row.get("marked") or "") if row is not None else ""
        name = f"{row['block']} · {row['channel']}" if row is not None else "gone"
        if len(name) > width - 2:
            name = name.replace(" ", "")
        shown = name.center(width - 2)[: width - 2]
        style = Style(bold=True, reverse=place == here)
        text.append(shown, style).append(f"{MARK_GLYPHS.get(mark, ' ')} ", MARK_STYLES.get(mark, PLAIN))
    return text


def figures(rows: Sequence[ChannelValues], width: int) -> Text:
    """A line for each number of which any channel has one, the channels side by side."""
    lines = []
    for name in ROWS:
        heading = HEADINGS.get(name) or Heading(name, name.replace("_", " ")[: LABELS - 1], width)
        if all(row.get(name) is None for row in rows):
            continue
        line = Text(no_wrap=True).append(f"{CRITERIA.get(name, heading.label)[: LABELS - 1]:<{LABELS}}", DIM)
        for row in rows:
            value = row.get(name)
            empty = "" if BY_NAME[name].kind == "text" else float("nan")
            text, style = cell(
                name, float(value) if isinstance(value, bool) else empty if value is None else value, heading.places
            )
            line.append(text[: width - 1].center(width), style)
        lines.append(line)
    return Text("\n").join(lines)
