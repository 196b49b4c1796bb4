"""Standard streams as a command needs them: there, and on stderr never in the way. Imports nothing slow."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import Any


class _Output(io.FileIO):
    """Remembers that something could not be written to it."""

    failed = False

    def write(self, content: Any, /) -> int:
        try:
            return super().write(content)
        except OSError:
            self.failed = True
            raise


class _Remarks(io.FileIO):
    """Drops what cannot be written: remarks that nobody can read must not end the work that they are about."""

    def write(self, content: Any, /) -> int:
        try:
            return super().write(content)
        except OSError:
            return len(content)


def mend_streams() -> None:
    """Opens what whoever started this process left closed, so that no file of ours takes its number and is written to
    by whatever prints; and lets what is said on stderr fail silently."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is this one.
            os.open(os.devnull, os.O_RDWR)
    if sys.stdin is None:
        sys.stdin = sys.__stdin__ = open(0, closefd=False)  # type: ignore[misc]  # noqa: SIM115 (as long as we live)
    sys.stdout = sys.__stdout__ = _text(_Output(1, "w", closefd=False), sys.stdout, "strict")  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _text(_Remarks(2, "w", closefd=False), sys.stderr, "backslashreplace")  # type: ignore[misc]


def _text(file: io.FileIO, before: Any, errors: str) -> io.TextIOWrapper:
    """A file to print to, as Python had it `before`; None where it was closed."""
    encoding, errors = getattr(before, "encoding", "utf-8"), getattr(before, "errors", errors)
    at_once = isinstance(file, _Remarks) or file.isatty()
    return io.TextIOWrapper(io.BufferedWriter(file), encoding, errors, line_buffering=at_once)


def is_stdout_broken() -> bool:
    """Whether what was printed could not be written. It is given up then: Python would try again at the end."""
    output = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if not isinstance(output, _Output) or not output.failed:
        return False
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return True
