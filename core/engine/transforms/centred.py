"""The centred protocol's random transforms: they move the content of an image, but not on average.

Jitter, scale, rotation and the second jitter are one map from a position that the network sees to one in the image:

    image(c + R(-a) (q - t2 - c) / s - t1)

with c the centre of the centre neuron's receptive field, s the scale, a the angle, and t1, t2 shifts that are drawn
alike on both sides of 0. So the image is read once, bilinearly, and the receptive field's centre is moved by
s R(a) t1 + t2, whose mean is 0 whatever the jitter and the size of the image. Beyond its borders it is reflected.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from streamscope.core.engine.cone import Cone, FoldedNetwork, Read
from streamscope.core.engine.transforms.draws import Draws
from streamscope.core.engine.transforms.placement import PatchFormat, Placement
from streamscope.core.engine.transforms.rotation import Turn
from streamscope.core.model.recipe import FADING, Recipe


class CentredTransform:
    """From an image patch, by random transforms about `centre`, to the normalised patch that a cone reads.

    `start` and `stop` bound the pixels of the `size` px image that any of its draws can reach.
    """

    def __init__(
        self,
        network: FoldedNetwork,
        block: str,
        read: Read,
        recipe: Recipe,
        jitter: int,
        centre: float,
        size: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        cone: type[Cone] = Cone,
    ) -> None:
        self._device, self._jitter = network.device, jitter
        self.cone = cone(network, block, read, [size])
        self.side, self._origin, self._centre = self.cone.patch.length, self.cone.origin(), centre
        self._scales = np.array(recipe.scales, dtype=np.float64)
        self._fade_to = recipe.fade_to
        self._radians = np.deg2rad(np.array(recipe.degrees, dtype=np.float64))
        first, last = self._reach()
        self.start, self.stop = max(0, first), min(size, last + 1)
        # As far as an image can be reflected; what lies further out, in a small image, is zero.
        self._before, self._after = (
            min(max(0, beyond), self.stop - self.start - 1) for beyond in (-first, last + 1 - size)
        )
        self.source_start = self.start - self._before
        self.source_side = self._before + self.stop - self.start + self._after
        colours, spread = (torch.tensor(values, device=self._device) for values in (mean, std))
        self._turn = Turn(PatchFormat(self.side, self.side, colours, spread, self.cone.patch.mask, network.dtype))

    def _reach(self) -> tuple[int, int]:
        """First and last position of the image, or beyond it, that any draw reads."""
        furthest = 0.0
        for end in (self._origin, self._origin + self.side - 1):
            for turn in (0.0, *self._radians):
                away = abs(end - self._centre) + self._jitter // 4
                reached = away * (abs(math.cos(turn)) + abs(math.sin(turn))) / self._scales.min() + self._jitter // 2
                furthest = max(furthest, reached)
        return math.floor(self._centre - furthest), math.ceil(self._centre + furthest)

    def choices(self, steps: int, generator: np.random.Generator) -> np.ndarray:
        """What happens to one image at each of `steps` steps, (steps, 6): scale, angle in radians, rows and columns of
        the first jitter (whole px, -(j // 2) to j // 2) and of the second (-(j // 4) to j // 4); then all of it as much
        weaker as the recipe has transforms fade.

        Drawn alike, a longer run begins with a shorter one's, but for the fading.
        """
        first, second = self._jitter // 2, self._jitter // 4
        lows = [0, 0, -first, -first, -second, -second]
        highs = [len(self._scales), len(self._radians), first + 1, first + 1, second + 1, second + 1]
        drawn = generator.integers(lows, highs, size=(steps, 6))
        strength = np.maximum(1 - (1 - self._fade_to) * np.arange(steps) / (FADING * steps), self._fade_to)
        away = np.column_stack([self._scales[drawn[:, 0]] - 1, self._radians[drawn[:, 1]], drawn[:, 2:]])
        found: np.ndarray = away * strength[:, None] + np.array([1, 0, 0, 0, 0, 0])
        return found

    def draws(self, choices: np.ndarray) -> Draws:
        """Of choices (..., 6), rows of `choices`."""
        scale, angle, first, second = choices[..., 0], choices[..., 1], choices[..., 2:4], choices[..., 4:6]
        cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
        half, reach = (self.side - 1) / 2, (self.source_side - 1) / 2
        middle = self._origin + half - self._centre
        dy, dx = middle - second[..., 0], middle - second[..., 1]
        into = self._centre - self.source_start - reach
        x = np.stack([cos * half, -sin * half, cos * dx - sin * dy - first[..., 1] + into], axis=-1)
        y = np.stack([sin * half, cos * half, sin * dx + cos * dy - first[..., 0] + into], axis=-1)
        theta = torch.from_numpy(np.stack([x, y], axis=-2) / reach)
        nothing = torch.zeros(scale.shape, dtype=torch.int64, device=self._device)
        still = nothing.float()
        return Draws(nothing, nothing, theta.to(self._device, torch.float32), still, still, nothing)

    def __call__(self, patch: torch.Tensor, draws: Draws) -> torch.Tensor:
        """Normalised patches (n, 3, side, side) of image patches (n, 3, stop - start, stop - start) in 0..1."""
        return self._turn(self.source(patch), Placement(draws.theta, draws.down, draws.right, draws.size))

    def source(self, patch: torch.Tensor) -> torch.Tensor:
        """Image patches (n, 3, stop - start, stop - start), and beyond the image's borders what is reflected there:
        (n, 3, source_side, source_side)."""
        return _reflected(_reflected(patch, self._before, self._after, 2), self._before, self._after, 3)

    def activations(self, patch: torch.Tensor, draws: Draws) -> torch.Tensor:
        """Centre activations (n, channels) of transformed image patches."""
        return self.cone(self(patch, draws), draws.size)


def _reflected(x: torch.Tensor, before: int, after: int, axis: int) -> torch.Tensor:
    """`x` with so many more positions at both ends of an axis, reflected about its border pixels.

    Written out, because the gradient of torch's own reflection is summed in any order on CUDA.
    """
    parts = [x]
    if before:
        parts.insert(0, x.narrow(axis, 1, before).flip(axis))
    if after:
        parts.append(x.narrow(axis, x.shape[axis] - 1 - after, after).flip(axis))
    return torch.cat(parts, dim=axis) if len(parts) > 1 else x
