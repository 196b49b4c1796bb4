"""Places of a tensor's map, as pixels of the image; and the images that excite a channel most at any of them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from streamscope.core.measures.extremes import MEIS, NONE, Rows, highest
from streamscope.core.model.arrays import Float32Array, Float64Array

Places = NDArray[np.int64]

Locate = Callable[[NDArray[np.int64], NDArray[np.int64]], Places]
"""(k, 2) rows and columns of the map, for k rows of what was added and as many channels."""


def pixel_centres(places: Places, about: float, size: int, stride: int) -> Float64Array:
    """In px of the prepared image, where the receptive fields of places of a map have their centres, on each axis.

    The map has `size` places a side, `stride` px apart; `about` is the centre of the centre neuron's receptive field.
    """
    return about + (places - size // 2).astype(np.float64) * stride


def inner_places(size: int, stride: int, about: float, field: int, side: int) -> range:
    """The places, on either axis, whose receptive field of `field` px lies with its middle half in an image of `side`
    px; that half is what S shows. Where there is none, the centre place alone.

    Pixel centres are at whole numbers, so that the image's borders are at -1/2 and side - 1/2.
    """
    least, most = field / 4 - 0.5, side - 0.5 - field / 4
    first = size // 2 + math.ceil((least - about) / stride)
    last = size // 2 + math.floor((most - about) / stride)
    first, last = max(first, 0), min(last, size - 1)
    return range(first, last + 1) if first <= last else range(size // 2, size // 2 + 1)


class BestPlaces:
    """The images that excite each of C channels most, an image once, and where: kept while images pass.

    `rows` (count, C) int64, `places` (count, C, 2) int64 and `values` (count, C) float32, the highest first; -1 and NaN
    where there were fewer images. Of equal values the image that was added first.
    """

    def __init__(self, channels: int, count: int = MEIS) -> None:
        self.rows: Rows = np.full((count, channels), NONE, dtype=np.int64)
        self.places: Places = np.full((count, channels, 2), NONE, dtype=np.int64)
        self.values: Float32Array = np.full((count, channels), np.nan, dtype=np.float32)

    @classmethod
    def of(cls, rows: Rows, places: Places, values: Float32Array) -> BestPlaces:
        """What was kept before."""
        found = cls(rows.shape[1], len(rows))
        found.rows, found.places, found.values = rows, places, values
        return found

    def merge(self, rows: Rows, other: BestPlaces) -> None:
        """Adds what another kept of later images, which are `rows` (n, C) here; -1 leaves one out."""
        values = np.where(rows == NONE, np.float32(np.nan), other.values)
        self.add(rows, values, lambda images, channels: other.places[images, channels])

    def add(self, rows: Rows, values: Float32Array, locate: Locate) -> None:
        """`rows` (n,) or (n, C) and `values` (n, C) of further images, NaN where there is none.

        `locate` is asked where the few are that are kept.
        """
        count = len(self.rows)
        picked, best = highest(np.concatenate([self.values, values]).T, count)
        absent, fresh, taken = picked == NONE, picked >= count, np.maximum(picked, 0)
        further = np.broadcast_to(rows if rows.ndim == 2 else rows[:, None], values.shape)
        kept = np.take_along_axis(np.concatenate([self.rows, further]), taken, axis=0)
        places = np.take_along_axis(self.places, np.where(fresh, 0, taken)[..., None], axis=0)
        if fresh.any():
            places[fresh] = locate(picked[fresh] - count, np.nonzero(fresh)[1])
        places[absent] = NONE
        self.rows, self.places, self.values = np.where(absent, NONE, kept), places, best
