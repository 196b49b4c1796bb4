"""Images scaled, blurred, mirrored, turned and moved about a point, by Lanczos-3: a matrix for each axis.

Row p of a matrix is what pixel p of the new image takes of the pixels of the old one, so that a version of an image is
`rows @ image @ columns.T`. Pixel centres are at whole numbers. Weights are normalised and nothing is clipped; outside
the image its reflection about the edge pixels' outer borders is read (NumPy's "symmetric"). Where a matrix shrinks, the
kernel is as much wider, against aliasing.

The point c is the centre of a receptive field, on both axes alike. What a network says to one scaled image depends on
where exactly c is; a reading is therefore the mean over several versions, with c moved by `MOVES` on each axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from streamscope.core.model.arrays import Float64Array, Pixels

LOBES = 3
MOVES = (-0.5, 0.0, 0.5)
"""In px: c is moved by each of them on each axis."""
HERE = (0.0,)
"""c itself, for pictures."""


@dataclass(frozen=True, eq=False)
class Resampling:
    """Versions of an image: `rows[i] @ image @ columns[j].T` for every (i, j) of `pairs`."""

    rows: Float64Array
    """(n, P, side): P pixels of a new image, of `side` of the old one."""
    columns: Float64Array
    """(m, P, side)."""
    pairs: tuple[tuple[int, int], ...]
    transposed: bool = False
    """The image's rows and columns change places first."""

    def cropped(self, start: int, stop: int) -> Resampling:
        """Only rows and columns `start` to `stop` - 1 of the versions."""
        return Resampling(self.rows[:, start:stop], self.columns[:, start:stop], self.pairs, self.transposed)


def scaling(side: int, about: float, factor: float, moves: Sequence[float] = MOVES) -> Resampling:
    """Pixel p takes the value at about + (p - about) / factor: S at 2, S- at 1/2."""
    # What is not scaled has no point that it is scaled about.
    moves = HERE if factor == 1 else moves
    return _alike([_scaling(side, about + move, factor) for move in moves])


def blur(side: int, about: float, moves: Sequence[float] = MOVES) -> Resampling:
    """S after S-, about the same point: the same size with half the band."""
    return _alike([_scaling(side, about + move, 2) @ _scaling(side, about + move, 1 / 2) for move in moves])


def brought(side: int, at: float, about: float, factor: float, start: int, stop: int) -> Float64Array:
    """(stop - start, side): pixel p, `start` to `stop` - 1, takes the value at `at` + (p - about) / factor. What lies
    at `at` comes to `about`, and is scaled about it."""
    return _scaling(side, about, factor, at, np.arange(start, stop))


def brought_blurred(side: int, at: float, about: float, factor: float, start: int, stop: int) -> Float64Array:
    """As `brought` by 1 / factor, and back again about `about`: at its own size with the band that `factor` leaves."""
    return _scaling(side, about, factor, pixels=np.arange(start, stop)) @ _scaling(side, about, 1 / factor, at)


def flip(side: int, about: float, moves: Sequence[float] = MOVES) -> Resampling:
    """Mirrored left to right: column x takes the value at 2 about - x. The rows stay, wherever c is moved."""
    pixels = np.arange(side, dtype=np.float64)
    columns = [_sampling(2 * (about + move) - pixels, side) for move in moves]
    return Resampling(np.eye(side)[None], np.stack(columns), tuple(product((0,), range(len(columns)))))


def quarter_turn(side: int, about: float, moves: Sequence[float] = MOVES) -> Resampling:
    """Turned by 90 degrees, counter-clockwise: (y, x) takes the value at row about + (x - about), column about -
    (y - about)."""
    pixels = np.arange(side, dtype=np.float64)
    centres = list(product(moves, moves))
    sums = sorted({down + right for down, right in centres})
    differences = sorted({down - right for down, right in centres})
    return Resampling(
        np.stack([_sampling(2 * about + moved - pixels, side) for moved in sums]),
        np.stack([_sampling(pixels + moved, side) for moved in differences]),
        tuple((sums.index(down + right), differences.index(down - right)) for down, right in centres),
        transposed=True,
    )


def shift(side: int, distance: float, moves: Sequence[float] = MOVES) -> Resampling:
    """Moved right by `distance` px. It has no centre: the image itself is moved by `moves`."""
    pixels = np.arange(side, dtype=np.float64)
    rows = [_sampling(pixels - move, side) for move in moves]
    columns = [_sampling(pixels - distance - move, side) for move in moves]
    return Resampling(np.stack(rows), np.stack(columns), tuple(product(range(len(rows)), range(len(columns)))))


def resampled(image: Pixels, resampling: Resampling) -> Pixels:
    """The first version of an image (side, side, 3), for looking at: rounded to whole grey levels, and clipped."""
    row, column = resampling.pairs[0]
    values = image.swapaxes(0, 1) if resampling.transposed else image
    values = np.tensordot(resampling.rows[row], values.astype(np.float64), axes=(1, 0))
    values = np.einsum("ywc,xw->yxc", values, resampling.columns[column], optimize=True)
    levels: Float64Array = np.clip(np.rint(values), 0, 255)
    return levels.astype(np.uint8)


def _alike(matrices: Sequence[Float64Array]) -> Resampling:
    both = np.stack(matrices)
    return Resampling(both, both, tuple(product(range(len(both)), range(len(both)))))


def _scaling(
    side: int, about: float, factor: float, at: float | None = None, pixels: NDArray[np.int64] | None = None
) -> Float64Array:
    """`pixels` of a new image, None for all; `at` is what comes to `about`, None for itself."""
    pixels = np.arange(side) if pixels is None else pixels
    places = (about if at is None else at) + (pixels.astype(np.float64) - about) / factor
    return _sampling(places, side, max(1.0, 1 / factor))


def _sampling(places: Float64Array, side: int, width: float = 1.0) -> Float64Array:
    """(places, side): the weights by which the values at `places` are read from `side` pixels, the kernel's lobes being
    `width` px wide."""
    reach = LOBES * width
    first = np.ceil(places - reach).astype(np.int64)
    pixels = first[:, None] + np.arange(int(2 * reach) + 1)
    away = (places[:, None] - pixels) / width
    taken = np.where(np.abs(away) < LOBES, np.sinc(away) * np.sinc(away / LOBES), 0.0)
    # Of a place on a pixel the neighbours take nothing at all, and not the rounding of pi.
    taken[np.isclose(taken, 0, atol=1e-15)] = 0.0
    taken /= taken.sum(axis=1, keepdims=True)
    folded = pixels % (2 * side)
    folded = np.where(folded < side, folded, 2 * side - 1 - folded)
    weights = np.zeros((len(places), side))
    np.add.at(weights, (np.arange(len(places))[:, None], folded), taken)
    return weights
