"""Separable resampling of many images at once, each by its own matrices, in bands.

An output row reads a few neighbouring input rows, so most of such a matrix is zeros. It is cut into bands of output
rows, of each of which only the input rows that any of the matrices reads are multiplied.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable

BAND = 48
"""Output rows of a band: less waste in smaller ones, more calls. Of a map up to twice as wide there is one band."""


@dataclass(frozen=True)
class _Band:
    outputs: slice
    inputs: slice
    matrices: torch.Tensor
    """(kinds, outputs, inputs)."""


class Resampler:
    """Matrices (kinds, out, in) of which each image takes one for its rows and one for its columns."""

    def __init__(self, matrices: np.ndarray, device: torch.device) -> None:
        self.outputs, self.inputs = matrices.shape[1:]
        width = BAND if self.outputs > 2 * BAND else self.outputs
        self._bands = [self._band(matrices, first, first + width, device) for first in range(0, self.outputs, width)]

    def _band(self, matrices: np.ndarray, first: int, stop: int, device: torch.device) -> _Band:
        rows = matrices[:, first:stop]
        used = np.flatnonzero(np.abs(rows).sum(axis=(0, 1)) > 0)
        start, end = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 1)
        values = torch.tensor(rows[:, :, start:end], dtype=torch.float32, device=device)
        return _Band(slice(first, first + rows.shape[1]), slice(start, end), values)

    def __call__(self, x: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """(n, c, out, out) of `x` (n, c, in, in); `rows` and `columns` (n,) say which matrices each image takes."""
        resized: torch.Tensor = _Resample.apply(x, self, rows, columns)
        return resized

    def bands(self, kinds: torch.Tensor) -> Iterator[tuple[slice, slice, torch.Tensor]]:
        """Of each band its output rows, its input rows and the images' matrices (n, outputs, inputs)."""
        return ((band.outputs, band.inputs, band.matrices[kinds]) for band in self._bands)


class _Resample(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, resampler: Resampler, rows: torch.Tensor, columns: torch.Tensor
    ) -> torch.Tensor:
        n, c, height, width = x.shape
        x = x.contiguous()
        wide = x.new_empty(n, c * height, resampler.outputs)
        across = list(resampler.bands(columns))
        for outputs, inputs, matrices in across:
            torch.bmm(x.view(n, c * height, width)[..., inputs], matrices.transpose(1, 2), out=wide[..., outputs])
        scaled = x.new_empty(n * c, resampler.outputs, resampler.outputs)
        down = [(outputs, inputs, m.repeat_interleave(c, dim=0)) for outputs, inputs, m in resampler.bands(rows)]
        for outputs, inputs, matrices in down:
            torch.bmm(matrices, wide.view(n * c, height, -1)[:, inputs], out=scaled[:, outputs])
        ctx.bands, ctx.side = (across, down), resampler.inputs
        return scaled.view(n, c, resampler.outputs, resampler.outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        (across, down), side, gradient = ctx.bands, ctx.side, gradient.contiguous()
        n, c, outputs_side, _ = gradient.shape
        wide = gradient.new_zeros(n * c, side, outputs_side)
        for outputs, inputs, matrices in down:
            part = gradient.view(n * c, outputs_side, -1)[:, outputs]
            wide[:, inputs].baddbmm_(matrices.transpose(1, 2), part)
        x = gradient.new_zeros(n, c * side, side)
        for outputs, inputs, matrices in across:
            x[..., inputs].baddbmm_(wide.view(n, -1, outputs_side)[..., outputs], matrices)
        return x.view(n, c, side, side), None, None, None
