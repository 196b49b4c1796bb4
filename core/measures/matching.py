"""Control sets for a set of chosen channels: matched one to one on activation within a caliper, and random ones.

Two channels are as far apart as the larger of two differences, of the logarithms of the mean and of the variance over
the images of their activation in the stream, each in deviations of that logarithm. A stream without a ReLU has channels
whose mean is negative; there the means themselves are compared. The caliper is 0.4 deviations, which removes 95 % of
the bias of a covariate (Cochran and Rubin, "Controlling bias in observational studies: a review", Sankhya A 35, 1973).
With 0.2, which removes 98 %, ten sets for 16 of 128 channels of ResNet18's 2.1 share 70 % of their channels; with 0.4
they share 15 %, as random sets do. No accuracy is looked at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamscope.core.errors import UsageError
from streamscope.core.model.arrays import Float64Array

CALIPER = 0.4
"""Deviations of either logarithm that a control may be off its channel."""
BALANCED = 0.1
"""Standardised difference up to which two groups are called balanced (Austin, Statistics in Medicine 28, 2009)."""
ALIKE = 0.5
"""Correlation of control sets above which they are not counted as if each were a trial of its own."""
_FLOOR = 1e-3
"""Of the block's median of positive values: what is smaller counts as that, so that dead channels are alike, and has no
part in the deviation."""
_SAME = 1e-9
"""A deviation of logarithms that is rounding alone."""
_TRIES = 12
"""Draws of a control set that is not there yet, chance weighing twice as much in each."""
_SWEEPS = 5
"""How often all sets are drawn anew beside the others, at most."""

ChannelSets = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Balance:
    """For each control set the standardised mean difference, chosen less controls, of what channels are matched on
    (`Activity.points`): in deviations, pooled of the chosen channels and all others."""

    mean: tuple[float, ...]
    variance: tuple[float, ...]


@dataclass(frozen=True)
class Matching:
    """How well control sets match the chosen channels."""

    caliper: float
    outside: tuple[int, ...]
    """Chosen channels for which no control is within the caliper, or none that others do not need more."""
    others: int
    """Channels that were not chosen."""
    widest: float
    """Deviations up to which the caliper was widened for the farthest of them; the caliper itself where it kept."""
    balance: Balance
    signed: bool = False
    """Matched on the mean itself, not its logarithm: some channel's is negative."""


@dataclass(frozen=True)
class RandomSets:
    """Distinct sets of other channels, drawn without looking at anything, each as large as the chosen one."""

    sets: ChannelSets
    balance: Balance


class Activity:
    """What channels are matched on: `points` (C, 2), means and variances in deviations, as logarithms; the means as
    they are where one of them is negative, `signed`."""

    def __init__(self, means: ArrayLike, variances: ArrayLike, chosen: Sequence[int]) -> None:
        """`means` and `variances` (C,) are those of the centre activation in the stream over the images."""
        mean, variance = np.asarray(means, dtype=np.float64), np.asarray(variances, dtype=np.float64)
        self.signed = bool((mean < 0).any())
        self.chosen = np.array(sorted(set(chosen)))
        self.others = np.setdiff1d(np.arange(len(mean)), self.chosen)
        first = self._in_deviations(mean, np.ones(len(mean), dtype=bool)) if self.signed else self._logarithms(mean)
        self.points: Float64Array = np.stack([first, self._logarithms(variance)], axis=1)

    def _logarithms(self, values: Float64Array) -> Float64Array:
        floor = _floor(values)
        return self._in_deviations(np.log(np.maximum(values, floor)), values > floor)

    def _in_deviations(self, values: Float64Array, alive: NDArray[np.bool_]) -> Float64Array:
        return values / _pooled_deviation([values[group][alive[group]] for group in (self.chosen, self.others)])

    @property
    def distance(self) -> Float64Array:
        """(chosen, others), deviations."""
        differences = np.abs(self.points[self.chosen, None] - self.points[None, self.others])
        return np.asarray(differences.max(axis=2))

    def balance(self, sets: ChannelSets) -> Balance:
        own = self.points[self.chosen].mean(axis=0)
        differences = [own - self.points[list(channels)].mean(axis=0) for channels in sets]
        return Balance(tuple(float(d[0]) for d in differences), tuple(float(d[1]) for d in differences))


def check_controls(channels: int, chosen: int, count: int) -> None:
    """Raises UsageError unless the channels not chosen, of `channels`, make a set as large."""
    others = channels - chosen
    if count < 1:
        raise UsageError(f"controls must be 1 or more, not {count}")
    if others < chosen:
        raise UsageError(
            f"{chosen} of {channels} channels are chosen: the {others} others do not make a control set of that size; "
            "choose fewer channels"
        )


