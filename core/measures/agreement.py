"""How far two verdicts on the same channels agree: before a change and after it, or of two people."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from streamscope.core.measures.statistics import CONFIDENCE
from streamscope.core.model.arrays import Float64Array


@dataclass(frozen=True)
class Flips:
    """How many of the same n channels a criterion holds for before and after a change, and how many it flips for."""

    n: int
    """Channels of which it is known both before and after."""
    before: int
    after: int
    gained: int
    """It holds after the change only."""
    lost: int
    """It holds before the change only."""

    @property
    def flipped(self) -> int:
        return self.gained + self.lost

    @property
    def jaccard(self) -> float:
        """Channels it holds for both times, over those it holds for at least once (Jaccard, "The distribution of the
        flora in the alpine zone", 1912); NaN where it never holds."""
        either = self.before + self.gained
        return (self.before - self.lost) / either if either else math.nan


def flips(before: ArrayLike, after: ArrayLike) -> Flips:
    """Compares (n,) truth values (1, 0, NaN for unknown); channels unknown in either are left out."""
    a, b = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    known = ~(np.isnan(a) | np.isnan(b))
    a, b = a[known] == 1, b[known] == 1
    return Flips(len(a), int(a.sum()), int(b.sum()), int((b & ~a).sum()), int((a & ~b).sum()))


def auc(scores: ArrayLike, truth: ArrayLike) -> float:
    """How often the (n,) score of a thing that holds exceeds that of one that does not, ties counting half: the area
    under the ROC curve (Mann and Whitney's U over all pairs). `truth` is 1, 0 or NaN for unknown; things unknown in
    either are left out. NaN where all hold, or none."""
    values, held = np.asarray(scores, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    known = ~(np.isnan(values) | np.isnan(held))
    high, low = values[known & (held == 1)], np.sort(values[known & (held == 0)])
    if not len(high) or not len(low):
        return math.nan
    below, up_to = np.searchsorted(low, high, side="left"), np.searchsorted(low, high, side="right")
    return float((below + up_to).mean() / 2 / len(low))


def kappa(table: ArrayLike) -> float:
    """Cohen's kappa ("A coefficient of agreement for nominal scales", 1960) of a square table of counts: rows are one
    judgement, columns the other.

    (p - e) / (1 - e), p being the share on the diagonal and e what it would be if the two did not depend on each other.
    NaN where nothing is counted, and where both give one and the same judgement throughout.
    """
    counts = np.asarray(table, dtype=np.float64)
    total = counts.sum()
    if not total:
        return math.nan
    observed = float(np.trace(counts) / total)
    expected = float((counts.sum(axis=0) * counts.sum(axis=1)).sum() / total**2)
    return (observed - expected) / (1 - expected) if expected < 1 else math.nan


@dataclass(frozen=True)
class Agreement:
    """How far two judges agree on n things, beyond chance."""

    n: int
    share: float
    """Of the things on which both say the same; NaN where there are none."""
    kappa: float
    low: float
    high: float
    """Ends of kappa's 95 % interval; NaN where `reason` says why."""
    reason: str = ""


def agreement(table: ArrayLike) -> Agreement:
    """`kappa` of a square table of counts, with its 95 % interval by the large-sample standard error of Fleiss, Cohen
    and Everitt, "Large sample standard errors of kappa and weighted kappa" (1969), equation 13.

    Where both judges say the same of everything that error is 0, and where each says one thing only it is not defined:
    there is no interval then, rather than one without a width.
    """
    counts = np.asarray(table, dtype=np.float64)
    n, value = int(counts.sum()), kappa(counts)
    share = float(np.trace(counts)) / n if n else math.nan
    if math.isnan(value) or share == 1:
        reason = "nothing is judged by both" if not n else "both say the same throughout"
        return Agreement(n, share, value, math.nan, math.nan, reason)
    half = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * math.sqrt(_kappa_variance(counts / n, value) / n)
    return Agreement(n, share, value, max(value - half, -1.0), min(value + half, 1.0))


def _kappa_variance(p: Float64Array, value: float) -> float:
    """n times the variance of kappa, of a table of shares."""
    rows, columns = p.sum(axis=1), p.sum(axis=0)
    expected = float(rows @ columns)
    agreeing = np.diagonal(p) * (1 - (rows + columns) * (1 - value)) ** 2
    # Cell i, j meets the column's share of i and the row's share of j.
    apart = p * (columns[:, None] + rows[None, :]) ** 2 * (1 - value) ** 2
    differing = apart.sum() - np.trace(apart)
    spread = agreeing.sum() + differing - (value - expected * (1 - value)) ** 2
    return max(float(spread), 0.0) / (1 - expected) ** 2
