"""Progress on the terminal: bars with rate and ETA on stderr, nothing at all where no bar can be drawn.

A command that is run as a job prints its progress instead (`as_job`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from streamscope.core.store.jobs.events import BatchLost, Event, JobProgressed, ProblemOccurred, WaitStarted
from streamscope.core.text import visible
from streamscope.core.watch import PhaseWatch, Watch
from streamscope.tui.advice import worded_fault
from streamscope.tui.cli.as_job import counting, each_event, job_name, phases_of
from streamscope.tui.cli.lines import say

NO_SCREENS = ("", "dumb", "unknown")
"""Names (TERM) of terminals that do not move their cursor, or not in a known way."""


def _screen() -> Console | None:
    """What bars are drawn on; None where stderr is no terminal, or one that cannot draw over what it has drawn."""
    console = Console(stderr=True)
    return console if console.is_terminal and os.environ.get("TERM", "") not in NO_SCREENS else None


@contextmanager
def download_progress(text: str) -> Iterator[Watch | None]:
    """A callback for bytes done and in all; the bar appears with the first of them."""
    if job_name():
        yield counting(text, "bytes")
        return
    console = _screen()
    if console is None:
        yield None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(visible(text), total=None, visible=False)
        yield lambda done, total: progress.update(task, completed=done, total=total or None, visible=True)


@contextmanager
def count_progress(text: str, unit: str) -> Iterator[Watch | None]:
    """A callback for things done and in all, called `unit`; None where there is no terminal to draw on."""
    if job_name():
        yield counting(text, unit)
        return
    console = _screen()
    if console is None:
        yield None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(visible(text), total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def phase_progress() -> Iterator[PhaseWatch]:
    """A receiver for how many of how many are done, and of what: a bar that starts anew with every other thing."""
    if job_name():
        yield phases_of()
        return
    console = _screen()
    if console is None:
        yield lambda done, total, what: None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        phase, first, started = "", 0, 0.0
        task: TaskID | None = None

        def receive(done: int, total: int, what: str) -> None:
            nonlocal phase, first, started, task
            if task is None or what != phase:
                if task is not None:
                    progress.remove_task(task)
                task = progress.add_task(what, total=total, completed=done, rate="")
                phase, first, started = what, done, time.monotonic()
            elapsed = time.monotonic() - started
            rate = f"{(done - first) / elapsed:,.1f}/s" if done > first and elapsed > 0 else ""
            progress.update(task, completed=done, total=total, rate=rate)

        yield receive


@contextmanager
def job_progress() -> Iterator[Callable[[Event], None]]:
    """A receiver for a job's events that draws its bar."""
    if job_name():
        yield each_event(_tell_others)
        return
    console = _screen()
    if console is None:
        yield _tell_others
        return
    columns = (
        TextColumn("{task.fields[fzs]}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}"),
        TextColumn("{task.fields[eta]}"),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("loading the weights", total=1.0, fzs="", rate="", eta="")

        def receive(event: Event) -> None:
            match event:
                case ProblemOccurred(fault):
                    progress.console.print(
                        visible(f"streamscope: {worded_fault(fault)}"), markup=False, highlight=False
                    )
                case BatchLost():
                    progress.console.print(visible(f"streamscope: {event}"), markup=False, highlight=False)
                case JobProgressed(report=report):
                    progress.update(
                        task,
                        completed=report.share,
                        description=visible(report.message),
                        fzs=f"{report.done}/{report.total} FZs",
                        rate=f"{report.rate or 0.0:,.0f} steps/s",
                        eta=f"ETA {duration(report.eta)}" if report.eta is not None else "",
                    )

        yield receive


def _tell_others(event: Event) -> None:
    """Without a bar a wait is one line too: it may take for ever, and looks like work."""
    if isinstance(event, WaitStarted | BatchLost):
        say(f"streamscope: {event}", err=True)


def duration(seconds: float) -> str:
    """A length of time for people: 42s, 3m10s, 2h05m, 3d04h."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"
