"""What is sent to the terminal and when: text first, and never more pictures than the line has room for."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from rich.color import ColorSystem

from streamscope.tui.terminal.canvas import Canvas, Placed, Update
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
"""So long after the last change better pictures come over a slow line,"""
SETTLED_SECONDS = 1.8
"""as good as go through until so long after it;"""
LARGEST_SECONDS = 0.4
"""(but none that alone takes longer, and no more half blocks at once: a key pressed meanwhile waits for it)"""
IDLE_SECONDS = 3.0
"""and after so long the best."""
SLOW, QUICK = 400e3, 600e3
"""Bytes a second below which a line is slow, and from which it is slow no more: where pictures are drawn in pixels."""
SLOW_TEXT, QUICK_TEXT = 200e3, 300e3
"""The same where they are half blocks: all of a channel's take 60 KB at most, not 300. tmux alone makes 300 to 500 KB/s
of them on a busy machine."""
KEPT = 256
"""Drawings that the terminal keeps for us."""

Standing = tuple[Placed, Drawing | None]
"""A picture, and which of its drawings is on the terminal."""


class Wire:
    """Holds what is to be seen until the line is free for it. All but the link is used on the event loop only.

    `write` hands a sequence to the terminal, `later(seconds)` sees that `pump` is called then; `changed` hears when
    `is_slow` or `holds_back` has changed. `status` is what asks the terminal for its status. `bounds` are the bytes a
    second below which the line is slow, and from which it is slow no more.
    """

    def __init__(
        self,
        link: Link,
        write: Callable[[str], object],
        later: Callable[[float], object],
        changed: Callable[[], object],
        status: str,
        clock: Callable[[], float] = time.monotonic,
        bounds: tuple[float, float] = (SLOW, QUICK),
    ) -> None:
        self.link = link
        self._slow, self._quick = bounds
        self.synchronised = False
        """Whether the terminal shows what comes between two marks at once."""
        self.is_slow = link.rate < self._slow
        """Whether pictures come roughly at first; also while nothing is known of the line."""
        self.holds_back = False
        """Whether the line is known to be slow, and pictures are not as good as they will be."""
        self._write, self._later, self._changed, self._status, self._clock = write, later, changed, status, clock
        self._canvas: Canvas | None = None
        self._cursor: tuple[int, int] = (0, 0)
        self._cursor_shown: tuple[int, int] | None = None
        self._kept: OrderedDict[Drawing, None] = OrderedDict()
        self._set = 0
        """The number of the lot with the last pictures of the last set,"""
        self._set_bytes = 0
        """the bytes of all its pictures,"""
        self._set_of = -1
        """and how often something else had been wanted when it began."""
        self._replaced = self._added = 0
        self._since = 0.0
        """When other pictures were wanted last. Those that join others soon are no reason to start anew."""
        self._closed = False

    def show(self, update: Update, size: tuple[int, int], cursor: tuple[int, int], colours: ColorSystem) -> None:
        """This is to be seen from now on."""
        if self._canvas is None:
            # The first answer tells how far away the terminal is.
            self._send("")
        if self._canvas is None or (self._canvas.columns, self._canvas.rows) != size:
            self._canvas = Canvas(*size, colours)
            self._replaced = self._added = 0
            self._set_of = -1
            self._since = self._clock()
        canvas, now = self._canvas, self._clock()
        canvas.apply(update)
        added = canvas.added != self._added and now - self._since >= IDLE_SECONDS
        if canvas.replaced != self._replaced or added:
            self._since = now
        self._replaced, self._added = canvas.replaced, canvas.added
        self._cursor = cursor
        self.pump()

    def forget_screen(self) -> None:
        """Nothing is known of what the terminal shows, as after a change of its size, also there and back."""
        if self._canvas is not None:
            self._canvas.forget()
        self._cursor_shown = None

    def forget(self) -> None:
        """Nor of what it keeps: it is ours again, or has been all along."""
        self._closed = False
        self._kept.clear()
        self.forget_screen()

    def pump(self) -> None:
        """Send what may be sent by now."""
        canvas, now = self._canvas, self._clock()
        if canvas is None or self._closed:
            return
        on_its_way = self.link.on_its_way(now)
        slow = self.link.rate < (self._quick if self.is_slow else self._slow)
        waits = self.link.waits_for(self._set, now)
        # Over a quick line only the next set waits for the answer to this one.
        text_on_its_way = on_its_way - (self._set_bytes if waits and not slow else 0)
        full = text_on_its_way > max(TEXT_BYTES, self.link.rate * TEXT_SECONDS)
        if full or (waits and slow):
            self._tell(slow, self.holds_back)
            self._later(self.link.until_due(now))
            return
        still = now - self._since
        if not waits:
            self._set_bytes, self._set_of = 0, canvas.replaced
        # While the same is wanted, what was drawn since it began joins a set that is on its way.
        room = self._room(still, slow) - self._set_bytes if canvas.replaced == self._set_of else 0.0
        chosen = self._choose(canvas, still, slow, room) if room > 0 else []
        text = canvas.text(placed for placed, _ in chosen)
        if text and self.synchronised:
            text = SYNC_START + text + SYNC_END
        pictures = "".join(self._draw(canvas, placed, drawing) for placed, drawing in chosen)
        if room > 0:
            coarse = slow and still < REST_SECONDS
            # At rest they come in one set where they can: another one waits for the answer to the first.
            more = 0.0 if coarse else (LARGEST_SECONDS - SET_SECONDS) * self.link.rate
            pictures += canvas.halves(coarse, room + more)
        pictures += self._free(canvas)
        if text or pictures or self._cursor != self._cursor_shown:
            self._cursor_shown = self._cursor
            number = self._send(f"{text}{pictures}\x1b[{self._cursor[1] + 1};{self._cursor[0] + 1}H")
            if pictures:
                self._set = number
                self._set_bytes += len(pictures.encode())
        improving = self._can_be_better(canvas)
        self._tell(slow, slow and self.link.is_known and improving)
        if self.link.on_its_way(now):
            self._later(self.link.until_due(now))
        if improving and still < IDLE_SECONDS:
            self._later(max(0.01, (REST_SECONDS if still < REST_SECONDS else IDLE_SECONDS) - still))

    def _send(self, sequence: str) -> int:
        if self.link.asks:
            sequence += self._status
        number = self.link.sent(len(sequence.encode()), self._clock())
        self._write(sequence)
        return number

    def _tell(self, slow: bool, holds_back: bool) -> None:
        if (slow, holds_back) != (self.is_slow, self.holds_back):
            self.is_slow, self.holds_back = slow, holds_back
            self._changed()

    # -- pictures ------------------------------------------------------------------------------------------------------

    def _room(self, still: float, slow: bool) -> float:
        """Bytes of a set. At rest it is on its way for as long as its answer at least, or the line would be idle for
        most of the time; over a quick line all pictures of a selection fit in one where they can."""
        if not slow:
            return self.link.rate * (LARGEST_SECONDS + self.link.delay)
        return self.link.rate * (SET_SECONDS if still < REST_SECONDS else SET_SECONDS + self.link.delay)

    def _choose(self, canvas: Canvas, still: float, slow: bool, room: float) -> list[tuple[Placed, Drawing]]:
        """Which pictures to send in the `room` bytes left of this set, and how: in motion those that are not there at
        all, as well as the line allows; at rest better ones."""
        standing: list[Standing] = [(placed, canvas.drawing_at(placed)) for placed in canvas.pictures()]
        if not slow or still >= IDLE_SECONDS:
            plan = self._plan(standing, math.inf)
        elif still < REST_SECONDS:
            plan = self._plan([(placed, there) for placed, there in standing if there is None], room)
        else:
            plan = self._plan(standing, self._until_settled(still), self.link.rate * LARGEST_SECONDS)
        # What is not there at all comes first.
        plan.sort(key=lambda drawn: canvas.drawing_at(drawn[0]) is not None)
        return self._within(room, plan)

    def _until_settled(self, still: float) -> float:
        """Bytes that go through, set by set, until the pictures should be settled."""
        delay = self.link.delay
        share = (SET_SECONDS + delay) / (SET_SECONDS + 2 * delay)
        return self.link.rate * share * (SETTLED_SECONDS - still - delay)

    def _plan(
        self, standing: Sequence[Standing], room: float, largest: float = math.inf
    ) -> list[tuple[Placed, Drawing]]:
        """What to draw so that pictures are as good as `room` bytes allow, none of more than `largest`: all a little
        better before one is much better. Where nothing stands there is something drawn in any case."""
        # Another thread adds to the drawings.
        ladders = [placed.picture.drawings for placed, _ in standing]
        levels = [
            drawings.index(there) if there in drawings else -1
            for drawings, (_, there) in zip(ladders, standing, strict=True)
        ]
        before = list(levels)
        for level in range(max(map(len, ladders), default=0)):
            for place, drawings in enumerate(ladders):
                if not levels[place] < level < len(drawings):
                    continue
                replaced = self._cost(drawings[levels[place]]) if levels[place] > before[place] else 0
                more = self._cost(drawings[level]) - replaced
                if levels[place] < 0 or (more <= room and self._cost(drawings[level]) <= largest):
                    levels[place] = level
                    room -= more
        return [
            (placed, drawings[level])
            for (placed, _), drawings, level, old in zip(standing, ladders, levels, before, strict=True)
            if level > old
        ]

    def _within(self, room: float, pictures: Sequence[tuple[Placed, Drawing]]) -> list[tuple[Placed, Drawing]]:
        """The first of them that fit, one at least of each set."""
        chosen: list[tuple[Placed, Drawing]] = []
        for placed, drawing in pictures:
            room -= self._cost(drawing)
            if (chosen or self._set_bytes) and room < 0:
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

    def _can_be_better(self, canvas: Canvas) -> bool:
        """Whether what stands is not the best there will be."""
        return canvas.lacks_halves or any(
            placed.picture.better or canvas.drawing_at(placed) is not placed.picture.drawings[-1]
            for placed in canvas.pictures()
        )

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
