"""One frame of channels: everything measured, marked and missing, a row a channel. Never imports torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamscope.core.measures import criteria
from streamscope.core.model.arrays import Float64Array
from streamscope.core.model.blocks import ModelInfo, pick_blocks
from streamscope.core.table.column_values import column_values
from streamscope.core.table.columns import Column, Value, column, natural_key
from streamscope.core.table.numbers import shortest_decimals

if TYPE_CHECKING:
    from streamscope.core.store import FZSet, Scan

HISTOGRAM_EDGES = np.arange(0, criteria.MIX_MAX + 0.25, 0.25)
"""Bins of M from 0 to 5; the last takes 5 itself."""


class Judged(Protocol):
    """What a person said of one channel (`streamscope.core.store.Judgement`)."""

    @property
    def mark(self) -> str: ...
    @property
    def tags(self) -> Sequence[str]: ...
    @property
    def note(self) -> str: ...


Judgements = Mapping[tuple[str, int], Judged]
"""By (block, channel)."""


class Journal(Protocol):
    """Marks that know all judgements of a model (`streamscope.core.store.Marks`)."""

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
    """Counts of one block's channels. `computed` have both FZ(I) and FZ(B) measured, of a layer its own FZ."""

    channels: int
    computed: int
    skip: int
    mix: int
    overwrite: int
    scale_invariant: int
    histogram: tuple[int, ...]
    """Channels by M, 0 to 5 in bins of 0.25; M = 5 counts in the last."""
    whole: int = 0
    """Those of `computed` whose FZ(O) is measured too."""
    has_stream: bool = True
    """Not of a layer of a network that adds nothing to a stream: no measure of the stream is defined of that."""

    @property
    def undefined(self) -> int:
        return self.computed - self.skip - self.mix - self.overwrite if self.has_stream else 0


def build_frame(
    info: ModelInfo,
    fzset: FZSet | None,
    blocks: Sequence[str],
    marks: Journal | Judgements | None = None,
    scan: Scan | None = None,
) -> Frame:
    """Every channel of `blocks` in stream order (the default set when none is named), computed or not.

    The columns that come from real images are empty without a `scan`.

    Raises UsageError for an unknown block, StoreError where the store cannot be read.
    """
    frame = Frame(column_values(info, fzset, pick_blocks(info, blocks), scan))
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
    names = list(dict.fromkeys(frame.columns["block"].tolist()))
    number_of = {name: number for number, name in enumerate(names)}
    blocks = np.array([number_of[name] for name in frame.columns["block"].tolist()], dtype=np.int64)
    m, update = frame.columns["mix_ratio"], frame.columns["update"]
    bins = len(HISTOGRAM_EDGES) - 1
    known = ~np.isnan(m)
    places = np.clip(np.searchsorted(HISTOGRAM_EDGES, m[known], side="right") - 1, 0, bins - 1)
    histograms = np.bincount(blocks[known] * bins + places, minlength=len(names) * bins).reshape(-1, bins)

    def count(rows: NDArray[np.bool_]) -> list[int]:
        counted: list[int] = np.bincount(blocks[rows], minlength=len(names)).tolist()
        return counted

    counts = zip(
        count(np.ones(len(frame), dtype=bool)),
        count(~np.isnan(frame.columns["fz_seed"])),
        count(update == "skip"),
        count(update == "mix"),
        count(update == "overwrite"),
        count(frame.columns["scale_invariant"] == 1),
        map(tuple, histograms.tolist()),
        count(~np.isnan(frame.columns["fz_seed"]) & ~np.isnan(frame.columns["out_on_out"])),
        (not layers for layers in count(frame.columns["kind"] == "layer")),
        strict=True,
    )
    return {name: BlockSummary(*found) for name, found in zip(names, counts, strict=True)}


def top_scale_invariant(frame: Frame, count: int) -> NDArray[np.intp]:
    """Row numbers of the `count` largest scale metrics, scale-invariant channels only."""
    order = frame.order("scale_metric", descending=True)
    eligible = (frame.columns["scale_invariant"] == 1) & ~np.isnan(frame.columns["scale_metric"])
    rows: NDArray[np.intp] = order[eligible[order]]
    return rows[:count]


def _ranks(texts: NDArray[Any]) -> Float64Array:
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
        found = shortest_decimals(np.where(empty, 0, values)).tolist()
    for row in np.flatnonzero(empty).tolist():
        found[row] = None
    return found
