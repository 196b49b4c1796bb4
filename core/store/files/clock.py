"""The clock of a file system: ages of files on a shared disk are judged by the server's time, not this host's."""

from __future__ import annotations

import os
import time
from pathlib import Path

from streamscope.core.store.files.owner import temporary_name

REFRESH = 30.0
"""Seconds that one reading is carried on by this host's monotonic clock, so that polling writes nothing."""


class FolderClock:
    """The time as files written in `folder` get it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._offset = 0.0
        self._read_at: float | None = None

    def now(self) -> float:
        """Seconds since 1970 by the file system's clock; this host's clock where nothing can be written."""
        tick = time.monotonic()
        if self._read_at is None or tick - self._read_at > REFRESH:
            self._offset = self._touch() - tick
            self._read_at = tick
        return tick + self._offset

    def age(self, modified: float) -> float:
        """Seconds since `modified`, an `st_mtime` of a file on this file system."""
        return self.now() - modified

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
