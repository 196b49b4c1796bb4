"""Centre activations of stored images: as they are, and as the mean over altered versions of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F

from streamscope.core.engine.cone import Cone, Read
from streamscope.core.engine.fourier import from_8_bit
from streamscope.core.engine.network import Network
from streamscope.core.engine.normalisation import Normalisation
from streamscope.core.images.lanczos import Resampling
from streamscope.core.model.blocks import READ

CHUNK = 32
"""Images per forward pass: enough to keep the device busy, little enough for any memory."""

Scale = Callable[[torch.Tensor], torch.Tensor]
"""Rescales images (n, 3, side, side)."""
Version = Scale | Resampling
"""How images are altered before they are read. What is read of a resampling is the mean over its versions: a network is
not linear, so that each of them takes a pass of its own."""
Branch = Literal["in", "block"]
"""A tensor that can be read alone."""


def scale_up(images: torch.Tensor) -> torch.Tensor:
    """S: the centre half of each side, resized back; (n, 3, side, side) in and out, bilinear."""
    side = images.shape[2]
    half = side // 2
    first = round((side - half) / 2)
    cropped = images[:, :, first : first + half, first : first + half]
    return F.interpolate(cropped, size=(side, side), mode="bilinear", align_corners=False)


def scale_down(images: torch.Tensor) -> torch.Tensor:
    """S-: resized to half (bilinear, not antialiased), then reflect-padded back to (n, 3, side, side)."""
    side = images.shape[2]
    half = side // 2
    small = F.interpolate(images, size=(half, half), mode="bilinear", align_corners=False, antialias=False)
    before = (side - half) // 2
    after = side - half - before
    return F.pad(small, (before, after, before, after), mode="reflect")


class BlockReader:
    """Reads the centre activations of one block's `in`, `block` and `pre`, of every channel, from 8-bit images."""

    def __init__(self, network: Network, block: str) -> None:
        self._network, self._block = network, block
        self._cone = self._cone_of("pre")
        self.device = device = network.device
        self._normalise = Normalisation.of(network.info, device)

    def _cone_of(self, read: Read) -> Cone:
        return Cone(self._network.folded, self._block, read, [self._network.info.input_size])

    def read(self, images: np.ndarray, version: Version | None = None) -> np.ndarray:
        """Activations (n, 3, channels) of images (n, side, side, 3) uint8, as they are or altered."""
        return self.read_each(images, [version])[0]

    def read_each(
        self, images: np.ndarray, versions: Sequence[Version | None], of: Branch | None = None
    ) -> list[np.ndarray]:
        """As `read`, for every version; None are the images as they are.

        With `of` that tensor alone is read of what is resampled, over its own cone; the others are NaN there.
        """
        own = None if of is None else self._cone_of(of)
        passes = [self._pass(version, own if isinstance(version, Resampling) else None) for version in versions]
        parts: list[list[np.ndarray]] = [[] for _ in versions]
        for first in range(0, len(images), CHUNK):
            pixels = from_8_bit(images[first : first + CHUNK]).to(self.device)
            for part, read in zip(parts, passes, strict=True):
                part.append(read(pixels))
        return [np.concatenate(part) for part in parts]

    @property
    def crop(self) -> tuple[int, int]:
        """First row and column that the cone reads of an image, and the one after the last."""
        start = self._cone.origin()
        return start, start + self._cone.patch.length

    def read_crops(self, crops: torch.Tensor) -> np.ndarray:
        """Activations (n, 3, channels) of what the cone reads of images: (n, 3, P, P) in 0..1, `crop` of each."""
        return self._mean(self._cone.all_tensors, iter([crops]))

    def _pass(self, version: Version | None, own: Cone | None) -> Callable[[torch.Tensor], np.ndarray]:
        """Reads images (n, 3, side, side) in 0..1 that are altered: all tensors, or the one that `own` reads."""
        cone = own or self._cone
        start, stop = cone.origin(), cone.origin() + cone.patch.length
        if isinstance(version, Resampling):
            patches: Patches | _Cut = Patches(version.cropped(start, stop), self.device)
        else:
            patches = _Cut(version, slice(start, stop))

        def read(pixels: torch.Tensor) -> np.ndarray:
            if own is None:
                return self._mean(cone.all_tensors, patches.of(pixels))
            alone = self._mean(own, patches.of(pixels))
            found = np.full((len(alone), len(READ), alone.shape[1]), np.nan, dtype=np.float32)
            found[:, READ.index(own.read)] = alone
            return found

        return read

    @torch.no_grad()
    def _mean(self, read: Callable[[torch.Tensor], torch.Tensor], patches: Iterator[torch.Tensor]) -> np.ndarray:
        """The mean over what is read of several patches (n, 3, P, P) in 0..1."""
        passes = [read(self._normalise(patch)) for patch in patches]
        mean = passes[0] if len(passes) == 1 else torch.stack(passes).mean(dim=0)
        return mean.float().cpu().numpy()


class _Cut:
    """The patch that a cone reads, of whole images that are altered first."""

    def __init__(self, scale: Scale | None, inner: slice) -> None:
        self._scale, self._inner = scale, inner

    def of(self, pixels: torch.Tensor) -> Iterator[torch.Tensor]:
        altered = pixels if self._scale is None else self._scale(pixels)
        yield altered[:, :, self._inner, self._inner]


class Patches:
    """The versions of images (n, 3, side, side) that a resampling gives: of one that was cropped, nothing else."""

    def __init__(self, resampling: Resampling, device: torch.device) -> None:
        self._pairs, self._transposed = resampling.pairs, resampling.transposed
        self._rows, self._columns = (
            [torch.from_numpy(matrix).to(device, torch.float32) for matrix in matrices]
            for matrices in (resampling.rows, resampling.columns)
        )

    def of(self, pixels: torch.Tensor) -> Iterator[torch.Tensor]:
        source = pixels.transpose(2, 3) if self._transposed else pixels
        for row, pairs in groupby(self._pairs, key=itemgetter(0)):
            half = self._rows[row] @ source
            for _, column in pairs:
                yield half @ self._columns[column].T
