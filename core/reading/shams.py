"""What the nulls need beside the stored FZs: sham transforms, and more sets of FZs."""

from __future__ import annotations

from functools import partial

import torch

from streamscope.core.engine.network import Network
from streamscope.core.model.blocks import VERDICT_TENSORS, ModelInfo, Tensor
from streamscope.core.reading.responses import Version, compute_fz_responses
from streamscope.core.reading.tuning import reflect
from streamscope.core.store.layout import SHAMS
from streamscope.core.store.sets.fz_set import FZSet
from streamscope.core.store.sets.responses import SHAM_TRANSFORMS
from streamscope.core.watch import Watch


def flip(images: torch.Tensor) -> torch.Tensor:
    """Images (n, 3, side, side) mirrored left to right."""
    return torch.flip(images, dims=(3,))


def quarter_turn(images: torch.Tensor) -> torch.Tensor:
    """Images (n, 3, side, side) turned by 90 degrees, counter-clockwise."""
    return torch.rot90(images, dims=(2, 3))


def shift(images: torch.Tensor, distance: int) -> torch.Tensor:
    """Images (n, 3, side, side) moved right by `distance` px; what comes in from the left is their reflection."""
    return reflect(images, distance, 0, rows=False)[:, :, :, : images.shape[3]]


def sham_versions(info: ModelInfo, block: str, on: Tensor) -> dict[str, Version]:
    """The transforms of `SHAM_TRANSFORMS` for FZs of one tensor of a block; a shift is a quarter of its field."""
    field = info.fields[str(info.source(block, on))]
    transforms: tuple[Version, ...] = (flip, quarter_turn, partial(shift, distance=round(field.size / 4)))
    return dict(zip(SHAM_TRANSFORMS, transforms, strict=True))


def compute_shams(network: Network, fzset: FZSet, block: str, watch: Watch | None = None) -> int:
    """Reads the FZs of a block under every sham transform and commits what was missing; returns of how many FZs.

    Raises StoreError when an FZ cannot be read or the store not be written.
    """
    versions = {on: sham_versions(network.info, block, on) for on in VERDICT_TENSORS}
    return compute_fz_responses(network, fzset, SHAMS, block, versions, watch=watch)
