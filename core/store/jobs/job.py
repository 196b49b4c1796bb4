"""A job is a folder of the store: its spec, how far it is, what it said, and a way to stop it.

Whoever starts a job writes `job.json`; its worker writes the heartbeat, the log and what went wrong; anybody may add
the files that pause or stop it.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import psutil

from streamscope.core.errors import NO_FAULT, Fault, StoreError, StreamscopeError
from streamscope.core.store.files.atomic import discard, make_folder, remove_folder, sync_folder, write_new
from streamscope.core.store.files.clock import FolderClock
from streamscope.core.store.files.disk_errors import write_error, writing
from streamscope.core.store.files.documents import encode
from streamscope.core.store.files.owner import Owner, is_dead, temporary_name, this_process
from streamscope.core.store.jobs.events import (
    LAST_WORDS,
    DeviceMemory,
    Event,
    LastWord,
    LoggedEvent,
    Report,
    decode_event,
    decode_fault,
    decode_memory,
    encode_event,
    encode_fault,
    encode_memory,
)
from streamscope.core.store.jobs.spec import JobSpec
from streamscope.core.store.store import Store

State = Literal["queued", "running", "stopping", "paused", "done", "failed", "stopped", "dead"]
FINISHED: tuple[State, ...] = ("done", "failed", "stopped", "dead")
ACTIVE: tuple[State, ...] = ("running", "stopping")
PLACE, HOLD, STOP, BEAT = "place", "hold", "stop", "heartbeat.json"
"""Files of a job's folder: its place in a queue, that it is to pause, that it is to end, what its worker says."""
SPEC, LOG, ERRORS = "job.json", "log.jsonl", "stderr.txt"
"""And what it is to do, its events, what its process printed about what went wrong."""
SILENT = 60.0
"""Seconds without a heartbeat, by the file system's clock, after which a job counts as dead."""
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

    @property
    def errors(self) -> Path:
        """The file for what its process prints about what went wrong."""
        return self.folder / ERRORS

    def heartbeat(self, report: Report, device: str = "", device_memory: DeviceMemory | None = None) -> None:
        """Says that the worker is alive, how far it is, and what it computes on; the memory of this process is added.

        What is not given is empty in the new state. A full disk does not stop it: the worker must be able to say so.
        Raises StoreError.
        """
        where: dict[str, Any] = {"device": device} if device else {}
        if device_memory:
            where["device_memory"] = encode_memory(device_memory)
        self._beat("running", Fault(report.message), {**report.numbers(), **where, "memory": _own_memory()})

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


@dataclass(frozen=True)
class JobState:
    """A job as others see it. `rate` is `unit`s a second, `eta` seconds; None where the worker has not said."""

    job: Job
    state: State
    done: int = 0
    total: int = 0
    rate: float | None = None
    unit: str = ""
    eta: float | None = None
    message: str = ""
    fault: Fault = NO_FAULT
    """The message with the kind of error that it is of, where it ended with one."""
    updated: float | None = None
    """When the worker was last heard of, in seconds since 1970."""
    worker: Owner | None = None
    device: str = ""
    """What it computes on, as its worker says; before that what its spec says."""
    memory: float | None = None
    """Bytes that its worker's process holds (resident), None where it has not said."""
    device_memory: DeviceMemory = field(default_factory=dict)
    place: float | None = None
    """Queued jobs of one device go by rising place; None for a job that was never in a queue."""


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
            temporary.mkdir()
            # Version 0.2.0 opens the same stores: it looks for the spec under this key, with these keys in it.
            content = {"asked": spec.to_json(), "started": started, "process": me.to_json()}
            write_new(temporary / SPEC, encode(content))
            if queued:
                write_new(temporary / PLACE, repr(started).encode())
            sync_folder(temporary)
            os.rename(temporary, folder)
        except BaseException:
            discard(temporary)
            raise
        sync_folder(folder.parent)
    return Job(name, folder, spec, started, me.host, me.pid)