def matched_sets(activity: Activity, count: int, seed: int) -> tuple[ChannelSets, Matching]:
    """Up to `count` distinct control sets that overlap as little as they can; fewer where the caliper allows fewer.

    Each set has one control for every chosen channel, in the order of these.
    First the caliper is widened, for the channels that need it, by as little in all as lets every chosen channel have
    a control of its own. Then each set is, of all matchings within, one that has fewest channels in common with the
    sets before it, drawn at random among those; and each is drawn anew beside all others while that lowers the overlap.
    """
    distance = activity.distance
    channels = np.arange(len(distance))
    nearest = distance[channels, _assign(np.maximum(distance - CALIPER, 0))]
    width = np.maximum(nearest, CALIPER)
    allowed = distance <= width[:, None]
    generator = np.random.default_rng([seed, 0])
    drawn: list[NDArray[np.int64]] = []
    while len(drawn) < count:
        another = _draw(allowed, drawn, generator)
        if another is None:
            break
        drawn.append(another)
    for _ in range(_SWEEPS):
        if not _draw_anew(allowed, drawn, generator):
            break
    sets = tuple(tuple(activity.others[control].tolist()) for control in drawn)
    outside = tuple(activity.chosen[nearest > CALIPER].tolist())
    balance = activity.balance(sets)
    return sets, Matching(CALIPER, outside, len(activity.others), float(width.max()), balance, activity.signed)


def random_sets(activity: Activity, count: int, seed: int) -> RandomSets:
    """Up to `count` distinct random sets; fewer where the other channels do not make so many."""
    generator = np.random.default_rng([seed, 1])
    size = len(activity.chosen)
    wanted = min(count, math.comb(len(activity.others), size))
    found: dict[tuple[int, ...], None] = {}
    while len(found) < wanted:
        drawn = generator.choice(activity.others, size, replace=False)
        found[tuple(sorted(drawn.tolist()))] = None
    sets = tuple(found)
    return RandomSets(sets, activity.balance(sets))


def shared(sets: Sequence[Sequence[int]]) -> float:
    """Mean over all pairs of sets of the share of their channels that are common; NaN for fewer than two sets."""
    pairs = math.comb(len(sets), 2)
    if not pairs:
        return math.nan
    _, uses = np.unique(np.concatenate([np.array(channels) for channels in sets]), return_counts=True)
    return float((uses * (uses - 1) / 2).sum() / (pairs * len(sets[0])))


def correlation(sets: Sequence[Sequence[int]], others: int) -> float:
    """Mean correlation of two sets' sums of what each of their k channels does, of which there are `others` in all.

    That of sums over sets that share a part s, where it is not known which channel does what: (s - k / others) /
    (1 - k / others), 0 for sets that share as much as random ones. NaN for fewer than two sets.
    """
    chance = len(sets[0]) / others
    return (shared(sets) - chance) / (1 - chance) if len(sets) > 1 else math.nan


def independent(sets: Sequence[Sequence[int]], others: int) -> float:
    """As how many independent ones n sets count: n / (1 + (n - 1) correlation), as the effective size of a clustered
    sample (Kish, "Survey Sampling", 1965); n where they share less than random ones."""
    n = len(sets)
    return n / (1 + (n - 1) * max(correlation(sets, others), 0.0)) if n > 1 else float(n)


def _floor(values: Float64Array) -> float:
    positive = values[values > 0]
    return _FLOOR * float(np.median(positive)) if len(positive) else 1.0


def _pooled_deviation(groups: Sequence[Float64Array]) -> float:
    """Root mean of the groups' variances, of those that have one; 1 where nothing varies."""
    variances = [np.var(group, ddof=1) for group in groups if len(group) > 1]
    deviation = math.sqrt(np.mean(variances)) if variances else 0.0
    return deviation if deviation > _SAME else 1.0


def _assign(cost: Float64Array) -> NDArray[np.int64]:
    """The column of each row in the cheapest one-to-one assignment."""
    from scipy.optimize import linear_sum_assignment  # Slow to import, which commands that read only must not pay.

    columns: NDArray[np.int64] = linear_sum_assignment(cost)[1]
    return columns


def _uses(columns: int, drawn: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """In how many of the sets drawn each control is, (columns,)."""
    return np.bincount(np.concatenate(drawn) if drawn else np.empty(0, np.int64), minlength=columns)


def _draw(
    allowed: NDArray[np.bool_], drawn: Sequence[NDArray[np.int64]], generator: np.random.Generator
) -> NDArray[np.int64] | None:
    """A set that shares fewest channels with those `drawn`; None where chance finds none that differs from each."""
    rows, columns = allowed.shape
    uses = _uses(columns, drawn)
    present = {frozenset(control.tolist()) for control in drawn}
    # At first chance decides between equals only: all of a set's draws together are worth less than one channel.
    for attempt in range(_TRIES):
        chance = generator.random(allowed.shape) * 2**attempt / (rows + 1)
        control = _assign(np.where(allowed, uses + chance, np.inf))
        if frozenset(control.tolist()) not in present:
            return control
    return None


def _draw_anew(allowed: NDArray[np.bool_], drawn: list[NDArray[np.int64]], generator: np.random.Generator) -> bool:
    """Replaces each set by one that shares less with the others, if there is one; whether any was replaced."""
    lowered = False
    for index in range(len(drawn)):
        others = drawn[:index] + drawn[index + 1 :]
        uses = _uses(allowed.shape[1], others)
        another = _draw(allowed, others, generator)
        if another is not None and uses[another].sum() < uses[drawn[index]].sum():
            drawn[index] = another
            lowered = True
    return lowered
