"""What threads and processes tell the app."""

from __future__ import annotations

from collections.abc import Sequence

from textual.message import Message

from streamscope.core.store import JobState
from streamscope.tui.data.marking import Judged
from streamscope.tui.data.store_reader import Reading, StoreReader


class ModelFound(Message):
    """The model's description is known, and what the store has of it read; None when that failed."""

    def __init__(self, reader: StoreReader, reading: Reading | None) -> None:
        super().__init__()
        self.reader = reader
        self.reading = reading


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

    def __init__(self, judged: Judged) -> None:
        super().__init__()
        self.judged = judged


class WorkFailed(Message):
    """Something asked for in a thread could not be done."""

    def __init__(self, title: str, error: str) -> None:
        super().__init__()
        self.title = title
        self.error = error
