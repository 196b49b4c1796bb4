"""What is inside a batch folder: FZs as PNG with their traces, or the activations measured on them."""

from __future__ import annotations

import io
import re
import sys
import time
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import repeat
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from streamscope.core.errors import DamageError, NewerError, StoreError
from streamscope.core.measures.criteria import late_rise
from streamscope.core.model.arrays import Float32Array, Pixels
from streamscope.core.model.blocks import READ
from streamscope.core.model.fz import FLAGS, SAMPLES, FZBatch
from streamscope.core.schema import MalformedError, parse_object, whole_number
from streamscope.core.store.files.checksums import RECORD_LIMIT, read_checked, read_sums
from streamscope.core.store.files.documents import encode, from_number, number
from streamscope.core.store.layout import batch_name
from streamscope.core.store.records import LATEST, RECORD, Place

TRACE = "trace.npy"
ACTIVATIONS = "activations.safetensors"
FZ_OWN = frozenset({"created", "provenance", "fzs"})
"""What the record of an FZ batch says besides where it belongs; what says more of FZs is a later version's."""
MEASURES_OWN = frozenset({"created", "read", "own"})
FZ_FIELDS = frozenset({"channel", "activation", "flag", "late_rise", "file", "trace_row"})
"""What a record says of each FZ."""
PLAIN, SCALED, BLURRED, REVERSED = "plain", "scaled", "blurred", "reversed"
"""Arrays of a batch of measures: the FZs as they are, scaled for the scale criteria, blurred as scaling there and back
blurs, and scaled the other way. Of FZ(O) there is the first alone; the last two are of the centred protocol."""
FURTHER = (BLURRED, REVERSED)
OWN_FIELDS = frozenset({"channel", PLAIN, SCALED, *FURTHER})
"""What a record says of each channel measured."""
_fz_fields = itemgetter("channel", "activation", "flag", "late_rise", "file", "trace_row")
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


_new_record: Callable[[Iterable[Any]], FZRecord] = partial(tuple.__new__, FZRecord)


@dataclass(frozen=True)
class StoredFZs:
    """A committed batch of FZs, without images and traces."""

    path: Path
    created: float
    records: tuple[FZRecord, ...]


@dataclass(frozen=True)
class MeasuredBatch:
    """A committed batch of measures; `own`, `own_scaled` and what `own_further` has by name, of `FURTHER`, are (n, 3):
    each channel's own activation only."""

    path: Path
    created: float
    channels: NDArray[np.int64]
    own: Float32Array
    own_scaled: Float32Array | None
    width: int
    """Channels that each FZ was measured at: those of the block."""
    own_further: Mapping[str, Float32Array] = field(default_factory=dict)


class LeftOutError(StoreError):
    """A batch in a bundle is without what takes most room in it, and whole otherwise."""


def image_name(channel: int) -> str:
    return f"{channel:04d}.png"


_IMAGE_NAME = re.compile(r"(\d{4,9})\.png")


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


def read_fzs(folder: Path, place: Place, seed: int) -> StoredFZs:
    """`seed` is the one meant where provenance names none.

    Raises OSError, MisplacedError where the batch is not what belongs at `place`, or another StoreError when it is
    damaged.
    """
    sums, data = _read_record(folder, place)
    with _damage_of(folder):
        provenance = data["provenance"]
        used = whole_number(provenance.get("seed", seed), 0, 2**62)
        # One copy of each for all FZs: a store has a hundred thousand of them.
        device, dtype, engine = (sys.intern(str(provenance.get(name, ""))) for name in ("device", "dtype", "engine"))
        fzs = data["fzs"]
        _check_rows(folder, fzs, len(FZ_FIELDS), FZ_FIELDS)
        channels, activations, flags, rises, *_ = zip(*map(_fz_fields, fzs), strict=True)
        # A call of the class for each FZ would take five times as long.
        columns = (channels, repeat(folder), _numbers(activations), map(sys.intern, flags), _numbers(rises))
        same = map(repeat, (used, device, dtype, engine))
        records = tuple(map(_new_record, zip(*columns, *same, strict=False)))
        created = _created(data)
    files = _named_files(tuple(sums))
    place.check_channels(folder, channels)
    if files.channels != channels or not files.folder:
        # In another order, or not the files that belong to the record.
        _check_images(folder, channels, sums)
    return StoredFZs(folder, created, records)


