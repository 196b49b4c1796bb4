"""Which images excite a channel most and least: the MEIs (arXiv 2407.05340, A.3)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamscope.core.model.arrays import Float32Array

Rows = NDArray[np.int64]

MEIS = 9
"""Images kept at either end of every channel."""
NONE = -1
"""In place of a row where a channel has fewer images."""


def highest(values: Float32Array, count: int = MEIS) -> tuple[Rows, Float32Array]:
    """Rows and values of the `count` highest of n images a channel: values (C, n) -> (count, C) each, highest first.

    Of equal values the image that comes first; NaN is never among them. Where there are fewer, the row is -1 and the
    value NaN. n is below 2**32.
    """
    channels, n = values.shape
    rows = np.full((count, channels), NONE, dtype=np.int64)
    found = np.full((count, channels), np.nan, dtype=np.float32)
    kept = min(count, n)
    if kept:
        # Value and row in one number, so that no two are equal and a partial sort has one result only.
        keys = (_ordered(values) << np.uint64(32)) | (np.uint64(2**32 - 1) - np.arange(n, dtype=np.uint64))
        top = np.sort(np.partition(keys, n - kept, axis=1)[:, n - kept :], axis=1)[:, ::-1]
        picked = (2**32 - 1 - (top & np.uint64(2**32 - 1)).astype(np.int64)).T
        of_them = np.take_along_axis(values, picked.T, axis=1).T
        known = ~np.isnan(of_them)
        rows[:kept], found[:kept] = np.where(known, picked, NONE), np.where(known, of_them, np.nan)
    return rows, found


def lowest(values: Float32Array, count: int = MEIS) -> tuple[Rows, Float32Array]:
    """As `highest`, the lowest first."""
    rows, found = highest(-values, count)
    return rows, -found


def _ordered(values: Float32Array) -> NDArray[np.uint64]:
    """Whole numbers from 0 to 2**32 - 1 in the order of the values; NaN is 0, below all."""
    # Adding zero makes -0.0 and 0.0 the same.
    bits = np.ascontiguousarray(values + np.float32(0)).view(np.int32).astype(np.int64)
    ordered = np.where(bits < 0, -(bits & 0x7FFFFFFF), bits) + 0x7F800001
    return np.where(np.isnan(values), 0, ordered).astype(np.uint64)
