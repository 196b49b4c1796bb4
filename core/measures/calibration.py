"""Are stated probabilities borne out? Of those near 0.7, seven in ten should come true."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

EDGES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Between the bins of probability; the outer ones are of what is decided."""


@dataclass(frozen=True)
class Bin:
    """Predictions of like probability."""

    low: float
    high: float
    n: int
    mean: float
    """Of their probabilities; NaN where there are none."""
    share: float
    """Of them that came true; likewise."""


@dataclass(frozen=True)
class Reliability:
    """What came of n predictions."""

    n: int
    bins: tuple[Bin, ...]
    error: float
    """Expected calibration error: how far mean probability and share of a bin differ, in the mean over predictions
    (Naeini et al., "Obtaining well calibrated probabilities using Bayesian binning", 2015). NaN where n is 0."""
    brier: float
    """Mean squared difference of probability and truth; likewise."""


def reliability(probability: ArrayLike, truth: ArrayLike) -> Reliability:
    """Of (n,) probabilities and truths (1 or 0); what is NaN in either is left out."""
    stated, true = (np.asarray(values, dtype=np.float64) for values in (probability, truth))
    known = ~(np.isnan(stated) | np.isnan(true))
    stated, true = stated[known], true[known]
    number = np.digitize(stated, EDGES)
    bins = []
    for k, (low, high) in enumerate(zip((0.0, *EDGES), (*EDGES, 1.0), strict=True)):
        here = number == k
        count = int(here.sum())
        mean, share = (float(values[here].mean()) if count else math.nan for values in (stated, true))
        bins.append(Bin(low, high, count, mean, share))
    if not len(stated):
        return Reliability(0, tuple(bins), math.nan, math.nan)
    error = sum(b.n * abs(b.mean - b.share) for b in bins if b.n) / len(stated)
    return Reliability(len(stated), tuple(bins), error, float(((stated - true) ** 2).mean()))
