"""How sure a verdict is: the probability that most FZ seeds would call a channel scale invariant.

FZs of another seed are other images, and a channel near a threshold passes with one and fails with the next. Each seed
gives a channel three margins, one a scale criterion (arXiv 2407.05340):

    (2)  log M, which has to lie within log 1.5 of 0;
    (3)  (B(S(FZ(I))) - relu(B(FZ(I)))) / B(FZ(B)), which has to be positive;
    (4)  (I(S-(FZ(B))) - relu(I(FZ(B)))) / I(FZ(I)), likewise.

A seed meets all three where the smallest of its margins is positive, each in units of what seeds usually differ by in
it; so most of all seeds meet them where the median of their smallest margins is positive. That one number is what the
model is of: how the three depend on each other, which they do (one seed's noise in (2) and (4) correlates by 0.4 to
0.7), is in it and need not be known.

Over seeds a channel's smallest margin varies normally about the channel's own, by the same deviation (the noise) in all
channels of a block. How those own ones are spread over the block is found from all its channels, without assuming a
form: the mixing distribution that makes what was seen likeliest (Laird, "Nonparametric maximum likelihood estimation of
a mixing distribution", 1978), by the EM algorithm. Many more channels lie a little below a threshold than a little
above, so one that is seen a little above has often come from below. By Bayes' rule with that distribution, the
probability is how much of a channel's own smallest margin lies above 0.

For the kind of update the same is asked of log M alone, with a normal spread.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamscope.core.measures.criteria import MIX_MAX, UPDATE_BOUND, relu
from streamscope.core.measures.stability import distinct
from streamscope.core.model.arrays import Float64Array

SURE = 0.95
"""From this probability on the verdict is yes, from its complement down it is no."""
UNITS = (0.11, 0.04, 0.06)
"""Deviation of each margin over seeds in 1.1, 2.0 and 2.1 of ResNet18, 320 channels, by the centred protocol."""
USUAL_NOISE = 0.8
"""Deviation of the smallest margin over seeds, of channels near a threshold, where a block does not say: that of these.
The smaller of two things of one scale varies less than either."""
USUAL_CENTRE, USUAL_SPREAD = -2.5, 2.5
"""Of the channels' own smallest margins over a block, likewise: where the estimate of their distribution begins."""
USUAL_MIX_SPREAD = 0.5
"""Deviation of the channels' own mean log M over a block, likewise."""
USUAL_WEIGHT = 8
"""How many pairs of seeds of a block the usual noise weighs as much as, and how many channels the usual spread."""
LOWEST, HIGHEST, STEP = -6.0, 4.0, 0.25
"""Smallest margins beyond are taken for these: how far beyond does not matter. Between, the estimate has a point a
step, none of them at 0."""
ROUNDS = 30
"""Of the EM algorithm. More would follow a block's channels into peaks that are chance."""
_BOUND = math.log(UPDATE_BOUND)
_CLAMP = math.log(MIX_MAX)


@dataclass(frozen=True)
class Decision:
    """What several seeds together say of each channel of a block; (C,) arrays."""

    seeds: Float64Array
    """Pairs of FZs (one a seed) that have a verdict; 0 where there is none."""
    agreement: Float64Array
    """Share of them with the verdict of most of them; NaN where there is none."""
    probability: Float64Array
    """That most of all seeds would call the channel scale invariant; NaN where no seed has all three margins."""
    mix_ratio: Float64Array
    """M over the seeds: the geometric mean, each clamped to 1/5 to 5; NaN where no seed has all three margins."""
    update_probability: Float64Array
    """Of the likeliest kind of update: that the mean over all seeds is of that kind. NaN as `mix_ratio`."""


def margins(
    mix_ratio: ArrayLike,
    block_on_in_up: ArrayLike,
    block_on_in: ArrayLike,
    block_on_block: ArrayLike,
    in_on_block_down: ArrayLike,
    in_on_block: ArrayLike,
    in_on_in: ArrayLike,
) -> Float64Array:
    """The three margins (…, 3) of arrays (…) of equal shapes; NaN where unknown or a denominator is not positive.

    M is clamped to 1/5 to 5: how far beyond does not matter.
    """
    ratio = np.asarray(mix_ratio, dtype=np.float64)
    with np.errstate(divide="ignore"):
        mix = np.clip(np.log(ratio), -_CLAMP, _CLAMP)
    block = _excess(block_on_in_up, block_on_in, block_on_block)
    input_ = _excess(in_on_block_down, in_on_block, in_on_in)
    return np.stack([mix, block, input_], axis=-1)


def _excess(scaled: ArrayLike, plain: ArrayLike, own: ArrayLike) -> Float64Array:
    denominator = np.asarray(own, dtype=np.float64)
    positive = denominator > 0
    excess = np.asarray(scaled, dtype=np.float64) - relu(plain)
    return np.where(positive, excess / np.where(positive, denominator, 1.0), np.nan)


def decide(found: Float64Array, scale_invariant: ArrayLike, fz_seed: ArrayLike) -> Decision:
    """Of margins (S, C, 3) and verdicts (S, C) of S sets of one block; `fz_seed` (S, C) as `stability` takes it."""
    invariant, seed = (np.asarray(values, dtype=np.float64) for values in (scale_invariant, fz_seed))
    counts = distinct(invariant, seed)
    seeds = counts.sum(axis=0).astype(np.float64)
    yes = (counts & (invariant == 1)).sum(axis=0)
    with np.errstate(invalid="ignore"):
        agreement = np.maximum(yes, seeds - yes) / np.where(seeds > 0, seeds, np.nan)
    known = counts & ~np.isnan(found).any(axis=-1)
    rows = np.asarray(known.any(axis=0))
    probability, ratio, likeliest = (np.full(len(rows), np.nan) for _ in range(3))
    if rows.any():
        probability[rows] = _positive(_smallest(found[:, rows]), known[:, rows])
        mix = _MixMeans.of(found[:, rows, 0], known[:, rows])
        ratio[rows] = np.exp(mix.seen)
        likeliest[rows] = _likeliest_update(mix)
    return Decision(seeds, agreement, probability, ratio, likeliest)


