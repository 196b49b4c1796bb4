"""A program at the other end of a line that carries so many bytes a second and takes its time."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from streamscope.tui.bench.screen import CELL, Screen

BUFFER = 256 * 1024
"""Bytes that the far end takes before it makes the program wait, as an SSH server and its socket do."""
SLICE = 0.004
"""Seconds between two looks."""
WAIT_SECONDS = 90.0


class Line:
    """Runs a program on a pseudo-terminal whose output reaches `screen` at `rate` bytes a second (None: at once), half
    of `delay` seconds late; what is typed and what the terminal answers is as late.

    All times are those of whoever sits before the screen.
    """

    def __init__(
        self,
        program: Sequence[str],
        environment: Mapping[str, str],
        screen: Screen,
        rate: float | None = None,
        delay: float = 0.0,
        answers: bool = True,
    ) -> None:
        self.screen = screen
        self.answers = answers
        self.delivered = 0
        """Bytes that reached the screen."""
        self.last = time.monotonic()
        """When the last of them did."""
        self.behind: list[float] = []
        """Of each key that was pressed with words to come: seconds until they stood on the screen, or those of a later
        one."""
        self._expected: list[tuple[str, float]] = []
        self._rate, self._delay = rate, delay
        self._held: deque[bytes] = deque()
        self._holding = 0
        self._credit, self._since = 0.0, time.monotonic()
        self._coming: deque[tuple[float, bytes]] = deque()
        self._going: deque[tuple[float, bytes]] = deque()
        self.process, self._terminal = pty.fork()
        if self.process == 0:
            try:
                size = struct.pack("HHHH", screen.rows, screen.columns, screen.columns * CELL[0], screen.rows * CELL[1])
                fcntl.ioctl(0, termios.TIOCSWINSZ, size)
                os.execvpe(program[0], list(program), dict(environment))
            finally:
                os._exit(127)
        os.set_blocking(self._terminal, False)
        self._open = True

    def type(self, text: str, words: str = "") -> None:
        """As somebody would, who then looks for `words`."""
        now = time.monotonic()
        self._going.append((now + self._delay / 2, text.encode()))
        if words:
            self._expected.append((words, now))

    def wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.step()

    def until(self, condition: Callable[[], bool], what: str, seconds: float = WAIT_SECONDS) -> float:
        """Goes on until the condition holds; when it did."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end or not self._open:
                shown = "\n".join(self.screen.line(y).rstrip() for y in range(self.screen.rows))
                raise TimeoutError(f"the app did not come to {what}; the screen shows\n{shown}")
            self.step()
        return time.monotonic()

    def settle(self, seconds: float) -> None:
        """Until nothing came for so long."""
        began = time.monotonic()
        self.until(
            lambda: time.monotonic() - max(began, self.last) > seconds and not self._holding and not self._coming,
            "rest",
        )

    def step(self) -> None:
        """One look at both ends."""
        room = self._open and self._holding < BUFFER
        ready = select.select([self._terminal] if room else [], [], [], SLICE)[0]
        if ready:
            try:
                data = os.read(self._terminal, 1 << 16)
            except OSError:
                # What Linux says when the other end is closed.
                data = b""
            self._open = bool(data)
            self._held.append(data)
            self._holding += len(data)
        now = time.monotonic()
        self._carry(now)
        while self._coming and self._coming[0][0] <= now:
            data = self._coming.popleft()[1]
            self.delivered += len(data)
            self.last = now
            replies = self.screen.feed(data)
            self._look(now)
            if replies and self.answers:
                self._going.append((now + self._delay / 2, replies))
        while self._going and self._going[0][0] <= now and self._open:
            with suppress(OSError):
                os.write(self._terminal, self._going[0][1])
            self._going.popleft()

    def _look(self, now: float) -> None:
        for place in reversed(range(len(self._expected))):
            if self.screen.shows(self._expected[place][0]):
                self.behind.extend(now - pressed for _, pressed in self._expected[: place + 1])
                del self._expected[: place + 1]
                break

    def _carry(self, now: float) -> None:
        """Puts on the line what it carries by now."""
        passed, self._since = now - self._since, now
        if self._rate is None:
            self._credit = float("inf")
        else:
            # What it did not carry while there was nothing is lost.
            self._credit = min(self._credit + passed * self._rate, self._rate * 0.05) if self._held else 0.0
        while self._held and self._credit >= 1:
            data = self._held.popleft()
            part = data if len(data) <= self._credit else data[: int(self._credit)]
            if len(part) < len(data):
                self._held.appendleft(data[len(part) :])
            self._credit -= len(part)
            self._holding -= len(part)
            self._coming.append((now + self._delay / 2, part))

    def close(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.process, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self.process, 0)
        os.close(self._terminal)
