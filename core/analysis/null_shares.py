"""The shares of a block's channels that meet each criterion, really and where that should mean nothing.

The scale criteria are numbered as in arXiv 2407.05340: (2) is that of M, (3) that of the block tensor, (4) that of the
input tensor. What stands here is of the nulls one by one; `nulls` has all of a block.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import permutations
from typing import TYPE_CHECKING, Literal

import numpy as np

from streamscope.core.analysis.image_verdicts import BY_MEIS, BY_PATCHES, image_verdicts, image_verdicts_under
from streamscope.core.analysis.pairs import pair_answers
from streamscope.core.analysis.shams import sham_answers
from streamscope.core.measures import criteria
from streamscope.core.measures.decision import decide, verdict
from streamscope.core.measures.statistics import (
    Excess,
    Paired,
    Proportion,
    excess,
    fisher,
    mcnemar,
    paired_excess,
    paired_proportion,
    proportion,
)
from streamscope.core.model.arrays import Float64Array
from streamscope.core.model.blocks import VERDICT_TENSORS, Tensor
from streamscope.core.model.spec import untrained_seed
from streamscope.core.store.sets.batches import BLURRED, FURTHER, REVERSED
from streamscope.core.store.sets.fz_set import FZSet
from streamscope.core.store.sets.readings import ALTERED, Readings
from streamscope.core.store.sets.responses import SHAM_TRANSFORMS
from streamscope.core.table.verdicts import Altering, SeedVerdicts, beyond_blur, seed_verdicts, verdicts

if TYPE_CHECKING:
    from streamscope.core.store.scans.scan import Scan

CRITERIA = {
    "meets_mix": "(2) mix",
    "meets_block": "(3) block",
    "meets_input": "(4) input",
    "meets_both": "(3) and (4)",
    "scale_invariant": "all three",
    "beyond_blur": "beyond blur",
    "verdict": "yes over seeds",
    BY_MEIS: "all three, by MEIs",
    "robust": "by FZs and MEIs",
    BY_PATCHES: "by photographs",
}
"""What is shared out, by the name of the table's column where there is one, and what to call it."""
BY_IMAGES = (BY_MEIS, "robust", BY_PATCHES)
UNSAID = ("beyond_blur", "verdict", *BY_IMAGES)
"""Of which nothing is said where they are not known: of the paper's protocol, of one seed, and without a scan."""
TESTED = ("meets_both", "scale_invariant", "beyond_blur", "verdict", *BY_IMAGES)
"""Of which it is tested whether they hold more often than under a null."""
Kind = Literal["shuffled", "measured", "sham", "untrained"]
SHUFFLED = "shuffled pairs"
NAMES = {BLURRED: "blur", REVERSED: "reversed"} | {name: f"sham: {name}" for name in SHAM_TRANSFORMS}
"""What the nulls of the same channels are called, by what is stored of them."""
UNTRAINED = "untrained copy"
NOTHING = Proportion(0, 0, math.nan, math.nan)
PAIRINGS = 2000
"""Of channels with each other, the real one among them, that its p is from."""


@dataclass(frozen=True)
class NullShares:
    """One null of one block: by criterion (keys of `CRITERIA`) the real share, and the share under the null."""

    null: str
    """`shuffled pairs`, `blur`, `reversed`, `sham: flip`, or `untrained copy 0`, 0 being the seed of its weights."""
    kind: Kind
    real: Mapping[str, Proportion]
    shares: Mapping[str, Proportion]
    p: Mapping[str, float] = field(default_factory=dict)
    """By criterion, where all pairings are known: how often a pairing does at least as well as the real one."""
    paired: Mapping[str, Paired] = field(default_factory=dict)
    """By criterion, of `TESTED`, where the null is of the same channels: the real verdicts (first) against it."""
    excess: Mapping[str, Excess] = field(default_factory=dict)
    """By criterion, of `TESTED`: how much larger the real share is. The p is McNemar's where the null is of the same
    channels, Fisher's for an untrained copy, and for pairs the share of random pairings in which at least as many
    channels meet the criterion."""
    seeds: int = 1
    """That the verdicts over seeds are from, here and under the null."""


def real_shares(fzset: FZSet, block: str, scan: Scan | None = None) -> dict[str, Proportion]:
    """Share of a block's channels that meet each criterion, of those of which it is known; by the images of `scan`."""
    readings = Readings(fzset, [fzset.info.block(block)])
    found = {**_truths(readings), "verdict": _decided(seed_verdicts(readings))}
    return _shares(_with_images(found, _really(scan, readings)))


