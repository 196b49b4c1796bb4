"""Marks as CSV, to share with a colleague."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamscope.core.errors import StoreError, UsageError
from streamscope.core.store.files.atomic import write_file
from streamscope.core.store.files.disk_errors import reason
from streamscope.core.store.marks.judgements import check_mark, check_tag

if TYPE_CHECKING:
    from streamscope.core.store.marks.journal import Marks

COLUMNS = ("model", "fingerprint", "block", "channel", "marked", "tags", "note")
SHOWN = 12
"""Digits of a fingerprint in a message."""


def write_csv(marks: Marks, path: Path) -> int:
    """Writes every judgement, tags separated by spaces, and returns how many. Raises StoreError, DiskFullError."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    judgements = marks.all()
    for (block, channel), judgement in judgements.items():
        row = (marks.model, marks.fingerprint, block, channel, judgement.mark, " ".join(judgement.tags), judgement.note)
        writer.writerow(row)
    # A note may hold what came in as undecodable bytes.
    write_file(path, text.getvalue().encode(errors="replace"))
    return len(judgements)


def read_csv(marks: Marks, path: Path) -> int:
    """Says all that the file says; an empty field leaves what is known, tags are added to those there are.

    Returns the number of channels. Raises StoreError, with nothing applied, when any line is malformed (it names the
    line) or of another model (it names both fingerprints).
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise StoreError(f"cannot read {path}: {reason(error)}") from error
    except UnicodeDecodeError as error:
        raise StoreError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start})") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    changes: list[tuple[str, int, dict[str, Any]]] = []
    line = 1
    try:
        header = next(reader, [])
        missing = [name for name in COLUMNS if name not in header]
        if missing:
            raise ValueError(f"the column {missing[0]} is missing; columns are {','.join(COLUMNS)}")
        line = reader.line_num + 1
        for row in reader:
            if row:
                if len(row) != len(header):
                    raise ValueError(f"has {len(row)} fields, not {len(header)}")
                changes.append(_change(marks, dict(zip(header, row, strict=True))))
            line = reader.line_num + 1
    except (csv.Error, ValueError, UsageError) as error:
        raise StoreError(f"{path} line {line}: {error}; nothing was imported") from None
    marks.say(change for change in changes if change[2])
    return len({(block, channel) for block, channel, change in changes if change})


def _change(marks: Marks, row: dict[str, str]) -> tuple[str, int, dict[str, Any]]:
    if row["fingerprint"] != marks.fingerprint:
        mine = f"{marks.model} {marks.fingerprint[:SHOWN]}".strip()
        raise ValueError(f"is of the model {row['model']} {row['fingerprint'][:SHOWN]}, these marks are of {mine}")
    if not row["block"]:
        raise ValueError("the block is empty")
    if not row["channel"].isascii() or not row["channel"].isdecimal():
        raise ValueError(f"the channel is {row['channel']!r}, not a number")
    check_mark(row["marked"])
    tags = row["tags"].split()
    for tag in tags:
        check_tag(tag)
    change: dict[str, Any] = {}
    if row["marked"]:
        change["mark"] = row["marked"]
    if tags:
        change["add"] = tags
    if row["note"]:
        change["note"] = row["note"]
    return row["block"], int(row["channel"]), change
