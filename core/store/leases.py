"""Leases: who is working on which batch, so that two jobs never do the same work and a dead one blocks nobody."""

from __future__ import annotations

import hashlib
import math
import os
import re
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamscope.core.schema import MalformedError, build_known, parse_object
from streamscope.core.store.files.atomic import make_folder, write_file, write_new
from streamscope.core.store.files.clock import FolderClock
from streamscope.core.store.files.disk_errors import writing
from streamscope.core.store.files.documents import encode
from streamscope.core.store.files.owner import Owner, is_alive, is_dead, is_here, this_process
from streamscope.core.store.files.users import read_plain
from streamscope.core.store.layout import leases_folder

EXPIRES = 60.0
"""Seconds without renewal after which a lease is anybody's."""
WATCH_SECONDS = 1.0
SIGN = 20.0
"""Seconds that a lease of another host whose date is old is watched first: hosts' clocks differ, and some disks take
dates from whoever writes. Holders renew within 10."""
UNREADABLE = ""
LIMIT = 2**16
"""Bytes that a lease may have."""
_TOKEN = re.compile(r"[0-9a-f]{1,64}", re.ASCII)
"""It becomes part of a file's name."""


@dataclass(frozen=True)
class _Record:
    """The file of a lease."""

    token: str
    owner: str
    process: Any

    def __post_init__(self) -> None:
        if not _TOKEN.fullmatch(self.token):
            raise MalformedError("the token is none that is written")


@dataclass(frozen=True)
class _Lease:
    token: str
    owner: Owner | None
    modified: float
    holder: str = ""
    """The `owner` of the `Leases` that took it."""

    @property
    def stamp(self) -> tuple[str, float]:
        """Differs after every renewal."""
        return self.token, self.modified


class Leases:
    """The leases that one worker holds. Losing one costs work done twice, never a damaged batch.

    A lease is a file that only one process can create. Renewing sets its mtime. A stale one is replaced by rename, by
    whoever creates the marker named after it first and still finds it unchanged then. No clock is trusted alone: what
    stays as it is for `EXPIRES` by this watcher's own `monotonic` one is free, whatever its date.
    """

    def __init__(self, root: Path, owner: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.folder = leases_folder(root)
        self.owner = owner
        self._clock = FolderClock(self.folder, monotonic)
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

    def holder(self, key: str) -> str:
        """Who holds `key`, for people: host and process; "" when nobody does."""
        lease = self._look(self._path(key))
        if lease is None:
            return ""
        return str(lease.owner) if lease.owner is not None else "a process that cannot be told"

    def claim_or_watch(self, key: str, wait: Callable[[float], object]) -> bool:
        """As `claim`, of what nobody is to wait for: False once its holder is seen to live.

        One that is not is watched until it is, or has run out; `wait` is called meanwhile with the seconds to wait,
        and ends it by returning True.
        """
        while not self.claim(key):
            if self.has_sign_of_life(key) or wait(WATCH_SECONDS):
                return False
        return True

    def has_sign_of_life(self, key: str) -> bool:
        """Whether the holder of `key` is seen to live: a process of this host, or one that renewed it meanwhile."""
        path = self._path(key)
        lease = self._look(path)
        if lease is None:
            return False
        return (lease.owner is not None and is_alive(lease.owner)) or self._clock.unchanged(path, lease.stamp).renewed

    def _claim(self, key: str) -> bool:
        path = self._path(key)
        found = self._look(path)
        if found is None:
            self._clock.forget(path)
            token = self._create(path, key)
        elif found.token == self._held.get(key):
            with writing(path):
                os.utime(path)
            return True
        else:
            token = self._replace(path, key, found) if self._is_free(path, found) else None
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

    def _is_free(self, path: Path, lease: _Lease) -> bool:
        if lease.owner is not None and is_dead(lease.owner):
            return True
        if lease.modified == math.inf:
            return False
        watched = self._clock.unchanged(path, lease.stamp)
        if watched.seconds > EXPIRES:
            return True
        if lease.token == UNREADABLE or self._clock.age(lease.modified) <= EXPIRES:
            return False
        return lease.owner is None or is_here(lease.owner) or watched.seconds > SIGN

    def _is_stale(self, lease: _Lease) -> bool:
        if lease.owner is not None and is_dead(lease.owner):
            return True
        if lease.token == UNREADABLE:
            return False
        age = self._clock.age(lease.modified)
        return age > EXPIRES or (age < -EXPIRES and not (lease.owner is not None and is_alive(lease.owner)))

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
            if taking is not None and self._is_free(marker, taking):
                with writing(marker):
                    marker.unlink(missing_ok=True)
            return None
        try:
            now = self._look(path)
            if now is None or now.stamp != stale.stamp:
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
            content, state = read_plain(path, LIMIT)
        except FileNotFoundError:
            return None
        except OSError:
            # Unreadable: somebody's, so it is left alone until it can be read, or was not renewed for long.
            try:
                return _Lease(UNREADABLE, None, os.lstat(path).st_mtime)
            except OSError:
                return _Lease(UNREADABLE, None, math.inf)
        try:
            record = build_known(_Record, parse_object(content))
            return _Lease(record.token, Owner.from_json(record.process), state.st_mtime, record.owner)
        except MalformedError:
            # Being written right now, or torn: its age alone decides.
            return _Lease(f"{state.st_ino}-{state.st_mtime_ns}", None, state.st_mtime)


def stale_leases(root: Path, holder: str | None = None) -> list[Path]:
    """Lease files that no live worker holds, by one look; with `holder` only those that this one took.

    Also those dated ahead, unless their holder is seen to live: that costs at most a batch done twice.
    """
    leases = Leases(root, "")
    try:
        paths = sorted(path for path in leases.folder.iterdir() if path.suffix in (".json", ".taken"))
    except OSError:
        return []
    found = [(path, lease) for path in paths if (lease := leases._look(path)) is not None and leases._is_stale(lease)]
    return [path for path, lease in found if holder in (None, lease.holder)]
