"""Works on one job: claims what is missing, does it batch by batch, and says how far it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any, Protocol

import torch

from streamscope.core.engine.network import Network
from streamscope.core.errors import DamageError, DiskFullError, StreamscopeError
from streamscope.core.jobs.plan import Plan, Request, Task, missing_fzs
from streamscope.core.jobs.progress import Progress, image_cost
from streamscope.core.jobs.tasks import Computed, commit_task, compute_task
from streamscope.core.model.blocks import ModelInfo
from streamscope.core.store import FZSet, Leases, Store, estimate_bytes, free_bytes

BEAT_SECONDS = 2.0
"""How often a working job says how far it is and renews its leases."""
WAIT_SECONDS = 1.0
"""How often a job looks again while others hold all that is left."""
MOST_LANES = 4
"""Batches under way at once on a CPU."""

Tell = Callable[[dict[str, Any]], None]
"""Receives the events of a job: what is appended to its log, and `progress` besides."""


class JobStoppedError(Exception):
    """Somebody asked the job to stop."""


def batches_at_once(device: torch.device) -> int:
    """Batches that are optimised at the same time: one a lane on a CPU; of CUDA's lanes one has the device."""
    return lane_count(device) if device.type == "cpu" else 1


def lane_count(device: torch.device) -> int:
    """Batches under way at once: one a core on a CPU; on CUDA one more, optimised while the other is written."""
    return min(torch.get_num_threads(), MOST_LANES) if device.type == "cpu" else 2


class Record(Protocol):
    """What a run needs of the job it works on: a `Job`, or what stands for it in one process of several."""

    @property
    def id(self) -> str: ...

    def stop_requested(self) -> bool: ...

    def heartbeat(self, **progress: Any) -> None: ...

    def log(self, event: dict[str, Any]) -> None: ...


def check_space(store: Store, fzset: FZSet, request: Request) -> None:
    """Raises DiskFullError when the disk has too little room for the FZs still to be made."""
    count = sum(len(c) for c in missing_fzs(fzset.info, fzset, request).values())
    needed, free = estimate_bytes(fzset.info, count), free_bytes(store.root)
    if needed > free:
        raise DiskFullError(
            f"{count} FZs need about {needed / 1e6:,.0f} MB and {store.root} has {free / 1e6:,.0f} MB free"
        )


def cuda_memory(device: torch.device) -> dict[str, tuple[int, int]]:
    """Bytes in use and in all of a CUDA device, whoever uses them, by its name; nothing for others."""
    if device.type != "cuda":
        return {}
    free, total = torch.cuda.mem_get_info(device)
    return {str(device): (total - free, total)}


def describe(task: Task) -> str:
    first, last = task.channels[0], task.channels[-1]
    channels = f"channels {first}-{last}" if last > first else f"channel {first}"
    again = f", again: M undefined (try {task.retry + 1})" if task.retry else ""
    return f"{task.block} {task.tensor}, {channels}{again}"


class Work:
    """The state of one process's work on a job: what is left, what it holds, what went wrong. Threads may share it."""

    def __init__(self, store: Store, job: Record, info: ModelInfo, request: Request, tell: Tell) -> None:
        self.store, self.job, self.info, self.request = store, job, info, request
        self.fzset = store.set(info, request.key, create=True)
        self.leases = Leases(store.root, job.id)
        self.problems: list[str] = []
        self.progress = Progress(0, 0, 0.0)
        self.changed = threading.Condition(threading.RLock())
        """Guards everything below, the leases and the log; notified whenever a task ends."""
        self.device = ""
        """What it computes on, for the heartbeat."""
        self._tell = tell
        self._plan = Plan(info, self.fzset, request)
        self._failed: set[Task] = set()
        self._busy: dict[str, float] = {}
        """Cost already spent in each task under way, by its lease."""
        self._again: dict[str, float] = {}
        """The same of those that are done again for undefined rows."""
        self._beat = 0.0

    def begin(self) -> None:
        """Raises DiskFullError when the disk has too little room."""
        check_space(self.store, self.fzset, self.request)
        self.progress = Progress.of(self.info, self.fzset, self.request)
        absent = self.progress.total - self.progress.present
        self.say({"event": "started", **self.request.to_json(), "missing": absent})

    def end(self) -> None:
        """Everything that could be done is."""
        if not self.problems:
            self.progress.completed()
            self.fzset.mark_completed(self.job.id)

    def claim(self) -> tuple[Task | None, bool]:
        """The first task that nobody else is doing, ours from now on; and whether any, also others', is left."""
        with self.changed:
            left = False
            for task in self._plan.tasks(without=self._failed):
                left = True
                lease = self._lease(task)
                if lease not in self._busy and self.leases.claim(lease):
                    self._busy[lease] = 0.0
                    # Between planning and claiming, another job may have done it.
                    if self._plan.is_missing(task):
                        return task, True
                    self.release(task)
            for line in map(str, self.store.problems):
                if line not in self.problems:
                    self.problem(line)
            return None, left

    def release(self, task: Task) -> None:
        with self.changed:
            lease = self._lease(task)
            self.leases.release(lease)
            self._busy.pop(lease, None)
            self._again.pop(lease, None)
            self.changed.notify_all()

    def is_missing(self, task: Task) -> bool:
        with self.changed:
            return self._plan.is_missing(task)

    def stepped(self, task: Task, step: int, steps: int) -> None:
        """`steps` more steps of a task's batch were done, which makes `step` of them."""
        with self.changed:
            self.progress.steps += steps * len(task.channels)
            if (lease := self._lease(task)) in self._busy:
                (self._again if task.retry else self._busy)[lease] = image_cost(task, self.info) * step

    def finished(self, task: Task, event: dict[str, Any]) -> None:
        """A task's batch is stored."""
        with self.changed:
            self.progress.finished(task, self.info, self.request.key.recipe.steps)
            self._busy[self._lease(task)] = 0.0
            self._again.pop(self._lease(task), None)
            self.say(event)
            self.heartbeat(describe(task), force=True)

    def failed(self, task: Task, error: StreamscopeError) -> None:
        """One batch cannot be done; the rest goes on."""
        with self.changed:
            self._failed.add(task)
            self.problem(str(error))

    def heartbeat(self, message: str, force: bool = False) -> None:
        """Says how far it is and renews the leases, from time to time. Raises JobStoppedError when asked to stop."""
        with self.changed:
            now = time.monotonic()
            if not force and now - self._beat < BEAT_SECONDS:
                return
            self._beat = now
            if self.job.stop_requested():
                raise JobStoppedError
            self.leases.renew()
            inside = sum(self._busy.values())
            report = self.progress.report(message, inside, sum(self._again.values()))
            memory = {"device_memory": used} if (used := self.device_memory()) else {}
            self.job.heartbeat(**report, device=self.device, **memory)
            self._tell({"event": "progress", **report, **memory, "counts": self.progress.counts(inside)})

    def device_memory(self) -> dict[str, tuple[int, int]]:
        """Bytes in use and in all of each device computed on, as far as this process can tell."""
        return {}

    def problem(self, line: str) -> None:
        self.problems.append(line)
        self.say({"event": "problem", "message": line})

    def say(self, event: dict[str, Any]) -> None:
        self.job.log(event)
        self._tell(event)

    def _lease(self, task: Task) -> str:
        return task.lease(self.info, self.request.key)


