"""Several worker processes at one job, one a device. They share it by leases; whoever started them adds up and tells.

A process that dies leaves the others working: its leases are free at once, so they do its batches too.
"""

from __future__ import annotations

import os
import queue
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import IO

from streamscope.core.errors import Fault, StreamscopeError
from streamscope.core.jobs.plan import Plan, Request
from streamscope.core.jobs.pulse import BEAT_SECONDS
from streamscope.core.jobs.run import WAIT_SECONDS, JobStoppedError, Run, Tell
from streamscope.core.model.blocks import ModelInfo
from streamscope.core.processes import WORKER, module_command
from streamscope.core.store import Job, Store
from streamscope.core.store.files.owner import this_process
from streamscope.core.store.jobs.events import (
    BatchDone,
    BatchLost,
    Counts,
    DeviceMemory,
    Event,
    JobProgressed,
    ProblemOccurred,
    ProcessEnded,
    Report,
    WaitStarted,
    read_event,
)
from streamscope.core.store.leases import stale_leases

PATIENCE = 30.0
"""Seconds that the processes get to leave what they are doing before they are killed."""


@dataclass(frozen=True)
class Member:
    """What stands for the job in one process of a crew: it reads whether to stop, and leaves telling to its starter."""

    job: Job

    @property
    def id(self) -> str:
        return self.job.id

    def stop_requested(self) -> bool:
        return self.job.stop_requested()

    def heartbeat(self, report: Report, device: str = "", device_memory: DeviceMemory | None = None) -> None: ...

    def log(self, event: Event) -> None: ...


@dataclass
class _Worker:
    device: str
    process: subprocess.Popen[str]
    counts: Counts = field(default_factory=Counts)
    message: str = ""
    last: ProcessEnded | None = None
    """Its last word; None for one that died."""
    stderr: str = ""
    device_memory: DeviceMemory = field(default_factory=dict)


class Crew(Run):
    """Does a job on several devices of this machine, a process each: `streamscope.core.jobs.batch_loop` on one."""

    def __init__(
        self,
        store: Store,
        job: Job,
        info: ModelInfo,
        request: Request,
        devices: Sequence[str],
        threads: int,
        tell: Tell,
    ) -> None:
        super().__init__(store, job, info, request, tell)
        self.devices = tuple(devices)
        self._threads = threads
        self._workers: list[_Worker] = []
        self._events: queue.Queue[tuple[_Worker, Event | None]] = queue.Queue()
        """What the processes say; None when one has closed its output, which is when it ended."""
        self._awaited: WaitStarted | None = None

    def run(self) -> None:
        self.begin(self.devices)
        try:
            self._workers = [self._start(device) for device in self.devices]
            self._follow()
        finally:
            self._dismiss()
        if any(worker.last is not None and worker.last.state == "stopped" for worker in self._workers):
            raise JobStoppedError
        left = next(Plan(self.info, self.fzset, self.request).tasks(), None)
        if left is None:
            # What went wrong in one process, another has done.
            self.problems.clear()
            self.complete()
        elif not self.problems:
            raise StreamscopeError("every worker process ended before all was done")

    def _start(self, device: str) -> _Worker:
        command = module_command(WORKER, "join", "--cache", str(self.store.root), "--job", self.job.id)
        command += ["--device", device, "--batch", str(self.request.batch), "--threads", str(self._threads)]
        command += ["--identity", self.info.identity]
        process = subprocess.Popen(
            command,
            # Its end of this pipe closes when we die, however that happens; then it leaves the job.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(self._threads)},
            # Ctrl-C is for us: we tell them.
            start_new_session=True,
        )
        worker = _Worker(device, process)
        assert process.stdout is not None
        assert process.stderr is not None
        threading.Thread(target=self._listen, args=(worker, process.stdout), daemon=True).start()
        threading.Thread(target=_keep_last_line, args=(worker, process.stderr), daemon=True).start()
        return worker

    def _listen(self, worker: _Worker, lines: IO[str]) -> None:
        for line in lines:
            if (event := read_event(line)) is not None:
                self._events.put((worker, event))
        self._events.put((worker, None))

    def _follow(self) -> None:
        working = len(self._workers)
        told = 0.0
        while working:
            try:
                worker, event = self._events.get(timeout=WAIT_SECONDS)
            except queue.Empty:
                pass
            else:
                if event is None:
                    working -= 1
                    self._ended(worker)
                else:
                    self._heard(worker, event)
            if time.monotonic() - told > BEAT_SECONDS:
                told = time.monotonic()
                self._report()
        self._report()

    def _heard(self, worker: _Worker, event: Event) -> None:
        match event:
            case JobProgressed():
                worker.message, worker.device_memory = event.report.message, event.device_memory
                worker.counts = event.counts or worker.counts
            case ProcessEnded():
                worker.last = event
            case ProblemOccurred(fault):
                self.problem(fault)
            case WaitStarted():
                # Of one of ours nobody waits for word; nor is it said by each.
                if event.holder not in self._holders() and event != self._awaited:
                    self._awaited = event
                    self.say(event)
            case BatchLost():
                self.say(event)
            case BatchDone():
                self.say(replace(event, device=worker.device))

    def _holders(self) -> set[str]:
        """Our processes, as leases name them."""
        me = this_process()
        return {str(replace(me, pid=worker.process.pid)) for worker in self._workers}

    def _ended(self, worker: _Worker) -> None:
        code = worker.process.wait()
        worker.counts = replace(worker.counts, inside=0.0)
        if worker.last is None:
            how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            detail = f": {worker.stderr}" if worker.stderr else ""
            what = f"the worker process on {worker.device} {how}{detail}; its batches are left to the others"
            self.problem(Fault(what))
        elif worker.last.state == "failed":
            fault = worker.last.fault
            self.problem(replace(fault, message=f"{worker.device}: {fault.message}"))

    def problem(self, fault: Fault) -> None:
        """Once, however many processes say it."""
        if fault not in self.problems:
            super().problem(fault)

    def _report(self) -> None:
        self.tally.take(worker.counts for worker in self._workers)
        inside = sum(worker.counts.inside for worker in self._workers)
        at_work = [worker for worker in self._workers if worker.process.poll() is None]
        report = self.tally.report("; ".join(f"{w.device} {w.message}" for w in at_work if w.message), inside)
        memory = {name: used for worker in at_work for name, used in worker.device_memory.items()}
        self.job.heartbeat(report, ", ".join(self.devices), memory)
        self._tell(JobProgressed(report))

    def _dismiss(self) -> None:
        """Whoever still works is asked to leave, and killed when it does not."""
        for worker in self._workers:
            if worker.process.stdin is not None:
                with suppress(OSError):
                    worker.process.stdin.close()
        until = time.monotonic() + PATIENCE
        for worker in self._workers:
            try:
                worker.process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
        # One that was killed between storing a batch and giving its lease back left a lease that nobody claims again.
        for lease in stale_leases(self.store.root, self.job.id):
            with suppress(OSError):
                lease.unlink(missing_ok=True)


def _keep_last_line(worker: _Worker, lines: IO[str]) -> None:
    for line in lines:
        worker.stderr = line.strip() or worker.stderr
