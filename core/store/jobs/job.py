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
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import psutil

from streamscope.core.errors import NO_FAULT, Fault, ForeignJobError, StoreError, StreamscopeError
from streamscope.core.store.files.atomic import discard, make_folder, sync_folder, write_new
from streamscope.core.store.files.disk_errors import write_error, writing
from streamscope.core.store.files.documents import encode
from streamscope.core.store.files.owner import Owner, temporary_name, this_process
from streamscope.core.store.files.users import append_to, read_plain, user_name
from streamscope.core.store.jobs.events import (
    DeviceMemory,
    Event,
    LastWord,
    LoggedEvent,
    Report,
    decode_event,
    encode_event,
    encode_fault,
    encode_memory,
)
from streamscope.core.store.jobs.spec import JobSpec
from streamscope.core.store.store import Store

PLACE, HOLD, STOP, BEAT = "place", "hold", "stop", "heartbeat.json"
"""Files of a job's folder: its place in a queue, that it is to pause, that it is to end, what its worker says."""
SPEC, LOG, ERRORS = "job.json", "log.jsonl", "stderr.txt"
"""And what it is to do, its events, what its process printed about what went wrong."""
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
    def errors(self) -> Path:
        """The file for what its process prints about what went wrong."""
        return self.folder / ERRORS

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
            return os.stat(self.folder / BEAT).st_mtime_ns
        except OSError:
            return None

    def finish(self, state: LastWord, fault: Fault = NO_FAULT, report: Report | None = None) -> None:
        """The worker's last word. Raises StoreError."""
        self._beat(state, fault, report.numbers() if report is not None else {})

    def log(self, event: Event) -> None:
        """Appends an event, with the time. Raises StoreError, DiskFullError."""
        line = (json.dumps({"time": time.time(), **encode_event(event)}) + "\n").encode()
        append(self.folder / LOG, line)

    def stop_requested(self) -> bool:
        """Whether its worker is to leave it, for good or until it is taken up again."""
        return (self.folder / STOP).exists() or (self.folder / HOLD).exists()

    def _beat(self, state: str, fault: Fault, more: dict[str, Any]) -> None:
        process, words = this_process().to_json(), encode_fault(replace(fault, message=fault.message[:MESSAGE_MAX]))
        content = encode({**more, **words, "state": state, "time": time.time(), "process": process})
        path = self.folder / BEAT
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
    me = this_process()
    started = time.time()
    name = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(started))}-{secrets.token_hex(3)}"
    folder = store.root / "jobs" / name
    make_folder(folder.parent)
    temporary = folder.parent / temporary_name()
    with writing(folder):
        try:
            # Whoever can write in it could put another record there, so that nobody else can whatever the umask.
            temporary.mkdir(mode=0o755)
            # Version 0.2.0 opens the same stores: it looks for the spec under this key, with these keys in it.
            content = {"asked": spec.to_json(), "started": started, "process": me.to_json()}
            write_new(temporary / SPEC, encode(content), mode=0o644)
            if queued:
                write_new(temporary / PLACE, repr(started).encode())
            sync_folder(temporary)
            os.rename(temporary, folder)
        except BaseException:
            discard(temporary)
            raise
        sync_folder(folder.parent)
        return Job(name, folder, spec, started, me.host, me.pid, _read_record(folder)[1])


def open_job(folder: Path) -> Job:
    """The job in a folder. Raises StoreError when it is missing, damaged, or a link."""
    try:
        content, uid = _read_record(folder)
        data = json.loads(content)
        owner = Owner.from_json(data["process"])
        return Job(
            folder.name,
            folder,
            JobSpec.from_json(data["asked"]),
            float(data["started"]),
            owner.host if owner else "",
            owner.pid if owner else 0,
            uid,
        )
    except OSError as error:
        raise StoreError(f"no job in {folder}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, RecursionError, StreamscopeError) as error:
        raise StoreError(f"{folder / SPEC} is damaged; remove that folder") from error


def _read_record(folder: Path) -> tuple[bytes, int | None]:
    """A job's record, and whose it and the folder are, looked at while both are open: None where they differ."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        content, state = read_plain(SPEC, within=handle)
        return content, state.st_uid if state.st_uid == os.fstat(handle).st_uid else None
    finally:
        os.close(handle)


def read_log(job: Job, offset: int = 0) -> tuple[list[LoggedEvent], int]:
    """Events logged since `offset`, and the offset to go on from.

    A line that is still being written waits for the next call; one that is torn, or of a kind that this version does
    not have, is skipped.
    """
    try:
        content = read_plain(job.folder / LOG, offset)[0]
    except OSError:
        return [], offset
    whole = content[: content.rfind(b"\n") + 1]
    events = []
    for line in whole.splitlines():
        with suppress(ValueError, KeyError, TypeError):
            data = json.loads(line)
            if (event := decode_event(data)) is not None:
                events.append(LoggedEvent(float(data["time"]), event))
    return events, offset + len(whole)


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
