"""Does a block push a channel down where its input is high? Rank correlation over images (arXiv 2407.05340, Fig. 4)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from streamscope.core.model.arrays import Float32Array, Float64Array

FEWEST_IMAGES = 3
"""Below that a rank correlation has no p value."""
BUDGET = 128 * 2**20
"""Bytes of working memory."""
BYTES_A_VALUE = 64
"""Working memory that ranking one activation takes, in all."""


def inhibition_rho(
    input_: Float32Array, block: Float32Array, budget: int = BUDGET
) -> tuple[Float64Array, Float64Array, NDArray[np.int64]]:
    """Spearman's rho of B against I, channel by channel, over the images with I > 0; both arguments (n, C).

    Returns rho, its two-sided p (t distribution, n - 2 degrees of freedom) and the number of images, each (C,). Ties
    have their mean rank. Images where either activation is not finite are left out. NaN where fewer than 3 images are
    left or one side has a single value. Channels are ranked as many at a time as fit in `budget` bytes.
    """
    images, channels = input_.shape
    rho, count = np.full(channels, np.nan), np.zeros(channels, dtype=np.int64)
    for chosen in _slices(images, channels, budget):
        rho[chosen], count[chosen] = _rho(input_.T[chosen], block.T[chosen])
    freedom = np.maximum(count - 2, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = rho * np.sqrt(freedom / ((1 - rho) * (1 + rho)))
    return rho, np.where(np.isnan(rho), np.nan, 2 * stats.t.sf(np.abs(t), freedom)), count


def _slices(images: int, channels: int, budget: int) -> Iterator[slice]:
    width = max(1, budget // (BYTES_A_VALUE * max(images, 1)))
    return (slice(first, first + width) for first in range(0, channels, width))


def _rho(input_: Float32Array, block: Float32Array) -> tuple[Float64Array, NDArray[np.int64]]:
    """Rank correlation and number of images of each row of two (C, n) arrays."""
    used = (input_ > 0) & np.isfinite(input_) & np.isfinite(block)
    count = used.sum(axis=1)
    # What is left out ranks behind everything that is not, so that the ranks of the rest are as if it were not there.
    x, y = (stats.rankdata(np.where(used, side, np.inf), axis=1) for side in (input_, block))
    middle = (count[:, None] + 1) / 2
    x, y = np.where(used, x - middle, 0), np.where(used, y - middle, 0)
    spread = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    enough = (count >= FEWEST_IMAGES) & (spread > 0)
    rho = np.where(enough, (x * y).sum(axis=1) / np.where(enough, spread, 1), np.nan)
    return np.clip(rho, -1, 1), count
