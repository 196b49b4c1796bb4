"""What a block's channels say to their best patches, smaller and larger: committed batches of channels. No torch.

    photographs/2.1/0000-0031-1a2b3c4d/batch.json, readings.safetensors, SHA256SUMS

in the folder of a scan. A batch holds the patches that were read, the channels' own curves on them, and of all other
channels of the block only what pairs need: bytes grow with the square of the block's channels, 81 MB for 2,048, and not
with the images.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from streamscope.core.errors import DamageError, StoreError
from streamscope.core.measures.extremes import MEIS, NONE
from streamscope.core.measures.photographs import LARGER, SCALES, PatchReadings, photo_measures
from streamscope.core.model.arrays import Float64Array
from streamscope.core.model.blocks import READ, TENSORS, VERDICT_TENSORS, ModelInfo, Target
from streamscope.core.schema import MalformedError, parse_object
from streamscope.core.store.files.atomic import write_folder
from streamscope.core.store.files.checksums import RECORD_LIMIT, read_checked, read_sums
from streamscope.core.store.files.disk_errors import read_error
from streamscope.core.store.files.documents import encode
from streamscope.core.store.layout import PHOTOGRAPHS, batch_name
from streamscope.core.store.records import PHOTOGRAPHS_OWN, RECORD, Place
from streamscope.core.store.scans.scan import Scan

READINGS = "readings.safetensors"


@dataclass(frozen=True, eq=False)
class ReadPatches:
    """Which patches of n channels were read, of in, block and out."""

    rows: NDArray[np.int64]
    """(n, 3, 9): rows of the scan, the best first; -1 where fewer images excite the channel."""
    centres: Float64Array
    """(n, 3, 9, 2): row and column, in px of the prepared image, that were brought to the centre; NaN likewise."""


@dataclass(frozen=True, eq=False)
class Photographs:
    """What is stored of a block's channels, ascending."""

    patches: ReadPatches
    readings: PatchReadings

    def row_of(self, channel: int) -> int | None:
        """Where a channel is in the arrays; None if it is not stored."""
        found = np.flatnonzero(self.readings.channels == channel)
        return int(found[0]) if len(found) else None


def patches_to_read(scan: Scan, block: str, channels: Sequence[int]) -> ReadPatches | None:
    """The best patches that excite these channels of a block; None where the scan kept none. Raises StoreError."""
    rows, centres = [], []
    for tensor in TENSORS:
        best = scan.patches(block, tensor)
        if best is None:
            return None
        # What does not excite a channel is none of its patches.
        exciting = best.values[:, channels] > 0
        pixels = best.pixels(scan.info.field_of(Target(block, tensor)).centre)[:, channels]
        rows.append(np.where(exciting, best.rows[:, channels], NONE).T)
        centres.append(np.where(exciting[:, :, None], pixels, np.nan).swapaxes(0, 1))
    return ReadPatches(np.stack(rows, axis=1), np.stack(centres, axis=1))


def photographs_place(scan: Scan, block: str) -> Place:
    """What the records of a block must say."""
    header = {
        "kind": PHOTOGRAPHS,
        "model": scan.info.name,
        **scan.info.identity_fields,
        "block": block,
        "scan": scan.path.name,
    }
    return Place(header, PHOTOGRAPHS_OWN, scan.info.block(block).channels)


def commit_photographs(
    scan: Scan, block: str, provenance: Mapping[str, Any], patches: ReadPatches, readings: PatchReadings
) -> bool:
    """Stores what channels of a block say to their patches; all of them or none.

    False when an intact batch of these channels and patches is there already: it stays. Raises StoreError,
    DiskFullError.
    """
    place = photographs_place(scan, block)
    channels = [int(channel) for channel in readings.channels]
    arrays = {name: value for part in (patches, readings) for name, value in vars(part).items() if name != "channels"}
    expected = _arrays(len(channels), place.channels)
    for name, (shape, kind) in expected.items():
        if arrays[name].shape != shape or arrays[name].dtype != kind:
            raise ValueError(f"{name} of {len(channels)} channels is not {arrays[name].shape} {arrays[name].dtype}")
    record = {
        **place.header,
        **provenance,
        "created": time.time(),
        "channels": channels,
        "scales": list(SCALES),
    }
    content = safetensors.numpy.save({name: np.ascontiguousarray(arrays[name]) for name in expected})
    folder = scan.folder.photographs / block / batch_name(channels)

    def check(path: Path) -> None:
        found, _ = read_photographs(path, place)
        if not same_patches(found, patches):
            raise DamageError(f"{path} is of other patches")

    return write_folder(folder, {RECORD: encode(record), READINGS: content}, check)


def stored_photographs(scan: Scan, block: str) -> Photographs | None:
    """All that is stored of a block; None when nothing is. What is damaged goes to the scan's problems. Raises
    UsageError for an unknown block."""
    batches = list(_batches(scan, block))
    if not batches:
        return None
    channels = np.concatenate([readings.channels for _, readings in batches])
    order = np.argsort(channels)
    # Batches of other sizes may share channels.
    order = order[np.diff(channels[order], prepend=-1) > 0]

    def joined(number: int, kind: type) -> list[Any]:
        return [np.concatenate([getattr(b[number], f.name) for b in batches])[order] for f in fields(kind)]

    return Photographs(ReadPatches(*joined(0, ReadPatches)), PatchReadings(*joined(1, PatchReadings)))


