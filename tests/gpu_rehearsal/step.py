"""One step of the rehearsal: a command in a process of its own, ended when its time is up."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).parents[2]
GRACE = 5.0
"""Seconds that a process gets to end after SIGTERM: `compute` gives its leases back and leaves the batch it is at."""
LOOK = 0.2
"""Seconds between looks at the clock."""

State = Literal["done", "failed", "out of time", "interrupted"]
Reading = Callable[[Path], dict[str, Any]]
"""Figures of what a step has printed, also of one that did not come to its end."""


def no_figures(printed: Path) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Step:
    """What is run, and how long it may take."""

    name: str
    """Also of its logs, so without spaces and slashes."""
    command: tuple[str, ...]
    share: float = 1.0
    """Of the run's time, at most."""
    least: float = 5.0
    """Seconds with less than which it is not begun."""
    environment: Mapping[str, str] = field(default_factory=dict)
    read: Reading = no_figures
    until: float = 1.0
    """Share of the run's time by which it is to be over: what comes after it keeps its own."""
    always: bool = False
    """In every run, although an earlier one has done it."""
    must: bool = False
    """Whether nothing else makes sense where it fails."""


@dataclass(frozen=True)
class Attempt:
    """What came of a step in one run."""

    state: State
    seconds: float
    code: int | None = None
    """The process's; None for one that was ended."""
    error: str = ""
    """The last line of what it said went wrong."""
    figures: Mapping[str, Any] = field(default_factory=dict)


def run_step(
    step: Step, seconds: float, logs: Path, environment: Mapping[str, str], is_stopped: Callable[[], bool]
) -> Attempt:
    """Runs a step's command for so long at most, or until the rehearsal is to end; its output is `NAME.out` and
    `NAME.err` in `logs`."""
    for old in logs.glob(f"{step.name}.*"):
        old.unlink()
    printed, errors = logs / f"{step.name}.out", logs / f"{step.name}.err"
    began = time.monotonic()
    state: State | None = None
    with printed.open("wb") as out, errors.open("wb") as err:
        process = subprocess.Popen(
            step.command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            cwd=ROOT,
            env={**environment, **step.environment},
            process_group=0,
        )
        while process.poll() is None and state is None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(LOOK)
            if process.returncode is None and is_stopped():
                state = "interrupted"
            elif process.returncode is None and time.monotonic() - began > seconds:
                state = "out of time"
        end_group(process)
    code = process.returncode if state is None else None
    state = state or ("done" if code == 0 else "failed")
    error = "" if state == "done" else last_line(errors)
    took = round(time.monotonic() - began, 2)
    try:
        figures = step.read(printed)
    except (OSError, ValueError, LookupError, TypeError) as unreadable:
        figures = {}
        if state == "done":
            state, error = "failed", f"what it printed cannot be read: {unreadable!r}"
    return Attempt(state, took, code, error, figures)


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Ends a process that is still running, politely first, and whatever it has started."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def last_line(path: Path) -> str:
    lines = [line.strip() for line in path.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:400] if lines else ""
