"""Is what is stored intact? Reads every byte; removes only what it is told to."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from streamscope.core.errors import StoreError
from streamscope.core.model.blocks import ModelInfo
from streamscope.core.store.files.atomic import remove_folder
from streamscope.core.store.files.checksums import EXTRA, folder_damage
from streamscope.core.store.files.disk_errors import reason, writing
from streamscope.core.store.files.documents import read_document
from streamscope.core.store.layout import (
    CURVES,
    SHAMS,
    BatchFolder,
    ModelFolder,
    ScanFolder,
    SetFolder,
    batch_name,
    channel_range,
    inside,
)
from streamscope.core.store.sets.batches import RECORD, read_fzs, read_measures
from streamscope.core.store.sets.fz_set import read_key
from streamscope.core.store.store import FORMAT, Store


@dataclass(frozen=True)
class Problem:
    """Something damaged: `path` is what, `removes` what `drop` takes away so that compute makes it again."""

    path: Path
    what: str
    removes: Path
    part: BatchFolder | ScanFolder | None = None
    """The batch of a set, or the scan, that it is in."""

    def __str__(self) -> str:
        return f"{self.path} {self.what}"


def verify(store: Store) -> Iterator[Problem]:
    """Everything in the store that is not as it was written: a flipped byte, a missing, extra or truncated file."""
    yield from _verify_format(store.root / "store.json")
    for model in inside(store.root / "models"):
        yield from _entry(model) or _verify_model(ModelFolder(model))
    for alias in inside(store.root / "aliases"):
        yield from _verify_document(alias)


def drop(problem: Problem) -> list[Path]:
    """Removes what is damaged, and returns what was removed.

    With a batch of FZs goes what was measured on them: made again on another device they may come out otherwise.
    Raises StoreError. Marks are elsewhere and stay.
    """
    removed, part = [problem.removes], problem.part
    if isinstance(part, ScanFolder) and problem.removes.parent == part.path and os.path.lexists(part.finished):
        # A scan that lacks a part is not finished; the next one makes the part again.
        removed.append(part.finished)
    if isinstance(part, BatchFolder) and part.kind == "fzs" and problem.removes == part.path:
        removed += _read_on(part)
    for path in removed:
        if path.is_dir() and not path.is_symlink():
            remove_folder(path)
        else:
            with writing(path):
                path.unlink(missing_ok=True)
    return removed


def _verify_format(path: Path) -> Iterator[Problem]:
    try:
        if json.loads(path.read_bytes())["format"] != FORMAT:
            yield Problem(path, "is of another version", path)
    except FileNotFoundError:
        return
    except OSError as error:
        yield Problem(path, f"cannot be read: {reason(error)}", path)
    except (ValueError, KeyError, TypeError):
        yield Problem(path, "is malformed", path)


def _verify_model(model: ModelFolder) -> Iterator[Problem]:
    yield from _verify_document(model.document)
    for ablation in inside(model.ablations):
        yield from _verify_document(ablation)
    for fzset in inside(model.sets):
        yield from _entry(fzset) or _verify_set(SetFolder(fzset))
    for scan in inside(model.scans):
        yield from _entry(scan) or _verify_scan(ScanFolder(scan))


def _verify_set(fzset: SetFolder) -> Iterator[Problem]:
    yield from _verify_document(fzset.document)
    yield from _verify_key(fzset)
    if os.path.lexists(fzset.completed):
        yield from _verify_document(fzset.completed)
    retries = fzset.stored_retries()
    for batch in (batch for retry in retries for batch in retry.batches()):
        yield from _verify_batch(batch)
    for retry in retries:
        for folder in (found for kind in (CURVES, SHAMS) for found in _committed(retry.path / kind)):
            yield from _verify_folder(folder, folder)


def _verify_scan(scan: ScanFolder) -> Iterator[Problem]:
    yield from _verify_document(scan.document, scan)
    if os.path.lexists(scan.finished):
        yield from _verify_document(scan.finished, scan)
    for folder in (found for part in inside(scan.path) if part.is_dir() for found in _committed(part)):
        # What the result was put together from is gone: without it the whole scan is to be made again.
        yield from _verify_folder(folder, scan.path if folder == scan.result else folder, scan)


def _committed(folder: Path) -> Iterator[Path]:
    """Every folder with checksums at or under `folder`, and folders that should have them: those with files."""
    if not folder.is_dir():
        return
    paths = inside(folder)
    if any(not path.is_dir() for path in paths):
        yield folder
        return
    for path in paths:
        yield from _committed(path)


def _verify_folder(folder: Path, removes: Path, scan: ScanFolder | None = None) -> Iterator[Problem]:
    damage = folder_damage(folder)
    # Where all that is wrong is a file too many, the rest is whole.
    whole = all(what == EXTRA for _, what in damage)
    for path, what in damage:
        yield Problem(path, what, path if whole else removes, scan)


def _entry(path: Path) -> list[Problem]:
    if path.is_dir():
        return []
    return [Problem(path, "is a dangling link" if path.is_symlink() else "is a file where a folder should be", path)]


def _verify_document(path: Path, scan: ScanFolder | None = None) -> Iterator[Problem]:
    try:
        read_document(path)
    except FileNotFoundError:
        yield Problem(path, "is a dangling link" if path.is_symlink() else "is missing", path, scan)
    except OSError as error:
        yield Problem(path, f"cannot be read: {reason(error)}", path, scan)
    except StoreError:
        yield Problem(path, "differs from its checksum", path, scan)


def _verify_key(fzset: SetFolder) -> Iterator[Problem]:
    try:
        read_document(fzset.document)
    except (OSError, StoreError):
        return
    try:
        read_key(fzset.path)
    except StoreError:
        yield Problem(fzset.document, "describes another set than its folder's name", fzset.document)


def _verify_batch(batch: BatchFolder) -> Iterator[Problem]:
    damage = folder_damage(batch.path) if os.path.lexists(batch.path) else []
    # Where all that is wrong is a file too many, the batch itself is whole.
    whole = all(what == EXTRA for _, what in damage)
    for path, what in damage:
        yield Problem(path, _truncated(path) or what, path if whole else batch.path, batch)
    if not damage and batch.path.is_dir():
        yield from _verify_content(batch)


def _verify_content(batch: BatchFolder) -> Iterator[Problem]:
    """Files may be just as they were written, and still not be what the folder's name says."""
    record = batch.path / RECORD
    try:
        if batch.kind == "fzs":
            records = read_fzs(batch.path, 0).records
            channels = [record.channel for record in records]
            missing = [record.path for record in records if not record.path.is_file()]
            if missing:
                yield Problem(missing[0], "is missing", batch.path, batch)
        else:
            channels = read_measures(batch.path).channels.tolist()
        if batch_name(channels) != batch.path.name:
            yield Problem(record, f"describes the batch {batch_name(channels)}", batch.path, batch)
    except (OSError, StoreError, ValueError) as error:
        yield Problem(record, f"is malformed ({error})", batch.path, batch)


def _truncated(path: Path) -> str | None:
    if path.suffix != ".png":
        return None
    try:
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            image.load()
    except OSError as error:
        return "is truncated" if path.is_file() and "truncated" in str(error) else None
    except (ValueError, SyntaxError):
        return None
    return None


def _read_on(fzs: BatchFolder) -> list[Path]:
    """Batches of measures, curves and shams that share channels (by their names' ranges) with a batch of FZs."""
    blocks = [(fzs.block, fzs.tensor)]
    if fzs.tensor == "out":
        blocks += [(name, "in") for name in _blocks_after(fzs.retry.set.model, fzs.block)]
    channels = channel_range(fzs.path.name)
    return [path for block, tensor in blocks for path in fzs.retry.read_on(block, tensor, *channels)]


def _blocks_after(model: ModelFolder, block: str) -> list[str]:
    """Simple blocks whose `in` FZ is the `out` FZ of `block`; every block where the model's description is damaged."""
    try:
        info = ModelInfo.from_json(read_document(model.document))
    except (OSError, StoreError):
        return sorted({path.name for path in model.sets.glob("*/**/measures/*")})
    return [b.name for b in info.blocks if b.previous == block and b.kind == "simple"]
