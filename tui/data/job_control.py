"""Worker processes: the model is described and FZs are computed elsewhere, so that the app never loads torch."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from streamscope.core.errors import Fault, StoreError, StreamscopeError
from streamscope.core.model.spec import ModelSpec
from streamscope.core.processes import QUEUE_WORKER, WORKER, module_command
from streamscope.core.store import (
    FINISHED,
    Job,
    JobSpec,
    JobState,
    Store,
    check_resumable,
    create_job,
    free_bytes,
    in_turn,
    last_words,
    queue_of,
)
from streamscope.core.store.files.owner import this_process
from streamscope.core.store.jobs.events import DownloadProgressed, ModelRegistered, ProcessFailed, read_event
from streamscope.tui.advice import worded_fault


def describe_command(cache: Path, spec: ModelSpec) -> list[str]:
    given = spec.weights or spec.release
    weights = ["--weights", str(given)] if given else []
    entry = ["--weights-entry", spec.entry] if spec.entry else []
    named = ("--model", spec.address, *weights, *entry, *spec.changes.words())
    return module_command(WORKER, "describe", "--cache", str(cache), *named)


async def describe(cache: Path, spec: ModelSpec, tell: Callable[[int, int], object]) -> ModelRegistered:
    """Load the weights in a process that registers the model in the store; what it says of the model.

    `tell` hears of a download: bytes done and in all. Raises StreamscopeError with what the process said. The process
    ends when this is cancelled.
    """
    process = await asyncio.create_subprocess_exec(
        *describe_command(cache, spec),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    last = "the process said nothing"
    try:
        assert process.stdout is not None
        async for line in process.stdout:
            match read_event(line):
                case ModelRegistered() as event:
                    return event
                case ProcessFailed(fault):
                    raise StreamscopeError(worded_fault(fault))
                case DownloadProgressed(done, total):
                    tell(done, total)
                case None:
                    last = line.decode(errors="replace").strip() or last
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    raise StreamscopeError(f"the weights could not be read: {last}")


class Workers:
    """The worker processes that this app started. They go on when it ends, and work off what is queued by then.

    `command` starts one, given `--cache DIR --device DEVICE`.
    """

    def __init__(self, command: Sequence[str] | None = None) -> None:
        self._command = list(command) if command is not None else module_command(QUEUE_WORKER)
        self._processes: dict[str, tuple[Job, subprocess.Popen[bytes]]] = {}
        self._started: set[str] = set()

    def __contains__(self, job: Job) -> bool:
        return job.id in self._started

    def start(self, store: Store, spec: JobSpec) -> Job:
        """Put a job into its device's queue, and see that somebody works it off. Raises StoreError."""
        job = create_job(store, spec, queued=True)
        self.see_to(store, job)
        return job

    def start_on_cluster(self, store: Store, spec: JobSpec, scheduler: str) -> Job:
        """Start a job on the cluster of a scheduler that the user named, at once: no device is waited for.

        Raises StoreError.
        """
        job = create_job(store, spec)
        command = module_command(WORKER, "run", "--cache", str(store.root), "--job", job.id, "--scheduler", scheduler)
        self._launch(job, command)
        return job

    def see_to(self, store: Store, job: Job) -> None:
        """Start a worker for the queue that a job waits in; while another is at it, it ends at once.

        Raises StoreError, also when the job waits for a device of another machine, and what `check_resumable` raises.
        """
        check_resumable(job)
        queue = queue_of(job)
        if queue.host != this_process().host:
            raise StoreError(f"job {job.id} waits for a device of {queue.host}; resume it there")
        self._launch(job, [*self._command, "--cache", str(store.root), "--device", queue.device])

    def _launch(self, job: Job, command: Sequence[str]) -> None:
        """A process that outlives this one and its terminal."""
        try:
            with job.open_errors() as errors:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    start_new_session=True,
                    close_fds=True,
                )
        except OSError as error:
            raise StoreError(f"cannot start the worker of job {job.id}: {error.strerror or error}") from error
        self._processes[job.id] = (job, process)
        self._started.add(job.id)

    def reap(self, store: Store, states: Sequence[JobState]) -> None:
        """Say of jobs whose process ended with an error without a last word that they failed; others would wait for a
        minute. What else waited for that process gets another."""
        unfinished = {state.job.id: state for state in states if state.state not in FINISHED}
        for name, (job, process) in list(self._processes.items()):
            code = process.poll()
            if code is None:
                continue
            del self._processes[name]
            if code == 0:
                continue
            if name in unfinished and unfinished[name].state != "paused":
                words = last_words(unfinished[name]) or f"its worker ended at once, with exit code {code}"
                job.finish("failed", Fault(words))
            queued = [s for s in states if s.state == "queued" and not s.job.spec.scheduler and s.job != job]
            behind = [s for s in queued if queue_of(s.job) == queue_of(job)]
            if behind:
                self.see_to(store, in_turn(behind)[0].job)


def room_left(cache: Path) -> int | None:
    """Bytes free on a cache's disk; None where that cannot be told."""
    try:
        return free_bytes(cache)
    except OSError:
        return None
