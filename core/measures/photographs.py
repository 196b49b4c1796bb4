"""Scale invariance in photographs: how I, B and O answer to a channel's best patches, smaller and larger. Pure NumPy.

Every channel of a block has patches of I, of B and of O: those of the scanned images that excite it most, one an image.
Where a patch of I is shown larger and B answers more, and one of B is shown smaller and I answers more, B detects at
twice the size what I detects. Chosen by I, patches have I peak at scale 1, and that is evidence of nothing; so each
tensor is judged on the other's patches, and against channels that did not choose them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamscope.core.measures.criteria import relu
from streamscope.core.measures.tuning import half_width_octaves
from streamscope.core.model.arrays import Float32Array, Float64Array

SCALES = tuple(2.0 ** (step / 6) for step in range(-6, 7))
"""Of a patch: 1/2 to 2 in sixths of an octave."""
UNSCALED = SCALES.index(1)
LARGER = SCALES[UNSCALED + 1 :]
"""Also those whose band a blurred patch keeps."""
FEWEST_IMAGES = 5
"""A channel that fewer images excite is empty."""
FEWEST_MATES = 5
MATE_RANGE = 0.5
"""Deviations by which a mate's reading at scale 1 differs at most."""
EXCEEDED = 0.95
"""Share of its pairs that an invariant channel exceeds, each way."""
DRAWS = 2000
"""Of every bootstrap."""
CONFIDENCE = 0.95
_IN, _BLOCK, _OUT = range(3)
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class PatchReadings:
    """What n channels of a block of C say to their best patches. Axes named `on` are of the patches of in, block and
    out, axes named `read` of the tensors in, block and pre; k is 9 patches, the best first, NaN where there are fewer.
    """

    channels: NDArray[np.int64]
    """(n,)."""
    curves: Float32Array
    """(n, on, k, 13, read): the channel's own activation over `SCALES`."""
    blurred: Float32Array
    """(n, on, k, 6, read): at its own size, with the band that each of `LARGER` leaves."""
    mean: Float32Array
    """(n, read): the channel's mean centre activation over all images of the scan."""
    deviation: Float32Array
    """(n, read): its standard deviation."""
    pair_contrast: Float32Array
    """(n, 2, C): mean over the patches of one channel's in (0) and block (1) of the contrast of every channel's other
    tensor, in that channel's deviations."""
    pair_reading: Float32Array
    """(n, 2, C): the same of its reading at scale 1, from its mean, in its deviations."""

    @property
    def images(self) -> NDArray[np.int64]:
        """(n, on): patches, each of another image."""
        return np.asarray((~np.isnan(self.curves[:, :, :, UNSCALED, _IN])).sum(axis=2))

    def of(self, row: int) -> PatchReadings:
        """Those of one of the channels."""
        return PatchReadings(**{name: values[row : row + 1] for name, values in vars(self).items()})


def contrast(curves: ArrayLike) -> Float64Array:
    """Mean at scales above 1 less the mean at scales below 1, of curves (…, 13)."""
    values = np.asarray(curves, dtype=np.float64)
    found: Float64Array = values[..., UNSCALED + 1 :].mean(axis=-1) - values[..., :UNSCALED].mean(axis=-1)
    return found


@dataclass(frozen=True, eq=False)
class Against:
    """A channel's preference beside those of other channels on the same patches; (n,) arrays."""

    exceeded: Float64Array
    """Share of its pairs, all other channels, that prefer less."""
    pairs: Float64Array
    """How many they are."""
    pairs_mean: Float64Array
    mates: Float64Array
    """How many pairs answer as strongly at scale 1."""
    at_least: Float64Array
    """How many mates prefer at least as much."""
    mates_mean: Float64Array
    """NaN below `FEWEST_MATES`."""

    @property
    def exceeds_pairs(self) -> Float64Array:
        """Whether 95 % of its pairs prefer less: 1, 0 or NaN."""
        return np.where(np.isnan(self.exceeded), np.nan, self.exceeded >= EXCEEDED - _ROUNDING)

    @property
    def below_pairs(self) -> Float64Array:
        """Whether no more than 5 % of its pairs prefer less: 1, 0 or NaN."""
        return np.where(np.isnan(self.exceeded), np.nan, self.exceeded <= 1 - EXCEEDED + _ROUNDING)

    @property
    def exceeds_mates(self) -> Float64Array:
        """Whether 95 % of its mates prefer less: 1, 0, or NaN below `FEWEST_MATES`."""
        exceeds = self.at_least <= (1 - EXCEEDED) * self.mates + _ROUNDING
        return np.where(self.mates >= FEWEST_MATES, exceeds, np.nan)

    @property
    def p(self) -> Float64Array:
        """(1 + mates that prefer at least as much) / (1 + mates); NaN below `FEWEST_MATES`."""
        return np.where(self.mates >= FEWEST_MATES, (1 + self.at_least) / (1 + self.mates), np.nan)


