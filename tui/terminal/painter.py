"""Draws pictures in one thread: what is looked at first, then what may be looked at next."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from threading import Condition, Thread
from typing import Protocol

from streamscope.core.errors import StreamscopeError
from streamscope.tui.data.pictures import Library, Shot, damaged
from streamscope.tui.terminal.encoding import Picture, PictureCache, adopt_cell_size, draw
from streamscope.tui.terminal.graphics import Graphics

REMEMBERED = 600
"""Answers kept for the event loop, which may not look at the disk."""


@dataclass(frozen=True)
class Wanted:
    """A shot, drawn in so many (columns, rows)."""

    shot: Shot
    size: tuple[int, int]


@dataclass(frozen=True)
class Shown:
    """A caption, and a picture or why there is none."""

    caption: str
    picture: Picture | None
    message: str = ""


class Viewer(Protocol):
    """Who wants pictures: hears of each from the painter's thread, and of a change of the store on the event loop."""

    def drawn(self, wanted: Wanted, shown: Shown) -> None: ...

    def ask_again(self) -> None: ...


@dataclass(frozen=True)
class _Order:
    wanted: Wanted
    due: float


class Painter:
    """The one place where pictures are drawn and where the terminal's memory of them is kept.

    Everything but the thread's own loop is called on the event loop. `write` sends an escape sequence to the terminal
    between two frames.
    """

    def __init__(self, graphics: Graphics, write: Callable[[str], object]) -> None:
        self.graphics = graphics
        self.cache = PictureCache()
        self._write = write
        self._library: Library | None = None
        self._generation = 0
        self._known: OrderedDict[tuple[int, Wanted], Shown] = OrderedDict()
        self._viewers: dict[Viewer, None] = {}
        self._held: set[str] = set()
        """Teardowns of the pictures that the terminal keeps for us."""
        self._changed = Condition()
        """Guards all below."""
        self._orders: dict[Viewer, _Order] = {}
        self._prepared: tuple[Wanted, ...] = ()
        self._ahead: list[Wanted] = []
        """Those of `_prepared` still to be drawn."""
        self._closed = False
        self._thread = Thread(target=self._work, name="painter", daemon=True)
        self._thread.start()
        adopt_cell_size(graphics.cell)

    # -- for the event loop --------------------------------------------------------------------------------------------

    def use(self, library: Library | None) -> None:
        """Draw from another stored set from now on."""
        self._library = library
        self.look_again()

    def look_again(self) -> None:
        """The store has changed: what was found missing may be there."""
        with self._changed:
            self._generation += 1
            self._known.clear()
            self._ahead = list(self._prepared)
            self._changed.notify()
        for viewer in list(self._viewers):
            viewer.ask_again()

    def follow_font(self, cell: tuple[int, int] | None) -> None:
        """Draw for cells of another size, as after a change of the font."""
        if cell is None or cell == self.graphics.cell:
            return
        self.graphics = replace(self.graphics, cell=cell)
        adopt_cell_size(cell)
        self.cache.clear()
        self.look_again()

    def ready(self, wanted: Wanted) -> Shown | None:
        """What was drawn already, without waiting."""
        return self._known.get((self._generation, wanted))

    def ask(self, viewer: Viewer, wanted: Wanted | None, after: float = 0.0) -> None:
        """Let `viewer` have this picture, in `after` seconds at the earliest; what it asked for before is dropped."""
        self._viewers[viewer] = None
        with self._changed:
            self._orders.pop(viewer, None)
            if wanted is not None:
                self._orders[viewer] = _Order(wanted, time.monotonic() + after)
            self._changed.notify()

    def prepare(self, wanted: Sequence[Wanted]) -> None:
        """Draw these when nobody waits for anything; those prepared before are given up."""
        with self._changed:
            self._prepared = tuple(wanted)
            self._ahead = list(wanted)
            self._changed.notify()

    def leave(self, viewer: Viewer) -> None:
        """This one wants nothing any more."""
        self._viewers.pop(viewer, None)
        with self._changed:
            self._orders.pop(viewer, None)

    def present(self, picture: Picture) -> None:
        """To be called before the picture's lines are written: sends what the terminal has to hold for them."""
        if picture.setup and picture.teardown not in self._held:
            self._held.add(picture.teardown)
            self._write(picture.setup)
        for retired in self.cache.take_retired():
            if retired.teardown in self._held:
                self._held.discard(retired.teardown)
                self._write(retired.teardown)

    def close(self) -> None:
        """Ends the thread, and frees the terminal's memory."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        for teardown in self._held:
            self._write(teardown)
        self._held.clear()
        self._thread.join(timeout=2)

    # -- the thread ----------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            with self._changed:
                taken = self._next()
                while taken is None and not self._closed:
                    self._changed.wait(self._until_due())
                    taken = self._next()
                if self._closed or taken is None:
                    return
                generation, library = self._generation, self._library
            viewer, wanted = taken
            shown = self._known.get((generation, wanted))
            if shown is None:
                shown = self._draw(library, wanted)
                with self._changed:
                    if generation == self._generation:
                        self._known[(generation, wanted)] = shown
                        while len(self._known) > REMEMBERED:
                            self._known.popitem(last=False)
            if viewer is not None:
                viewer.drawn(wanted, shown)

    def _next(self) -> tuple[Viewer | None, Wanted] | None:
        now = time.monotonic()
        for viewer, order in self._orders.items():
            if order.due <= now:
                del self._orders[viewer]
                return viewer, order.wanted
        if self._ahead and not self._orders:
            return None, self._ahead.pop(0)
        return None

    def _until_due(self) -> float | None:
        if not self._orders:
            return None
        return max(0.0, min(order.due for order in self._orders.values()) - time.monotonic())

    def _draw(self, library: Library | None, wanted: Wanted) -> Shown:
        graphics = self.graphics
        if library is None:
            return Shown("", None)
        try:
            found = library.find(wanted.shot)
            if graphics.mode == "off":
                return Shown(found.caption, None, "graphics off")
            if found.load is None:
                return Shown(found.caption, None, found.message)
            kept = (found.identity, wanted.size, graphics.mode, graphics.cell)
            picture = self.cache.get(kept)
            if picture is None:
                try:
                    picture = draw(found.load(), wanted.size, graphics)
                except StreamscopeError as error:
                    return Shown(found.caption, None, damaged(error))
                self.cache.put(kept, picture)
            return Shown(found.caption, picture)
        except Exception as error:
            # Said in the box: the thread has to go on for all the other pictures.
            return Shown("", None, str(error) if isinstance(error, StreamscopeError) else f"cannot draw: {error!r}")
