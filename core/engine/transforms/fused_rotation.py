"""On CUDA: rotation, the second jitter's fraction, colours and mask in one kernel, and their gradient in another.

As torch's own operations the gathered gradient alone moves over half of all the bytes of a step (docs/performance.md).
Here every number is read where it is needed and written once. Triton comes with torch on Linux; the kernels are
compiled when first used, which takes a C compiler. Tests run them in Triton's interpreter and compile them for the GPUs
of several generations; neither needs one.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import triton
import triton.language as tl
from torch.autograd.function import once_differentiable

from streamscope.core.engine.transforms.placement import PatchFormat, Placement

BLOCK = 256
"""Pixels of a program. Neighbours share most of what they read, and a warp is 32 of them."""
DRAWS = ["theta", "down", "right", "size"]
"""Slices of the draws of all steps, aligned in another way at each: that is no reason to compile anew."""


# Triton compiles the kernels itself, from arguments of its own kinds, and has no types.
@triton.jit(  # type: ignore[untyped-decorator]
    do_not_specialize=["source_side", "rotated_side", "side"], do_not_specialize_on_alignment=DRAWS
)
def _forward(  # type: ignore[no-untyped-def]
    source, theta, down, right, size, masks, mean, std, patch,
    source_side, rotated_side, side, shifted: tl.constexpr, pixels: tl.constexpr,
):  # fmt: skip
    image = tl.program_id(1)
    pixel = tl.program_id(0) * pixels + tl.arange(0, pixels)
    wanted = pixel < side * side
    row, column = pixel // side, pixel % side
    half, reach = (rotated_side - 1) * 0.5, (source_side - 1) * 0.5
    scale = reach / half
    t00, t01 = tl.load(theta + image * 6) * scale, tl.load(theta + image * 6 + 1) * scale
    t10, t11 = tl.load(theta + image * 6 + 3) * scale, tl.load(theta + image * 6 + 4) * scale
    across, along = (tl.load(theta + image * 6 + 2) + 1) * reach, (tl.load(theta + image * 6 + 5) + 1) * reach
    fall, drift = tl.load(down + image), tl.load(right + image)
    plane = source_side * source_side
    base = source + image * 3 * plane
    red = tl.zeros([pixels], dtype=tl.float32)
    green = tl.zeros([pixels], dtype=tl.float32)
    blue = tl.zeros([pixels], dtype=tl.float32)
    for corner in tl.static_range(4 if shifted else 1):
        below, beside = corner // 2, corner % 2
        u, v = column + beside - half, row + below - half
        x, y = t00 * u + t01 * v + across, t10 * u + t11 * v + along
        left, top = tl.floor(x), tl.floor(y)
        for tap in tl.static_range(4):
            r, c = top.to(tl.int32) + tap // 2, left.to(tl.int32) + tap % 2
            there = wanted & (r >= 0) & (r < source_side) & (c >= 0) & (c < source_side)
            weight = (y - top if tap // 2 else 1 - (y - top)) * (x - left if tap % 2 else 1 - (x - left))
            if shifted:
                weight *= (fall if below else 1 - fall) * (drift if beside else 1 - drift)
            place = base + r * source_side + c
            red += weight * tl.load(place, mask=there, other=0.0)
            green += weight * tl.load(place + plane, mask=there, other=0.0)
            blue += weight * tl.load(place + 2 * plane, mask=there, other=0.0)
    mask = masks + tl.load(size + image) * side
    shown = tl.load(mask + row, mask=wanted, other=0.0) * tl.load(mask + column, mask=wanted, other=0.0)
    # Channels last, as the network's convolutions want it.
    place = patch + (image * side * side + pixel) * 3
    tl.store(place, (red - tl.load(mean)) / tl.load(std) * shown, mask=wanted)
    tl.store(place + 1, (green - tl.load(mean + 1)) / tl.load(std + 1) * shown, mask=wanted)
    tl.store(place + 2, (blue - tl.load(mean + 2)) / tl.load(std + 2) * shown, mask=wanted)


@triton.jit(  # type: ignore[untyped-decorator]  # as above
    do_not_specialize=["source_side", "rotated_side", "side", "s0", "s1", "s2", "s3"],
    do_not_specialize_on_alignment=DRAWS,
)
def _backward(  # type: ignore[no-untyped-def]
    patch, theta, down, right, size, masks, std, out,
    source_side, rotated_side, side, s0, s1, s2, s3, shifted: tl.constexpr, pixels: tl.constexpr,
):  # fmt: skip
    image = tl.program_id(1)
    pixel = tl.program_id(0) * pixels + tl.arange(0, pixels)
    here = pixel < source_side * source_side
    half, reach = (rotated_side - 1) * 0.5, (source_side - 1) * 0.5
    scale = reach / half
    t00, t01 = tl.load(theta + image * 6) * scale, tl.load(theta + image * 6 + 1) * scale
    t10, t11 = tl.load(theta + image * 6 + 3) * scale, tl.load(theta + image * 6 + 4) * scale
    x = pixel % source_side - reach - tl.load(theta + image * 6 + 2) * reach
    y = pixel // source_side - reach - tl.load(theta + image * 6 + 5) * reach
    fall, drift = tl.load(down + image), tl.load(right + image)
    mask = masks + tl.load(size + image) * side
    # The inverse of a rotation that magnifies is its transpose over its determinant: where this pixel comes to lie.
    area = t00 * t11 - t01 * t10
    near_row = tl.floor((t01 * x + t11 * y) / area + half + 0.5).to(tl.int32)
    near_column = tl.floor((t00 * x + t10 * y) / area + half + 0.5).to(tl.int32)
    red = tl.zeros([pixels], dtype=tl.float32)
    green = tl.zeros([pixels], dtype=tl.float32)
    blue = tl.zeros([pixels], dtype=tl.float32)
    # Not unrolled, as the inner loop is: nine times its instructions would not fit in a GPU's cache for them.
    for around in range(9):
        i, j = near_row + (around // 3 - 1), near_column + (around % 3 - 1)
        u, v = j - half, i - half
        beside, above = 1 - tl.abs(t00 * u + t01 * v - x), 1 - tl.abs(t10 * u + t11 * v - y)
        reads = here & (i >= 0) & (i < rotated_side) & (j >= 0) & (j < rotated_side) & (beside > 0) & (above > 0)
        for corner in tl.static_range(4 if shifted else 1):
            row, column = i - corner // 2, j - corner % 2
            there = reads & (row >= 0) & (row < side) & (column >= 0) & (column < side)
            weight = tl.load(mask + row, mask=there, other=0.0) * tl.load(mask + column, mask=there, other=0.0)
            weight = tl.where(there, weight * beside * above, 0.0)
            if shifted:
                weight *= (fall if corner // 2 else 1 - fall) * (drift if corner % 2 else 1 - drift)
            place = patch + image * s0 + row * s2 + column * s3
            red += weight * tl.load(place, mask=there, other=0.0)
            green += weight * tl.load(place + s1, mask=there, other=0.0)
            blue += weight * tl.load(place + 2 * s1, mask=there, other=0.0)
    plane = source_side * source_side
    place = out + image * 3 * plane + pixel
    tl.store(place, red / tl.load(std), mask=here)
    tl.store(place + plane, green / tl.load(std + 1), mask=here)
    tl.store(place + 2 * plane, blue / tl.load(std + 2), mask=here)


class FusedTurn(torch.autograd.Function):
    """`rotation.turn_by_operations` in two kernels; the patch is in channels-last order and its format has a mask."""

    @staticmethod
    def forward(ctx: Any, source: torch.Tensor, placement: Placement, patch: PatchFormat) -> torch.Tensor:
        source = source.contiguous()
        source_side, side, rotated_side = source.shape[-1], patch.side, patch.rotated_side
        # Neither has a gradient: they need not be saved as tensors of the graph.
        ctx.placement, ctx.patch, ctx.source_side = placement, patch, source_side
        shape = (len(source), 3, side, side)
        out = torch.empty(shape, dtype=patch.dtype, device=source.device, memory_format=torch.channels_last)
        with _on(source):
            _forward[_grid(side, len(source))](
                source, placement.theta, placement.down, placement.right, placement.size,
                patch.mask, patch.mean, patch.std, out, source_side, rotated_side, side,
                shifted=rotated_side > side, pixels=BLOCK, enable_fp_fusion=True,
            )  # fmt: skip
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        placement, patch, source_side = ctx.placement, ctx.patch, ctx.source_side
        found = placement.theta.new_empty(len(gradient), 3, source_side, source_side)
        with _on(gradient):
            _backward[_grid(source_side, len(gradient))](
                gradient, placement.theta, placement.down, placement.right, placement.size,
                patch.mask, patch.std, found, source_side, patch.rotated_side, patch.side, *gradient.stride(),
                shifted=patch.rotated_side > patch.side, pixels=BLOCK, enable_fp_fusion=True,
            )  # fmt: skip
        return found, None, None


def _grid(side: int, images: int) -> tuple[int, int]:
    return triton.cdiv(side * side, BLOCK), images


def _on(tensor: torch.Tensor) -> AbstractContextManager[Any]:
    """Triton launches on the current device, which may be another one."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()