def against(preference: ArrayLike, reading: ArrayLike, pairs: ArrayLike, readings: ArrayLike) -> Against:
    """`preference` and `reading` (n,) of a channel on its patches, `pairs` and `readings` (n, C) of the others there:
    in deviations, NaN where unknown and for the channel itself."""
    own, at_one = (np.asarray(values, dtype=np.float64)[:, None] for values in (preference, reading))
    others, there = (np.asarray(values, dtype=np.float64) for values in (pairs, readings))
    known = ~np.isnan(others) & ~np.isnan(own)
    alike = known & (np.abs(there - at_one) <= MATE_RANGE)
    count, mates = known.sum(axis=1).astype(np.float64), alike.sum(axis=1).astype(np.float64)
    enough = mates >= FEWEST_MATES
    return Against(
        exceeded=_ratio((known & (others < own)).sum(axis=1), count),
        pairs=count,
        pairs_mean=_ratio(np.where(known, others, 0).sum(axis=1), count),
        mates=np.where(np.isnan(own[:, 0]), np.nan, mates),
        at_least=(alike & (others >= own)).sum(axis=1).astype(np.float64),
        mates_mean=_ratio(np.where(alike, others, 0).sum(axis=1), np.where(enough, mates, 0)),
    )


def bootstrap_interval(values: ArrayLike, seed: int = 0) -> tuple[Float64Array, Float64Array]:
    """Ends of the 95 % percentile interval of the mean of each row of (n, k) values of different images, by `DRAWS`
    draws of as many of them. A row's last values may be NaN; one of fewer than `FEWEST_IMAGES` has no interval."""
    rows = np.asarray(values, dtype=np.float64)
    counts = (~np.isnan(rows)).sum(axis=1)
    ends = np.full((2, len(rows)), np.nan)
    for count in np.unique(counts[counts >= FEWEST_IMAGES]):
        # The same draws for all rows: a row's interval does not depend on which others there are.
        drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), DRAWS) / count
        alike = np.flatnonzero(counts == count)
        tail = (1 - CONFIDENCE) / 2
        ends[:, alike] = np.quantile(rows[alike, :count] @ drawn.T, [tail, 1 - tail], axis=1)
    return ends[0], ends[1]


def interval_over_images(values: ArrayLike, images: NDArray[np.int64], seed: int = 0) -> tuple[float, float]:
    """Ends of the 95 % percentile interval of the mean of (n, k) values, NaN left out, by bootstrap over the images
    that they come from: patches of one image go together, whichever channels they are of."""
    rows = np.asarray(values, dtype=np.float64)
    known = ~np.isnan(rows)
    _, image = np.unique(images[known], return_inverse=True)
    total, count = np.bincount(image, weights=rows[known]), np.bincount(image)
    if len(count) < FEWEST_IMAGES:
        return np.nan, np.nan
    random, means = np.random.default_rng(seed), np.empty(DRAWS)
    for draw in range(DRAWS):
        times = np.bincount(random.integers(len(count), size=len(count)), minlength=len(count))
        means[draw] = (times @ total) / (times @ count)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


@dataclass(frozen=True)
class Exceedance:
    """How many of n channels exceed 95 % of what each is compared with, beside what chance gives."""

    k: int
    n: int
    expected: float
    """What k would be on average if a channel were one of those that it is compared with."""
    p: float
    """That k would be as large then, the channels being independent; NaN where there are none."""


def chance(compared: ArrayLike) -> Float64Array:
    """Of one of 1 + m alike things: how often it exceeds 95 % of the m others, by (n,) m."""
    m = np.asarray(compared, dtype=np.float64)
    found: Float64Array = (np.floor((1 - EXCEEDED) * m + _ROUNDING) + 1) / (m + 1)
    return found


def exceedance(exceeds: ArrayLike, chances: ArrayLike) -> Exceedance:
    """Of (n,) truth values (1, 0, NaN for unknown) and the chance of each: the sum of independent trials of different
    chances is not binomial, so its distribution is worked out trial by trial."""
    held, each = np.asarray(exceeds, dtype=np.float64), np.asarray(chances, dtype=np.float64)
    known = ~np.isnan(held)
    k, distribution = int((held == 1).sum()), np.ones(1)
    for one in each[known]:
        distribution = np.convolve(distribution, [1 - one, one])
    p = float(distribution[k:].sum()) if known.any() else np.nan
    return Exceedance(k, int(known.sum()), float(each[known].sum()), min(p, 1.0))


@dataclass(frozen=True, eq=False)
class Preferences:
    """How much larger B prefers I's patches, and how much smaller I prefers B's, in deviations; (n,) arrays."""

    by_patch: Float64Array
    """(n, k)."""
    mean: Float64Array
    low: Float64Array
    high: Float64Array
    """Ends of the interval of the mean, by bootstrap over images."""
    beyond_blur: Float64Array
    """How much more the scaled patches are answered to than those blurred to the same band."""
    against: Against


def preferences(readings: PatchReadings) -> tuple[Preferences, Preferences]:
    """B's for larger patches of I, and I's for smaller patches of B."""
    return _preferences(readings, _IN, _BLOCK, 1), _preferences(readings, _BLOCK, _IN, -1)


