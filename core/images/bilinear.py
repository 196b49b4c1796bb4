"""The paper's S and S-, about other points than the image's centre: a matrix for each axis, as those of `lanczos`.

S is the centre half of each side resized back; S- the whole image resized to half, then padded with its reflection.
Both are bilinear and not antialiased, so that S- is read between as many pixels as its centre happens to lie between:
about the image's centre it is the mean of two on each axis, half a pixel away it takes every other one.
"""

from __future__ import annotations

import numpy as np

from streamscope.core.images.lanczos import Resampling
from streamscope.core.model.arrays import Float64Array


def paper_up(side: int, about: float | None = None, move: float = 0.0) -> Resampling:
    """S about `about`, where None is the point that the paper's leaves in place, moved by `move` px on both axes.

    What lies outside the half of the image that is shown is not read: its outermost pixels are repeated.
    """
    half = side // 2
    first = round((side - half) / 2)
    centre = (_fixed_point(first, side) if about is None else about) + move
    places = centre + (np.arange(side) - centre) * half / side
    return _both(_weights(np.clip(places, np.ceil(places[0]), np.floor(places[-1])), side))


def paper_down(side: int, about: float | None = None, move: float = 0.0) -> Resampling:
    """S- about `about`, where None is the point that the paper's leaves in place, moved by `move` px on both axes.

    Outside the small image its reflection about its outermost pixels' centres is read.
    """
    half = side // 2
    before = (side - half) // 2
    centre = (_fixed_point(before, side) if about is None else about) + move
    places = centre + (np.arange(side) - centre) * side / half
    inside = np.flatnonzero((places >= 0) & (places <= side - 1))
    first, length = inside[0], inside[-1] - inside[0]
    folded = np.abs((np.arange(side) - first + length) % (2 * length) - length)
    return _both(_weights(places[first + folded], side))


def _fixed_point(first: int, side: int) -> float:
    """Where a place of an image stays when its middle, from pixel `first` on, and the whole are resized to each other:
    (side - 1) / 2 where the middle is one."""
    return first * side / (side - side // 2) - 0.5


def _both(matrix: Float64Array) -> Resampling:
    return Resampling(matrix[None], matrix[None], ((0, 0),))


def _weights(places: Float64Array, side: int) -> Float64Array:
    """(places, side): what the values at `places`, from 0 to side - 1, take of the two pixels around them."""
    lower = np.minimum(np.floor(places).astype(np.int64), side - 2)
    share = places - lower
    weights = np.zeros((len(places), side))
    rows = np.arange(len(places))
    weights[rows, lower] = 1 - share
    weights[rows, lower + 1] = share
    return weights
