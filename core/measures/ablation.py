"""Ablation of channels against control sets: what is asked and what the accuracies say. Pure functions.

After arXiv 2504.16290: do the scale-invariant channels of a block carry recognition across scales?
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamscope.core.errors import UsageError
from streamscope.core.measures.matching import check_controls
from streamscope.core.measures.statistics import CONFIDENCE, Proportion, proportion
from streamscope.core.model.arrays import Float64Array
from streamscope.core.model.blocks import ModelInfo

ZOOMS = (1.0, 1.1, 1.2, 1.3, 1.4, 1.5)
"""The follow-up's scales s: a side of `int(side * (2 - s))` px is cut from the middle and resized back."""
RESAMPLES = 2000
"""Bootstrap resamples of the images."""


@dataclass(frozen=True)
class Ratio:
    """A ratio of two accuracies with its bootstrap interval over images; NaN where the denominator is 0."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ZoomResult:
    """Accuracies on the same images at one zoom, `s` as in `ZOOMS`; `true_zoom` is side / `crop`."""

    zoom: float
    true_zoom: float
    crop: int
    intact: Proportion
    chosen: Proportion
    controls: tuple[Proportion, ...]
    """With each matched set ablated."""
    chosen_to_intact: Ratio
    controls_to_intact: Ratio
    chosen_to_controls: Ratio
    random: tuple[Proportion, ...] = ()
    """With each random set ablated; empty in what versions before them stored."""
    chosen_to_random: Ratio | None = None

    @property
    def controls_mean(self) -> float:
        return float(np.mean([c.share for c in self.controls]))

    @property
    def controls_at_or_below(self) -> int:
        """How many control sets harm accuracy as much as the chosen set, or more."""
        return sum(c.k <= self.chosen.k for c in self.controls)

    @property
    def random_at_or_below(self) -> int:
        return sum(c.k <= self.chosen.k for c in self.random)


@dataclass(frozen=True)
class AblationRequest:
    """Which channels of which block are to be ablated, and how the comparison is made."""

    block: str
    channels: tuple[int, ...]
    selected: str
    """How the channels were chosen, in words."""
    fzset: str | None = None
    """Folder name of the set whose measures the choice looked at; None when it looked at none."""
    controls: int = 10
    zooms: tuple[float, ...] = ZOOMS
    seed: int = 0

    def check(self, info: ModelInfo) -> None:
        """Raises UsageError for an unknown block or channel, no channel at all, or zooms or controls without sense."""
        count = info.block(self.block).channels
        if not self.channels:
            raise UsageError(f"no channel of {self.block} is selected; nothing to ablate")
        outside = [c for c in self.channels if not 0 <= c < count]
        if outside:
            raise UsageError(f"channel {outside[0]} is out of range; block {self.block} has channels 0-{count - 1}")
        if not self.zooms:
            raise UsageError("no zoom is given")
        for zoom in self.zooms:
            crop_side(info.input_size, zoom)
        check_controls(count, len(set(self.channels)), self.controls)


def crop_side(side: int, zoom: float) -> int:
    """Side in px of what is cut from the middle of a `side` px image. Raises UsageError unless 1 <= zoom < 2."""
    crop = int(side * (2 - zoom)) if math.isfinite(zoom) else 0
    if not 1 <= zoom < 2 or crop < 1:
        raise UsageError(f"zoom {zoom:g} makes no sense; zooms run from 1 (the whole image) to below 2")
    return crop


def zoom_result(
    zoom: float, side: int, right: NDArray[np.bool_], seed: int, random: NDArray[np.bool_] | None = None
) -> ZoomResult:
    """What one zoom shows. `right` (2 + controls, n) says which of n images were classified right: with the network
    intact, with the chosen channels ablated, then with each control set; `random` (sets, n) with each random set."""
    crop = crop_side(side, zoom)
    intact, chosen, *controls = _proportions(right)
    groups = [right[0], right[1], right[2:].mean(axis=0)]
    if random is not None:
        groups.append(random.mean(axis=0))
    shares = np.stack(groups).astype(np.float64)
    resampled = _resample(shares, np.random.default_rng(seed))
    means = shares.mean(axis=1)

    def ratio(over: int, under: int) -> Ratio:
        if means[under] == 0:
            return Ratio(math.nan, math.nan, math.nan)
        with np.errstate(divide="ignore", invalid="ignore"):
            drawn = resampled[:, over] / resampled[:, under]
        tail = (1 - CONFIDENCE) / 2
        # Few images may all be wrong in a resample; between its infinite ratios nothing can be interpolated.
        low, high = np.nanquantile(drawn, [tail, 1 - tail], method="inverted_cdf")
        return Ratio(float(means[over] / means[under]), float(low), float(high))

    return ZoomResult(
        zoom,
        side / crop,
        crop,
        intact,
        chosen,
        tuple(controls),
        ratio(1, 0),
        ratio(2, 0),
        ratio(1, 2),
        () if random is None else tuple(_proportions(random)),
        None if random is None else ratio(1, 3),
    )


def _proportions(right: NDArray[np.bool_]) -> list[Proportion]:
    return [proportion(row.astype(np.float64)) for row in right]


def _resample(shares: Float64Array, generator: np.random.Generator) -> Float64Array:
    """Sums of (k, n) values over images drawn with replacement, (RESAMPLES, k): the pairs of an image stay together.

    Images that are alike in all values are drawn together, by their number: the same distribution at a cost that does
    not grow with n.
    """
    kinds, counts = np.unique(shares, axis=1, return_counts=True)
    drawn = generator.multinomial(shares.shape[1], counts / counts.sum(), size=RESAMPLES)
    return drawn @ kinds.T
