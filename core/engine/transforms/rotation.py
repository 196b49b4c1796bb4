"""Bilinear rotation, magnified or not, and what follows it. Its gradient is summed in a fixed order: reruns on CUDA
are bit-equal.

`grid_sample`'s own gradient adds up with atomics there, in whatever order they come. A source pixel is read only by the
output pixels whose position falls within one pixel of it: at most the nine around the place that it comes to lie at. So
the gradient can be gathered instead: in one kernel where Triton works, else by torch's own operations, which move
some eighty times as many bytes.
"""

from __future__ import annotations

import math
import os
import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from streamscope.core.engine.transforms.placement import PatchFormat, Placement

TurnFunction = Callable[[torch.Tensor, Placement, PatchFormat], torch.Tensor]
"""Patches (n, 3, side, side) of maps (n, 3, q, q)."""


class Turn:
    """From the map that is rotated to the normalised patch that a cone reads.

    Rotation, the fraction of a pixel that the second jitter moves by, colours, and zeros where the image's map ends.
    """

    def __init__(self, patch: PatchFormat) -> None:
        self._patch = patch
        self._function: TurnFunction = turn_by_operations
        if patch.mean.is_cuda:
            self.use(fused_function(patch.mean.device))

    def use(self, fused: TurnFunction | None) -> None:
        """Takes `fused` instead of torch's own operations, unless it is None. It needs a mask in any case."""
        if fused is not None:
            self._function = fused
            if self._patch.mask is None:
                mask = torch.ones(1, self._patch.side, device=self._patch.mean.device)
                self._patch = replace(self._patch, mask=mask)

    def __call__(self, source: torch.Tensor, placement: Placement) -> torch.Tensor:
        """Patches (n, 3, side, side) of maps (n, 3, q, q)."""
        if self._patch.mask is not None and len(self._patch.mask) == 1:
            placement = replace(placement, size=torch.zeros_like(placement.size))
        return self._function(source, placement, self._patch)


def turn_by_operations(source: torch.Tensor, placement: Placement, patch: PatchFormat) -> torch.Tensor:
    """What `Turn` does, by torch's own operations."""
    x = rotate(source, placement.theta, patch.rotated_side)
    if patch.rotated_side > patch.side:
        x = torch.lerp(x[:, :, :-1], x[:, :, 1:], placement.down[:, None, None, None])
        x = torch.lerp(x[:, :, :, :-1], x[:, :, :, 1:], placement.right[:, None, None, None])
    x = (x - patch.mean[:, None, None]) / patch.std[:, None, None]
    if patch.mask is not None:
        inside = patch.mask[placement.size]
        x = x * (inside[:, None, :, None] * inside[:, None, None, :])
    return x.to(patch.dtype)


@cache
def fused_function(device: torch.device) -> TurnFunction | None:
    """`turn_by_operations` as one kernel where that works, else None, and a warning says why. Tried once a device."""
    try:
        if not any(map(shutil.which, (os.environ.get("CC", "cc"), "cc", "gcc", "clang"))):
            raise RuntimeError("Triton needs a C compiler and there is none")
        from streamscope.core.engine.transforms.fused_rotation import FusedTurn

        function: TurnFunction = FusedTurn.apply
        check_function(function, device)
        return function
    except Exception as error:  # whatever a compiler or a driver comes up with
        line = str(error).strip().partition("\n")[0] or type(error).__name__
        warnings.warn(f"FZs take longer on {device}: the kernel that rotates does not work ({line})", stacklevel=2)
        return None


def check_function(function: TurnFunction, device: torch.device) -> None:
    """Raises RuntimeError when `function` says anything else on a small map than torch's own operations on a CPU.

    In every way that it is used: with and without a fraction of a pixel, in both dtypes of an optimisation's steps.
    """
    for rotated_side, (dtype, close) in product((13, 12), ((torch.float32, 1e-4), (torch.bfloat16, 2e-2))):
        _check(function, device, rotated_side, dtype, close)