def mean_curves(readings: PatchReadings) -> Float64Array:
    """(n, on, read, 13): means over the patches, as they are shown. Axis `read` is in, block and out, each patch's out
    rectified; NaN for fewer patches than `FEWEST_IMAGES`."""
    on = [
        np.stack([_mean_curve(readings, place, read, rectified=read == _OUT) for read in (_IN, _BLOCK, _OUT)], axis=1)
        for place in (_IN, _BLOCK, _OUT)
    ]
    return np.stack(on, axis=1)


def photo_measures(
    readings: PatchReadings, known: tuple[Preferences, Preferences] | None = None
) -> dict[str, Float64Array]:
    """The table's columns of photographs, each (n,); NaN where empty.

    `photo_reversed`, which is no column, is a null of `photo_invariant`: the same of the other direction, B preferring
    I's patches smaller and I B's larger. `known` are the readings' `preferences`, if they are known already.
    """
    ways = block, in_ = known or preferences(readings)
    images = readings.images[:, [_IN, _BLOCK]].min(axis=1).astype(np.float64)
    met = [np.where(np.isnan(one.low), np.nan, one.against.exceeds_pairs * (one.low > 0)) for one in ways]
    other_way = [np.where(np.isnan(one.low), np.nan, one.against.below_pairs * (one.high < 0)) for one in ways]
    beyond = np.minimum(block.beyond_blur, in_.beyond_blur)
    invariant = met[0] * met[1]
    return {
        "photo_peak_in": _peak(_mean_curve(readings, _BLOCK, _IN)),
        "photo_peak_block": _peak(_mean_curve(readings, _IN, _BLOCK)),
        "photo_block_larger": block.mean,
        "photo_in_smaller": in_.mean,
        "photo_p_block": block.against.p,
        "photo_p_in": in_.against.p,
        "photo_width_in": half_width_octaves(SCALES, _mean_curve(readings, _IN, _IN, rectified=True)),
        "photo_width_out": half_width_octaves(SCALES, _mean_curve(readings, _OUT, _OUT, rectified=True)),
        "photo_images": images,
        "photo_invariant": invariant,
        "photo_reversed": other_way[0] * other_way[1],
        "photo_pairs_block": block.against.exceeded,
        "photo_pairs_in": in_.against.exceeded,
        "photo_mates_block": block.against.mates,
        "photo_mates_in": in_.against.mates,
        "photo_block_low": block.low,
        "photo_in_low": in_.low,
        "photo_beyond_blur": np.where(np.isnan(beyond), np.nan, invariant * (beyond > 0)),
    }


def _preferences(readings: PatchReadings, on: int, read: int, sign: int) -> Preferences:
    """`sign` is 1 where larger is preferred."""
    deviation = np.where(readings.deviation > 0, readings.deviation, np.nan)[:, read].astype(np.float64)
    curves = readings.curves[:, on, :, :, read] / deviation[:, None, None]
    by_patch = sign * contrast(curves)
    enough = readings.images[:, on] >= FEWEST_IMAGES
    mean = np.where(enough, _mean_of_known(by_patch), np.nan)
    low, high = bootstrap_interval(by_patch)
    at_one = _mean_of_known(curves[:, :, UNSCALED]) - readings.mean[:, read] / deviation
    others = readings.pair_contrast[:, on].astype(np.float64)
    others[np.arange(len(others)), readings.channels] = np.nan
    scaled = curves[:, :, UNSCALED + 1 :] if sign > 0 else curves[:, :, :UNSCALED]
    blurred = readings.blurred[:, on, :, :, read] / deviation[:, None, None]
    beyond = _mean_of_known(scaled.mean(axis=2) - blurred.mean(axis=2))
    return Preferences(
        by_patch=by_patch,
        mean=mean,
        low=low,
        high=high,
        beyond_blur=np.where(enough, beyond, np.nan),
        against=against(mean, at_one, sign * others, readings.pair_reading[:, on]),
    )


def _mean_curve(readings: PatchReadings, on: int, read: int, rectified: bool = False) -> Float64Array:
    """(n, 13): over the patches of one tensor, as another reads them."""
    curves = readings.curves[:, on, :, :, read].astype(np.float64)
    mean = _mean_of_known(relu(curves) if rectified else curves)
    return np.where((readings.images[:, on] >= FEWEST_IMAGES)[:, None], mean, np.nan)


def _peak(curves: Float64Array) -> Float64Array:
    """Octaves at which curves (n, 13) are highest; NaN where one is flat or unknown."""
    flat = np.isnan(curves).any(axis=1) | (curves.max(axis=1) == curves.min(axis=1))
    return np.where(flat, np.nan, np.log2(SCALES)[np.where(flat[:, None], 0, curves).argmax(axis=1)])


def _mean_of_known(values: Float64Array) -> Float64Array:
    """Over axis 1; NaN where nothing is known."""
    known = ~np.isnan(values)
    return _ratio(np.where(known, values, 0).sum(axis=1), known.sum(axis=1))


def _ratio(total: ArrayLike, count: ArrayLike) -> Float64Array:
    counted = np.asarray(count, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(counted > 0, np.asarray(total, dtype=np.float64) / counted, np.nan)
