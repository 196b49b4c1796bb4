"""Starts Python processes that import nothing from the folder they are started in.

People work in research repositories, which have packages and modules of any name: `core`, `torch.py`,
`numpy.py`. Python looks for a module there first, unless it is told not to.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

SAFE_PATH = "PYTHONSAFEPATH"
WORKER = "streamscope.core.jobs.worker"
QUEUE_WORKER = "streamscope.core.jobs.queue_worker"
COMMAND_LINE = "streamscope.tui.cli.entry"
"""Modules that run as processes of their own."""

JOB = "STREAMSCOPE_JOB"
"""Environment variable of a command that is run as a job: the job's name. What it draws bars of elsewhere it prints as
events, and it ends when its input does."""


def module_command(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of streamscope's by this Python."""
    return [sys.executable, "-P", "-m", module, *arguments]


@contextmanager
def safe_path() -> Iterator[None]:
    """While this lasts, processes that `multiprocessing` starts do not look for modules in the current folder.

    They begin with `python -c`, to which it gives no `-P` of its own.
    """
    before = os.environ.get(SAFE_PATH)
    os.environ[SAFE_PATH] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[SAFE_PATH]
        else:
            os.environ[SAFE_PATH] = before
