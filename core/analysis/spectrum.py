"""The spectrum of mix ratios, shares of scale-invariant channels, and the channels that mix most evenly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamscope.core.measures import criteria
from streamscope.core.measures.statistics import Proportion, proportion
from streamscope.core.model.arrays import Float64Array
from streamscope.core.table.frame import HISTOGRAM_EDGES, Frame, summarise

BY_FZ, BY_MEI, BY_BOTH = "FZ", "MEI", "both"


@dataclass(frozen=True)
class BlockSpectrum:
    """One block's channels by mix ratio: `counts` of bins 0.25 wide from 0 to 5, the last with 5 itself."""

    block: str
    channels: int
    computed: int
    counts: tuple[int, ...]
    overwrite: int
    mix: int
    skip: int
    undefined: int

    @property
    def edges(self) -> Float64Array:
        return HISTOGRAM_EDGES

    @property
    def stacks(self) -> list[tuple[int, ...]]:
        """Channels of each bin by update kind, as `by_update` has them."""
        return by_update(self.counts, (self.overwrite, self.mix, self.skip))


@dataclass(frozen=True)
class Share:
    """How many of a block's channels are scale invariant, of those whose verdict is known.

    `by` is FZ, MEI or both; without `mix` only the scale criteria (3) and (4) are asked for.
    """

    block: str
    by: str
    mix: bool
    proportion: Proportion


def blocks_of(frame: Frame) -> Iterator[tuple[str, Frame]]:
    """Each block of a frame, in its order, with the rows of it."""
    names = frame["block"]
    for name in dict.fromkeys(names.tolist()):
        yield name, frame.take(names == name)


def spectrum(frame: Frame) -> list[BlockSpectrum]:
    """Histogram of M and counts of update kinds of each block in the frame."""
    return [
        BlockSpectrum(block, s.channels, s.computed, s.histogram, s.overwrite, s.mix, s.skip, s.undefined)
        for block, s in summarise(frame).items()
    ]


def by_update(counts: Sequence[int], kinds: Sequence[int]) -> list[tuple[int, ...]]:
    """How many channels of each bin are of each update kind, exactly, also where a bound lies within a bin.

    `counts` are of rising bins of M, `kinds` how many channels overwrite, mix and skip. Kinds are ranges of M in this
    order, so the channels of lowest M are those that overwrite.
    """
    ends = np.cumsum(kinds)
    found = []
    for last, count in zip(np.cumsum(counts).tolist(), counts, strict=True):
        inside = np.diff(np.clip(ends, last - count, last), prepend=last - count)
        found.append(tuple(inside.tolist()))
    return found


def shares(frame: Frame) -> list[Share]:
    """Six shares a block: by FZ, by MEI, by both; each with and without the mix criterion.

    Those by MEI need a frame built with a scan; without one their n is 0.
    """
    found = []
    for block, rows in blocks_of(frame):
        for mix in (True, False):
            by_fz = _verdict(rows, "", mix)
            by_mei = _verdict(rows, "mei_", mix)
            for by, verdict in ((BY_FZ, by_fz), (BY_MEI, by_mei), (BY_BOTH, by_fz * by_mei)):
                found.append(Share(block, by, mix, proportion(verdict)))
    return found


def top_mixes(frame: Frame, n: int) -> NDArray[np.intp]:
    """Row numbers of the `n` channels whose M is nearest 1, the nearest first; of equals the first in the frame."""
    distance = np.abs(frame["mix_ratio"] - 1)
    order = np.argsort(distance, kind="stable")
    defined: NDArray[np.intp] = order[~np.isnan(distance[order])]
    return defined[:n]


def _verdict(rows: Frame, prefix: str, mix: bool) -> Float64Array:
    """1, 0 or NaN a row. Frames without a scan may lack the columns by MEI altogether."""
    unknown = np.full(len(rows), np.nan)
    if mix:
        return np.asarray(rows.columns.get(f"{prefix}scale_invariant", unknown))
    met = [rows.columns.get(f"{prefix}{name}", unknown) for name in ("meets_block", "meets_input")]
    return criteria.scale_invariant(np.ones(len(rows)), *met)
