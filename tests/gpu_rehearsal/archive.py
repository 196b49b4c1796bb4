"""All results in one file, also when the rehearsal did not come to its end; and a working folder from that file.

The archive is no compressed one: a store is PNGs nearly all of it, which gzip makes 1 % smaller.
"""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

STORE = "cache"
"""The store in the working folder."""
SMALL = ("results.json", "summary.md", "logs", "tables")
"""What is always kept, in order; a log's end where it is long."""
LONGEST_LOG = 1_000_000
"""Bytes."""
PASSING = ("jobs", "leases")
"""Folders of a store that mean nothing to another machine."""


@dataclass(frozen=True)
class Contents:
    """What goes into an archive, and how much of the store does not."""

    folders: tuple[Path, ...]
    """Of the store, each whole: a batch, or what lies beside batches. Oldest first."""
    bytes: int
    left_out_folders: int
    left_out_bytes: int


def choose(work: Path, most_bytes: int) -> Contents:
    """The store as it was when it had grown to what fits: a batch is as old as its youngest file, and measures are
    younger than the FZs that they are of, so that none is kept without them."""
    room = most_bytes - sum(min(path.stat().st_size, LONGEST_LOG) for path in small_files(work))
    sizes = {folder: size_of(folder) for folder in store_folders(work / STORE)}
    used, kept = 0, []
    for folder, size in sizes.items():
        if used + size > room:
            break
        used += size
        kept.append(folder)
    left = list(sizes.values())[len(kept) :]
    return Contents(tuple(kept), used, len(left), sum(left))


def small_files(work: Path) -> Iterator[Path]:
    for name in SMALL:
        path = work / name
        yield from (p for p in (path, *sorted(path.rglob("*"))) if p.is_file())


def store_folders(store: Path) -> list[Path]:
    """Folders of the store that have files, oldest first; what is being written has a name with a dot."""
    found = []
    for folder, folders, files in os.walk(store):
        at_top = Path(folder) == store
        folders[:] = [n for n in folders if not n.startswith(".") and not (at_top and n in PASSING)]
        times = [os.stat(os.path.join(folder, name)).st_mtime_ns for name in files]
        if times:
            # What lies beside batches (set.json, completed.json) is small, changes, and is needed first.
            batch = "batch.json" in files
            found.append((batch, max(times), folder))
    return [Path(folder) for _, _, folder in sorted(found)]


def size_of(folder: Path) -> int:
    """Bytes of a folder's own files in an archive: each with a header, in whole blocks."""
    return sum(512 + -(-path.stat().st_size // 512) * 512 for path in folder.iterdir() if path.is_file())


def write_archive(work: Path, archive: Path, contents: Contents) -> None:
    """Replaces an archive at once, when the new one is whole on disk."""
    new = archive.with_suffix(".part")
    with new.open("wb") as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
            for path in small_files(work):
                add_end(tar, path, str(path.relative_to(work)))
            for folder in contents.folders:
                for path in sorted(p for p in folder.iterdir() if p.is_file()):
                    tar.add(path, str(path.relative_to(work)), recursive=False)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, archive)


def add_end(tar: tarfile.TarFile, path: Path, name: str) -> None:
    """A file, or the end of one that is long."""
    info = tar.gettarinfo(path, name)
    with path.open("rb") as file:
        if name.startswith("logs") and info.size > LONGEST_LOG:
            file.seek(info.size - LONGEST_LOG)
            info.size = LONGEST_LOG
        tar.addfile(info, file)


def restore(archive: Path, work: Path) -> None:
    """Makes a working folder of an archive. Whoever is killed meanwhile begins again."""
    new = work.with_name(f"{work.name}.restoring")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    with tarfile.open(archive) as tar:
        tar.extractall(new, filter="data")
    shutil.rmtree(work, ignore_errors=True)
    os.replace(new, work)
