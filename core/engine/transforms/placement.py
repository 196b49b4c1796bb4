"""What a rotation is to do with its maps, for torch's operations and for the kernels alike."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Placement:
    """How the maps of n images are turned and moved, on their device."""

    theta: torch.Tensor
    """(n, 2, 3): from the rotated map to its source, both in grid_sample's -1..1."""
    down: torch.Tensor
    """(n,): fraction of a px that the second jitter moves the patch by."""
    right: torch.Tensor
    size: torch.Tensor
    """(n,): which row of the mask is the image's."""


@dataclass(frozen=True)
class PatchFormat:
    """The patches that a cone reads."""

    side: int
    rotated_side: int
    """`side`, or one more where there are fractions."""
    mean: torch.Tensor
    """(3,) of the colours."""
    std: torch.Tensor
    mask: torch.Tensor | None
    """(sizes, side): 1 inside the map of each size."""
    dtype: torch.dtype = torch.float32
    """Of the patches; what is computed is float32."""
