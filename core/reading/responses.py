"""Reads how channels answer to altered versions of their images, and commits it a batch of channels at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from streamscope import __version__
from streamscope.core.engine.network import Network
from streamscope.core.model.blocks import VERDICT_TENSORS, Tensor
from streamscope.core.reading.activations import CHUNK, BlockReader, Version
from streamscope.core.store.layout import ResponseKind, response_folder
from streamscope.core.store.sets.fz_set import FZSet
from streamscope.core.store.sets.responses import commit_responses, missing_responses
from streamscope.core.watch import Watch

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
