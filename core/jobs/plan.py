"""What is missing of a request, cut into independent batches, most needed first. Never imports torch."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import numpy as np

from streamscope.core.errors import UsageError
from streamscope.core.measures.criteria import MAX_RETRIES, is_undefined
from streamscope.core.model.blocks import TENSORS, ModelInfo, Target, Tensor, pick_blocks
from streamscope.core.model.recipe import Capture, Objective, Protocol, SetKey
from streamscope.core.model.spec import ModelSpec
from streamscope.core.store import FZSet, JobSpec


@dataclass(frozen=True)
class Request:
    """The FZs of some tensors and channels of some blocks, measured, in one set: checked against a network.

    A `JobSpec` is what becomes one: it may leave to the network and the device what is settled here. `channels` gives
    each block's channels where not all are wanted; `batch` is the width of the fixed channel ranges.
    """

    key: SetKey
    blocks: tuple[str, ...]
    tensors: tuple[Tensor, ...]
    batch: int
    channels: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(
        cls,
        info: ModelInfo,
        key: SetKey,
        blocks: Sequence[str],
        tensors: Sequence[str],
        batch: int,
        channels: Mapping[str, Iterable[int]] | None = None,
    ) -> Request:
        """Checked against the model. Raises UsageError for an unknown block or tensor, a bad channel or batch."""
        names = tuple(b.name for b in pick_blocks(info, blocks))
        for tensor in tensors:
            info.source(names[0], tensor)
        if batch < 1:
            raise UsageError(f"batch must be 1 or more, not {batch}")
        picked: dict[str, tuple[int, ...]] = {}
        for block, wanted in (channels or {}).items():
            count = info.block(block).channels
            picked[block] = tuple(sorted(set(wanted)))
            outside = [c for c in picked[block] if not 0 <= c < count]
            if outside:
                raise UsageError(f"channel {outside[0]} is out of range; block {block} has channels 0-{count - 1}")
        return cls(key, names, tuple(t for t in TENSORS if t in tensors), batch, picked)

    def channels_of(self, info: ModelInfo, block: str) -> tuple[int, ...]:
        return self.channels.get(block, tuple(range(info.block(block).channels)))

    @classmethod
    def of_job(cls, info: ModelInfo, spec: JobSpec, batch: int) -> Request:
        """What a job requests of its model; `batch` is used where its spec names none. Raises UsageError."""
        # Which there are, the key knows.
        capture, objective = cast(Capture, spec.capture), cast(Objective, spec.objective)
        protocol = cast(Protocol, spec.protocol)
        recipe = spec.recipe or info.recipe(protocol, spec.steps)
        key = SetKey(recipe, spec.seed, capture, objective, protocol)
        return cls.of(info, key, spec.blocks, spec.tensors or TENSORS, spec.batch or batch, spec.channels)

    def job_spec(
        self,
        model: ModelSpec,
        device: str = "auto",
        devices: Iterable[str] = (),
        scheduler: str | None = None,
        batch: int | None = None,
    ) -> JobSpec:
        """The job that does this; unless `batch` is given, its worker chooses one that suits its device."""
        return JobSpec.of_set(
            model, self.key, self.blocks, self.tensors, self.channels, device, devices, scheduler, batch
        )


class Task(NamedTuple):
    """One batch: FZs to optimise (`kind` fz) or FZs to measure in their block (`kind` measure).

    A tuple, like a row: planning a large set makes tens of thousands, and frozen dataclasses take thrice as long.
    """

    kind: Literal["fz", "measure"]
    block: str
    tensor: Tensor
    channels: tuple[int, ...]
    span: int
    """Which fixed channel range it lies in: two tasks of one range are never done at the same time."""
    retry: int = 0

    def lease(self, info: ModelInfo, key: SetKey) -> str:
        """Key of the lease that whoever does this task must hold."""
        where = (
            str(info.target(self.block, self.tensor, key.protocol))
            if self.kind == "fz"
            else f"{self.block} on {self.tensor}"
        )
        return f"{info.identity} {key.folder} {self.kind} {where} {self.span} {self.retry}"


class Plan:
    """What is left of a request, looked at again and again while it gets less.

    Each look costs what is left of it, not what is done: a job over thousands of tasks takes linear time. Only when
    nothing seems left everything is looked at once more, in case something was damaged or removed meanwhile.
    """

    def __init__(self, info: ModelInfo, fzset: FZSet, request: Request) -> None:
        self.info, self.fzset, self.request = info, fzset, request
        self._rows = {row.place: row for row in _rows(info, request)}
        self._left = dict(self._rows)

    def tasks(self, without: Collection[Task] = ()) -> Iterator[Task]:
        """Tasks still to be done but those in `without`, in order.

        M and the scale metric need FZ(I) and FZ(B) only, so those of every block come before FZ(O). Measures appear
        once their FZs are there, retries once a row is found undefined.
        """
        look = _Look(self.info, self.fzset)
        found = False
        for again in (False, True):
            if again:
                self._left = dict(self._rows)
            for place, row in tuple(self._left.items()):
                tasks = [task for task in row.tasks(look) if task not in without]
                if not tasks:
                    del self._left[place]
                found = found or bool(tasks)
                yield from tasks
            if found:
                return

    def is_missing(self, task: Task) -> bool:
        """Whether a task that was planned is still to be done."""
        row = self._rows[task.tensor == "out", task.block, task.span]
        return task in row.tasks(_Look(self.info, self.fzset))


def missing(info: ModelInfo, fzset: FZSet, request: Request) -> Iterator[Task]:
    """Tasks still to be done, in order: one look at a whole plan."""
    return Plan(info, fzset, request).tasks()


class _Row(NamedTuple):
    """One fixed channel range of a block: FZs and measures of some of its tensors, and retries of what is undefined."""

    block: str
    span: int
    channels: tuple[int, ...]
    tensors: tuple[Tensor, ...]
    measured: bool
    """Channel FZs are not."""

    @property
    def place(self) -> tuple[bool, str, int]:
        return "out" in self.tensors, self.block, self.span

    def tasks(self, look: _Look) -> list[Task]:
        tasks = [task for tensor in self.tensors for task in self._of_tensor(look, tensor, self.channels, 0)]
        if self.tensors != ("in", "block") or not self.measured:
            return tasks
        channels = self.channels
        for retry in range(1, MAX_RETRIES + 1):
            channels = tuple(sorted(look.undefined(self.block, retry - 1).intersection(channels)))
            if not channels:
                break
            tasks += [task for tensor in self.tensors for task in self._of_tensor(look, tensor, channels, retry)]
        return tasks

    def _of_tensor(self, look: _Look, tensor: Tensor, channels: tuple[int, ...], retry: int) -> list[Task]:
        stored = look.stored(self.block, tensor, retry).intersection(channels)
        if not stored:
            return [Task("fz", self.block, tensor, channels, self.span, retry)]
        tasks: list[Task] = []
        if absent := tuple(c for c in channels if c not in stored):
            tasks.append(Task("fz", self.block, tensor, absent, self.span, retry))
        if self.measured and (unread := stored - look.measured(self.block, tensor, retry)):
            tasks.append(Task("measure", self.block, tensor, tuple(sorted(unread)), self.span, retry))
        return tasks


class _Look:
    """What is stored at one moment: each folder is looked at once, however many rows ask for it."""

    def __init__(self, info: ModelInfo, fzset: FZSet) -> None:
        self._info, self._fzset = info, fzset
        self._seen: dict[tuple[object, ...], frozenset[int]] = {}

    def stored(self, block: str, tensor: Tensor, retry: int) -> frozenset[int]:
        """Channels whose FZ is stored."""
        place = ("stored", block, tensor, retry)
        if place not in self._seen:
            self._seen[place] = self._fzset.stored(self._fzset.target(block, tensor), retry)
        return self._seen[place]

    def measured(self, block: str, tensor: Tensor, retry: int) -> frozenset[int]:
        """Channels whose FZ was measured in the block."""
        place = ("measured", block, tensor, retry)
        if place not in self._seen:
            own = self._fzset.own(block, tensor, retry)
            self._seen[place] = frozenset() if own is None else frozenset(own.channels.tolist())
        return self._seen[place]

    def undefined(self, block: str, retry: int) -> frozenset[int]:
        """Channels whose M is undefined with the FZs of `retry`: both are measured and neither excites `out`."""
        place = ("undefined", block, retry)
        if place not in self._seen:
            on_in, on_block = self._fzset.own(block, "in", retry), self._fzset.own(block, "block", retry)
            if on_in is None or on_block is None:
                self._seen[place] = frozenset()
            else:
                both = np.intersect1d(on_in.channels, on_block.channels, assume_unique=True)
                pre = [own.plain[np.searchsorted(own.channels, both), 2] for own in (on_in, on_block)]
                self._seen[place] = frozenset(both[is_undefined(*pre)].tolist())
        return self._seen[place]


def _rows(info: ModelInfo, request: Request) -> Iterator[_Row]:
    early: tuple[Tensor, ...] = tuple(t for t in request.tensors if t != "out")
    late: tuple[Tensor, ...] = tuple(t for t in request.tensors if t == "out")
    for tensors in (early, late):
        for block in request.blocks:
            # All tensors of a layer are its output: one FZ.
            layer = info.block(block).kind == "layer"
            of_block = tensors if not layer else ("out",) if tensors is (late or early) else ()
            for span, channels in _spans(request.channels_of(info, block), request.batch) if of_block else ():
                yield _Row(block, span, channels, of_block, request.key.objective == "neuron")


def _spans(channels: tuple[int, ...], width: int) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Channels, in order, by fixed range of `width`, wherever the first of them lies."""
    first = 0
    while first < len(channels):
        span = channels[first] // width
        end = bisect_left(channels, (span + 1) * width, first)
        yield span, channels[first:end]
        first = end


def wanted_fzs(info: ModelInfo, request: Request) -> dict[Target, set[int]]:
    """Every FZ that a request needs, retries aside."""
    found: dict[Target, set[int]] = {}
    for block in request.blocks:
        for tensor in request.tensors:
            found.setdefault(info.target(block, tensor, request.key.protocol), set()).update(
                request.channels_of(info, block)
            )
    return found


def missing_fzs(info: ModelInfo, fzset: FZSet, request: Request) -> dict[Target, set[int]]:
    """The FZs among `wanted_fzs` that are not stored."""
    wanted = wanted_fzs(info, request)
    return {target: channels - fzset.stored(target) for target, channels in wanted.items()}


def step_cost(info: ModelInfo, target: Target) -> float:
    """Relative cost of one image-step: a fixed part and the area of the receptive field.

    Measured on ResNet18: 43, 99 and 211 px fields cost 3.1, 13 and 60 ms; this gives 3.1, 10.5 and 43. Good for an ETA.
    """
    field = info.field_of(target)
    return 1500.0 + (field.stop - field.start) ** 2
