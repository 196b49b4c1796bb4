"""Which of the rows shown are chosen, one by one or as a range from an anchor to the cursor. Knows no widget."""

from __future__ import annotations

import numpy as np


class Selection:
    """Chosen rows of a frame. They stay chosen through sorting and filtering; `position` is where the cursor stands."""

    def __init__(self) -> None:
        self._chosen: np.ndarray = np.zeros(0, dtype=bool)
        self._index: np.ndarray = np.zeros(0, dtype=np.int64)
        self._anchor: int | None = None
        self._start: int | None = None
        """Where the anchor is in the order shown; None also when it is not shown."""

    def arrange(self, rows: int, index: np.ndarray) -> None:
        """The order shown: row numbers of a frame of `rows` rows. A frame of another model drops what was chosen."""
        if len(self._chosen) != rows:
            self._chosen, self._anchor = np.zeros(rows, dtype=bool), None
        self._index = index
        found = [] if self._anchor is None else np.flatnonzero(index == self._anchor).tolist()
        self._start = found[0] if found else None

    @property
    def spanning(self) -> bool:
        return self._anchor is not None

    def mask(self, position: int) -> np.ndarray:
        """Which positions are chosen, shape (rows shown,)."""
        chosen: np.ndarray = self._chosen[self._index]
        if self._start is not None:
            first, last = sorted((self._start, position))
            chosen[first : last + 1] = True
        return chosen

    def holds(self, place: int, position: int) -> bool:
        """Whether the row at `place` is chosen."""
        if self._chosen[self._index[place]]:
            return True
        return self._start is not None and min(self._start, position) <= place <= max(self._start, position)

    def toggle(self, place: int, position: int) -> None:
        self.keep_span(position)
        self._chosen[self._index[place]] ^= True

    def begin_span(self, place: int) -> None:
        self._anchor, self._start = int(self._index[place]), place

    def keep_span(self, position: int) -> None:
        """End the range; its rows stay chosen."""
        self._chosen[self._index[self.mask(position)]] = True
        self._anchor = self._start = None

    def toggle_all(self, position: int) -> None:
        """Choose every row shown, or none of them when all are chosen."""
        every = bool(self.mask(position).all())
        self._anchor = self._start = None
        self._chosen[self._index] = not every

    def clear(self) -> bool:
        """Choose nothing; False when nothing was chosen."""
        held = self.spanning or bool(self._chosen.any())
        self._chosen[:] = False
        self._anchor = self._start = None
        return held
