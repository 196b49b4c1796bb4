"""M and the scale criteria of rows, how often they hold with other seeds, and how sure that makes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from streamscope.core.measures import criteria
from streamscope.core.measures.decision import Decision, decide, joined, margins
from streamscope.core.measures.pairs import false_discovery, null_p
from streamscope.core.measures.stability import Stability, stability
from streamscope.core.model.arrays import Float64Array
from streamscope.core.model.blocks import VERDICT_TENSORS, Tensor
from streamscope.core.store.sets.readings import ALTERED, Readings


def verdicts(readings: Readings, altered: Mapping[Tensor, Float64Array] | None = None) -> dict[str, Float64Array]:
    """mix_ratio, the three scale criteria and scale_invariant of every row: 1, 0, or NaN where unknown.

    `altered` has what the other tensor says to the FZs of `in` and of `block` where they are altered in another way
    than the set's own scaling. M, and so criterion (2), stays as it is.
    """
    v, scaled = readings.values, _scaled(readings, altered)
    m = criteria.mix_ratio(v["out_on_in"], v["out_on_block"])
    met = {
        "meets_mix": criteria.meets_mix(m),
        "meets_block": criteria.meets_block(scaled["in"], v["block_on_in"]),
        "meets_input": criteria.meets_input(scaled["block"], v["in_on_block"]),
    }
    return {"mix_ratio": m, **met, "scale_invariant": criteria.scale_invariant(*met.values())}


def beyond_blur(
    readings: Readings, meets_mix: Float64Array, altered: Mapping[Tensor, Float64Array] | None = None
) -> dict[str, Float64Array]:
    """block_gain_beyond_blur, input_gain_beyond_blur, and beyond_blur (1, 0, or NaN where unknown), of every row.

    `meets_mix` is that of `verdicts`, and `altered` as there.
    """
    v, scaled = readings.values, _scaled(readings, altered)
    up, down = scaled["in"], scaled["block"]
    block = criteria.larger_baseline(v["block_on_in"], v["block_on_in_blur"])
    input_ = criteria.larger_baseline(v["in_on_block"], v["in_on_block_blur"])
    return {
        "block_gain_beyond_blur": criteria.block_gain(up, block, v["block_on_block"]),
        "input_gain_beyond_blur": criteria.input_gain(down, input_, v["in_on_in"]),
        "beyond_blur": criteria.scale_invariant(
            meets_mix,
            criteria.meets_block(up, block),
            criteria.meets_input(down, input_),
        ),
    }


def discoveries(readings: Readings) -> Float64Array:
    """q of every row among its block's: empty where no gains of pairs are kept that are of the measures there are."""
    q = np.full(len(readings), np.nan)
    for number, block in enumerate(readings.blocks):
        kept = readings.fzset.pairs(block.name) if readings.fzset is not None else None
        if kept is not None and kept.measures == readings.digest(number):
            rows = readings.first[number] + np.asarray(kept.channels, dtype=np.int64)
            q[rows] = false_discovery(null_p(kept.reached, kept.pairs))
    return q


@dataclass(frozen=True)
class SeedVerdicts:
    """What each of S stored sets that differ in seed only says of C rows; (S, C) arrays, NaN where unknown."""

    set_seeds: tuple[int, ...]
    mix_ratio: Float64Array
    scale_invariant: Float64Array
    fz_seed: Float64Array
    margins: Float64Array
    """(S, C, 3), as `streamscope.core.measures.decision.margins` has them."""

    def of_seeds(self, set_seeds: Sequence[int]) -> SeedVerdicts:
        """That of some of the sets, in this order."""
        rows = [self.set_seeds.index(seed) for seed in set_seeds]
        arrays = (self.mix_ratio, self.scale_invariant, self.fz_seed, self.margins)
        return SeedVerdicts(tuple(set_seeds), *(array[rows] for array in arrays))


Altering = Callable[[Readings], Mapping[Tensor, Float64Array] | None]
"""What is read in place of a set's scaled FZs, as `verdicts` takes it; None where that is not stored of the set."""


def seed_verdicts(readings: Readings, instead: Altering | None = None) -> SeedVerdicts:
    """Of the set of `readings` and those that differ from it in seed only, itself first.

    With `instead`, of sets only that have that.
    """
    siblings = readings.fzset.siblings() if readings.fzset is not None else []
    sets = [readings, *(Readings(fzset, readings.blocks) for fzset in siblings)]
    altered = [None if instead is None else instead(one) for one in sets]
    every = [(one, other) for one, other in zip(sets, altered, strict=True) if instead is None or other is not None]
    found = [verdicts(one, other) for one, other in every]
    shape = len(every), len(readings)
    return SeedVerdicts(
        tuple(one.fzset.key.seed if one.fzset is not None else 0 for one, _ in every),
        np.array([one["mix_ratio"] for one in found]).reshape(shape),
        np.array([one["scale_invariant"] for one in found]).reshape(shape),
        np.array([one.fz_seed for one, _ in every]).reshape(shape),
        np.array(
            [_margins(one, values["mix_ratio"], other) for (one, other), values in zip(every, found, strict=True)]
        ).reshape(*shape, 3),
    )


@dataclass(frozen=True)
class OverSeeds:
    """What each row's set and the stored sets that differ from it in seed only say together."""

    stability: Stability
    decision: Decision


def over_seeds(readings: Readings) -> OverSeeds:
    """How often each row's verdicts hold over seeds, and how sure they are."""
    of = seed_verdicts(readings)
    stable = stability(of.mix_ratio, of.scale_invariant, of.fz_seed)
    rows = [readings.rows(number) for number in range(len(readings.blocks))]
    by_block = [decide(of.margins[:, here], of.scale_invariant[:, here], of.fz_seed[:, here]) for here in rows]
    return OverSeeds(stable, joined(by_block))


def _margins(
    readings: Readings, mix_ratio: Float64Array, altered: Mapping[Tensor, Float64Array] | None
) -> Float64Array:
    v, scaled = readings.values, _scaled(readings, altered)
    return margins(
        mix_ratio,
        scaled["in"],
        v["block_on_in"],
        v["block_on_block"],
        scaled["block"],
        v["in_on_block"],
        v["in_on_in"],
    )


def _scaled(readings: Readings, altered: Mapping[Tensor, Float64Array] | None) -> Mapping[Tensor, Float64Array]:
    """What the other tensor says to the scaled FZs, or to those altered otherwise."""
    return {on: readings.values[ALTERED[on][0]] for on in VERDICT_TENSORS} if altered is None else altered
