"""What is inside a batch folder: FZs as PNG with their traces, or the activations measured on them."""

from __future__ import annotations

import io
import json
import re
import sys
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from streamscope.core.errors import DamageError
from streamscope.core.measures.criteria import late_rise
from streamscope.core.model.arrays import Float32Array, Pixels
from streamscope.core.model.blocks import READ
from streamscope.core.model.fz import FLAGS, SAMPLES, FZBatch
from streamscope.core.store.files.checksums import read_checked, read_sums
from streamscope.core.store.files.documents import encode, from_number, number

RECORD = "batch.json"
TRACE = "trace.npy"
ACTIVATIONS = "activations.safetensors"
PNG = {"compress_level": 1, "compress_type": zlib.Z_RLE}
"""FZs are close to noise, where looking for repetitions finds none: 4 ms instead of 11 at level 4, and 1 % smaller."""


class FZRecord(NamedTuple):
    """One FZ. `activation` is that of the stored 8-bit image; `flag` says what was wrong with its optimisation.

    A tuple, since a store has a hundred thousand of them and a frozen dataclass takes three times as long to make.
    """

    channel: int
    folder: Path
    activation: float
    flag: str
    late_rise: float
    seed: int
    device: str
    dtype: str
    engine: str

    @property
    def path(self) -> Path:
        # Not kept: joining paths took most of the time of reading a batch.
        return self.folder / image_name(self.channel)


@dataclass(frozen=True)
class StoredFZs:
    """A committed batch of FZs, without images and traces."""

    path: Path
    created: float
    records: tuple[FZRecord, ...]


@dataclass(frozen=True)
class MeasuredBatch:
    """A committed batch of measures; `own` and `own_scaled` (n, 3) are each channel's own activation only."""

    path: Path
    created: float
    channels: NDArray[np.int64]
    own: Float32Array
    own_scaled: Float32Array | None


def image_name(channel: int) -> str:
    return f"{channel:04d}.png"


_IMAGE_NAME = re.compile(r"(\d{4,})\.png")


def encode_fzs(header: Mapping[str, Any], batch: FZBatch, provenance: Mapping[str, Any]) -> dict[str, bytes]:
    """Files of an FZ batch. Raises ValueError where its parts do not fit each other."""
    channels, images, flags = batch.channels, batch.images, batch.flags
    count = len(channels)
    activations = np.asarray(batch.activation, dtype=np.float32)
    traces = np.asarray(batch.trace, dtype=np.float32)
    _expect("images", images.shape, (count, *images.shape[1:3], 3))
    _expect("activation", activations.shape, (count,))
    _expect("trace", traces.shape, (count, SAMPLES))
    if images.dtype != np.uint8:
        raise ValueError(f"images must be uint8, not {images.dtype}")
    if len(flags) != count or set(flags) - set(FLAGS):
        raise ValueError(f"flags must be {count} of {FLAGS}, not {list(flags)}")
    rises = late_rise(traces)
    fzs = [
        {
            "channel": int(channel),
            "file": image_name(channel),
            "activation": number(activations[row]),
            "flag": flags[row],
            "late_rise": number(rises[row]),
            "trace_row": row,
        }
        for row, channel in enumerate(channels)
    ]
    files = {image_name(channel): _png(images[row]) for row, channel in enumerate(channels)}
    files[TRACE] = _npy(traces)
    files[RECORD] = encode({**header, "created": time.time(), "provenance": dict(provenance), "fzs": fzs})
    return files


def read_fzs(folder: Path, seed: int) -> StoredFZs:
    """Raises OSError, or StoreError when the batch is damaged. `seed` is the one meant where provenance names none."""
    data = _read_record(folder)
    with _damage_of(folder):
        provenance = data["provenance"]
        used = int(provenance.get("seed", seed))
        # One copy of each for all FZs: a store has a hundred thousand of them.
        device, dtype, engine = (sys.intern(str(provenance.get(name, ""))) for name in ("device", "dtype", "engine"))
        same = (used, device, dtype, engine)
        # In the order of the fields: calls by name take twice as long, and a store has a hundred thousand.
        records = tuple(
            FZRecord(
                int(fz["channel"]),
                folder,
                from_number(fz["activation"]),
                sys.intern(str(fz["flag"])),
                from_number(fz["late_rise"]),
                *same,
            )
            for fz in data["fzs"]
        )
        return StoredFZs(folder, float(data["created"]), records)


