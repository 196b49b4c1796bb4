"""A job's heartbeat while its worker cannot say anything: importing torch takes over a minute on a loaded machine."""

from __future__ import annotations

from contextlib import suppress
from threading import Event, Thread
from types import TracebackType

from streamscope.core.errors import StoreError
from streamscope.core.store import Job
from streamscope.core.store.jobs.events import Event as JobEvent
from streamscope.core.store.jobs.events import JobProgressed, Report

BEAT_SECONDS = 2.0
"""How often a working job says how far it is."""
PULSE_SECONDS = 5.0
"""Well within the time after which a silent job of another host counts as dead."""


class Pulse:
    """Says from a thread that the worker of a job lives, until the job's first progress or the end of the block.

    It keeps quiet while somebody else in this process says more.
    """

    def __init__(self, job: Job, message: str, seconds: float = PULSE_SECONDS) -> None:
        self._job = job
        self._message = message
        self._seconds = seconds
        self._over = Event()
        self._thread = Thread(target=self._go_on, daemon=True, name="pulse")

    def __enter__(self) -> Pulse:
        self.say(self._message)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def say(self, message: str) -> None:
        """What the worker is at, from now on."""
        self._message = message
        # A disk that refuses stops the job itself where it stores something.
        with suppress(StoreError):
            self._job.heartbeat(Report(message=message))

    def hear(self, event: JobEvent) -> None:
        """An event of the job: with its first progress the job speaks for itself."""
        if isinstance(event, JobProgressed):
            self._over.set()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _go_on(self) -> None:
        seen = self._job.heartbeat_at()
        while not self._over.wait(self._seconds):
            if self._job.heartbeat_at() == seen:
                self.say(self._message)
            seen = self._job.heartbeat_at()
