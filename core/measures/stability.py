"""Does a channel's verdict depend on the noise that its FZs began with? Over sets that differ in seed only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamscope.core.measures import criteria
from streamscope.core.model.arrays import Float64Array


@dataclass(frozen=True)
class Stability:
    """How often each channel's verdicts hold over several pairs of FZs, each from a seed of its own; (C,) arrays."""

    seeds: Float64Array
    """Pairs of FZs (one a seed) whose M is defined; 0 where there is none."""
    update: Float64Array
    """Share of them whose update kind is that of the first set; NaN for fewer than two, or where the first has none."""
    scale_invariant: Float64Array
    """Share of them that meet all scale criteria; NaN for fewer than two."""


def stability(mix_ratio: ArrayLike, scale_invariant: ArrayLike, fz_seed: ArrayLike) -> Stability:
    """Of (S, C) arrays of S sets, the one in question first.

    A row whose M was undefined is read from FZs of the next seed, which another set may have under its own: the same
    pair of FZs counts once, so `fz_seed` says which seed each row's are from (NaN: not computed).
    """
    m, invariant, seed = (np.asarray(values, dtype=np.float64) for values in (mix_ratio, scale_invariant, fz_seed))
    counts = distinct(m, seed)
    kinds = criteria.update_kind(m)
    seeds = counts.sum(axis=0).astype(np.float64)
    several = np.where(seeds > 1, seeds, np.nan)
    agreeing = np.where(counts[0], (counts & (kinds == kinds[0])).sum(axis=0), np.nan)
    return Stability(seeds, agreeing / several, (counts & (invariant == 1)).sum(axis=0) / several)


def distinct(values: Float64Array, fz_seed: Float64Array) -> NDArray[np.bool_]:
    """Which of (S, C) values are known and of a pair of FZs that no set before has; see `stability`."""
    counts = ~(np.isnan(values) | np.isnan(fz_seed))
    for later in range(1, len(values)):
        counts[later] &= ~((fz_seed[:later] == fz_seed[later]) & counts[:later]).any(axis=0)
    return np.asarray(counts)
