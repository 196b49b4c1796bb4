"""Scale tuning curves: what a channel says to its FZs and MEIs while they are shown smaller and larger."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from streamscope.core.engine.network import Network
from streamscope.core.images.lanczos import scaling
from streamscope.core.measures.tuning import SCALES
from streamscope.core.model.blocks import VERDICT_TENSORS, ModelInfo, Target, Tensor
from streamscope.core.model.recipe import UNSAID_PROTOCOL, Protocol
from streamscope.core.reading.activations import Version
from streamscope.core.reading.responses import BATCH, compute_fz_responses, compute_mei_responses
from streamscope.core.store.layout import CURVES
from streamscope.core.store.sets.curves import variant
from streamscope.core.store.sets.fz_set import FZSet
from streamscope.core.watch import Watch

if TYPE_CHECKING:
    from streamscope.core.store.scans.scan import Scan


def shown_side(side: int, scale: float) -> int:
    """Side in px of the crop (scale > 1) or of the shrunk image (below 1) of a `side` px image.

    The nearest of the side's own parity, so that the crop or the shrunk image lies exactly in the middle; at 2 and 1/2
    side // 2, as S and S- have it.
    """
    if scale in (0.5, 2):
        return side // 2
    wanted = side / scale if scale > 1 else side * scale
    return max(side - 2 * round((side - wanted) / 2), 2 - side % 2)


def real_scale(side: int, scale: float) -> float:
    """What an image of `side` px is really scaled by when asked for `scale`."""
    shown = shown_side(side, scale)
    return side / shown if scale > 1 else shown / side


def rescale(images: torch.Tensor, scale: float, antialias: bool = False) -> torch.Tensor:
    """Images (n, 3, side, side) enlarged (scale > 1) or shrunk about their centre; same shape out.

    Enlarged: the centre crop of side / scale px, resized to side px; S at 2. Shrunk: resized to side * scale px, then
    reflected outward to side px; S- at 1/2. Bilinear; `antialias` matters for shrinking only.
    """
    side = images.shape[2]
    shown = shown_side(side, scale)
    if shown == side:
        return images
    if scale > 1:
        first = round((side - shown) / 2)
        cropped = images[:, :, first : first + shown, first : first + shown]
        return F.interpolate(cropped, size=(side, side), mode="bilinear", align_corners=False)
    small = F.interpolate(images, size=(shown, shown), mode="bilinear", align_corners=False, antialias=antialias)
    before = (side - shown) // 2
    return reflect(small, before, side - shown - before)


def reflect(images: torch.Tensor, before: int, after: int, rows: bool = True) -> torch.Tensor:
    """Images with `before` and `after` px more on both axes (or on columns only), by reflection.

    As torch's reflection padding, but where that is wider than the image the reflections are themselves reflected.
    """
    index = torch.from_numpy(np.pad(np.arange(images.shape[3]), (before, after), mode="reflect")).to(images.device)
    wider = images[:, :, :, index]
    return wider[:, :, index] if rows else wider


def rescalings(info: ModelInfo, block: str, on: Tensor, antialias: bool, protocol: Protocol) -> dict[float, Version]:
    """By what an image of a block's tensor is really scaled for each of `SCALES`, and how.

    `centred`: about the centre of the receptive field, and as the mean over its moves, as S and S- are.
    """
    side = info.input_size
    if protocol == "centred":
        about = info.field_of(Target(block, on)).centre
        return {scale: scaling(side, about, scale) for scale in SCALES}
    return {real_scale(side, scale): partial(rescale, scale=scale, antialias=antialias) for scale in SCALES}


def compute_curves(
    network: Network,
    fzset: FZSet,
    block: str,
    antialias: bool = False,
    watch: Watch | None = None,
    batch: int = BATCH,
) -> int:
    """Computes and commits the curves that are missing of a block on a set's FZs; returns of how many FZs.

    By the set's protocol; `antialias` is for the paper's alone. `batch` channels are committed together. Raises
    StoreError when an FZ cannot be read or the store not be written.
    """
    protocol = fzset.key.protocol
    versions = {on: rescalings(network.info, block, on, antialias, protocol) for on in VERDICT_TENSORS}
    kind = variant(protocol, antialias)
    return compute_fz_responses(network, fzset, CURVES, block, versions, kind, watch, batch)


def compute_mei_curves(
    network: Network,
    scan: Scan,
    block: str,
    antialias: bool = False,
    watch: Watch | None = None,
    batch: int | None = None,
    protocol: Protocol = UNSAID_PROTOCOL,
) -> int:
    """Computes and commits the curves that are missing of a block on a scan's MEIs; returns of how many channels.

    `batch` as in `compute_mei_responses`. A channel that fewer than 9 images excite gets NaN. Raises ImageError when
    an image was moved or changed, StoreError when the store cannot be written.
    """
    # Both tensors of a block have one centre in every network but one that is built oddly.
    versions = rescalings(network.info, block, "block", antialias, protocol)
    kind = variant(protocol, antialias, in_scan=True)
    return compute_mei_responses(
        network, scan, CURVES, block, dict.fromkeys(VERDICT_TENSORS, versions), kind, watch, batch
    )
