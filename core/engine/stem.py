"""The stem convolution with a quicker input gradient.

A gradient into three channels at stride 2 is what convolution libraries are slowest at: on a CPU core it took four
times as long as the forward pass (36 and 9 ms for 16 patches of 103 px). Seen two by two, the three channels at full
resolution are twelve at half of it, and the gradient is a plain convolution into those (15 ms).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

LANES = 8
"""Output channels are padded with zeros to a multiple of this: vector units are at least so wide."""


@dataclass(frozen=True)
class StemGradient:
    """The input gradient of a valid convolution of `stride` with few input channels, as one of stride 1."""

    weight: torch.Tensor
    """(channels in * stride**2, padded to a multiple of 8; channels out; taps; taps)."""
    channels: int
    stride: int

    @classmethod
    def of(cls, weight: torch.Tensor, stride: int) -> StemGradient:
        """For a convolution's weight (out, in, k, k)."""
        out, channels, kernel, _ = weight.shape
        taps = -(-kernel // stride)
        beyond = taps * stride - kernel
        # Channels of a cell of stride x stride pixels by row, column and colour, which is an image's own channels-last
        # order: cells become pixels by copying rows, in less than a quarter of the time of `pixel_shuffle`.
        cells = F.pad(weight, (0, beyond, 0, beyond)).reshape(out, channels, taps, stride, taps, stride)
        cells = cells.permute(3, 5, 1, 0, 2, 4).reshape(channels * stride**2, out, taps, taps).flip(2, 3)
        spare = -len(cells) % LANES
        padded = torch.cat([cells, cells.new_zeros(spare, *cells.shape[1:])])
        return cls(padded.contiguous(memory_format=torch.channels_last), channels, stride)

    def to(self, dtype: torch.dtype) -> StemGradient:
        return replace(self, weight=self.weight.to(dtype))

    def __call__(self, gradient: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """Gradient (n, in, height, width) of the input, given that (n, out, h, w) of the output."""
        cells = F.conv2d(gradient, self.weight, padding=self.weight.shape[2] - 1).permute(0, 2, 3, 1)
        n, rows, columns, _ = cells.shape
        s, c = self.stride, self.channels
        cells = cells[..., : s * s * c].reshape(n, rows, columns, s, s, c)
        pixels = cells.transpose(2, 3).reshape(n, rows * s, columns * s, c).permute(0, 3, 1, 2)
        # Beyond the last window lie pixels that no output reads, or that the last cell only half covers.
        return F.pad(pixels, (0, width - columns * s, 0, height - rows * s))


class _StemConv(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, gradient: StemGradient
    ) -> torch.Tensor:
        ctx.gradient, ctx.sides = gradient, x.shape[2:]
        return F.conv2d(x, weight, bias, gradient.stride)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        return ctx.gradient(gradient, *ctx.sides), None, None, None


def stem_convolution(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, gradient: StemGradient) -> torch.Tensor:
    """Valid convolution of `x` (n, in, h, w) by `weight` (out, in, k, k) and `bias` at `gradient.stride`."""
    out: torch.Tensor = _StemConv.apply(x, weight, bias, gradient)
    return out
