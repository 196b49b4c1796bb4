"""Which channels are shown and in which order: an index into the frame, which stays the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from streamscope.core.table.filter import Filter
from streamscope.core.table.frame import Frame, with_marks
from streamscope.tui.table.headings import DEFAULT_SHOWN

JUDGED = frozenset({"marked", "tags", "note"})
Key = tuple[str, int]
"""(block, channel): what a cursor and a mark hold on to."""


@dataclass(frozen=True)
class Arrangement:
    """What the table shows: one block or all of the default ones, what the filter keeps, sorted by a column, and which
    columns beside the fixed ones.

    `column` None is the order of the stream.
    """

    block: str | None = None
    filter: Filter | None = None
    column: str | None = None
    descending: bool = False
    shown: tuple[str, ...] = DEFAULT_SHOWN


def arrange(frame: Frame, arrangement: Arrangement, default_blocks: Sequence[str]) -> np.ndarray:
    """Row numbers of `frame` (int64) in the order to show."""
    if arrangement.column is None:
        order = np.arange(len(frame), dtype=np.int64)
        if arrangement.descending:
            order = order[::-1]
    else:
        order = frame.order(arrangement.column, descending=arrangement.descending)
    shown = _in_blocks(frame, arrangement, default_blocks)
    if arrangement.filter is not None:
        shown &= arrangement.filter.mask(frame)
    rows: np.ndarray = order[shown[order]]
    return rows


def key_at(frame: Frame, row: int) -> Key:
    """The channel in a row of the frame."""
    return str(frame.columns["block"][row]), int(frame.columns["channel"][row])


def keys_at(frame: Frame, rows: np.ndarray) -> list[Key]:
    """The channels in rows of the frame, in their order."""
    channels = frame.columns["channel"][rows].astype(int).tolist()
    return list(zip(frame.columns["block"][rows].tolist(), channels, strict=True))


def channels_by_block(frame: Frame, index: np.ndarray) -> dict[str, list[int]]:
    """The channels of rows, by block, both in stream order."""
    chosen: dict[str, list[int]] = {}
    for block, channel in keys_at(frame, np.sort(index)):
        chosen.setdefault(block, []).append(channel)
    return chosen


def marked_rows(frame: Frame, mark: str | None = None) -> np.ndarray:
    """Row numbers of every channel with this mark, or any, in stream order."""
    marked = _text(frame, "marked")
    return np.flatnonzero(marked == mark if mark is not None else marked != "")


def judging_progress(frame: Frame, arrangement: Arrangement, default_blocks: Sequence[str]) -> tuple[int, int]:
    """How many of the channels to go through have a mark, and how many there are: those that the filter keeps now or
    kept before anything was judged, so that `not marked` does not shrink the whole as one works."""
    shown = _in_blocks(frame, arrangement, default_blocks)
    if arrangement.filter is not None:
        kept = arrangement.filter.mask(frame)
        if JUDGED.intersection(arrangement.filter.columns):
            kept |= arrangement.filter.mask(with_marks(frame, {}))
        shown &= kept
    return int(np.count_nonzero(frame.columns["marked"][shown] != "")), int(np.count_nonzero(shown))


def _in_blocks(frame: Frame, arrangement: Arrangement, default_blocks: Sequence[str]) -> np.ndarray:
    return np.isin(_text(frame, "block"), [arrangement.block] if arrangement.block else list(default_blocks))


def _text(frame: Frame, column: str) -> np.ndarray:
    return np.asarray(frame.columns[column], dtype=str)