def shuffled_pairs(fzset: FZSet, block: str) -> NullShares | None:
    """Criteria (3) and (4) with the block feature of one channel and the input feature of another.

    A channel c meets both when its block feature is its input feature at a larger scale: B_c(S(FZ(I_c))) >
    relu(B_c(FZ(I_c))) and I_c(S-(FZ(B_c))) > relu(I_c(FZ(B_c))). A pair (c, d) is an imaginary channel whose block
    feature is c's and whose input feature is d's, so that the same two features meet in both criteria:

        (3)  B_c(S(FZ(I_d))) > relu(B_c(FZ(I_d)))        (4)  I_d(S-(FZ(B_c))) > relu(I_d(FZ(B_c)))

    All pairs of different channels of which both FZs are measured count: n (n - 1), all shifts d = c + k. The interval
    allows for pairs that share a channel. `p` is the share of the pairings (n - 1 shifts and the real one) in which at
    least as many channels meet the criterion as really do. None for fewer than two channels.
    """
    answers = pair_answers(fzset, block)
    if len(answers.channels) < 2:
        return None
    meets_block = criteria.meets_block(answers.block_on_in_up, answers.block_on_in)
    meets_input = criteria.meets_input(answers.in_on_block_down, answers.in_on_block)
    pairs = {"meets_block": meets_block, "meets_input": meets_input, "meets_both": meets_block * meets_input}
    real = {name: proportion(np.diag(table)) for name, table in pairs.items()}
    shares = {name: paired_proportion(table) for name, table in pairs.items()}
    both = excess(real["meets_both"], shares["meets_both"], _random_pairing_p(pairs["meets_both"]))
    return NullShares(
        SHUFFLED,
        "shuffled",
        real,
        shares,
        {name: _pairing_p(table) for name, table in pairs.items()},
        excess={"meets_both": both} if not math.isnan(both.difference) else {},
    )


def sham_shares(fzset: FZSet, block: str, scan: Scan | None = None) -> list[NullShares]:
    """The criteria with a sham transform in place of S and S-; M, and so criterion (2), stays as it is.

    Those computed only; of a block in which nothing was, an empty list.
    """
    answers: dict[FZSet, dict[Tensor, dict[str, Float64Array]]] = {}

    def under(name: str) -> Altering:
        def instead(readings: Readings) -> Mapping[Tensor, Float64Array] | None:
            assert readings.fzset is not None
            if readings.fzset not in answers:
                answers[readings.fzset] = sham_answers(readings.fzset, block)
            found = {on: of[name] for on, of in answers[readings.fzset].items() if name in of}
            return found if found.keys() == set(VERDICT_TENSORS) else None

        return instead

    return _in_place_of_scaling("sham", fzset, block, {name: under(name) for name in SHAM_TRANSFORMS}, scan)


def measured_shares(fzset: FZSet, block: str, scan: Scan | None = None) -> list[NullShares]:
    """The criteria with blurring, or with the other scaling, in place of S and S-: what is measured of centred sets.

    An empty list where nothing was.
    """

    def under(axis: int) -> Altering:
        def instead(readings: Readings) -> Mapping[Tensor, Float64Array] | None:
            found = {on: readings.values[ALTERED[on][axis]] for on in VERDICT_TENSORS}
            return None if np.isnan(list(found.values())).all() else found

        return instead

    nulls = {null: under(axis) for axis, null in enumerate(FURTHER, start=1)}
    return _in_place_of_scaling("measured", fzset, block, nulls, scan)


def _in_place_of_scaling(
    kind: Kind, fzset: FZSet, block: str, nulls: Mapping[str, Altering], scan: Scan | None
) -> list[NullShares]:
    """The verdicts with other readings than those of what is scaled, by null; of those that the set has. By images
    where the scan has them too."""
    readings = Readings(fzset, [fzset.info.block(block)])
    really, by_images = seed_verdicts(readings), _really(scan, readings)
    under = image_verdicts_under(scan, block, fzset.key.protocol) if scan is not None else {}
    found = (
        _null_shares(null, kind, readings, really, instead, by_images, under.get(null, {}))
        for null, instead in nulls.items()
    )
    return [null for null in found if null is not None]


def _really(scan: Scan | None, readings: Readings) -> Mapping[str, Float64Array]:
    """What the scan says of the one block of `readings`."""
    assert readings.fzset is not None
    return {} if scan is None else image_verdicts(scan, readings.blocks[0].name, readings.fzset.key.protocol)


def _with_images(found: Mapping[str, Float64Array], by_images: Mapping[str, Float64Array]) -> dict[str, Float64Array]:
    robust = {"robust": by_images[BY_MEIS] * found["scale_invariant"]} if BY_MEIS in by_images else {}
    return {**found, **by_images, **robust}


