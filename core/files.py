"""Files of other people's, opened without waiting for what is no file."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

_PIECE = 2**26
"""Bytes that are read at once; the description of a ResNet152, which is read whole, has four million."""
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
_FLAGS_OF_NO_LINK = _FLAGS | getattr(os, "O_NOFOLLOW", 0)


class IrregularFileError(OSError):
    """A pipe, a socket, a device, a folder or a link stands where a file is expected."""

    def __init__(self, path: Path | str, what: str = "is not a regular file") -> None:
        super().__init__(errno.EINVAL, what, str(path))


class OversizedFileError(IrregularFileError):
    """A file is larger than anything that would be written under its name."""

    def __init__(self, path: Path | str, size: int) -> None:
        super().__init__(path, f"is too large ({size:,} bytes)")


def open_regular(
    path: Path | str, follow: bool = True, limit: int | None = None, within: int | None = None
) -> BufferedReader:
    """A regular file of at most `limit` bytes, or what a link to one leads to, opened for reading; no link unless
    `follow`. `within` is the descriptor of its folder, if open.

    A named pipe without a writer would hold up a plain `open` for ever. Raises IrregularFileError, OSError.
    """
    handle, size = _open(path, follow, within)
    if limit is not None and size > limit:
        os.close(handle)
        raise OversizedFileError(path, size)
    return os.fdopen(handle, "rb")


def read_regular(path: Path | str, follow: bool = True, limit: int | None = None) -> bytes:
    """The content of a regular file of at most `limit` bytes. Raises IrregularFileError, OSError."""
    # Not `open_regular`: a file object costs more than reading a record does.
    handle, size = _open(path, follow)
    try:
        if limit is not None and size > limit:
            raise OversizedFileError(path, size)
        # Up to the size it had: a call more to see its end costs as much as the reading.
        content = os.read(handle, min(size, _PIECE))
        if len(content) == size:
            return content
        pieces = [content]
        while (left := size - sum(map(len, pieces))) > 0 and (piece := os.read(handle, min(left, _PIECE))):
            pieces.append(piece)
        return b"".join(pieces)
    finally:
        os.close(handle)


def _open(path: Path | str, follow: bool, within: int | None = None) -> tuple[int, int]:
    """A descriptor and how many bytes the file has."""
    try:
        handle = os.open(path, _FLAGS if follow else _FLAGS_OF_NO_LINK, dir_fd=within)
    except OSError as error:
        if error.errno == errno.ELOOP and not follow and os.path.islink(path):
            raise IrregularFileError(path, "is a link" if os.path.exists(path) else "is a dangling link") from None
        if error.errno == errno.ENXIO:
            # A socket.
            raise IrregularFileError(path) from None
        raise
    try:
        state = os.fstat(handle)
        if not stat.S_ISREG(state.st_mode):
            raise IrregularFileError(path)
        return handle, state.st_size
    except BaseException:
        os.close(handle)
        raise
