"""How often the scale criteria hold where they should mean nothing, beside how often they really hold.

A share of channels says little without its false-positive rate. The scale criteria are numbered as in arXiv 2407.05340:
(2) is that of M, (3) that of the block tensor, (4) that of the input tensor.

- shuffled pairs: (3) and (4) where the block feature is one channel's and the input feature another's;
- sham transforms: S and S- both replaced by one that does not change the size of anything;
- blur: both replaced by S after S-, which leaves sizes alone and takes the finer half of an image's band;
- reversed: S- in (3), and S in (4);
- an untrained copy: the same architecture, weights as they were before training;
- other seeds: the same channels with FZs from other noise.

Each is put to every column that says "scale invariant" by FZs where that makes sense: `coverage` says where it does
not, and what is not computed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import permutations
from typing import Literal

import numpy as np

from streamscope.core.analysis.pairs import lacks_pairs, pair_answers
from streamscope.core.analysis.shams import sham_answers
from streamscope.core.measures import criteria
from streamscope.core.measures.decision import decide, verdict
from streamscope.core.measures.stability import Stability
from streamscope.core.measures.statistics import (
    Excess,
    Paired,
    Proportion,
    clustered_proportion,
    excess,
    fisher,
    holm,
    mcnemar,
    paired_excess,
    paired_proportion,
    proportion,
)
from streamscope.core.model.arrays import Float64Array
from streamscope.core.model.blocks import VERDICT_TENSORS, ModelInfo, Tensor
from streamscope.core.model.recipe import SetKey
from streamscope.core.model.spec import architecture_of, untrained_seed
from streamscope.core.store.sets.batches import BLURRED, FURTHER, REVERSED
from streamscope.core.store.sets.fz_set import FZSet
from streamscope.core.store.sets.readings import ALTERED, Readings
from streamscope.core.store.sets.responses import SHAM_TRANSFORMS
from streamscope.core.store.store import Store
from streamscope.core.table.verdicts import Altering, SeedVerdicts, beyond_blur, over_seeds, seed_verdicts, verdicts

CRITERIA = {
    "meets_mix": "(2) mix",
    "meets_block": "(3) block",
    "meets_input": "(4) input",
    "meets_both": "(3) and (4)",
    "scale_invariant": "all three",
    "beyond_blur": "beyond blur",
    "verdict": "yes over seeds",
}
"""What is shared out, by the name of the table's column where there is one, and what to call it."""
UNSAID = ("beyond_blur", "verdict")
"""Of which nothing is said where they are not known: of the paper's protocol, and of one seed."""
TESTED = ("meets_both", "scale_invariant", "beyond_blur", "verdict")
"""Of which it is tested whether they hold more often than under a null."""
BY_FZS = ("scale_invariant", "beyond_blur", "verdict")
"""Columns that say whether a channel is scale invariant, by FZs."""
BY_IMAGES = ("robust", "mei_scale_invariant")
"""And by MEIs."""
NULL_SEEDS = 3
"""Of an untrained copy, at most, so that its verdicts over seeds are as sure as the real ones; a seed takes as long as
`compute`."""
PAIRINGS = 2000
"""Of channels with each other, the real one among them, that its p is from."""
Kind = Literal["shuffled", "measured", "sham", "untrained"]
Lacking = Literal["pairs", "sham", "untrained", "seeds"]
LACKING: Mapping[Lacking, str] = {
    "pairs": "q against pairs",
    "sham": "sham transforms",
    "untrained": "untrained copy",
    "seeds": "other FZ seeds",
}
"""What can be computed for the nulls of a block, in words."""
SHUFFLED = "shuffled pairs"
NAMES = {BLURRED: "blur", REVERSED: "reversed"}
UNTRAINED = "untrained copy"
NOTHING = Proportion(0, 0, math.nan, math.nan)


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


@dataclass(frozen=True)
class SeedAgreement:
    """How one block's verdicts fare with FZs of other seeds, over pairs of a channel and another seed.

    Intervals allow for what the seeds of one channel have in common.
    """

    seeds: int
    """The most seeds that any channel has, its own set's among them."""
    same_update: Proportion
    """Pairs in which the other seed says the same update kind."""
    holds_again: Proportion
    """Of pairs whose channel is scale invariant in this set: those in which it is with the other seed too."""
    appears: Proportion
    """Of pairs whose channel is not: those in which it is with the other seed."""


