"""Users: whose a file is, where they keep their own, and reading what others may have put into a place of theirs.

A link, a pipe or a device is no record.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal

import platformdirs

from streamscope.core.errors import HomeError
from streamscope.core.files import open_regular


def user_name(uid: int) -> str:
    """As people know a user; `uid 12345` for one that this machine has no name for."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def user_folder(kind: Literal["cache", "config", "data", "state"], variable: str) -> Path:
    """The user's own folder for what streamscope keeps of a kind; `variable` may name another instead.

    Raises HomeError where none is known: in a container HOME may be unset and the user have no name.
    """
    with _home(variable):
        path: Path = getattr(platformdirs, f"user_{kind}_path")("streamscope")
        return path


def expanded(path: str | Path, variable: str) -> Path:
    """A path that may begin with `~`. Raises HomeError."""
    with _home(variable):
        return Path(path).expanduser()


@contextmanager
def _home(variable: str) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, KeyError) as error:
        raise HomeError(f"no home folder is known of {user_name(os.geteuid())}", variable) from error


def read_plain(path: Path | str, limit: int, within: int | None = None) -> tuple[bytes, os.stat_result]:
    """What is in a regular file of at most `limit` bytes, and its state; `within` is the descriptor of its folder, if
    open.

    Raises OSError, also for anything else that bears the name: opening a pipe would wait for ever.
    """
    with open_regular(path, follow=False, limit=limit, within=within) as file:
        # Somebody may be adding to it.
        return file.read(limit), os.fstat(file.fileno())


def read_end(path: Path, limit: int) -> bytes:
    """The last `limit` bytes of a regular file. Raises OSError as `read_plain` does."""
    with open_regular(path, follow=False) as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - limit))
        return file.read(limit)


def append_to(path: Path) -> IO[bytes]:
    """A file opened for appending, made where it is not there; never what a link of its name leads to.

    Raises OSError.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    return open(os.open(path, flags, 0o666), "ab", buffering=0)
