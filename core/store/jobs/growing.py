"""FZs that are being optimised, as they look so far: for whoever watches, never stored as FZs.

A batch is a file of its job's folder, replaced from time to time and removed when its FZs are stored.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamscope.core.errors import StoreError
from streamscope.core.model.blocks import MAX_SIDE, Target
from streamscope.core.store.files.atomic import make_folder, write_file
from streamscope.core.store.files.users import read_plain
from streamscope.core.store.layout import JobFolder

MOST = 32
"""Images of a batch that are shown."""
FILE_LIMIT = 2**26
"""Bytes of such a file."""


@dataclass(frozen=True)
class Growing:
    """One FZ as it is now; `stamp` changes whenever the image may have."""

    path: Path
    stamp: int
    image: NDArray[np.uint8]
    """(H, W, 3)."""


def write_growing(job: JobFolder, target: Target, channels: Sequence[int], images: NDArray[np.uint8]) -> None:
    """Shows a batch's images (n, H, W, 3) so far. Nothing depends on it, so a disk that refuses is left alone."""
    buffer = io.BytesIO()
    np.savez(buffer, channels=np.array(channels[:MOST], dtype=np.int64), images=images[:MOST])
    with suppress(StoreError):
        make_folder(job.growing)
        write_file(_file(job, target, channels), buffer.getvalue())


def remove_growing(job: JobFolder, target: Target, channels: Sequence[int]) -> None:
    """The batch is done, or given up."""
    with suppress(OSError):
        _file(job, target, channels).unlink()


def growing_stamp(jobs: Iterable[JobFolder]) -> int:
    """Changes whenever an image of these jobs may have."""
    return max((stamp for job in jobs for _, stamp in _files(job)), default=0)


def find_growing(jobs: Iterable[JobFolder], target: Target, channel: int) -> Growing | None:
    """How a channel's FZ looks so far, of whichever of these jobs is at it; None where none is."""
    for job in jobs:
        for path, stamp in _files(job):
            if path.name.startswith(f"{target} "):
                image = _read(path, channel)
                if image is not None:
                    return Growing(path, stamp, image)
    return None


def _file(job: JobFolder, target: Target, channels: Sequence[int]) -> Path:
    return job.growing / f"{target} {channels[0]}-{channels[-1]}.npz"


def _files(job: JobFolder) -> list[tuple[Path, int]]:
    try:
        with os.scandir(job.growing) as entries:
            found = [(Path(e.path), e.stat().st_mtime_ns) for e in entries if e.name.endswith(".npz")]
    except OSError:
        return []
    return sorted(found)


def _read(path: Path, channel: int) -> NDArray[np.uint8] | None:
    """None also for what is damaged: it is replaced in a moment."""
    try:
        content, _ = read_plain(path, FILE_LIMIT)
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            channels, images = arrays["channels"], arrays["images"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    rows = np.flatnonzero(channels == channel) if channels.ndim == 1 else np.zeros(0, dtype=np.int64)
    fits = images.ndim == 4 and images.dtype == np.uint8 and images.shape[3] == 3 and images.shape[1] <= MAX_SIDE
    if not len(rows) or not fits or rows[0] >= len(images):
        return None
    image: NDArray[np.uint8] = images[rows[0]]
    return image
