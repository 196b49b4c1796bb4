"""What is sent to the terminal and when: text first, and never more pictures than the line has room for."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from rich.color import ColorSystem
from textual._compositor import CompositorUpdate

from streamscope.tui.terminal.canvas import Canvas, Placed
from streamscope.tui.terminal.drawing import Drawing
from streamscope.tui.terminal.link import Link

SYNC_START, SYNC_END = "\x1b[?2026h", "\x1b[?2026l"
SET_SECONDS = 0.25
"""A set of pictures is as many and as rough as go through in so many seconds."""
TEXT_SECONDS = 0.1
"""Text is on its way for so long at most before the next waits for it."""
TEXT_BYTES = 3000
"""The same in bytes, where that is more."""
REST_SECONDS = 0.4
"""So long nothing new must be wanted until better pictures come over a slow line,"""
FULL_SECONDS = 1.0
"""as good as go through in so many seconds;"""
IDLE_SECONDS = 4.0
"""and so long until the best."""
SLOW = 1.2e6
"""Bytes a second below which pictures are held back."""
HALF_BYTES = 30
"""What a half block takes in all its colours."""
KEPT = 256
"""Drawings that the terminal keeps for us."""


Ladder = tuple[Placed, tuple[Drawing, ...]]
"""A picture and the drawings there are of it: another thread adds to them."""


def _at_level(ladders: Sequence[Ladder], level: int) -> list[tuple[Placed, Drawing]]:
    """Each picture's drawing of this level, or its best."""
    return [(placed, drawings[min(level, len(drawings) - 1)]) for placed, drawings in ladders]


