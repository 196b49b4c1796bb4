"""The clock of a file system: ages of files on a shared disk are judged by the server's time, not this host's."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path

from streamscope.core.store.files.owner import temporary_name

REFRESH = 30.0
"""Seconds that one reading is carried on by this host's monotonic clock, so that polling writes nothing."""
AHEAD = 3600.0
"""Seconds that a date may lie ahead, as on a disk that takes its dates from whoever writes; beyond, it is no date."""


@dataclass(frozen=True)
class Unchanged:
    """What a watcher saw of a file that another process renews, by its own monotonic clock."""

    seconds: float
    """Since it first saw the file as it is."""
    renewed: bool
    """Whether it had seen it otherwise before: then somebody was alive at that time, whatever the file's date says."""


class FolderClock:
    """The time as files written in `folder` get it, and what was watched there.

    Hosts' clocks differ, and so do the dates of what they write on some disks. So a date alone proves no death where
    the watcher has seen a renewal since, and what stays as it is dies however far ahead its date lies. `monotonic`
    gives seconds from some point on.
    """

    def __init__(self, folder: Path, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.folder = folder
        self._monotonic = monotonic
        self._offset = 0.0
        self._read_at: float | None = None
        self._watched: dict[Path, tuple[Hashable, float, bool]] = {}

    def now(self) -> float:
        """Seconds since 1970 by the file system's clock; this host's clock where nothing can be written."""
        tick = self._monotonic()
        if self._read_at is None or tick - self._read_at > REFRESH:
            self._offset = self._touch() - tick
            self._read_at = tick
        return tick + self._offset

    def age(self, modified: float) -> float:
        """Seconds since `modified`, an `st_mtime` of a file on this file system; infinite for one beyond `AHEAD`."""
        seconds = self.now() - modified
        return seconds if seconds > -AHEAD else math.inf

    def unchanged(self, path: Path, stamp: Hashable) -> Unchanged:
        """For how long `path` was seen with the `stamp` that it has now, one that differs after every renewal."""
        tick = self._monotonic()
        before, since, renewed = self._watched.get(path, (stamp, tick, False))
        if before != stamp:
            since, renewed = tick, True
        self._watched[path] = (stamp, since, renewed)
        return Unchanged(tick - since, renewed)

    def forget(self, path: Path) -> None:
        """For a file that is gone."""
        self._watched.pop(path, None)

    def _touch(self) -> float:
        probe = self.folder / temporary_name()
        try:
            os.close(os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
            try:
                return os.stat(probe).st_mtime
            finally:
                probe.unlink(missing_ok=True)
        except OSError:
            return time.time()
