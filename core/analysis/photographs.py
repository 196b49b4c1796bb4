"""What photographs say of a block: each preference beside its nulls, and how far verdicts by FZs say the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamscope.core.measures.agreement import auc, kappa
from streamscope.core.measures.photographs import (
    Exceedance,
    Preferences,
    chance,
    exceedance,
    interval_over_images,
    photo_measures,
    preferences,
)
from streamscope.core.model.arrays import Float64Array
from streamscope.core.store.scans.photographs import Photographs


@dataclass(frozen=True)
class OneWay:
    """B's preference for larger patches of I, or I's for smaller ones of B: means over channels, in deviations."""

    mean: float
    low: float
    high: float
    """Ends of its interval, by bootstrap over images."""
    pairs: float
    """Of the other channels on the same patches."""
    of_mated: float
    """The mean of the channels that have mates."""
    mates: float
    """The mean of their mates."""
    beyond_blur: float
    """The mean of how much more the scaled patches are answered to than those blurred to the same band."""
    against_pairs: Exceedance
    against_mates: Exceedance


@dataclass(frozen=True)
class FzAgreement:
    """How verdicts by FZs and by photographs agree on the channels that have both."""

    both: int
    fz_only: int
    photo_only: int
    neither: int
    auc: float
    """Of the sum of the two preferences, for the verdict by FZs."""

    @property
    def n(self) -> int:
        return self.both + self.fz_only + self.photo_only + self.neither

    @property
    def kappa(self) -> float:
        return kappa([[self.both, self.fz_only], [self.photo_only, self.neither]])


@dataclass(frozen=True)
class PhotographSummary:
    """One block."""

    block: str
    channels: int
    """Those that enough images excite."""
    images: int
    """That any of the patches of I and B come from."""
    larger: OneWay
    smaller: OneWay
    both_pairs: Exceedance
    both_mates: Exceedance
    invariant: int
    beyond_blur: int
    fz: Mapping[str, FzAgreement]
    """By the column that says what FZs say: scale_invariant, and verdict where several seeds decide."""


def summarise_photographs(
    block: str, stored: Photographs, columns: Mapping[str, NDArray[np.generic]] | None = None
) -> PhotographSummary:
    """Of what is stored of a block; `columns` are the table's of the same block, (C,) each, where a set is stored."""
    readings = stored.readings
    larger, smaller = preferences(readings)
    found = photo_measures(readings, (larger, smaller))
    ways = larger.against, smaller.against
    known = ~np.isnan(found["photo_invariant"])
    excesses = {}
    for name, exceeds, compared in (
        ("pairs", [one.exceeds_pairs for one in ways], [one.pairs for one in ways]),
        ("mates", [one.exceeds_mates for one in ways], [one.mates for one in ways]),
    ):
        excesses[name] = exceedance(exceeds[0] * exceeds[1], chance(compared[0]) * chance(compared[1]))
    rows = stored.patches.rows[:, :2]
    fz = {}
    if columns is not None:
        channels, total = readings.channels, found["photo_block_larger"] + found["photo_in_smaller"]
        verdict = np.full(len(channels), np.nan)
        verdict[columns["verdict"][channels] == "yes"] = 1
        verdict[columns["verdict"][channels] == "no"] = 0
        by_fzs = {"scale_invariant": columns["scale_invariant"][channels].astype(np.float64), "verdict": verdict}
        fz = {name: _agreement(held, found["photo_invariant"], total) for name, held in by_fzs.items()}
    return PhotographSummary(
        block=block,
        channels=int(known.sum()),
        images=len(np.unique(rows[rows >= 0])),
        larger=_one_way(larger, rows[:, 0]),
        smaller=_one_way(smaller, rows[:, 1]),
        both_pairs=excesses["pairs"],
        both_mates=excesses["mates"],
        invariant=int((found["photo_invariant"] == 1).sum()),
        beyond_blur=int((found["photo_beyond_blur"] == 1).sum()),
        fz={name: agreement for name, agreement in fz.items() if agreement.n},
    )


def _one_way(found: Preferences, images: NDArray[np.int64]) -> OneWay:
    by_patch = np.where(np.isnan(found.mean)[:, None], np.nan, found.by_patch)
    low, high = interval_over_images(by_patch, images)
    others = found.against
    mated = ~np.isnan(others.mates_mean)
    return OneWay(
        mean=_mean(found.mean),
        low=low,
        high=high,
        pairs=_mean(others.pairs_mean),
        of_mated=_mean(found.mean[mated]),
        mates=_mean(others.mates_mean),
        beyond_blur=_mean(found.beyond_blur),
        against_pairs=exceedance(others.exceeds_pairs, chance(others.pairs)),
        against_mates=exceedance(others.exceeds_mates, chance(others.mates)),
    )


def _agreement(by_fzs: Float64Array, by_photographs: Float64Array, total: Float64Array) -> FzAgreement:
    known = ~(np.isnan(by_fzs) | np.isnan(by_photographs))
    fz, photo = by_fzs[known] == 1, by_photographs[known] == 1
    return FzAgreement(
        both=int((fz & photo).sum()),
        fz_only=int((fz & ~photo).sum()),
        photo_only=int((~fz & photo).sum()),
        neither=int((~fz & ~photo).sum()),
        auc=auc(total, by_fzs),
    )


def _mean(values: Float64Array) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
