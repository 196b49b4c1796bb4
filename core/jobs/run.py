"""One job being done, from its first event to its last: what is the same in this process, in several, and on a cluster.

`batch_loop` does a job in this process, `crew` in several, `cluster.client` on a cluster. `worker` is the process that
one is started in.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from streamscope.core.analysis.pairs import keep_pairs
from streamscope.core.errors import DamageError, DiskFullError, Fault, StreamscopeError
from streamscope.core.jobs.plan import Plan, Request, Task, missing_fzs
from streamscope.core.jobs.progress import Tally, image_cost
from streamscope.core.jobs.pulse import BEAT_SECONDS
from streamscope.core.jobs.tasks import commit_task
from streamscope.core.model.blocks import ModelInfo
from streamscope.core.store import FZSet, Leases, Store, estimate_bytes, free_bytes, kept
from streamscope.core.store.jobs.events import (
    BatchDone,
    BatchLost,
    DeviceMemory,
    Event,
    JobProgressed,
    JobStarted,
    ProblemOccurred,
    Report,
    WaitStarted,
)

WAIT_SECONDS = 1.0
"""How often a job looks again while others hold all that is left."""

Tell = Callable[[Event], None]
"""Receives the events of a job: what is appended to its log, and its progress besides."""


class JobStoppedError(Exception):
    """Somebody asked the job to stop."""


class LeaseLostError(Exception):
    """Another has a batch that was under way here."""

    def __init__(self, task: Task, holder: str) -> None:
        self.event = BatchLost(describe(task), holder)
        super().__init__(str(self.event))


class Record(Protocol):
    """What a run needs of the job it works on: a `Job`, or what stands for it in one process of several."""

    @property
    def id(self) -> str: ...

    def stop_requested(self) -> bool: ...

    def heartbeat(self, report: Report, device: str = "", device_memory: DeviceMemory | None = None) -> None: ...

    def log(self, event: Event) -> None: ...


class Run(ABC):
    """Does one job. What goes wrong in one batch is told and kept in `problems`; the rest goes on."""

    def __init__(self, store: Store, job: Record, info: ModelInfo, request: Request, tell: Tell) -> None:
        self.store, self.job, self.info, self.request = store, job, info, request
        self.fzset = store.set(info, request.key, create=True)
        self.problems: list[Fault] = []
        self.tally = Tally(0, 0, 0.0)
        self._tell = tell

    @abstractmethod
    def run(self) -> None:
        """Until nothing is missing or nothing more can be done.

        Raises JobStoppedError when asked to stop, StreamscopeError when the whole job cannot go on (a full disk).
        """

    def begin(self, devices: tuple[str, ...] = ()) -> None:
        """`devices` are those of several processes. Raises DiskFullError when the disk has too little room."""
        request = self.request
        self.tally = Tally.of(self.info, self.fzset, request)
        check_space(self.store, self.fzset, request)
        self.say(
            JobStarted(
                key=request.key,
                blocks=request.blocks,
                tensors=request.tensors,
                batch=request.batch,
                channels=request.channels,
                missing=self.tally.total - self.tally.present,
                devices=devices,
            )
        )

    def complete(self) -> None:
        """All that was requested is stored. Raises StoreError where what follows from it cannot be written."""
        self.tally.completed()
        for block in self.request.blocks:
            keep_pairs(self.fzset, block)
        self.fzset.mark_completed(self.job.id)

    def problem(self, fault: Fault) -> None:
        self.problems.append(fault)
        self.say(ProblemOccurred(fault))

    def say(self, event: Event) -> None:
        self.job.log(event)
        self._tell(event)


class LeasedRun(Run):
    """A run that claims batches by leases of this process. Threads may share it."""

    def __init__(self, store: Store, job: Record, info: ModelInfo, request: Request, tell: Tell) -> None:
        super().__init__(store, job, info, request, tell)
        self.leases = Leases(store.root, job.id)
        self.changed = threading.Condition(threading.RLock())
        """Guards everything below, the leases and the log; notified whenever a task ends."""
        self.device = ""
        """What it computes on, for the heartbeat."""
        self._plan = Plan(info, self.fzset, request)
        self._failed: set[Task] = set()
        self._busy: dict[str, float] = {}
        """Cost already spent in each task under way, by its lease."""
        self._again: dict[str, float] = {}
        """The same of those that are done again for undefined rows."""
        self._beat = 0.0
        self._message = ""
        self._awaited: WaitStarted | None = None

    def begin(self, devices: tuple[str, ...] = ()) -> None:
        super().begin(devices)
        self.say_or_stop("planning", force=True)

    def keeping(self) -> AbstractContextManager[None]:
        """For as long as it works: keeps its leases and its heartbeat, whatever takes long between two steps."""
        return kept(self.leases, beat=self._beat_meanwhile)

    def end(self) -> None:
        """Everything that could be done is."""
        if not self.problems:
            self.complete()

    def claim(self) -> tuple[Task | None, bool]:
        """The first task that nobody else is doing, ours from now on; and whether any, also others', is left."""
        with self.changed:
            left = False
            awaited: WaitStarted | None = None
            for task in self._plan.tasks(without=self._failed):
                left = True
                lease = self._lease(task)
                if lease in self._busy:
                    continue
                if not self.leases.claim(lease):
                    awaited = awaited or WaitStarted(describe(task), self.leases.holder(lease))
                else:
                    self._busy[lease] = 0.0
                    # Between planning and claiming, another job may have done it.
                    if self._plan.is_missing(task):
                        self._awaited = None
                        self.tally.began(task, self.info, self.request.key.recipe.steps)
                        return task, True
                    self.release(task)
            self._wait_for(awaited)
            for fault in map(Fault.of, self.store.problems):
                if fault not in self.problems:
                    self.problem(fault)
            return None, left

    @property
    def waiting_message(self) -> str:
        """What is waited for, and for whom, while nothing can be claimed: nothing, while batches are under way here."""
        if self._busy:
            return self._message
        return "waiting for other batches" if self._awaited is None else str(self._awaited)

    def _wait_for(self, awaited: WaitStarted | None) -> None:
        """Said once of each, and only when nothing of our own is under way: that is no waiting."""
        if awaited is not None and awaited.holder and not self._busy and awaited != self._awaited:
            self._awaited = awaited
            self.say(awaited)

    def release(self, task: Task) -> None:
        with self.changed:
            lease = self._lease(task)
            self.leases.release(lease)
            self._busy.pop(lease, None)
            self._again.pop(lease, None)
            self.changed.notify_all()

    def check_lease(self, task: Task) -> None:
        """Raises LeaseLostError when a task under way is another's meanwhile.

        A lease that was only removed, or whose taker is gone, is claimed again: what was done here is not lost.
        """
        lease = self._lease(task)
        if lease in self.leases.held:
            return
        with self.changed:
            if not self.leases.claim(lease):
                raise LeaseLostError(task, self.leases.holder(lease))
            if not self._plan.is_missing(task):
                raise LeaseLostError(task, "")

    def is_missing(self, task: Task) -> bool:
        with self.changed:
            return self._plan.is_missing(task)

    def stepped(self, task: Task, step: int, steps: int) -> None:
        """`steps` more steps of a task's batch were done, which makes `step` of them."""
        with self.changed:
            self.tally.steps += steps * len(task.channels)
            if (lease := self._lease(task)) in self._busy:
                (self._again if task.retry else self._busy)[lease] = image_cost(task, self.info) * step

    def commit(self, task: Task, files: dict[str, bytes], event: BatchDone) -> None:
        """Stores what a task gave, unless it is another's meanwhile; when that fails, the task does.

        Raises DiskFullError.
        """
        try:
            self.check_lease(task)
            commit_task(self.fzset, task, files)
            if self.is_missing(task):
                raise DamageError(f"{describe(task)}: what was written cannot be read back")
        except LeaseLostError as lost:
            self.lost(lost)
            return
        except DiskFullError:
            raise
        except StreamscopeError as error:
            self.failed(task, error)
            return
        self.finished(task, event)

    def finished(self, task: Task, event: BatchDone) -> None:
        """A task's batch is stored."""
        with self.changed:
            self.tally.finished(task, self.info, self.request.key.recipe.steps)
            self._busy[self._lease(task)] = 0.0
            self._again.pop(self._lease(task), None)
            self.say(event)
            self.say_or_stop(describe(task), force=True)

    def lost(self, lost: LeaseLostError) -> None:
        """One batch is another's meanwhile; the rest goes on."""
        with self.changed:
            self.say(lost.event)

    def failed(self, task: Task, error: StreamscopeError) -> None:
        """One batch cannot be done; the rest goes on."""
        with self.changed:
            self._failed.add(task)
            self.problem(Fault.of(error))

    def say_or_stop(self, message: str, force: bool = False) -> None:
        """From time to time: says how far it is. Raises JobStoppedError when asked to stop."""
        with self.changed:
            now = time.monotonic()
            if not force and now - self._beat < BEAT_SECONDS:
                return
            if self.job.stop_requested():
                raise JobStoppedError
            self._message = message
            self._tell(self._beat_now(now))

    def _beat_meanwhile(self) -> None:
        """A heartbeat where no step gave one."""
        with self.changed:
            now = time.monotonic()
            if self._message and now - self._beat > 2 * BEAT_SECONDS:
                self._beat_now(now)

    def _beat_now(self, now: float) -> JobProgressed:
        self._beat = now
        inside = sum(self._busy.values())
        report = self.tally.report(self._message, inside, sum(self._again.values()))
        memory = self.device_memory()
        self.job.heartbeat(report, self.device, memory)
        return JobProgressed(report, memory, self.tally.counts(inside))

    def device_memory(self) -> DeviceMemory:
        """Of each device computed on, as far as this process can tell."""
        return {}

    def _lease(self, task: Task) -> str:
        return task.lease(self.info, self.request.key)


def check_space(store: Store, fzset: FZSet, request: Request) -> None:
    """Raises DiskFullError when the disk has too little room for the FZs still to be made."""
    count = sum(len(c) for c in missing_fzs(fzset.info, fzset, request).values())
    needed, free = estimate_bytes(fzset.info, count), free_bytes(store.root)
    if needed > free:
        raise DiskFullError(
            f"{count} FZs need about {needed / 1e6:,.0f} MB and {store.root} has {free / 1e6:,.0f} MB free"
        )


def describe(task: Task) -> str:
    first, last = task.channels[0], task.channels[-1]
    channels = f"channels {first}-{last}" if last > first else f"channel {first}"
    again = f", try {task.retry + 1} where M was undefined" if task.retry else ""
    return f"{task.block} {task.tensor}, {channels}{again}"
