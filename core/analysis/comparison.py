"""What changes between two sets of FZs of one model: other tensors captured, or only another seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from streamscope.core.analysis.spectrum import blocks_of
from streamscope.core.errors import UsageError
from streamscope.core.measures.statistics import Correlation, Proportion, proportion, spearman
from streamscope.core.model.arrays import Float64Array
from streamscope.core.model.fz import NO_GRADIENT
from streamscope.core.table.frame import Frame

if TYPE_CHECKING:
    from streamscope.core.store import FZSet

KINDS = ("overwrite", "mix", "skip")


@dataclass(frozen=True)
class SetChange:
    """How one block's channels differ between two sets, over channels that both have defined."""

    block: str
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


@dataclass(frozen=True)
class SetPair:
    """Two stored sets that differ in one thing: `differ` is "capture" or "seed"."""

    differ: str
    first: FZSet
    second: FZSet


def compare_sets(first: Frame, second: Frame) -> list[SetChange]:
    """How much changes from one frame to another of the same weights, block by block of those that both have.

    Raises UsageError for frames of different weights.
    """
    prints = set(first["fingerprint"].tolist()) | set(second["fingerprint"].tolist())
    if len(prints) > 1:
        raise UsageError("sets of different weights cannot be compared channel by channel")
    others = dict(blocks_of(second))
    return [_change(block, rows, others[block]) for block, rows in blocks_of(first) if block in others]


def comparable_sets(sets: Sequence[FZSet], fzset: FZSet) -> list[SetPair]:
    """Pairs of `fzset` with others of the same recipe that differ in capture only, then in seed only."""
    key = fzset.key
    others = [s for s in sets if s.key != key]
    captures = [s for s in others if replace(s.key, capture=key.capture) == key]
    seeds = sorted((s for s in others if replace(s.key, seed=key.seed) == key), key=lambda s: s.key.seed)
    return [*(SetPair("capture", fzset, s) for s in captures), *(SetPair("seed", fzset, s) for s in seeds)]


def _change(block: str, a: Frame, b: Frame) -> SetChange:
    _, rows_a, rows_b = np.intersect1d(a["channel"], b["channel"], return_indices=True)
    a, b = a.take(rows_a), b.take(rows_b)
    kinds_a, kinds_b = a["update"], b["update"]
    both = (kinds_a != "") & (kinds_b != "")
    transitions = tuple(tuple(int((both & (kinds_a == x) & (kinds_b == y)).sum()) for y in KINDS) for x in KINDS)
    shift = np.abs(a["mix_ratio"] - b["mix_ratio"])[both]
    return SetChange(
        block,
        proportion(_truth(kinds_a != kinds_b, both)),
        proportion(_differ(a["scale_invariant"], b["scale_invariant"])),
        transitions,
        spearman(a["mix_ratio"], b["mix_ratio"]),
        float(np.median(shift)) if len(shift) else float("nan"),
        proportion(_truth(kinds_a != kinds_b, both & _has_gradient(a) & _has_gradient(b))),
    )


def _has_gradient(rows: Frame) -> NDArray[np.bool_]:
    return np.array([NO_GRADIENT not in flags for flags in rows["flags"]], dtype=bool)


def _differ(a: Float64Array, b: Float64Array) -> Float64Array:
    return _truth(a != b, ~(np.isnan(a) | np.isnan(b)))


def _truth(values: NDArray[np.bool_], known: NDArray[np.bool_]) -> Float64Array:
    return np.where(known, values.astype(np.float64), np.nan)
