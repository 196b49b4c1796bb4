"""Mix ratio and scale criteria on real images: MEIs in place of FZs (arXiv 2407.05340, A.3)."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from streamscope.core.measures import criteria
from streamscope.core.measures.extremes import MEIS, NONE
from streamscope.core.model.arrays import Float32Array, Float64Array


@dataclass(frozen=True, eq=False)
class MeiActivations:
    """A channel's own centre activations on its MEIs, each (9, C); NaN where there is no such image.

    `x_on_y` is tensor x on the MEIs of tensor y; `excited_*` is what those MEIs were ranked by.
    """

    excited_in: Float32Array
    excited_block: Float32Array
    out_on_in: Float32Array
    out_on_block: Float32Array
    block_on_in: Float32Array
    block_on_in_up: Float32Array
    in_on_block: Float32Array
    in_on_block_down: Float32Array


@dataclass(frozen=True, eq=False)
class RobustMeasures:
    """M and the scale criteria by MEIs, each (C,): truth values 1 or 0, NaN where empty."""

    mix_ratio: Float64Array
    meets_mix: Float64Array
    meets_block: Float64Array
    meets_input: Float64Array
    scale_invariant: Float64Array
    images: Float64Array
    """Images of positive activation behind each mean: 9, or fewer (of `in` or `block`, whichever has less) and all
    else is empty."""

    @classmethod
    def names(cls) -> tuple[str, ...]:
        return tuple(field.name for field in fields(cls))


def robust_measures(found: MeiActivations) -> RobustMeasures:
    """Each activation is rectified on every image, then averaged over the 9.

    A channel of which `in` or `block` has fewer than 9 images of positive activation is empty.
    """
    images = np.minimum((found.excited_in > 0).sum(axis=0), (found.excited_block > 0).sum(axis=0))
    enough = images == MEIS

    def mean(values: Float32Array) -> Float64Array:
        return np.where(enough, criteria.relu(values).mean(axis=0), np.nan)

    m = criteria.mix_ratio(mean(found.out_on_in), mean(found.out_on_block))
    verdicts = (
        criteria.meets_mix(m),
        criteria.meets_block(mean(found.block_on_in_up), mean(found.block_on_in)),
        criteria.meets_input(mean(found.in_on_block_down), mean(found.in_on_block)),
    )
    return RobustMeasures(m, *verdicts, criteria.scale_invariant(*verdicts), images.astype(np.float64))


def own_activations(matrix: Float32Array, rows: NDArray[np.int64]) -> Float32Array:
    """Of activations (n, C) those of each channel on its own images `rows` (k, C); NaN where a row is -1."""
    values = np.asarray(matrix[np.maximum(rows, 0), np.arange(rows.shape[1])], dtype=np.float32)
    return np.where(rows == NONE, np.float32(np.nan), values)
