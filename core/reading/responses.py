"""Reads how channels answer to altered versions of their images, and commits it a batch of channels at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from streamscope import __version__
from streamscope.core.engine.network import Network
from streamscope.core.measures.criteria import relu
from streamscope.core.measures.extremes import MEIS, NONE
from streamscope.core.model.blocks import VERDICT_TENSORS, Tensor
from streamscope.core.reading.activations import CHUNK, BlockReader, Version
from streamscope.core.store.layout import ResponseKind, response_folder
from streamscope.core.store.scans.responses import missing_mei_responses
from streamscope.core.store.sets.fz_set import FZSet
from streamscope.core.store.sets.responses import commit_responses, missing_responses
from streamscope.core.watch import Watch

if TYPE_CHECKING:
    from streamscope.core.store.scans.scan import Scan

BATCH = 64
"""Channels committed together: what a killed run may lose."""


def compute_fz_responses(
    network: Network,
    fzset: FZSet,
    kind: ResponseKind,
    block: str,
    versions: Mapping[Tensor, Mapping[Any, Version]],
    variant: str = "",
    watch: Watch | None = None,
    batch: int = BATCH,
) -> int:
    """Computes and commits what is missing of a kind on a set's FZs of `in` and `block`; returns of how many FZs.

    `versions` gives, for the FZs of each tensor, what each version is called and how it is made; `batch` channels are
    committed together. Raises StoreError when
    an FZ cannot be read or the store not be written.
    """
    missing = [
        (on, retry, channels)
        for on in VERDICT_TENSORS
        for retry, channels in missing_responses(fzset, kind, block, on, variant).items()
    ]
    total, done = sum(len(channels) for _, _, channels in missing), 0
    if not total:
        return 0
    reader = BlockReader(network, block)
    for on, retry, channels in missing:
        target = fzset.target(block, on)
        folder = response_folder(fzset.base(retry), kind, block, on, variant)
        for together in batches(channels, batch):
            images = np.stack([fzset.fz_image(target, channel, retry) for channel in together])
            values = own_responses(reader, images, together, list(versions[on].values()))
            place = fzset.responses_place(kind, block, on, variant, retry)
            commit_responses(folder, place, provenance(network), together, list(versions[on]), values)
            done += len(together)
            if watch is not None:
                watch(done, total)
    return total


def compute_mei_responses(
    network: Network,
    scan: Scan,
    kind: ResponseKind,
    block: str,
    versions: Mapping[Tensor, Mapping[Any, Version]],
    variant: str = "",
    watch: Watch | None = None,
    batch: int | None = None,
) -> int:
    """Computes and commits what is missing of a kind on a scan's MEIs of `in` and `block`: of how many channels.

    What is stored is the mean over the 9 MEIs, of in, block and out each rectified. `versions` as for FZs. `batch`
    channels are committed together, and an image that is an MEI of several of them, and of both tensors where these
    share their versions, is read once; None commits all at once where the scan has no more images than `BATCH` channels
    could have MEIs. A channel that fewer than 9 images excite gets NaN. Raises ImageError when an image was moved or
    changed, StoreError when the store cannot be written.
    """
    missing = missing_mei_responses(scan, kind, block, variant)
    if not missing:
        return 0
    batch = batch or (BATCH if len(scan.images) > MEIS * BATCH else len(missing))
    reader = BlockReader(network, block)
    extremes = {on: scan.extremes(block, on) for on in VERDICT_TENSORS}
    alike = versions["in"] is versions["block"]
    done = 0
    for together in batches(missing, batch):
        # (9, n) rows of the scan; NONE throughout where fewer than 9 images excite the channel.
        tops = {on: np.where((e.top_values > 0).all(axis=0), e.top, NONE)[:, together] for on, e in extremes.items()}
        for tensors in [VERDICT_TENSORS] if alike else [(on,) for on in VERDICT_TENSORS]:
            shown = versions[tensors[0]]
            rows = np.setdiff1d(np.concatenate([tops[on] for on in tensors]), [NONE])
            answers = np.full((len(rows) + 1, 3, len(together), len(shown)), np.nan, dtype=np.float32)
            for first in range(0, len(rows), CHUNK):
                images = np.stack([scan.image(int(row)) for row in rows[first : first + CHUNK]])
                found = responses(reader, images, list(shown.values()))
                answers[first : first + len(images)] = found[:, :, together]
            for on in tensors:
                places = np.where(tops[on] == NONE, len(rows), np.searchsorted(rows, tops[on]))
                seen = answers[places, :, np.arange(len(together))]
                read = np.concatenate([relu(seen[:, :, :2]), seen[:, :, 2:], relu(seen[:, :, 2:])], axis=2)
                place = scan.responses_place(kind, block, on, variant)
                said = {**provenance(network), "images": MEIS}
                folder = response_folder(scan.path, kind, block, on, variant)
                commit_responses(folder, place, said, together, list(shown), read.mean(axis=0))
        done += len(together)
        if watch is not None:
            watch(done, len(missing))
    return len(missing)


def own_responses(
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
    return np.stack(reader.read_each(images, versions), axis=-1)


def batches(channels: Sequence[int], batch: int) -> Iterator[list[int]]:
    for first in range(0, len(channels), batch):
        yield list(channels[first : first + batch])


def provenance(network: Network) -> dict[str, Any]:
    """What a batch says besides what it is of."""
    return {"engine": __version__, "device": str(network.device)}
