"""Which channels are shown and in which order: an index into the frame, which stays the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.filter import Filter
from core.table import Frame

Key = tuple[str, int]
"""(block, channel): what a cursor and a mark hold on to."""


@dataclass(frozen=True)
class Arrangement:
    """What the table shows: one block or all of the default ones, what the filter keeps, sorted by a column.

    `column` None is the order of the stream.
    """

    block: str | None = None
    filter: Filter | None = None
    column: str | None = None
    descending: bool = False


def arrange(frame: Frame, arrangement: Arrangement, default_blocks: Sequence[str]) -> np.ndarray:
    """Row numbers of `frame` (int64) in the order to show."""
    if arrangement.column is None:
        order = np.arange(len(frame), dtype=np.int64)
        if arrangement.descending:
            order = order[::-1]
    else:
        order = frame.order(arrangement.column, descending=arrangement.descending)
    shown = np.isin(_text(frame, "block"), [arrangement.block] if arrangement.block else list(default_blocks))
    if arrangement.filter is not None:
        shown &= arrangement.filter.mask(frame)
    return order[shown[order]]


def key_at(frame: Frame, row: int) -> Key:
    """The channel in a row of the frame."""
    return str(frame.columns["block"][row]), int(frame.columns["channel"][row])


def channels_by_block(frame: Frame, index: np.ndarray) -> dict[str, list[int]]:
    """The channels of rows, by block, both in stream order."""
    chosen: dict[str, list[int]] = {}
    for row in np.sort(index):
        block, channel = key_at(frame, int(row))
        chosen.setdefault(block, []).append(channel)
    return chosen


def marked_rows(frame: Frame, mark: str | None = None) -> np.ndarray:
    """Row numbers of every channel with this mark, or any, in stream order."""
    marked = _text(frame, "marked")
    return np.flatnonzero(marked == mark if mark is not None else marked != "")


def _text(frame: Frame, column: str) -> np.ndarray:
    return np.asarray(frame.columns[column], dtype=str)
