"""Files of other people's, opened without waiting for what is no file."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


class IrregularFileError(OSError):
    """A pipe, a socket, a device or a folder stands where a file is expected."""

    def __init__(self, path: Path) -> None:
        super().__init__(errno.EINVAL, "is not a regular file", str(path))


def open_regular(path: Path) -> BinaryIO:
    """A regular file, or what a link to one leads to, opened for reading.

    A named pipe without a writer would hold up a plain `open` for ever. Raises IrregularFileError, OSError.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise IrregularFileError(path)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_regular(path: Path) -> bytes:
    """The content of a regular file. Raises IrregularFileError, OSError."""
    with open_regular(path) as file:
        return file.read()
