"""Whose a file is, and reading what others may have put there: a link, a pipe or a device is no record."""

from __future__ import annotations

import errno
import os
import pwd
import stat
from pathlib import Path
from typing import IO


def user_name(uid: int) -> str:
    """As people know a user; `uid 12345` for one that this machine has no name for."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def read_plain(path: Path | str, offset: int = 0, within: int | None = None) -> tuple[bytes, os.stat_result]:
    """What is in a regular file from `offset` on, and its state; `within` is the descriptor of its folder, if open.

    Raises OSError, also for anything else that bears the name: opening a pipe would wait for ever.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=within)
    with open(handle, "rb") as file:
        state = os.fstat(handle)
        if not stat.S_ISREG(state.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
        file.seek(offset)
        return file.read(), state


def append_to(path: Path) -> IO[bytes]:
    """A file opened for appending, made where it is not there; never what a link of its name leads to.

    Raises OSError.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    return open(os.open(path, flags, 0o666), "ab", buffering=0)
