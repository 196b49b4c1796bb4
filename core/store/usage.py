"""How much room the store takes, and giving some of it back. Marks are elsewhere: nothing here touches them."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from streamscope.core.errors import StoreError
from streamscope.core.model.blocks import ModelInfo
from streamscope.core.model.fz import SAMPLES
from streamscope.core.model.recipe import SetKey
from streamscope.core.store.files.atomic import discard, remove_folder
from streamscope.core.store.files.disk_errors import writing
from streamscope.core.store.files.owner import TEMPORARY, is_dead_tag
from streamscope.core.store.jobs.state import JobState, job_states, remove_finished
from streamscope.core.store.leases import stale_leases
from streamscope.core.store.store import Store

ABANDONED = 3600.0
"""Seconds after which what another host was writing counts as left behind; a batch takes a second."""


@dataclass(frozen=True)
class Usage:
    """What one set holds: FZs, and those of retries, which were optimised again for rows that were undefined."""

    info: ModelInfo
    key: SetKey
    path: Path
    bytes: int
    batches: int
    fzs: int
    retries: int
    completed: float | None

    @property
    def counted(self) -> str:
        """`448 FZs and 22 retries`."""
        retried = f" and {self.retries} retr{'ies' if self.retries > 1 else 'y'}" if self.retries else ""
        return f"{self.fzs} FZ{'s' * (self.fzs != 1)}{retried}"


@dataclass(frozen=True)
class ScanUsage:
    """What one scan holds; `images` counts the readable and the others. Unfinished where `finished` is None."""

    info: ModelInfo
    path: Path
    source: str
    images: int
    preparation: str
    """Of the images, in words."""
    bytes: int
    finished: float | None


@dataclass(frozen=True)
class Removed:
    """Something that `prune` removed or would remove; `what` says so: a set, a scan, a model, a job, a lease, a
    leftover."""

    path: Path
    what: str
    bytes: int


def usage(store: Store) -> list[Usage]:
    """Every readable set of every model. What cannot be read goes to `store.problems`."""
    found = []
    for info in store.models():
        for fzset in store.sets(info):
            folders = {str(batch.path) for retry in fzset.folder.stored_retries() for batch in retry.batches()}
            used, images = _tally(str(fzset.path), folders)
            _, retries = _tally(str(fzset.folder.retries), folders)
            done = fzset.completed_at()
            found.append(Usage(info, fzset.key, fzset.path, used, len(folders), images - retries, retries, done))
    return found


def _tally(folder: str, batches: Collection[str]) -> tuple[int, int]:
    """Bytes of the files under `folder`, and FZs in those of its folders that are batches: each is listed once."""
    size = images = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    below = _tally(entry.path, batches)
                    size, images = size + below[0], images + below[1]
                    continue
                size += entry.stat(follow_symlinks=False).st_size
                images += entry.name.endswith(".png") and folder in batches
    except OSError:
        # What cannot be read counts nothing.
        pass
    return size, images


def scan_usage(store: Store) -> list[ScanUsage]:
    """Every scan of every model, finished or not. What cannot be read goes to `store.problems`."""
    found = []
    for info in store.models():
        finished = {scan.path: scan.finished_at for scan in store.scans(info)}
        for path, described in store.described_scans(info):
            size = folder_bytes(path)
            prepared = str(described.preparation)
            found.append(ScanUsage(info, path, described.source, described.images, prepared, size, finished.get(path)))
    return found


def estimate_bytes(info: ModelInfo, count: int) -> int:
    """Room that `count` FZs and what is measured on them take at most, in bytes."""
    image = 3 * info.input_size**2 + 1024
    widest = max((block.channels for block in info.blocks), default=0)
    # An FZ is measured plain and scaled, at three tensors, on its own block and as the next block's input.
    measures = 2 * 2 * 3 * 4 * widest
    return count * (image + measures + 4 * SAMPLES + 1024)


def prune(
    store: Store,
    *,
    model: ModelInfo | None = None,
    set: SetKey | None = None,
    images: Path | None = None,
    stale: bool = True,
    dry_run: bool = False,
) -> list[Removed]:
    """Removes a model with all its sets and scans, or only one set of it, or only its scans of one folder of images.

    With `stale` also finished jobs, expired leases and what killed processes left; jobs of which one look cannot tell
    whether they run stay, see `doubtful_jobs`. Returns what it removed, or with `dry_run` would remove. Raises
    StoreError.
    """
    if (set is not None or images is not None) and model is None:
        raise StoreError("name the model whose set or scan is to be pruned")
    removed: list[Removed] = []
    if model is not None and images is not None:
        source = os.path.abspath(images)
        removed += [
            Removed(scan.path, f"{model.name}, the scan of {scan.source}", scan.bytes)
            for scan in scan_usage(store)
            if scan.info.identity == model.identity and scan.source == source
        ]
    if model is not None and (set is not None or images is None):
        path = store.set(model, set).path if set is not None else store.folder(model)
        if path is not None and os.path.lexists(path):
            removed.append(Removed(path, f"{model.name}, {set}" if set else f"model {model.name}", folder_bytes(path)))
    if stale:
        removed += [
            Removed(path, "a leftover of a killed process", folder_bytes(path))
            for path in _leftovers(store, store.root)
        ]
        removed += [Removed(path, "an expired lease", folder_bytes(path)) for path in stale_leases(store.root)]
        for state in remove_finished(store, dry_run=True):
            folder = state.job.folder
            removed.append(Removed(folder, f"a job that is {state.state}", folder_bytes(folder)))
    for item in removed if not dry_run else []:
        if item.path.is_dir():
            remove_folder(item.path)
        else:
            with writing(item.path):
                item.path.unlink(missing_ok=True)
    return removed


def doubtful_jobs(store: Store) -> list[JobState]:
    """This user's jobs that `prune` leaves because only a date that lies ahead says whether they run."""
    return [state for state in job_states(store) if state.is_doubtful and state.job.is_own]


def folder_bytes(path: Path) -> int:
    """Bytes of the files at and under `path`; what cannot be read counts nothing."""
    total = 0
    for file in _walk(path):
        try:
            total += file.lstat().st_size
        except OSError:
            continue
    return total


def remove_leftovers(store: Store, folder: Path) -> None:
    """Removes what killed processes left half-written under a folder of the store."""
    for path in _leftovers(store, folder):
        discard(path)


def _leftovers(store: Store, folder: Path) -> list[Path]:
    return [path for path in _temporaries(folder) if _is_abandoned(store, path)]


def _is_abandoned(store: Store, path: Path) -> bool:
    gone = is_dead_tag(path.name.removeprefix(TEMPORARY).rpartition("-")[0])
    if gone is not None:
        return gone
    try:
        return store.clock.age(path.lstat().st_mtime) > ABANDONED
    except OSError:
        return False


def _temporaries(root: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(root):
        for name in [*folders, *files]:
            if name.startswith(TEMPORARY):
                yield Path(folder) / name
        folders[:] = [name for name in folders if not name.startswith(TEMPORARY)]


def _walk(path: Path) -> Iterator[Path]:
    if not path.is_dir() or path.is_symlink():
        yield path
    for folder, _, files in os.walk(path):
        yield from (Path(folder) / name for name in files)
