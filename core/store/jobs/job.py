"""A job is a folder of the store: its spec, how far it is, what it said, and a way to stop it.

Whoever starts a job writes `job.json`; its worker writes the heartbeat, the log and what went wrong; its user may add
the files that pause or stop it. Whoever may write to a store can put a folder there: a job is somebody's only when
folder and record both belong to them, and others than its user do nothing but look at it.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import psutil

from streamscope.core.errors import NO_FAULT, Fault, ForeignJobError, NewerError, StoreError, UsageError
from streamscope.core.schema import MalformedError, UnknownFieldError, build_known, parse_object
from streamscope.core.store.files.atomic import discard, make_folder, sync_folder, write_new
from streamscope.core.store.files.disk_errors import reason, write_error, writing
from streamscope.core.store.files.documents import encode
from streamscope.core.store.files.lines import read_lines
from streamscope.core.store.files.owner import Owner, temporary_name, this_process
from streamscope.core.store.files.users import append_to, read_plain, user_name
from streamscope.core.store.jobs.events import (
    DeviceMemory,
    Event,
    LastWord,
    LoggedEvent,
    Report,
    checked_time,
    encode_event,
    encode_fault,
    encode_memory,
    read_logged,
)
from streamscope.core.store.jobs.spec import JobSpec
from streamscope.core.store.layout import JobFolder, jobs_folder
from streamscope.core.store.store import Store

SPEC_LIMIT = 2**24
"""Bytes that a job's record may have; one that names every channel of a ResNet152 has less than a million."""
MESSAGE_MAX = 500
"""Characters of a heartbeat's message: it must fit in the file's one disk block, which a full disk still has."""


@dataclass(frozen=True)
class Job:
    """One job. `host` and `pid` are of the process that started it."""

    id: str
    folder: Path
    spec: JobSpec
    started: float
    """When it was started or queued, in seconds since 1970."""
    host: str
    pid: int
    uid: int | None
    """The user whose its folder and its record both are; None when they are not one user's."""

    @property
    def files(self) -> JobFolder:
        """Where what is in its folder lies."""
        return JobFolder(self.folder)

    @property
    def errors(self) -> Path:
        """The file for what its process prints about what went wrong."""
        return self.files.errors

    def open_errors(self) -> IO[bytes]:
        """That file, to be appended to. Raises StoreError."""
        with writing(self.errors):
            return append_to(self.errors)

    @property
    def is_own(self) -> bool:
        """Whether it is a job of the user who runs this process."""
        return self.uid is not None and self.uid == os.geteuid()

    @property
    def user(self) -> str:
        """Whose it is, by name."""
        return user_name(self.uid) if self.uid is not None else "nobody"

    def check_own(self, act: str) -> None:
        """Raises ForeignJobError when it is not this user's, so that they cannot `act` (stop, say) it."""
        if self.is_own:
            return
        if self.uid is None:
            raise ForeignJobError(f"job {self.id} belongs to nobody: its folder and its record are not one user's")
        raise ForeignJobError(f"job {self.id} is {self.user}'s; only {self.user} can {act} it")

    def heartbeat(self, report: Report, device: str = "", device_memory: DeviceMemory | None = None) -> None:
        """Says that the worker is alive, how far it is, and what it computes on; the memory of this process is added.

        What is not given is empty in the new state. A full disk does not stop it: the worker must be able to say so.
        Raises StoreError.
        """
        where: dict[str, Any] = {"device": device} if device else {}
        if device_memory:
            where["device_memory"] = encode_memory(device_memory)
        self._beat("running", Fault(report.message), {**report.numbers(), **where, "memory": _own_memory()})

    def heartbeat_at(self) -> int | None:
        """The date of its last heartbeat, in nanoseconds; None before the first."""
        try:
            return os.stat(self.files.heartbeat).st_mtime_ns
        except OSError:
            return None

    def finish(self, state: LastWord, fault: Fault = NO_FAULT, report: Report | None = None) -> None:
        """The worker's last word. Raises StoreError."""
        self._beat(state, fault, report.numbers() if report is not None else {})

    def log(self, event: Event) -> None:
        """Appends an event, with the time. Raises StoreError, DiskFullError."""
        line = (json.dumps({"time": time.time(), **encode_event(event)}) + "\n").encode()
        append(self.files.log, line)

    def stop_requested(self) -> bool:
        """Whether its worker is to leave it, for good or until it is taken up again."""
        return self.files.stop.exists() or self.files.hold.exists()

    def _beat(self, state: str, fault: Fault, more: dict[str, Any]) -> None:
        process, words = this_process().to_json(), encode_fault(replace(fault, message=fault.message[:MESSAGE_MAX]))
        content = encode({**more, **words, "state": state, "time": time.time(), "process": process})
        path = self.files.heartbeat
        temporary = self.folder / temporary_name()
        try:
            try:
                # Not flushed to disk: after a power cut the worker is dead anyway.
                write_new(temporary, content, durable=False)
                os.replace(temporary, path)
            except OSError as error:
                discard(temporary)
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                _write_in_place(path, content)
        except OSError as error:
            raise write_error(path, error) from error


