"""Cones compared with what a network's own forward pass gives, wherever that was read."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F

from streamscope.core.engine.cone import Cone, FoldedNetwork, Read

READS: tuple[Read, Read, Read] = ("in", "block", "pre")
CLOSE = 1e-5
"""Of the tensor's largest |activation|."""


def images_of(side: int, count: int = 2) -> torch.Tensor:
    """(count, 3, side, side), alike at every call."""
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(side))


def patch_of(images: torch.Tensor, cone: Cone, size_index: int = 0) -> torch.Tensor:
    """What a cone reads of images: zeros beyond their borders."""
    border = 512
    start = border + cone.origin(size_index)
    stop = start + cone.patch.length
    return F.pad(images, (border,) * 4)[:, :, start:stop, start:stop]


def distance(found: torch.Tensor, expected: torch.Tensor, whole: torch.Tensor) -> float:
    """Largest difference, as a share of the largest value of the `whole` tensor."""
    assert found.shape == expected.shape
    return float((found - expected).abs().max() / whole.abs().max())


@torch.no_grad()
def farthest_cone(
    network: FoldedNetwork,
    images: torch.Tensor,
    own: Mapping[str, Mapping[str, torch.Tensor]],
    centre: Callable[[torch.Tensor], torch.Tensor],
) -> float:
    """Of every block's cones from what the network itself gives, `own[block][tensor]`, at its `centre` (n, channels);
    those of the three tensors together too."""
    side, farthest = images.shape[-1], 0.0
    for block, tensors in own.items():
        for read in READS:
            cone = Cone(network, block, read, [side])
            found = cone(patch_of(images, cone))
            farthest = max(farthest, distance(found, centre(tensors[read]), tensors[read]))
        together = cone.all_tensors(patch_of(images, cone))
        for index, read in enumerate(READS):
            farthest = max(farthest, distance(together[:, index], centre(tensors[read]), tensors[read]))
    return farthest


def centre_of_maps(values: torch.Tensor) -> torch.Tensor:
    """Of (n, channels, rows, columns)."""
    return values[:, :, values.shape[2] // 2, values.shape[3] // 2]
