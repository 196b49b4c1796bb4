"""A command that is run as a job: what would be a bar on a terminal it prints as events, and it ends when its input
does, which is when whoever runs it is gone."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from streamscope.core.processes import JOB
from streamscope.core.store.jobs.events import Event, JobProgressed, Report, write_event
from streamscope.core.watch import PhaseWatch, Watch

TELL_SECONDS = 0.5
"""How often it says how far it is."""


def job_name() -> str:
    """The job that this process does; "" for a command that somebody typed."""
    return os.environ.get(JOB, "")


def end_with_input() -> None:
    """From now on this process is asked to end (SIGTERM) once its input is closed."""

    def wait() -> None:
        with suppress(OSError, ValueError):
            while os.read(sys.stdin.fileno(), 1024):
                pass
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True, name="input").start()


def tell(report: Report) -> None:
    """Prints how far the job is."""
    print(write_event(JobProgressed(report)), flush=True)


def counting(text: str, unit: str) -> Watch:
    """Tells of each call how many `unit` are done of how many, with their rate since the first."""
    tell(Report(message=text))
    phases = phases_of(unit)
    return lambda done, total: phases(done, total, text)


def phases_of(unit: str = "") -> PhaseWatch:
    """Tells of each call what is being done and how far it is; rates begin anew with every other thing."""
    phase, first, started, told = "", 0, 0.0, 0.0

    def receive(done: int, total: int, what: str) -> None:
        nonlocal phase, first, started, told
        now = time.monotonic()
        if what != phase:
            phase, first, started, told = what, done, now, 0.0
        if now - told < TELL_SECONDS and done < total:
            return
        told = now
        rate = (done - first) / (now - started) if done > first and now > started else None
        tell(
            Report(
                done=done,
                total=total,
                share=done / total if total else None,
                rate=rate,
                unit=unit,
                eta=(total - done) / rate if rate else None,
                message=what,
            )
        )

    return receive


def each_event(others: Callable[[Event], None]) -> Callable[[Event], None]:
    """Tells of a job that this command does how far that is; what else happens goes to `others`."""

    def receive(event: Event) -> None:
        if isinstance(event, JobProgressed):
            tell(event.report)
        else:
            others(event)

    return receive
