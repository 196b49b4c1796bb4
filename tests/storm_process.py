"""Command lines in forks of one process that has imported everything, so that a start takes milliseconds."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import matplotlib.pyplot  # noqa: F401
import psutil
import torchvision  # noqa: F401

# Imported here so that no fork does it.
from streamscope.core.jobs import queue_worker
from streamscope.core.report import site  # noqa: F401
from streamscope.tui.cli.main import COMMANDS, cli
from streamscope.tui.cli.main import main as run_command

_NUMBERS = count()


@dataclass
class Process:
    """A command in a process and a group of its own; its output goes to a file."""

    words: Sequence[str]
    pid: int
    log: Path
    _code: int | None = field(default=None)

    def code(self) -> int | None:
        """Exit code, negative for a signal; None while it runs."""
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
        return self._code

    def signal(self, number: int) -> None:
        """To all processes of the group."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def kill_one(self, chance: random.Random) -> None:
        """One process of the group, be it the first or one that it started."""
        with suppress(psutil.Error):
            first = psutil.Process(self.pid)
            chance.choice([first, *first.children(recursive=True)]).kill()

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wrong(self, killed: bool) -> str:
        """What must never be: a traceback, an unexpected error, an exit code other than 0 where nobody killed it."""
        said = self.output()
        if "Traceback" in said or "unexpected" in said:
            return f"{' '.join(self.words)}: {said[-1500:]}"
        if not killed and self.code() != 0:
            return f"{' '.join(self.words)} ended with {self.code()}: {said[-600:]}"
        return ""

    def end(self) -> None:
        """Ends what is left of the group."""
        self.signal(signal.SIGKILL)
        self.log.unlink(missing_ok=True)


def start(words: Sequence[str], folder: Path, queue: bool = False, user: int | None = None) -> Process:
    """Begins a command line, or with `queue` a queue's worker; as another user where one is given."""
    for name in () if queue else COMMANDS:
        cli.get_command(None, name)  # type: ignore[arg-type]  # nothing is asked of the context of a command that is there
    log = folder / f"log-{next(_NUMBERS)}"
    pid = os.fork()
    if pid:
        with suppress(OSError):
            os.setpgid(pid, pid)
        return Process(words, pid, log)
    code = 99
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(output, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        if user is not None:
            os.setgroups([])
            os.setgid(user)
            os.setuid(user)
        code = queue_worker.main(list(words)) if queue else run_command(list(words))
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        import sys

        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def run(words: Sequence[str], folder: Path, seconds: float = 240, user: int | None = None) -> Process:
    """A command to its end; one that takes longer is killed."""
    process = start(words, folder, user=user)
    end = time.monotonic() + seconds
    while process.code() is None:
        if time.monotonic() > end:
            process.signal(signal.SIGKILL)
            raise AssertionError(f"{' '.join(words)} is not done after {seconds:g} s: {process.output()[-500:]}")
        time.sleep(0.003)
    return process


def clean_exit(process: Process) -> None:
    if wrong := process.wrong(killed=False):
        raise AssertionError(wrong)
    process.end()
