"""Who gets how much of the time that there is."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.gpu_rehearsal.step import GRACE, Step

LEAST_ARCHIVE = 2.0
"""Seconds that an archive is expected to take at least."""
ARCHIVES = 0.05
"""Share of the time that archives on the way may take."""


class Budget:
    """The time of one run, from now on."""

    def __init__(self, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._now, self._seconds, self._started = now, seconds, now()
        self._archive, self._archived = LEAST_ARCHIVE, 0.0

    @property
    def spent(self) -> float:
        """Seconds so far."""
        return self._now() - self._started

    def limit(self, step: Step) -> float:
        """Seconds that a step may take now; 0 where fewer are left than it needs to be worth its start."""
        before_the_last_archive = self._seconds - 2 * self._archive - GRACE
        end = min(step.until * self._seconds, before_the_last_archive)
        seconds = min(step.share * self._seconds, end - self.spent)
        return seconds if seconds >= step.least else 0.0

    def archived(self, seconds: float) -> None:
        """An archive took so long; the next will take no less."""
        self._archive = max(self._archive, seconds)
        self._archived += seconds

    @property
    def has_time_for_archive(self) -> bool:
        """Whether another one on the way leaves most of the time to the steps."""
        return self._archived + self._archive <= max(LEAST_ARCHIVE, ARCHIVES * self.spent)
