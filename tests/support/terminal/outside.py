"""A terminal that is only a pty: answers what it is asked, late if told to, and reads independently what is drawn."""

from __future__ import annotations

import base64
import io
import os
import pty
import re
import select
import signal
import struct
import subprocess
import time
from codecs import getincrementaldecoder
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ

import numpy as np
from PIL import Image

from tests.support.waiting import PATIENCE

PLACEHOLDER = "\U0010eeee"
UNKNOWN = (0, 0, 0)
# Combining characters for row and column numbers, in the order of kitty's protocol; as many as the tests need.
_DIACRITICS = (
    "0305 030D 030E 0310 0312 033D 033E 033F 0346 034A 034B 034C 0350 0351 0352 0357 035B 0363 0364 0365 0366 0367 "
    "0368 0369 036A 036B 036C 036D 036E 036F 0483 0484 0485 0486 0487 0592 0593 0594 0595 0597 0598 0599 059C 059D"
)
NUMBER_OF = {chr(int(code, 16)): number for number, code in enumerate(_DIACRITICS.split())}
_PART = re.compile(
    r"\x1b\[(?P<csi>[?>=<]?[\d;:]*[ $]?)(?P<final>[@-~])"
    r"|\x1b_(?P<apc>[^\x1b]*)\x1b\\"
    r"|\x1b[P\]^](?P<other>[^\x1b\x07]*)(?:\x1b\\|\x07)"
    r"|\x1b(?P<escape>[^\[_P\]^])"
    r"|(?P<text>[^\x1b])",
    re.DOTALL,
)


@dataclass
class Reader:
    """Reads what comes to a terminal of `size` cells as kitty does: images sent, and where placeholders stand for which
    of their cells."""

    size: tuple[int, int]
    images: dict[int, Image.Image] = field(default_factory=dict)
    placed: dict[int, tuple[int, int]] = field(default_factory=dict)
    """(columns, rows) of each image that may be shown by placeholders."""
    cells: dict[tuple[int, int], tuple[int, int, int]] = field(default_factory=dict)
    """(row, column) on the screen -> (image, its row, its column)."""
    text: dict[tuple[int, int], str] = field(default_factory=dict)
    _sending: dict[int, str] = field(default_factory=dict)
    _colour: int = 0
    _marks: int = 0
    _row: int = 0
    _column: int = 0
    _last: tuple[int, int] = (0, 0)
    _rest: str = ""

    def feed(self, data: str) -> None:
        """Goes on reading; a sequence cut off waits for the next call."""
        data, self._rest = self._rest + data, ""
        place = 0
        while place < len(data):
            match = _PART.match(data, place)
            if match is None:
                self._rest = data[place:]
                return
            place = match.end()
            if match["apc"] is not None:
                self._graphics(match["apc"])
            elif match["final"]:
                self._control(match["csi"], match["final"])
            elif match["text"] is not None:
                self._write(match["text"])

    def _graphics(self, message: str) -> None:
        if not message.startswith("G"):
            return
        head, _, data = message[1:].partition(";")
        keys = dict(part.split("=", 1) for part in head.split(",") if "=" in part)
        identity = int(keys.get("i", 0))
        if keys.get("a", "t") == "t" and "f" in keys:
            self._sending[identity] = self._sending.get(identity, "") + data
            if keys.get("m", "0") == "0":
                self.images[identity] = Image.open(io.BytesIO(base64.b64decode(self._sending.pop(identity))))
        elif keys.get("a") == "p" and keys.get("U") == "1":
            self.placed[identity] = (int(keys["c"]), int(keys["r"]))
        elif keys.get("a") == "d":
            self.images.pop(identity, None)
            self.placed.pop(identity, None)

    def _control(self, given: str, final: str) -> None:
        if given[:1] in ("?", ">", "=", "<"):
            return
        numbers = [int(n) if n.isdigit() else 0 for n in re.split("[;:]", given)] if given else []
        if final in "Hf":
            self._row = min(numbers[0] if numbers else 1, self.size[1]) - 1
            self._column = min(numbers[1] if len(numbers) > 1 else 1, self.size[0]) - 1
        elif final == "J" and numbers[:1] == [2]:
            self.cells.clear()
            self.text.clear()
        elif final in "ABCD":
            by = max(1, numbers[0] if numbers else 1)
            self._row += {"A": -by, "B": by}.get(final, 0)
            self._column += {"C": by, "D": -by}.get(final, 0)
        elif final == "m":
            for start in range(len(numbers)):
                if numbers[start : start + 2] == [38, 2]:
                    red, green, blue = numbers[start + 2 : start + 5]
                    self._colour = red << 16 | green << 8 | blue
                elif numbers[start] == 0 and start == 0:
                    self._colour = 0

    def _write(self, letter: str) -> None:
        if letter == "\r":
            self._column = 0
        elif letter == "\n":
            self._row, self._column = self._row + 1, 0
        elif letter in NUMBER_OF:
            cell = self.cells.get(self._last)
            if cell is not None:
                # The third one, if any, is the image number's highest byte, which is 0 here.
                if self._marks == 0:
                    self.cells[self._last] = (self._colour, NUMBER_OF[letter], 0)
                elif self._marks == 1:
                    self.cells[self._last] = (self._colour, cell[1], NUMBER_OF[letter])
                self._marks += 1
        elif ord(letter) >= 32:
            # It does not go on in the next line.
            self._column = min(self._column, self.size[0] - 1)
            self._last = (self._row, self._column)
            self.cells.pop(self._last, None)
            self.text[self._last] = letter
            if letter == PLACEHOLDER:
                # Without marks it is the next one of the image to its left.
                left = self.cells.get((self._row, self._column - 1))
                follows = left is not None and left[0] == self._colour
                self.cells[self._last] = (self._colour, left[1], left[2] + 1) if left and follows else UNKNOWN
                self._marks = 0
            self._column += 1

    def resize(self, columns: int, rows: int) -> None:
        """What was beyond the new size is lost."""
        self.size = (columns, rows)
        self._row, self._column = min(self._row, rows - 1), min(self._column, columns - 1)
        for there in [place for place in self.text if place[0] >= rows or place[1] >= columns]:
            del self.text[there]
            self.cells.pop(there, None)

    def lines(self) -> str:
        """The text on the screen."""
        height = max((row for row, _ in self.text), default=-1) + 1
        width = max((column for _, column in self.text), default=-1) + 1
        rows = ("".join(self.text.get((row, column), " ") for column in range(width)).rstrip() for row in range(height))
        return "\n".join(rows)

    def drawn(self, row: int, column: int, rows: int, columns: int, cell: tuple[int, int]) -> np.ndarray | None:
        """The pixels that placeholders show in a part of the screen; None where a cell shows none."""
        canvas = np.zeros((rows * cell[1], columns * cell[0], 3), dtype=np.float64)
        scaled = {
            identity: np.asarray(image.convert("RGB").resize((across * cell[0], down * cell[1])))
            for identity, image in self.images.items()
            for across, down in [self.placed.get(identity, (0, 0))]
            if across and down
        }
        for y in range(rows):
            for x in range(columns):
                identity, own_row, own_column = self.cells.get((row + y, column + x), (0, 0, 0))
                if identity not in scaled:
                    return None
                part = scaled[identity][own_row * cell[1] :, own_column * cell[0] :][: cell[1], : cell[0]]
                canvas[y * cell[1] : (y + 1) * cell[1], x * cell[0] : (x + 1) * cell[0]] = part
        return canvas


