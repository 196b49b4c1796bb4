"""How quick the line to the terminal is, by when it answers."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import count
from threading import Condition

ASSUMED = 125e3
"""Bytes a second of a line that nothing is known of: a megabit."""
FASTEST = 100e6
COUNTS = 4000
"""Bytes from which the time that a lot took says something of the rate; smaller ones say how far the terminal is."""
NOISE_SECONDS = 0.02
"""So much of what a lot took may have been a wait for a busy machine: the line is no slower than it says, but may be
quicker by that."""
REMEMBERED = 40
"""Small lots, sent while nothing else was on its way, of which the quickest counts as the delay of the line itself."""
MATCHED = 200
"""Lots that answers are matched with."""
SILENT_SECONDS = 3.0
"""A terminal that has not answered for so long, and never before, is taken for one that does not."""
LOST_SECONDS = 10.0
"""The same of one that has answered: the line may have stood still."""
ENDING_SECONDS = 1.5


@dataclass(frozen=True)
class _Sent:
    number: int
    size: int
    time: float
    alone: bool
    """Whether nothing else was on its way."""
    due: float
    """When it is taken for shown where nobody answers."""


class Link:
    """Bytes that were sent, each lot with a question after it, and the answers that came. Times are seconds of any
    clock; may be used from several threads.

    A lot's answer comes after the delay of the line and the time that its bytes take; the delay, which is that of the
    quickest small lot, is no part of the rate. `asks`: whether questions are asked at all. Where they are not, or
    nobody answers, time passes for an answer.
    """

    def __init__(self, asks: bool = True) -> None:
        self.asks = asks
        self.delay = 0.0
        """Seconds to the terminal and back."""
        self._changed = Condition()
        self._sent: deque[_Sent] = deque(maxlen=MATCHED)
        self._numbers = count(1)
        self._delays: deque[float] = deque(maxlen=REMEMBERED)
        self._rate: float | None = None
        self._before = 0.0
        """The most that the lot before allowed."""
        self._last = 0.0
        """When the last answer came."""
        self._first: float | None = None
        """When the first question was asked."""
        self._heard = False
        """Whether there was ever an answer."""
        self._silent = False

    @property
    def rate(self) -> float:
        """Bytes a second."""
        return ASSUMED if self._rate is None else self._rate

    @property
    def is_known(self) -> bool:
        """Whether the rate was measured, or nobody answers: else it may be anything."""
        return self._rate is not None or self._silent

    def sent(self, size: int, now: float) -> int:
        """So many bytes are on their way; the number of this lot."""
        with self._changed:
            number = next(self._numbers)
            self._first = now if self._first is None else self._first
            due = max(now, self._sent[-1].due if self._sent else now) + size / ASSUMED
            self._sent.append(_Sent(number, size, now, not self._sent, due))
            return number

    def answered(self, now: float) -> None:
        """The terminal has come to the end of the oldest lot."""
        with self._changed:
            if not self.asks:
                return
            self._heard, self._silent = True, False
            if self._sent:
                self._learn(self._sent.popleft(), now)
            self._last = now
            self._changed.notify_all()

    def _learn(self, lot: _Sent, now: float) -> None:
        if (lot.size < COUNTS and lot.alone) or now - lot.time < self.delay:
            self._delays.append(now - lot.time)
            self.delay = min(self._delays)
        # Lots that were sent in a row wait for each other, not for the line.
        took = now - max(self._last, lot.time + self.delay)
        if lot.size < COUNTS:
            return
        slowest = lot.size / max(took, lot.size / FASTEST)
        quickest = lot.size / max(took - NOISE_SECONDS, lot.size / FASTEST)
        if self._rate is None:
            self._rate = slowest
        else:
            # One alone may have met a program that stood still; a line that has become slow says so again.
            most = max(quickest, self._before)
            self._rate = (self._rate * min(max(self._rate, slowest), most)) ** 0.5
            self._before = quickest

    def on_its_way(self, now: float) -> int:
        """Bytes that have not been answered for; until there is a first answer, those that time has not passed for."""
        with self._changed:
            if self._heard:
                if self._sent and now >= self._lost():
                    self._sent.clear()
                return sum(lot.size for lot in self._sent)
            self._silent = not self.asks or (self._first is not None and now - self._first >= SILENT_SECONDS)
            return sum(lot.size for lot in self._sent if lot.due > now)

    def waits_for(self, number: int, now: float) -> bool:
        """Whether a lot has not been answered for, or time has not passed for it."""
        with self._changed:
            return any(lot.number == number and (self._heard or lot.due > now) for lot in self._sent)

    def _lost(self) -> float:
        """When the answer to the oldest lot is waited for no more."""
        return max(self._last, self._sent[0].time) + LOST_SECONDS

    def until_due(self, now: float) -> float:
        """Seconds until `on_its_way` may say something else without an answer."""
        with self._changed:
            if self._heard:
                return max(0.0, self._lost() - now) if self._sent else 0.0
            return max(0.0, min((lot.due for lot in self._sent if lot.due > now), default=now) - now)

    def drain(self) -> None:
        """Waits until all is answered for, as long as is sensible: what comes later would be keys for the shell."""
        with self._changed:
            # Also where the first answer is still to come: somebody may leave at once.
            if self.asks and not self._silent:
                self._changed.wait_for(lambda: not self._sent, ENDING_SECONDS)
            self._sent.clear()