class Wire:
    """Holds what is to be seen until the line is free for it. All but the link is used on the event loop only.

    `write` hands a sequence to the terminal, `later(seconds)` sees that `pump` is called then; `changed` hears when the
    line turns out slow, or quick again. `status` is what asks the terminal for its status.
    """

    def __init__(
        self,
        link: Link,
        write: Callable[[str], object],
        later: Callable[[float], object],
        changed: Callable[[], object],
        status: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.link = link
        self.synchronised = False
        """Whether the terminal shows what comes between two marks at once."""
        self._write, self._later, self._changed, self._status, self._clock = write, later, changed, status, clock
        self._canvas: Canvas | None = None
        self._cursor: tuple[int, int] = (0, 0)
        self._cursor_shown: tuple[int, int] | None = None
        self._kept: OrderedDict[Drawing, None] = OrderedDict()
        self._pictures_on_their_way = False
        self._wanted: list[Placed] = []
        self._half_changes = 0
        self._coarse = False
        self._since = 0.0
        """When something else was wanted last."""
        self._slow = False
        self._closed = False

    @property
    def is_slow(self) -> bool:
        """Whether pictures are held back."""
        return self.link.rate < SLOW and (self.link.is_measured or self.link.is_silent)

    @property
    def may_be_slow(self) -> bool:
        """As `is_slow`; also while nothing is known."""
        return self.link.rate < SLOW

    def show(
        self, update: CompositorUpdate, size: tuple[int, int], cursor: tuple[int, int], colours: ColorSystem
    ) -> None:
        """This is to be seen from now on."""
        if self._closed:
            return
        if self._canvas is None:
            # The first answer tells how far away the terminal is.
            self._send("")
        if self._canvas is None or (self._canvas.columns, self._canvas.rows) != size:
            # What a terminal does with its cells when its size changes is its own affair.
            self._canvas = Canvas(*size, colours)
        self._canvas.apply(update)
        self._cursor = cursor
        self.pump()

    def forget(self) -> None:
        """Nothing is known of what the terminal shows or keeps: it is ours again, or has been all along."""
        self._closed = False
        if self._canvas is not None:
            self._canvas.forget()
        self._kept.clear()
        self._cursor_shown = None

    def pump(self) -> None:
        """Send what may be sent by now."""
        canvas, now = self._canvas, self._clock()
        if canvas is None or self._closed:
            return
        under_way = self.link.on_its_way(now)
        if self.is_slow != self._slow:
            self._slow = self.is_slow
            self._changed()
        self._pictures_on_their_way = self._pictures_on_their_way and under_way > 0
        room = max(TEXT_BYTES, self.link.rate * TEXT_SECONDS)
        if self._pictures_on_their_way or under_way > room:
            self._later(self.link.until_due(now))
            return
        chosen = self._choose(canvas, now)
        text = canvas.text(placed for placed, _ in chosen)
        if text or self._cursor != self._cursor_shown:
            self._cursor_shown = self._cursor
            text += f"\x1b[{self._cursor[1] + 1};{self._cursor[0] + 1}H"
            if self.synchronised:
                text = SYNC_START + text + SYNC_END
        pictures = "".join(self._draw(canvas, placed, drawing) for placed, drawing in chosen)
        pictures += self._halves(canvas, now)
        pictures += self._free(canvas)
        if pictures:
            self._pictures_on_their_way = True
            self._cursor_shown = None
        if text or pictures:
            self._send(text + pictures)
        self._wait(canvas, now)

    def _send(self, sequence: str) -> None:
        if self.link.asks:
            sequence += self._status
        self.link.sent(len(sequence.encode()), self._clock())
        self._write(sequence)

    def _wait(self, canvas: Canvas, now: float) -> None:
        """See that what is held back goes out."""
        if self.link.on_its_way(now):
            self._later(self.link.until_due(now))
        if self._coarse or any(canvas.drawing_at(p) is not p.picture.drawings[-1] for p in self._wanted):
            still = now - self._since
            ends = REST_SECONDS if still < REST_SECONDS else IDLE_SECONDS
            self._later(max(0.01, ends - still))

    # -- pictures ------------------------------------------------------------------------------------------------------

    def _choose(self, canvas: Canvas, now: float) -> list[tuple[Placed, Drawing]]:
        """Which pictures to send in this set, and how: those that are not there at all, as well as the line allows;
        at rest better ones."""
        wanted = canvas.pictures()
        if [(p.picture.number, p.x, p.y) for p in wanted] != [(p.picture.number, p.x, p.y) for p in self._wanted]:
            self._since = now
        self._wanted = wanted
        ladders = [(p, p.picture.drawings) for p in wanted]
        room = self.link.rate * SET_SECONDS
        missing = [(p, drawings) for p, drawings in ladders if canvas.drawing_at(p) is None]
        if missing:
            return self._within(room, _at_level(missing, self._level(missing, room)))
        still = now - self._since
        if self.may_be_slow and still < REST_SECONDS:
            return []
        best = self._level(ladders, self.link.rate * FULL_SECONDS if still < IDLE_SECONDS else float("inf"))
        better = [
            (p, drawing)
            for (p, drawings), (_, drawing) in zip(ladders, _at_level(ladders, best), strict=True)
            for there in [canvas.drawing_at(p)]
            if there not in drawings or drawings.index(there) < drawings.index(drawing)
        ]
        return self._within(2 * room, better)

    def _level(self, ladders: Sequence[Ladder], room: float) -> int:
        """The best of the drawings that all of these pictures together have room for."""
        for level in range(max((len(drawings) for _, drawings in ladders), default=1) - 1, 0, -1):
            if sum(self._cost(drawing) for _, drawing in _at_level(ladders, level)) <= room:
                return level
        return 0

    def _within(self, room: float, pictures: Sequence[tuple[Placed, Drawing]]) -> list[tuple[Placed, Drawing]]:
        """The first of them that fit, one at least."""
        chosen: list[tuple[Placed, Drawing]] = []
        for placed, drawing in pictures:
            room -= self._cost(drawing)
            if chosen and room < 0:
                break
            chosen.append((placed, drawing))
        return chosen

    def _cost(self, drawing: Drawing) -> int:
        """Bytes to send."""
        return drawing.rows_size + (drawing.setup_size if drawing not in self._kept else 0)

    def _draw(self, canvas: Canvas, placed: Placed, drawing: Drawing) -> str:
        setup = drawing.setup if drawing not in self._kept else ""
        if drawing.teardown:
            self._kept[drawing] = None
            self._kept.move_to_end(drawing)
        return setup + canvas.draw(placed, drawing)

    def _halves(self, canvas: Canvas, now: float) -> str:
        """Half blocks: in few colours while other ones are wanted all the time and the line is slow."""
        if canvas.half_changes != self._half_changes:
            self._half_changes, self._since = canvas.half_changes, now
        moving = now - self._since < REST_SECONDS
        coarse = moving and canvas.halves_missing * HALF_BYTES > self.link.rate * SET_SECONDS
        halves = canvas.halves(coarse)
        self._coarse = coarse and canvas.halves_missing > 0
        return halves

    def _free(self, canvas: Canvas) -> str:
        """Lets the terminal forget the pictures that were seen longest ago."""
        if len(self._kept) <= KEPT:
            return ""
        seen = canvas.drawings()
        old = [drawing for drawing in self._kept if drawing not in seen][: len(self._kept) - KEPT]
        for drawing in old:
            del self._kept[drawing]
        return "".join(drawing.teardown for drawing in old)

    def close(self) -> None:
        """Free what the terminal keeps for us, and send nothing more until `forget`."""
        self._closed = True
        teardowns = "".join(drawing.teardown for drawing in self._kept)
        self._kept.clear()
        if teardowns:
            self._write(teardowns)
