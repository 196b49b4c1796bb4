"""One stored set: the FZs of one model by one recipe, seed and capture, and what was measured on them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamscope import __version__
from streamscope.core.errors import DamageError, MisplacedError, NewerError, StoreError, StreamscopeError
from streamscope.core.model.arrays import Float32Array, Pixels
from streamscope.core.model.blocks import ModelInfo, Target, Tensor
from streamscope.core.model.fz import FZBatch
from streamscope.core.model.recipe import PROTOCOLS, SetKey
from streamscope.core.store.files.atomic import write_folder
from streamscope.core.store.files.disk_errors import is_unreadable, read_error
from streamscope.core.store.files.documents import malformed, read_record, write_described_folder, write_document
from streamscope.core.store.files.listing import Listings, Names, Problems
from streamscope.core.store.layout import ResponseKind, RetryFolder, SetFolder, batch_name
from streamscope.core.store.records import (
    RESPONSES_OPTIONAL,
    RESPONSES_OWN,
    CompletedRecord,
    Place,
    SetRecord,
    check_identity,
    checked_time,
)
from streamscope.core.store.sets.batches import (
    FZ_OWN,
    MEASURES_OWN,
    FZRecord,
    MeasuredBatch,
    StoredFZs,
    encode_fzs,
    encode_measures,
    read_activations,
    read_channels,
    read_fzs,
    read_image,
    read_measures,
    read_png,
    read_trace,
)

KEPT_BYTES = 256 * 2**20
"""Activations kept in memory between calls of `FZSet.measured`: all of a ResNet18 (42 MB), a part of a wide ResNet."""

Content = TypeVar("Content")
Merged = TypeVar("Merged")


@dataclass(frozen=True)
class Measured:
    """Centre activations on the FZs of one tensor: plain and scaled (n, 3, C), axis 1 = READ, axis 2 = channel read."""

    channels: NDArray[np.int64]
    plain: Float32Array
    scaled: Float32Array | None


@dataclass(frozen=True)
class Own:
    """As `Measured`, but each FZ's own channel only: plain and scaled (n, 3), axis 1 = READ."""

    channels: NDArray[np.int64]
    plain: Float32Array
    scaled: Float32Array | None


class MissingFZError(StoreError):
    """An FZ that was to be read is not stored."""

    def __init__(self, info: ModelInfo, key: SetKey, target: Target, channel: int) -> None:
        self.info, self.key, self.target = info, key, target
        super().__init__(f"no FZ of channel {channel} in {target} is stored ({key})")


