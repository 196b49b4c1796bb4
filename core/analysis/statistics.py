"""The tests and intervals that the analyses share. A number that cannot be had is NaN, and `reason` says why."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

CONFIDENCE = 0.95
"""Of every interval."""
FEWEST_PAIRS = 3
"""Below that a rank correlation has no p value."""


@dataclass(frozen=True)
class Correlation:
    """Spearman's rho of n pairs and its two-sided p (t distribution with n - 2 degrees of freedom)."""

    rho: float
    p: float
    n: int
    reason: str = ""
    """Why rho is NaN; empty where it is a number."""


@dataclass(frozen=True)
class Anova:
    """One-way analysis of variance: F, p, and each group's mean and size (NaN and 0 for an empty one)."""

    F: float
    p: float
    means: tuple[float, ...]
    sizes: tuple[int, ...]
    reason: str = ""


@dataclass(frozen=True)
class Proportion:
    """k of n, and the Wilson interval of the share; all NaN where n is 0."""

    k: int
    n: int
    low: float
    high: float

    @property
    def share(self) -> float:
        return self.k / self.n if self.n else math.nan


def spearman(x: ArrayLike, y: ArrayLike) -> Correlation:
    """Rank correlation of two (n,) arrays, ties by mean rank; pairs with a NaN are left out."""
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    known = ~(np.isnan(a) | np.isnan(b))
    a, b = a[known], b[known]
    reason = ""
    if len(a) < FEWEST_PAIRS:
        reason = f"{len(a)} pairs are too few"
    elif (a == a[0]).all() or (b == b[0]).all():
        reason = f"all {len(a)} values on one side are the same"
    if reason:
        return Correlation(math.nan, math.nan, len(a), reason)
    # scipy.stats takes most of a second to import, which the app's start must not pay.
    from scipy import stats

    found = stats.spearmanr(a, b)
    return Correlation(float(found.statistic), float(found.pvalue), len(a))


def anova(groups: Sequence[ArrayLike]) -> Anova:
    """Do the means of groups, each (n,), differ? NaNs are left out; every group needs two values at least."""
    known = [values[~np.isnan(values)] for values in (np.asarray(g, dtype=np.float64) for g in groups)]
    means = tuple(float(values.mean()) if len(values) else math.nan for values in known)
    sizes = tuple(len(values) for values in known)
    reason = ""
    if len(known) < 2 or min(sizes) < 2:
        reason = f"groups of {' and '.join(map(str, sizes)) or 0} values are too small"
    elif all((values == values[0]).all() for values in known):
        reason = "no group varies"
    if reason:
        return Anova(math.nan, math.nan, means, sizes, reason)
    from scipy import stats

    found = stats.f_oneway(*known)
    return Anova(float(found.statistic), float(found.pvalue), means, sizes)


def proportion_interval(k: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's interval of k successes in n trials; (NaN, NaN) for none. 0 <= k <= n."""
    if not 0 <= k <= n:
        raise ValueError(f"{k} of {n} is no proportion")
    if n == 0:
        return math.nan, math.nan
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, weight = k / n, 1 + z**2 / n
    centre = (share + z**2 / (2 * n)) / weight
    half = z / weight * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    # Rounding must not carry an end past 0 or 1.
    return (0.0 if k == 0 else centre - half), (1.0 if k == n else centre + half)


def proportion(verdicts: ArrayLike) -> Proportion:
    """How many of (n,) truth values (1, 0, NaN for unknown) hold, of those that are known."""
    values = np.asarray(verdicts, dtype=np.float64)
    k, n = int((values == 1).sum()), int((~np.isnan(values)).sum())
    return Proportion(k, n, *proportion_interval(k, n))
