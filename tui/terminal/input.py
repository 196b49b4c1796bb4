"""Keeps what the terminal says late about itself from being taken for keys."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable

from textual._xterm_parser import XTermParser
from textual.message import Message

STATUS_ANSWER = "\x1b[0n"
"""What a terminal says when it is asked for its status (DSR 5)."""
# Also answers to `streamscope.tui.terminal.detection.QUERIES`: device attributes, cell size, version, kitty graphics.
_REPLY = re.compile(
    r"\x1b\[0n|\x1b\[\?[\d;]*c|\x1b\[6;\d+;\d+t|\x1bP>\|[^\x1b\x07]*(?:\x1b\\|\x07)|\x1b_G[^\x1b]*\x1b\\"
)
_BEGINNING = re.compile(
    r"(?:\x1b|\x1b\[|\x1b\[0|\x1b\[\?[\d;]*|\x1b\[6(?:;\d*){0,2}|\x1bP|\x1bP>|\x1bP>\|[^\x1b\x07]*\x1b?|\x1b_|\x1b_G[^\x1b]*\x1b?)\Z"
)
_SURELY_REPLY = ("\x1bP>", "\x1b_G", "\x1b[?", "\x1b[0")
KEY_SECONDS = 0.1
"""How long what may be the Escape key is held back; as long as Textual waits for the rest of a sequence itself."""
REPLY_SECONDS = 3.0
"""How long the rest of what can only be an answer is waited for."""


class ReplyFilter:
    """Takes answers out of typed text, also when they come in pieces; `statuses` of them were about its status."""

    def __init__(self) -> None:
        self.statuses = 0
        self._held = ""
        self._since = 0.0

    def feed(self, data: str, now: float) -> str:
        """What of `data` is not an answer; its end is held back while an answer may begin there."""
        self.statuses += (self._held + data).count(STATUS_ANSWER)
        text = _REPLY.sub("", self._held + data)
        beginning = _BEGINNING.search(text)
        self._held = beginning.group() if beginning else ""
        self._since = now
        return text[: beginning.start()] if beginning else text

    def overdue(self, now: float) -> str:
        """What was held back for nothing: keys. The beginning of an answer that never ended is dropped."""
        if not self._held:
            return ""
        surely = self._held.startswith(_SURELY_REPLY)
        if now - self._since < (REPLY_SECONDS if surely else KEY_SECONDS):
            return ""
        held, self._held = self._held, ""
        return "" if surely else held


class QuietParser(XTermParser):
    """Textual's parser behind a `ReplyFilter`; `answered` hears of each time that the terminal told its status."""

    def __init__(self, debug: bool = False, answered: Callable[[], object] = lambda: None) -> None:
        super().__init__(debug)
        self._filter = ReplyFilter()
        self._answered = answered

    def feed(self, data: str) -> Iterable[Message]:
        if not data:
            # The end of the input.
            return super().feed(data)
        before = self._filter.statuses
        kept = self._filter.feed(data, time.monotonic())
        for _ in range(self._filter.statuses - before):
            self._answered()
        return super().feed(kept) if kept else ()

    def tick(self) -> Iterable[Message]:
        overdue = self._filter.overdue(time.monotonic())
        if overdue:
            yield from super().feed(overdue)
        yield from super().tick()
