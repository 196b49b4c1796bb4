"""Do a channel's gains stand out from those of pairs that have no reason to be alike?

A pair (c, d) is an imaginary channel whose block feature is c's and whose input feature is d's; a real channel is
c = d. Its statistic is the smaller of its two gains (arXiv 2407.05340, SM is their sum):

    (relu(B_c(S(FZ(I_d)))) - relu(B_c(FZ(I_d)))) / B_c(FZ(B_c))        block gain
    (relu(I_d(S-(FZ(B_c)))) - relu(I_d(FZ(B_c)))) / I_d(FZ(I_d))       input gain
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamscope.core.model.arrays import Float64Array

POINTS = 1000
"""Of a null that are kept, at most."""


@dataclass(frozen=True)
class PairNull:
    """The gains of a block's channels among those of all pairs of different ones."""

    pairs: int
    """Of which both gains are known."""
    reached: Float64Array
    """(n,): how many of them have a statistic at least as large as the channel's; NaN where that is unknown."""
    block_gain: Float64Array
    """Of the pairs in order of their statistic: all, or `POINTS` at equal distances, the least and the largest among
    them. So their statistics have the quantiles of the whole null."""
    input_gain: Float64Array
    """Of the same pairs."""


def pair_null(block_gain: ArrayLike, input_gain: ArrayLike) -> PairNull:
    """Of the gains of all pairs, (n, n) tables of the same order; the diagonals are the channels' own. NaN: unknown."""
    block, input_ = (np.asarray(gains, dtype=np.float64) for gains in (block_gain, input_gain))
    statistic = np.minimum(block, input_)
    own = np.diag(statistic)
    different = ~np.eye(len(own), dtype=bool) & ~np.isnan(statistic)
    null, block, input_ = statistic[different], block[different], input_[different]
    order = np.argsort(null, kind="stable")
    reached = len(null) - np.searchsorted(null[order], own, side="left").astype(np.float64)
    kept = order[_evenly(len(null), POINTS)]
    return PairNull(len(null), np.where(np.isnan(own), np.nan, reached), block[kept], input_[kept])


def null_p(reached: ArrayLike, pairs: int) -> Float64Array:
    """(1 + pairs that reach it) / (1 + pairs): how likely a pair's statistic is at least a channel's; NaN stays NaN."""
    return (1 + np.asarray(reached, dtype=np.float64)) / (1 + pairs)


def false_discovery(p: ArrayLike) -> Float64Array:
    """q of (n,) p by Benjamini and Hochberg ("Controlling the false discovery rate", 1995); NaN is no test, and stays.

    The channels with q up to x are a choice of which a share of x at most is expected to be false: where tests are
    independent, or depend on each other positively. All p of a block come of one pooled null, whose pairs share
    channels, and so do a pair and the channels it is of: a channel whose B answers everything enlarged raises the p of
    all others. That is no independence, so q is an estimate of the share, not a bound that is proved.
    """
    values = np.asarray(p, dtype=np.float64)
    q = np.full(values.shape, np.nan)
    known = np.flatnonzero(~np.isnan(values))
    if not len(known):
        return q
    order = known[np.argsort(values[known], kind="stable")]
    scaled = values[order] * len(order) / np.arange(1, len(order) + 1)
    q[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1)
    return q


def _evenly(count: int, most: int) -> NDArray[np.int64]:
    """Numbers below `count`, at most `most` of them at equal distances, the first and last among them."""
    if count <= most:
        return np.arange(count)
    return np.rint(np.linspace(0, count - 1, most)).astype(np.int64)
