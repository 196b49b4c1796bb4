"""What threads tell the app."""

from __future__ import annotations

from collections.abc import Sequence

from textual.message import Message

from streamscope.core.store import JobState
from streamscope.tui.data.marking import JudgementsUpdate
from streamscope.tui.data.store_reader import Reading


class StoreRead(Message):
    """The store changed, and was read."""

    def __init__(self, reading: Reading) -> None:
        super().__init__()
        self.reading = reading


class JobsPolled(Message):
    """Every job of the store, as it is now, and the bytes free on its disk (None where that cannot be told)."""

    def __init__(self, jobs: Sequence[JobState], free: int | None = None) -> None:
        super().__init__()
        self.jobs = jobs
        self.free = free


class JudgementsChanged(Message):
    """A judgement was written, or somebody else's was read."""

    def __init__(self, update: JudgementsUpdate) -> None:
        super().__init__()
        self.update = update
