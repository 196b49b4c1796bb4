"""What the nulls need beside stored FZs and MEIs: how their channels answer to them under sham transforms."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch

from streamscope.core.engine.network import Network
from streamscope.core.images import lanczos
from streamscope.core.model.blocks import VERDICT_TENSORS, ModelInfo, Target, Tensor
from streamscope.core.model.recipe import Protocol
from streamscope.core.reading.activations import Version
from streamscope.core.reading.responses import compute_fz_responses, compute_mei_responses
from streamscope.core.reading.scalings import scalings
from streamscope.core.reading.tuning import reflect
from streamscope.core.store.layout import SHAMS
from streamscope.core.store.sets.batches import FURTHER
from streamscope.core.store.sets.curves import variant
from streamscope.core.store.sets.fz_set import FZSet
from streamscope.core.store.sets.responses import SHAM_TRANSFORMS
from streamscope.core.watch import Watch

if TYPE_CHECKING:
    from streamscope.core.store.scans.scan import Scan


def flip(images: torch.Tensor) -> torch.Tensor:
    """Images (n, 3, side, side) mirrored left to right."""
    return torch.flip(images, dims=(3,))


def quarter_turn(images: torch.Tensor) -> torch.Tensor:
    """Images (n, 3, side, side) turned by 90 degrees, counter-clockwise."""
    return torch.rot90(images, dims=(2, 3))


def shift(images: torch.Tensor, distance: int) -> torch.Tensor:
    """Images (n, 3, side, side) moved right by `distance` px; what comes in from the left is their reflection."""
    return reflect(images, distance, 0, rows=False)[:, :, :, : images.shape[3]]


def sham_versions(info: ModelInfo, block: str, on: Tensor, protocol: Protocol) -> dict[str, Version]:
    """The transforms of `SHAM_TRANSFORMS` for FZs of one tensor of a block; a shift is a quarter of its field.

    `centred`: about the centre of the receptive field, and as the mean over the same moves as what is scaled.
    """
    field, side = info.field_of(Target(block, on)), info.input_size
    distance = round(field.size / 4)
    transforms: tuple[Version, ...]
    if protocol == "centred":
        about = field.centre
        transforms = (lanczos.flip(side, about), lanczos.quarter_turn(side, about), lanczos.shift(side, distance))
    else:
        transforms = (flip, quarter_turn, partial(shift, distance=distance))
    return dict(zip(SHAM_TRANSFORMS, transforms, strict=True))


def mei_versions(info: ModelInfo, block: str, on: Tensor, protocol: Protocol) -> dict[str, Version]:
    """The same for MEIs; by the centred protocol those too that take the place of scaling among a set's measures."""
    scaled = scalings(info, block, on, protocol)
    further = {name: scaled[name] for name in FURTHER if name in scaled}
    return sham_versions(info, block, on, protocol) | further


def compute_shams(network: Network, fzset: FZSet, block: str, watch: Watch | None = None) -> int:
    """Reads the FZs of a block under every sham transform and commits what was missing; returns of how many FZs.

    Raises StoreError when an FZ cannot be read or the store not be written.
    """
    protocol = fzset.key.protocol
    versions = {on: sham_versions(network.info, block, on, protocol) for on in VERDICT_TENSORS}
    return compute_fz_responses(network, fzset, SHAMS, block, versions, watch=watch)


def compute_mei_shams(network: Network, scan: Scan, block: str, protocol: Protocol, watch: Watch | None = None) -> int:
    """Reads the MEIs of a block under every null and commits what was missing; returns of how many channels.

    Raises ImageError when an image was moved or changed, StoreError when the store cannot be written.
    """
    versions = {on: mei_versions(network.info, block, on, protocol) for on in VERDICT_TENSORS}
    kind = variant(protocol, in_scan=True)
    return compute_mei_responses(network, scan, SHAMS, block, versions, kind, watch)