def some_fzs(folder: Path, place: Place, channels: Collection[int]) -> tuple[list[int], dict[str, bytes]]:
    """Which of `channels` a batch has, and the files of a batch of these alone.

    Raises as `read_fzs` does.
    """
    stored = [record.channel for record in read_fzs(folder, place, 0).records]
    rows = [row for row, channel in enumerate(stored) if channel in channels]
    sums = read_sums(folder)
    kept = [stored[row] for row in rows]
    if not kept:
        return [], {}
    files = {image_name(channel): read_checked(folder, image_name(channel), sums) for channel in kept}
    with _damage_of(folder):
        record = parse_object(read_checked(folder, RECORD, sums, RECORD_LIMIT))
        traces = np.load(io.BytesIO(read_checked(folder, TRACE, sums)), allow_pickle=False)
        record["fzs"] = [{**record["fzs"][row], "trace_row": number} for number, row in enumerate(rows)]
        files[TRACE] = _npy(traces[rows])
    return kept, {**files, RECORD: encode(record)}


def read_channels(folder: Path, place: Place) -> tuple[int, ...]:
    """Whose FZs a batch has, from the names of its files: its record is checked and compared but not parsed.

    Raises as `read_fzs` does.
    """
    sums = read_sums(folder)
    content = read_checked(folder, RECORD, sums, RECORD_LIMIT)
    files = _named_files(tuple(sums))
    listed = content.split(b'"channel": ')[1:]
    if (
        content.startswith(place.prefix)
        and len(listed) == len(files.channels)
        and all(map(bytes.startswith, listed, files.listed))
        and files.folder == folder.name
        and files.channels[-1] < place.channels
    ):
        return files.channels
    # In another order, of a model of another name, by another encoder, or no record of such a batch at all.
    return tuple(record.channel for record in read_fzs(folder, place, 0).records)


class _NamedFiles(NamedTuple):
    """What the names of a batch's files say: its channels in ascending order, the name of the folder for them, and what
    follows each `"channel": ` in a record that lists them so."""

    channels: tuple[int, ...]
    folder: str
    listed: tuple[bytes, ...]


@lru_cache(4096)
def _named_files(names: tuple[str, ...]) -> _NamedFiles:
    """The batches of one range of channels have the same names in every tensor."""
    channels = tuple(sorted(int(found[1]) for name in names if (found := _IMAGE_NAME.fullmatch(name))))
    listed = tuple(f'{channel},\n   "file": "{image_name(channel)}",'.encode() for channel in channels)
    whole = len(names) == len(channels) + len((TRACE, RECORD)) and len(set(channels)) == len(channels) > 0
    return _NamedFiles(channels, batch_name(channels) if whole else "", listed)


def read_image(folder: Path, channel: int) -> Pixels:
    """(H, W, 3). Raises OSError, StoreError."""
    content = read_png(folder, channel)
    with _damage_of(folder / image_name(channel)), Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))


def read_png(folder: Path, channel: int) -> bytes:
    """The file of an FZ as it was stored. Raises OSError, StoreError."""
    return read_checked(folder, image_name(channel), read_sums(folder))


def read_trace(folder: Path, channel: int) -> Float32Array:
    """(32,), of a batch that `read_fzs` read before. Raises OSError, StoreError."""
    sums = read_sums(folder)
    record = read_checked(folder, RECORD, sums, RECORD_LIMIT)
    content = read_checked(folder, TRACE, sums)
    with _damage_of(folder / RECORD):
        data = parse_object(record)
    with _damage_of(folder / TRACE):
        row = [fz["channel"] for fz in data["fzs"]].index(channel)
        traces = np.load(io.BytesIO(content), allow_pickle=False)
        _expect("trace", traces.shape, (len(data["fzs"]), SAMPLES))
        return np.asarray(traces[row], dtype=np.float32)


def encode_measures(
    header: Mapping[str, Any],
    channels: Sequence[int],
    plain: ArrayLike,
    scaled: ArrayLike | None,
    width: int,
    further: Mapping[str, ArrayLike] | None = None,
) -> dict[str, bytes]:
    """Files of a batch of measures: plain, scaled and what else there is of `FURTHER`, (n, 3, width) each.

    Raises ValueError on other shapes.
    """
    given = {PLAIN: plain, **({} if scaled is None else {SCALED: scaled}), **(further or {})}
    arrays = {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in given.items()}
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


def read_measures(folder: Path, place: Place) -> MeasuredBatch:
    """Raises as `read_fzs` does."""
    _, data = _read_record(folder, place)
    with _damage_of(folder):
        own = data["own"]
        names = [name for name in (PLAIN, SCALED, *FURTHER) if name in own[0]]
        _check_rows(folder, own, 1 + len(names), OWN_FIELDS)
        channels = [row["channel"] for row in own]
        arrays = {name: _activations([row[name] for row in own]) for name in names}
        plain = arrays.pop(PLAIN)
        created = _created(data)
        if data["read"] != list(READ):
            raise MalformedError("other tensors are read")
    place.check_channels(folder, channels)
    scaled = arrays.pop(SCALED, None)
    return MeasuredBatch(folder, created, np.asarray(channels, dtype=np.int64), plain, scaled, place.channels, arrays)


