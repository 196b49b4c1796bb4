"""What follows from the activations of all images of a scan: each channel's extremes, and rho of B against I."""

from __future__ import annotations

import numpy as np

from streamscope.core.measures.extremes import highest, lowest
from streamscope.core.measures.inhibition import inhibition_rho
from streamscope.core.model.blocks import ranked_targets, ranked_tensor
from streamscope.core.store.scans.draft import ResultDraft
from streamscope.core.store.scans.scan import Extremes
from streamscope.core.watch import PhaseWatch

BLOCK_BYTES = 16 * 2**20
"""Activations ranked at a time, which takes about six times as much memory."""


def rank_and_correlate(result: ResultDraft, watch: PhaseWatch) -> None:
    """Adds the extremes of every target and the rank correlation of every block to a result in the making.

    Activations are mapped from disk: memory does not grow with the number of images, but for the ranks of one channel.
    Raises OSError.
    """
    targets = ranked_targets(result.info)
    for done, target in enumerate(targets, start=1):
        matrix = result.activations(target.block, ranked_tensor(target))
        width = max(1, BLOCK_BYTES // (4 * len(matrix)))
        parts = []
        for first in range(0, matrix.shape[1], width):
            values = np.array(matrix.T[first : first + width])
            parts.append((*highest(values), *lowest(values)))
        result.write_extremes(target, Extremes(*(np.concatenate(part, axis=1) for part in zip(*parts, strict=True))))
        watch(done, len(targets), "finding the most and least exciting images")
    for done, block in enumerate(result.info.blocks, start=1):
        input_, own = (result.activations(block.name, tensor) for tensor in ("in", "block"))
        result.write_rho(block.name, *inhibition_rho(input_, own))
        watch(done, len(result.info.blocks), "correlating in and block")
