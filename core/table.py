"""One frame of channels: everything measured, marked and missing, a row a channel. Never imports torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core import measures
from core.blocks import READ, Block, ModelInfo, Tensor, pick_blocks
from core.columns import (
    BY_NAME,
    COLUMNS,
    DEFAULT_COLUMNS,
    Column,
    Value,
    column,
    natural_key,
    number_text,
    parse_columns,
)

if TYPE_CHECKING:
    from core.store import FZSet

__all__ = [
    "COLUMNS",
    "DEFAULT_COLUMNS",
    "BlockSummary",
    "Column",
    "Frame",
    "Value",
    "build_frame",
    "column",
    "number_text",
    "parse_columns",
    "summarise",
    "top_scale_invariant",
    "with_marks",
]

HISTOGRAM_EDGES = np.arange(0, measures.MIX_MAX + 0.25, 0.25)
"""Bins of M from 0 to 5; the last takes 5 itself."""

_NEEDED: tuple[Tensor, ...] = ("in", "block")
"""M and SM need FZ(I) and FZ(B) only; FZ(O) is for looking at."""


class Judged(Protocol):
    """What a person said of one channel (`core.store.Judgement`)."""

    @property
    def mark(self) -> str: ...
    @property
    def tags(self) -> Sequence[str]: ...
    @property
    def note(self) -> str: ...


Judgements = Mapping[tuple[str, int], Judged]
"""By (block, channel)."""


class Journal(Protocol):
    """Marks that know all judgements of a model (`core.store.Marks`)."""

    def all(self) -> Mapping[tuple[str, int], Any]: ...


@dataclass(frozen=True, eq=False)
class Frame:
    """Channels by columns, immutable. Number and bool columns are float64 (bool 1, 0), NaN where empty; text columns
    are object arrays of str, "" where empty. All have the same length."""

    columns: Mapping[str, NDArray[Any]]

    def __post_init__(self) -> None:
        for values in self.columns.values():
            values.flags.writeable = False

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Values of one column. Raises UsageError for an unknown one."""
        return self.columns[column(name).name]

    def order(self, name: str, descending: bool = False) -> NDArray[np.intp]:
        """Row numbers sorted by one column: stable, empty fields last in both directions, numbers within text by value.

        Raises UsageError for an unknown column.
        """
        values = self[name]
        if column(name).kind == "text":
            values = _ranks(values)
        return np.argsort(-values if descending else values, kind="stable")

    def take(self, index: ArrayLike) -> Frame:
        """The frame of some rows: row numbers in any order, or a bool array."""
        chosen = np.asarray(index)
        chosen = chosen if chosen.size else chosen.astype(np.intp)
        return Frame({name: values[chosen] for name, values in self.columns.items()})

    def row_of(self, block: str, channel: int) -> int | None:
        """Where a channel is, None if it is not in the frame."""
        found = np.flatnonzero((self.columns["block"] == block) & (self.columns["channel"] == channel))
        return int(found[0]) if len(found) else None

    def rows(self, index: Iterable[int] | NDArray[Any], names: Sequence[str] | None = None) -> list[dict[str, Value]]:
        """Rows as Python values, None where empty; numbers shortened to what float32 tells apart.

        `names` says which columns, in which order; all of them when it is None.
        """
        chosen = np.asarray(index if isinstance(index, np.ndarray) else list(index), dtype=np.intp)
        wanted = list(self.columns) if names is None else list(names)
        fields = [_values(column(name), self[name][chosen]) for name in wanted]
        return [dict(zip(wanted, row, strict=True)) for row in zip(*fields, strict=True)]


@dataclass(frozen=True)
class BlockSummary:
    """Counts of one block's channels. `computed` have both FZ(I) and FZ(B) measured."""

    channels: int
    computed: int
    skip: int
    mix: int
    overwrite: int
    scale_invariant: int
    histogram: tuple[int, ...]
    """Channels by M, 0 to 5 in bins of 0.25; M = 5 counts in the last."""

    @property
    def undefined(self) -> int:
        return self.computed - self.skip - self.mix - self.overwrite


def build_frame(
    info: ModelInfo, fzset: FZSet | None, blocks: Sequence[str], marks: Journal | Judgements | None = None
) -> Frame:
    """Every channel of `blocks` in stream order (the default set when none is named), computed or not.

    Raises UsageError for an unknown block, StoreError where the store cannot be read.
    """
    parts = [_block_columns(info, fzset, block) for block in pick_blocks(info, blocks)]
    frame = Frame({c.name: np.concatenate([part[c.name] for part in parts]) for c in COLUMNS})
    judgements = marks if marks is None or isinstance(marks, Mapping) else marks.all()
    return with_marks(frame, judgements) if judgements else frame


