"""What is shown scaled, as it is measured: S, S-, and patches at several sizes. Without torch, which takes seconds to
import."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import numpy as np

from streamscope.core.images.lanczos import HERE, brought, resampled, scaling
from streamscope.core.model.arrays import Float32Array, Pixels
from streamscope.core.model.blocks import ModelInfo, Target, Tensor
from streamscope.core.model.recipe import Protocol

FACTORS: dict[Tensor, float] = {"in": 2, "block": 1 / 2}
"""Of S, for FZ(I), and of S-, for FZ(B)."""
SIZES = (0.5, 0.5**0.5, 1.0, 2.0**0.5, 2.0)
"""At which patches are shown, small to large."""


def scaled_picture(info: ModelInfo, block: str, on: Tensor, protocol: Protocol) -> Callable[[Pixels], Pixels]:
    """What makes S(FZ(I)) of a block's FZ(I), or S-(FZ(B)) of its FZ(B): of images (side, side, 3) uint8.

    `centred`: about the centre of the receptive field itself, which readings move about. Raises
    StreamscopeError where a model's description is too old to say where that is.
    """
    if protocol == "paper":
        return scaled_up if on == "in" else scaled_down
    about = info.field_of(Target(block, on)).centre
    return partial(resampled, resampling=scaling(info.input_size, about, FACTORS[on], HERE))


def patch_at_sizes(
    image: Pixels, centre: tuple[float, float], about: float, window: tuple[int, int], factors: Sequence[float] = SIZES
) -> list[Pixels]:
    """A patch of an image (side, side, 3) at each of `factors` times its size, (P, P, 3) each.

    What lies at `centre` (row, column; px) comes to `about` on both axes, where it is read; shown are rows and columns
    `window` of that.
    """
    side = image.shape[0]
    colours = image.transpose(2, 0, 1).astype(np.float64)
    found = []
    for factor in factors:
        rows, columns = (brought(side, at, about, factor, *window) for at in centre)
        values = np.clip(np.rint(rows @ colours @ columns.T), 0, 255)
        found.append(values.astype(np.uint8).transpose(1, 2, 0))
    return found


def scaled_up(image: Pixels) -> Pixels:
    """S: the centre half of each side of (side, side, 3), resized back, bilinear."""
    side = image.shape[0]
    half = side // 2
    first = round((side - half) / 2)
    return _resized(image[first : first + half, first : first + half], side)


def scaled_down(image: Pixels) -> Pixels:
    """S-: (side, side, 3) resized to half, bilinear without antialiasing, reflect-padded back."""
    side = image.shape[0]
    half = side // 2
    before = (side - half) // 2
    after = side - half - before
    return np.pad(_resized(image, half), ((before, after), (before, after), (0, 0)), mode="reflect")


def _resized(image: Pixels, side: int) -> Pixels:
    rows = _weights(image.shape[0], side)
    columns = _weights(image.shape[1], side)
    values = np.einsum("yh,hwc,xw->yxc", rows, image.astype(np.float32), columns, optimize=True)
    levels: Float32Array = np.clip(np.rint(values), 0, 255)
    return levels.astype(np.uint8)


@lru_cache(maxsize=16)
def _weights(source: int, target: int) -> Float32Array:
    """(target, source): what each new sample takes of the old ones; pixel centres aligned, not corners."""
    places = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
    lower = np.floor(places).astype(np.int64)
    upper = np.minimum(lower + 1, source - 1)
    share = places - lower
    weights = np.zeros((target, source), dtype=np.float32)
    np.add.at(weights, (np.arange(target), lower), 1 - share)
    np.add.at(weights, (np.arange(target), upper), share)
    return weights
