"""Worker processes: the model is described and FZs are computed elsewhere, so that the app never loads torch."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from core.errors import StoreError, StreamscopeError
from core.spec import ModelSpec
from core.store import FINISHED, Job, JobState, Store, create_job, job_state, open_job

WORKER = (sys.executable, "-m", "core.worker")


def describe_command(cache: Path, spec: ModelSpec) -> list[str]:
    weights = ["--weights", str(spec.weights)] if spec.weights else []
    return [*WORKER, "describe", "--cache", str(cache), "--model", spec.name, *weights]


async def describe(cache: Path, spec: ModelSpec, tell: Callable[[int, int], object]) -> str:
    """Load the weights in a process that registers the model in the store; its fingerprint.

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
            event = _event(line)
            if event is None:
                last = line.decode(errors="replace").strip() or last
            elif event.get("event") == "model":
                return str(event["fingerprint"])
            elif event.get("event") == "error":
                raise StreamscopeError(str(event.get("message")))
            elif event.get("event") == "download":
                tell(int(event.get("done") or 0), int(event.get("total") or 0))
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    raise StreamscopeError(f"the weights could not be read: {last}")


class Workers:
    """The worker processes that this app started. They go on when it ends."""

    def __init__(self) -> None:
        self._processes: dict[str, tuple[Job, subprocess.Popen[bytes]]] = {}

    def __contains__(self, job: Job) -> bool:
        return job.id in self._processes

    def start(self, store: Store, asked: Mapping[str, Any]) -> Job:
        """Put a job in the store and start its worker. Raises StoreError."""
        job = create_job(store, dict(asked))
        command = [*WORKER, "run", "--cache", str(store.root), "--job", job.id]
        try:
            with open(job.folder / "stderr.txt", "wb") as errors:
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
        return job

    def reap(self, states: Sequence[JobState]) -> None:
        """Say of jobs whose process has ended without a last word that they failed; others would wait for a minute."""
        unfinished = {state.job.id: state for state in states if state.state not in FINISHED}
        for name, (job, process) in self._processes.items():
            code = process.poll()
            if code is not None and name in unfinished:
                job.finish("failed", last_words(unfinished[name]) or f"its worker ended at once, with exit code {code}")


class JobWatch:
    """The jobs of a store, polled: a finished one is not read again."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._folder = store.root / "jobs"
        self._finished: dict[str, JobState] = {}

    def poll(self) -> list[JobState]:
        """Every job, oldest first; unreadable ones are skipped."""
        try:
            names = sorted(entry.name for entry in self._folder.iterdir() if not entry.name.startswith("."))
        except OSError:
            return []
        found = []
        for name in names:
            state = self._finished.get(name)
            if state is None:
                with suppress(StoreError):
                    state = job_state(self._store, open_job(self._folder / name))
            if state is None:
                continue
            if state.state in FINISHED:
                self._finished[name] = state
            found.append(state)
        return found


def last_words(state: JobState) -> str:
    """The last line that a job's process wrote about what went wrong, else what it said last; maybe ""."""
    try:
        lines = (state.job.folder / "stderr.txt").read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1] if lines else state.message


def _event(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None
