"""The batch loop of one process: claims what is missing, does it batch by batch, and says how far it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

import numpy as np
import torch

from streamscope.core.engine.network import Network
from streamscope.core.errors import StreamscopeError
from streamscope.core.jobs.plan import Request, Task
from streamscope.core.jobs.run import WAIT_SECONDS, JobStoppedError, LeasedRun, LeaseLostError, Record, Tell, describe
from streamscope.core.jobs.tasks import Computed, compute_task
from streamscope.core.model.blocks import Target
from streamscope.core.store import Store
from streamscope.core.store.jobs.events import DeviceMemory
from streamscope.core.store.jobs.growing import remove_growing, write_growing
from streamscope.core.store.layout import JobFolder, jobs_folder

LOOK_SECONDS = 3.0
"""How often FZs under way are shown, at most: making their images takes about as long as a step."""
MOST_LANES = 4
"""Batches under way at once on a CPU."""


def batches_at_once(device: torch.device) -> int:
    """Batches that are optimised at the same time: one a lane on a CPU; of CUDA's lanes one has the device."""
    return lane_count(device) if device.type == "cpu" else 1


def lane_count(device: torch.device) -> int:
    """Batches under way at once: one a core on a CPU; on CUDA one more, optimised while the other is written."""
    return min(torch.get_num_threads(), MOST_LANES) if device.type == "cpu" else 2


def cuda_memory(device: torch.device) -> DeviceMemory:
    """Bytes in use and in all of a CUDA device, whoever uses them, by its name; nothing for others."""
    if device.type != "cuda":
        return {}
    free, total = torch.cuda.mem_get_info(device)
    return {str(device): (total - free, total)}


class LocalRun(LeasedRun):
    """Does a job in this process.

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
        self.begin()
        with self.keeping():
            self._run_lanes()
        if self._halted is not None:
            raise self._halted
        self.end()

    def device_memory(self) -> DeviceMemory:
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
                self._go_on(self.waiting_message)
                with self.changed:
                    self.changed.wait(WAIT_SECONDS)
            return left
        try:
            if computed is not None:
                self.commit(task, computed.files, computed.event)
        finally:
            self.release(task)
        return True

    def _compute(self, task: Task, device_free: Callable[[], None]) -> Computed | None:
        def watch(step: int, steps: int) -> None:
            self.stepped(task, step, 1)
            self.check_lease(task)
            self._go_on(describe(task))

        looks = _Looks(
            JobFolder(jobs_folder(self.store.root) / self.job.id), self.fzset.target(task.block, task.tensor)
        )
        try:
            peek = looks.show if not task.retry else None
            return compute_task(self.network, self.fzset, task, watch=watch, device_free=device_free, peek=peek)
        except LeaseLostError as lost:
            self.lost(lost)
            return None
        except StreamscopeError as error:
            self.failed(task, error)
            return None
        except BaseException:
            self.release(task)
            raise
        finally:
            looks.close()

    def _go_on(self, message: str) -> None:
        if self._halted is not None:
            raise JobStoppedError
        self.say_or_stop(message)


class _Looks:
    """Shows a batch from time to time as it looks so far."""

    def __init__(self, job: JobFolder, target: Target) -> None:
        self._job, self._target = job, target
        self._last = time.monotonic()
        self._shown: set[tuple[int, ...]] = set()

    def show(self, channels: tuple[int, ...], images: Callable[[], np.ndarray]) -> None:
        now = time.monotonic()
        if now - self._last >= LOOK_SECONDS:
            write_growing(self._job, self._target, channels, images())
            self._shown.add(channels)
            self._last = time.monotonic()

    def close(self) -> None:
        for channels in self._shown:
            remove_growing(self._job, self._target, channels)
