"""Marks as CSV, to share with a colleague.

One row a channel: model, fingerprint, block, channel, marked, tags (separated by spaces), note. Texts are written as
`core.text.csv_cell` does, so that a spreadsheet runs none of them, and come back as they were; what version 0.2.0
wrote, without that, is read too. So are the files that spreadsheets save: with a byte-order mark, in UTF-16, separated
by semicolons or tabs, with empty rows and with `9.0` for a channel.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from streamscope.core.errors import StoreError, UsageError
from streamscope.core.files import read_regular
from streamscope.core.model.blocks import ModelInfo
from streamscope.core.model.descriptions import architecture
from streamscope.core.model.spec import MODELS, architecture_of
from streamscope.core.store.files.atomic import write_file
from streamscope.core.store.files.disk_errors import reason
from streamscope.core.store.marks.judgements import Judgement, check_mark, check_tag
from streamscope.core.text import csv_cell, from_csv_cell

Side = Literal["mine", "theirs"]
"""Whose word stands where both judged."""

COLUMNS = ("model", "fingerprint", "block", "channel", "marked", "tags", "note")
DELIMITERS = ",;\t"
_CHANNEL = re.compile(r"([0-9]+)(?:[.,]0*)?", re.ASCII)
_FINGERPRINT = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True)
class ImportRow:
    """What a line of a file says of one channel."""

    line: int
    model: str
    fingerprint: str
    block: str
    channel: int
    mark: str
    tags: tuple[str, ...]
    note: str

    @property
    def key(self) -> tuple[str, str, int]:
        return self.fingerprint, self.block, self.channel

    @property
    def change(self) -> dict[str, Any]:
        """For `Marks.say`: an empty field leaves what is known, tags are added to those there are."""
        change: dict[str, Any] = {}
        if self.mark:
            change["mark"] = self.mark
        if self.tags:
            change["add"] = list(self.tags)
        if self.note:
            change["note"] = self.note
        return change

    def contradicts(self, other: ImportRow) -> bool:
        """Whether both say something of the mark or the note, and not the same."""
        said = ((self.mark, other.mark), (self.note, other.note))
        return any(mine and theirs and mine != theirs for mine, theirs in said)


def write_csv(model: str, fingerprint: str, judgements: Mapping[tuple[str, int], Judgement], path: Path) -> int:
    """Writes judgements of a model by (block, channel), and returns how many. Raises StoreError, DiskFullError."""
    write_file(path, csv_bytes(model, fingerprint, judgements))
    return len(judgements)


def csv_bytes(model: str, fingerprint: str, judgements: Mapping[tuple[str, int], Judgement]) -> bytes:
    """What `write_csv` writes."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for (block, channel), judgement in judgements.items():
        texts = [csv_cell(part) for part in (judgement.mark, " ".join(judgement.tags), judgement.note)]
        writer.writerow([csv_cell(model), fingerprint, csv_cell(block), channel, *texts])
    return text.getvalue().encode()


@dataclass(frozen=True)
class Disagreement:
    """A mark or a note that is there, and another that a file has for the same channel."""

    key: tuple[str, str, int]
    part: Literal["mark", "note"]
    mine: str
    theirs: str


def disagreements(rows: Iterable[ImportRow], mine: Mapping[tuple[str, int], Judgement]) -> list[Disagreement]:
    """Where rows of one model say otherwise than `mine`, those judgements that differ most first: keep and reject.

    Of two rows of one channel the last counts.
    """
    said: dict[tuple[tuple[str, str, int], Literal["mark", "note"]], str] = {}
    for row in rows:
        said |= {(row.key, "mark"): row.mark} if row.mark else {}
        said |= {(row.key, "note"): row.note} if row.note else {}
    found = []
    for (key, part), theirs in said.items():
        judgement = mine.get(key[1:], Judgement())
        own = judgement.mark if part == "mark" else judgement.note
        if own not in ("", theirs):
            found.append(Disagreement(key, part, own, theirs))
    return sorted(found, key=lambda one: (one.part, {one.mine, one.theirs} != {"keep", "reject"}, one.key))


