"""How sure a verdict is: the probability that most FZ seeds would call a channel scale invariant.

FZs of another seed are other images, and a channel near a threshold passes with one and fails with the next. Each seed
gives a channel three margins, one a scale criterion (arXiv 2407.05340):

    (2)  log M, which has to lie within log 1.5 of 0;
    (3)  (B(S(FZ(I))) - relu(B(FZ(I)))) / B(FZ(B)), which has to be positive;
    (4)  (I(S-(FZ(B))) - relu(I(FZ(B)))) / I(FZ(I)), likewise.

A random-effects model, one for each margin and block: over seeds a margin varies normally about the channel's own
mean, by the same deviation (the noise) in all channels, and those means vary normally over the block's channels. So a
channel's mean is known to within a normal distribution that narrows with every seed, and what is asked is how much of
it lies where more than half of all seeds would meet all three criteria.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamscope.core.measures.criteria import MIX_MAX, UPDATE_BOUND, relu
from streamscope.core.measures.stability import distinct
from streamscope.core.model.arrays import Float64Array

SURE = 0.95
"""From this probability on the verdict is yes, from its complement down it is no."""
USUAL_NOISE = (0.11, 0.04, 0.06)
"""Deviation of each margin over seeds where a block does not say: that of 1.1, 2.0 and 2.1 of ResNet18, 320 channels,
by the centred protocol."""
USUAL_SPREAD = (0.5, 0.1, 0.15)
"""Deviation of the channels' own means over a block, of the same blocks."""
USUAL_WEIGHT = 8
"""How many pairs of seeds of a block the usual noise weighs as much as, and how many channels the usual spread."""
NODES = 15
"""Points of equal probability that stand for the distribution of each mean."""
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
        means = [_Means.of(found[:, rows, number], known[:, rows], number) for number in range(found.shape[-1])]
        probability[rows] = _passing(means)
        ratio[rows] = np.exp(means[0].seen)
        likeliest[rows] = _likeliest_update(means[0])
    return Decision(seeds, agreement, probability, ratio, likeliest)


def joined(decisions: Sequence[Decision]) -> Decision:
    """Those of several blocks as one, in their order."""
    return Decision(
        *(
            np.concatenate([getattr(decision, part) for decision in decisions])
            for part in ("seeds", "agreement", "probability", "mix_ratio", "update_probability")
        )
    )


@dataclass(frozen=True)
class _Means:
    """What is known of the channels' own means of one margin, (C,) arrays: normal distributions."""

    seen: Float64Array
    """The mean over the seeds there are."""
    centre: Float64Array
    deviation: Float64Array
    noise: float
    """Deviation of the margin over seeds."""

    @classmethod
    def of(cls, margin: Float64Array, known: NDArray[np.bool_], number: int) -> _Means:
        """From (S, C) margins, of which some are `known`, one at least of every channel."""
        count = known.sum(axis=0)
        seen = np.where(known, margin, 0.0).sum(axis=0) / count
        noise = _noise(margin, known, seen, number)
        error = noise**2 / count
        # Of the channels' own means: that of the means found, less what the seeds add to it.
        between = max(float(np.var(seen) - error.mean()), 0.0)
        usual = USUAL_WEIGHT * USUAL_SPREAD[number] ** 2
        spread = (len(seen) * between + usual) / (len(seen) + USUAL_WEIGHT)
        weight = spread / (spread + error)
        return cls(seen, weight * seen + (1 - weight) * seen.mean(), np.sqrt(weight * error), noise)

    @property
    def points(self) -> Float64Array:
        """(C, NODES): points of equal probability."""
        return np.asarray(self.centre[:, None] + self.deviation[:, None] * _STANDARD_POINTS)


def _noise(margin: Float64Array, known: NDArray[np.bool_], seen: Float64Array, number: int) -> float:
    """Deviation over seeds of one margin (S, C): of the half of the channels that lie nearest to its threshold.

    What lies far from it is decided anyway, and often varies more. The usual noise counts as `USUAL_WEIGHT` pairs.
    """
    distance = np.abs(np.abs(seen) - _BOUND) if number == 0 else np.abs(seen)
    several = known.sum(axis=0) > 1
    near = several & (distance <= np.median(distance[several])) if several.any() else several
    squares = np.where(known, (margin - seen) ** 2, 0.0)[:, near].sum()
    freedom = (known[:, near].sum(axis=0) - 1).sum()
    return math.sqrt((squares + USUAL_WEIGHT * USUAL_NOISE[number] ** 2) / (freedom + USUAL_WEIGHT))


def _passing(means: Sequence[_Means]) -> Float64Array:
    """(C,): the probability of those means by which more than half of all seeds meet all criteria."""
    mix, block, input_ = (one.points for one in means)
    # Seeds meet (3), or (4), more often than not where its mean is above 0: elsewhere no combination of points passes,
    # and most channels are spared the distribution function and the combinations.
    rows = (block.max(axis=1) > 0) & (input_.max(axis=1) > 0)
    noise = [one.noise for one in means]
    met_mix = _normal((_BOUND - mix[rows]) / noise[0]) - _normal((-_BOUND - mix[rows]) / noise[0])
    met_block, met_input = _normal(block[rows] / noise[1]), _normal(input_[rows] / noise[2])
    all_met = met_mix[:, :, None, None] * met_block[:, None, :, None] * met_input[:, None, None, :]
    found = np.zeros(len(rows))
    found[rows] = (all_met > 0.5).mean(axis=(1, 2, 3))
    return found


def _likeliest_update(mix: _Means) -> Float64Array:
    """(C,): the probability of the likeliest kind of update, log M having the mean `mix`."""
    below = _normal((-_BOUND - mix.centre) / mix.deviation)
    above = _normal((mix.centre - _BOUND) / mix.deviation)
    return np.maximum(np.maximum(below, above), 1 - below - above)


def _normal(x: Float64Array) -> Float64Array:
    """The standard normal distribution function. scipy has it, but takes most of a second to import."""
    return 0.5 * (1 + np.asarray(_erf(x / math.sqrt(2)), dtype=np.float64))


_erf = np.frompyfunc(math.erf, 1, 1)
_STANDARD_POINTS = np.array([NormalDist().inv_cdf((k + 0.5) / NODES) for k in range(NODES)])


def verdict(of: ArrayLike) -> NDArray[Any]:
    """`yes`, `no` or `undecided` of probabilities, "" where they are NaN; an object array of str."""
    likely = np.asarray(of, dtype=np.float64)
    said = np.full(likely.shape, "", dtype=object)
    said[likely >= SURE] = "yes"
    said[likely <= 1 - SURE] = "no"
    said[(likely > 1 - SURE) & (likely < SURE)] = "undecided"
    return said
