"""Reads what a block's channels say to their best patches of photographs while those are shown smaller and larger.

A patch comes to the centre of the block's receptive field and is scaled about it; only what the cone reads of it is
made. All channels are read of every patch, and kept of the others is what pairs need.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from streamscope.core.engine.fourier import from_8_bit
from streamscope.core.engine.network import Network
from streamscope.core.errors import StoreError
from streamscope.core.images.lanczos import brought, brought_blurred
from streamscope.core.measures.extremes import NONE
from streamscope.core.measures.photographs import LARGER, SCALES, UNSCALED, PatchReadings, contrast
from streamscope.core.model.arrays import Float32Array, Float64Array
from streamscope.core.model.blocks import READ, VERDICT_TENSORS, Target
from streamscope.core.reading.activations import CHUNK, BlockReader
from streamscope.core.reading.alone import alone
from streamscope.core.reading.responses import batches, provenance
from streamscope.core.store import Scan, Store
from streamscope.core.store.scans.photographs import (
    ReadPatches,
    commit_photographs,
    missing_photographs,
    patches_to_read,
)
from streamscope.core.watch import PhaseWatch

BATCH = 16
"""Channels committed together: what a killed run may lose, a minute or two on a CPU."""
COLUMNS = 64
"""Channels whose activations over all images are read at a time."""
BLURRED = len(SCALES)
"""The first of the versions that are blurred: one for each of `LARGER`, after those of `SCALES`."""


def compute_photographs(
    network: Network,
    store: Store,
    scan: Scan,
    block: str,
    watch: PhaseWatch = lambda done, total, what: None,
    batch: int = BATCH,
) -> int:
    """Reads and commits what is missing of a block, and returns of how many channels; `batch` are committed together.

    Interrupted at any moment and called again it goes on. Raises StoreError when the scan kept no patches, somebody
    else is at the same block or the store cannot be written; ImageError when an image was moved or changed.
    """
    key = f"photographs {network.info.identity} {scan.path.name} {block}"
    with alone(store.root, "photographs", key, f"the photographs of {block}", watch) as (go_on, confirm):
        return _compute(network, scan, block, go_on, confirm, batch)


def _compute(
    network: Network, scan: Scan, block: str, watch: PhaseWatch, confirm: Callable[[], None], batch: int
) -> int:
    """`confirm` is called before each commit, and raises StoreError when the block is no longer ours."""
    # What is asked for again here may have been done while the lease was waited for.
    missing = missing_photographs(scan, block)
    if not missing:
        return 0
    reader = PatchReader(network, scan, block)
    parts = []
    for channels in batches(missing, batch):
        patches = patches_to_read(scan, block, channels)
        if patches is None:
            raise StoreError(f"the scan of {scan.source} kept no patches; scan it again")
        parts.append((channels, patches, DistinctPatches(patches)))
    total, done = sum(len(distinct) for *_, distinct in parts), 0
    for channels, patches, distinct in parts:

        def go_on(read: int, done: int = done) -> None:
            watch(done + read, total, f"patches of {block}")

        readings = reader.read(channels, distinct, go_on)
        go_on(len(distinct))
        confirm()
        commit_photographs(scan, block, provenance(network), patches, readings)
        done += len(distinct)
    return len(missing)


class DistinctPatches:
    """The different patches among those of several channels and tensors, by image: many have one in common."""

    def __init__(self, patches: ReadPatches) -> None:
        there = patches.rows != NONE
        every = np.column_stack([patches.rows[there], patches.centres[there]])
        found, inverse = np.unique(every, axis=0, return_inverse=True)
        self.rows, self.centres = found[:, 0].astype(np.int64), found[:, 1:]
        self.of = np.full(patches.rows.shape, NONE)
        """(n, 3, 9): which of them each is, -1 for none."""
        self.of[there] = inverse.ravel()

    def __len__(self) -> int:
        return len(self.rows)


class PatchReader:
    """Reads the tensors of one block, of every channel, from patches of a scan's images brought to its centre."""

    def __init__(self, network: Network, scan: Scan, block: str) -> None:
        self._scan, self._block = scan, block
        self._reader = BlockReader(network, block)
        self._about = network.info.field_of(Target(block, "block")).centre
        self._side = network.info.input_size
        # One of each row or column of the map, in each version: below 100 MB at 224 px.
        self._matrices: dict[tuple[float, int], torch.Tensor] = {}
        self._mean, self._deviation = _deviations(scan, block)

    def read(self, channels: Sequence[int], distinct: DistinctPatches, watch: Callable[[int], None]) -> PatchReadings:
        """What these channels say to their patches; `watch` is called with how many different patches were read."""
        count, everyone = len(channels), len(self._mean)
        which, on, place = np.nonzero(distinct.of != NONE)
        patch, own_channel = distinct.of[which, on, place], np.asarray(channels)[which]
        own = np.full((*distinct.of.shape, BLURRED + len(LARGER), len(READ)), np.nan, dtype=np.float32)
        contrasts, at_one = np.empty((2, len(distinct), len(VERDICT_TENSORS), everyone))
        for first in range(0, len(distinct), CHUNK):
            watch(first)
            chunk = slice(first, first + CHUNK)
            answers = self._answers(distinct.rows[chunk], distinct.centres[chunk])
            both = answers[:BLURRED, :, : len(VERDICT_TENSORS)]
            contrasts[chunk], at_one[chunk] = contrast(np.moveaxis(both, 0, -1)), both[UNSCALED]
            used = (patch >= first) & (patch < first + CHUNK)
            own[which[used], on[used], place[used]] = answers[:, patch[used] - first, :, own_channel[used]]
        pairs = np.full((2, count, len(VERDICT_TENSORS), everyone), np.nan, dtype=np.float32)
        for axis in range(len(VERDICT_TENSORS)):
            other = 1 - axis
            mean, deviation = self._mean[:, other], self._deviation[:, other]
            for row, of in enumerate(distinct.of[:, axis]):
                patches = of[of != NONE]
                if len(patches):
                    pairs[0, row, axis] = contrasts[patches, other].mean(axis=0) / deviation
                    pairs[1, row, axis] = (at_one[patches, other].mean(axis=0) - mean) / deviation
        return PatchReadings(
            channels=np.array(channels, dtype=np.int64),
            curves=own[:, :, :, :BLURRED],
            blurred=own[:, :, :, BLURRED:],
            mean=self._mean[channels].astype(np.float32),
            deviation=self._deviation[channels].astype(np.float32),
            pair_contrast=pairs[0],
            pair_reading=pairs[1],
        )

    def _answers(self, rows: NDArray[np.int64], centres: Float64Array) -> Float32Array:
        """(19, n, 3, C): in, block and pre of every channel, for the versions of n patches."""
        images = {row: self._scan.image(row) for row in np.unique(rows).tolist()}
        pixels = from_8_bit(np.stack([images[row] for row in rows.tolist()])).to(self._reader.device)
        found = []
        for version in range(BLURRED + len(LARGER)):
            down, right = (torch.stack([self._matrix(at, version) for at in axis]) for axis in centres.T.tolist())
            found.append(self._reader.read_crops(down[:, None] @ pixels @ right[:, None].mT))
        return np.stack(found)

    def _matrix(self, at: float, version: int) -> torch.Tensor:
        """(P, side): brings what lies at `at` on an axis to the centre, in one of the versions."""
        if (at, version) not in self._matrices:
            scaled = version < BLURRED
            factor = SCALES[version] if scaled else LARGER[version - BLURRED]
            make = brought if scaled else brought_blurred
            matrix = make(self._side, at, self._about, factor, *self._reader.crop)
            self._matrices[at, version] = torch.from_numpy(matrix).to(self._reader.device, torch.float32)
        return self._matrices[at, version]


def _deviations(scan: Scan, block: str) -> tuple[Float64Array, Float64Array]:
    """Mean and standard deviation (C, 3) of every channel's centre activations of in, block and pre over all images; a
    deviation of 0 is NaN."""
    channels = scan.info.block(block).channels
    mean, deviation = np.empty((2, channels, len(READ)))
    for axis, tensor in enumerate(READ):
        activations = scan.activations(block, tensor)
        for first in range(0, channels, COLUMNS):
            some = slice(first, first + COLUMNS)
            values = activations[:, some].astype(np.float64)
            mean[some, axis], deviation[some, axis] = values.mean(axis=0), values.std(axis=0)
    return mean, np.where(deviation > 0, deviation, np.nan)
