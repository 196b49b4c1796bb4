"""Reads the batches of a set's folders, each once, and says what is wrong with them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from streamscope.core.errors import DamageError, StoreError, StreamscopeError
from streamscope.core.store.files.disk_errors import read_error
from streamscope.core.store.files.listing import Listings, Names, Problems

Content = TypeVar("Content")
Merged = TypeVar("Merged")


class BatchReader:
    """Folders are read only when they changed, and a batch only when it is new. Several threads may use one."""

    def __init__(self, problems: Problems) -> None:
        self.problems = problems
        self.lock = threading.RLock()
        """Guards what is remembered, and held while it is brought up to date."""
        self._listings = Listings(problems)
        self._batches: dict[tuple[Path, str], dict[tuple[str, int], Any]] = {}
        self._known: dict[tuple[Path, str], tuple[Names, Any]] = {}

    def names(self, folder: Path) -> Names:
        """What is in a folder."""
        return self._listings.names(folder)

    def inside(self, folder: Path) -> list[Path]:
        """The paths of what is in a folder."""
        return [folder / name for name, _ in self.names(folder)]

    def time(self, path: Path, read: Callable[[], float]) -> float | None:
        """What `read` says of a document, seconds since 1970; None where there is none, or it is damaged."""
        try:
            value = float(read())
            self.problems.clear(path)
            return value
        except FileNotFoundError:
            self.problems.clear(path)
        except (OSError, StoreError) as error:
            self.report(path, error)
        return None

    def merged(
        self,
        folder: Path,
        what: str,
        read: Callable[[Path], Content],
        merge: Callable[[Sequence[Content]], Merged],
    ) -> Merged:
        """What `merge` makes of what `read` says of every intact batch: the same object until the folder changes."""
        with self.lock:
            names = self.names(folder)
            known = self._known.get((folder, what))
            if known is not None and known[0] == names:
                found: Merged = known[1]
                return found
            batches = self.batches(folder, what, names, read)
            merged = merge(batches)
            # What could not be read is tried again next time: a network disk may have hiccuped.
            if len(batches) == len(names):
                self._known[folder, what] = (names, merged)
            return merged

    def batches(self, folder: Path, what: str, names: Names, read: Callable[[Path], Content]) -> list[Content]:
        """What `read` says of every intact batch; `what` names it, so that each batch is read for it once only."""
        before = self._batches.get((folder, what), {})
        after: dict[tuple[str, int], Content] = {}
        for entry in names:
            if entry in before:
                after[entry] = before[entry]
                continue
            path = folder / entry[0]
            try:
                after[entry] = read(path)
                self.problems.clear(path)
            except (OSError, StoreError) as error:
                self.report(path, error)
        for name, _ in before.keys() - after.keys():
            if not os.path.lexists(folder / name):
                self.problems.clear_under(folder / name)
        self._batches[folder, what] = after
        return list(after.values())

    def report(self, path: Path, error: Exception, folder: Path | None = None) -> None:
        """Says that `path` could not be read, unless it (or `folder`) is gone."""
        if isinstance(error, FileNotFoundError) and not os.path.lexists(folder or path):
            # Removed by someone between listing and reading.
            self.problems.clear(path)
        elif isinstance(error, FileNotFoundError) and path.is_symlink():
            self.problems.report(path, StoreError(f"cannot read {path}: is a dangling link"))
        elif isinstance(error, OSError):
            self.problems.report(path, read_error(path, error))
        else:
            damage = error if isinstance(error, StreamscopeError) else DamageError(f"{path} is damaged ({error})")
            self.problems.report(path, damage)