class JobRun(Work):
    """Works in this process until nothing is missing, it is stopped, or nothing more can be done.

    On a CPU several batches are under way at once, each on its own cores: an operation on one batch is too small to
    keep all of them busy (measured on two cores: 1.4 to 1.7 times the image-steps a second on the demo model). On CUDA
    there are two, of which one has the device while the results of the other are encoded and stored.
    """

    def __init__(self, store: Store, job: Record, network: Network, request: Request, tell: Tell) -> None:
        super().__init__(store, job, network.info, request, tell)
        self.network = network
        self.device = str(network.device)
        self._halted: BaseException | None = None
        cuda = network.device.type == "cuda"
        self._device: AbstractContextManager[Any] = threading.Lock() if cuda else nullcontext()

    def run(self) -> None:
        """Raises JobStoppedError when asked to stop, StreamscopeError when the whole job cannot go on (a full disk).

        What fails in one batch only is told, and kept in `problems`; the rest goes on.
        """
        self.begin()
        try:
            self._run_lanes()
        finally:
            self.leases.release_all()
        if self._halted is not None:
            raise self._halted
        self.end()

    def device_memory(self) -> dict[str, tuple[int, int]]:
        return cuda_memory(self.network.device)

    def halt(self, error: BaseException) -> None:
        """Ends `run`, which raises `error`, as soon as what is under way can be left."""
        with self.changed:
            self._halted = self._halted or error
            self.changed.notify_all()

    def _run_lanes(self) -> None:
        threads = torch.get_num_threads()
        cpu = self.network.device.type == "cpu"
        count = lane_count(self.network.device)
        lanes = [
            threading.Thread(target=self._lane, args=(threads // count if cpu else threads,)) for _ in range(count)
        ]
        for lane in lanes:
            lane.start()
        try:
            for lane in lanes:
                while lane.is_alive():
                    lane.join(WAIT_SECONDS)
        except BaseException as interrupt:
            self.halt(interrupt)
            for lane in lanes:
                lane.join()
        finally:
            torch.set_num_threads(threads)

    def _lane(self, threads: int) -> None:
        torch.set_num_threads(threads)
        try:
            if self.network.device.type == "cuda":
                # Every thread has a current device of its own.
                torch.cuda.set_device(self.network.device)
            while self._halted is None and self._once():
                pass
        except BaseException as error:
            self.halt(error)

    def _once(self) -> bool:
        """Does one task; False when none is left. Whoever claims one has the device: none is held back, waiting."""
        computed = None
        with ExitStack() as device:
            device.enter_context(self._device)
            task, left = self.claim()
            if task is not None:
                computed = self._compute(task, device.close)
        if task is None:
            if left:
                self._watch("waiting for other batches")
                with self.changed:
                    self.changed.wait(WAIT_SECONDS)
            return left
        try:
            if computed is not None:
                self._commit(task, computed)
        finally:
            self.release(task)
        return True

    def _compute(self, task: Task, device_free: Callable[[], None]) -> Computed | None:
        def watch(step: int, steps: int) -> None:
            self.stepped(task, step, 1)
            self._watch(describe(task))

        try:
            return compute_task(self.network, self.fzset, task, watch=watch, device_free=device_free)
        except StreamscopeError as error:
            self.failed(task, error)
            return None
        except BaseException:
            self.release(task)
            raise

    def _commit(self, task: Task, computed: Computed) -> None:
        try:
            commit_task(self.fzset, task, computed.files)
            if self.is_missing(task):
                raise DamageError(f"{describe(task)}: what was written cannot be read back")
        except DiskFullError:
            raise
        except StreamscopeError as error:
            self.failed(task, error)
            return
        self.finished(task, computed.event)

    def _watch(self, message: str) -> None:
        if self._halted is not None:
            raise JobStoppedError
        self.heartbeat(message)
