"""What is said of a disk that refuses: one clear line about a path."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streamscope.core.errors import DamageError, DiskFullError, StoreError
from streamscope.core.files import IrregularFileError


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns an OSError into one clear line about `path`: DiskFullError for a full disk or quota, else StoreError."""
    try:
        yield
    except OSError as error:
        raise write_error(path, error) from error


def write_error(path: Path, error: OSError) -> StoreError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(f"no space left to write {path}", path)
    return StoreError(f"cannot write {path}: {reason(error)}")


def read_error(path: Path, error: OSError) -> StoreError:
    """What is said of a file that was not read: DamageError where it is missing, or something else in its place."""
    if isinstance(error, IrregularFileError):
        return DamageError(f"{error.filename or path} {reason(error)}")
    kind = StoreError if is_unreadable(error) else DamageError
    return kind(f"cannot read {error.filename or path}: {reason(error)}")


def is_unreadable(error: OSError) -> bool:
    """Whether nothing is known of what is there: not for this user (permissions) or not now (a disk that fails)."""
    return not isinstance(error, FileNotFoundError | NotADirectoryError | IrregularFileError)


def reason(error: OSError) -> str:
    """The system's words for an error, with the two that puzzle people said plainly."""
    if isinstance(error, NotADirectoryError | FileExistsError):
        return f"a file or a dangling link is in the way of a folder ({error.filename2 or error.filename})"
    return error.strerror or str(error)
