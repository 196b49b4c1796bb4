"""How a job is doing, as anybody sees it who reads the store; and what its user may do about it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from streamscope.core.errors import NO_FAULT, Fault, StoreError
from streamscope.core.store.files.atomic import remove_folder
from streamscope.core.store.files.clock import FolderClock
from streamscope.core.store.files.disk_errors import writing
from streamscope.core.store.files.owner import Owner, is_dead, is_here
from streamscope.core.store.files.users import append_to, read_plain
from streamscope.core.store.jobs.events import LAST_WORDS, DeviceMemory, Report, decode_fault, decode_memory
from streamscope.core.store.jobs.job import BEAT, HOLD, PLACE, SPEC, STOP, Job, open_job
from streamscope.core.store.store import Store

State = Literal["queued", "running", "stopping", "paused", "done", "failed", "stopped", "dead"]
FINISHED: tuple[State, ...] = ("done", "failed", "stopped", "dead")
ACTIVE: tuple[State, ...] = ("running", "stopping")
SILENT = 60.0
"""Seconds without a heartbeat after which a job whose process cannot be seen counts as dead."""


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
    is_doubtful: bool = False
    """Whether nothing but a date that lies ahead, by somebody else's clock, says how its worker is: one look cannot
    tell. Who looks again a minute later can."""
    place: float | None = None
    """Queued jobs of one device go by rising place; None for a job that was never in a queue."""


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
    clock = store.clock
    stop, hold = (job.folder / STOP).exists(), (job.folder / HOLD).exists()
    place = _read_place(job.folder / PLACE)
    device = job.spec.device
    if beat is None:
        if place is not None:
            waiting: State = "stopped" if stop else "paused" if hold else "queued"
            return JobState(job, waiting, device=device, place=place)
        if _is_old(job.folder / SPEC, clock):
            return JobState(job, "dead", message="no worker took it up", device=device)
        return JobState(job, "stopping" if stop or hold else "queued", device=device)
    worker = Owner.from_json(beat.get("process"))
    doubtful = False
    state: State | None = next((word for word in LAST_WORDS if word == beat.get("state")), None)
    if state is None:
        # A loaded machine may keep a worker from saying anything for minutes: here it is seen whether it lives.
        if worker is not None and is_here(worker):
            gone = is_dead(worker)
        else:
            gone = _is_silent(job.folder / BEAT, modified, clock)
            doubtful = _is_ahead(job.folder / BEAT, modified, clock)
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
        is_doubtful=doubtful,
        place=place,
    )


def request_stop(job: Job) -> None:
    """Asks a job's worker to stop after what is in flight. Raises StoreError; for another user's ForeignJobError."""
    job.check_own("stop")
    add_sign(job.folder / STOP)


def add_sign(path: Path) -> None:
    """Makes an empty file of a job's folder, whose being there says something. Raises StoreError."""
    with writing(path):
        append_to(path).close()


def last_words(state: JobState) -> str:
    """The last line that a job's process wrote about what went wrong, else what it said last; maybe ""."""
    try:
        lines = read_plain(state.job.errors)[0].decode(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1] if lines else state.message


def remove_finished(store: Store, dry_run: bool = False) -> list[JobState]:
    """Removes the folders of this user's jobs that are done, failed, stopped or dead; returns them. Raises StoreError.

    What is no job that can be read is left alone, and so is one of which it cannot be told whether it runs.
    """
    states = [state for state in job_states(store) if state.job.is_own and not state.is_doubtful]
    finished = [state for state in states if state.state in FINISHED]
    for state in finished if not dry_run else []:
        remove_folder(state.job.folder)
    return finished


def _read_place(path: Path) -> float | None:
    try:
        return float(read_plain(path)[0])
    except (OSError, ValueError):
        return None


def _read_beat(path: Path) -> tuple[dict[str, Any] | None, float]:
    try:
        content, state = read_plain(path)
        beat = json.loads(content)
    except (OSError, ValueError, RecursionError):
        return None, 0.0
    return (beat, state.st_mtime) if isinstance(beat, dict) else (None, 0.0)


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


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
