"""All pairs of a block: what each B says to every FZ(I), and each I to every FZ(B); a channel's gains beside those."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from streamscope.core.measures import criteria
from streamscope.core.measures.pairs import pair_null
from streamscope.core.model.arrays import Float64Array
from streamscope.core.model.blocks import READ, Tensor
from streamscope.core.store.sets.fz_set import FZSet
from streamscope.core.store.sets.readings import Readings


@dataclass(frozen=True)
class PairAnswers:
    """Centre activations of n channels of one block on each other's FZs: (n, n) tables, row d column c."""

    channels: NDArray[np.int64]
    """Whose FZ(I) and FZ(B) are both measured, in order."""
    block_on_in: Float64Array
    """B_c(FZ(I_d))."""
    block_on_in_up: Float64Array
    """B_c(S(FZ(I_d)))."""
    in_on_block: Float64Array
    """I_d(FZ(B_c))."""
    in_on_block_down: Float64Array
    """I_d(S-(FZ(B_c)))."""


def pair_answers(fzset: FZSet, block: str) -> PairAnswers:
    """Of the FZs that the table's rows are read from. Reads all activations of the block: slow for a wide one."""
    readings = Readings(fzset, [fzset.info.block(block)])
    channels = np.flatnonzero(readings.complete)
    retries = readings.retries[channels]
    on_in, on_in_up = _answers(fzset, block, "in", "block", retries, channels)
    on_block, on_block_down = _answers(fzset, block, "block", "in", retries, channels)
    # There rows are FZ(B_c) and columns I_d.
    return PairAnswers(channels, on_in, on_in_up, on_block.T, on_block_down.T)


def pair_gains(fzset: FZSet, readings: Readings) -> tuple[NDArray[np.int64], Float64Array, Float64Array]:
    """The channels of a block that pairs are made of, and both gains of each pair, (n, n): row d, column c is of B of
    channel c and I of channel d; the diagonals are the channels' own. `readings` are the block's."""
    v, answers = readings.values, pair_answers(fzset, readings.blocks[0].name)
    channels = answers.channels
    return (
        channels,
        criteria.block_gain(answers.block_on_in_up, answers.block_on_in, v["block_on_block"][channels]),
        criteria.input_gain(answers.in_on_block_down, answers.in_on_block, v["in_on_in"][channels, None]),
    )


def keep_pairs(fzset: FZSet, block: str) -> bool:
    """Sets a block's gains against those of pairs and keeps it, unless what is kept is of the same measures.

    False where it was, or there are no two channels to pair. Raises StoreError, DiskFullError.
    """
    readings = _without_pairs(fzset, block)
    if readings is None:
        return False
    channels, block_gain, input_gain = pair_gains(fzset, readings)
    found = pair_null(block_gain, input_gain)
    reached = np.full(len(readings), np.nan)
    reached[channels] = found.reached
    fzset.keep_pairs(block, readings.digest(0), replace(found, reached=reached))
    return True


def lacks_pairs(fzset: FZSet, block: str) -> bool:
    """Whether pairs could be told of a block and are not kept, or are of other measures than there are now."""
    return _without_pairs(fzset, block) is not None


def _without_pairs(fzset: FZSet, block: str) -> Readings | None:
    """The readings of a block that lacks pairs."""
    readings = Readings(fzset, [fzset.info.block(block)])
    if readings.complete.sum() < 2:
        return None
    kept = fzset.pairs(block)
    return readings if kept is None or kept.measures != readings.digest(0) else None


def _answers(
    fzset: FZSet, block: str, on: Tensor, read: Tensor, retries: NDArray[np.int64], channels: NDArray[np.int64]
) -> tuple[Float64Array, Float64Array]:
    """(n, n) plain and rescaled: row d is FZ(`on`) of channels[d], column c what tensor `read` of channels[c] says."""
    plain, scaled = (np.full((len(channels), len(channels)), np.nan) for _ in range(2))
    for retry in np.unique(retries).tolist():
        measured = fzset.measured(block, on, retry)
        if measured is None or measured.scaled is None:
            continue
        row_of = {channel: row for row, channel in enumerate(measured.channels.tolist())}
        rows = [n for n, channel in enumerate(channels.tolist()) if retries[n] == retry and channel in row_of]
        sources = [row_of[channel] for channel in channels[rows].tolist()]
        axis = READ.index(read)
        plain[rows] = measured.plain[sources, axis][:, channels]
        scaled[rows] = measured.scaled[sources, axis][:, channels]
    return plain, scaled
