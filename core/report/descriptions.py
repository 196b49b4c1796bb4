"""What figures and pictures show, in words with their numbers, for those who cannot see them.

Numbers are those of the report's tables, rounded as its pages round them: a line for each part of a figure.
"""

from __future__ import annotations

from collections.abc import Sequence

from streamscope.core.analysis.comparison import KINDS
from streamscope.core.analysis.skip_weights import WEIGHTS
from streamscope.core.measures.criteria import UPDATE_BOUND
from streamscope.core.model.blocks import Tensor
from streamscope.core.report.sheets import TITLES
from streamscope.core.report.tables import Table

LETTERS: dict[Tensor, str] = {"in": "I", "block": "B", "out": "O"}

Lines = tuple[str, ...]


def describe_updates(blocks: Table) -> Lines:
    """A line a block that has anything computed."""
    lines = []
    for row in _rows(blocks):
        if blocks.value(row, "computed"):
            counts = ", ".join(f"{_text(blocks, row, kind)} {kind}" for kind in (*KINDS, "undefined"))
            lines.append(f"{_text(blocks, row, 'block')}: of {_text(blocks, row, 'computed')} channels {counts}")
    return tuple(lines)


def describe_spectra(blocks: Table, spectrum: Table) -> Lines:
    """A line a block: its kinds of update and its fullest bin of M."""
    lines = []
    for line in describe_updates(blocks):
        block = line.split(":", 1)[0]
        full = max(_of_block(spectrum, block), key=lambda row: int(spectrum.value(row, "channels") or 0))
        lines.append(f"{line}; most in one bin: {_bin(spectrum, full)}")
    return tuple(lines)


def describe_spectrum(blocks: Table, spectrum: Table, block: str) -> Lines:
    """One block's kinds of update, and all of its bins that are not empty."""
    bins = [_bin(spectrum, row) for row in _of_block(spectrum, block) if spectrum.value(row, "channels")]
    bounds = f"overwrite is M up to {1 / UPDATE_BOUND:.3f}, skip from {UPDATE_BOUND}"
    counts = [line for line in describe_updates(blocks) if line.startswith(f"{block}:")]
    return (*counts, bounds, f"by bins of M: {'; '.join(bins)}" if bins else "no channel has an M")


def _bin(spectrum: Table, row: int) -> str:
    channels = _text(spectrum, row, "channels")
    return f"{channels} from {_text(spectrum, row, 'from')} to {_text(spectrum, row, 'to')}"


def describe_shares(shares: Table, nulls: Table) -> Lines:
    """A line a block and set of criteria: shares by FZ, MEI and both, and what their nulls give."""
    lines = []
    for block in dict.fromkeys(str(shares.value(row, "block")) for row in _rows(shares)):
        for mix, criterion in ((True, "scale_invariant"), (False, "meets_both")):
            parts = [
                f"{_share(shares, row, 'share', 'invariant', 'n')} by {_text(shares, row, 'by')}, 95 % "
                f"{_text(shares, row, 'low')} to {_text(shares, row, 'high')}"
                for row in _of_block(shares, block)
                if shares.value(row, "mix") is mix and shares.value(row, "n")
            ]
            under = [
                f"{_text(nulls, row, 'null')} {_text(nulls, row, 'null_share')}"
                for row in _of_block(nulls, block)
                if nulls.value(row, "criterion") == criterion
            ]
            if parts:
                asked = "all criteria" if mix else "without (2)"
                meaningless = f"; nulls: {', '.join(under)}" if under else ""
                lines.append(f"{block}, {asked}: {'; '.join(parts)}{meaningless}")
    return tuple(lines)


def describe_skip_weights(table: Table, block: str) -> Lines:
    """Spearman's rho of each skip weight against M."""
    lines = []
    for row in _of_block(table, block):
        name = WEIGHTS[str(table.value(row, "weight"))]
        lines.append(f"{name}: {_rho(table, row)}")
    return tuple(lines)


