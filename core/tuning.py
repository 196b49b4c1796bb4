"""Scale tuning curves: what a channel says to its FZs and MEIs while they are shown smaller and larger."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F

from core import __version__
from core.activations import CHUNK, BlockReader
from core.analysis.curves import SCALES
from core.assemble import NEEDED
from core.blocks import Tensor
from core.fourier import from_8_bit
from core.measures import relu
from core.model import Network
from core.store.curves import folder, rows_by_retry
from core.store.responses import commit_responses, stored_channels
from core.store.sets import FZSet

if TYPE_CHECKING:
    from core.store.scans import Scan

BATCH = 64
"""Channels committed together: what a killed run may lose."""

Version = Callable[[torch.Tensor], torch.Tensor]
"""Alters images (n, 3, side, side) in 0..1; same shape out."""
Watch = Callable[[int, int], None]
"""Called with channels done and channels in all."""


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


def compute_curves(
    network: Network, fzset: FZSet, block: str, antialias: bool = False, watch: Watch | None = None
) -> int:
    """Computes and commits the curves that are missing of a block on a set's FZs; returns how many channels' FZs.

    Raises StoreError when an FZ cannot be read or the store not be written.
    """
    missing = [
        (on, retry, channels)
        for on in NEEDED
        for retry, channels in missing_curves(fzset, block, on, antialias).items()
    ]
    total, done = sum(len(channels) for _, _, channels in missing), 0
    if not total:
        return 0
    reader = BlockReader(network, block)
    versions = [partial(rescale, scale=scale, antialias=antialias) for scale in SCALES]
    scales = [real_scale(network.info.input_size, scale) for scale in SCALES]
    for on, retry, channels in missing:
        target = network.info.target(block, on)
        for batch in batches(channels):
            images = np.stack([fzset.fz_image(target, channel, retry) for channel in batch])
            values = own_activations(reader, images, batch, versions)
            header = _header(network, block, on, antialias, images="FZ", retry=retry)
            commit_responses(folder(fzset.base(retry), block, on, antialias), header, batch, scales, values)
            done += len(batch)
            if watch is not None:
                watch(done, total)
    return total


def missing_curves(fzset: FZSet, block: str, on: Tensor, antialias: bool) -> dict[int, list[int]]:
    """Channels, by retry, whose FZ of tensor `on` is stored and whose curve is not."""
    found = {}
    for retry, channels in rows_by_retry(fzset, block).items():
        stored = fzset.fzs(fzset.info.target(block, on), retry)
        known = stored_channels(folder(fzset.base(retry), block, on, antialias), fzset.problems)
        found[retry] = [c for c in channels.tolist() if c in stored and c not in known]
    return found


def compute_mei_curves(
    network: Network, scan: Scan, block: str, antialias: bool = False, watch: Watch | None = None
) -> int:
    """Computes and commits the curves that are missing of a block on a scan's MEIs; returns of how many channels.

    An image that is an MEI of several channels is read once a batch. A channel that fewer than 9 images excite gets
    NaN. Raises ImageError when an image was moved or changed, StoreError when the store cannot be written.
    """
    missing = missing_mei_curves(scan, block, antialias)
    if not missing:
        return 0
    reader = BlockReader(network, block)
    versions = [partial(rescale, scale=scale, antialias=antialias) for scale in SCALES]
    scales = [real_scale(network.info.input_size, scale) for scale in SCALES]
    extremes = {on: scan.extremes(block, on) for on in NEEDED}
    done = 0
    for batch in batches(missing):
        enough = {on: (extremes[on].top_values[:, batch] > 0).all(axis=0) for on in NEEDED}
        tops = {on: extremes[on].top[:, batch] for on in NEEDED}
        rows = np.unique(np.concatenate([tops[on][:, enough[on]].ravel() for on in NEEDED]))
        answers = np.concatenate(
            [
                responses(reader, np.stack([scan.image(int(row)) for row in part]), versions)[:, :, batch]
                for part in np.split(rows, range(CHUNK, len(rows), CHUNK))
                if len(part)
            ]
            or [np.empty((0, 3, len(batch), len(SCALES)), dtype=np.float32)]
        )
        for on in NEEDED:
            values = np.full((len(batch), 4, len(SCALES)), np.nan, dtype=np.float32)
            for place in np.flatnonzero(enough[on]):
                seen = answers[np.searchsorted(rows, tops[on][:, place]), :, place]
                read = np.concatenate([relu(seen[:, :2]), seen[:, 2:], relu(seen[:, 2:])], axis=1)
                values[place] = read.mean(axis=0)
            header = _header(network, block, on, antialias, images="MEI", each=len(tops[on]))
            commit_responses(folder(scan.path, block, on, antialias), header, batch, scales, values)
        done += len(batch)
        if watch is not None:
            watch(done, len(missing))
    return len(missing)


def missing_mei_curves(scan: Scan, block: str, antialias: bool) -> list[int]:
    """Channels that lack a curve on the MEIs of `in` or of `block`."""
    known = [stored_channels(folder(scan.path, block, on, antialias), scan.problems) for on in NEEDED]
    return sorted(set(range(scan.info.block(block).channels)) - set.intersection(*known))


def own_activations(
    reader: BlockReader, images: np.ndarray, channels: Sequence[int], versions: Sequence[Version]
) -> np.ndarray:
    """(n, 4, K) of images (n, side, side, 3) uint8, each read at its own channel only: in, block, pre, out."""
    parts = []
    for first in range(0, len(images), CHUNK):
        found = responses(reader, images[first : first + CHUNK], versions)
        parts.append(found[np.arange(len(found)), :, channels[first : first + CHUNK]])
    own = np.concatenate(parts)
    return np.concatenate([own, np.maximum(own[:, 2:], 0)], axis=1)


def responses(reader: BlockReader, images: np.ndarray, versions: Sequence[Version]) -> np.ndarray:
    """(n, 3, C, K): centre activations of in, block and pre for K versions of images (n, side, side, 3) uint8."""
    pixels = from_8_bit(images).to(reader.device)
    return np.stack([reader.activations(version(pixels)) for version in versions], axis=-1)


def batches(channels: Sequence[int]) -> Iterator[list[int]]:
    for first in range(0, len(channels), BATCH):
        yield list(channels[first : first + BATCH])


def _header(network: Network, block: str, on: Tensor, antialias: bool, **more: Any) -> dict[str, Any]:
    return {
        "kind": "curves",
        "model": network.info.name,
        "fingerprint": network.info.fingerprint,
        "block": block,
        "on": on,
        "antialias": antialias,
        "engine": __version__,
        "device": str(network.device),
        **more,
    }
