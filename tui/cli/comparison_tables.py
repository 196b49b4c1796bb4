"""What differs between two sets, as tables on the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.table import Table

from streamscope.core.analysis.attribution import Attribution, Move
from streamscope.core.analysis.comparison import CRITERIA, KINDS, ChannelChange, SetChange
from streamscope.core.analysis.set_pairs import SetPair, value_of
from streamscope.core.export.comparison import causes
from streamscope.core.measures.agreement import Flips
from streamscope.core.measures.statistics import Correlation
from streamscope.core.table.columns import Value, number_text
from streamscope.tui.cli.printing import WIDTH, cell, share_text

LABELS = {
    "meets_mix": "(2) mix",
    "meets_block": "(3) block",
    "meets_input": "(4) input",
    "scale_invariant": "scale invariant",
}
"""Of criteria, by the names of their columns."""


def print_comparison(
    pair: SetPair,
    changes: Iterable[SetChange],
    channels: Sequence[ChannelChange],
    attributions: Sequence[Attribution] = (),
    moves: Sequence[Move] = (),
) -> None:
    """A table a block, one of the channels that change, and what brought it about where that was asked for."""
    console = Console(highlight=False)
    sides = [f"{pair.differ} {value_of(pair.differ, fzset.key)}" for fzset in (pair.first, pair.second)]
    tables = [_block_table(change, sides) for change in changes]
    for attribution in attributions:
        tables.append(_attribution_table(attribution, [move for move in moves if move.block == attribution.block]))
    if channels:
        tables.append(_channels_table(channels, attributions))
    if not console.is_terminal:
        # Piped into grep or less: rows must not be cut to a width that nobody sees.
        anything = console.options.update(max_width=10**6)
        console.width = max(WIDTH, *(console.measure(table, options=anything).maximum for table in tables))
    for side, fzset in zip(sides, (pair.first, pair.second), strict=True):
        console.print(cell(f"{side}: {fzset.key}"))
    for table in tables:
        console.print()
        console.print(table)


def _block_table(change: SetChange, sides: Sequence[str]) -> Table:
    table = _table(f"block {change.block}, {change.channels} channels", *sides, "what changes")
    median = [number_text(value) for value in change.medians]
    table.add_row("median M", *median, _rho(change.mix_ratio))
    for kind, before, after, row in zip(KINDS, *change.kinds, change.transitions, strict=True):
        goes = ", ".join(f"{count} {other}" for other, count in zip(KINDS, row, strict=True))
        table.add_row(kind, str(before), str(after), f"of the {before}: {goes}")
    differing = f"{change.update.k}: {share_text(change.update)}, kappa {number_text(change.kappa) or '-'}"
    table.add_row("another update", "", "", differing)
    for name in CRITERIA:
        found = change.criteria[name]
        jaccard = f", Jaccard {_jaccard(found)}" if name == "scale_invariant" else ""
        table.add_row(LABELS[name], str(found.before), str(found.after), f"{_flips(found)}{jaccard}")
    table.add_row("scale metric", "", "", _rho(change.scale_metric))
    return table


def _attribution_table(attribution: Attribution, moves: Sequence[Move]) -> Table:
    """How many channels gain (+) and lose (-) each criterion by every change, and by moving c."""
    table = _table(f"block {attribution.block}, paper to centred", *(LABELS[name] for name in CRITERIA), "Jaccard")
    for step in attribution.steps:
        table.add_row(step.name, *_criteria(step.criteria))
    for move in moves:
        table.add_row(f"c {move.move:+g} px, {move.protocol}", *_criteria(move.criteria))
    return table


def _channels_table(channels: Sequence[ChannelChange], attributions: Sequence[Attribution]) -> Table:
    by = ("by",) if attributions else ()
    table = _table("block", "channel", "M", "update", "scale invariant", "criteria", *by)
    for change in channels:
        criteria = " ".join(LABELS[name].split()[0] for name in CRITERIA[:3] if name in change.flipped)
        row = [_change(change, name) for name in ("mix_ratio", "update", "scale_invariant")]
        reasons = (", ".join(causes(change, attributions)),) if attributions else ()
        table.add_row(change.block, str(change.channel), *row, criteria, *reasons)
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _criteria(criteria: Mapping[str, Flips]) -> list[str]:
    return [*(_flips(criteria[name]) for name in CRITERIA), _jaccard(criteria["scale_invariant"])]


def _flips(found: Flips) -> str:
    return f"+{found.gained} -{found.lost}"


def _jaccard(found: Flips) -> str:
    return number_text(found.jaccard) or "-"


def _rho(found: Correlation) -> str:
    return f"rho {number_text(found.rho)} of {found.n}" if not found.reason else f"no rho: {found.reason}"


def _change(change: ChannelChange, name: str) -> str:
    before, after = (_text(side[name]) for side in (change.before, change.after))
    return before if before == after else f"{before} -> {after}"


def _text(value: Value) -> str:
    return number_text(value) or "-"
