"""The queue of a device: jobs that wait their turn, in an order that outlives whoever queued them.

A queued job is a folder with a file `place`; those of one user, host and device go by rising place. Whoever works the
queue off holds its lease, and runs nobody else's jobs. A job is paused by a file `hold`, which its worker obeys as it
does `stop`; what it has stored stays, and taken up again it does what is missing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from streamscope.core.errors import SchedulerError, StoreError
from streamscope.core.store.files.atomic import write_file
from streamscope.core.store.files.disk_errors import writing
from streamscope.core.store.files.owner import this_process
from streamscope.core.store.jobs.job import Job
from streamscope.core.store.jobs.state import ACTIVE, JobState, add_sign, job_state, job_states
from streamscope.core.store.store import Store


@dataclass(frozen=True)
class Queue:
    """Where a job waits. Devices are those of the machine where it was queued; `uid` is the user who queued it."""

    host: str
    device: str
    uid: int | None

    @property
    def lease(self) -> str:
        """What whoever works it off must hold."""
        return f"queue {self.host} {self.device} of {self.uid}"


def device_queue(device: str) -> str:
    """The queue that a device named on a command line belongs to: `auto` shares that of what it will choose."""
    name = device or "auto"
    if name == "auto":
        return "cuda" if any(Path("/dev").glob("nvidia[0-9]*")) else "cpu"
    return "cuda" if name == "cuda:0" else name


def queue_of(job: Job) -> Queue:
    return Queue(job.host, device_queue(job.spec.device), job.uid)


def own_queue(device: str) -> Queue:
    """This user's queue of a device of this host."""
    return Queue(this_process().host, device_queue(device), os.geteuid())


def waiting(store: Store, queue: Queue) -> list[JobState]:
    """The jobs that wait in a queue, next first."""
    queued = [state for state in job_states(store) if state.state == "queued" and state.place is not None]
    return in_turn(state for state in queued if queue_of(state.job) == queue)


def check_resumable(job: Job) -> None:
    """Raises ForeignJobError when another user's, SchedulerError when only a command can say which cluster does it."""
    job.check_own("start")
    if job.spec.scheduler:
        raise SchedulerError(f"job {job.id} was for a Dask cluster ({job.spec.scheduler}), which a queue has none of")


def in_turn(states: Iterable[JobState]) -> list[JobState]:
    """Queued jobs by their place; of equal ones the older first."""
    return sorted(states, key=lambda state: (state.place or state.job.started, state.job.id))


def hold(job: Job) -> None:
    """Pauses a job: a running one after what is in flight. Raises StoreError; for another user's ForeignJobError."""
    job.check_own("pause")
    add_sign(job.files.hold)


def requeue(store: Store, job: Job) -> None:
    """Puts a paused, stopped, failed or dead job (back) into its device's queue, where it was or at the end.

    Raises StoreError when it is running or its worker has not left it yet, and what `check_resumable` raises.
    """
    check_resumable(job)
    state = job_state(store, job)
    if state.state in ACTIVE:
        raise StoreError(f"job {job.id} is {state.state}; wait until its worker has left it")
    if state.place is None:
        last = max((s.place for s in job_states(store) if s.place is not None), default=job.started)
        write_file(job.files.place, repr(last + 1.0).encode())
    for path in (job.files.heartbeat, job.files.stop, job.files.hold):
        # In this order no reader sees it running or queued before all three are gone.
        with writing(path):
            path.unlink(missing_ok=True)


def move(store: Store, job: Job, by: int) -> bool:
    """Moves a queued job one place up (`by` < 0) or down in its queue; False when it is at that end.

    Raises StoreError; for another user's ForeignJobError.
    """
    job.check_own("move")
    order = waiting(store, queue_of(job))
    names = [state.job.id for state in order]
    if job.id not in names:
        return False
    here = names.index(job.id)
    there = here + (1 if by > 0 else -1)
    if not 0 <= there < len(order):
        return False
    beyond = there + (1 if by > 0 else -1)
    # Only the moved job's own file changes, so that a crash between two writes cannot lose an order.
    near = order[there].place or 0.0
    far = (order[beyond].place or 0.0) if 0 <= beyond < len(order) else near + (1.0 if by > 0 else -1.0)
    write_file(job.files.place, repr((near + far) / 2).encode())
    return True
