"""Files that grow by a line at a time, read on from where one was, however long they are or are made to look."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from streamscope.core.files import open_regular

LINE_LIMIT = 2**24
"""Bytes that a line may have: one that names every channel of a wide network has a million."""
SKIPPED = 2**28
"""Bytes of one line that are gone through in search of its end; a file may have a hole of a million million."""
_PIECE = 2**20


def read_lines(path: Path, offset: int, follow: bool = False) -> Iterator[tuple[bytes | None, int]]:
    """Each whole line from `offset` on with where the next one begins; None for one that is too long to be one.

    What comes after the last line end is being written right now, or was torn by a crash: it is not given, unless it is
    too long. Raises OSError.
    """
    with open_regular(path, follow) as file:
        file.seek(offset)
        while line := file.readline(LINE_LIMIT):
            if line.endswith(b"\n"):
                offset += len(line)
                yield line[:-1], offset
                continue
            if len(line) < LINE_LIMIT:
                return
            skipped = 0
            while skipped < SKIPPED and (piece := file.readline(_PIECE)) and not piece.endswith(b"\n"):
                skipped += len(piece)
            if skipped >= SKIPPED:
                # Nothing that was written looks like that: whatever else is there is not looked for.
                file.seek(0, os.SEEK_END)
            offset = file.tell()
            yield None, offset