def with_marks(frame: Frame, judgements: Judgements) -> Frame:
    """The same frame under these marks, tags and notes instead of those it had; every other column is shared."""
    marked, tags, note = (np.full(len(frame), "", dtype=object) for _ in range(3))
    if judgements:
        channels = frame.columns["channel"].astype(int).tolist()
        row_of = {key: row for row, key in enumerate(zip(frame.columns["block"].tolist(), channels, strict=True))}
        for key, judgement in judgements.items():
            row = row_of.get(key)
            if row is not None:
                marked[row], tags[row], note[row] = judgement.mark, " ".join(judgement.tags), judgement.note
    return Frame({**frame.columns, "marked": marked, "tags": tags, "note": note})


def summarise(frame: Frame) -> dict[str, BlockSummary]:
    """Counts of each block in the frame, in its order."""
    summaries = {}
    for block in dict.fromkeys(frame.columns["block"].tolist()):
        inside = frame.columns["block"] == block
        m, update = frame.columns["mix_ratio"][inside], frame.columns["update"][inside]
        known = m[~np.isnan(m)]
        summaries[block] = BlockSummary(
            channels=int(inside.sum()),
            computed=int((~np.isnan(frame.columns["fz_seed"][inside])).sum()),
            skip=int((update == "skip").sum()),
            mix=int((update == "mix").sum()),
            overwrite=int((update == "overwrite").sum()),
            scale_invariant=int((frame.columns["scale_invariant"][inside] == 1).sum()),
            histogram=tuple(np.histogram(known, bins=HISTOGRAM_EDGES)[0].tolist()),
        )
    return summaries


def top_scale_invariant(frame: Frame, count: int) -> NDArray[np.intp]:
    """Row numbers of the `count` largest scale metrics, scale-invariant channels only (section 2)."""
    order = frame.order("scale_metric", descending=True)
    eligible = (frame.columns["scale_invariant"] == 1) & ~np.isnan(frame.columns["scale_metric"])
    return order[eligible[order]][:count]


def _ranks(texts: NDArray[Any]) -> NDArray[np.float64]:
    """Natural order of texts as numbers, NaN for empty ones."""
    ordered = sorted(set(texts.tolist()), key=lambda text: (natural_key(text), text))
    rank = {text: float(number) for number, text in enumerate(ordered)} | {"": np.nan}
    return np.fromiter((rank[text] for text in texts), dtype=np.float64, count=len(texts))


def _values(described: Column, values: NDArray[Any]) -> list[Value]:
    if described.kind == "text":
        return [text or None for text in values.tolist()]
    empty = ~np.isfinite(values)
    found: list[Value]
    if described.kind == "bool":
        found = [bool(v) for v in (values == 1).tolist()]
    elif described.whole:
        found = np.where(empty, 0, values).astype(int).tolist()
    else:
        # activations are float32: NumPy's shortest text that gives the same float32 back, 0.1 and not 0.10000000149
        found = [float(text) for text in np.where(empty, 0, values).astype(np.float32).astype("U32").tolist()]
    for row in np.flatnonzero(empty).tolist():
        found[row] = None
    return found


@dataclass
class _Readings:
    """Centre activations of one block's channels at one retry, NaN where not measured, by column name."""

    values: dict[str, NDArray[np.float64]]
    measured: dict[Tensor, NDArray[np.bool_]]

    @classmethod
    def of(cls, fzset: FZSet | None, block: Block, tensors: Sequence[Tensor], retry: int = 0) -> _Readings:
        count = block.channels
        names = [f"{x}_on_{y}" for x in ("in", "block", "out") for y in tensors]
        values = {name: np.full(count, np.nan) for name in [*names, "block_on_in_up", "in_on_block_down"]}
        measured = {tensor: np.zeros(count, dtype=bool) for tensor in tensors}
        for tensor in tensors:
            found = fzset.own(block.name, tensor, retry=retry) if fzset else None
            if found is None:
                continue
            channels = found.channels
            for axis, read in enumerate(READ):
                values[f"{'out' if read == 'pre' else read}_on_{tensor}"][channels] = found.plain[:, axis]
            if found.scaled is not None and tensor in _NEEDED:
                name, read = ("block_on_in_up", "block") if tensor == "in" else ("in_on_block_down", "in")
                values[name][channels] = found.scaled[:, READ.index(read)]
            measured[tensor][channels] = True
        return cls(values, measured)

    @property
    def complete(self) -> NDArray[np.bool_]:
        return self.measured["in"] & self.measured["block"]

    @property
    def undefined(self) -> NDArray[np.bool_]:
        m = measures.mix_ratio(self.values["out_on_in"], self.values["out_on_block"])
        return self.complete & np.isnan(m)


