"""How long the command takes until something, the app's first frame and its table stand on a terminal: for `streamscope
bench`."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import statistics
import struct
import tempfile
import termios
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from streamscope.core.processes import COMMAND_LINE, module_command

SIZE = (60, 200)
"""Rows and columns of the terminal."""
WAIT_SECONDS = 60.0
_CONTROL = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]P_^X].*?(?:\x07|\x1b\\)|[ -/]*[0-OQ-WYZ`-~])", re.DOTALL)
"""Control sequences of a terminal: CSI, strings such as OSC and APC with their ends, and the short ones."""


def app_start(cache: Path, model: str, fingerprint: str, rounds: int = 5) -> dict[str, Any]:
    """Starts `streamscope --model MODEL --cache CACHE` on a pseudo-terminal and quits it, `rounds` times.

    Returns milliseconds from starting the process to the `first_words` (anything that can be seen), to the
    `first_frame` (which says what is opened) and to the `table` (the first frame with the model's fingerprint, which is
    drawn with the rows): median and greatest. A start before them compiles every module, as the first one after an
    installation does: `first_start_ms` to its table and `first_start_words_ms` to its first words.
    """
    with own_environment() as environment:
        first = _start(_command(cache, model), environment, fingerprint)
        times = [_start(_command(cache, model), environment, fingerprint) for _ in range(rounds)]
    found: dict[str, Any] = {
        "first_start_ms": round(first["table"]),
        "first_start_words_ms": round(first["first_words"]),
    }
    return found | {name: _timing([measured[name] for measured in times]) for name in times[0]}


def first_look(cache: Path, model: str, fingerprint: str, rounds: int = 5) -> dict[str, Any]:
    """Starts the app on the store `cache` and on an empty one, in turn, `rounds` times each; bytecode is kept.

    Returns milliseconds to the table, `filled` and `empty`, and the `ratio` of their medians, empty to filled.
    """
    filled, empty = [], []
    with own_environment() as environment, tempfile.TemporaryDirectory(prefix="streamscope-bench-") as folder:
        _start(_command(cache, model), environment, fingerprint)
        for number in range(rounds):
            filled.append(_start(_command(cache, model), environment, fingerprint)["table"])
            nothing = Path(folder) / str(number)
            empty.append(_start(_command(nothing, model), environment, fingerprint)["table"])
    ratio = statistics.median(empty) / statistics.median(filled)
    return {"filled": _timing(filled), "empty": _timing(empty), "ratio": round(ratio, 2)}


def _timing(values: Sequence[float]) -> dict[str, int]:
    return {"median_ms": round(statistics.median(values)), "max_ms": round(max(values))}


def _command(cache: Path, model: str) -> list[str]:
    return module_command(COMMAND_LINE, "--model", model, "--cache", str(cache), "--graphics", "half")


@contextmanager
def own_environment() -> Iterator[dict[str, str]]:
    """Settings, marks and bytecode of its own, none of them there at first."""
    with tempfile.TemporaryDirectory(prefix="streamscope-bench-") as folder:
        own = {f"STREAMSCOPE_{name}": f"{folder}/{name.lower()}" for name in ("CONFIG", "STATE", "MARKS")}
        environment = {**os.environ, **own, "TERM": "xterm-256color", "PYTHONPYCACHEPREFIX": f"{folder}/bytecode"}
        # Where no bytecode may be kept, every start would be a first one; and the terminal has a size of its own.
        for name in ("PYTHONDONTWRITEBYTECODE", "COLUMNS", "LINES"):
            environment.pop(name, None)
        yield environment


def visible(written: bytes) -> bytes:
    """What of a terminal's output can be seen: without its control sequences and white space."""
    text = _CONTROL.sub(b"", written)
    # The rest of a sequence may still be to come.
    return b"".join(text.partition(b"\x1b")[0].split())


def _start(command: Sequence[str], environment: Mapping[str, str], fingerprint: str) -> dict[str, float]:
    """Milliseconds until the first words, the first frame and the table were written to the terminal."""
    frames = {"first_frame": b"opening", "table": fingerprint[:12].encode()}
    found: dict[str, float] = {}
    with closing(watch_start(command, environment)) as outputs:
        for now, written in outputs:
            if "first_words" not in found and visible(written):
                found["first_words"] = now
            found |= {name: now for name, text in frames.items() if name not in found and text in written}
            if "table" in found:
                break
    return found


def watch_start(command: Sequence[str], environment: Mapping[str, str]) -> Generator[tuple[float, bytes]]:
    """Runs a command on a terminal of its own: whenever it wrote, the milliseconds since its start and all it wrote.

    It is killed when this is closed. Raises TimeoutError when it goes on for longer than WAIT_SECONDS, RuntimeError
    when it ends before; both with the last that it wrote.
    """
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
        while (left := WAIT_SECONDS - (time.perf_counter() - began)) > 0:
            if not select.select([terminal], [], [], left)[0]:
                continue
            try:
                written += os.read(terminal, 1 << 16)
            except OSError:
                # What Linux says when the other end is closed.
                raise RuntimeError(f"the app ended as it started; it wrote {written[-300:]!r}") from None
            yield 1000 * (time.perf_counter() - began), written
        raise TimeoutError(f"the app did not start; it wrote {written[-300:]!r}")
    finally:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        os.close(terminal)
