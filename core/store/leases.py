"""Leases: who is working on which batch, so that two jobs never do the same work and a dead one blocks nobody."""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from streamscope.core.store.files.atomic import make_folder, write_file, write_new
from streamscope.core.store.files.clock import FolderClock
from streamscope.core.store.files.disk_errors import writing
from streamscope.core.store.files.documents import encode
from streamscope.core.store.files.owner import Owner, is_dead, this_process

EXPIRES = 60.0
"""Seconds without renewal, by the file system's clock, after which a lease is anybody's."""
UNREADABLE = ""


@dataclass(frozen=True)
class _Lease:
    token: str
    owner: Owner | None
    modified: float
    holder: str = ""
    """The `owner` of the `Leases` that took it."""


class Leases:
    """The leases that one worker holds. Losing one costs work done twice, never a damaged batch.

    A lease is a file that only one process can create. Renewing sets its mtime. A stale one is replaced by rename, by
    whoever creates the marker named after it first and still finds it unchanged then.
    """

    def __init__(self, root: Path, owner: str) -> None:
        self.folder = root / "leases"
        self.owner = owner
        self._clock = FolderClock(self.folder)
        self._held: dict[str, str] = {}
        # Any thread of a run may renew what the run holds while another claims or releases.
        self._lock = threading.Lock()

    @property
    def held(self) -> frozenset[str]:
        return frozenset(self._held.copy())

    def claim(self, key: str) -> bool:
        """True when `key` is ours now, False while another live worker holds it. Raises StoreError, DiskFullError."""
        make_folder(self.folder)
        with self._lock:
            return self._claim(key)

    def renew(self) -> list[str]:
        """Renews all that is held, to be called well within `EXPIRES`; returns the keys that were lost to others."""
        with self._lock:
            return self._renew()

    def release(self, key: str) -> None:
        """Gives `key` back. Does nothing when it is not ours (any more)."""
        with self._lock:
            token = self._held.pop(key, None)
            path = self._path(key)
            found = self._look(path)
            if token is not None and found is not None and found.token == token:
                with suppress(OSError):
                    path.unlink(missing_ok=True)

    def release_all(self) -> None:
        for key in self.held:
            self.release(key)

    def _claim(self, key: str) -> bool:
        path = self._path(key)
        found = self._look(path)
        if found is None:
            token = self._create(path, key)
        elif found.token == self._held.get(key):
            with writing(path):
                os.utime(path)
            return True
        else:
            token = self._replace(path, key, found) if self._is_free(found) else None
        if token is None:
            self._held.pop(key, None)
            return False
        self._held[key] = token
        return True

    def _renew(self) -> list[str]:
        lost = []
        for key, token in list(self._held.items()):
            path = self._path(key)
            found = self._look(path)
            if found is None or found.token not in (token, UNREADABLE):
                del self._held[key]
                lost.append(key)
            else:
                # A network disk that does not answer now may do so at the next renewal; till then it is ours.
                with suppress(OSError):
                    os.utime(path)
        return lost

    def _path(self, key: str) -> Path:
        return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()}.json"

    def _is_free(self, lease: _Lease) -> bool:
        return (lease.owner is not None and is_dead(lease.owner)) or self._clock.age(lease.modified) > EXPIRES

    def _content(self, key: str) -> tuple[str, bytes]:
        token = secrets.token_hex(8)
        process = this_process().to_json()
        return token, encode({"key": key, "owner": self.owner, "token": token, "time": time.time(), "process": process})

    def _create(self, path: Path, key: str) -> str | None:
        """The token of a new lease; None when somebody was quicker."""
        token, content = self._content(key)
        with writing(path):
            try:
                write_new(path, content, durable=False)
            except FileExistsError:
                return None
            except OSError:
                path.unlink(missing_ok=True)
                raise
        return token

    def _replace(self, path: Path, key: str, stale: _Lease) -> str | None:
        marker = path.with_name(f"{path.stem}.{stale.token}.taken")
        if self._create(marker, key) is None:
            # Somebody is taking it right now, or died doing so.
            taking = self._look(marker)
            if taking is not None and self._is_free(taking):
                with writing(marker):
                    marker.unlink(missing_ok=True)
            return None
        try:
            now = self._look(path)
            if now is None or now.token != stale.token or not self._is_free(now):
                return None
            token, content = self._content(key)
            write_file(path, content, durable=False)
            return token
        finally:
            with suppress(OSError):
                marker.unlink(missing_ok=True)

    @staticmethod
    def _look(path: Path) -> _Lease | None:
        try:
            # One file is looked at, even when another takes its name meanwhile.
            with open(path, "rb") as file:
                state = os.fstat(file.fileno())
                content = file.read()
        except FileNotFoundError:
            return None
        except OSError:
            # Unreadable: somebody's, so leave it alone until it can be read.
            return _Lease(UNREADABLE, None, math.inf)
        try:
            data = json.loads(content)
            return _Lease(str(data["token"]), Owner.from_json(data["process"]), state.st_mtime, str(data["owner"]))
        except (ValueError, KeyError, TypeError):
            # Being written right now, or torn: its age alone decides.
            return _Lease(f"{state.st_ino}-{state.st_mtime_ns}", None, state.st_mtime)


def stale_leases(root: Path, holder: str | None = None) -> list[Path]:
    """Lease files that no live worker holds; with `holder` only those that this one took."""
    leases = Leases(root, "")
    try:
        paths = sorted(path for path in leases.folder.iterdir() if path.suffix in (".json", ".taken"))
    except OSError:
        return []
    found = [(path, lease) for path in paths if (lease := leases._look(path)) is not None and leases._is_free(lease)]
    return [path for path, lease in found if holder in (None, lease.holder)]