def _null_shares(
    null: str,
    kind: Kind,
    readings: Readings,
    really: SeedVerdicts,
    instead: Altering,
    by_images: Mapping[str, Float64Array],
    by_images_under: Mapping[str, Float64Array],
) -> NullShares | None:
    """None where the set has no such readings. Verdicts over seeds are from the seeds that have them."""
    altered = instead(readings)
    if altered is None:
        return None
    under = seed_verdicts(readings, instead)
    real = _with_images({**_truths(readings), "verdict": _decided(really.of_seeds(under.set_seeds))}, by_images)
    found = _with_images({**_truths(readings, altered), "verdict": _decided(under)}, by_images_under)
    # M stays as it is; and where blurring is the null, what exceeds blurring cannot be.
    unasked = {"meets_mix", "beyond_blur"} if null == BLURRED else {"meets_mix"}
    shares = {criterion: share for criterion, share in _shares(found).items() if criterion not in unasked}
    tested = [criterion for criterion in TESTED if shares.get(criterion, NOTHING).n]
    return NullShares(
        NAMES[null],
        kind,
        _shares(real),
        {criterion: share for criterion, share in shares.items() if share.n or criterion not in UNSAID},
        paired={criterion: mcnemar(real[criterion], found[criterion]) for criterion in tested},
        excess={criterion: paired_excess(real[criterion], found[criterion]) for criterion in tested},
        seeds=len(under.set_seeds),
    )


def untrained_shares(
    fzset: FZSet, block: str, real: Mapping[str, Proportion], really: SeedVerdicts, scan: Scan | None
) -> NullShares | None:
    """The shares of an untrained copy's set; None where it has no verdict. `real` are the network's, and `really` what
    its seeds say: verdicts over seeds are from the seeds that both have. `scan` is the copy's."""
    shares = real_shares(fzset, block, scan)
    if not any(share.n for share in shares.values()):
        return None
    # A copy may have scanned the images, and have no FZs.
    by_fzs = any(share.n for name, share in shares.items() if name not in BY_IMAGES)
    copied = measured_seeds(seed_verdicts(Readings(fzset, [fzset.info.block(block)])))
    common = [seed for seed in really.set_seeds if seed in copied.set_seeds]
    real = {**real, "verdict": proportion(_decided(really.of_seeds(common)))}
    shares["verdict"] = proportion(_decided(copied.of_seeds(common)))
    return NullShares(
        f"{UNTRAINED} {untrained_seed(fzset.info.name)}",
        "untrained",
        real,
        {name: share for name, share in shares.items() if share.n or (by_fzs and name not in UNSAID)},
        excess={
            criterion: excess(real[criterion], shares[criterion], fisher(real[criterion], shares[criterion]))
            for criterion in TESTED
            if real[criterion].n and shares[criterion].n
        },
        seeds=len(common),
    )


def _truths(readings: Readings, altered: Mapping[Tensor, Float64Array] | None = None) -> dict[str, Float64Array]:
    """(C,) truth values of one block, by criterion but the verdict over seeds; `altered` as `verdicts` takes it."""
    found = verdicts(readings, altered)
    found["meets_both"] = found["meets_block"] * found["meets_input"]
    found["beyond_blur"] = beyond_blur(readings, found["meets_mix"], altered)["beyond_blur"]
    return found


def _decided(found: SeedVerdicts) -> Float64Array:
    """(C,): 1 where the verdict over seeds is yes, 0 where it is no or undecided, NaN where there is none.

    One seed alone hardly ever decides for a channel: it says nothing here.
    """
    if len(found.set_seeds) < 2:
        return np.full(found.fz_seed.shape[1], np.nan)
    said = verdict(decide(found.margins, found.scale_invariant, found.fz_seed).probability)
    return np.where(said == "", np.nan, (said == "yes").astype(np.float64))


def measured_seeds(found: SeedVerdicts) -> SeedVerdicts:
    """That of the sets in which anything of the block is measured."""
    known = np.flatnonzero(~np.isnan(found.fz_seed).all(axis=1)).tolist()
    return found.of_seeds([found.set_seeds[row] for row in known])


def _shares(found: Mapping[str, Float64Array]) -> dict[str, Proportion]:
    return {name: proportion(found.get(name, np.empty(0))) for name in CRITERIA}


def _pairing_p(table: Float64Array) -> float:
    """Share of all shifts of the pairing, the real one (0) among them, that hold in at least as many channels."""
    channel = np.arange(len(table))
    holding = np.nansum(table[(channel + channel[:, None]) % len(table), channel], axis=1)
    return float((holding >= holding[0]).mean())


def _random_pairing_p(table: Float64Array) -> float:
    """As `_pairing_p`, of all pairings of n channels where they are no more than `PAIRINGS`, else of so many drawn.

    n shifts alone give no p below 1/n.
    """
    count, held = len(table), np.nan_to_num(table)
    channel = np.arange(count)
    own = held[channel, channel].sum()
    if math.factorial(min(count, 20)) <= PAIRINGS:
        found = [held[list(order), channel].sum() >= own for order in permutations(range(count))]
        return float(np.mean(found))
    draw = np.random.default_rng(0)
    drawn = sum(held[draw.permutation(count), channel].sum() >= own for _ in range(PAIRINGS - 1))
    return float((1 + drawn) / PAIRINGS)
