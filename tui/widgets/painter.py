"""Draws pictures in one thread: what is looked at first, then what may be looked at next."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from threading import Condition, Thread
from typing import Protocol

from streamscope.core.errors import StreamscopeError
from streamscope.tui.data.pictures import PictureLibrary, Subject, damage_message
from streamscope.tui.terminal.detection import Graphics
from streamscope.tui.terminal.drawing import Picture
from streamscope.tui.terminal.encoding import PictureCache, adopt_cell_size, encode

REMEMBERED = 1200
"""Answers kept for the event loop, which may not look at the disk."""


@dataclass(frozen=True)
class PictureRequest:
    """A subject, to be drawn in so many (columns, rows)."""

    subject: Subject
    size: tuple[int, int]


@dataclass(frozen=True)
class PictureReply:
    """The answer to a request: a caption, and a picture or why there is none."""

    caption: str
    picture: Picture | None
    message: str = ""


class Viewer(Protocol):
    """Who wants pictures: hears of each from the painter's thread, and of a change of the store on the event loop."""

    def deliver(self, request: PictureRequest, reply: PictureReply) -> None: ...

    def renew(self) -> None: ...


@dataclass(frozen=True)
class _Due:
    request: PictureRequest
    time: float


class Painter:
    """The one place where pictures are drawn.

    Everything but the thread's own loop is called on the event loop. `slow` says whether the line to the terminal is:
    then pictures are drawn roughly at first, and better in time; `improved` hears of that, in the painter's thread.
    """

    def __init__(
        self,
        graphics: Graphics,
        slow: Callable[[], bool] = lambda: False,
        improved: Callable[[], object] = lambda: None,
    ) -> None:
        self.graphics = graphics
        self.cache = PictureCache()
        self.slow = slow
        self._was_slow = slow()
        self._improved = improved
        self._library: PictureLibrary | None = None
        self._generation = 0
        self._replies: OrderedDict[tuple[int, PictureRequest], PictureReply] = OrderedDict()
        self._viewers: dict[Viewer, None] = {}
        self._changed = Condition()
        """Guards all below."""
        self._waiting: dict[Viewer, _Due] = {}
        self._prepared: tuple[PictureRequest, ...] = ()
        self._ahead: list[PictureRequest] = []
        """Those of `_prepared` still to be drawn."""
        self._shown: dict[Viewer, Picture] = {}
        """What is looked at: drawn better when there is nothing else to do."""
        self._closed = False
        self._thread = Thread(target=self._work, name="painter", daemon=True)
        self._thread.start()
        adopt_cell_size(graphics.cell)

    # -- for the event loop --------------------------------------------------------------------------------------------

    def use(self, library: PictureLibrary | None) -> None:
        """Draw from another stored set from now on."""
        self._library = library
        self.refresh()

    def refresh(self) -> None:
        """The store has changed: what was found missing may be there."""
        with self._changed:
            self._generation += 1
            self._replies.clear()
            self._ahead = list(self._prepared)
            self._changed.notify()
        for viewer in list(self._viewers):
            viewer.renew()

    def follow_font(self, cell: tuple[int, int] | None) -> None:
        """Draw for cells of another size, as after a change of the font."""
        if cell is None or cell == self.graphics.cell:
            return
        self.graphics = replace(self.graphics, cell=cell)
        adopt_cell_size(cell)
        self.cache.clear()
        self.refresh()

    def ready(self, request: PictureRequest) -> PictureReply | None:
        """What was drawn already, without waiting."""
        return self._replies.get((self._generation, request))

    def request(self, viewer: Viewer, request: PictureRequest | None, after: float = 0.0) -> None:
        """Let `viewer` have this picture, in `after` seconds at the earliest; what it requested before is dropped."""
        self._viewers[viewer] = None
        with self._changed:
            self._waiting.pop(viewer, None)
            if request is not None:
                self._waiting[viewer] = _Due(request, time.monotonic() + after)
            self._changed.notify()

    def prepare(self, requests: Sequence[PictureRequest]) -> None:
        """Draw these when nobody waits for anything; those prepared before are given up."""
        with self._changed:
            self._prepared = tuple(requests)
            self._ahead = list(requests)
            self._changed.notify()

    def shows(self, viewer: Viewer, picture: Picture | None) -> None:
        """What `viewer` shows from now on."""
        with self._changed:
            self._shown.pop(viewer, None)
            if picture is not None:
                self._shown[viewer] = picture
                self._changed.notify()

    def leave(self, viewer: Viewer) -> None:
        """This one wants nothing any more."""
        self._viewers.pop(viewer, None)
        with self._changed:
            self._waiting.pop(viewer, None)
            self._shown.pop(viewer, None)

    def follow_line(self) -> None:
        """Where the line has turned out slower or quicker, what is wanted from now on is drawn for it."""
        if self.slow() != self._was_slow:
            self._was_slow = self.slow()
            with self._changed:
                self._replies.clear()

    def close(self) -> None:
        """Ends the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout=2)

    # -- the thread ----------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            with self._changed:
                taken = self._next()
                rough = self._roughest() if taken is None else None
                while taken is None and rough is None and not self._closed:
                    self._changed.wait(self._until_due())
                    taken = self._next()
                    rough = self._roughest() if taken is None else None
                if self._closed:
                    return
                generation, library = self._generation, self._library
            if taken is None:
                assert rough is not None
                rough.improve()
                self._improved()
                continue
            viewer, request = taken
            reply = self._replies.get((generation, request))
            if reply is None:
                reply = self._reply(library, request)
                with self._changed:
                    if generation == self._generation:
                        self._replies[(generation, request)] = reply
                        while len(self._replies) > REMEMBERED:
                            self._replies.popitem(last=False)
            if viewer is not None:
                viewer.deliver(request, reply)

    def _roughest(self) -> Picture | None:
        """Of the pictures that are looked at and can be drawn better, unless somebody waits for one."""
        rough = [picture for picture in self._shown.values() if picture.better]
        return None if self._waiting else min(rough, key=lambda picture: len(picture.drawings), default=None)

    def _next(self) -> tuple[Viewer | None, PictureRequest] | None:
        now = time.monotonic()
        for viewer, due in self._waiting.items():
            if due.time <= now:
                del self._waiting[viewer]
                return viewer, due.request
        if self._ahead and not self._waiting:
            return None, self._ahead.pop(0)
        return None

    def _until_due(self) -> float | None:
        if not self._waiting:
            return None
        return max(0.0, min(due.time for due in self._waiting.values()) - time.monotonic())

    def _reply(self, library: PictureLibrary | None, request: PictureRequest) -> PictureReply:
        graphics = self.graphics
        if library is None:
            return PictureReply("", None)
        try:
            entry = library.find(request.subject)
            if graphics.mode == "off":
                return PictureReply(entry.caption, None, "graphics off")
            if entry.load is None:
                return PictureReply(entry.caption, None, entry.message)
            drafts = self.slow()
            drawn = (entry.identity, request.size, graphics.mode, graphics.cell, drafts)
            picture = self.cache.get(drawn)
            if picture is None:
                try:
                    picture = encode(entry.load(), request.size, graphics, drafts)
                except StreamscopeError as error:
                    return PictureReply(entry.caption, None, damage_message(error))
                self.cache.put(drawn, picture)
            return PictureReply(entry.caption, picture)
        except Exception as error:
            # Said in the box: the thread has to go on for all the other pictures.
            return PictureReply(
                "", None, str(error) if isinstance(error, StreamscopeError) else f"cannot draw: {error!r}"
            )
