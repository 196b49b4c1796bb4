"""Bilinear rotation whose gradient is summed in a fixed order, so that a rerun on CUDA is bit-equal.

`grid_sample`'s own gradient adds up with atomics there, in whatever order they come. A source pixel is read only by the
output pixels whose position falls within one pixel of it: at most the nine around the place that it is rotated to. So
the gradient can be gathered instead.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable


def rotate(source: torch.Tensor, theta: torch.Tensor, side: int) -> torch.Tensor:
    """Samples `source` (n, c, q, q) at the (n, side, side) positions of the rotations `theta` (n, 2, 3), zeros outside.

    `theta` maps the output to the source in `grid_sample`'s -1..1 with aligned corners. In pixels it must be a rotation
    by at most 45 degrees and a shift.
    """
    return _Rotate.apply(source, theta, side) if source.is_cuda else _sample(source, theta, side)


def _sample(source: torch.Tensor, theta: torch.Tensor, side: int) -> torch.Tensor:
    grid = F.affine_grid(theta, [len(source), 1, side, side], align_corners=True)
    return F.grid_sample(source, grid, mode="bilinear", padding_mode="zeros", align_corners=True)


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, source: torch.Tensor, theta: torch.Tensor, side: int) -> torch.Tensor:
        ctx.save_for_backward(theta)
        ctx.source_side = source.shape[-1]
        return _sample(source, theta, side)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (theta,) = ctx.saved_tensors
        return _gather_gradient(gradient, theta, ctx.source_side), None, None


def _gather_gradient(gradient: torch.Tensor, theta: torch.Tensor, source_side: int) -> torch.Tensor:
    n, c, side, _ = gradient.shape
    half, reach = (side - 1) / 2, (source_side - 1) / 2
    # In pixels, about the centres of both maps: source = turn @ output + shift, and back by the transpose.
    turn = theta[:, :, :2] * (reach / half)
    shift = theta[:, :, 2] * reach
    place = torch.arange(source_side, device=gradient.device, dtype=theta.dtype) - reach
    x = place[None, None, :] - shift[:, 0, None, None]
    y = place[None, :, None] - shift[:, 1, None, None]
    turned = turn[:, :, :, None, None]
    column = torch.round(turned[:, 0, 0] * x + turned[:, 1, 0] * y + half)
    row = torch.round(turned[:, 0, 1] * x + turned[:, 1, 1] * y + half)
    flat = gradient.reshape(n, c, side * side)
    total = gradient.new_zeros(n, c, source_side, source_side)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            i, j = row + down, column + right
            u, v = j - half, i - half
            across = 1 - (turned[:, 0, 0] * u + turned[:, 0, 1] * v - x).abs()
            along = 1 - (turned[:, 1, 0] * u + turned[:, 1, 1] * v - y).abs()
            inside = (i >= 0) & (i < side) & (j >= 0) & (j < side)
            weight = across.clamp(min=0) * along.clamp(min=0) * inside
            index = (i.clamp(0, side - 1) * side + j.clamp(0, side - 1)).long()
            taken = flat.gather(2, index.reshape(n, 1, -1).expand(n, c, -1))
            total += weight[:, None] * taken.reshape(n, c, source_side, source_side)
    return total
