"""Below the list of blocks: the block shown, as a histogram of M with what its channels come to."""

from __future__ import annotations

from collections.abc import Sequence

from rich.style import Style
from rich.text import Text
from textual.widgets import Static

from streamscope.core.analysis.spectrum import by_update
from streamscope.core.measures.criteria import MIX_MAX
from streamscope.core.table.frame import BlockSummary
from streamscope.tui.table.headings import DIM, PASSED, UPDATE_STYLES
from streamscope.tui.table.plot import bars

KINDS = ("overwrite", "mix", "skip")
BINS = 20
TALL = 7
"""Lines of the bars."""
LINES = 16
"""Of all of it."""


class BlockFigures(Static):
    """Shown where the terminal is high enough."""

    DEFAULT_CSS = """
    BlockFigures { display: none; height: auto; padding: 1 1 0 1; background: $surface; }
    """

    def show(self, name: str, summaries: Sequence[BlockSummary]) -> None:
        """Show these blocks together."""
        width = self.size.width or self.container_size.width
        self.update(figures(name, summaries, max(BINS, width - 2)))


def figures(name: str, summaries: Sequence[BlockSummary], width: int) -> Text:
    """At most LINES lines of at most `width` cells."""
    with_stream = [summary for summary in summaries if summary.has_stream]
    computed = sum(summary.computed for summary in with_stream)
    if not computed:
        return Text()
    counts = [sum(column) for column in zip(*(summary.histogram for summary in with_stream), strict=True)]
    kinds = [sum(getattr(summary, kind) for summary in with_stream) for kind in KINDS]
    styles = [UPDATE_STYLES[kind] for kind in KINDS]
    wide = max(1, width // len(counts))
    lines = [Text(f"M of {name}", style=Style(bold=True)), *bars(by_update(counts, kinds), styles, TALL, wide)]
    axis = [" "] * (len(counts) * wide + 1)
    for m in range(int(MIX_MAX) + 1):
        axis[round(m / MIX_MAX * len(counts) * wide)] = str(m)
    lines += [Text("▔" * len(counts) * wide, style=DIM), Text("".join(axis), style=DIM)]
    for kind, style, count, about in zip(KINDS, styles, kinds, ("M small: B", "both", "M large: I"), strict=True):
        lines.append(
            Text.assemble((f"{kind:<10}", style), f"{count:>5} {_percent(count, computed):>5}  ", (about, DIM))
        )
    invariant = sum(summary.scale_invariant for summary in with_stream)
    label = f"{'scale inv.':<10}"
    lines.append(Text.assemble((label, PASSED), f"{invariant:>5} {_percent(invariant, computed):>5}"))
    return Text("\n").join(lines)


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f}%"