class FZSet:
    """Reads and commits FZs and measures. Cheap to ask again and again: folders are read only when they changed.

    Several threads may use one: a job's lanes share it, so that what it remembers is remembered once.
    """

    def __init__(self, info: ModelInfo, key: SetKey, path: Path, problems: Problems | None = None) -> None:
        self.info = info
        self.key = key
        self.path, self.folder = path, SetFolder(path)
        self._problems = problems or Problems()
        self._listings = Listings(self._problems)
        self._batches: dict[tuple[Path, str], dict[tuple[str, int], Any]] = {}
        self._known: dict[tuple[Path, str], tuple[Names, Any]] = {}
        self._described = {**info.identity_fields, **key.to_json()}
        """What every record of the set says of it."""
        self._places: dict[tuple[str, str, int], Place] = {}
        self._kept: dict[Path, tuple[float, Float32Array, Float32Array | None]] = {}
        self._siblings: dict[Path, FZSet] = {}
        self._lock = threading.RLock()
        """Guards what is remembered, and held while it is brought up to date."""

    @property
    def problems(self) -> Problems:
        """Where readers of this set say what is damaged in it."""
        return self._problems

    def __repr__(self) -> str:
        return f"FZSet({self.info.name}, {self.key})"

    def create(self) -> None:
        """Makes the set's folder and describes it, if that was not done. Raises StoreError."""
        try:
            read_key(self.path, self.info)
            return
        except OSError as error:
            if is_unreadable(error):
                raise read_error(self.folder.document, error) from error
        except DamageError:
            pass
        created = {"engine": __version__, "created": time.time(), "model": self.info.name}
        described = {**self._described, **created}
        write_described_folder(self.path, self.folder.document.name, described)

    def target(self, block: str, tensor: str) -> Target:
        """Whose FZ is that of a block's tensor in this set. Raises UsageError for an unknown block or tensor."""
        return self.info.target(block, tensor, self.key.protocol)

    def fzs(self, target: Target, retry: int = 0) -> dict[int, FZRecord]:
        """The FZs stored of a target, by channel; of two of one channel the first committed. Do not change the dict."""

        def by_channel(batches: Sequence[StoredFZs]) -> dict[int, FZRecord]:
            first: dict[int, FZRecord] = {}
            for batch in sorted(batches, key=_commit_order):
                for record in batch.records:
                    first.setdefault(record.channel, record)
            return dict(sorted(first.items()))

        folder, place = self._fz_folder(target, retry), self.fz_place(target, retry)
        return self._merged(folder, "fzs", lambda path: read_fzs(path, place, self.key.seed + retry), by_channel)

    def stored(self, target: Target, retry: int = 0) -> frozenset[int]:
        """Channels whose FZ is stored: what planning needs of `fzs`, in half of its time."""
        folder, place = self._fz_folder(target, retry), self.fz_place(target, retry)
        return self._merged(
            folder,
            "channels",
            lambda path: read_channels(path, place),
            lambda batches: frozenset(chain.from_iterable(batches)),
        )

    def fz_image(self, target: Target, channel: int, retry: int = 0) -> Pixels:
        """(H, W, 3) uint8. Raises StoreError when it is missing or damaged."""
        return self._read_one(target, channel, retry, read_image)

    def fz_png(self, target: Target, channel: int, retry: int = 0) -> bytes:
        """The file of an FZ, as it was stored. Raises StoreError when it is missing or damaged."""
        return self._read_one(target, channel, retry, read_png)

    def trace(self, target: Target, channel: int, retry: int = 0) -> Float32Array:
        """(32,) float32: the activation over the optimisation. Raises StoreError when it is missing or damaged."""
        return self._read_one(target, channel, retry, read_trace)

    def commit_fzs(self, batch: FZBatch, provenance: Mapping[str, Any], retry: int = 0) -> bool:
        """Stores FZs, all of them or none.

        `provenance` should give device, dtype, engine, torch and the seed really used. False when an intact batch of
        these channels is there already: it stays. Raises StoreError, DiskFullError.
        """
        return self.commit_fz_files(batch.target, batch.channels, self.fz_files(batch, provenance, retry), retry)

    def fz_files(self, batch: FZBatch, provenance: Mapping[str, Any], retry: int = 0) -> dict[str, bytes]:
        """The files that `commit_fzs` stores; the set need not be on a disk of this machine."""
        self._check_channels(batch.target.block, batch.channels)
        used = {"seed": self.key.seed + retry, "engine": __version__, **provenance}
        return encode_fzs(self.fz_place(batch.target, retry).header, batch, used)

    def commit_fz_files(
        self, target: Target, channels: Sequence[int], files: Mapping[str, bytes], retry: int = 0
    ) -> bool:
        self.create()
        place = self.fz_place(target, retry)
        folder = self._fz_folder(target, retry) / batch_name(channels)
        return write_folder(folder, files, lambda path: read_fzs(path, place, 0))

    def measured(self, block: str, tensor: Tensor, retry: int = 0) -> Measured | None:
        """All that was measured on the FZs of a block's tensor, by channel; None when nothing was."""
        rows: dict[int, tuple[Float32Array, Float32Array | None]] = {}
        folder, place = self._measures_folder(block, tensor, retry), self.measures_place(block, tensor, retry)
        with self._lock:
            names = self._listings.names(folder)
            batches = self._read_batches(folder, "measures", names, lambda path: read_measures(path, place))
            for batch in sorted(batches, key=_commit_order):
                try:
                    plain, scaled = self._activations(batch)
                    self._problems.clear(batch.path / "activations")
                except (OSError, StoreError) as error:
                    self._report(batch.path / "activations", error, batch.path)
                    continue
                for row, channel in enumerate(batch.channels.tolist()):
                    rows.setdefault(channel, (plain[row], None if scaled is None else scaled[row]))
        if not rows:
            return None
        channels = sorted(rows)
        parts = [part for c in channels if (part := rows[c][1]) is not None]
        return Measured(
            np.asarray(channels, dtype=np.int64),
            np.stack([rows[c][0] for c in channels]),
            np.stack(parts) if len(parts) == len(channels) else None,
        )

    def own(self, block: str, tensor: Tensor, retry: int = 0) -> Own | None:
        """As `measured`, each FZ's own channel only: what the table needs, without reading the large files.

        Do not change its arrays.
        """
        folder, place = self._measures_folder(block, tensor, retry), self.measures_place(block, tensor, retry)
        return self._merged(folder, "measures", lambda path: read_measures(path, place), _merge_own)

    def commit_measures(
        self,
        block: str,
        tensor: Tensor,
        channels: Sequence[int],
        plain: ArrayLike,
        scaled: ArrayLike | None,
        retry: int = 0,
    ) -> bool:
        """Stores activations (n, 3, C) on the FZs of a block's tensor, plain and scaled, as `commit_fzs` does."""
        files = self.measure_files(block, tensor, channels, plain, scaled, retry)
        return self.commit_measure_files(block, tensor, channels, files, retry)

    def measure_files(
        self,
        block: str,
        tensor: Tensor,
        channels: Sequence[int],
        plain: ArrayLike,
        scaled: ArrayLike | None,
        retry: int = 0,
    ) -> dict[str, bytes]:
        """The files that `commit_measures` stores; the set need not be on a disk of this machine."""
        if (scaled is None) != (tensor == "out"):
            raise ValueError(f"scaled activations belong to in and block, not to out; this is {tensor}")
        self._check_channels(block, channels)
        place = self.measures_place(block, tensor, retry)
        return encode_measures(place.header, channels, plain, scaled, place.channels)

    def commit_measure_files(
        self, block: str, tensor: Tensor, channels: Sequence[int], files: Mapping[str, bytes], retry: int = 0
    ) -> bool:
        self.create()
        place = self.measures_place(block, tensor, retry)
        folder = self._measures_folder(block, tensor, retry) / batch_name(channels)
        return write_folder(folder, files, lambda path: read_measures(path, place))

    def mark_completed(self, job: str) -> None:
        """Says that nothing a job was asked for is missing any more. Raises StoreError."""
        self.create()
        write_document(self.folder.completed, {"time": time.time(), "job": job, "set": self.path.name})

    def completed_at(self) -> float | None:
        """Seconds since 1970; None when no job was completed."""
        return self._read_time(self.folder.completed, lambda: read_completed(self.folder).time)

    def created_at(self) -> float | None:
        """Seconds since 1970; None for a set that is not on disk."""
        return self._read_time(self.folder.document, lambda: read_record(self.folder.document, SetRecord).created)

    def siblings(self) -> list[FZSet]:
        """The stored sets that differ from this one in their seed only, by seed; unreadable ones are left out."""
        found = []
        for name, _ in self._listings.names(self.path.parent):
            path = self.path.parent / name
            if path not in self._siblings:
                try:
                    self._siblings[path] = FZSet(self.info, read_key(path, self.info), path, self._problems)
                except (OSError, StoreError):
                    # Whoever lists the store's sets is told of it.
                    continue
            sibling = self._siblings[path]
            if sibling.key.seed != self.key.seed and replace(sibling.key, seed=self.key.seed) == self.key:
                found.append(sibling)
        return sorted(found, key=lambda fzset: fzset.key.seed)

    def signature(self) -> Hashable:
        """Differs whenever something was committed or removed, or a job of a sibling completed; a `stat` a folder."""
        completed = tuple(_stamp(fzset.folder.completed) for fzset in (self, *self.siblings()))
        retries = self.folder.retries
        bases = [self.path, *(retries / name for name, _ in self._listings.names(retries))]
        found: list[tuple[str, Names]] = []
        for base in (RetryFolder(path, self.folder) for path in bases):
            folders = self._inside(base.all_fzs)
            for block in self._inside(base.all_measures):
                folders += self._inside(block)
            found += [(str(folder), self._listings.names(folder)) for folder in folders]
        return completed, tuple(found)

    def fz_place(self, target: Target, retry: int) -> Place:
        """What the records of the FZs of a target must say."""
        found = self.target(target.block, target.tensor)
        return self._place(("fzs", str(found), retry), {"kind": "fzs"}, {"target": str(found)}, found.block, FZ_OWN)

    def measures_place(self, block: str, tensor: Tensor, retry: int) -> Place:
        """What the records of what was measured on the FZs of a block's tensor must say."""
        subject = {"block": block, "on": tensor}
        return self._place((block, tensor, retry), {"kind": "measures"}, subject, block, MEASURES_OWN)

    def _place(
        self,
        key: tuple[str, str, int],
        kind: Mapping[str, str],
        subject: Mapping[str, str],
        block: str,
        own: frozenset[str],
    ) -> Place:
        if key not in self._places:
            retry = {"retry": key[-1]}
            header = {**kind, "model": self.info.name, **subject, **retry, **self._described}
            self._places[key] = Place(header, own, self.info.block(block).channels)
        return self._places[key]

    def responses_place(self, kind: ResponseKind, block: str, on: Tensor, variant: str, retry: int) -> Place:
        """What the records of responses to a block's FZs of a tensor must say. 0.2.0 said less of the set."""
        subject = {"kind": kind, "model": self.info.name, "block": block, "on": on, "variant": variant}
        header = {**subject, **self._described}
        # Theirs is the seed that the FZs were really made with.
        header |= {"retry": retry, "seed": self.key.seed + retry}
        return Place(header, RESPONSES_OWN, self.info.block(block).channels, RESPONSES_OPTIONAL)

    def base(self, retry: int) -> Path:
        """The folder that what belongs to the FZs of a retry is in."""
        return self.folder.of_retry(retry).path

    def _fz_folder(self, target: Target, retry: int) -> Path:
        return self.folder.of_retry(retry).fzs(str(self.target(target.block, target.tensor)))

    def _measures_folder(self, block: str, tensor: Tensor, retry: int) -> Path:
        return self.folder.of_retry(retry).measures(self.info.block(block).name, tensor)

    def _check_channels(self, block: str, channels: Sequence[int]) -> None:
        count = self.info.block(block).channels
        if any(not 0 <= channel < count for channel in channels):
            raise ValueError(f"channels of block {block} are 0-{count - 1}, not {list(channels)}")

    def _inside(self, folder: Path) -> list[Path]:
        return [folder / name for name, _ in self._listings.names(folder)]

    def _read_time(self, path: Path, read: Callable[[], float]) -> float | None:
        try:
            value = float(read())
            self._problems.clear(path)
            return value
        except FileNotFoundError:
            self._problems.clear(path)
        except (OSError, StoreError) as error:
            self._report(path, error)
        return None

    def _merged(
        self,
        folder: Path,
        what: str,
        read: Callable[[Path], Content],
        merge: Callable[[Sequence[Content]], Merged],
    ) -> Merged:
        """What `merge` makes of what `read` says of every intact batch: the same object until the folder changes."""
        with self._lock:
            names = self._listings.names(folder)
            known = self._known.get((folder, what))
            if known is not None and known[0] == names:
                found: Merged = known[1]
                return found
            batches = self._read_batches(folder, what, names, read)
            merged = merge(batches)
            # What could not be read is tried again next time: a network disk may have hiccuped.
            if len(batches) == len(names):
                self._known[folder, what] = (names, merged)
            return merged

    def _read_batches(self, folder: Path, what: str, names: Names, read: Callable[[Path], Content]) -> list[Content]:
        """What `read` says of every intact batch; `what` names it, so that each batch is read for it once only."""
        before = self._batches.get((folder, what), {})
        after: dict[tuple[str, int], Content] = {}
        for entry in names:
            if entry in before:
                after[entry] = before[entry]
                continue
            path = folder / entry[0]
            try:
                after[entry] = read(path)
                self._problems.clear(path)
            except (OSError, StoreError) as error:
                self._report(path, error)
        for name, _ in before.keys() - after.keys():
            if not os.path.lexists(folder / name):
                self._problems.clear_under(folder / name)
        self._batches[folder, what] = after
        return list(after.values())

    def _read_one(self, target: Target, channel: int, retry: int, read: Callable[[Path, int], Content]) -> Content:
        record = self.fzs(target, retry).get(channel)
        if record is None:
            raise MissingFZError(self.info, self.key, target, channel)
        try:
            return read(record.folder, channel)
        except OSError as error:
            raise read_error(record.path, error) from error

    def _activations(self, batch: MeasuredBatch) -> tuple[Float32Array, Float32Array | None]:
        known = self._kept.get(batch.path)
        if known is not None and known[0] == batch.created:
            return known[1:]
        plain, scaled = read_activations(batch)
        size = sum(array.nbytes for _, *arrays in list(self._kept.values()) for array in arrays if array is not None)
        if size + 2 * plain.nbytes > KEPT_BYTES:
            self._kept.clear()
        self._kept[batch.path] = (batch.created, plain, scaled)
        return plain, scaled

    def _report(self, path: Path, error: Exception, folder: Path | None = None) -> None:
        if isinstance(error, FileNotFoundError) and not os.path.lexists(folder or path):
            # Removed by someone between listing and reading.
            self._problems.clear(path)
        elif isinstance(error, FileNotFoundError) and path.is_symlink():
            self._problems.report(path, StoreError(f"cannot read {path}: is a dangling link"))
        elif isinstance(error, OSError):
            self._problems.report(path, read_error(path, error))
        else:
            damage = error if isinstance(error, StreamscopeError) else DamageError(f"{path} is damaged ({error})")
            self._problems.report(path, damage)


