"""Are verdicts over seeds as sure as they say? Against seeds that they have not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamscope.core.errors import StoreError
from streamscope.core.measures.calibration import Reliability, reliability
from streamscope.core.measures.decision import decide, verdict
from streamscope.core.model.arrays import Float64Array
from streamscope.core.store.sets.fz_set import FZSet
from streamscope.core.store.sets.readings import Readings
from streamscope.core.table.verdicts import SeedVerdicts, seed_verdicts

FEWEST_HELD_OUT = 2
"""Seeds that make a truth."""


@dataclass(frozen=True)
class Spending:
    """What it takes to decide channels one seed after the other, each until it is decided."""

    channels: int
    yes: int
    no: int
    undecided: int
    """After as many seeds as may be spent."""
    right: int
    """Decided verdicts that are the truth's."""
    share: float
    """Image-steps spent, of those of all these seeds for every channel."""


@dataclass(frozen=True)
class Calibration:
    """Of some blocks of a model, all channels of which are known."""

    blocks: tuple[str, ...]
    deciding: tuple[int, ...]
    """Seeds that verdicts are from."""
    held_out: tuple[int, ...]
    """Seeds whose majority is the truth: more than half of those in which a channel has a verdict."""
    invariant: int
    """Channels that are scale invariant in truth."""
    by_seeds: Mapping[int, Reliability]
    """By how many seeds decide, the first of them."""
    every: Reliability
    """All of these together."""
    spending: Spending


def calibrate(fzset: FZSet, blocks: Sequence[str], deciding: int) -> Calibration:
    """By the stored sets that differ from `fzset` in their seed only, in order of seed: the first `deciding` decide.

    Only sets count that have all channels of a block measured: those of channels that were undecided are no sample.
    Raises StoreError where too few are stored.
    """
    found = {name: seed_verdicts(Readings(fzset, [fzset.info.block(name)])) for name in blocks}
    seeds = sorted(set.intersection(*(_whole(one) for one in found.values())))
    if len(seeds) < deciding + FEWEST_HELD_OUT:
        have = ", ".join(map(str, seeds)) or "none"
        raise StoreError(
            f"calibration takes {deciding} seeds that decide and at least {FEWEST_HELD_OUT} to check by, each with "
            f"all channels of {', '.join(blocks)}; stored: {have}"
        )
    first, rest = tuple(seeds[:deciding]), tuple(seeds[deciding:])
    chosen = {name: one.of_seeds(first) for name, one in found.items()}
    truth = {name: _majority(one.of_seeds(rest).scale_invariant) for name, one in found.items()}
    every = np.concatenate(list(truth.values()))
    stated = {
        count: np.concatenate([_probability(one, np.arange(deciding)[:, None] < count) for one in chosen.values()])
        for count in range(1, deciding + 1)
    }
    return Calibration(
        tuple(blocks),
        first,
        rest,
        int((every == 1).sum()),
        {count: reliability(probability, every) for count, probability in stated.items()},
        reliability(np.concatenate(list(stated.values())), np.tile(every, deciding)),
        _spend(list(chosen.values()), list(truth.values())),
    )


def _whole(of: SeedVerdicts) -> set[int]:
    """Seeds whose sets have every channel measured."""
    return {seed for seed, row in zip(of.set_seeds, of.fz_seed, strict=True) if not np.isnan(row).any()}


def _majority(invariant: Float64Array) -> Float64Array:
    """(C,) of (S, C): 1 where more than half of the known say so, NaN where none is known."""
    known = (~np.isnan(invariant)).sum(axis=0)
    return np.where(known > 0, (2 * (invariant == 1).sum(axis=0) > known).astype(np.float64), np.nan)


def _probability(of: SeedVerdicts, spent: NDArray[np.bool_]) -> Float64Array:
    """(C,): by those of (S, C) seeds of a block that are `spent`."""
    known = np.broadcast_to(spent, of.fz_seed.shape)
    invariant = np.where(known, of.scale_invariant, np.nan)
    return decide(np.where(known[:, :, None], of.margins, np.nan), invariant, of.fz_seed).probability


def _spend(blocks: Sequence[SeedVerdicts], truths: Sequence[Float64Array]) -> Spending:
    """As `compute --decide` does: a seed for all, then one more for those that are undecided by what there is."""
    said, true, seeds, most = [], [], 0, 0
    for one, truth in zip(blocks, truths, strict=True):
        spent = np.zeros(one.fz_seed.shape, dtype=bool)
        spent[0] = True
        for number in range(1, len(spent)):
            spent[number] = verdict(_probability(one, spent)) == "undecided"
        said.append(verdict(_probability(one, spent)))
        true.append(truth)
        seeds, most = seeds + int(spent.sum()), most + spent.size
    verdicts, truths_ = np.concatenate(said), np.concatenate(true)
    yes, no = verdicts == "yes", verdicts == "no"
    right = (yes & (truths_ == 1)) | (no & (truths_ == 0))
    undecided = verdicts == "undecided"
    channels, *counts = (int(rows.sum()) for rows in (verdicts != "", yes, no, undecided, right))
    return Spending(channels, counts[0], counts[1], counts[2], counts[3], seeds / most)
