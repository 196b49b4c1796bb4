"""How long the command takes until the app's first frame and until its table stand on a terminal: for `streamscope
bench`."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import statistics
import struct
import tempfile
import termios
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from streamscope.core.processes import COMMAND_LINE, module_command

SIZE = (60, 200)
"""Rows and columns of the terminal."""
WAIT_SECONDS = 60.0


def app_start(cache: Path, model: str, fingerprint: str, rounds: int = 5) -> dict[str, Any]:
    """Starts `streamscope --model MODEL --cache CACHE` on a pseudo-terminal and quits it, `rounds` times.

    Returns milliseconds from starting the process to the `first_frame` (which says what is opened) and to the `table`
    (the first frame with the model's fingerprint, which is drawn with the rows): median and greatest. A start before
    them, `first_start`, compiles every module, as the first one after an installation does.
    """
    with tempfile.TemporaryDirectory(prefix="streamscope-bench-") as folder:
        command = module_command(COMMAND_LINE, "--model", model, "--cache", str(cache), "--graphics", "half")
        own = {f"STREAMSCOPE_{name}": f"{folder}/{name.lower()}" for name in ("CONFIG", "STATE", "MARKS")}
        environment = {**os.environ, **own, "TERM": "xterm-256color", "PYTHONPYCACHEPREFIX": f"{folder}/bytecode"}
        # Where no bytecode may be kept, every start would be a first one; and the terminal has a size of its own.
        for name in ("PYTHONDONTWRITEBYTECODE", "COLUMNS", "LINES"):
            environment.pop(name, None)
        wanted = {"first_frame": b"opening", "table": fingerprint[:12].encode()}
        first = _start(command, environment, wanted)
        times = [_start(command, environment, wanted) for _ in range(rounds)]
    found: dict[str, Any] = {"first_start_ms": round(first["table"])}
    for name in wanted:
        values = [measured[name] for measured in times]
        found[name] = {"median_ms": round(statistics.median(values)), "max_ms": round(max(values))}
    return found


def _start(command: Sequence[str], environment: Mapping[str, str], wanted: Mapping[str, bytes]) -> dict[str, float]:
    """Milliseconds until each text of `wanted` was written to the terminal."""
    began = time.perf_counter()
    process, terminal = pty.fork()
    if process == 0:
        try:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", *SIZE, 0, 0))
            os.execve(command[0], list(command), dict(environment))
        finally:
            os._exit(127)
    try:
        written = b""
        found: dict[str, float] = {}
        while len(found) < len(wanted):
            if time.perf_counter() - began > WAIT_SECONDS:
                raise TimeoutError(f"the app did not start; it wrote {written[-300:]!r}")
            if select.select([terminal], [], [], 0.1)[0]:
                try:
                    written += os.read(terminal, 1 << 16)
                except OSError:
                    # What Linux says when the other end is closed.
                    raise RuntimeError(f"the app ended as it started; it wrote {written[-300:]!r}") from None
            now = 1000 * (time.perf_counter() - began)
            found |= {name: now for name, text in wanted.items() if name not in found and text in written}
        return found
    finally:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        os.close(terminal)
