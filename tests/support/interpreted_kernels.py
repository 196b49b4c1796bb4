"""How far CUDA's kernels, run by Triton's interpreter, are from torch's own operations; prints JSON.

Run with TRITON_INTERPRET=1, by `test_fused_rotation`.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import replace

import torch

from streamscope.core.engine.transforms.placement import PatchFormat, Placement
from streamscope.core.engine.transforms.rotation import Turn, fused_function, turn_by_operations

CASES = {"shifted": (20, 21, 25), "whole": (13, 13, 17), "out": (17, 18, 12), "wide": (35, 35, 41)}
"""Sides of the patch, of the rotated map and of its source."""
CPU = torch.device("cpu")


def rotations(
    degrees: Sequence[float],
    scales: Sequence[float],
    shifts: list[tuple[float, float]],
    side: int,
    source: int,
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """`theta` (n, 2, 3) of rotations about the centre of a map, magnified, and shifts in px of its source, right and
    down."""
    half, reach = (side - 1) / 2, (source - 1) / 2
    rows = []
    for degree, scale, (x, y) in zip(degrees, scales, shifts, strict=True):
        cos, sin = (f(math.radians(degree)) / scale * half / reach for f in (math.cos, math.sin))
        rows.append([[cos, -sin, x / reach], [sin, cos, y / reach]])
    return torch.tensor(rows, dtype=dtype)


def compared(side: int, rotated_side: int, source_side: int) -> dict[str, float | bool]:
    """Largest differences over the largest value, of the patch and of the gradient in either order of channels."""
    from streamscope.core.engine.transforms.fused_rotation import FusedTurn

    shifts: list[tuple[float, float]] = [(0, 0), (0.3, -0.7), (2, 1.5), (0, 3.2)]
    theta = rotations([0, 5, -30, 45], [1, 0.95, 1.05, 1.05], shifts, rotated_side, source_side)
    generator = torch.Generator().manual_seed(0)
    source = torch.rand(4, 3, source_side, source_side, generator=generator).requires_grad_(True)
    mask = torch.ones(2, side)
    mask[1, :3] = mask[0, -2:] = 0
    colours = torch.tensor([0.1, 0.5, 0.9]), torch.tensor([0.2, 0.3, 1.4])
    down, right = torch.rand(2, 4, generator=generator)
    placement = Placement(theta, down, right, torch.tensor([0, 1, 1, 0]))
    patch = PatchFormat(side, rotated_side, *colours, mask)
    given = source, placement, patch
    weight = torch.randn(4, 3, side, side, generator=generator)
    expected, got = turn_by_operations(*given), FusedTurn.apply(*given)
    (gradient,) = torch.autograd.grad(expected, source, weight, retain_graph=True)
    found = {"patch": _difference(got, expected)}
    for name, order in (("gradient", torch.contiguous_format), ("gradient_channels_last", torch.channels_last)):
        (own,) = torch.autograd.grad(got, source, weight.contiguous(memory_format=order), retain_graph=True)
        found[name] = _difference(own, gradient)
    # Triton's interpreter cuts off what a GPU rounds: a unit of the last of bfloat16's eight bits.
    half = FusedTurn.apply(source, placement, replace(patch, dtype=torch.bfloat16))
    (own,) = torch.autograd.grad(half, source, weight.to(torch.bfloat16))
    (gradient,) = torch.autograd.grad(expected, source, weight.to(torch.bfloat16).float())
    found["gradient_of_half"] = _difference(own, gradient)
    return {
        **found,
        "half": bool(((half.float() - got).abs() <= got.abs() / 128).all()),
        "channels_last": got.is_contiguous(memory_format=torch.channels_last),
    }


def _difference(got: torch.Tensor, expected: torch.Tensor) -> float:
    return float((got - expected).abs().max() / expected.abs().max())


def chosen() -> dict[str, bool]:
    """Whether a device on which the kernels work gets them, also where no map needs a mask."""
    from streamscope.core.engine.transforms.fused_rotation import FusedTurn

    turn = Turn(PatchFormat(9, 10, torch.tensor([0.1, 0.2, 0.3]), torch.tensor([1.0, 2.0, 3.0]), None))
    source = torch.rand(2, 3, 14, 14, generator=torch.Generator().manual_seed(0))
    theta = rotations([3, 0], [1, 1], [(0, 0), (1, 0)], 10, 14)
    placement = Placement(theta, torch.zeros(2), torch.ones(2) / 3, torch.tensor([1, 0]))
    plain = turn(source, placement)
    turn.use(fused_function(CPU))
    fused = turn(source, placement)
    return {"fused": fused_function(CPU) == FusedTurn.apply and torch.allclose(plain, fused, atol=1e-5)}


if __name__ == "__main__":
    print(json.dumps({**{name: compared(*sides) for name, sides in CASES.items()}, "chosen": chosen()}))
