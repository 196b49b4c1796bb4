"""The lines at the bottom: jobs under way, and what is shown of what by what means."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text
from textual.timer import Timer
from textual.widgets import Static

from streamscope.core.store import ACTIVE, FINISHED, JobState
from streamscope.core.text import visible
from streamscope.tui.table.headings import DIM

MESSAGE_SECONDS = 10.0
"""How long a message stands there: it is stale soon."""


class JobLine(Static):
    """Progress of the jobs under way, of this app and of others; hidden when there are none."""

    DEFAULT_CSS = """
    JobLine { height: 1; display: none; background: $boost; }
    JobLine.shown { display: block; }
    """

    def show(self, jobs: Sequence[JobState]) -> None:
        # What runs says more than what waits.
        running = sorted((job for job in jobs if job.state not in FINISHED), key=lambda job: job.state not in ACTIVE)
        self.set_class(bool(running), "shown")
        if running:
            self.update(progress(running, self.app.size.width), layout=False)


class MessageLine(Static):
    """The last message, for as long as it takes to read it."""

    def __init__(self, *, seconds: float = MESSAGE_SECONDS, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._seconds = seconds
        self.left = ""
        self.failed = False
        self._forgets: Timer | None = None

    def say(self, text: str, failed: bool = False) -> None:
        """What went wrong stays until something else is said."""
        if self._forgets is not None:
            self._forgets.stop()
        self._forgets = self.set_timer(self._seconds, self._forget) if text and not failed else None
        self.left, self.failed = visible(text), failed
        self.draw()

    def draw(self) -> None:
        self.update(self.styled_message(), layout=False)

    def styled_message(self) -> Text:
        style = Style(color="red", bold=True) if self.failed else Style.null()
        return Text(self.left, style=style, no_wrap=True, overflow="ellipsis")

    def _forget(self) -> None:
        self.left = ""
        self.draw()


class StatusBar(MessageLine):
    """Left: the last message. Right: graphics, model, set, cache; and how to find the keys, where there is no room
    for a line of them."""

    DEFAULT_CSS = """
    StatusBar { height: 1; background: $panel; color: $foreground; }
    """

    def __init__(self, *, seconds: float = MESSAGE_SECONDS, id: str | None = None) -> None:
        super().__init__(seconds=seconds, id=id)
        self.right: tuple[str, ...] = ()

    def tell(self, *parts: str) -> None:
        """What stands at the right, most important first; the last ones go when there is no room."""
        self.right = parts
        self.draw()

    def on_resize(self) -> None:
        self.draw()

    def draw(self) -> None:
        width = self.size.width
        keys = ["? keys"] if self.screen.has_class("-low") else []
        parts = [part for part in self.right if part]
        while parts and cell_len(self.left) + cell_len(" │ ".join([*parts, *keys])) + 2 > width:
            parts.pop()
        right = " │ ".join([*parts, *keys])
        left = self.styled_message()
        left.truncate(max(0, width - cell_len(right) - 1), overflow="ellipsis", pad=True)
        self.update(left.append(" ").append(right, DIM), layout=False)


def progress(running: Sequence[JobState], width: int) -> Text:
    """One line for the jobs under way: the first in full, the number of the others."""
    job = running[0]
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append_text(bar(job, 12 if width < 100 else 24))
    text.append(f" {job.done}/{job.total}" if job.total else f" {job.state}")
    if job.rate:
        text.append(f"  {job.rate:,.0f} {job.unit}/s" if job.rate >= 10 else f"  {job.rate:.2g} {job.unit}/s")
    if job.eta is not None:
        text.append(f"  {duration(job.eta)} left")
    if job.job.spec.command:
        text.append(f"  {job.job.spec.kind} {job.job.spec.title}")
    if job.state == "stopping":
        text.append("  stopping")
    if job.message:
        text.append(f"  {visible(job.message)}", DIM)
    if len(running) > 1:
        text.append(f"  (and {len(running) - 1} more)", DIM)
    return text


def share_done(job: JobState) -> float:
    """Of a job's work, 0 to 1: within batches too, where its worker says so."""
    if job.state == "done":
        return 1.0
    return job.share if job.share is not None else job.done / job.total if job.total else 0.0


def bar(job: JobState, cells: int) -> Text:
    """A bar, and the share in percent: all only for all."""
    share = share_done(job)
    full = int(share * cells)
    text = Text().append("━" * full, Style(color="green")).append("━" * (cells - full), DIM)
    known = job.total or job.share is not None or job.state == "done"
    return text.append(f" {f'{int(100 * share)}%' if known else '':>4}")


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 20 min`."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
