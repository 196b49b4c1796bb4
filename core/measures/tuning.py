"""Scale tuning: how invariant a channel's activation is while its image is shown smaller and larger. Pure NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from streamscope.core.measures.criteria import relu
from streamscope.core.model.arrays import Float64Array

SCALES = tuple(2.0 ** (step / 8) for step in range(-8, 9))
"""The scales that a curve is asked for: 0.5 to 2 in 17 equal steps of log2, 1 among them."""


def invariance(curve: ArrayLike) -> Float64Array:
    """Mean of the rectified curve over its maximum, for curves of shape (…, K): 1 for a flat one, 1/K for a spike.

    NaN where the curve is nowhere positive, or has a NaN.
    """
    rectified = relu(curve)
    highest = rectified.max(axis=-1)
    with np.errstate(invalid="ignore"):
        return np.where(highest > 0, rectified.mean(axis=-1) / np.where(highest > 0, highest, 1.0), np.nan)


def half_width_octaves(scales: ArrayLike, curve: ArrayLike) -> Float64Array:
    """Octaves of scale around the peak over which the rectified curve is at least half of it; curves (…, K).

    Between two scales the curve is taken as straight over log2(scale). A curve that does not fall to half within the
    range ends at its border, so that a flat one is as wide as the range (2 octaves). NaN as in `invariance`.
    """
    octaves = np.log2(np.asarray(scales, dtype=np.float64))
    rectified = relu(curve)
    rows = rectified.reshape(-1, rectified.shape[-1])
    return np.array([_half_width(octaves, row) for row in rows]).reshape(rectified.shape[:-1])


def _half_width(octaves: Float64Array, row: Float64Array) -> float:
    if np.isnan(row).any() or row.max() <= 0:
        return float("nan")
    peak, half = int(row.argmax()), row.max() / 2
    return _crossing(octaves[peak:], row[peak:], half) - _crossing(octaves[peak::-1], row[peak::-1], half)


def _crossing(octaves: Float64Array, row: Float64Array, half: float) -> float:
    """Where a row that begins at or above `half` first falls to it; its end if it never does."""
    below = np.flatnonzero(row < half)
    if not len(below):
        return float(octaves[-1])
    after = int(below[0])
    share = (row[after - 1] - half) / (row[after - 1] - row[after])
    return float(octaves[after - 1] + share * (octaves[after] - octaves[after - 1]))
