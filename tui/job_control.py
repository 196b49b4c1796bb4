"""Worker processes: the model is described and FZs are computed elsewhere, so that the app never loads torch."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
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


async def describe(cache: Path, spec: ModelSpec) -> str:
    """Load the weights in a process that registers the model in the store; its fingerprint.

    Raises StreamscopeError with what the process said. The process ends when this is cancelled.
    """
    process = await asyncio.create_subprocess_exec(
        *describe_command(cache, spec),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    for event in _events(output.decode(errors="replace")):
        if event.get("event") == "model":
            return str(event["fingerprint"])
        if event.get("event") == "error":
            raise StreamscopeError(str(event.get("message")))
    last = errors.decode(errors="replace").strip().splitlines()
    raise StreamscopeError(f"the weights could not be read: {last[-1] if last else 'the process said nothing'}")


def start_job(store: Store, asked: Mapping[str, Any]) -> Job:
    """Put a job in the store and start its worker, which goes on when the app ends. Raises StoreError."""
    job = create_job(store, dict(asked))
    command = [*WORKER, "run", "--cache", str(store.root), "--job", job.id]
    try:
        with open(job.folder / "stderr.txt", "wb") as errors:
            subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
                close_fds=True,
            )
    except OSError as error:
        raise StoreError(f"cannot start the worker of job {job.id}: {error.strerror or error}") from error
    return job


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
    """Why a job failed: what it said, else the last line its process wrote."""
    if state.message:
        return state.message
    try:
        lines = (state.job.folder / "stderr.txt").read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1] if lines else "its worker died"


def _events(text: str) -> Sequence[dict[str, Any]]:
    events = []
    for line in text.splitlines():
        with suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict):
                events.append(event)
    return events