def _check(function: TurnFunction, device: torch.device, rotated_side: int, dtype: torch.dtype, close: float) -> None:
    side, source_side = 12, 16
    generator = torch.Generator().manual_seed(0)
    source, weight = (torch.rand(2, 3, width, width, generator=generator) for width in (source_side, side))
    reach, half = (source_side - 1) / 2, (rotated_side - 1) / 2
    turned = [
        (math.cos(angle) / scale * half / reach, math.sin(angle) / scale * half / reach)
        for angle, scale in ((0.08, 0.95), (0.0, 1.05))
    ]
    mask = torch.ones(2, side)
    mask[1, :3] = 0
    theta = torch.tensor([[[cos, -sin, 0.1], [sin, cos, -0.05]] for cos, sin in turned])
    down, right, size = torch.tensor([0.3, 0.0]), torch.tensor([0.6, 0.2]), torch.tensor([1, 0])
    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.3, 0.4])
    found = []
    ways: tuple[tuple[TurnFunction, torch.device], ...] = (
        (turn_by_operations, torch.device("cpu")),
        (function, device),
    )
    for way, place in ways:
        leaf = source.to(place).requires_grad_(True)
        placement = Placement(*(value.to(place) for value in (theta, down, right, size)))
        patch = PatchFormat(side, rotated_side, mean.to(place), std.to(place), mask.to(place), dtype)
        turned_patch = way(leaf, placement, patch)
        (gradient,) = torch.autograd.grad(turned_patch, leaf, weight.to(place, dtype))
        found.append((turned_patch.detach().float().cpu(), gradient.cpu()))
    if not all(torch.allclose(a, b, rtol=close, atol=close) for a, b in zip(*found, strict=True)):
        raise RuntimeError("it differs from torch's own operations")


def rotate(source: torch.Tensor, theta: torch.Tensor, side: int) -> torch.Tensor:
    """Samples `source` (n, c, q, q) at the (n, side, side) positions of the rotations `theta` (n, 2, 3), zeros outside.

    `theta` maps the output to the source in `grid_sample`'s -1..1 with aligned corners. In pixels it must be a rotation
    by at most 45 degrees, magnified by at most 1.06, and a shift: then what reads a source pixel is within one and a
    half pixels of the place that it comes to lie at.
    """
    return _sample(source, theta, side) if source.device.type == "cpu" else _Rotate.apply(source, theta, side)


def _sample(source: torch.Tensor, theta: torch.Tensor, side: int) -> torch.Tensor:
    return F.grid_sample(source, _grid(theta, side), mode="bilinear", padding_mode="zeros", align_corners=True)


def _grid(theta: torch.Tensor, side: int) -> torch.Tensor:
    """(n, side, side, 2): what `affine_grid` gives with aligned corners, in a fifth of its time on a CPU."""
    line = torch.linspace(-1, 1, side, device=theta.device, dtype=theta.dtype)
    across, down, shift = theta[:, None, None].unbind(-1)
    return line[:, None] * across + shift + line[:, None, None] * down


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
    # In pixels, about the centres of both maps: source = turn @ output + shift, and back by the transpose over the
    # determinant, for it may magnify too.
    turn = theta[:, :, :2] * (reach / half)
    shift = theta[:, :, 2] * reach
    place = torch.arange(source_side, device=gradient.device, dtype=theta.dtype) - reach
    x = place[None, None, :] - shift[:, 0, None, None]
    y = place[None, :, None] - shift[:, 1, None, None]
    turned = turn[:, :, :, None, None]
    area = turned[:, 0, 0] * turned[:, 1, 1] - turned[:, 0, 1] * turned[:, 1, 0]
    column = torch.round((turned[:, 0, 0] * x + turned[:, 1, 0] * y) / area + half)
    row = torch.round((turned[:, 0, 1] * x + turned[:, 1, 1] * y) / area + half)
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
