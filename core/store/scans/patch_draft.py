"""The best patches of a scan in the making: of chunks of images, committed one by one, then of all. No torch.

    patch-chunks/0000000-0000255/patches.safetensors, SHA256SUMS

Apart from the chunks of activations, so that a scan that has its result already gets them too. A chunk keeps as much of
256 images as of one, and putting chunks together takes the memory of two.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from streamscope.core.errors import DamageError, StoreError
from streamscope.core.measures.extremes import NONE
from streamscope.core.measures.places import BestPlaces
from streamscope.core.model.blocks import Target, ranked_targets
from streamscope.core.store.files.atomic import remove_folder, write_folder
from streamscope.core.store.files.checksums import folder_damage, read_checked, read_sums
from streamscope.core.store.files.disk_errors import read_error
from streamscope.core.store.layout import ScanFolder
from streamscope.core.store.scans.arrays import array_metadata, read_arrays
from streamscope.core.store.scans.draft import Draft, chunk_name
from streamscope.core.store.scans.patches import PATCHES, BestPatches, encoded_patches, patches_name
from streamscope.core.watch import PhaseWatch

CHUNK_PATCHES = "patches.safetensors"
ENTRY_BYTES = 12
"""Of a patch in a chunk: its image among the chunk's (int32), row and column (int16), value (float32)."""


class PatchDraft:
    """What a draft has of its best patches."""

    def __init__(self, draft: Draft) -> None:
        self._draft, self._folder = draft, ScanFolder(draft.path)
        self._channels = {target: draft.info.target_channels(target) for target in ranked_targets(draft.info)}

    @property
    def chunk_bytes(self) -> int:
        """Bytes that a chunk takes, however many images it is of."""
        return ENTRY_BYTES * PATCHES * sum(self._channels.values())

    def missing(self, unread: Collection[range] = ()) -> list[range]:
        """Chunks that are still to be read. One that is damaged, or whose activations are `unread`, is removed and read
        again. Raises StoreError."""
        if self._draft.has_patches:
            return []
        absent = []
        for chunk in self._draft.chunks():
            folder = self._chunk(chunk)
            if os.path.lexists(folder):
                damage = folder_damage(folder)
                if unreadable := next((found for found in damage if found.unreadable), None):
                    raise StoreError(f"{unreadable.path} {unreadable.what}")
                if not damage and chunk not in unread and self._is_whole(chunk):
                    continue
                remove_folder(folder)
            absent.append(chunk)
        return absent

    def commit_chunk(self, chunk: range, best: Mapping[Target, BestPlaces]) -> None:
        """Stores the best places of a chunk's images, whose rows count from its first image.

        Raises StoreError, DiskFullError.
        """
        arrays: dict[str, NDArray[Any]] = {}
        for target in self._channels:
            found = best[target]
            arrays[f"{target}.images"] = found.rows.astype(np.int32)
            arrays[f"{target}.places"] = found.places.astype(np.int16)
            arrays[f"{target}.values"] = found.values
        metadata = array_metadata(self._draft.path, chunk_name(chunk))
        write_folder(self._chunk(chunk), {CHUNK_PATCHES: safetensors.numpy.save(arrays, metadata)})

    def commit(self, grids: Mapping[Target, tuple[int, int]], watch: PhaseWatch = lambda *_: None) -> None:
        """Puts the chunks together, and commits what comes of it; the scan must have its result.

        `grids` are the sizes and strides of maps, as `BestPatches` has them. Raises StoreError, DiskFullError.
        """
        rows = {image.path: row for row, image in enumerate(self._draft.scan().images)}
        best = {target: BestPlaces(channels, PATCHES) for target, channels in self._channels.items()}
        chunks = self._draft.chunks()
        for done, chunk in enumerate(chunks, start=1):
            paths = [self._draft.images[place].path for place in chunk]
            rows_of_chunk = np.array([*(rows.get(path, NONE) for path in paths), NONE], dtype=np.int64)
            for target, part in self._read(chunk).items():
                best[target].merge(rows_of_chunk[part.rows], part)
            watch(done, len(chunks), "putting patches together")
        files = {}
        for target, found in best.items():
            patches = BestPatches(found.rows, found.places, found.values, *grids[target])
            files[patches_name(target)] = encoded_patches(patches, self._draft.path, target)
        write_folder(self._folder.patches, files)

    def finish(self) -> None:
        """Removes the chunks, once they are put together. Raises StoreError."""
        if os.path.lexists(self._folder.patch_chunks):
            remove_folder(self._folder.patch_chunks)

    def _chunk(self, chunk: range) -> Path:
        return self._folder.patch_chunks / chunk_name(chunk)

    def _is_whole(self, chunk: range) -> bool:
        """Whether an intact chunk is one of this scan. Raises NewerError."""
        try:
            self._read(chunk)
        except DamageError:
            return False
        return True

    def _read(self, chunk: range) -> dict[Target, BestPlaces]:
        folder = self._chunk(chunk)
        path = folder / CHUNK_PATCHES
        try:
            content = read_checked(folder, CHUNK_PATCHES, read_sums(folder))
        except OSError as error:
            raise read_error(path, error) from error
        get, _ = read_arrays(content, path, self._draft.path, chunk_name(chunk))
        found = {}
        for target, channels in self._channels.items():
            shape = (PATCHES, channels)
            images = get(f"{target}.images", shape)
            if (images < NONE).any() or (images >= len(chunk)).any():
                raise DamageError(f"{path} is damaged (it names images that there are not)")
            places, values = get(f"{target}.places", (*shape, 2)), get(f"{target}.values", shape)
            found[target] = BestPlaces.of(images.astype(np.int64), places.astype(np.int64), values)
        return found
