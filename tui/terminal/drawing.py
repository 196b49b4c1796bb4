"""A picture drawn in pixels: the cells it takes in a line of text, and the ways in which a terminal can draw it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from weakref import WeakValueDictionary

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

HALF = "▀"
"""The letter that pictures are made of where they are text."""
_numbers = count(1)
_pictures: WeakValueDictionary[int, Picture] = WeakValueDictionary()


@dataclass(frozen=True, eq=False)
class Drawing:
    """One way to draw a picture.

    `setup` has to be sent once before its `rows`, each written at the beginning of its row of cells, mean anything;
    `teardown` frees what the terminal keeps of it. Sixel has all in the first row.
    """

    rows: tuple[str, ...]
    setup: str = ""
    teardown: str = ""

    @cached_property
    def setup_size(self) -> int:
        """Bytes."""
        return len(self.setup.encode())

    @cached_property
    def rows_size(self) -> int:
        """Bytes."""
        return sum(len(row.encode()) for row in self.rows)


@dataclass(eq=False)
class Picture:
    """An image as terminal lines, `width` x `height` cells.

    Where it is text, the `lines` say all. Where it is drawn in pixels they are blank, and say which picture is to be
    there; it is drawn by one of its `drawings`, the roughest first. `better` makes those that nobody has made yet, in
    their order, slowly.
    """

    width: int
    height: int
    drawings: tuple[Drawing, ...] = ()
    better: list[Callable[[], Drawing]] = field(default_factory=list)
    text: tuple[Strip, ...] = ()
    number: int = field(default_factory=lambda: next(_numbers), init=False)

    def __post_init__(self) -> None:
        if self.drawings:
            _pictures[self.number] = self

    def improve(self) -> None:
        """Make the next better drawing, if there is one. Slow: not on the event loop, and in one thread only."""
        if self.better:
            self.drawings = (*self.drawings, self.better[0]())
            del self.better[0]

    @property
    def pixels(self) -> bool:
        """Drawn in pixels by the terminal; else it is text."""
        return bool(self.drawings)

    @property
    def lines(self) -> tuple[Strip, ...]:
        if not self.drawings:
            return self.text
        return tuple(
            Strip([Segment(" " * self.width, Style.from_meta({"picture": (self.number, row)}))], self.width)
            for row in range(self.height)
        )


def picture_of(number: int) -> Picture | None:
    """The picture of a line's mark, if somebody still holds it."""
    return _pictures.get(number)