def open_job(folder: Path) -> Job:
    """The job in a folder, for its worker. Raises StoreError when it is missing or damaged."""
    try:
        data = json.loads((folder / SPEC).read_bytes())
        owner = Owner.from_json(data["process"])
        return Job(
            folder.name,
            folder,
            JobSpec.from_json(data["asked"]),
            float(data["started"]),
            owner.host if owner else "",
            owner.pid if owner else 0,
        )
    except OSError as error:
        raise StoreError(f"no job in {folder}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, StreamscopeError) as error:
        raise StoreError(f"{folder / SPEC} is damaged; remove that folder") from error


def job_states(store: Store) -> list[JobState]:
    """Every job of the store, oldest first; unreadable ones are skipped."""
    states = []
    for folder in job_folders(store):
        with suppress(StoreError):
            states.append(job_state(store, open_job(folder)))
    # Names tell seconds apart only.
    return sorted(states, key=lambda state: (state.job.started, state.job.id))


def job_folders(store: Store) -> Iterator[Path]:
    """Where the jobs of a store are, in no order; nothing when it has none."""
    try:
        names = os.listdir(store.root / "jobs")
    except OSError:
        return
    yield from (store.root / "jobs" / name for name in names if not name.startswith("."))


def job_state(store: Store, job: Job) -> JobState:
    """How a job of the store is doing."""
    beat, modified = _read_beat(job.folder / BEAT)
    stop, hold = (job.folder / STOP).exists(), (job.folder / HOLD).exists()
    place = _read_place(job.folder / PLACE)
    device = job.spec.device
    if beat is None:
        if place is not None:
            waiting: State = "stopped" if stop else "paused" if hold else "queued"
            return JobState(job, waiting, device=device, place=place)
        if _is_silent(job.folder / SPEC, store.clock):
            return JobState(job, "dead", message="no worker took it up", device=device)
        return JobState(job, "stopping" if stop or hold else "queued", device=device)
    worker = Owner.from_json(beat.get("process"))
    state: State | None = next((word for word in LAST_WORDS if word == beat.get("state")), None)
    if state is None:
        gone = (worker is not None and is_dead(worker)) or store.clock.age(modified) > SILENT
        state = "dead" if gone else "stopping" if stop or hold else "running"
    if state == "stopped" and hold and not stop:
        state = "paused"
    report = Report.from_json(beat)
    return JobState(
        job,
        state,
        done=report.done,
        total=report.total,
        rate=report.rate,
        unit=report.unit,
        eta=report.eta,
        message=report.message,
        fault=decode_fault(beat),
        updated=_number(beat.get("time")),
        worker=worker,
        device=str(beat.get("device") or device),
        memory=_number(beat.get("memory")),
        device_memory=decode_memory(beat.get("device_memory")),
        place=place,
    )


def request_stop(job: Job) -> None:
    """Asks a job's worker to stop after what is in flight. Raises StoreError."""
    with writing(job.folder / STOP):
        (job.folder / STOP).touch()


def read_log(job: Job, offset: int = 0) -> tuple[list[LoggedEvent], int]:
    """Events logged since `offset`, and the offset to go on from.

    A line that is still being written waits for the next call; one that is torn, or of a kind that this version does
    not have, is skipped.
    """
    try:
        with open(job.folder / LOG, "rb") as file:
            file.seek(offset)
            content = file.read()
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


def last_words(state: JobState) -> str:
    """The last line that a job's process wrote about what went wrong, else what it said last; maybe ""."""
    try:
        lines = state.job.errors.read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1] if lines else state.message


def remove_finished(store: Store, dry_run: bool = False) -> list[JobState]:
    """Removes the folders of jobs that are done, failed, stopped or dead; returns them. Raises StoreError."""
    finished = [state for state in job_states(store) if state.state in FINISHED]
    for state in finished if not dry_run else []:
        remove_folder(state.job.folder)
    return finished


def append(path: Path, content: bytes) -> None:
    """Appends to a file that no other process writes, all or nothing. Raises StoreError, DiskFullError."""
    with writing(path), open(path, "ab", buffering=0) as file:
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
    with suppress(OSError), open(path, "r+b") as file:
        file.write(content)
        file.truncate()


def _read_place(path: Path) -> float | None:
    try:
        return float(path.read_text())
    except (OSError, ValueError):
        return None


def _own_memory() -> int:
    return int(psutil.Process().memory_info().rss)


def _read_beat(path: Path) -> tuple[dict[str, Any] | None, float]:
    try:
        modified = path.stat().st_mtime
        beat = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None, 0.0
    return (beat, modified) if isinstance(beat, dict) else (None, 0.0)


def _is_silent(path: Path, clock: FolderClock) -> bool:
    try:
        return clock.age(path.stat().st_mtime) > SILENT
    except OSError:
        return True


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