def read_channels(folder: Path) -> tuple[int, ...]:
    """Whose FZs a batch has, from the names of its files: its record is checked but not parsed.

    Raises OSError, or StoreError when the batch is damaged.
    """
    sums = read_sums(folder)
    read_checked(folder, RECORD, sums)
    return tuple(int(found[1]) for name in sums if (found := _IMAGE_NAME.fullmatch(name)))


def read_image(folder: Path, channel: int) -> Pixels:
    """(H, W, 3). Raises OSError, StoreError."""
    name = image_name(channel)
    content = read_checked(folder, name, read_sums(folder))
    with _damage_of(folder / name), Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))


def read_trace(folder: Path, channel: int) -> Float32Array:
    """(32,). Raises OSError, StoreError."""
    row = [record.channel for record in read_fzs(folder, 0).records].index(channel)
    content = read_checked(folder, TRACE, read_sums(folder))
    with _damage_of(folder / TRACE):
        return np.asarray(np.load(io.BytesIO(content), allow_pickle=False)[row], dtype=np.float32)


def encode_measures(
    header: Mapping[str, Any], channels: Sequence[int], plain: ArrayLike, scaled: ArrayLike | None, width: int
) -> dict[str, bytes]:
    """Files of a batch of measures: plain and scaled (n, 3, width). Raises ValueError on other shapes."""
    arrays = {"plain": np.ascontiguousarray(plain, dtype=np.float32)}
    if scaled is not None:
        arrays["scaled"] = np.ascontiguousarray(scaled, dtype=np.float32)
    for name, array in arrays.items():
        _expect(name, array.shape, (len(channels), len(READ), width))
    own = [
        {
            "channel": int(channel),
            **{name: [number(x) for x in array[row, :, channel]] for name, array in arrays.items()},
        }
        for row, channel in enumerate(channels)
    ]
    content = safetensors.numpy.save({"channels": np.asarray(channels, dtype=np.int64), **arrays})
    # Each channel's own activations are all that the table shows: here too, so that it need not read the large file.
    return {
        ACTIVATIONS: content,
        RECORD: encode({**header, "created": time.time(), "read": READ, "own": own}),
    }


def read_measures(folder: Path) -> MeasuredBatch:
    """Raises OSError, or StoreError when the batch is damaged."""
    data = _read_record(folder)
    with _damage_of(folder):
        own = data["own"]
        # None and "inf", which `number` makes of what JSON cannot hold, are read as NaN and infinity.
        scaled = [row["scaled"] for row in own if "scaled" in row]
        return MeasuredBatch(
            folder,
            float(data["created"]),
            np.asarray([row["channel"] for row in own], dtype=np.int64),
            np.asarray([row["plain"] for row in own], dtype=np.float32).reshape(len(own), len(READ)),
            np.asarray(scaled, dtype=np.float32).reshape(len(own), len(READ)) if scaled else None,
        )


def read_activations(batch: MeasuredBatch) -> tuple[Float32Array, Float32Array | None]:
    """Plain and scaled (n, 3, C). Raises OSError, StoreError."""
    content = read_checked(batch.path, ACTIVATIONS, read_sums(batch.path))
    with _damage_of(batch.path / ACTIVATIONS):
        arrays = safetensors.numpy.load(content)
        return arrays["plain"], arrays.get("scaled")


@contextmanager
def _damage_of(path: Path) -> Iterator[None]:
    """Turns what malformed content makes decoders raise into one clear line about `path`."""
    try:
        yield
    except Exception as error:
        # Checksums were right: something else wrote such a file, and decoders raise as they please.
        kind = type(error).__name__
        raise DamageError(f"{path} is damaged ({kind}: {error})") from error


def _read_record(folder: Path) -> dict[str, Any]:
    content = read_checked(folder, RECORD, read_sums(folder))
    try:
        found: dict[str, Any] = json.loads(content.decode())
        return found
    except ValueError as error:
        raise DamageError(f"{folder / RECORD} is damaged ({error})") from error


def _expect(name: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if shape != wanted:
        raise ValueError(f"{name} must have shape {wanted}, not {shape}")


def _png(image: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", **PNG)
    return buffer.getvalue()


def _npy(array: Float32Array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()
