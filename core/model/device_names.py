"""Names of devices as a command line takes them. Never imports torch: a slip is said before it takes its seconds."""

from __future__ import annotations

import re

from streamscope.core.errors import UsageError


def check_device(name: str) -> None:
    """Raises UsageError unless `name` is `auto`, `cpu`, `cuda` or `cuda:N`; whether it is there only torch can tell."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,4})?", name):
        raise UsageError(f"unknown device {name!r}; use auto, cpu, cuda or cuda:N")


def check_devices(names: tuple[str, ...]) -> tuple[str, ...]:
    """What `--devices` lists, as names: `0` is `cuda:0`; a CPU may be named several times, which divides its cores.

    Raises UsageError for an unknown or repeated one.
    """
    found = tuple(f"cuda:{name}" if name.isdecimal() else name for name in names)
    for name in found:
        check_device(name)
    twice = [name for name in found if name != "cpu" and found.count(name) > 1]
    if twice:
        raise UsageError(f"device {twice[0]} is named twice; one worker process has it whole")
    return found
