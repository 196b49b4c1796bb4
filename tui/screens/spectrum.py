"""The spectrum screen: how the mix ratios of every block are spread, and what shares are scale invariant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from rich.style import Style
from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Footer, Static

from core.measures import MIX_MAX, UPDATE_BOUND
from core.table import Frame
from tui.plot import bars
from tui.screens.channels import ChannelsScreen
from tui.widgets.columns import DIM, UPDATE_STYLES

if TYPE_CHECKING:
    # SciPy behind it takes a second to import, which the app must not wait for.
    from core.analysis.spectrum import BlockSpectrum, Share

GAP = 2
NARROWEST = 37
"""Cells that a panel's shares need."""
WIDEST = 3
"""Cells of a bin at most."""
ABOUT = "Channels by M, 0 to 5 in bins of 0.25; scale invariant: k of n, share and its 95 % interval"


class SpectrumScreen(Screen[None]):
    """A histogram a block, and under it its shares by FZs, by MEIs and by both."""

    CSS = """
    SpectrumScreen { layout: vertical; }
    SpectrumScreen .line { height: 1; background: $panel; padding: 0 1; }
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

    def __init__(self, source: ChannelsScreen) -> None:
        super().__init__()
        self.source = source
        self._blocks: Sequence[BlockSpectrum] = ()
        self._shares: Sequence[Share] = ()

    def compose(self) -> ComposeResult:
        yield Static(ABOUT, classes="line")
        with VerticalScroll(id="blocks", can_focus=False):
            yield Static("…", id="text")
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        self.show()

    def show(self) -> None:
        """Show the frame as it is now."""
        if self.source.frame is not None:
            self._make(self.source.frame)

    @work(thread=True, exclusive=True, group="spectrum")
    def _make(self, frame: Frame) -> None:
        from core.analysis.spectrum import shares, spectrum

        self.post_message(self.SpectrumMade(spectrum(frame), shares(frame)))

    def on_spectrum_screen_spectrum_made(self, event: SpectrumMade) -> None:
        self._blocks, self._shares = event.blocks, event.shares
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        if self._blocks:
            width, height = self.size.width - 4, self.size.height - 2
            known = [block for block in self._blocks if block.computed]
            text = panels(known, self._shares, width, height) if known else Text()
            missing = ", ".join(block.block for block in self._blocks if not block.computed)
            if missing:
                text.append(f"\nnothing computed yet of {missing}", DIM)
            self.query_one("#text", Static).update(text)

    def action_scroll_by(self, by: int) -> None:
        self.query_one("#blocks", VerticalScroll).scroll_relative(y=by, animate=False)

    def action_leave(self) -> None:
        self.dismiss()


def panels(blocks: Sequence[BlockSpectrum], shares: Sequence[Share], width: int, height: int) -> Text:
    """Every block's panel, as many side by side as `width` holds, wider and higher where there is room for all."""
    bins = len(blocks[0].counts)
    deep = -(-len(blocks) // max(1, (width + GAP) // (NARROWEST + GAP)))
    across = -(-len(blocks) // deep)
    own = min(WIDEST * bins, (width + GAP) // across - GAP)
    wide = max(1, min(WIDEST, own // bins))
    tall = max(3, min(12, height // deep - 9))
    lines: list[Text] = []
    for first in range(0, len(blocks), across):
        columns = [
            panel(block, [share for share in shares if share.block == block.block], wide, tall, own)
            for block in blocks[first : first + across]
        ]
        for parts in zip(*columns, strict=True):
            line = Text(no_wrap=True)
            for part in parts:
                part.truncate(own, overflow="ellipsis", pad=True)
                line.append_text(part).append(" " * GAP)
            lines.append(line)
    return Text("\n").join(lines)


def panel(block: BlockSpectrum, shares: Sequence[Share], wide: int, tall: int, width: int) -> list[Text]:
    """One block in `tall` + 9 lines."""
    title = Text.assemble((block.block, Style(bold=True)), (f"  {block.computed} of {block.channels} computed", DIM))
    middles = (block.edges[:-1] + block.edges[1:]) / 2
    kinds = ["overwrite" if m < 1 / UPDATE_BOUND else "mix" if m < UPDATE_BOUND else "skip" for m in middles.tolist()]
    drawn = bars(block.counts, [UPDATE_STYLES[kind] for kind in kinds], tall, wide)
    highest = max(block.counts)
    drawn[0].append(f" {highest}", DIM)
    span = len(block.counts) * wide
    axis = [" "] * (span + 2)
    for m in range(int(MIX_MAX) + 1):
        axis[min(span - 1, round(m / MIX_MAX * span))] = str(m)
    counts = Text.assemble(
        (f"overwrite {block.overwrite}  ", UPDATE_STYLES["overwrite"]),
        (f"mix {block.mix}  ", UPDATE_STYLES["mix"]),
        (f"skip {block.skip}", UPDATE_STYLES["skip"]),
        (f"  undefined {block.undefined}" if block.undefined else "", DIM),
    )
    return [
        title,
        *drawn,
        Text("▔" * span, style=DIM),
        Text("".join(axis), style=DIM),
        counts,
        Text(f"{'SI':<5}{'all criteria':<18}without mix", style=DIM),
        *[_share_line(by, shares, width) for by in ("FZ", "MEI", "both")],
        Text(""),
    ]


def _share_line(by: str, shares: Sequence[Share], width: int) -> Text:
    line = Text(f"{by:<5}", no_wrap=True)
    for mix in (True, False):
        found = next((s.proportion for s in shares if s.by == by and s.mix is mix), None)
        if found is None or not found.n:
            line.append(f"{'–':<18}", DIM)
            continue
        line.append(f"{found.k}/{found.n} ").append(f"{100 * found.share:.0f}%", Style(bold=True))
        interval = f" {100 * found.low:.0f}–{100 * found.high:.0f}"
        line.append(interval.ljust(max(0, 18 - len(f"{found.k}/{found.n} {100 * found.share:.0f}%"))), DIM)
    return line