@dataclass(frozen=True)
class Nulls:
    """All that is known of one block's false positives: what was not computed is not in `nulls`."""

    block: str
    real: Mapping[str, Proportion]
    nulls: tuple[NullShares, ...]
    seeds: SeedAgreement | None
    """None where no other seed is stored."""
    lacking: tuple[Lacking, ...]
    """What is not stored."""

    @property
    def holm(self) -> Mapping[tuple[str, str], float]:
        """By null and criterion: the p of its excess, corrected for all nulls of the block that the criterion is tested
        against. Blocks are questions of their own, and so are criteria."""
        found: dict[tuple[str, str], float] = {}
        for criterion in TESTED:
            tests = [(null.null, null.excess[criterion].p) for null in self.nulls if criterion in null.excess]
            corrected = holm([p for _, p in tests])
            found |= {(name, criterion): p for (name, _), p in zip(tests, corrected, strict=True)}
        return found


def read_nulls(store: Store, info: ModelInfo, key: SetKey, block: str) -> Nulls | None:
    """Every null of a block that is stored, or follows from what is; None where the block has no verdict yet.

    Raises UsageError for an unknown block.
    """
    fzset = store.set(info, key)
    readings = Readings(fzset, [info.block(block)])
    real = real_shares(fzset, block)
    if not any(share.n for share in real.values()):
        return None
    shuffled = shuffled_pairs(fzset, block)
    found = [*([shuffled] if shuffled else []), *measured_shares(fzset, block), *sham_shares(fzset, block)]
    really = _measured(seed_verdicts(readings))
    for copy in untrained_copies(store, info):
        null = _untrained(store.set(copy, key), block, real, really)
        if null is not None:
            found.append(null)
    seeds = seed_agreement(fzset, block)
    by_kind = {kind: [null.seeds for null in found if null.kind == kind] for kind in ("sham", "untrained")}
    stored = len(really.set_seeds)
    lacking: dict[Lacking, bool] = {
        "pairs": lacks_pairs(fzset, block),
        "sham": min(by_kind["sham"], default=0) < stored,
        # A copy of a copy would be the copy itself.
        "untrained": max(by_kind["untrained"], default=0) < min(stored, NULL_SEEDS)
        and untrained_seed(info.name) is None,
        "seeds": seeds is None,
    }
    return Nulls(block, real, tuple(found), seeds, tuple(null for null, lacks in lacking.items() if lacks))


def coverage(nulls: Nulls) -> dict[str, dict[str, str]]:
    """By column that says "scale invariant", by null: `computed`, `not computed`, or why there can be no such null."""
    computed = {null.null: null.shares for null in nulls.nulls}
    centred = bool(nulls.real["beyond_blur"].n)
    names = [SHUFFLED, *NAMES.values(), *(f"sham: {name}" for name in SHAM_TRANSFORMS)]
    names += [name for name in computed if name.startswith(UNTRAINED)] or [UNTRAINED]
    found: dict[str, dict[str, str]] = {}
    for column in BY_FZS:
        found[column] = {}
        for name in names:
            why = "computed" if column in computed.get(name, {}) else "not computed"
            if name == SHUFFLED:
                why = "a pair has no O, and so no M: see (3) and (4)"
            elif not centred and (name in NAMES.values() or column == "beyond_blur"):
                why = "the paper protocol reads nothing blurred or scaled the other way"
            elif (name, column) == (NAMES[BLURRED], "beyond_blur"):
                why = "nothing is more than itself"
            found[column][name] = why
    for column in BY_IMAGES:
        found[column] = dict.fromkeys(names, "photographs are kept as they are read, and scaled")
    return found


def untrained_copies(store: Store, info: ModelInfo) -> list[ModelInfo]:
    """Models in the store that are this one's architecture with initial weights."""
    return [
        copy
        for copy in store.models()
        if untrained_seed(copy.name) is not None and architecture_of(copy.name) == info.name and _alike(copy, info)
    ]


def _alike(copy: ModelInfo, info: ModelInfo) -> bool:
    """Whether two models see the same pixels in the same way: the demo was another network once."""
    if (copy.input_size, copy.mean, copy.std) != (info.input_size, info.mean, info.std):
        return False
    return {t: field.size for t, field in copy.fields.items()} == {t: field.size for t, field in info.fields.items()}


def real_shares(fzset: FZSet, block: str) -> dict[str, Proportion]:
    """Share of a block's channels that meet each criterion, of those of which it is known."""
    readings = Readings(fzset, [fzset.info.block(block)])
    return _shares({**_truths(readings), "verdict": _decided(seed_verdicts(readings))})


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


def sham_shares(fzset: FZSet, block: str) -> list[NullShares]:
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

    return _in_place_of_scaling("sham", fzset, block, {f"sham: {name}": under(name) for name in SHAM_TRANSFORMS})


def measured_shares(fzset: FZSet, block: str) -> list[NullShares]:
    """The criteria with blurring, or with the other scaling, in place of S and S-: what is measured of centred sets.

    An empty list where nothing was.
    """

    def under(axis: int) -> Altering:
        def instead(readings: Readings) -> Mapping[Tensor, Float64Array] | None:
            found = {on: readings.values[ALTERED[on][axis]] for on in VERDICT_TENSORS}
            return None if np.isnan(list(found.values())).all() else found

        return instead

    nulls = {NAMES[null]: under(axis) for axis, null in enumerate(FURTHER, start=1)}
    return _in_place_of_scaling("measured", fzset, block, nulls)


