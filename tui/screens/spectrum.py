"""The spectrum screen: how the mix ratios of every block are spread, and what shares are scale invariant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, ClassVar

from rich.style import Style
from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Static
from textual.worker import get_current_worker

from streamscope.core.errors import StoreError
from streamscope.core.measures.criteria import MIX_MAX
from streamscope.core.table.frame import Frame
from streamscope.tui.advice import worded
from streamscope.tui.data.hints import KeyOf
from streamscope.tui.data.null_facts import CELL, LABEL, LEGEND, NullsReader, lacking_text, null_lines, share_text
from streamscope.tui.screens.channels import ChannelsScreen
from streamscope.tui.screens.messages import WorkFailed
from streamscope.tui.table.headings import DIM, UPDATE_STYLES
from streamscope.tui.table.plot import bars
from streamscope.tui.widgets.keys_footer import KeysFooter

if TYPE_CHECKING:
    from streamscope.core.analysis.nulls import Nulls
    from streamscope.core.analysis.spectrum import BlockSpectrum, Share

GAP = 2
BESIDE = 5
"""Cells beside the bars, where the number of channels in the highest stands, at least."""
SHARES = 52
"""Cells of a panel's shares and nulls."""
LOWEST = 9
"""Lines of bars beside a panel's shares and nulls, all of them computed."""
UNDER = 4
"""Lines of a panel beside its bars: title, edge, axis and an empty one."""
WIDEST = 3
"""Cells of a bin at most."""
ABOUT = "Channels by M in bins of 0.25; SI, scale invariant: k/n, share, 95 % interval"


