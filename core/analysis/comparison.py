"""What changes between two sets of FZs of one model: made by another protocol, say, or only with another seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamscope.core.analysis.spectrum import blocks_of
from streamscope.core.errors import UsageError
from streamscope.core.measures.agreement import Flips, flips, kappa
from streamscope.core.measures.statistics import Correlation, Proportion, proportion, spearman
from streamscope.core.model.arrays import Float64Array
from streamscope.core.model.fz import NO_GRADIENT
from streamscope.core.table.columns import Value
from streamscope.core.table.frame import Frame

KINDS = ("overwrite", "mix", "skip")
CRITERIA = ("meets_mix", "meets_block", "meets_input", "scale_invariant")
"""What is counted of channels, by the name of the table's column: criteria (2) to (4), and all three."""
ROW = ("mix_ratio", "update", *CRITERIA)
"""Columns of a changed channel."""


@dataclass(frozen=True)
class SetChange:
    """How one block's channels differ between two sets, over channels that both have defined."""

    block: str
    channels: int
    """Of both sets, with FZ(I) and FZ(B) measured."""
    medians: tuple[float, float]
    """Median M in each."""
    update: Proportion
    """Channels whose update kind differs."""
    verdict: Proportion
    """Channels that are scale invariant in one set only."""
    transitions: tuple[tuple[int, ...], ...]
    """Channels by update kind in the first set (rows: overwrite, mix, skip) and in the second (columns)."""
    mix_ratio: Correlation
    """Of M in the one set against M in the other."""
    median_shift: float
    """Median of |M in the second - M in the first|."""
    update_with_gradient: Proportion
    """As `update`, over the channels of which no FZ in either set is flagged as without a gradient.

    A tensor after a ReLU, as Lucent's hook has it, gives none where the channel is silent: that FZ stays noise.
    """
    criteria: Mapping[str, Flips]
    """By criterion, of `CRITERIA`."""
    scale_metric: Correlation
    """Of SM in the one set against SM in the other."""

    @property
    def kappa(self) -> float:
        """How far the kinds of update agree beyond chance (Cohen's kappa)."""
        return kappa(self.transitions)

    @property
    def kinds(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Channels by update kind in each set, of those that both define."""
        columns = zip(*self.transitions, strict=True)
        return tuple(map(sum, self.transitions)), tuple(map(sum, columns))


@dataclass(frozen=True)
class ChannelChange:
    """A channel whose kind of update, or whether it is scale invariant, differs between two sets: its row in each.

    The rows have the columns `ROW`.
    """

    block: str
    channel: int
    before: Mapping[str, Value]
    after: Mapping[str, Value]

    @property
    def flipped(self) -> list[str]:
        """What differs: `update`, and those of `CRITERIA`."""
        pairs = ((name, self.before[name], self.after[name]) for name in ("update", *CRITERIA))
        return [name for name, a, b in pairs if a is not None and b is not None and a != b]


def compare_sets(first: Frame, second: Frame) -> list[SetChange]:
    """How much changes from one frame to another of the same weights, block by block of those that both have.

    Raises UsageError for frames of different weights.
    """
    prints = set(first["fingerprint"].tolist()) | set(second["fingerprint"].tolist())
    if len(prints) > 1:
        raise UsageError("sets of different weights cannot be compared channel by channel")
    others = dict(blocks_of(second))
    return [_change(block, rows, others[block]) for block, rows in blocks_of(first) if block in others]


def changed_channels(first: Frame, second: Frame) -> list[ChannelChange]:
    """The channels of both frames whose kind of update differs, or whether they are scale invariant, in order."""
    found = []
    others = dict(blocks_of(second))
    for block, rows in blocks_of(first):
        if block not in others:
            continue
        a, b = _shared(rows, others[block])
        pairs = zip(a["channel"].tolist(), *(side.rows(range(len(side)), ROW) for side in (a, b)), strict=True)
        changes = [ChannelChange(block, int(channel), before, after) for channel, before, after in pairs]
        found += [change for change in changes if {"update", "scale_invariant"} & set(change.flipped)]
    return found


def _shared(a: Frame, b: Frame) -> tuple[Frame, Frame]:
    """The rows of channels that both frames of a block have."""
    _, rows_a, rows_b = np.intersect1d(a["channel"], b["channel"], return_indices=True)
    return a.take(rows_a), b.take(rows_b)


def _change(block: str, a: Frame, b: Frame) -> SetChange:
    a, b = _shared(a, b)
    kinds_a, kinds_b = a["update"], b["update"]
    both = (kinds_a != "") & (kinds_b != "")
    transitions = tuple(tuple(int((both & (kinds_a == x) & (kinds_b == y)).sum()) for y in KINDS) for x in KINDS)
    m_a, m_b = a["mix_ratio"][both], b["mix_ratio"][both]
    return SetChange(
        block,
        int((~np.isnan(a["fz_seed"]) & ~np.isnan(b["fz_seed"])).sum()),
        (_median(m_a), _median(m_b)),
        proportion(_truth(kinds_a != kinds_b, both)),
        proportion(_differ(a["scale_invariant"], b["scale_invariant"])),
        transitions,
        spearman(a["mix_ratio"], b["mix_ratio"]),
        _median(np.abs(m_a - m_b)),
        proportion(_truth(kinds_a != kinds_b, both & _has_gradient(a) & _has_gradient(b))),
        {name: flips(a[name], b[name]) for name in CRITERIA},
        spearman(a["scale_metric"], b["scale_metric"]),
    )


def _median(values: Float64Array) -> float:
    return float(np.median(values)) if len(values) else float("nan")


def _has_gradient(rows: Frame) -> NDArray[np.bool_]:
    return np.array([NO_GRADIENT not in flags for flags in rows["flags"]], dtype=bool)


def _differ(a: Float64Array, b: Float64Array) -> Float64Array:
    return _truth(a != b, ~(np.isnan(a) | np.isnan(b)))


def _truth(values: NDArray[np.bool_], known: NDArray[np.bool_]) -> Float64Array:
    return np.where(known, values.astype(np.float64), np.nan)
