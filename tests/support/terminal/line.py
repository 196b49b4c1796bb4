"""A line of a rate and a delay with a clock of its own: the app's wire at one end, a terminal at the other.

No time passes while it runs, so that what is said of it does not depend on the machine.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from heapq import heappop, heappush
from itertools import count
from pathlib import Path

import numpy as np
from rich.color import ColorSystem
from textual._compositor import LayoutUpdate
from textual.geometry import Region
from textual.strip import Strip

from streamscope.core.model.spec import ModelSpec
from streamscope.tui.app.options import AppOptions
from streamscope.tui.bench.screen import CELL, Screen
from streamscope.tui.bench.wire import SIZE, fill_store, picture
from streamscope.tui.terminal.detection import STATUS, Graphics, Mode
from streamscope.tui.terminal.drawing import Drawing, Picture
from streamscope.tui.terminal.encoding import encode
from streamscope.tui.terminal.link import Link
from streamscope.tui.terminal.wire import Wire
from streamscope.tui.widgets.picture import WAITING, PictureBox
from streamscope.tui.widgets.preview import DEBOUNCE, LATER, MUCH_LATER
from tests.support.app_driver import channels_screen, opened, until

PIECE = 512
"""Bytes that come at once, or those of 4 ms where that is more."""
DRAW_SECONDS = 0.03
"""What drawing a picture takes in the app, roughly,"""
BETTER_SECONDS = 0.08
"""and a little better."""


class Line:
    """Carries what a wire writes to a terminal at `rate` bytes a second, half of `delay` seconds late, and its answers
    back, each up to `jitter` seconds later still."""

    def __init__(self, rate: float, delay: float, screen: Screen, jitter: float = 0.0, answers: bool = True) -> None:
        self.now = 1000.0
        self.screen = screen
        self.link = Link()
        self.wire = Wire(self.link, self._write, self._later, lambda: None, STATUS, lambda: self.now)
        self._piece = max(PIECE, int(0.004 * rate))
        self._came = ""
        self._pieces: list[str] = []
        """All that came to the terminal: put together, and since then."""
        self._letters = 0
        self.behind = 0.0
        """Seconds of bytes that waited for the line, at most."""
        self._rate, self._delay, self._jitter, self._answers = rate, delay, jitter, answers
        self._random = np.random.default_rng(0)
        self._free = self.now
        self._answer = self.now
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = count()
        self._times: list[tuple[int, float]] = [(0, self.now)]
        """After how many letters which time it was."""
        self._watched: list[str] = []
        self._seen: dict[str, float] = {}
        self._timer: float | None = None

    def after(self, seconds: float, act: Callable[[], object]) -> None:
        heappush(self._events, (self.now + seconds, next(self._numbers), act))

    def run(self, seconds: float) -> None:
        """Lets so much time pass."""
        end = self.now + seconds
        while self._events and self._events[0][0] <= end:
            self.now, _, act = heappop(self._events)
            act()
        self.now = end

    def came(self, sequence: str, since: float) -> float | None:
        """When this was on the terminal for the first time since a moment, as a whole."""
        self._came += "".join(self._pieces)
        self._pieces.clear()
        place = self._came.find(sequence, self._letters_at(since))
        if place < 0:
            return None
        return self._times[bisect_left(self._times, (place + len(sequence), 0.0))][1]

    def letters(self, since: float, to: float) -> int:
        """How many letters came between two moments."""
        return self._letters_at(to) - self._letters_at(since)

    def _letters_at(self, time: float) -> int:
        return self._times[bisect_right(self._times, time, key=lambda at: at[1]) - 1][0]

    def last(self, before: float) -> float:
        """When something came last before a moment."""
        return self._times[bisect_left(self._times, before, key=lambda at: at[1]) - 1][1]

    def watch(self, words: str) -> None:
        """See when these words stand on the screen, or others that are watched later."""
        self._seen.pop(words, None)
        self._watched.append(words)

    def seen(self, words: str) -> float:
        return self._seen[words]

    def _later(self, seconds: float) -> None:
        """As the app does: not later than was said before."""
        due = self.now + seconds
        if self._timer is not None and self.now < self._timer <= due:
            return
        self._timer = due
        self.after(seconds, partial(self._due, due))

    def _due(self, due: float) -> None:
        if self._timer == due:
            self._timer = None
            self.wire.pump()

    def _write(self, sequence: str) -> None:
        data = sequence.encode()
        self.behind = max(self.behind, self._free - self.now + len(data) / self._rate)
        self._free = max(self._free, self.now)
        for start in range(0, len(data), self._piece):
            piece = data[start : start + self._piece]
            self._free += len(piece) / self._rate
            self.after(self._free - self.now + self._delay / 2, partial(self._arrive, piece))

    def _arrive(self, piece: bytes) -> None:
        self._pieces.append(piece.decode("latin-1"))
        self._letters += len(piece)
        self._times.append((self._letters, self.now))
        answers = self.screen.feed(piece).count(b"\x1b[0n")
        for place in reversed(range(len(self._watched))):
            if self.screen.shows(self._watched[place]):
                self._seen.update(dict.fromkeys(self._watched[: place + 1], self.now))
                del self._watched[: place + 1]
                break
        for _ in range(answers if self._answers else 0):
            late = self._delay / 2 + self._jitter * float(self._random.random())
            self._answer = max(self._answer, self.now + late)
            self.after(self._answer - self.now, self._answered)

    def _answered(self) -> None:
        self.link.answered(self.now)
        self.wire.pump()


def as_sent(text: str) -> str:
    """One letter for a byte, as `Line.came` wants it."""
    return text.encode().decode("latin-1")


@dataclass(frozen=True)
class Box:
    """Where a picture goes, and the cells it takes."""

    x: int
    y: int
    size: tuple[int, int]


@dataclass(frozen=True)
class Recording:
    """Lines of the app's screen, without pictures, for each channel that the cursor was on; the boxes of the first row
    of pictures, and of the second."""

    frames: tuple[tuple[Strip, ...], ...]
    rows: tuple[tuple[Box, ...], tuple[Box, ...]]


async def record(folder: Path, channels: int) -> Recording:
    """The app in a terminal of 200 x 60, as it goes through its table."""
    fill_store(folder / "cache")
    given = AppOptions(spec=ModelSpec("resnet18"), cache=folder / "cache", marks=folder / "marks")
    frames = []
    async with opened(given, SIZE, Graphics("off", CELL)) as (app, pilot):
        screen = channels_screen(app)
        boxes = list(screen.query(PictureBox))
        for channel in range(channels):
            if channel:
                await pilot.press("j")
            await until(pilot, lambda: all(box.caption and box.message != WAITING for box in boxes))
            await until(pilot, lambda row=channel: f"row {row + 1} of" in _text(app.screen))  # type: ignore[misc]
            frames.append(tuple(app.screen._compositor.render_strips()))
        places = []
        for box in boxes:
            request = box.request_for(box.subject) if box.subject is not None else None
            assert request is not None
            columns, rows = request.size
            left = box.content_region.x + (box.size.width - columns) // 2
            places.append(Box(left, box.content_region.y + 1, (columns, rows)))
    # The scaled FZ(O) is not stored.
    return Recording(tuple(frames), (tuple(places[:3]), tuple(places[3:5])))


def _text(screen: object) -> str:
    return "\n".join(strip.text for strip in screen._compositor.render_strips())  # type: ignore[attr-defined]


@cache
def _drawn(channel: int, place: int, mode: Mode, size: tuple[int, int], drafts: bool) -> Picture:
    image = picture(np.random.default_rng(100 * channel + place))
    return encode(image, size, Graphics(mode, CELL), drafts)


def drawn(channel: int, place: int, mode: Mode, size: tuple[int, int], drafts: bool) -> Picture:
    """A picture nobody has made better yet; the better drawings are made once for all."""
    made = _drawn(channel, place, mode, size, drafts)
    first = Picture(made.width, made.height, made.drawings[:1], text=made.text)

    def better(level: int) -> Drawing:
        while len(made.drawings) <= level:
            made.improve()
        return made.drawings[level]

    levels = len(made.drawings) + len(made.better)
    first.better = [partial(better, level) for level in range(1, levels)]
    return first


@dataclass
class Walker:
    """Moves the cursor, and does for each move what the app does: text at once, pictures as soon as they are drawn."""

    line: Line
    recording: Recording
    mode: Mode
    channel: int = 0
    shown: dict[Box, Picture] = field(default_factory=dict)
    _moves: int = 0

    def move(self) -> None:
        self.channel += 1
        self._moves += 1
        self.shown.clear()
        self._show()
        if self.mode == "off":
            return
        later = MUCH_LATER if self.line.wire.is_slow else LATER
        for place, (first, boxes) in enumerate(zip((DEBOUNCE, later), self.recording.rows, strict=True)):
            for column, box in enumerate(boxes):
                seconds = first + (column + 1) * DRAW_SECONDS
                self.line.after(seconds, partial(self._draw, self._moves, box, 3 * place + column))

    def pictures(self, row: int) -> list[Picture]:
        return [self.shown[box] for box in self.recording.rows[row]]

    def _draw(self, move: int, box: Box, place: int) -> None:
        if move == self._moves:
            self.shown[box] = drawn(self.channel, place, self.mode, box.size, self.line.wire.is_slow)
            self._show()
            if len(self.shown) in (len(self.recording.rows[0]), sum(map(len, self.recording.rows))):
                self.line.after(BETTER_SECONDS, partial(self._improve, move, len(self.shown)))

    def _improve(self, move: int, shown: int) -> None:
        rough = [each for each in self.shown.values() if each.better]
        if move == self._moves and shown == len(self.shown) and rough:
            min(rough, key=lambda each: len(each.drawings)).improve()
            self.line.wire.pump()
            self.line.after(BETTER_SECONDS, partial(self._improve, move, shown))

    def _show(self) -> None:
        lines = list(self.recording.frames[self.channel])
        if self.mode != "off":
            for boxes in self.recording.rows:
                for box in boxes:
                    _lay(lines, box, self.shown[box].lines if box in self.shown else ())
        update = LayoutUpdate([[line] for line in lines], Region(0, 0, *SIZE))
        self.line.wire.show(update, SIZE, (0, 0), ColorSystem.TRUECOLOR)


def _lay(lines: list[Strip], box: Box, picture: Sequence[Strip]) -> None:
    width, height = box.size
    for row in range(height):
        line = lines[box.y + row]
        part = picture[row] if picture else Strip.blank(width)
        lines[box.y + row] = Strip.join([line.crop(0, box.x), part, line.crop(box.x + width)])