def describe_inhibition(table: Table, block: str) -> Lines:
    """Means of both groups, their ANOVA, and rho, a line a quantity."""
    lines = []
    for row in _of_block(table, block):
        means = (
            f"mean {_text(table, row, 'mean_below')} of {_text(table, row, 'n_below')} channels with M < 1, "
            f"{_text(table, row, 'mean_above')} of {_text(table, row, 'n_above')} with M ≥ 1"
        )
        anova = f"F {_text(table, row, 'F')}, p {_text(table, row, 'p')}"
        lines.append(f"{_text(table, row, 'quantity')}: {means}; {anova}; {_rho(table, row, 'rho_p')}")
    return tuple(lines)


def _rho(table: Table, row: int, p: str = "p") -> str:
    if table.value(row, "rho") is None:
        return f"rho undefined ({_text(table, row, 'reason')})"
    rho, p_text, n = (_text(table, row, name) for name in ("rho", p, "n"))
    return f"Spearman's rho against M {rho}, p {p_text}, {n} channels"


def describe_tuning(summary: Table, block: str) -> Lines:
    """Median invariance and half-width, a line an image and group of channels."""
    found: dict[tuple[str, ...], list[str]] = {}
    for row in _of_block(summary, block):
        source, on, read, group, n = (_text(summary, row, name) for name in ("source", "on", "read", "channels", "n"))
        width = f"half-width {_text(summary, row, 'half_width')} octaves"
        part = f"{read} invariance {_text(summary, row, 'invariance')}, {width} (n {n})"
        found.setdefault((source, on, group), []).append(part)
    return tuple(
        f"{source} of {on}, {group}, medians: {'; '.join(parts)}" for (source, on, group), parts in found.items()
    )


def describe_comparison(comparison: Table, differ: str, other: str) -> Lines:
    """How many channels change between two sets, a line a block."""
    lines = []
    for row in _rows(comparison):
        if (comparison.value(row, "differ"), comparison.value(row, "second")) == (differ, other):
            changed = f"{_text(comparison, row, 'changed')} of {_text(comparison, row, 'n')}"
            line = f"{_text(comparison, row, 'block')}: {changed} channels change their {_text(comparison, row, 'of')}"
            if comparison.value(row, "rho") is not None:
                shift = _text(comparison, row, "median_shift")
                line += f"; rho of M {_text(comparison, row, 'rho')}, median shift {shift}"
            lines.append(line)
    return tuple(lines)


def describe_top(table: Table) -> Lines:
    """The channels of a list, one after another."""
    return tuple(
        f"{_text(table, row, 'block')} channel {_text(table, row, 'channel')}: M {_text(table, row, 'mix_ratio')}, "
        f"SM {_text(table, row, 'scale_metric')}"
        for row in _rows(table)
    )


def describe_ablation(table: Table) -> Lines:
    """Accuracies, a line a zoom."""
    lines = []
    for row in _rows(table):
        parts = [f"intact {_text(table, row, 'intact')}", f"chosen channels ablated {_text(table, row, 'chosen')}"]
        for sets, name in (("controls", "matched controls"), ("random", "random sets")):
            if table.value(row, sets) is not None:
                ends = f"{_text(table, row, f'{sets}_min')} to {_text(table, row, f'{sets}_max')}"
                parts.append(f"{name} {_text(table, row, sets)} ({ends})")
        lines.append(f"zoom {_text(table, row, 'true_zoom')}: accuracy {', '.join(parts)}")
    return tuple(lines)


def describe_fz(channels: Table, block: str, channel: int, tensor: Tensor) -> str:
    """Whose FZ a picture is, and what each tensor answers to it; `channels` is the block's channel table."""
    name = f"{TITLES[tensor]} of {block} channel {channel}"
    row = channels.find(channel=channel)
    if row is None:
        return name
    known = [
        f"{letter} {_text(channels, row, f'{read}_on_{tensor}')}"
        for read, letter in LETTERS.items()
        if channels.value(row, f"{read}_on_{tensor}") is not None
    ]
    return f"{name}; activations on it: {', '.join(known)}" if known else name


def _share(table: Table, row: int, share: str, count: str, of: str) -> str:
    return f"{_text(table, row, share)} ({_text(table, row, count)} of {_text(table, row, of)})"


def _rows(table: Table) -> range:
    return range(len(table))


def _of_block(table: Table, block: str) -> Sequence[int]:
    return [row for row in _rows(table) if table.value(row, "block") == block]


def _text(table: Table, row: int, name: str) -> str:
    return table.cell(row, name).text