def change_of(row: ImportRow, mine: Judgement, keep: Side) -> dict[str, Any]:
    """What of a row is to be said beside `mine`: all of it, or with `keep="mine"` what contradicts nothing there."""
    change = row.change
    if keep == "mine":
        for part, own in (("mark", mine.mark), ("note", mine.note)):
            if own:
                change.pop(part, None)
    return change


def read_csv(path: Path, models: Iterable[ModelInfo] = ()) -> list[ImportRow]:
    """The rows of a file that say something.

    Raises StoreError when any line is malformed, or names a block or a channel that its model does not have (by its
    fingerprint among `models`, else by the name of its architecture): it names the line.
    """
    known = {info.identity: info for info in models}
    text = _text(path)
    header_line = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=header_line.count)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
    rows: list[ImportRow] = []
    line = 1
    try:
        header = [name.strip() for name in next(reader, [])]
        missing = [name for name in COLUMNS if name not in header]
        if missing:
            raise ValueError(f"the column {missing[0]} is missing; columns are {','.join(COLUMNS)}")
        line = reader.line_num + 1
        for fields in reader:
            if any(field.strip() for field in fields):
                if len(fields) != len(header):
                    raise ValueError(f"has {len(fields)} fields, not {len(header)}")
                row = _row(line, dict(zip(header, fields, strict=True)))
                _check_channel(known.get(row.fingerprint), row)
                rows.append(row)
            line = reader.line_num + 1
    except (csv.Error, ValueError, UsageError) as error:
        raise StoreError(f"{path} line {line}: {error}; nothing was imported") from None
    return [row for row in rows if row.change]


def contradictions(rows: Sequence[ImportRow]) -> int:
    """Of how many channels rows say different things; the last of them holds, tags are put together."""
    last: dict[tuple[str, str, int], ImportRow] = {}
    found = set()
    for row in rows:
        if row.key in last and row.contradicts(last[row.key]):
            found.add(row.key)
        last[row.key] = row
    return len(found)


def by_fingerprint(rows: Iterable[ImportRow]) -> Mapping[str, list[ImportRow]]:
    """Rows of each model, in their order."""
    found: dict[str, list[ImportRow]] = {}
    for row in rows:
        found.setdefault(row.fingerprint, []).append(row)
    return found


def _text(path: Path) -> str:
    try:
        content = read_regular(path)
    except OSError as error:
        raise StoreError(f"cannot read {path}: {reason(error)}") from error
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise StoreError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start})") from None


def _row(line: int, fields: Mapping[str, str]) -> ImportRow:
    """Raises ValueError, UsageError."""
    fields = {name: from_csv_cell(text) for name, text in fields.items()}
    fingerprint, block = fields["fingerprint"].strip().lower(), fields["block"].strip()
    if not _FINGERPRINT.fullmatch(fingerprint):
        raise ValueError(f"the fingerprint is {fingerprint!r}, not 64 hexadecimal digits")
    if not block:
        raise ValueError("the block is empty")
    channel = _CHANNEL.fullmatch(fields["channel"].strip())
    if channel is None:
        raise ValueError(f"the channel is {fields['channel']!r}, not a number")
    mark = fields["marked"].strip()
    check_mark(mark)
    tags = tuple(fields["tags"].split())
    for tag in tags:
        check_tag(tag)
    return ImportRow(line, fields["model"].strip(), fingerprint, block, int(channel[1]), mark, tags, fields["note"])


def _check_channel(info: ModelInfo | None, row: ImportRow) -> None:
    """Of weights that were never seen here the architecture is known by its name, if that is one of ours.

    Raises UsageError naming what there is.
    """
    if info is None and architecture_of(row.model) not in MODELS:
        return
    blocks = info.blocks if info is not None else architecture(architecture_of(row.model)).blocks
    count = next((block.channels for block in blocks if block.name == row.block), None)
    if count is None:
        names = ", ".join(block.name for block in blocks)
        raise UsageError(f"unknown block {row.block!r}; {row.model} has {names}")
    if row.channel >= count:
        raise UsageError(f"unknown channel {row.channel}; block {row.block} of {row.model} has 0-{count - 1}")