def read_key(path: Path, info: ModelInfo) -> SetKey:
    """What a set's folder says it holds. Raises OSError, or StoreError when it is damaged or of another model."""
    document = SetFolder(path).document
    record = read_record(document, SetRecord)
    if record.protocol not in PROTOCOLS:
        raise NewerError(f"{document} was written by a later version (protocol {record.protocol[:40]!r})")
    with malformed(document):
        key = record.key
    if key.folder != path.name:
        raise MisplacedError(f"{document} describes another set ({key.folder})")
    check_identity(document, record.identity_fields, record.model, info)
    checked_time(document, record.created)
    return key


def read_completed(folder: SetFolder) -> CompletedRecord:
    """When the last job of a set was done. Raises OSError, StoreError."""
    record = read_record(folder.completed, CompletedRecord)
    if record.set not in (None, folder.path.name):
        raise MisplacedError(f"{folder.completed} is of another set ({record.set[:80]!r})")
    checked_time(folder.completed, record.time)
    return record


def _commit_order(batch: StoredFZs | MeasuredBatch) -> tuple[float, str]:
    """A later batch never changes what an earlier one said of a channel."""
    return batch.created, batch.path.name


def _merge_own(batches: Sequence[MeasuredBatch]) -> Own | None:
    """By channel; of two batches that measured one channel the first counts."""
    if not batches:
        return None
    batches = sorted(batches, key=_commit_order)
    channels, first = np.unique(np.concatenate([batch.channels for batch in batches]), return_index=True)
    plain = np.concatenate([batch.own for batch in batches])[first]
    scaled = [batch.own_scaled for batch in batches if batch.own_scaled is not None]
    return Own(channels, plain, np.concatenate(scaled)[first] if len(scaled) == len(batches) else None)


def _stamp(path: Path) -> tuple[int, int]:
    """Differs when a file was written anew; (0, 0) where there is none."""
    try:
        state = os.stat(path)
    except OSError:
        return 0, 0
    return state.st_mtime_ns, state.st_ino
