"""Which files of a store are in a bundle: enough for the table and the pictures of the chosen channels.

| of | what |
|---|---|
| the set | FZs of the chosen channels; of every channel of their blocks what its own FZs excite in it |
| sets by other seeds | of those blocks the same and shams, without FZs: what verdicts over seeds follow from |
| the scan | the list of images, MEIs, correlations, what photographs say; no image, and not what each of them excites |

So every column of these blocks has the value that it had, also those that depend on the other channels of a block.
What grows with the square of a block's channels is there where it is no more than `SQUARES` of a block: pairs of
channels in every set or in none, and photographs' readings of all channels or of the chosen ones alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from streamscope.core.errors import StoreError
from streamscope.core.files import read_regular
from streamscope.core.model.blocks import TENSORS, Target
from streamscope.core.model.recipe import PROTOCOLS
from streamscope.core.store.files.checksums import (
    ARRAY_LIMIT,
    SUMS,
    read_checked,
    read_sums,
    sha256,
    sums_text,
)
from streamscope.core.store.files.disk_errors import read_error
from streamscope.core.store.layout import CURVES, SHAMS, ResponseKind, ScanFolder, batch_name, inside
from streamscope.core.store.records import RECORD
from streamscope.core.store.scans.patches import patches_name
from streamscope.core.store.scans.photographs import photographs_place, some_photographs
from streamscope.core.store.scans.scan import IMAGES, Scan, extremes_name, rho_name
from streamscope.core.store.sets.batches import ACTIVATIONS, pair_measures, read_measures, some_fzs
from streamscope.core.store.sets.fz_set import FZSet
from streamscope.core.store.store import Store

SQUARES = 32 * 2**20
"""Bytes: three seeds of 512 channels have 13 million, a set of 2,048 channels 67 million."""
PAIR_BYTES = 16
"""Of a pair of channels: two tensors, as they are and scaled."""


@dataclass(frozen=True)
class File:
    """A file of a bundle; `is_fz` for the picture of an FZ."""

    path: Path
    content: bytes
    is_fz: bool = False


@dataclass(frozen=True)
class Chosen:
    """What of a store goes into a bundle: a set's FZs of some channels of each block, beside a scan."""

    store: Store
    fzset: FZSet
    channels: Mapping[str, Sequence[int]]
    scan: Scan | None = None

    @property
    def blocks(self) -> list[str]:
        """Those of which any channel is chosen."""
        return [block for block, channels in self.channels.items() if channels]

    def targets(self, fzset: FZSet) -> dict[Target, set[int]]:
        """Channels of each target whose FZs are to be there: of two blocks that share one, those of both."""
        found: dict[Target, set[int]] = {}
        for block in self.blocks:
            for tensor in TENSORS:
                found.setdefault(fzset.target(block, tensor), set()).update(self.channels[block])
        return found

    def pictured(self) -> list[FZSet]:
        """The set, and that of the same recipe's channel FZs where there is one."""
        of_channels = self.store.set(self.fzset.info, replace(self.fzset.key, objective="channel"))
        return [self.fzset, *([of_channels] if of_channels.folder.document.is_file() else [])]

    def count_fzs(self) -> int:
        """How many pictures of FZs `files` gives."""
        count = 0
        for fzset in self.pictured():
            retries = [retry.number for retry in fzset.folder.stored_retries() if retry.number >= 0]
            for target, channels in self.targets(fzset).items():
                count += sum(len(channels & fzset.stored(target, retry)) for retry in retries)
        return count

    def files(self) -> Iterator[File]:
        """In a fixed order. Raises StoreError for whatever is damaged or cannot be read: nothing is left out."""
        folder = self.store.folder(self.fzset.info)
        if folder is None:
            raise StoreError(f"nothing is stored of {self.fzset.info.name} in {self.store.root}")
        try:
            yield _file(folder / "model.json")
            for fzset in self.pictured():
                yield from self._described(fzset)
                yield from self._fzs(fzset)
            yield from self._measures(self.fzset)
            yield from self._responses(self.fzset, (CURVES, SHAMS))
            for block in self.blocks:
                yield from _files_there(self.fzset.folder.pairs(block))
            for sibling in self.fzset.siblings():
                yield from self._described(sibling)
                yield from self._measures(sibling)
                yield from self._responses(sibling, (SHAMS,))
            if self.scan is not None:
                yield from self._scan_files(self.scan)
        except OSError as error:
            raise read_error(Path(str(error.filename or self.store.root)), error) from error

    def _described(self, fzset: FZSet) -> Iterator[File]:
        yield _file(fzset.folder.document)
        yield from _files_there(fzset.folder.completed)

    def _fzs(self, fzset: FZSet) -> Iterator[File]:
        for retry in fzset.folder.stored_retries():
            if retry.number < 0:
                continue
            for target, channels in self.targets(fzset).items():
                place = fzset.fz_place(target, retry.number)
                for batch in inside(retry.fzs(str(target))):
                    kept, files = some_fzs(batch, place, channels)
                    if kept:
                        yield from _folder(batch.parent / batch_name(kept), files)

    def _measures(self, fzset: FZSet) -> Iterator[File]:
        """The records, which have each FZ's activations of its own channel, and what pairs are made of."""
        for retry in fzset.folder.stored_retries():
            for block in self.blocks if retry.number >= 0 else ():
                paired = self._is_paired(block)
                for tensor in TENSORS:
                    place = fzset.measures_place(block, tensor, retry.number)
                    for batch in inside(retry.measures(block, tensor)):
                        if paired and tensor != "out" and ACTIVATIONS in read_sums(batch):
                            yield from _folder(batch, pair_measures(batch, place))
                        else:
                            read_measures(batch, place)
                            yield from _some_of(batch, {RECORD})

    def _is_paired(self, block: str) -> bool:
        sets = 1 + len(self.fzset.siblings())
        return sets * PAIR_BYTES * self.fzset.info.block(block).channels ** 2 <= SQUARES

    def _responses(self, fzset: FZSet, kinds: Sequence[ResponseKind]) -> Iterator[File]:
        for retry in fzset.folder.stored_retries():
            yield from self._responses_in(retry.path, kinds)

    def _responses_in(self, base: Path, kinds: Sequence[ResponseKind]) -> Iterator[File]:
        for kind in kinds:
            for block in self.blocks:
                for folder in inside(base / kind / block):
                    for batch in inside(folder):
                        yield from _some_of(batch)

    def _scan_files(self, scan: Scan) -> Iterator[File]:
        info, folder = scan.info, ScanFolder(scan.path)
        yield _file(folder.document)
        yield _file(folder.finished)
        # What 0.2.0 kept by MEIs can be told to be this scan's by its MEIs only.
        told_by_meis = not scan.has_robust("centred")
        pictured = [block.name for block in info.blocks] if told_by_meis else self.blocks
        targets = {info.source(block, tensor) for block in pictured for tensor in TENSORS}
        of_all = {rho_name(block.name) for block in info.blocks}
        yield from _some_of(folder.result, {IMAGES, *of_all, *map(extremes_name, targets)})
        for robust in map(folder.robust, PROTOCOLS):
            if (robust / SUMS).is_file():
                yield from _some_of(robust)
        if scan.has_patches:
            yield from _some_of(folder.patches, set(map(patches_name, targets)))
        for block in self.blocks:
            place = photographs_place(scan, block)
            every = range(info.block(block).channels)
            wanted = every if PAIR_BYTES * len(every) ** 2 <= SQUARES else self.channels[block]
            for batch in inside(folder.photographs / block):
                kept, files = some_photographs(batch, place, wanted)
                if kept:
                    yield from _folder(batch.parent / batch_name(kept), files)
        # Shams stand beside activations of the images as they are, which are left out.
        yield from self._responses_in(scan.path, (CURVES,))


def _file(path: Path) -> File:
    return File(path, read_regular(path, follow=False, limit=ARRAY_LIMIT))


def _files_there(path: Path) -> Iterator[File]:
    """A file, where there is one."""
    if path.is_file():
        yield _file(path)


def _folder(path: Path, files: Mapping[str, bytes]) -> Iterator[File]:
    """A committed folder of these files."""
    for name, content in files.items():
        yield File(path / name, content, is_fz=name.endswith(".png"))
    yield File(path / SUMS, sums_text({name: sha256(content) for name, content in files.items()}))


def _some_of(path: Path, names: Collection[str] | None = None) -> Iterator[File]:
    """A committed folder with some of its files, or all."""
    sums = read_sums(path)
    kept = [name for name in sorted(sums) if names is None or name in names]
    yield from _folder(path, {name: read_checked(path, name, sums) for name in kept})
