"""The tests and intervals that the analyses share. A number that cannot be had is NaN, and `reason` says why."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

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
    """k of n, and the Wilson interval of the share, wider where trials depend on each other; all NaN where n is 0."""

    k: int
    n: int
    low: float
    high: float

    @property
    def share(self) -> float:
        return self.k / self.n if self.n else math.nan


@dataclass(frozen=True)
class Paired:
    """Of things that hold or do not under each of two conditions: in how many one alone holds, and McNemar's exact
    two-sided p that it is as often the one as the other (1 where that is never so; NaN where nothing is known)."""

    first_only: int
    second_only: int
    p: float


def mcnemar(first: ArrayLike, second: ArrayLike) -> Paired:
    """Compares (n,) truth values (1, 0, NaN for unknown) under two conditions; things unknown in either are left out.

    The p is that of a sign test of the discordant pairs (McNemar, "Note on the sampling error of the difference between
    correlated proportions or percentages", 1947; here by the binomial distribution).
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    known = ~(np.isnan(a) | np.isnan(b))
    only = int(((a == 1) & (b == 0))[known].sum()), int(((a == 0) & (b == 1))[known].sum())
    if not known.any():
        return Paired(*only, math.nan)
    fewer = sum(math.comb(sum(only), k) for k in range(min(only) + 1))
    return Paired(*only, min(1.0, 2 * fewer / 2 ** sum(only)))


@dataclass(frozen=True)
class Excess:
    """How much larger one share is than another, with its 95 % interval, and the p that it is none."""

    difference: float
    low: float
    high: float
    p: float


def paired_excess(first: ArrayLike, second: ArrayLike) -> Excess:
    """Of the shares of (n,) truth values (1, 0, NaN for unknown) under two conditions, of those known in both.

    The p is `mcnemar`'s. The interval is Wald's with a half added to each of the four counts (Agresti and Min, "Simple
    improved confidence intervals for comparing matched proportions", 2005). All NaN where nothing is known.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    n = int((~(np.isnan(a) | np.isnan(b))).sum())
    found = mcnemar(a, b)
    if n == 0:
        return Excess(*(math.nan,) * 3, found.p)
    only, other, trials = found.first_only + 0.5, found.second_only + 0.5, n + 2
    centre = (only - other) / trials
    deviation = math.sqrt(max(only + other - (only - other) ** 2 / trials, 0)) / trials
    half = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * deviation
    difference = (found.first_only - found.second_only) / n
    return Excess(difference, max(centre - half, -1.0), min(centre + half, 1.0), found.p)


def excess(first: Proportion, second: Proportion, p: float) -> Excess:
    """Of two shares of different things; `p` is that of a test of theirs.

    The interval is put together from those of both (Newcombe, "Interval estimation for the difference between
    independent proportions", 1998, method 10). All NaN where either is of nothing.
    """
    if not first.n or not second.n:
        return Excess(*(math.nan,) * 4)
    difference = first.share - second.share
    below = math.hypot(first.share - first.low, second.high - second.share)
    above = math.hypot(first.high - first.share, second.share - second.low)
    return Excess(difference, difference - below, difference + above, p)


def fisher(first: Proportion, second: Proportion) -> float:
    """Fisher's exact two-sided p that two shares of different things are one: NaN where either is of nothing.

    All tables as likely as the one seen or less count.
    """
    if not first.n or not second.n:
        return math.nan
    total, n = first.k + second.k, first.n + second.n

    def chance(k: int) -> float:
        ways = _log_ways(first.n, k) + _log_ways(second.n, total - k) - _log_ways(n, total)
        return math.exp(ways)

    every = [chance(k) for k in range(max(0, total - second.n), min(total, first.n) + 1)]
    # What is as likely on paper may differ in its last digits.
    return min(1.0, sum(one for one in every if one <= chance(first.k) * (1 + 1e-7)))


def _log_ways(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def holm(p: ArrayLike) -> list[float]:
    """(n,) p corrected for being n: the chance that any of them all is as small where nothing is true stays below it.

    Holm, "A simple sequentially rejective multiple test procedure", 1979. NaN is no test, and stays.
    """
    values = np.asarray(p, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    corrected = np.full(values.shape, np.nan)
    scaled = values[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1.0) if len(order) else scaled
    return [float(value) for value in corrected]


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


def proportion_interval(k: float, n: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's interval of k successes in n trials; (NaN, NaN) for none. 0 <= k <= n.

    Neither need be whole: trials that depend on each other count as fewer.
    """
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


def clustered_proportion(holding: ArrayLike, of: ArrayLike) -> Proportion:
    """Of trials that come in clusters, (clusters,) each: how many hold, of how many.

    Those of one cluster may depend on each other. The interval is Wilson's for the number of independent trials whose
    share would vary as much (Rao and Scott, "A simple method for the analysis of clustered binary data", 1992).
    """
    k, n = (np.asarray(values, dtype=np.float64) for values in (holding, of))
    k, n = k[n > 0], n[n > 0]
    excess = k - k.sum() / n.sum() * n if len(n) else n
    return _dependent_proportion(k.sum(), n.sum(), (excess**2).sum(), len(n))


def paired_proportion(table: ArrayLike) -> Proportion:
    """Of the truth values (1, 0, NaN for unknown) of all ordered pairs of two different things, an (n, n) table.

    Pairs that share a thing may depend on each other. The interval is Wilson's for the number of independent trials
    whose share would vary as much, by the variance that Fafchamps and Gubert ("The formation of risk sharing networks",
    2007) take for such pairs: from the products of what two pairs have in excess, where they share a thing.
    """
    values = np.array(table, dtype=np.float64)
    np.fill_diagonal(values, np.nan)
    known = ~np.isnan(values)
    k, n = np.nansum(values), known.sum()
    excess = np.where(known, values - k / n, 0.0) if n else np.zeros_like(values)
    # Sharing both things, a pair meets itself and its reverse twice.
    twice = (excess**2).sum() + (excess * excess.T).sum()
    products = ((excess.sum(axis=0) + excess.sum(axis=1)) ** 2).sum() - twice
    return _dependent_proportion(k, n, products, int(known.any(axis=0).sum()))


def _dependent_proportion(k: float, n: float, products: float, clusters: int) -> Proportion:
    """`products` is the sum over all pairs of dependent trials of what both have in excess of the share.

    Where all trials are alike nothing is known of their dependence, and every cluster counts as one.
    """
    trials: float = clusters
    if products > 0 and clusters > 1:
        variance = products / n**2 * clusters / (clusters - 1)
        trials = min(n, k / n * (1 - k / n) / variance)
    return Proportion(int(k), int(n), *proportion_interval(k / n * trials if n else 0, trials))
