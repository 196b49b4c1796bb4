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

    frequencies: np.ndarray = rfft2d_freqs(size, size)[:, : size // 2 + 1]
    bounded: np.ndarray = np.maximum(frequencies, 1.0 / size)
    return 1.0 / bounded**decay


@dataclass(frozen=True)
class Spectrum:
    """The inverse real DFT of rows and columns `start` to `stop` - 1 of a `size` px image.

    Parameters are those of Lucent with its rows (the axis that is transformed first) last, so that no transform has to
    bring numbers together; rows that are not needed are dropped between the two axes. Measured on a CPU core, batch of
    16, with gradients: 10, 15 and 24 ms for patches of 52, 112 and 224 px; as two matrix products, which make the patch
    alone, 29, 57 and 129 ms.
    """

    scale: torch.Tensor
    colours: torch.Tensor
    start: int
    stop: int

    @classmethod
    def patch(cls, size: int, decay: float, start: int, stop: int, device: torch.device | str = "cpu") -> Spectrum:
        """Spectrum of a square patch of a size x size image. 0 <= start < stop <= size."""
        # Both parts of a number have the same weight: written out, since broadcasting over two of them is slow.
        weights = np.repeat(frequency_scale(size, decay).T[:, :, None], 2, axis=2)
        scale = torch.tensor(weights, dtype=torch.float32, device=device)
        colours = torch.tensor(colour_correlation() / IMAGE_GAIN, dtype=torch.float32, device=device)
        return cls(scale, colours, start, stop)

    def image(self, parameters: torch.Tensor) -> torch.Tensor:
        """RGB patch (n, 3, P, P) in 0..1 of parameters (n, 3, size // 2 + 1, size, 2)."""
        size = parameters.shape[3]
        spectrum = torch.view_as_complex(parameters * self.scale)
        rows = torch.fft.ifft(spectrum, dim=3, norm="ortho")[:, :, :, self.start : self.stop].transpose(2, 3)
        decorrelated = torch.fft.irfft(rows, n=size, dim=3, norm="ortho")[:, :, :, self.start : self.stop]
        n, _, side, _ = decorrelated.shape
        colours = torch.matmul(self.colours, decorrelated.reshape(n, 3, side * side))
        return torch.sigmoid(colours).reshape(n, 3, side, side)


def random_parameters(size: int, sd: float, generator: np.random.Generator) -> np.ndarray:
    """Initial parameters of one image: normal with deviation `sd`, (3, size // 2 + 1, size, 2) float32."""
    drawn = generator.standard_normal((3, size, size // 2 + 1, 2), dtype=np.float32) * np.float32(sd)
    return np.ascontiguousarray(drawn.transpose(0, 2, 1, 3))


def to_8_bit(images: torch.Tensor) -> np.ndarray:
    """Images (n, 3, h, w) in 0..1 as uint8 (n, h, w, 3), by truncation as Lucent exports them; NaN is black."""
    return (torch.nan_to_num(images.detach()).float().cpu().permute(0, 2, 3, 1).numpy() * 255).astype(np.uint8)


def from_8_bit(images: np.ndarray) -> torch.Tensor:
    """uint8 (n, h, w, 3) as float32 (n, 3, h, w) in 0..1."""
    return torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float() / 255