class Outside:
    """Runs a program on a pty. `answers` gives the reply to what is asked; it comes `delay` seconds later."""

    def __init__(
        self, program: Sequence[str], size: tuple[int, int], answers: Callable[[bytes], bytes], delay: float = 0.0
    ) -> None:
        self.reader = Reader(size)
        self.heard = b""
        self._answers, self._delay = answers, delay
        self._due: list[tuple[float, bytes]] = []
        # A read may end within a letter.
        self._decoder = getincrementaldecoder("utf-8")("replace")
        self._master, slave = pty.openpty()
        ioctl(slave, TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
        environ = {key: value for key, value in os.environ.items() if key not in ("TMUX", "TMUX_PANE")}
        self.process = subprocess.Popen(
            program, stdin=slave, stdout=slave, stderr=slave, env=environ, start_new_session=True
        )
        os.close(slave)

    def type(self, text: str) -> None:
        """As a person would."""
        os.write(self._master, text.encode())

    def until(self, condition: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
        """Reads and answers until the condition holds."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"{what}; the screen shows\n{self.reader.lines()}"
            self.step()

    def step(self, seconds: float = 0.05) -> None:
        """Reads what there is, or comes in so many seconds, and sends what is due."""
        ready, _, _ = select.select([self._master], [], [], seconds)
        if ready:
            with suppress(OSError):
                data = os.read(self._master, 1 << 16)
                self.heard += data
                reply = self._answers(data)
                if reply:
                    self._due.append((time.monotonic() + self._delay, reply))
                self.reader.feed(self._decoder.decode(data))
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            os.write(self._master, self._due.pop(0)[1])

    def rest(self, seconds: float) -> None:
        """Goes on reading for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.step(0.01)

    @property
    def answered(self) -> bool:
        """Whether nothing is still on its way."""
        return not self._due

    def resize(self, columns: int, rows: int) -> None:
        """As when the window's border is dragged."""
        self.reader.resize(columns, rows)
        ioctl(self._master, TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        # The terminal controls nobody, so the kernel tells nobody.
        os.killpg(self.process.pid, signal.SIGWINCH)

    def vanish(self) -> None:
        """As a window that is closed, or a line that drops."""
        os.close(self._master)
        self._master = -1

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self._master >= 0:
            os.close(self._master)


def new_kitty(cell: tuple[int, int]) -> Callable[[bytes], bytes]:
    """How kitty 0.35 answers: graphics, version, cell size and device attributes, whichever were asked for."""

    def answers(data: bytes) -> bytes:
        reply = b""
        if b"\x1b_Gi=31" in data:
            reply += b"\x1b_Gi=31;OK\x1b\\"
        if b"\x1b[>q" in data or b"\x1b[>0q" in data:
            reply += b"\x1bP>|kitty(0.35.2)\x1b\\"
        if b"\x1b[16t" in data:
            reply += f"\x1b[6;{cell[1]};{cell[0]}t".encode()
        reply += b"\x1b[0n" * data.count(b"\x1b[5n")
        if b"\x1b[c" in data or b"\x1b[0c" in data:
            reply += b"\x1b[?62;c"
        return reply

    return answers


def marks_written(folder: Path) -> bool:
    """Whether anything was judged."""
    return (folder / "marks").is_dir() and any(path.is_file() for path in (folder / "marks").rglob("*"))
