"""Each channel's best patches anywhere in a tensor's map: of which images, where in them, how strong. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from streamscope.core.errors import DamageError
from streamscope.core.measures.extremes import MEIS, NONE, Rows
from streamscope.core.measures.places import Places, pixel_centres
from streamscope.core.model.arrays import Float32Array, Float64Array
from streamscope.core.model.blocks import MAX_SIDE, ModelInfo, Target, ranked_targets
from streamscope.core.store.scans.arrays import ArrayOf, array_metadata

PATCHES = MEIS
"""Patches kept of every channel, of an image each."""


@dataclass(frozen=True, eq=False)
class BestPatches:
    """The patches that excite each channel of a tensor most, the highest first; an image contributes one at most."""

    rows: Rows
    """(PATCHES, C) int64: rows of the scan, -1 where there are fewer."""
    places: Places
    """(PATCHES, C, 2) int64: row and column in the tensor's map, -1 where there are fewer."""
    values: Float32Array
    """(PATCHES, C) float32: the activation there, before activation as MEIs are ranked; NaN where there are fewer."""
    size: int
    """Places on each side of the tensor's map."""
    stride: int
    """Pixels of the prepared image from one place to the next."""

    def pixels(self, about: float) -> Float64Array:
        """(PATCHES, C, 2): row and column, in px of the prepared image, of the patches' centres.

        `about` is the centre of the centre neuron's receptive field; NaN where there are fewer patches.
        """
        centres = pixel_centres(self.places, about, self.size, self.stride)
        return np.where(self.rows[..., None] == NONE, np.nan, centres)


def encoded_patches(patches: BestPatches, scan: Path, target: Target) -> bytes:
    """A file of the best patches of a target, in the scan at `scan`."""
    grid = np.array([patches.size, patches.stride], dtype=np.int64)
    arrays: dict[str, NDArray[Any]] = {"rows": patches.rows, "places": patches.places, "values": patches.values}
    # safetensors writes the memory of a view, whatever its order.
    arrays = {name: np.ascontiguousarray(values) for name, values in (arrays | {"map": grid}).items()}
    return safetensors.numpy.save(arrays, array_metadata(scan, patches_subject(target)))


def stored_patches(get: ArrayOf, path: Path, channels: int, images: int) -> BestPatches:
    """The inverse, for a file whose arrays `get` gives, of a scan with so many images. Raises DamageError."""
    shape = (PATCHES, channels)
    rows, places, values = get("rows", shape), get("places", (*shape, 2)), get("values", shape)
    grid = get("map", (2,))
    if any(array.dtype != np.int64 for array in (rows, places, grid)) or values.dtype != np.float32:
        raise DamageError(f"{path} is damaged (it is of other numbers than patches)")
    size, stride = grid.tolist()
    if not (0 < size <= MAX_SIDE and 0 < stride <= MAX_SIDE):
        raise DamageError(f"{path} is damaged (its map has {size} places a side, {stride} px apart)")
    absent = rows == NONE
    if (rows < NONE).any() or (rows >= images).any() or not np.array_equal(absent, np.isnan(values)):
        raise DamageError(f"{path} is damaged (it names images that there are not)")
    inside = (places >= 0) & (places < size)
    if not np.where(absent[..., None], places == NONE, inside).all():
        raise DamageError(f"{path} is damaged (it names places that there are not)")
    return BestPatches(rows, places, values, size, stride)


def patches_name(target: Target) -> str:
    return f"{target}.safetensors"


def patches_subject(target: Target) -> str:
    """What a file of patches says that it is of."""
    return f"{target} patches"


def patches_files(info: ModelInfo) -> set[str]:
    return set(map(patches_name, ranked_targets(info)))
