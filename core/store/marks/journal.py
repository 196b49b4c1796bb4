"""The user's judgements: marks, tags and notes. They are work, not cache: nothing here or elsewhere ever deletes them.

A folder per model holds one append-only journal per writer (appending to a file that others append to is not safe on
NFS). Reading merges them: of two judgements of the same thing the later one wins, and tags are added and removed one by
one, so that two people at once lose nothing.

A bundle brings the sender's judgements with it, as one more journal. It is read as the others are, and never written;
what is said over it goes into the user's own journals, and only that is exported.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import stat
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streamscope.core.errors import StoreError, StreamscopeError, UsageError
from streamscope.core.files import IrregularFileError
from streamscope.core.model.blocks import MAX_CHANNELS
from streamscope.core.schema import MalformedError, build_known, parse_object, whole_number
from streamscope.core.store.files.atomic import make_folder
from streamscope.core.store.files.disk_errors import reason
from streamscope.core.store.files.lines import read_lines
from streamscope.core.store.files.listing import Problems
from streamscope.core.store.files.owner import this_process
from streamscope.core.store.files.users import expanded, user_folder
from streamscope.core.store.jobs.job import append
from streamscope.core.store.marks.exchange import ImportRow, Side, change_of, write_csv
from streamscope.core.store.marks.judgements import Judgement, Mark, check_mark, check_tag

SHORT = 16
"""Hex digits of a fingerprint in a folder's name."""
LATEST = 2**53
"""Later times than this (year 2255) are damage, and would make every later judgement lose."""

GIVEN = ""
"""Stands for the writer of journals that came with a bundle: earlier in order than any other of the same time."""

Key = tuple[str, int]
Stamp = tuple[int, str, int]
"""(time, writer, line): orders judgements in the same way for every reader."""


def marks_folder() -> Path:
    """`$STREAMSCOPE_MARKS`, else a folder of the user's own that no cache command knows of."""
    given = os.environ.get("STREAMSCOPE_MARKS")
    return expanded(given, "STREAMSCOPE_MARKS") if given else user_folder("data", "STREAMSCOPE_MARKS") / "marks"


@dataclass
class _Said:
    """The last word on each part of a judgement, whatever the order in which the words are read."""

    mark: tuple[Stamp, str] | None = None
    note: tuple[Stamp, str] | None = None
    tags: dict[str, tuple[Stamp, bool]] = field(default_factory=dict)

    def hear(self, stamp: Stamp, line: dict[str, Any]) -> None:
        if "mark" in line and (self.mark is None or stamp > self.mark[0]):
            self.mark = (stamp, line["mark"])
        if "note" in line and (self.note is None or stamp > self.note[0]):
            self.note = (stamp, line["note"])
        for part, present in (("remove", False), ("add", True)):
            for tag in line.get(part, ()):
                if tag not in self.tags or stamp >= self.tags[tag][0]:
                    self.tags[tag] = (stamp, present)

    def judgement(self) -> Judgement:
        tags = tuple(sorted(tag for tag, (_, present) in self.tags.items() if present))
        return Judgement(self.mark[1] if self.mark else "", tags, self.note[1] if self.note else "")

    def own(self) -> _Said:
        """What of it did not come with a bundle."""
        tags = {tag: said for tag, said in self.tags.items() if said[0][1] != GIVEN}
        mark, note = (said if said and said[0][1] != GIVEN else None for said in (self.mark, self.note))
        return _Said(mark, note, tags)

    def lines(self) -> list[dict[str, Any]]:
        """What a journal says that says only this."""
        found: list[dict[str, Any]] = []
        found += [{"time": self.mark[0][0], "mark": self.mark[1]}] if self.mark else []
        found += [{"time": self.note[0][0], "note": self.note[1]}] if self.note else []
        found += [{"time": at[0], "add" if present else "remove": [tag]} for tag, (at, present) in self.tags.items()]
        return found


@dataclass
class _Journal:
    """How far a writer's journal was read."""

    offset: int = 0
    lines: int = 0
    skipped: int = 0
    """Lines that are no judgements."""
    first_skipped: int = 0
    """The number of the first of them."""


