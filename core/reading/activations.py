"""Centre activations of stored images, as they are, and scaled up and down by two."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from streamscope.core.engine.cone import Cone
from streamscope.core.engine.fourier import from_8_bit
from streamscope.core.engine.network import Network
from streamscope.core.engine.normalisation import Normalisation

CHUNK = 32
"""Images per forward pass: enough to keep the device busy, little enough for any memory."""

Scale = Callable[[torch.Tensor], torch.Tensor]
"""Rescales images (n, 3, side, side)."""


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
        info = network.info
        self._cone = Cone(network.folded, block, "pre", [info.input_size])
        self.device = device = network.device
        self._normalise = Normalisation.of(info, device)

    def read(self, images: np.ndarray, scale: Scale | None = None) -> np.ndarray:
        """Activations (n, 3, channels) of images (n, side, side, 3) uint8, as they are or by `scale`."""
        parts = []
        for first in range(0, len(images), CHUNK):
            pixels = from_8_bit(images[first : first + CHUNK]).to(self.device)
            parts.append(self.activations(pixels if scale is None else scale(pixels)))
        return np.concatenate(parts)

    @torch.no_grad()
    def activations(self, pixels: torch.Tensor) -> np.ndarray:
        """Activations (n, 3, channels) of images (n, 3, side, side) in 0..1, all in one pass."""
        start, length = self._cone.origin(), self._cone.patch.length
        inner = slice(start, start + length)
        return self._cone.all_tensors(self._normalise(pixels[:, :, inner, inner])).float().cpu().numpy()
