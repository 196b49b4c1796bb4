"""How a job is doing, as anybody sees it who reads the store; and what its user may do about it."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from streamscope.core.errors import NO_FAULT, Fault, StoreError
from streamscope.core.schema import MalformedError, build_known, parse_object
from streamscope.core.store.files.atomic import remove_folder
from streamscope.core.store.files.clock import FolderClock
from streamscope.core.store.files.disk_errors import reason, writing
from streamscope.core.store.files.owner import Owner, is_dead, is_here
from streamscope.core.store.files.users import append_to, read_end, read_plain
from streamscope.core.store.jobs.events import LAST_WORDS, DeviceMemory, Report, checked_time
from streamscope.core.store.jobs.job import Job, open_job
from streamscope.core.store.layout import jobs_folder
from streamscope.core.store.store import Store

State = Literal["queued", "running", "stopping", "paused", "done", "failed", "stopped", "dead"]
FINISHED: tuple[State, ...] = ("done", "failed", "stopped", "dead")
ACTIVE: tuple[State, ...] = ("running", "stopping")
SILENT = 60.0
"""Seconds without a heartbeat after which a job whose process cannot be seen counts as dead."""
BEAT_LIMIT, PLACE_LIMIT = 2**18, 100
"""Bytes that a heartbeat and a place may have."""
WORDS_LIMIT = 2**14
"""Bytes at the end of what a process printed among which its last line is looked for."""


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
    share: float | None = None
    """Of the work, 0 to 1: it grows within a batch, and with what is done again."""
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
    is_doubtful: bool = False
    """Whether nothing but a date that lies ahead, by somebody else's clock, says how its worker is: one look cannot
    tell. Who looks again a minute later can."""
    place: float | None = None
    """Queued jobs of one device go by rising place; None for a job that was never in a queue."""


def job_states(store: Store) -> list[JobState]:
    """Every job of the store, oldest first; unreadable ones are skipped and go to `store.job_problems`."""
    states = [state for folder in job_folders(store) if (state := read_job(store, folder)) is not None]
    # Names tell seconds apart only.
    return sorted(states, key=lambda state: (state.job.started, state.job.id))


def job_folders(store: Store) -> list[Path]:
    """Where the jobs of a store are, in no order; nothing when it has none."""
    folder = jobs_folder(store.root)
    try:
        names = [name for name in os.listdir(folder) if not name.startswith(".")]
    except OSError as error:
        store.job_problems.note(folder, _unread(folder, error) if os.path.lexists(folder) else None)
        return []
    store.job_problems.note(folder, None)
    store.job_problems.clear_others(folder, names)
    return [folder / name for name in names]


def read_job(store: Store, folder: Path) -> JobState | None:
    """How the job in a folder of the store is doing; None for what is none, which goes to `store.job_problems`."""
    try:
        state = job_state(store, open_job(folder))
    except StoreError as error:
        store.job_problems.note(folder, error if os.path.lexists(folder) else None)
        return None
    store.job_problems.note(folder, None)
    return state


def job_state(store: Store, job: Job) -> JobState:
    """How a job of the store is doing. A heartbeat or a place that cannot be read goes to `store.job_problems`."""
    files, clock = job.files, store.clock
    beat, modified = _read_beat(store, files.heartbeat)
    stop, hold = files.stop.exists(), files.hold.exists()
    place = _read_place(store, files.place)
    device = job.spec.device
    if beat is None:
        if place is not None:
            waiting: State = "stopped" if stop else "paused" if hold else "queued"
            return JobState(job, waiting, device=device, place=place)
        if _is_old(files.record, clock):
            return JobState(job, "dead", message="no worker took it up", device=device)
        return JobState(job, "stopping" if stop or hold else "queued", device=device)
    worker = Owner.from_json(beat.process)
    doubtful = False
    state: State | None = next((word for word in LAST_WORDS if word == beat.state), None)
    if state is None:
        # A loaded machine may keep a worker from saying anything for minutes: here it is seen whether it lives.
        if worker is not None and is_here(worker):
            gone = is_dead(worker)
        else:
            gone = _is_silent(files.heartbeat, modified, clock)
            doubtful = _is_ahead(files.heartbeat, modified, clock)
        state = "dead" if gone else "stopping" if stop or hold else "running"
    if state == "stopped" and hold and not stop:
        state = "paused"
    report = beat.report
    return JobState(
        job,
        state,
        done=report.done,
        total=report.total,
        rate=report.rate,
        unit=report.unit,
        eta=report.eta,
        share=report.share,
        message=report.message,
        fault=beat.fault,
        updated=beat.time,
        worker=worker,
        device=beat.device or device,
        memory=beat.memory,
        device_memory=beat.device_memory,
        is_doubtful=doubtful,
        place=place,
    )


def request_stop(job: Job) -> None:
    """Asks a job's worker to stop after what is in flight. Raises StoreError; for another user's ForeignJobError."""
    job.check_own("stop")
    add_sign(job.files.stop)


def add_sign(path: Path) -> None:
    """Makes an empty file of a job's folder, whose being there says something. Raises StoreError."""
    with writing(path):
        append_to(path).close()