class Marks:
    """Reads and adds judgements of one model. What is given is kept as soon as a method returns.

    `given` is the folder of the marks that came with a bundle (`Store.given_marks`).
    """

    def __init__(self, folder: Path, fingerprint: str, model: str = "", given: Path | None = None) -> None:
        self._given = None if given is None else given / fingerprint[:SHORT]
        self.fingerprint = fingerprint
        self.model = model
        self.path = folder / fingerprint[:SHORT]
        self._problems = Problems()
        host = re.sub(r"[^A-Za-z0-9-]+", "-", this_process().host) or "host"
        self._writer = f"{host}-{os.getpid()}-{secrets.token_hex(4)}"
        self._said: dict[Key, _Said] = {}
        self._judged: dict[Key, Judgement] = {}
        self._unread: set[Key] = set()
        """Channels of which something was heard since `_judged` was brought up to date."""
        self._journals: dict[str, _Journal] = {}
        self._time = 0
        self._news = False
        self._hear_given()
        self._catch_up()

    @property
    def problems(self) -> list[StreamscopeError]:
        """One clear line per journal, or line of one, that cannot be read; reading went on without it."""
        return self._problems.errors()

    def mark(self, block: str, channels: Iterable[int], mark: str) -> None:
        """Marks channels keep, reject or unsure; "" takes the mark away. Raises UsageError, StoreError."""
        self.mark_each([(block, channel) for channel in channels], mark)

    def mark_each(self, keys: Iterable[Key], mark: str) -> None:
        """As `mark`, for channels of any blocks."""
        check_mark(mark)
        self.say([(*key, {"mark": mark}) for key in keys])

    def tag(self, block: str, channels: Iterable[int], add: Iterable[str] = (), remove: Iterable[str] = ()) -> None:
        """Adds tags to channels and removes others. Raises UsageError for a tag that is not one word, StoreError."""
        adding, removing = list(add), list(remove)
        for tag in (*adding, *removing):
            check_tag(tag)
        change = {key: tags for key, tags in (("add", adding), ("remove", removing)) if tags}
        self.say([(block, channel, change) for channel in channels] if change else [])

    def note(self, block: str, channel: int, text: str) -> None:
        """Sets a channel's note; "" takes it away. Raises StoreError."""
        self.say([(block, channel, {"note": text})])

    def get(self, block: str, channel: int) -> Judgement:
        said = self._said.get((block, channel))
        return said.judgement() if said else Judgement()

    def is_given_mark(self, block: str, channel: int) -> bool:
        """Whether the mark of a channel came with a bundle, and nobody has given it one here."""
        said = self._said.get((block, channel))
        return said is not None and said.mark is not None and said.mark[0][1] == GIVEN

    def all(self) -> dict[Key, Judgement]:
        """Every channel of which anything is said, in order of block and channel."""
        # Only what changed is put together again: 14,000 judgements would take 100 ms at every mark.
        known = len(self._judged)
        for key in self._unread:
            judgement = self._said[key].judgement()
            if judgement == Judgement():
                known -= self._judged.pop(key, None) is not None
            else:
                self._judged[key] = judgement
        self._unread.clear()
        if len(self._judged) > known:
            self._judged = dict(sorted(self._judged.items()))
        return dict(self._judged)

    def say(self, changes: Iterable[tuple[str, int, dict[str, Any]]]) -> None:
        """Appends changes of (block, channel): mark, note, add and remove, all of them or none. Raises StoreError."""
        # What is learnt on the way is still news to whoever polls `refresh`.
        self._news |= self._catch_up()
        name = f"{self._writer}.jsonl"
        journal = self._journals.get(name, _Journal())
        # Later than everything read so far, even where another host's clock is ahead: the last judge wins.
        now = max(time.time_ns() // 1000, self._time + 1)
        lines = [
            {"time": now + number, "block": block, "channel": int(channel), **change}
            for number, (block, channel, change) in enumerate(changes)
        ]
        if not lines:
            return
        content = b"".join(_line(line) for line in lines)
        make_folder(self.path)
        append(self.path / name, content)
        for line in lines:
            self._hear(name, journal.lines, line)
            journal.lines += 1
        journal.offset += len(content)
        self._journals[name] = journal

    def refresh(self) -> bool:
        """Reads what others have said; True when they said anything since the last call. Cheap when they did not."""
        news = self._catch_up() or self._news
        self._news = False
        return news

    def export_csv(self, path: Path) -> int:
        """Writes every judgement as CSV but those that came with a bundle, and returns how many. Raises StoreError."""
        self._news |= self._catch_up()
        return write_csv(self.model, self.fingerprint, self.own(), path)

    def own(self) -> dict[Key, Judgement]:
        """As `all`, without what came with a bundle."""
        found = {key: said.own().judgement() for key, said in sorted(self._said.items())}
        return {key: judgement for key, judgement in found.items() if judgement != Judgement()}

    def journal_of(self, keys: Iterable[Key]) -> bytes:
        """A journal that says of these channels what is last said of them, with its times."""
        said = [(*key, line) for key in keys if key in self._said for line in self._said[key].lines()]
        return b"".join(
            _line({"time": line["time"], "block": block, "channel": channel, **line}) for block, channel, line in said
        )

    def take_over(self, rows: Iterable[ImportRow], keep: Side = "theirs") -> int:
        """Says what rows of a file (`exchange.read_csv`) say, and returns of how many channels.

        With `keep="mine"` a mark or a note that is there stays where a row says otherwise. Raises UsageError, with
        nothing said, for a row of another model, StoreError.
        """
        taken = list(rows)
        if any(row.fingerprint != self.fingerprint for row in taken):
            raise UsageError(f"these marks are of {self.model} {self.fingerprint[:SHORT]}")
        changes = [(row.block, row.channel, change_of(row, self.get(row.block, row.channel), keep)) for row in taken]
        self.say((block, channel, change) for block, channel, change in changes if change)
        return len({row.key for row in taken})

    def _catch_up(self) -> bool:
        sizes = self._sizes()
        if any(sizes.get(name, 0) < journal.offset for name, journal in self._journals.items()):
            # A journal was cut or replaced (a backup put back, say): start over.
            self._said, self._journals, self._problems = {}, {}, Problems()
            self._judged, self._unread = {}, set()
            self._hear_given()
            for name in sizes:
                self._read(name)
            return True
        grown = [name for name, size in sizes.items() if size > self._journals.get(name, _Journal()).offset]
        return sum(self._read(name) for name in grown) > 0

    def _hear_given(self) -> None:
        """Judgements that came with a bundle: it does not change while it is open."""
        if self._given is None or not self._given.is_dir():
            return
        for path in sorted(path for path in self._given.iterdir() if _is_journal(path.name)):
            try:
                lines = [_parse(raw) if raw is not None else None for raw, _ in read_lines(path, 0)]
            except OSError as error:
                self._report(path, error)
                continue
            for number, line in enumerate(lines):
                if line is not None:
                    self._hear(GIVEN, number, line)

    def _sizes(self) -> dict[str, int]:
        sizes = {}
        try:
            with os.scandir(self.path) as entries:
                for entry in entries:
                    if _is_journal(entry.name):
                        sizes[entry.name] = self._size(self.path / entry.name)
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not os.path.lexists(self.path):
                return {}
            self._report(self.path, error)
            # Nothing is known to have changed: what was read before stands.
            return {name: journal.offset for name, journal in self._journals.items()}
        self._problems.clear(self.path)
        self._problems.clear_others(self.path, sizes)
        return dict(sorted(sizes.items()))

    def _size(self, path: Path) -> int:
        """Of a journal, in bytes; what cannot be looked at counts as it was."""
        try:
            state = path.stat()
            if not stat.S_ISREG(state.st_mode):
                raise IrregularFileError(path)
        except OSError as error:
            self._report(path, error)
            known = self._journals.get(path.name)
            return known.offset if known is not None else 0
        return state.st_size

    def _read(self, name: str) -> bool:
        path = self.path / name
        journal = self._journals.setdefault(name, _Journal())
        before = journal.offset
        try:
            for raw, after in read_lines(path, journal.offset, follow=True):
                line = _parse(raw) if raw is not None else None
                if line is not None:
                    self._hear(name, journal.lines, line)
                elif raw is None or raw.strip():
                    journal.first_skipped = journal.first_skipped or journal.lines + 1
                    journal.skipped += 1
                journal.lines += 1
                journal.offset = after
        except OSError as error:
            self._report(path, error)
        else:
            self._problems.clear(path)
        if journal.skipped:
            self._problems.report(path / "lines", StoreError(_skipped(path, journal)))
        return journal.offset > before

    def _report(self, path: Path, error: OSError) -> None:
        self._problems.report(path, StoreError(f"cannot read the marks in {path}: {reason(error)}"))

    def _hear(self, name: str, number: int, line: dict[str, Any]) -> None:
        self._time = max(self._time, line["time"])
        key = (line["block"], line["channel"])
        self._said.setdefault(key, _Said()).hear((line["time"], name, number), line)
        self._unread.add(key)


def _is_journal(name: str) -> bool:
    return name.endswith(".jsonl") and not name.startswith(".")


def _line(line: dict[str, Any]) -> bytes:
    return (json.dumps(line) + "\n").encode()


@dataclass(frozen=True)
class _Line:
    """A line of a journal. What is left out of mark, note, add and remove is not said."""

    time: int
    """Microseconds since 1970."""
    block: str
    channel: int
    mark: Mark = ""
    note: str = ""
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        whole_number(self.time, 0, LATEST - 1)
        whole_number(self.channel, 0, MAX_CHANNELS - 1)


def _parse(raw: bytes) -> dict[str, Any] | None:
    """What a line says; None for what is no judgement."""
    try:
        data = parse_object(raw)
        build_known(_Line, data)
    except MalformedError:
        return None
    return data


def _skipped(path: Path, journal: _Journal) -> str:
    if journal.skipped == 1:
        return f"{path} line {journal.first_skipped} is not a judgement; it is skipped"
    many, first = f"{journal.skipped:,} lines", journal.first_skipped
    return f"{path} has {many} that are not judgements, from line {first} on; they are skipped"
