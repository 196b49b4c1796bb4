"""One stored set: the FZs of one model by one recipe, seed and capture, and what was measured on them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from streamscope import __version__
from streamscope.core.errors import DamageError, StoreError
from streamscope.core.measures.pairs import PairNull
from streamscope.core.model.arrays import Float32Array, Pixels
from streamscope.core.model.blocks import ModelInfo, Target, Tensor
from streamscope.core.model.fz import FZBatch
from streamscope.core.model.recipe import SetKey
from streamscope.core.store.files.atomic import write_folder
from streamscope.core.store.files.disk_errors import is_unreadable, read_error
from streamscope.core.store.files.documents import read_record, write_described_folder, write_document
from streamscope.core.store.files.listing import Names, Problems
from streamscope.core.store.layout import ResponseKind, RetryFolder, SetFolder, batch_name
from streamscope.core.store.records import Place, SetRecord
from streamscope.core.store.sets.batches import (
    FZRecord,
    LeftOutError,
    StoredFZs,
    encode_fzs,
    encode_measures,
    read_channels,
    read_fzs,
    read_image,
    read_measures,
    read_png,
    read_trace,
)
from streamscope.core.store.sets.documents import read_completed, read_key
from streamscope.core.store.sets.measured import (
    KeptActivations,
    Measured,
    Own,
    Rows,
    commit_order,
    merge_own,
    merge_rows,
)
from streamscope.core.store.sets.pairs import Pairs, read_pairs, write_pairs
from streamscope.core.store.sets.places import Places
from streamscope.core.store.sets.reader import BatchReader, Content


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
        self._reader = BatchReader(problems or Problems())
        self._places = Places(info, key)
        self._kept = KeptActivations()
        self._siblings: dict[Path, FZSet] = {}

    @property
    def problems(self) -> Problems:
        """Where readers of this set say what is damaged in it."""
        return self._reader.problems

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
        described = {**self._places.described, **created}
        write_described_folder(self.path, self.folder.document.name, described)

    def target(self, block: str, tensor: str) -> Target:
        """Whose FZ is that of a block's tensor in this set. Raises UsageError for an unknown block or tensor."""
        return self.info.target(block, tensor, self.key.protocol)

    def fzs(self, target: Target, retry: int = 0) -> dict[int, FZRecord]:
        """The FZs stored of a target, by channel; of two of one channel the first committed. Do not change the dict."""

        def by_channel(batches: Sequence[StoredFZs]) -> dict[int, FZRecord]:
            first: dict[int, FZRecord] = {}
            for batch in sorted(batches, key=commit_order):
                for record in batch.records:
                    first.setdefault(record.channel, record)
            return dict(sorted(first.items()))

        folder, place = self._fz_folder(target, retry), self.fz_place(target, retry)
        return self._reader.merged(folder, "fzs", lambda path: read_fzs(path, place, self.key.seed + retry), by_channel)

    def stored(self, target: Target, retry: int = 0) -> frozenset[int]:
        """Channels whose FZ is stored: what planning needs of `fzs`, in half of its time."""
        folder, place = self._fz_folder(target, retry), self.fz_place(target, retry)
        return self._reader.merged(
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
        rows: Rows = {}
        folder, place = self._measures_folder(block, tensor, retry), self.measures_place(block, tensor, retry)
        with self._reader.lock:
            names = self._reader.names(folder)
            batches = self._reader.batches(folder, "measures", names, lambda path: read_measures(path, place))
            for batch in sorted(batches, key=commit_order):
                try:
                    plain, scaled = self._kept.read(batch)
                    self.problems.clear(batch.path / "activations")
                except LeftOutError:
                    continue
                except (OSError, StoreError) as error:
                    self._reader.report(batch.path / "activations", error, batch.path)
                    continue
                for row, channel in enumerate(batch.channels.tolist()):
                    rows.setdefault(channel, (plain[row], None if scaled is None else scaled[row]))
        return merge_rows(rows)

    def own(self, block: str, tensor: Tensor, retry: int = 0) -> Own | None:
        """As `measured`, each FZ's own channel only: what the table needs, without reading the large files.

        Do not change its arrays.
        """
        folder, place = self._measures_folder(block, tensor, retry), self.measures_place(block, tensor, retry)
        return self._reader.merged(folder, "measures", lambda path: read_measures(path, place), merge_own)

    def commit_measures(
        self,
        block: str,
        tensor: Tensor,
        channels: Sequence[int],
        plain: ArrayLike,
        scaled: ArrayLike | None,
        retry: int = 0,
        further: Mapping[str, ArrayLike] | None = None,
    ) -> bool:
        """Stores activations (n, 3, C) on the FZs of a block's tensor, plain, scaled, and further ones by name (of
        `batches.FURTHER`), as `commit_fzs` does."""
        files = self.measure_files(block, tensor, channels, plain, scaled, retry, further)
        return self.commit_measure_files(block, tensor, channels, files, retry)

    def measure_files(
        self,
        block: str,
        tensor: Tensor,
        channels: Sequence[int],
        plain: ArrayLike,
        scaled: ArrayLike | None,
        retry: int = 0,
        further: Mapping[str, ArrayLike] | None = None,
    ) -> dict[str, bytes]:
        """The files that `commit_measures` stores; the set need not be on a disk of this machine."""
        if (scaled is None) != (tensor == "out"):
            raise ValueError(f"scaled activations belong to in and block, not to out; this is {tensor}")
        self._check_channels(block, channels)
        place = self.measures_place(block, tensor, retry)
        return encode_measures(place.header, channels, plain, scaled, place.channels, further)

    def commit_measure_files(
        self, block: str, tensor: Tensor, channels: Sequence[int], files: Mapping[str, bytes], retry: int = 0
    ) -> bool:
        self.create()
        place = self.measures_place(block, tensor, retry)
        folder = self._measures_folder(block, tensor, retry) / batch_name(channels)
        return write_folder(folder, files, lambda path: read_measures(path, place))

    def pairs(self, block: str) -> Pairs | None:
        """A block's gains among those of pairs, as they were kept last: the measures may be others now."""
        kept = self._reader.merged(
            self.folder.all_pairs,
            "pairs",
            lambda path: read_pairs(path, self.info),
            lambda found: {pairs.block: pairs for pairs in found},
        )
        return kept.get(block)

    def keep_pairs(self, block: str, measures: str, null: PairNull) -> None:
        """In place of what was kept before. Raises StoreError, DiskFullError."""
        write_pairs(self.folder, self.info, block, measures, null)

    def mark_completed(self, job: str) -> None:
        """Says that nothing a job was asked for is missing any more. Raises StoreError."""
        self.create()
        write_document(self.folder.completed, {"time": time.time(), "job": job, "set": self.path.name})

    def completed_at(self) -> float | None:
        """Seconds since 1970; None when no job was completed."""
        return self._reader.time(self.folder.completed, lambda: read_completed(self.folder).time)

    def created_at(self) -> float | None:
        """Seconds since 1970; None for a set that is not on disk."""
        return self._reader.time(self.folder.document, lambda: read_record(self.folder.document, SetRecord).created)

    def siblings(self) -> list[FZSet]:
        """The stored sets that differ from this one in their seed only, by seed; unreadable ones are left out."""
        found = []
        for name, _ in self._reader.names(self.path.parent):
            path = self.path.parent / name
            if path not in self._siblings:
                try:
                    self._siblings[path] = FZSet(self.info, read_key(path, self.info), path, self.problems)
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
        bases = [self.path, *(retries / name for name, _ in self._reader.names(retries))]
        pairs = self.folder.all_pairs
        found: list[tuple[str, Names]] = [(str(pairs), self._reader.names(pairs))]
        for base in (RetryFolder(path, self.folder) for path in bases):
            folders = self._reader.inside(base.all_fzs)
            for block in self._reader.inside(base.all_measures):
                folders += self._reader.inside(block)
            found += [(str(folder), self._reader.names(folder)) for folder in folders]
        return completed, tuple(found)

    def fz_place(self, target: Target, retry: int) -> Place:
        """What the records of the FZs of a target must say."""
        return self._places.fzs(target, retry)

    def measures_place(self, block: str, tensor: Tensor, retry: int) -> Place:
        """What the records of what was measured on the FZs of a block's tensor must say."""
        return self._places.measures(block, tensor, retry)

    def responses_place(self, kind: ResponseKind, block: str, on: Tensor, variant: str, retry: int) -> Place:
        """What the records of responses to a block's FZs of a tensor must say."""
        return self._places.responses(kind, block, on, variant, retry)

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

    def _read_one(self, target: Target, channel: int, retry: int, read: Callable[[Path, int], Content]) -> Content:
        record = self.fzs(target, retry).get(channel)
        if record is None:
            raise MissingFZError(self.info, self.key, target, channel)
        try:
            return read(record.folder, channel)
        except OSError as error:
            raise read_error(record.path, error) from error


def _stamp(path: Path) -> tuple[int, int]:
    """Differs when a file was written anew; (0, 0) where there is none."""
    try:
        state = os.stat(path)
    except OSError:
        return 0, 0
    return state.st_mtime_ns, state.st_ino
