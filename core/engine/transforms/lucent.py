"""The paper recipe's random transforms, applied only where a cone will look.

In Lucent's words the whole is `pad(j, reflect), jitter(j), random_scale, random_rotate, jitter(j/2), centre crop,
normalize`; without jitter only scale, rotate and normalize. Everything before the rotation is separable, so it is one
matrix an axis; the rotation is a bilinear grid; the last jitter is a whole shift, which the grid takes in, and a
fraction, which is a blend of neighbours.

The fraction exists because Lucent's jitter is kornia 0.4's `translate`, which moves a map of side w by t * w / (w - 1)
px for a shift of t. The transforms here agree with Lucent's pixel by pixel, so they do the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from streamscope.core.engine.cone import Cone, FoldedNetwork, Read
from streamscope.core.engine.transforms.draws import Draws
from streamscope.core.engine.transforms.placement import PatchFormat, Placement
from streamscope.core.engine.transforms.resample import Resampler
from streamscope.core.engine.transforms.rotation import Turn
from streamscope.core.model.recipe import Recipe


@dataclass(frozen=True)
class _Scaled:
    """One random scale: sides in px of the map it makes, and how a network position maps back into that map."""

    content: int
    """Side after resizing, before the zero padding."""
    pad: int
    side: int
    """Side after the zero padding: the map that is rotated."""
    crop: int
    """First row of the centre crop in it."""
    network_side: int


class LucentTransform:
    """From an image patch, by random transforms, to the normalised patch that a cone reads.

    `cone` is built for the map sides that the recipe can make. `start` and `stop` bound the pixels of the
    `size` px image that any of its draws can reach.
    """

    def __init__(
        self,
        network: FoldedNetwork,
        block: str,
        read: Read,
        recipe: Recipe,
        jitter: int,
        size: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        cone: type[Cone] = Cone,
    ) -> None:
        device = network.device
        self.jitter = jitter
        padded = size + 2 * jitter
        self._scaled = [_scaled(scale, padded, size, crop=jitter > 0) for scale in recipe.scales]
        sizes = sorted({s.network_side for s in self._scaled})
        self.cone = cone(network, block, read, sizes)
        self._size_index = np.array([sizes.index(s.network_side) for s in self._scaled])
        self.side = self.cone.patch.length
        self._radians = np.deg2rad(np.array(recipe.degrees, dtype=np.float64))
        # Where the rotated map's patch begins, by scale and second shift: a whole position and a fraction.
        shifts = range(max(1, jitter // 2))
        exact = np.array([[self._first(s) - _moved(t, s.side) for t in shifts] for s in self._scaled])
        self._base = np.floor(exact).astype(np.int64)
        self._fraction = exact - self._base
        self._rotated_side = self.side + (1 if self._fraction.any() else 0)
        self._check_inside()
        self._plan_scaling(padded, size, device)
        colours, spread = (torch.tensor(values, device=device) for values in (mean, std))
        mask, dtype = self.cone.patch.mask, network.dtype
        patch = PatchFormat(self.side, self._rotated_side, colours, spread, mask, dtype)
        self._turn = Turn(patch)
        self._device = device

    def _first(self, scaled: _Scaled) -> int:
        return self.cone.origin(self.cone.sizes.index(scaled.network_side)) + scaled.crop

    def _check_inside(self) -> None:
        for scaled, base in zip(self._scaled, self._base, strict=True):
            outside = base.min() < 0 or base.max() + self._rotated_side > scaled.side
            if outside and self.jitter > 0:
                raise AssertionError("the second jitter reached the border of a map that a crop should have cut off")

    def _plan_scaling(self, padded: int, size: int, device: torch.device) -> None:
        """Matrices by scale and first shift, (scales * shifts, scaled side, patch side)."""
        corners = []
        for index, scaled in enumerate(self._scaled):
            ends = self._base[index].min(), self._base[index].max() + self._rotated_side - 1
            reach = np.array([_rotate(y, x, a, scaled.side) for y in ends for x in ends for a in self._radians])
            corners.append((math.floor(reach.min() - 1e-6), math.floor(reach.max() + 1e-6) + 1))
        # Beyond one position outside the map there are only zeros, which a grid's own zero fill gives too.
        bounds = [(max(a, -1), min(b, s.side)) for (a, b), s in zip(corners, self._scaled, strict=True)]
        self._scaled_side = max(b - a + 1 for a, b in bounds)
        self._scaled_start = np.array([a for a, _ in bounds])
        reflect = _reflect(size, self.jitter)
        shift = [_shift(padded, t) @ reflect for t in range(max(1, self.jitter))]
        whole = np.stack(
            [
                _resize(padded, s, a, self._scaled_side) @ moved
                for s, a in zip(self._scaled, self._scaled_start, strict=True)
                for moved in shift
            ]
        )
        used = np.flatnonzero(np.abs(whole).sum(axis=(0, 1)) > 0)
        self.start, self.stop = int(used[0]), int(used[-1]) + 1
        self._resizing = Resampler(whole[:, :, self.start : self.stop], device)

    def choices(self, steps: int, generator: np.random.Generator) -> np.ndarray:
        """Random choices of one image for `steps` steps, (steps, 6): indices into the recipe's scales and degrees, then
        rows and columns of the first jitter (0 to j - 1 px) and of the second (0 to j // 2 - 1).

        A longer run begins with a shorter one's choices.
        """
        first, second = max(1, self.jitter), max(1, self.jitter // 2)
        highs = [len(self._scaled), len(self._radians), first, first, second, second]
        return generator.integers(0, highs, size=(steps, 6))

    def draws(self, choices: np.ndarray) -> Draws:
        """Of choices (..., 6), rows of `choices`."""
        scale, angle, first, second = choices[..., 0], choices[..., 1], choices[..., 2:4], choices[..., 4:6]
        which = scale[..., None] * max(1, self.jitter) + first
        fraction = self._fraction[scale[..., None], second]

        def tensor(values: np.ndarray) -> torch.Tensor:
            kind = torch.float32 if values.dtype == np.float64 else torch.int64
            return torch.from_numpy(np.ascontiguousarray(values)).to(self._device, kind)

        return Draws(
            rows=tensor(which[..., 0]),
            columns=tensor(which[..., 1]),
            theta=tensor(self._rotation(scale, angle, second)),
            down=tensor(fraction[..., 0]),
            right=tensor(fraction[..., 1]),
            size=tensor(self._size_index[scale]),
        )

    def no_draws(self, count: int) -> Draws:
        """The first of all choices for `count` images."""
        return self.draws(np.zeros((count, 6), dtype=np.int64))

    def __call__(self, patch: torch.Tensor, draws: Draws) -> torch.Tensor:
        """Normalised patches (n, 3, side, side) of image patches (n, 3, stop - start, stop - start) in 0..1."""
        scaled = self._resizing(patch, draws.rows, draws.columns)
        return self._turn(scaled, Placement(draws.theta, draws.down, draws.right, draws.size))

    def activations(self, patch: torch.Tensor, draws: Draws) -> torch.Tensor:
        """Centre activations (n, channels) of transformed image patches."""
        return self.cone(self(patch, draws), draws.size)

    def _rotation(self, scale: np.ndarray, angle: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Affine matrices (..., 2, 3) from the rotated patch to the scaled patch, both in grid_sample's -1..1."""
        sides = np.array([s.side for s in self._scaled])
        radians, centre = self._radians[angle], (sides[scale] - 1) / 2
        half, reach = (self._rotated_side - 1) / 2, (self._scaled_side - 1) / 2
        base = self._base[scale[..., None], second] + half - centre[..., None]
        dy, dx = base[..., 0], base[..., 1]
        cos, sin = np.cos(radians), np.sin(radians)
        origin = centre - self._scaled_start[scale] - reach
        x = np.stack([cos * half, -sin * half, cos * dx - sin * dy + origin], axis=-1)
        y = np.stack([sin * half, cos * half, sin * dx + cos * dy + origin], axis=-1)
        matrices: np.ndarray = np.stack([x, y], axis=-2) / reach
        return matrices


def _moved(shift: int, side: int) -> float:
    return shift * side / (side - 1)


def _scaled(scale: float, padded: int, size: int, crop: bool) -> _Scaled:
    content = math.ceil(scale * padded)
    pad = max(0, math.ceil((padded - content) / 2))
    side = content + 2 * pad
    first = round((side - size) / 2) if crop else 0
    return _Scaled(content, pad, side, first, size if crop else side)


def _rotate(y: float, x: float, radians: float, side: int) -> tuple[float, float]:
    """Position in the map before a rotation that lands on (y, x) after it."""
    centre = (side - 1) / 2
    dy, dx = y - centre, x - centre
    cos, sin = math.cos(radians), math.sin(radians)
    return sin * dx + cos * dy + centre, cos * dx - sin * dy + centre


def _taps(positions: np.ndarray, side: int) -> np.ndarray:
    """Bilinear weights (len(positions), side) with zeros outside the map."""
    below = np.floor(positions).astype(np.int64)
    weights = np.zeros((len(positions), side))
    for row, (first, place) in enumerate(zip(below, positions, strict=True)):
        for tap, weight in ((first, 1 - (place - first)), (first + 1, place - first)):
            if 0 <= tap < side:
                weights[row, tap] += weight
    return weights


def _reflect(size: int, jitter: int) -> np.ndarray:
    """Reflect padding by `jitter` px on each side, (size + 2 jitter, size)."""
    return np.eye(size)[np.pad(np.arange(size), jitter, mode="reflect")]


def _shift(side: int, shift: int) -> np.ndarray:
    """Lucent's jitter by `shift`, (side, side)."""
    return _taps(np.arange(side) - _moved(shift, side), side)


def _resize(padded: int, scaled: _Scaled, start: int, length: int) -> np.ndarray:
    """Bilinear resize with aligned corners and zero padding: positions start... of the padded map, (length, padded)."""
    inside = np.arange(start, start + length) - scaled.pad
    weights = _taps(np.clip(inside, 0, scaled.content - 1) * ((padded - 1) / (scaled.content - 1)), padded)
    weights[(inside < 0) | (inside >= scaled.content)] = 0
    return weights
