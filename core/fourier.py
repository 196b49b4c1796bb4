"""FZ parameters: a half spectrum a colour, as Lucent has it, turned into only the patch of the image that is needed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

IMAGE_GAIN = 4.0
"""Lucid's constant: the image is divided by it before the colours, which keeps the sigmoid from saturating."""


@cache
def colour_correlation() -> np.ndarray:
    """Lucent's normalised colour correlation (3, 3): `image @ matrix.T` turns decorrelated colours into RGB."""
    # Lucent's package imports kornia and IPython, a second or more: only when a spectrum is first drawn.
    from lucent.optvis.param.color import color_correlation_normalized

    return np.asarray(color_correlation_normalized, dtype=np.float64)


@cache
def frequency_scale(size: int, decay: float) -> np.ndarray:
    """Weight of each frequency (size, size // 2 + 1): 1 / max(frequency, 1 / size) ** decay, in cycles per px."""
    from lucent.optvis.param.spatial import rfft2d_freqs

    frequencies = rfft2d_freqs(size, size)[:, : size // 2 + 1]
    return 1.0 / np.maximum(frequencies, 1.0 / size) ** decay


@dataclass(frozen=True)
class Spectrum:
    """The inverse real DFT of rows and columns `start` to `stop` - 1 of a `size` px image, as two matrix products.

    With U = S X over columns and image = Y U over rows, a patch of P px costs size * size * 2P + P * 2 size * P
    products a colour instead of a whole image's FFT and all that follows from it.
    """

    scale: torch.Tensor
    columns: torch.Tensor
    rows: torch.Tensor
    colours: torch.Tensor

    @classmethod
    def patch(cls, size: int, decay: float, start: int, stop: int, device: torch.device | str = "cpu") -> Spectrum:
        """Spectrum of a square patch of a size x size image. 0 <= start < stop <= size."""
        half = size // 2 + 1
        place = np.arange(start, stop)
        kx = np.arange(half)
        # The half spectrum stands for both signs of kx, except at 0 and, for an even size, at the highest frequency.
        twice = np.where((kx == 0) | ((size % 2 == 0) & (kx == size // 2)), 1.0, 2.0) / (size * IMAGE_GAIN)
        angle = 2 * np.pi * np.outer(kx, place) / size
        cos, sin = twice[:, None] * np.cos(angle), twice[:, None] * np.sin(angle)
        # Rows: real and imaginary part of each kx in turn; columns: the real, then the imaginary part of U.
        columns = np.stack([np.hstack([cos, sin]), np.hstack([-sin, cos])], axis=1).reshape(2 * half, -1)
        angle = 2 * np.pi * np.outer(place, np.arange(size)) / size
        rows = np.stack([np.cos(angle), -np.sin(angle)], axis=2).reshape(len(place), 2 * size)

        def tensor(values: np.ndarray) -> torch.Tensor:
            return torch.tensor(values, dtype=torch.float32, device=device)

        scale = frequency_scale(size, decay)[:, :, None]
        return cls(tensor(scale), tensor(columns), tensor(rows), tensor(colour_correlation()))

    def image(self, parameters: torch.Tensor) -> torch.Tensor:
        """RGB patch (n, 3, P, P) in 0..1 of parameters (n, 3, size, size // 2 + 1, 2)."""
        n, _, size, half, _ = parameters.shape
        side = self.rows.shape[0]
        scaled = (parameters * self.scale).reshape(-1, 2 * half)
        over_columns = (scaled @ self.columns).reshape(3 * n, 2 * size, side)
        decorrelated = torch.matmul(self.rows, over_columns).reshape(n, 3, side * side)
        return torch.sigmoid(torch.matmul(self.colours, decorrelated)).reshape(n, 3, side, side)


def random_parameters(size: int, sd: float, generator: np.random.Generator) -> np.ndarray:
    """Initial parameters of one image: normal with deviation `sd`, (3, size, size // 2 + 1, 2) float32."""
    return generator.standard_normal((3, size, size // 2 + 1, 2), dtype=np.float32) * np.float32(sd)


def to_8_bit(images: torch.Tensor) -> np.ndarray:
    """Images (n, 3, h, w) in 0..1 as uint8 (n, h, w, 3), by truncation as Lucent exports them; NaN is black."""
    return (torch.nan_to_num(images.detach()).float().cpu().permute(0, 2, 3, 1).numpy() * 255).astype(np.uint8)


def from_8_bit(images: np.ndarray) -> torch.Tensor:
    """uint8 (n, h, w, 3) as float32 (n, 3, h, w) in 0..1."""
    return torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float() / 255
