"""The jobs of a store, polled, as an open app does every second."""

from __future__ import annotations

from pathlib import Path

from streamscope.core.store.jobs.state import FINISHED, JobState, job_folders, read_job
from streamscope.core.store.layout import JobFolder
from streamscope.core.store.store import Store


class JobWatch:
    """Reads a finished job again only when it was taken up again."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._finished: dict[str, tuple[float, JobState]] = {}

    def poll(self) -> list[JobState]:
        """Every job, oldest first; unreadable ones are skipped and go to `store.job_problems`."""
        states = []
        for folder in sorted(job_folders(self._store)):
            beaten = _modified(JobFolder(folder).heartbeat)
            then, state = self._finished.get(folder.name, (None, None))
            if state is None or then != beaten:
                state = read_job(self._store, folder)
            if state is None:
                continue
            if state.state in FINISHED and beaten is not None:
                self._finished[folder.name] = (beaten, state)
            states.append(state)
        return states


def _modified(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None
