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
from streamscope.core.store.ablations import FOLDER as ABLATIONS
from streamscope.core.store.files.atomic import remove_folder
from streamscope.core.store.files.checksums import EXTRA, folder_damage
from streamscope.core.store.files.disk_errors import reason, writing
from streamscope.core.store.files.documents import read_document
from streamscope.core.store.scans.scan import FINISHED, RESULT, SCAN, SCANS
from streamscope.core.store.sets.batches import RECORD, batch_name, read_fzs, read_measures
from streamscope.core.store.sets.fz_set import COMPLETED, RETRIES, SET
from streamscope.core.store.sets.responses import CURVES, SHAMS
from streamscope.core.store.store import FORMAT, Store, read_key


@dataclass(frozen=True)
class Problem:
    """Something damaged: `path` is what, `removes` what `drop` takes away so that compute makes it again."""

    path: Path
    what: str
    removes: Path

    def __str__(self) -> str:
        return f"{self.path} {self.what}"


def verify(store: Store) -> Iterator[Problem]:
    """Everything in the store that is not as it was written: a flipped byte, a missing, extra or truncated file."""
    yield from _verify_format(store.root / "store.json")
    for model in _folders(store.root / "models"):
        yield from _entry(model) or _verify_model(model)
    aliases = store.root / "aliases"
    for alias in _folders(aliases):
        yield from _verify_document(alias)


def batches(set_folder: Path) -> Iterator[Path]:
    """Every batch folder of a set, first tries then retries, and whatever is where a folder should be."""
    for base in [set_folder, *_folders(set_folder / RETRIES)]:
        if not base.is_dir():
            yield base
            continue
        for target in _folders(base / "fzs"):
            yield from _folders(target)
        for block in _folders(base / "measures"):
            for tensor in _folders(block):
                yield from _folders(tensor)


def drop(problem: Problem) -> list[Path]:
    """Removes what is damaged, and returns what was removed.

    With a batch of FZs goes what was measured on them: made again on another device they may come out otherwise.
    Raises StoreError. Marks are elsewhere and stay.
    """
    removed = [problem.removes]
    if problem.removes.parent.parent.name == SCANS and os.path.lexists(problem.removes.parent / FINISHED):
        # A scan that lacks a part is not finished; the next one makes the part again.
        removed.append(problem.removes.parent / FINISHED)
    if problem.removes.parent.parent.name == "fzs":
        removed += _measured_on(problem.removes)
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


def _verify_model(model: Path) -> Iterator[Problem]:
    yield from _verify_document(model / "model.json")
    for ablation in _folders(model / ABLATIONS):
        yield from _verify_document(ablation)
    for fzset in _folders(model / "sets"):
        found = list(_entry(fzset))
        yield from found
        if not found:
            yield from _verify_document(fzset / SET)
            yield from _verify_key(fzset)
            if os.path.lexists(fzset / COMPLETED):
                yield from _verify_document(fzset / COMPLETED)
            for batch in batches(fzset):
                yield from _verify_batch(batch)
            for base in [fzset, *_folders(fzset / RETRIES)]:
                for folder in (found for kind in (CURVES, SHAMS) for found in _committed(base / kind)):
                    yield from _verify_folder(folder, folder)
    for scan in _folders(model / SCANS):
        yield from _entry(scan) or _verify_scan(scan)


def _verify_scan(scan: Path) -> Iterator[Problem]:
    yield from _verify_document(scan / SCAN)
    if os.path.lexists(scan / FINISHED):
        yield from _verify_document(scan / FINISHED)
    for folder in (inside for part in _folders(scan) if part.is_dir() for inside in _committed(part)):
        # What the result was put together from is gone: without it the whole scan is to be made again.
        yield from _verify_folder(folder, scan if folder == scan / RESULT else folder)


def _committed(folder: Path) -> Iterator[Path]:
    """Every folder with checksums at or under `folder`, and folders that should have them: those with files."""
    if not folder.is_dir():
        return
    inside = _folders(folder)
    if any(not path.is_dir() for path in inside):
        yield folder
        return
    for path in inside:
        yield from _committed(path)


