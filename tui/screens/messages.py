"""What screens tell the app, whichever of them it is."""

from __future__ import annotations

from textual.message import Message


class WorkFailed(Message):
    """Something done in a thread failed."""

    def __init__(self, title: str, error: str) -> None:
        super().__init__()
        self.title = title
        self.error = error