def _activations(rows: Sequence[Sequence[Any]]) -> Float32Array:
    """(n, 3), of numbers as `_numbers` reads them."""
    values = np.asarray(rows)
    if values.dtype != np.float64:
        values = np.asarray([[from_number(value) for value in row] for row in rows])
    if values.shape != (len(rows), len(READ)):
        raise MalformedError("other tensors are read")
    return values.astype(np.float32)


def read_activations(batch: MeasuredBatch) -> tuple[Float32Array, Float32Array | None]:
    """Plain and scaled (n, 3, C). Raises OSError, LeftOutError, StoreError."""
    sums = read_sums(batch.path)
    if ACTIVATIONS not in sums:
        raise LeftOutError(f"{batch.path} has each FZ's activations of its own channel alone, as bundles do")
    content = read_checked(batch.path, ACTIVATIONS, sums)
    with _damage_of(batch.path / ACTIVATIONS):
        arrays = safetensors.numpy.load(content)
        if not np.array_equal(arrays["channels"], batch.channels):
            raise MalformedError("it is of other channels than its record")
        for name in arrays.keys() - {"channels"}:
            _expect(name, arrays[name].shape, (len(batch.channels), len(READ), batch.width))
        return arrays["plain"], arrays.get("scaled")


def pair_measures(folder: Path, place: Place) -> dict[str, bytes]:
    """The files of a batch of measures on FZ(I) or FZ(B) with what pairs of channels are made of: what all channels of
    the other tensor say. What they say otherwise is NaN, which a zip has no need of room for.

    Raises as `read_fzs` does.
    """
    batch = read_measures(folder, place)
    sums = read_sums(folder)
    plain, scaled = read_activations(batch)
    kept = {PLAIN: plain, **({} if scaled is None else {SCALED: scaled})}
    other = READ.index("block" if place.header["on"] == "in" else "in")
    arrays = {name: np.full_like(values, np.nan) for name, values in kept.items()}
    for name, values in kept.items():
        arrays[name][:, other] = values[:, other]
    content = safetensors.numpy.save({"channels": batch.channels, **arrays})
    return {RECORD: read_checked(folder, RECORD, sums, RECORD_LIMIT), ACTIVATIONS: content}


@contextmanager
def _damage_of(path: Path) -> Iterator[None]:
    """Turns what malformed content makes decoders raise into one clear line about `path`."""
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        # Checksums were right: something else wrote such a file, and decoders raise as they please.
        kind = type(error).__name__
        raise DamageError(f"{path} is damaged ({kind}: {error})") from error


def _read_record(folder: Path, place: Place) -> tuple[dict[str, str], dict[str, Any]]:
    """The checksums of a batch, and its record, which belongs at `place`."""
    sums = read_sums(folder)
    return sums, place.read(folder, read_checked(folder, RECORD, sums, RECORD_LIMIT))


def _created(data: Mapping[str, Any]) -> float:
    created = data["created"]
    if type(created) not in (int, float) or not 0 <= created < LATEST:
        raise MalformedError("it was created at no time")
    return float(created)


def _check_rows(folder: Path, rows: Sequence[Mapping[str, Any]], fields: int, known: frozenset[str]) -> None:
    """Of what a record says of each channel: whether it is as many `fields`, where as many of `known` were read.

    Raises MalformedError, or NewerError where a row says what this version does not know.
    """
    if set(map(len, rows)) == {fields} and rows[0].keys() <= known:
        return
    for names in set(map(tuple, rows)):
        if unknown := [name for name in names if name not in known]:
            what = f"it says {unknown[0][:40]!r} of a channel"
            raise NewerError(f"{folder / RECORD} was written by a later version ({what})")
    raise MalformedError("not the same is said of every channel")


def _numbers(values: tuple[Any, ...]) -> Iterable[float]:
    """None and "inf", which `number` makes of what JSON cannot hold, are read as NaN and infinity."""
    return values if set(map(type, values)) == {float} else map(from_number, values)


def _check_images(folder: Path, channels: Sequence[int], sums: Mapping[str, str]) -> None:
    """Whether the files of a batch are those of the channels that its record lists."""
    listed = {f"{channel:04d}.png" for channel in channels}
    if listed <= sums.keys() and len(listed) + len((TRACE, RECORD)) == len(sums):
        return
    differing = listed ^ {name for name in sums if _IMAGE_NAME.fullmatch(name)}
    if differing:
        name = min(differing)
        what = "is in no checksum" if name in listed else "is of no channel of the record"
        raise DamageError(f"{folder / name} {what}")


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
