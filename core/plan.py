"""What is missing of what was asked for, cut into independent batches, most needed first. Never imports torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.blocks import TENSORS, ModelInfo, Target, Tensor, pick_blocks
from core.errors import UsageError
from core.measures import is_undefined
from core.recipe import Recipe, SetKey
from core.store import FZSet

RETRIES = 2
"""How often FZs of an undefined row are optimised again, each time with the next seed (design, section 2)."""


@dataclass(frozen=True)
class Request:
    """What a job is asked for: the FZs of some tensors and channels of some blocks, measured, in one set.

    `channels` gives each block's channels where not all are wanted; `batch` is the width of the fixed channel ranges.
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
            info.target(names[0], tensor)
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

    def to_json(self) -> dict[str, Any]:
        return {
            "recipe": self.key.recipe.to_json(),
            "steps": self.key.recipe.steps,
            "seed": self.key.seed,
            "capture": self.key.capture,
            "blocks": list(self.blocks),
            "tensors": list(self.tensors),
            "batch": self.batch,
            "channels": {block: list(channels) for block, channels in self.channels.items()},
        }

    @classmethod
    def from_json(cls, info: ModelInfo, data: Mapping[str, Any], batch: int) -> Request:
        """A job's `asked`; `batch` is used where it names none. Raises UsageError."""
        recipe = Recipe.from_json(data["recipe"]) if data.get("recipe") else info.recipe(data.get("steps"))
        key = SetKey(recipe, data.get("seed") or 0, data.get("capture") or "exact")
        return cls.of(
            info,
            key,
            data.get("blocks") or (),
            data.get("tensors") or TENSORS,
            data.get("batch") or batch,
            data.get("channels") or {},
        )


@dataclass(frozen=True)
class Task:
    """One batch: FZs to optimise (`kind` fz) or FZs to measure in their block (`kind` measure)."""

    kind: str
    block: str
    tensor: Tensor
    channels: tuple[int, ...]
    span: int
    """Which fixed channel range it lies in: two tasks of one range are never done at the same time."""
    retry: int = 0

    def lease(self, info: ModelInfo, key: SetKey) -> str:
        """Key of the lease that whoever does this task must hold."""
        where = str(info.target(self.block, self.tensor)) if self.kind == "fz" else f"{self.block} on {self.tensor}"
        return f"{info.fingerprint} {key.folder} {self.kind} {where} {self.span} {self.retry}"


def missing(info: ModelInfo, fzset: FZSet, request: Request) -> Iterator[Task]:
    """Tasks still to be done, in order: M and the scale metric need FZ(I) and FZ(B) only, so those of every block come
    before FZ(O). Measures appear once their FZs are there, retries once a row is found undefined."""
    first = [t for t in request.tensors if t != "out"]
    for tensors in (first, [t for t in request.tensors if t == "out"]):
        for block in request.blocks:
            wanted = request.channels_of(info, block)
            for span, channels in _spans(wanted, request.batch):
                for tensor in tensors:
                    yield from _of_row(info, fzset, block, tensor, channels, span, 0)
                if tensors == ["in", "block"]:
                    yield from _retries(info, fzset, block, channels, span)


def _retries(info: ModelInfo, fzset: FZSet, block: str, channels: tuple[int, ...], span: int) -> Iterator[Task]:
    for retry in range(1, RETRIES + 1):
        channels = _undefined(fzset, block, channels, retry - 1)
        for tensor in ("in", "block"):
            yield from _of_row(info, fzset, block, tensor, channels, span, retry)


def _of_row(
    info: ModelInfo,
    fzset: FZSet,
    block: str,
    tensor: Tensor,
    channels: tuple[int, ...],
    span: int,
    retry: int,
) -> Iterator[Task]:
    if not channels:
        return
    stored = fzset.fzs(info.target(block, tensor), retry)
    measured = fzset.own(block, tensor, retry)
    known = set() if measured is None else set(measured.channels.tolist())
    absent = tuple(c for c in channels if c not in stored)
    unread = tuple(c for c in channels if c in stored and c not in known)
    if absent:
        yield Task("fz", block, tensor, absent, span, retry)
    if unread:
        yield Task("measure", block, tensor, unread, span, retry)


def _undefined(fzset: FZSet, block: str, channels: tuple[int, ...], retry: int) -> tuple[int, ...]:
    """Channels whose M is undefined with the FZs of `retry`: both are measured and neither excites `out`."""
    readings = [fzset.own(block, tensor, retry) for tensor in ("in", "block")]
    if readings[0] is None or readings[1] is None:
        return ()
    pre = [dict(zip(r.channels.tolist(), r.plain[:, 2].tolist(), strict=True)) for r in readings if r is not None]
    both = [c for c in channels if c in pre[0] and c in pre[1]]
    found = is_undefined(np.array([pre[0][c] for c in both]), np.array([pre[1][c] for c in both]))
    return tuple(c for c, undefined in zip(both, np.atleast_1d(found), strict=True) if undefined)


def _spans(channels: Sequence[int], width: int) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Channels by fixed range of `width`, wherever the first of them lies."""
    spans: dict[int, list[int]] = {}
    for channel in channels:
        spans.setdefault(channel // width, []).append(channel)
    for span, inside in sorted(spans.items()):
        yield span, tuple(inside)


def wanted_fzs(info: ModelInfo, request: Request) -> dict[Target, set[int]]:
    """Every FZ that a request needs, retries aside."""
    found: dict[Target, set[int]] = {}
    for block in request.blocks:
        for tensor in request.tensors:
            found.setdefault(info.target(block, tensor), set()).update(request.channels_of(info, block))
    return found


def missing_fzs(info: ModelInfo, fzset: FZSet, request: Request) -> dict[Target, set[int]]:
    """The FZs among `wanted_fzs` that are not stored."""
    wanted = wanted_fzs(info, request)
    return {target: channels - fzset.fzs(target).keys() for target, channels in wanted.items()}


def step_cost(info: ModelInfo, target: Target) -> float:
    """Relative cost of one image-step: a fixed part and the area of the receptive field.

    Measured on ResNet18: 43, 99 and 211 px fields cost 3.1, 13 and 60 ms; this gives 3.1, 10.5 and 43. Good for an ETA.
    """
    field = info.fields[str(target)]
    return 1500.0 + (field.stop - field.start) ** 2