def _in_place_of_scaling(kind: Kind, fzset: FZSet, block: str, nulls: Mapping[str, Altering]) -> list[NullShares]:
    """The verdicts with other readings than those of the scaled FZs, by null; of those that the set has."""
    readings = Readings(fzset, [fzset.info.block(block)])
    really = seed_verdicts(readings)
    found = (_null_shares(name, kind, readings, really, instead) for name, instead in nulls.items())
    return [null for null in found if null is not None]


def _null_shares(
    name: str, kind: Kind, readings: Readings, really: SeedVerdicts, instead: Altering
) -> NullShares | None:
    """None where the set has no such readings. Verdicts over seeds are from the seeds that have them."""
    altered = instead(readings)
    if altered is None:
        return None
    under = seed_verdicts(readings, instead)
    real = {**_truths(readings), "verdict": _decided(really.of_seeds(under.set_seeds))}
    null = {**_truths(readings, altered), "verdict": _decided(under)}
    # M stays as it is; and where blurring is the null, what exceeds blurring cannot be.
    unasked = {"meets_mix", "beyond_blur"} if name == NAMES[BLURRED] else {"meets_mix"}
    shares = {criterion: share for criterion, share in _shares(null).items() if criterion not in unasked}
    tested = [criterion for criterion in TESTED if shares.get(criterion, NOTHING).n]
    return NullShares(
        name,
        kind,
        _shares(real),
        {criterion: share for criterion, share in shares.items() if share.n or criterion not in UNSAID},
        paired={criterion: mcnemar(real[criterion], null[criterion]) for criterion in tested},
        excess={criterion: paired_excess(real[criterion], null[criterion]) for criterion in tested},
        seeds=len(under.set_seeds),
    )


def _untrained(fzset: FZSet, block: str, real: Mapping[str, Proportion], really: SeedVerdicts) -> NullShares | None:
    """The shares of an untrained copy's set; None where it has no verdict. `real` are the network's, and `really` what
    its seeds say: verdicts over seeds are from the seeds that both have."""
    shares = real_shares(fzset, block)
    if not any(share.n for share in shares.values()):
        return None
    copied = _measured(seed_verdicts(Readings(fzset, [fzset.info.block(block)])))
    common = [seed for seed in really.set_seeds if seed in copied.set_seeds]
    real = {**real, "verdict": proportion(_decided(really.of_seeds(common)))}
    shares["verdict"] = proportion(_decided(copied.of_seeds(common)))
    return NullShares(
        f"{UNTRAINED} {untrained_seed(fzset.info.name)}",
        "untrained",
        real,
        {criterion: share for criterion, share in shares.items() if share.n or criterion not in UNSAID},
        excess={
            criterion: excess(real[criterion], shares[criterion], fisher(real[criterion], shares[criterion]))
            for criterion in TESTED
            if real[criterion].n and shares[criterion].n
        },
        seeds=len(common),
    )


def seed_agreement(fzset: FZSet, block: str) -> SeedAgreement | None:
    """How often the verdicts of a block hold with FZs of the other stored seeds; None where there is no other."""
    readings = Readings(fzset, [fzset.info.block(block)])
    stable = over_seeds(readings).stability
    if not (stable.seeds > 1).any():
        return None
    return _agreement(stable, verdicts(readings)["scale_invariant"])


def _agreement(stable: Stability, own: Float64Array) -> SeedAgreement:
    """Counts of pairs from shares of seeds: a share of n seeds less this set's own is one of n - 1 others."""
    several = (stable.seeds > 1) & ~np.isnan(own)
    others = (stable.seeds - 1)[several]
    invariant = own[several] == 1
    same = np.rint((stable.update * stable.seeds)[several]) - 1
    holding = np.rint((stable.scale_invariant * stable.seeds)[several]) - invariant
    return SeedAgreement(
        int(stable.seeds.max()),
        clustered_proportion(same, others),
        clustered_proportion(holding[invariant], others[invariant]),
        clustered_proportion(holding[~invariant], others[~invariant]),
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


def _measured(found: SeedVerdicts) -> SeedVerdicts:
    """That of the sets in which anything of the block is measured."""
    known = np.flatnonzero(~np.isnan(found.fz_seed).all(axis=1)).tolist()
    return found.of_seeds([found.set_seeds[row] for row in known])


def _shares(found: Mapping[str, Float64Array]) -> dict[str, Proportion]:
    return {name: proportion(found[name]) for name in CRITERIA}


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
