"""Does the tasks of a plan: the same function for one batch whoever calls it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from core import __version__
from core.activations import BlockReader
from core.errors import DiskFullError, StoreError, StreamscopeError
from core.model import Network
from core.plan import Request, Task, missing, missing_fzs, step_cost, wanted_fzs
from core.store import FZSet, Job, Leases, Store, estimate_bytes, free_bytes
from core.visualize import Watch, visualize

BEAT_SECONDS = 2.0
"""How often a working job says how far it is and renews its leases."""
WAIT_SECONDS = 1.0
"""How often a job looks again while others hold all that is left."""
MOST_LANES = 4
"""Batches under way at once on a CPU."""
SMALL_IMAGE = 96
"""Side in px up to which an image is small."""

Tell = Callable[[dict[str, Any]], None]
"""Receives the events of a job: what is appended to its log, and `progress` besides."""


class JobStoppedError(Exception):
    """Somebody asked the job to stop."""


def run_task(network: Network, fzset: FZSet, task: Task, watch: Watch | None = None) -> dict[str, Any]:
    """Does one task and commits its result to the store; returns the event that describes it."""
    started = time.monotonic()
    event: dict[str, Any] = {
        "event": task.kind,
        "block": task.block,
        "tensor": task.tensor,
        "retry": task.retry,
        "count": len(task.channels),
    }
    target = network.info.target(task.block, task.tensor)
    key = fzset.key
    if task.kind == "fz":
        batch = visualize(network, target, task.channels, key.recipe, key.seed + task.retry, key.capture, watch)
        fzset.commit_fzs(
            target,
            batch.channels,
            batch.images,
            batch.activation,
            batch.trace,
            batch.flags,
            provenance(network),
            task.retry,
        )
        flagged = {flag: batch.flags.count(flag) for flag in set(batch.flags) if flag}
        if flagged:
            event["flagged"] = flagged
    else:
        images = np.stack([fzset.fz_image(target, channel, task.retry) for channel in task.channels])
        plain, up, down = BlockReader(network, task.block).read(images)
        scaled = {"in": up, "block": down, "out": None}[task.tensor]
        fzset.commit_measures(task.block, task.tensor, task.channels, plain, scaled, task.retry)
    return {**event, "channels": [task.channels[0], task.channels[-1]], "seconds": round(time.monotonic() - started, 2)}


def provenance(network: Network) -> dict[str, str]:
    """What an FZ depends on besides its recipe: rounding differs between devices, dtypes and versions."""
    device = network.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return {"device": name, "dtype": "float32", "engine": __version__, "torch": torch.__version__}


def default_batch(network: Network, free: float | None = None) -> int:
    """Width of the channel ranges: on a CPU 16, or 64 of small images, where a step's fixed cost would show; on CUDA
    what fits in 70 % of the free memory, a power of two up to 128."""
    if network.device.type != "cuda":
        return 64 if network.info.input_size <= SMALL_IMAGE else 16
    free = torch.cuda.mem_get_info(network.device)[0] if free is None else free
    side = network.info.input_size
    # Five copies of the parameters (Adam's too) and some 40 maps of the stem's size, 64 channels each at half the side.
    image = 5 * 3 * side * (side // 2 + 1) * 2 * 4 + 40 * 64 * (side // 2) ** 2 * 4
    fitting = max(8, int(0.7 * free / image))
    return min(128, 1 << (fitting.bit_length() - 1))


def check_space(store: Store, fzset: FZSet, request: Request) -> None:
    """Raises DiskFullError when the disk has too little room for the FZs still to be made."""
    count = sum(len(c) for c in missing_fzs(fzset.info, fzset, request).values())
    needed, free = estimate_bytes(fzset.info, count), free_bytes(store.root)
    if needed > free:
        raise DiskFullError(
            f"{count} FZs need about {needed / 1e6:,.0f} MB and {store.root} has {free / 1e6:,.0f} MB free; "
            f"make room, or use --cache DIR on another disk"
        )


@dataclass
class _Progress:
    """Image-steps done of all, weighted by what they cost, for the rate and the ETA."""

    total_fzs: int
    present: int
    cost: float
    """Of all that was missing at the start."""
    spent: float = 0.0
    done: int = 0
    steps: float = 0.0
    started: float = field(default_factory=time.monotonic)

    def report(self, message: str, inside: float = 0.0) -> dict[str, Any]:
        """`inside` is the cost already spent within the batch that is under way."""
        elapsed = max(time.monotonic() - self.started, 1e-9)
        spent = self.spent + inside
        eta = (self.cost - spent) * elapsed / spent if spent > 0 else None
        return {
            "done": self.present + self.done,
            "total": self.total_fzs,
            "share": min(1.0, spent / self.cost) if self.cost else 1.0,
            "rate": self.steps / elapsed,
            "unit": "image-steps",
            "eta": max(0.0, eta) if eta is not None else None,
            "message": message,
        }


class JobRun:
    """Works on one job until nothing that it asks for is missing, it is stopped, or nothing more can be done.

    On a CPU several batches are under way at once, each on its own cores: an operation on one batch is too small to
    keep all of them busy (measured on two cores: 1.4 to 1.7 times the image-steps a second on the demo model).
    """

    def __init__(self, store: Store, job: Job, network: Network, request: Request, tell: Tell) -> None:
        self.store, self.job, self.network, self.request = store, job, network, request
        self.fzset = store.set(network.info, request.key, create=True)
        self.leases = Leases(store.root, job.id)
        self.problems: list[str] = []
        self._tell = tell
        self._changed = threading.Condition(threading.RLock())
        """Guards everything below, the leases and the log; notified whenever a task ends."""
        self._failed: set[Task] = set()
        self._busy: dict[str, float] = {}
        """Cost already spent in each task under way, by its lease."""
        self._halted: BaseException | None = None
        self._beat = 0.0

    def run(self) -> None:
        """Raises JobStoppedError when asked to stop, StreamscopeError when the whole job cannot go on (a full disk).

        What fails in one batch only is told, and kept in `problems`; the rest goes on.
        """
        check_space(self.store, self.fzset, self.request)
        info = self.network.info
        absent = missing_fzs(info, self.fzset, self.request)
        steps = self.request.key.recipe.steps
        total = sum(len(c) for c in wanted_fzs(info, self.request).values())
        cost = sum(len(c) * steps * step_cost(info, t) for t, c in absent.items())
        self.progress = _Progress(total, total - sum(len(c) for c in absent.values()), cost)
        self._say({"event": "started", **self.request.to_json(), "missing": sum(len(c) for c in absent.values())})
        try:
            self._run_lanes()
        finally:
            self.leases.release_all()
        if self._halted is not None:
            raise self._halted
        if not self.problems:
            self.fzset.mark_completed(self.job.id)

    def _run_lanes(self) -> None:
        threads = torch.get_num_threads()
        count = min(threads, MOST_LANES) if self.network.device.type == "cpu" else 1
        lanes = [threading.Thread(target=self._lane, args=(threads // count,)) for _ in range(count)]
        for lane in lanes:
            lane.start()
        try:
            for lane in lanes:
                while lane.is_alive():
                    lane.join(WAIT_SECONDS)
        except BaseException as interrupt:
            self._halt(interrupt)
            for lane in lanes:
                lane.join()
        finally:
            if count > 1:
                torch.set_num_threads(threads)

    def _lane(self, threads: int) -> None:
        if self.network.device.type == "cpu":
            torch.set_num_threads(threads)
        # Its own objects: what they remember of the folders is not guarded.
        store = Store(self.store.root)
        fzset = store.set(self.network.info, self.request.key)
        try:
            while self._halted is None and self._once(store, fzset):
                pass
        except BaseException as error:
            self._halt(error)

    def _halt(self, error: BaseException) -> None:
        with self._changed:
            self._halted = self._halted or error
            self._changed.notify_all()

    def _once(self, store: Store, fzset: FZSet) -> bool:
        """Does the first task that nobody else is doing; False when none is left."""
        with self._changed:
            left = [t for t in missing(fzset.info, fzset, self.request) if t not in self._failed]
            for line in store.problems:
                if line not in self.problems:
                    self._problem(line)
            task = next((t for t in left if self._claim(t)), None)
            if task is None:
                if left:
                    self._heartbeat("waiting for other batches")
                    self._changed.wait(WAIT_SECONDS)
                return bool(left)
        try:
            # Between planning and claiming, another job may have done it.
            if task in set(missing(fzset.info, fzset, self.request)):
                self._do(fzset, task)
        finally:
            with self._changed:
                lease = self._lease(task)
                self.leases.release(lease)
                del self._busy[lease]
                self._changed.notify_all()
        return True

    def _lease(self, task: Task) -> str:
        return task.lease(self.network.info, self.request.key)

    def _claim(self, task: Task) -> bool:
        lease = self._lease(task)
        if lease in self._busy or not self.leases.claim(lease):
            return False
        self._busy[lease] = 0.0
        return True

    def _do(self, fzset: FZSet, task: Task) -> None:
        info, lease = self.network.info, self._lease(task)
        cost = len(task.channels) * step_cost(info, info.target(task.block, task.tensor))
        what = f"{task.block} {task.tensor}, channels {task.channels[0]}-{task.channels[-1]}"

        def watch(step: int, steps: int) -> None:
            with self._changed:
                self.progress.steps += len(task.channels)
                if not task.retry:
                    self._busy[lease] = cost * step
                self._heartbeat(what)

        try:
            event = run_task(self.network, fzset, task, watch)
            if task in set(missing(info, fzset, self.request)):
                raise StoreError(f"{what}: what was written cannot be read back; run 'streamscope cache verify'")
        except DiskFullError:
            raise
        except StreamscopeError as error:
            with self._changed:
                self._failed.add(task)
                self._problem(str(error))
            return
        with self._changed:
            if task.kind == "fz" and not task.retry:
                self.progress.spent += cost * self.request.key.recipe.steps
                self.progress.done += len(task.channels)
                self._busy[lease] = 0.0
            self._say(event)
            self._heartbeat(what, force=True)

    def _heartbeat(self, message: str, force: bool = False) -> None:
        if self._halted is not None:
            raise JobStoppedError
        now = time.monotonic()
        if not force and now - self._beat < BEAT_SECONDS:
            return
        self._beat = now
        if self.job.stop_requested():
            raise JobStoppedError
        self.leases.renew()
        report = self.progress.report(message, sum(self._busy.values()))
        self.job.heartbeat(**report, device=str(self.network.device))
        self._tell({"event": "progress", **report})

    def _problem(self, line: str) -> None:
        self.problems.append(line)
        self._say({"event": "problem", "message": line})

    def _say(self, event: dict[str, Any]) -> None:
        self.job.log(event)
        self._tell(event)