def _readings(fzset: FZSet | None, block: Block) -> tuple[_Readings, NDArray[np.int64]]:
    """The activations that count, and the retry that each row's FZ(I) and FZ(B) come from (section 2)."""
    first = _Readings.of(fzset, block, ("in", "block", "out"))
    retries = np.zeros(block.channels, dtype=np.int64)
    for retry in range(1, measures.MAX_RETRIES + 1):
        if not first.undefined.any():
            break
        again = _Readings.of(fzset, block, _NEEDED, retry)
        taken = first.undefined & again.complete & (retries == retry - 1)
        for name, values in again.values.items():
            first.values[name][taken] = values[taken]
        retries[taken] = retry
    return first, retries


def _block_columns(info: ModelInfo, fzset: FZSet | None, block: Block) -> dict[str, NDArray[Any]]:
    count = block.channels
    readings, retries = _readings(fzset, block)
    v = readings.values
    late_rise, flags = _histories(info, fzset, block, retries)
    m = measures.mix_ratio(v["out_on_in"], v["out_on_block"])
    block_gain = measures.block_gain(v["block_on_in_up"], v["block_on_in"], v["block_on_block"])
    input_gain = measures.input_gain(v["in_on_block_down"], v["in_on_block"], v["in_on_in"])
    criteria = {
        "meets_mix": measures.meets_mix(m),
        "meets_block": measures.meets_block(v["block_on_in_up"], v["block_on_in"]),
        "meets_input": measures.meets_input(v["in_on_block_down"], v["in_on_block"]),
    }
    weights = info.weights.get(block.name)
    key = fzset.key if fzset else None
    numbers: dict[str, ArrayLike] = {
        **v,
        **criteria,
        "channel": np.arange(count),
        "mix_ratio": m,
        "block_gain": block_gain,
        "input_gain": input_gain,
        "scale_metric": measures.scale_metric(block_gain, input_gain),
        "scale_invariant": measures.scale_invariant(*criteria.values()),
        "late_rise": late_rise,
    }
    if weights:
        numbers["bn_weight"] = weights.bn_weight
        numbers["conv_weight"] = weights.conv_weight
        numbers["effective_gain"] = weights.effective_gain
    if key:
        numbers["steps"] = np.full(count, key.recipe.steps)
        numbers["seed"] = np.full(count, key.seed)
        numbers["fz_seed"] = np.where(readings.complete, key.seed + retries, np.nan)
    texts: dict[str, str | NDArray[Any]] = {
        "model": info.name,
        "fingerprint": info.fingerprint,
        "block": block.name,
        "kind": block.kind,
        "update": measures.update_kind(m),
        "capture": key.capture if key else "",
        "flags": flags,
        "status": _statuses(readings, retries, key.seed if key else 0, flags),
    }
    empty = np.full(count, np.nan)
    return {
        name: np.full(count, texts.get(name, ""), dtype=object)
        if described.kind == "text"
        else np.asarray(numbers.get(name, empty), dtype=np.float64)
        for name, described in BY_NAME.items()
    }


def _histories(
    info: ModelInfo, fzset: FZSet | None, block: Block, retries: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Late rise (NaN until both FZs are stored) and flags of the FZ(I) and FZ(B) that each row is read from."""
    flags = np.full(block.channels, "", dtype=object)
    late_rises = np.full((len(_NEEDED), block.channels), np.nan)
    stored = np.zeros((len(_NEEDED), block.channels), dtype=bool)
    if fzset is None:
        return late_rises[0], flags
    for number, tensor in enumerate(_NEEDED):
        target = info.target(block.name, tensor)
        for retry in np.unique(retries).tolist():
            records = fzset.fzs(target, retry=retry)
            for channel in np.flatnonzero(retries == retry).tolist():
                record = records.get(channel)
                if record is None:
                    continue
                stored[number, channel] = True
                late_rises[number, channel] = record.late_rise
                if record.flag:
                    flags[channel] = "; ".join(filter(None, (flags[channel], f"{tensor}: {record.flag}")))
    larger = np.fmax(late_rises[0], late_rises[1])
    return np.where(stored.all(axis=0), larger, np.nan), flags


def _statuses(readings: _Readings, retries: NDArray[np.int64], seed: int, flags: NDArray[Any]) -> NDArray[Any]:
    statuses = np.full(len(retries), "ok", dtype=object)
    has_in, has_block = readings.measured["in"], readings.measured["block"]
    statuses[~has_in & has_block] = "missing in"
    statuses[has_in & ~has_block] = "missing block"
    statuses[~has_in & ~has_block] = "missing in,block"
    finite = np.isfinite(readings.values["out_on_in"]) & np.isfinite(readings.values["out_on_block"])
    for row in np.flatnonzero(readings.undefined).tolist():
        seeds = ", ".join(str(seed + n) for n in range(retries[row] + 1))
        reason = "neither FZ excites out" if finite[row] else "an activation is not finite"
        noted = f"; {flags[row]}" if flags[row] else ""
        statuses[row] = f"undefined: {reason} (seed{'s' if retries[row] else ''} {seeds}{noted})"
    return statuses