def create_job(store: Store, spec: JobSpec, queued: bool = False) -> Job:
    """A new job in the store, to be worked on by whoever opens it, or in its turn when it is `queued`.

    Raises StoreError, DiskFullError.
    """
    store.check_writable()
    me = this_process()
    started = time.time()
    name = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(started))}-{secrets.token_hex(3)}"
    folder = jobs_folder(store.root) / name
    make_folder(folder.parent)
    temporary = folder.parent / temporary_name()
    with writing(folder):
        try:
            # Whoever can write in it could put another record there, so that nobody else can whatever the umask.
            temporary.mkdir(mode=0o755)
            # Version 0.2.0 opens the same stores: it looks for the spec under this key, with these keys in it.
            content = {"asked": spec.to_json(), "started": started, "process": me.to_json()}
            write_new(JobFolder(temporary).record, encode(content), mode=0o644)
            if queued:
                write_new(JobFolder(temporary).place, repr(started).encode())
            sync_folder(temporary)
            os.rename(temporary, folder)
        except BaseException:
            discard(temporary)
            raise
        sync_folder(folder.parent)
        return Job(name, folder, spec, started, me.host, me.pid, _read_record(folder)[1])


@dataclass(frozen=True)
class _Record:
    """`job.json`."""

    asked: Mapping[str, Any]
    started: float
    process: Any


def open_job(folder: Path) -> Job:
    """The job in a folder.

    Raises StoreError when it is missing, damaged or a link, NewerError for a later version's.
    """
    path = JobFolder(folder).record
    try:
        content, uid = _read_record(folder)
        record = build_known(_Record, parse_object(content))
        owner = Owner.from_json(record.process)
        return Job(
            folder.name,
            folder,
            JobSpec.from_json(record.asked),
            checked_time(record.started),
            owner.host if owner else "",
            owner.pid if owner else 0,
            uid,
        )
    except OSError as error:
        raise StoreError(f"no job in {folder}: {reason(error)}") from error
    except UnknownFieldError as error:
        raise NewerError(f"{path} was written by a later version ({error})") from error
    except (MalformedError, UsageError) as error:
        raise StoreError(f"{path} is damaged ({error}); remove that folder") from error


def _read_record(folder: Path) -> tuple[bytes, int | None]:
    """A job's record, and whose it and the folder are, looked at while both are open: None where they differ."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        content, state = read_plain(JobFolder(folder).record.name, SPEC_LIMIT, within=handle)
        return content, state.st_uid if state.st_uid == os.fstat(handle).st_uid else None
    finally:
        os.close(handle)


def read_log(job: Job, offset: int = 0) -> tuple[list[LoggedEvent], int]:
    """Events logged since `offset`, and the offset to go on from.

    A line that is still being written waits for the next call; one that is torn, or of a kind that this version does
    not have, is skipped.
    """
    events = []
    with suppress(OSError):
        for line, after in read_lines(job.files.log, offset):
            offset = after
            if line is not None and (event := read_logged(line)) is not None:
                events.append(event)
    return events, offset


def append(path: Path, content: bytes) -> None:
    """Appends to a file that no other process writes, all or nothing. Raises StoreError, DiskFullError."""
    with writing(path), append_to(path) as file:
        size = file.tell()
        try:
            # A line that a crash tore must not swallow the next one.
            whole = content if _ends_line(path, size) else b"\n" + content
            written = 0
            while written < len(whole):
                written += file.write(whole[written:])
            os.fsync(file.fileno())
        except BaseException:
            with suppress(OSError):
                file.truncate(size)
            raise


def _ends_line(path: Path, size: int) -> bool:
    if not size:
        return True
    with open(path, "rb") as file:
        file.seek(size - 1)
        return file.read(1) == b"\n"


def _write_in_place(path: Path, content: bytes) -> None:
    """Overwrites a file within the blocks it has. Does what it can: a torn heartbeat is read as none."""
    with suppress(OSError), open(os.open(path, os.O_RDWR | os.O_NOFOLLOW), "r+b") as file:
        file.write(content)
        file.truncate()


def _own_memory() -> int:
    return int(psutil.Process().memory_info().rss)
