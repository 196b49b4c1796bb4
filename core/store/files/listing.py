"""Cheap looking at folders that others commit to, and the list of what turned out damaged on the way."""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from streamscope.core.errors import StoreError, StreamscopeError
from streamscope.core.store.files.disk_errors import reason

SETTLED = 2.5
"""Seconds after which two changes of a folder surely have different mtimes, on any file system (FAT's step is 2 s)."""

Names = tuple[tuple[str, int], ...]
"""(name, inode) in order of name: a folder that was removed and made again under its name differs."""


class Problems:
    """One line per damaged or unreadable thing met while reading; the line goes when the thing is whole again."""

    def __init__(self) -> None:
        self._errors: dict[Path, StreamscopeError] = {}

    def report(self, path: Path, error: StreamscopeError) -> None:
        self._errors[path] = error

    def note(self, path: Path, error: StreamscopeError | None) -> None:
        """What is wrong with `path` now, or None."""
        if error is None:
            self.clear(path)
        else:
            self.report(path, error)

    def clear(self, path: Path) -> None:
        # Hashing a path is not cheap, and mostly nothing is wrong.
        if self._errors:
            self._errors.pop(path, None)

    def clear_under(self, folder: Path) -> None:
        """For a folder that is gone: whatever was wrong in it is too."""
        for path in [path for path in list(self._errors) if path.is_relative_to(folder)]:
            self.clear(path)

    def clear_others(self, folder: Path, names: Collection[str]) -> None:
        """For entries of a folder that are gone: those that it has are `names`."""
        for path in list(self._errors):
            if path != folder and path.is_relative_to(folder) and path.relative_to(folder).parts[0] not in names:
                self.clear(path)

    def errors(self) -> list[StreamscopeError]:
        return list(self._errors.values())


@dataclass(frozen=True)
class _Seen:
    mtime: tuple[int, int]
    since: float
    settled: bool
    names: Names


class Listings:
    """What folders contain, listed again only when they may have changed.

    A folder's mtime alone is not enough: a commit in the same clock tick as the last listing leaves it as it was. So a
    folder counts as unchanged only when its mtime is the same and had been so for `SETTLED` seconds when it was listed
    (by this host's monotonic clock: the server's may differ).
    """

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._seen: dict[Path, _Seen] = {}

    def names(self, folder: Path) -> Names:
        """Entries of `folder` but those whose name starts with a dot; () when there is none, or it is unreadable."""
        tick = time.monotonic()
        before = self._seen.get(folder)
        try:
            state = os.stat(folder)
            mtime = (state.st_mtime_ns, state.st_ino)
            same = before is not None and before.mtime == mtime
            if before is not None and same and before.settled:
                return before.names
            with os.scandir(folder) as entries:
                names = tuple(sorted((e.name, e.inode()) for e in entries if not e.name.startswith(".")))
        except OSError as error:
            self._seen.pop(folder, None)
            if isinstance(error, FileNotFoundError) and not os.path.lexists(folder):
                self._problems.clear(folder)
            else:
                what = "is a dangling link" if isinstance(error, FileNotFoundError) else reason(error)
                self._problems.report(folder, StoreError(f"cannot read {folder}: {what}"))
            return ()
        since = before.since if before is not None and same else tick
        self._seen[folder] = _Seen(mtime, since, tick - since > SETTLED, names)
        self._problems.clear(folder)
        return names
