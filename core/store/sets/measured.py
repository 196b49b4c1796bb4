"""What was measured on the FZs of one tensor, put together from its batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamscope.core.model.arrays import Float32Array
from streamscope.core.store.sets.batches import MeasuredBatch, StoredFZs, read_activations

KEPT_BYTES = 256 * 2**20
"""Activations kept in memory between calls of `FZSet.measured`: all of a ResNet18 (42 MB), a part of a wide ResNet."""

Rows = dict[int, tuple[Float32Array, Float32Array | None]]
"""Plain and scaled activations (3, C) by channel."""


@dataclass(frozen=True)
class Measured:
    """Centre activations on the FZs of one tensor: plain and scaled (n, 3, C), axis 1 = READ, axis 2 = channel read."""

    channels: NDArray[np.int64]
    plain: Float32Array
    scaled: Float32Array | None


@dataclass(frozen=True)
class Own:
    """As `Measured`, but each FZ's own channel only: plain and scaled (n, 3), axis 1 = READ.

    `further` has what of `batches.FURTHER` is there, NaN where a channel has none: blurred, and scaled the other way.
    """

    channels: NDArray[np.int64]
    plain: Float32Array
    scaled: Float32Array | None
    further: Mapping[str, Float32Array]


class KeptActivations:
    """Reads the large files of batches, and keeps what was read while it is not too much."""

    def __init__(self) -> None:
        self._kept: dict[Path, tuple[float, Float32Array, Float32Array | None]] = {}

    def read(self, batch: MeasuredBatch) -> tuple[Float32Array, Float32Array | None]:
        """Plain and scaled (n, 3, C). Raises OSError, StoreError."""
        known = self._kept.get(batch.path)
        if known is not None and known[0] == batch.created:
            return known[1:]
        plain, scaled = read_activations(batch)
        size = sum(array.nbytes for _, *arrays in list(self._kept.values()) for array in arrays if array is not None)
        if size + 2 * plain.nbytes > KEPT_BYTES:
            self._kept.clear()
        self._kept[batch.path] = (batch.created, plain, scaled)
        return plain, scaled


def merge_rows(rows: Rows) -> Measured | None:
    """In order of channel; scaled activations only where every channel has them."""
    if not rows:
        return None
    channels = sorted(rows)
    parts = [part for c in channels if (part := rows[c][1]) is not None]
    return Measured(
        np.asarray(channels, dtype=np.int64),
        np.stack([rows[c][0] for c in channels]),
        np.stack(parts) if len(parts) == len(channels) else None,
    )


def commit_order(batch: StoredFZs | MeasuredBatch) -> tuple[float, str]:
    """A later batch never changes what an earlier one said of a channel."""
    return batch.created, batch.path.name


def merge_own(batches: Sequence[MeasuredBatch]) -> Own | None:
    """By channel; of two batches that measured one channel the first counts."""
    if not batches:
        return None
    batches = sorted(batches, key=commit_order)
    channels, first = np.unique(np.concatenate([batch.channels for batch in batches]), return_index=True)
    plain = np.concatenate([batch.own for batch in batches])[first]
    scaled = [batch.own_scaled for batch in batches if batch.own_scaled is not None]
    every = np.concatenate(scaled)[first] if len(scaled) == len(batches) else None
    further = {}
    for name in set().union(*(batch.own_further for batch in batches)):
        parts = [batch.own_further.get(name, np.full_like(batch.own, np.nan)) for batch in batches]
        further[name] = np.concatenate(parts)[first]
    return Own(channels, plain, every, further)
