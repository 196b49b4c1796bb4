"""The list of blocks: how many channels, how much is computed, how much is scale invariant, and a histogram of M."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from streamscope.core.analysis.spectrum import by_update
from streamscope.core.model.blocks import Block
from streamscope.core.table.frame import BlockSummary
from streamscope.core.text import short_names
from streamscope.tui.table.headings import DIM, UPDATE_STYLES

BARS = " ▁▂▃▄▅▆▇"
"""Not the whole cell: bars of one line are not to touch the line above."""
UPDATES = ("overwrite", "mix", "skip")
HISTOGRAM_CELLS = 10
"""M from 0 to 5 in cells of 0.5; the last takes 5 itself."""
ALL = "all"
NAME_CELLS = (5, 18)
"""Cells for a block's name, at least and at most."""


def name_cells(names: Sequence[str]) -> int:
    """Cells for these blocks' names, in the list and in the table."""
    return max(NAME_CELLS[0], min(NAME_CELLS[1], max(map(len, names), default=0)))


def heading(cells: int) -> str:
    """What stands over the list."""
    return f" {'block':<{cells}}{'ch':>5}{'I B':>6}{'O':>5}{'SI':>5} M 0       5"


class BlockList(OptionList):
    """`all` and each block; the one highlighted is what the table shows."""

    DEFAULT_CSS = """
    BlockList { height: 1fr; border: none; padding: 0; background: $surface; scrollbar-size-vertical: 1; }
    BlockList:focus { border: none; }
    BlockList > .option-list--option { padding: 0 0 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "cursor_down", "Next block", show=False, id="blocks.down"),
        Binding("k", "cursor_up", "Previous block", show=False, id="blocks.up"),
    ]

    class BlockHighlighted(Message):
        """Another block was chosen; None for all."""

        def __init__(self, block: str | None) -> None:
            super().__init__()
            self.block = block

    def show(
        self,
        blocks: Sequence[Block],
        default: Sequence[str],
        summaries: Mapping[str, BlockSummary],
        first: str | None = None,
    ) -> None:
        """Show these figures; the highlight stays where it is, at first on the block `first` (None is all)."""
        names = [block.name for block in blocks]
        cells = name_cells(names)
        short = short_names(names, cells)
        every = [summaries[b] for b in default if b in summaries]
        wanted: list[tuple[str, Text]] = [(ALL, _line(ALL.ljust(cells), every))]
        for block in blocks:
            known = [summaries[block.name]] if block.name in summaries else []
            wanted.append((block.name, _line(short[block.name].ljust(cells), known, dim=block.name not in default)))
        if [option.id for option in self.options] != [name for name, _ in wanted]:
            self.clear_options()
            self.add_options([Option(text, id=name) for name, text in wanted])
            self.choose(first)
            return
        for name, text in wanted:
            if self.get_option(name).prompt != text:
                self.replace_option_prompt(name, text)

    def choose(self, block: str | None) -> None:
        """Put the highlight on a block."""
        self.highlighted = self.get_option_index(block or ALL)

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        event.stop()
        name = event.option.id
        self.post_message(self.BlockHighlighted(None if name == ALL else name))


def _line(name: str, summaries: Sequence[BlockSummary], dim: bool = False) -> Text:
    channels = sum(s.channels for s in summaries)
    computed, whole = sum(s.computed for s in summaries), sum(s.whole for s in summaries)
    text = Text(f"{name}{channels:>5}", style=DIM if dim and not computed else Style.null(), no_wrap=True)
    if not computed:
        return text.append(f"{'–':>6}{'–':>5}{'–':>5}", DIM)
    invariant = sum(s.scale_invariant for s in summaries)
    shares = f"{percent(computed, channels):>6}{percent(whole, channels) if whole else '–':>5}"
    text.append(f"{shares}{percent(invariant, computed):>5} ")
    counts = [sum(column) for column in zip(*(s.histogram for s in summaries), strict=True)]
    kinds = [sum(getattr(s, update) for s in summaries) for update in UPDATES]
    text.append_text(histogram(by_update(counts, kinds)))
    return text


def percent(part: int, whole: int) -> str:
    """A share that says 100% only for all and 0% only for none."""
    if not whole:
        return "–"
    share = round(100 * part / whole)
    if part and not share:
        return "<1%"
    return "99%" if share == 100 and part < whole else f"{share}%"


def histogram(stacks: Sequence[Sequence[int]]) -> Text:
    """Counts by kind over M 0..5 as bars, coloured as the update of most of their channels is."""
    step = len(stacks) // HISTOGRAM_CELLS
    parts = [stacks[start : start + step] for start in range(0, step * HISTOGRAM_CELLS, step)]
    cells = [[sum(counts) for counts in zip(*part, strict=True)] for part in parts]
    highest = max(map(sum, cells), default=0)
    text = Text()
    for cell in cells:
        level = -(-sum(cell) * (len(BARS) - 1) // highest) if highest else 0
        text.append(BARS[level], UPDATE_STYLES[UPDATES[cell.index(max(cell))]])
    return text