def _verify_folder(folder: Path, removes: Path) -> Iterator[Problem]:
    damage = folder_damage(folder)
    # Where all that is wrong is a file too many, the rest is whole.
    whole = all(what == EXTRA for _, what in damage)
    for path, what in damage:
        yield Problem(path, what, path if whole else removes)


def _entry(path: Path) -> list[Problem]:
    if path.is_dir():
        return []
    return [Problem(path, "is a dangling link" if path.is_symlink() else "is a file where a folder should be", path)]


def _verify_document(path: Path) -> Iterator[Problem]:
    try:
        read_document(path)
    except FileNotFoundError:
        yield Problem(path, "is a dangling link" if path.is_symlink() else "is missing", path)
    except OSError as error:
        yield Problem(path, f"cannot be read: {reason(error)}", path)
    except StoreError:
        yield Problem(path, "differs from its checksum", path)


def _verify_key(fzset: Path) -> Iterator[Problem]:
    try:
        read_document(fzset / SET)
    except (OSError, StoreError):
        return
    try:
        read_key(fzset)
    except StoreError:
        yield Problem(fzset / SET, "describes another set than its folder's name", fzset / SET)


def _verify_batch(batch: Path) -> Iterator[Problem]:
    damage = folder_damage(batch) if os.path.lexists(batch) else []
    # Where all that is wrong is a file too many, the batch itself is whole.
    whole = all(what == EXTRA for _, what in damage)
    for path, what in damage:
        yield Problem(path, _truncated(path) or what, path if whole else batch)
    if not damage and batch.is_dir():
        yield from _verify_content(batch)


def _verify_content(batch: Path) -> Iterator[Problem]:
    """Files may be just as they were written, and still not be what the folder's name says."""
    try:
        if batch.parent.parent.name == "fzs":
            records = read_fzs(batch, 0).records
            channels = [record.channel for record in records]
            missing = [record.path for record in records if not record.path.is_file()]
            if missing:
                yield Problem(missing[0], "is missing", batch)
        else:
            channels = read_measures(batch).channels.tolist()
        if batch_name(channels) != batch.name:
            yield Problem(batch / RECORD, f"describes the batch {batch_name(channels)}", batch)
    except (OSError, StoreError, ValueError) as error:
        yield Problem(batch / RECORD, f"is malformed ({error})", batch)


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


def _measured_on(batch: Path) -> list[Path]:
    """Batches of measures, curves and shams that share channels (by their names' ranges) with a batch of FZs."""
    base = batch.parent.parent.parent
    fzset = base if base.parent.name == "sets" else base.parent.parent
    block, _, tensor = batch.parent.name.rpartition(".")
    measured = [(block, tensor)]
    if tensor == "out":
        measured += [(name, "in") for name in _blocks_after(fzset.parent.parent, block)]
    folders = [
        folder
        for kind in ("measures", CURVES, SHAMS)
        for name, on in measured
        for folder in (base / kind / name).glob(f"on_{on}*")  # curves with antialiasing are in a folder of their own
    ]
    first, last = _range(batch)
    found = [path for folder in folders for path in _folders(folder)]
    return [path for path in found if first <= _range(path)[1] and _range(path)[0] <= last]


def _blocks_after(model: Path, block: str) -> list[str]:
    """Simple blocks whose `in` FZ is the `out` FZ of `block`; every block where the model's description is damaged."""
    try:
        info = ModelInfo.from_json(read_document(model / "model.json"))
    except (OSError, StoreError):
        return sorted({path.name for path in model.glob("sets/*/**/measures/*")})
    return [b.name for b in info.blocks if b.previous == block and b.kind == "simple"]


def _range(batch: Path) -> tuple[int, int]:
    first, _, rest = batch.name.partition("-")
    last = rest.partition("-")[0]
    if first.isdecimal() and last.isdecimal():
        return int(first), int(last)
    return 0, 2**31


def _folders(path: Path) -> list[Path]:
    """What is in a folder, in order of name, but what is being written; `path` itself when it cannot be listed."""
    try:
        return sorted(path / name for name in os.listdir(path) if not name.startswith("."))
    except OSError:
        return [path] if os.path.lexists(path) else []