class SpectrumScreen(Screen[None]):
    """A histogram a block, and beside it its shares by FZs, by MEIs and by both, and those shares under nulls."""

    CSS = """
    SpectrumScreen { layout: vertical; }
    SpectrumScreen .line { height: 1; background: $panel; padding: 0 1; }
    SpectrumScreen #message { height: auto; max-height: 3; }
    SpectrumScreen #blocks { height: 1fr; padding: 0 1; background: $surface; scrollbar-size-vertical: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "scroll_by(1)", "Down", show=False, id="spectrum.down"),
        Binding("k,up", "scroll_by(-1)", "Up", show=False, id="spectrum.up"),
        Binding("ctrl+d,pagedown", "scroll_by(10)", "Page down", show=False, id="spectrum.page_down"),
        Binding("ctrl+u,pageup", "scroll_by(-10)", "Page up", show=False, id="spectrum.page_up"),
        Binding("escape,q,H", "leave", "Back", id="spectrum.leave"),
    ]

    class SpectrumMade(Message):
        def __init__(self, blocks: Sequence[BlockSpectrum], shares: Sequence[Share]) -> None:
            super().__init__()
            self.blocks = blocks
            self.shares = shares

    class NullsRead(Message):
        def __init__(self, block: str, nulls: Nulls | None) -> None:
            super().__init__()
            self.block = block
            self.nulls = nulls

    def __init__(self, source: ChannelsScreen, reader: NullsReader, keys: KeyOf = str) -> None:
        super().__init__()
        self._keys = keys
        self.source = source
        self._reader = reader
        self._blocks: Sequence[BlockSpectrum] = ()
        self._shares: Sequence[Share] = ()
        self._nulls: dict[str, Nulls | None] = {}

    def compose(self) -> ComposeResult:
        yield Static(ABOUT, classes="line")
        with VerticalScroll(id="blocks", can_focus=False):
            yield Static("…", id="text")
        yield Static(LEGEND, id="message", classes="line")
        yield KeysFooter()

    def on_mount(self) -> None:
        self.show()

    def show(self) -> None:
        """Show the frame as it is now."""
        if self.source.frame is not None:
            self._make(self.source.frame)

    @work(thread=True, exclusive=True, group="spectrum")
    def _make(self, frame: Frame) -> None:
        from streamscope.core.analysis.spectrum import shares, spectrum

        blocks, worker = spectrum(frame), get_current_worker()
        self.post_message(self.SpectrumMade(blocks, shares(frame)))
        for block in blocks:
            if worker.is_cancelled:
                return
            if block.computed:
                try:
                    self.post_message(self.NullsRead(block.block, self._reader.read(block.block)))
                except StoreError as error:
                    self.app.post_message(WorkFailed("Reading the nulls", worded(error)))
                    return

    def on_spectrum_screen_spectrum_made(self, event: SpectrumMade) -> None:
        self._blocks, self._shares = event.blocks, event.shares
        self._draw()

    def on_spectrum_screen_nulls_read(self, event: NullsRead) -> None:
        self._nulls[event.block] = event.nulls
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        if self._blocks:
            width, height = self.size.width - 3, self.size.height - 3
            known = [block for block in self._blocks if block.computed]
            text = panels(known, self._shares, self._nulls, width, height) if known else Text()
            missing = ", ".join(block.block for block in self._blocks if not block.computed)
            if missing:
                text.append(f"\nnothing computed yet of {missing}", DIM)
            self.query_one("#text", Static).update(text)
            found = [nulls.lacking for nulls in self._nulls.values() if nulls is not None]
            lacking = sorted({null for several in found for null in several})
            self.query_one("#message", Static).update(Text(lacking_text(lacking, self._keys)) if lacking else LEGEND)

    def action_scroll_by(self, by: int) -> None:
        self.query_one("#blocks", VerticalScroll).scroll_relative(y=by, animate=False)

    def action_leave(self) -> None:
        self.dismiss()


def panels(
    blocks: Sequence[BlockSpectrum],
    shares: Sequence[Share],
    nulls: Mapping[str, Nulls | None],
    width: int,
    height: int,
) -> Text:
    """Every block's panel, as many side by side as `width` holds, wider and higher where there is room for all.

    `nulls` has those that have been read.
    """
    bins = len(blocks[0].counts)
    beside = max(BESIDE, 2 + max(len(str(max(block.counts))) for block in blocks))
    across = min(len(blocks), max(1, (width + GAP) // (bins + beside + SHARES + GAP)))
    deep = -(-len(blocks) // across)
    own = (width + GAP) // across - GAP
    wide = max(1, min(WIDEST, (own - beside - SHARES) // bins))
    tall = max(LOWEST, min(12, height // deep - UNDER))
    lines: list[Text] = []
    for first in range(0, len(blocks), across):
        columns = []
        for block in blocks[first : first + across]:
            said = share_lines([share for share in shares if share.block == block.block])
            said += false_positives(nulls, block.block)
            columns.append(panel(block, said, wide, tall, bins * wide + beside))
        for parts in zip_longest(*columns):
            line = Text(no_wrap=True)
            for part in parts:
                part = part or Text()
                part.truncate(own, overflow="ellipsis", pad=True)
                line.append_text(part).append(" " * GAP)
            lines.append(line)
    return Text("\n").join(lines)


def panel(block: BlockSpectrum, said: Sequence[Text], wide: int, tall: int, at: int) -> list[Text]:
    """One block: a title, and below it bars `tall` lines high, with the lines `said` from cell `at` on."""
    title = Text.assemble(
        (block.block, Style(bold=True)),
        (f"  {block.computed} of {block.channels} computed  ", DIM),
        (f"overwrite {block.overwrite}  ", UPDATE_STYLES["overwrite"]),
        (f"mix {block.mix}  ", UPDATE_STYLES["mix"]),
        (f"skip {block.skip}", UPDATE_STYLES["skip"]),
        (f"  undefined {block.undefined}" if block.undefined else "", DIM),
    )
    lines = [title]
    for left, right in zip_longest(histogram(block, wide, tall), said):
        line = left or Text()
        line.pad_right(at - line.cell_len)
        lines.append(line.append_text(right or Text()))
    return [*lines, Text()]


def histogram(block: BlockSpectrum, wide: int, tall: int) -> list[Text]:
    """Bars over an axis of M, in `tall` + 2 lines."""
    drawn = bars(block.stacks, [UPDATE_STYLES[kind] for kind in ("overwrite", "mix", "skip")], tall, wide)
    drawn[0].append(f" {max(block.counts)}", DIM)
    span = len(block.counts) * wide
    axis = [" "] * (span + 1)
    for m in range(int(MIX_MAX) + 1):
        axis[round(m / MIX_MAX * span)] = str(m)
    return [*drawn, Text("▔" * span, style=DIM), Text("".join(axis), style=DIM)]


def share_lines(shares: Sequence[Share]) -> list[Text]:
    """A block's shares of scale-invariant channels, by FZs, by MEIs and by both; the p is that of nulls below."""
    lines = [Text(f"{'SI':<{LABEL}}{'all criteria':<{CELL}}{'(3) and (4)':<{CELL}}p", style=DIM)]
    for by in ("FZ", "MEI", "both"):
        line = Text(f"{by:<{LABEL}}", no_wrap=True)
        for mix in (True, False):
            cell = share_text(next((s.proportion for s in shares if s.by == by and s.mix is mix), None))
            line.append_text(cell).append(" " * max(1, CELL - len(cell)))
        lines.append(line)
    return lines


def false_positives(nulls: Mapping[str, Nulls | None], block: str) -> list[Text]:
    """What stands under a block's shares: its nulls, or that they are still being read."""
    if block not in nulls:
        return [Text("nulls      …", style=DIM)]
    found = nulls[block]
    return null_lines(found) if found is not None else [Text("nulls      no channel has a verdict", style=DIM)]
