"""How far a job is: image-steps done of all, weighted by what they cost, for the share, the rate and the ETA."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from streamscope.core.jobs.plan import Request, Task, missing_fzs, step_cost, wanted_fzs
from streamscope.core.model.blocks import ModelInfo
from streamscope.core.store import FZSet
from streamscope.core.store.jobs.events import Counts, Report


@dataclass
class Tally:
    """What is done of one job, as one process knows it; `counts` of several processes at one job add up."""

    total: int
    """FZs requested."""
    present: int
    """Those that were stored when it began."""
    cost: float
    """Of all that was missing then."""
    spent: float = 0.0
    again: float = 0.0
    """Cost of what was done again for undefined rows, which nobody can foresee."""
    due: float = 0.0
    """Cost of all that was begun again, done or not."""
    said: float = 0.0
    """The share that was reported last."""
    done: int = 0
    steps: float = 0.0
    started: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, info: ModelInfo, fzset: FZSet, request: Request) -> Tally:
        absent = missing_fzs(info, fzset, request)
        steps = request.key.recipe.steps
        total = sum(len(channels) for channels in wanted_fzs(info, request).values())
        cost = sum(len(channels) * steps * step_cost(info, target) for target, channels in absent.items())
        return cls(total, total - sum(len(channels) for channels in absent.values()), cost)

    def began(self, task: Task, info: ModelInfo, steps: int) -> None:
        """A batch is under way; that there is something to do again is known only now."""
        if task.kind == "fz" and task.retry:
            self.due += image_cost(task, info) * steps

    def finished(self, task: Task, info: ModelInfo, steps: int) -> None:
        """A batch of FZs is stored. What is done again for an undefined row was not requested, so it does not count."""
        if task.kind == "fz" and task.retry:
            self.again += image_cost(task, info) * steps
        elif task.kind == "fz":
            self.spent += image_cost(task, info) * steps
            self.done += len(task.channels)

    def completed(self) -> None:
        """All that was requested is stored, whoever made it."""
        self.done, self.spent = self.total - self.present, self.cost

    def _share(self, share: float) -> float:
        """Never less than was said before: work that turns up on the way makes it stand still for a moment."""
        self.said = max(self.said, min(1.0, share))
        return self.said

    def counts(self, inside: float = 0.0) -> Counts:
        """What one process has done; `inside` is the cost already spent within the batches that are under way."""
        return Counts(self.spent, inside, self.again, self.done, self.steps, self.due)

    def take(self, counts: Iterable[Counts]) -> None:
        """Sets what is done to what all processes at the job together have."""
        parts = list(counts)
        self.spent = sum(part.spent for part in parts)
        self.again = sum(part.again for part in parts)
        self.due = sum(part.due for part in parts)
        self.done = int(sum(part.done for part in parts))
        self.steps = sum(part.steps for part in parts)

    def report(self, message: str, inside: float = 0.0, again: float = 0.0) -> Report:
        """`inside` and `again` are what is spent within the batches under way, first ones and those done again."""
        elapsed = max(time.monotonic() - self.started, 1e-9)
        worked = self.spent + inside + self.again + again
        whole = self.cost + max(self.due, self.again + again)
        eta = (whole - worked) * elapsed / worked if worked > 0 else None
        return Report(
            done=min(self.present + self.done, self.total),
            total=self.total,
            share=self._share(worked / whole if whole else 1.0),
            rate=self.steps / elapsed,
            unit="image-steps",
            eta=max(0.0, eta) if eta is not None else None,
            message=message,
        )


def image_cost(task: Task, info: ModelInfo) -> float:
    """Relative cost of one step of a task's whole batch."""
    return len(task.channels) * step_cost(info, info.source(task.block, task.tensor))