def joined(decisions: Sequence[Decision]) -> Decision:
    """Those of several blocks as one, in their order."""
    return Decision(
        *(
            np.concatenate([getattr(decision, part) for decision in decisions])
            for part in ("seeds", "agreement", "probability", "mix_ratio", "update_probability")
        )
    )


def _smallest(found: Float64Array) -> Float64Array:
    """(S, C): the smallest of margins (S, C, 3), in units of what they usually vary by; NaN where one is."""
    slack = np.stack([_BOUND - np.abs(found[..., 0]), found[..., 1], found[..., 2]], axis=-1)
    return np.asarray(np.clip((slack / UNITS).min(axis=-1), LOWEST, HIGHEST))


def _positive(margin: Float64Array, known: NDArray[np.bool_]) -> Float64Array:
    """(C,): the probability that a channel's own margin is positive, of margins (S, C) of which some are `known`.

    One at least of every channel.
    """
    count = known.sum(axis=0)
    seen = _mean(margin, known)
    error = _noise(margin, known, seen, np.abs(seen), USUAL_NOISE) / np.sqrt(count)
    # Nothing finer than the steps of the estimate can be told.
    likelihood = np.exp(-0.5 * ((seen[:, None] - _OWN) / np.maximum(error, STEP / 2)[:, None]) ** 2)
    share = _USUAL_SHARE
    for _ in range(ROUNDS):
        responsible = share * (likelihood.T @ (1 / (likelihood @ share)))
        share = (responsible + USUAL_WEIGHT * _USUAL_SHARE) / (len(seen) + USUAL_WEIGHT)
    above = likelihood[:, _OWN > 0] @ share[_OWN > 0]
    return np.asarray(above / (likelihood @ share))


def _mean(margin: Float64Array, known: NDArray[np.bool_]) -> Float64Array:
    """(C,): over the seeds that are known."""
    return np.asarray(np.where(known, margin, 0.0).sum(axis=0) / known.sum(axis=0))


def _noise(
    margin: Float64Array, known: NDArray[np.bool_], seen: Float64Array, distance: Float64Array, usual: float
) -> float:
    """Deviation over seeds of one margin (S, C): of the half of the channels that lie nearest to its threshold.

    What lies far from it is decided anyway, and often varies more. The usual noise counts as `USUAL_WEIGHT` pairs.
    """
    several = known.sum(axis=0) > 1
    near = several & (distance <= np.median(distance[several])) if several.any() else several
    squares = np.where(known, (margin - seen) ** 2, 0.0)[:, near].sum()
    freedom = (known[:, near].sum(axis=0) - 1).sum()
    return math.sqrt((squares + USUAL_WEIGHT * usual**2) / (freedom + USUAL_WEIGHT))


@dataclass(frozen=True)
class _MixMeans:
    """What is known of the channels' own means of log M, (C,) arrays: normal distributions."""

    seen: Float64Array
    """The mean over the seeds there are."""
    centre: Float64Array
    deviation: Float64Array

    @classmethod
    def of(cls, margin: Float64Array, known: NDArray[np.bool_]) -> _MixMeans:
        """From (S, C) margins, of which some are `known`, one at least of every channel."""
        seen = _mean(margin, known)
        error = _noise(margin, known, seen, np.abs(np.abs(seen) - _BOUND), UNITS[0]) ** 2 / known.sum(axis=0)
        # Of the channels' own means: that of the means seen, less what the seeds add to it.
        between = max(float(np.var(seen) - error.mean()), 0.0)
        usual = USUAL_WEIGHT * USUAL_MIX_SPREAD**2
        spread = (len(seen) * between + usual) / (len(seen) + USUAL_WEIGHT)
        weight = spread / (spread + error)
        return cls(seen, weight * seen + (1 - weight) * seen.mean(), np.sqrt(weight * error))


def _likeliest_update(mix: _MixMeans) -> Float64Array:
    """(C,): the probability of the likeliest kind of update, log M having the mean `mix`."""
    below = _normal((-_BOUND - mix.centre) / mix.deviation)
    above = _normal((mix.centre - _BOUND) / mix.deviation)
    return np.maximum(np.maximum(below, above), 1 - below - above)


def _normal(x: Float64Array) -> Float64Array:
    """The standard normal distribution function. scipy has it, but takes most of a second to import."""
    return 0.5 * (1 + np.asarray(_erf(x / math.sqrt(2)), dtype=np.float64))


_erf = np.frompyfunc(math.erf, 1, 1)
_OWN = np.arange(LOWEST + STEP / 2, HIGHEST, STEP)
"""The values that a channel's own smallest margin may have."""
_USUAL_SHARE = np.exp(-0.5 * ((_OWN - USUAL_CENTRE) / USUAL_SPREAD) ** 2)
_USUAL_SHARE /= _USUAL_SHARE.sum()


def verdict(of: ArrayLike) -> NDArray[Any]:
    """`yes`, `no` or `undecided` of probabilities, "" where they are NaN; an object array of str."""
    likely = np.asarray(of, dtype=np.float64)
    said = np.full(likely.shape, "", dtype=object)
    said[likely >= SURE] = "yes"
    said[likely <= 1 - SURE] = "no"
    said[(likely > 1 - SURE) & (likely < SURE)] = "undecided"
    return said
