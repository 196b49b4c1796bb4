"""Waiting for a job that a process of its own does."""

from __future__ import annotations

from pathlib import Path

from streamscope.core.store import JobState, Store, job_state, open_job
from streamscope.core.store.files.owner import is_dead
from streamscope.core.store.jobs.events import LAST_WORDS
from tests.support.waiting import wait_until

LONG = 900.0
"""Seconds: its worker gives way to everything else on a busy machine."""


def ended(store: Store, folder: Path) -> JobState:
    """A job once its worker has said its last word; fails when the worker's process went without one.

    Silence alone says nothing: a worker on a busy machine may be silent for longer than others are waited for.
    """
    job = open_job(folder)

    def over() -> bool:
        gone = (worker := job_state(store, job).worker) is not None and is_dead(worker)
        # Looked at after its process: the last word may be its last deed.
        state = job_state(store, job)
        assert state.state in LAST_WORDS or not gone, f"{state}, and its worker is gone: {job.errors.read_text()}"
        return state.state in LAST_WORDS

    wait_until(over, lambda: f"waited {LONG:g} s for the job's end: {job_state(store, job)}", LONG)
    return job_state(store, job)