def photograph_columns(scan: Scan, block: str) -> Mapping[str, Float64Array]:
    """The table's columns of a block, (C,) each, NaN where nothing is stored; {} where nothing is of any channel.

    Computed once, and again when batches came or went. What is damaged goes to the scan's problems.
    """
    names = tuple(_names(scan, block))
    known = scan.photograph_columns.get(block)
    if known is not None and known[0] == names:
        return known[1]
    stored = stored_photographs(scan, block) if names else None
    columns = {}
    if stored is not None:
        for name, values in photo_measures(stored.readings).items():
            columns[name] = np.full(scan.info.block(block).channels, np.nan)
            columns[name][stored.readings.channels] = values
    scan.photograph_columns[block] = names, columns
    return columns


def missing_photographs(scan: Scan, block: str) -> list[int]:
    """Channels of which nothing is stored, or what other patches said. Raises StoreError."""
    everyone = np.arange(scan.info.block(block).channels)
    wanted, stored = patches_to_read(scan, block, everyone.tolist()), stored_photographs(scan, block)
    if wanted is None or stored is None:
        return everyone.tolist()
    channels = stored.readings.channels
    same = [same_patches(_row(stored.patches, row), _row(wanted, channel)) for row, channel in enumerate(channels)]
    missing: list[int] = np.setdiff1d(everyone, channels[np.array(same)]).tolist()
    return missing


def same_patches(one: ReadPatches, other: ReadPatches) -> bool:
    return np.array_equal(one.rows, other.rows) and np.array_equal(one.centres, other.centres, equal_nan=True)


def read_photographs(path: Path, place: Place) -> tuple[ReadPatches, PatchReadings]:
    """Raises OSError, or StoreError when the batch at `path` is damaged or is not what belongs at `place`."""
    sums = read_sums(path)
    record = place.read(path, read_checked(path, RECORD, sums, RECORD_LIMIT))
    content = read_checked(path, READINGS, sums)
    try:
        channels = tuple(record["channels"])
        if record["scales"] != list(SCALES):
            raise MalformedError("other scales")
        arrays = safetensors.numpy.load(content)
        for name, (shape, kind) in _arrays(len(channels), place.channels).items():
            if arrays[name].shape != shape or arrays[name].dtype != kind:
                raise MalformedError(f"{name} has the shape {arrays[name].shape}")
    except (ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        raise DamageError(f"{path} is damaged ({error})") from error
    place.check_channels(path, channels)
    patches = ReadPatches(arrays["rows"], arrays["centres"])
    own = {field.name: arrays[field.name] for field in fields(PatchReadings) if field.name != "channels"}
    return patches, PatchReadings(np.array(channels, dtype=np.int64), **own)


def some_photographs(path: Path, place: Place, channels: Collection[int]) -> tuple[list[int], dict[str, bytes]]:
    """Which of `channels` a batch has, and the files of a batch of these alone.

    Raises as `read_photographs` does.
    """
    patches, readings = read_photographs(path, place)
    rows = [row for row, channel in enumerate(readings.channels.tolist()) if channel in channels]
    kept: list[int] = readings.channels[rows].tolist()
    if not kept:
        return [], {}
    record = parse_object(read_checked(path, RECORD, read_sums(path), RECORD_LIMIT))
    record["channels"] = kept
    arrays = {**vars(patches), **vars(readings)}
    del arrays["channels"]
    content = safetensors.numpy.save({name: np.ascontiguousarray(array[rows]) for name, array in arrays.items()})
    return kept, {RECORD: encode(record), READINGS: content}


def _arrays(count: int, channels: int) -> dict[str, tuple[tuple[int, ...], type]]:
    """Shape and kind of every array of `count` channels of a block of `channels`."""
    on, read, pairs = len(TENSORS), len(READ), (count, len(VERDICT_TENSORS), channels)
    return {
        "rows": ((count, on, MEIS), np.int64),
        "centres": ((count, on, MEIS, 2), np.float64),
        "curves": ((count, on, MEIS, len(SCALES), read), np.float32),
        "blurred": ((count, on, MEIS, len(LARGER), read), np.float32),
        "mean": ((count, read), np.float32),
        "deviation": ((count, read), np.float32),
        "pair_contrast": (pairs, np.float32),
        "pair_reading": (pairs, np.float32),
    }


def block_bytes(info: ModelInfo, block: str) -> int:
    """Bytes that all of a block take, but for what describes its batches."""
    channels = info.block(block).channels
    return sum(int(np.prod(shape)) * np.dtype(kind).itemsize for shape, kind in _arrays(channels, channels).values())


def _row(patches: ReadPatches, row: int) -> ReadPatches:
    return ReadPatches(patches.rows[row], patches.centres[row])


def _batches(scan: Scan, block: str) -> Iterator[tuple[ReadPatches, PatchReadings]]:
    """Every intact batch of a block, in order of name; a line on each other goes to the scan's problems."""
    place, problems = photographs_place(scan, block), scan.problems
    for name in _names(scan, block):
        path = scan.folder.photographs / block / name
        try:
            yield read_photographs(path, place)
            problems.clear(path)
        except StoreError as error:
            problems.report(path, error)
        except OSError as error:
            problems.report(path, read_error(path, error))


def _names(scan: Scan, block: str) -> list[str]:
    folder = scan.folder.photographs / block
    try:
        names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
        scan.problems.clear(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        scan.problems.report(folder, read_error(folder, error))
        return []
    return names
