"""Mix ratio, scale criteria, gains and scale metric of channels: pure functions of activations (arXiv 2407.05340).

`x_on_y` is the centre activation in tensor x for FZ(y), with `out` before activation. Every function takes arrays (or
single numbers) of any equal shape, one entry a channel, and gives an array of that shape; NaN means unknown. Truth
values are floats, 1 or 0, so that they can be unknown too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamscope.core.model.arrays import Float64Array

UPDATE_BOUND = 1.5
"""A channel mixes between 1/1.5 and 1.5 (the paper's equation 2)."""
MIX_MAX = 5.0
"""M is clamped to [0, 5]."""
MAX_RETRIES = 2
"""How often both FZs of a row with undefined M are optimised again, each time with the next seed."""
LATE_SHARE = 0.25
"""`late_rise` looks at the last quarter of the steps."""


def relu(x: ArrayLike) -> Float64Array:
    return np.maximum(np.asarray(x, dtype=np.float64), 0.0)


def is_undefined(out_on_in: ArrayLike, out_on_block: ArrayLike) -> NDArray[np.bool_]:
    """True where neither O(FZ(I)) nor O(FZ(B)) is positive, so that M says nothing; False where one is unknown."""
    return np.asarray((np.asarray(out_on_in) <= 0) & (np.asarray(out_on_block) <= 0))


def mix_ratio(out_on_in: ArrayLike, out_on_block: ArrayLike) -> Float64Array:
    """M = O(FZ(I)) / O(FZ(B)), in [0, 5].

    5 where only O(FZ(I)) is positive, 0 where only O(FZ(B)) is, NaN where neither is or one is unknown.
    """
    on_in = np.asarray(out_on_in, dtype=np.float64)
    on_block = np.asarray(out_on_block, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = np.clip(on_in / on_block, 0.0, MIX_MAX)
    ratio = np.where(on_block <= 0, MIX_MAX, np.where(on_in <= 0, 0.0, ratio))
    return np.where(is_undefined(on_in, on_block) | np.isnan(on_in) | np.isnan(on_block), np.nan, ratio)


def update_kind(m: ArrayLike) -> NDArray[Any]:
    """`overwrite` for M <= 1/1.5, `skip` for M >= 1.5, `mix` between, "" where M is NaN; an object array of str."""
    ratio = np.asarray(m, dtype=np.float64)
    kinds = np.full(ratio.shape, "", dtype=object)
    kinds[ratio <= 1 / UPDATE_BOUND] = "overwrite"
    kinds[(ratio > 1 / UPDATE_BOUND) & (ratio < UPDATE_BOUND)] = "mix"
    kinds[ratio >= UPDATE_BOUND] = "skip"
    return kinds


def meets_mix(m: ArrayLike) -> Float64Array:
    """Scale criterion 2: 1/1.5 < M < 1.5."""
    ratio = np.asarray(m, dtype=np.float64)
    return _truth((ratio > 1 / UPDATE_BOUND) & (ratio < UPDATE_BOUND), ratio)


def meets_block(block_on_in_up: ArrayLike, block_on_in: ArrayLike) -> Float64Array:
    """Scale criterion 3: B(S(FZ(I))) > relu(B(FZ(I))); the block feature is the input feature at a larger scale."""
    return _exceeds(block_on_in_up, block_on_in)


def meets_input(in_on_block_down: ArrayLike, in_on_block: ArrayLike) -> Float64Array:
    """Scale criterion 4: I(S-(FZ(B))) > relu(I(FZ(B))); the input feature is the block feature at a smaller scale."""
    return _exceeds(in_on_block_down, in_on_block)


def scale_invariant(mix: ArrayLike, block: ArrayLike, input_: ArrayLike) -> Float64Array:
    """All three scale criteria; NaN where any of them is unknown."""
    criteria = [np.asarray(c, dtype=np.float64) for c in (mix, block, input_)]
    return np.asarray(criteria[0] * criteria[1] * criteria[2])


def block_gain(block_on_in_up: ArrayLike, block_on_in: ArrayLike, block_on_block: ArrayLike) -> Float64Array:
    """(relu(B(S(FZ(I)))) - relu(B(FZ(I)))) / B(FZ(B)); NaN where the denominator is not positive."""
    return _gain(block_on_in_up, block_on_in, block_on_block)


def input_gain(in_on_block_down: ArrayLike, in_on_block: ArrayLike, in_on_in: ArrayLike) -> Float64Array:
    """(relu(I(S-(FZ(B)))) - relu(I(FZ(B)))) / I(FZ(I)); NaN where the denominator is not positive."""
    return _gain(in_on_block_down, in_on_block, in_on_in)


def scale_metric(block: ArrayLike, input_: ArrayLike) -> Float64Array:
    """SM = block gain + input gain; NaN where either is."""
    return np.asarray(np.asarray(block, dtype=np.float64) + np.asarray(input_, dtype=np.float64))


def larger_baseline(plain: ArrayLike, blurred: ArrayLike) -> Float64Array:
    """The larger of a plain reading, rectified, and that of the blurred image: what a gain beyond blur begins at.

    In place of `plain` it makes criteria and gains those beyond blur. NaN where either is unknown.
    """
    return np.maximum(relu(plain), np.asarray(blurred, dtype=np.float64))


def late_rise(trace: ArrayLike) -> Float64Array:
    """Share of the final activation gained in the last quarter of the steps, for traces of shape (…, T).

    Sample k of T is the activation after (k + 1)/T of the steps, so that the rise is (a[T-1] - a[3T/4 - 1]) / a[T-1].
    Negative where the activation fell; NaN where the final activation is not positive.
    """
    samples = np.asarray(trace, dtype=np.float64)
    count = samples.shape[-1]
    final = samples[..., -1]
    before = samples[..., max(round(count * (1 - LATE_SHARE)) - 1, 0)]
    return _rise(final, before, final)


def _truth(values: NDArray[np.bool_], *known: Float64Array) -> Float64Array:
    unknown = np.zeros(values.shape, dtype=bool)
    for operand in known:
        unknown |= np.isnan(operand)
    return np.where(unknown, np.nan, values.astype(np.float64))


def _exceeds(rescaled: ArrayLike, plain: ArrayLike) -> Float64Array:
    above = np.asarray(rescaled, dtype=np.float64)
    base = relu(plain)
    return _truth(np.asarray(above > base), above, base)


def _gain(rescaled: ArrayLike, plain: ArrayLike, own: ArrayLike) -> Float64Array:
    return _rise(relu(rescaled), relu(plain), np.asarray(own, dtype=np.float64))


def _rise(after: Float64Array, before: Float64Array, denominator: Float64Array) -> Float64Array:
    """(after - before) / denominator, NaN where the denominator is not positive."""
    positive = denominator > 0
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where(positive, (after - before) / np.where(positive, denominator, 1.0), np.nan)