def last_words(state: JobState) -> str:
    """The last line that a job's process wrote about what went wrong, else what it said last; maybe ""."""
    try:
        lines = read_end(state.job.errors, WORDS_LIMIT).decode(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1] if lines else state.message


def printed(state: JobState) -> str:
    """The end of what the command that a job is has printed; "" where it is none, or has printed nothing."""
    try:
        return read_end(state.job.files.output, WORDS_LIMIT).decode(errors="replace").rstrip()
    except OSError:
        return ""


def remove_finished(store: Store, dry_run: bool = False) -> list[JobState]:
    """Removes the folders of this user's jobs that are done, failed, stopped or dead; returns them. Raises StoreError.

    What is no job that can be read is left alone, and so is one of which it cannot be told whether it runs.
    """
    states = [state for state in job_states(store) if state.job.is_own and not state.is_doubtful]
    finished = [state for state in states if state.state in FINISHED]
    for state in finished if not dry_run else []:
        remove_folder(state.job.folder)
    return finished


@dataclass(frozen=True)
class _Beat:
    """`heartbeat.json`; what it says of the work, and of what went wrong, is added."""

    time: float | None = None
    state: str = ""
    device: str = ""
    memory: float | None = None
    device_memory: DeviceMemory = field(default_factory=dict)
    process: Any = None
    report: Report = field(default=Report(), init=False)
    fault: Fault = field(default=NO_FAULT, init=False)

    @classmethod
    def read(cls, content: bytes) -> _Beat:
        """Raises MalformedError."""
        data = parse_object(content)
        beat = build_known(cls, data)
        if beat.time is not None:
            checked_time(beat.time)
        object.__setattr__(beat, "report", build_known(Report, data))
        object.__setattr__(beat, "fault", build_known(Fault, data))
        return beat


def _read_place(store: Store, path: Path) -> float | None:
    try:
        content = read_plain(path, PLACE_LIMIT)[0]
    except OSError as error:
        _note(store, path, error)
        return None
    try:
        place = float(content)
        if not math.isfinite(place):
            raise ValueError
    except ValueError:
        store.job_problems.note(path, StoreError(f"{path} is damaged (a place is a number)"))
        return None
    store.job_problems.note(path, None)
    return place


def _read_beat(store: Store, path: Path) -> tuple[_Beat | None, float]:
    try:
        content, state = read_plain(path, BEAT_LIMIT)
    except OSError as error:
        _note(store, path, error)
        return None, 0.0
    try:
        beat = _Beat.read(content)
    except MalformedError as error:
        store.job_problems.note(path, StoreError(f"{path} is damaged ({error})"))
        return None, 0.0
    store.job_problems.note(path, None)
    return beat, state.st_mtime


def _unread(path: Path, error: OSError) -> StoreError:
    return StoreError(f"cannot read {path}: {reason(error)}")


def _note(store: Store, path: Path, error: OSError) -> None:
    """A file that is not there is none yet."""
    store.job_problems.note(path, _unread(path, error) if os.path.lexists(path) else None)


def _is_silent(path: Path, modified: float, clock: FolderClock) -> bool:
    """Whether the heartbeat of a worker that cannot be seen has run out: by its date, or by having stayed as it is."""
    watched = clock.unchanged(path, modified)
    if watched.renewed and watched.seconds <= SILENT:
        return False
    return watched.seconds > SILENT or clock.age(modified) > SILENT


def _is_ahead(path: Path, modified: float, clock: FolderClock) -> bool:
    """Whether a heartbeat is dated by a clock that is ahead, and was not yet watched for long enough to do without."""
    watched = clock.unchanged(path, modified)
    return modified - clock.now() > SILENT and not watched.renewed and watched.seconds <= SILENT


def _is_old(path: Path, clock: FolderClock) -> bool:
    try:
        return clock.age(path.stat().st_mtime) > SILENT
    except OSError:
        return True
