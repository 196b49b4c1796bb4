"""How often the scale criteria hold where they should mean nothing, beside how often they really hold.

A share of channels says little without its false-positive rate. The scale criteria are numbered as in arXiv 2407.05340:
(2) is that of M, (3) that of the block tensor, (4) that of the input tensor.

- shuffled pairs: (3) and (4) where the block feature is one channel's and the input feature another's;
- sham transforms: S and S- both replaced by one that does not change the size of anything;
- blur: both replaced by S after S-, which leaves sizes alone and takes the finer half of an image's band;
- reversed: S- in (3), and S in (4);
- an untrained copy: the same architecture, weights as they were before training;
- other seeds: the same channels with FZs from other noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from streamscope.core.analysis.pairs import pair_answers
from streamscope.core.measures import criteria
from streamscope.core.measures.stability import Stability
from streamscope.core.measures.statistics import (
    Paired,
    Proportion,
    clustered_proportion,
    mcnemar,
    paired_proportion,
    proportion,
)
from streamscope.core.model.arrays import Float64Array
from streamscope.core.model.blocks import VERDICT_TENSORS, ModelInfo, Tensor
from streamscope.core.model.recipe import SetKey
from streamscope.core.model.spec import architecture_of, untrained_seed
from streamscope.core.store.layout import SHAMS
from streamscope.core.store.sets.batches import BLURRED, FURTHER, REVERSED
from streamscope.core.store.sets.fz_set import FZSet
from streamscope.core.store.sets.readings import ALTERED, Readings
from streamscope.core.store.sets.responses import READ_OUT, SHAM_TRANSFORMS, set_responses
from streamscope.core.store.store import Store
from streamscope.core.table.verdicts import over_seeds, verdicts

CRITERIA = {
    "meets_mix": "(2) mix",
    "meets_block": "(3) block",
    "meets_input": "(4) input",
    "meets_both": "(3) and (4)",
    "scale_invariant": "all three",
}
"""What is shared out, by the name of the table's column where there is one, and what to call it."""
PAIRED = ("meets_both", "scale_invariant")
"""Of which it is tested whether they hold more often than under a null of the same channels."""
Kind = Literal["shuffled", "measured", "sham", "untrained"]
Lacking = Literal["sham", "untrained", "seeds"]
LACKING: Mapping[Lacking, str] = {
    "sham": "sham transforms",
    "untrained": "untrained copy",
    "seeds": "other FZ seeds",
}
"""What can be computed for the nulls of a block, in words."""
SHUFFLED = "shuffled pairs"
NAMES = {BLURRED: "blur", REVERSED: "reversed"}


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
    """By criterion, of `PAIRED`, where the null is of the same channels: the real verdicts (first) against it."""


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


def read_nulls(store: Store, info: ModelInfo, key: SetKey, block: str) -> Nulls | None:
    """Every null of a block that is stored, or follows from what is; None where the block has no verdict yet.

    Raises UsageError for an unknown block.
    """
    fzset = store.set(info, key)
    real = real_shares(fzset, block)
    if not any(share.n for share in real.values()):
        return None
    shuffled = shuffled_pairs(fzset, block)
    found = [*([shuffled] if shuffled else []), *measured_shares(fzset, block), *sham_shares(fzset, block)]
    for copy in untrained_copies(store, info):
        shares = real_shares(store.set(copy, key), block)
        if any(share.n for share in shares.values()):
            found.append(NullShares(f"untrained copy {untrained_seed(copy.name)}", "untrained", real, shares))
    seeds = seed_agreement(fzset, block)
    kinds = {null.kind for null in found}
    lacking: dict[Lacking, bool] = {
        "sham": "sham" not in kinds,
        # A copy of a copy would be the copy itself.
        "untrained": "untrained" not in kinds and untrained_seed(info.name) is None,
        "seeds": seeds is None,
    }
    return Nulls(block, real, tuple(found), seeds, tuple(null for null, lacks in lacking.items() if lacks))


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
    return _shares(verdicts(Readings(fzset, [fzset.info.block(block)])))


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
    return NullShares(
        SHUFFLED,
        "shuffled",
        {name: proportion(np.diag(table)) for name, table in pairs.items()},
        {name: paired_proportion(table) for name, table in pairs.items()},
        {name: _pairing_p(table) for name, table in pairs.items()},
    )


def sham_shares(fzset: FZSet, block: str) -> list[NullShares]:
    """The criteria with a sham transform in place of S and S-; M, and so criterion (2), stays as it is.

    Those computed only; of a block in which nothing was, an empty list.
    """
    readings = Readings(fzset, [fzset.info.block(block)])
    answers: dict[Tensor, dict[str, Float64Array]] = {}
    for on, read in zip(VERDICT_TENSORS, reversed(VERDICT_TENSORS), strict=True):
        answers[on] = {}
        for batch in set_responses(fzset, SHAMS, block, on):
            for axis, name in enumerate(batch.versions):
                column = answers[on].setdefault(name, np.full(len(readings), np.nan))
                column[list(batch.channels)] = batch.values[:, READ_OUT.index(read), axis]
    return [
        _in_place_of_scaling(f"sham: {name}", "sham", readings, {on: answers[on][name] for on in VERDICT_TENSORS})
        for name in SHAM_TRANSFORMS
        if name in answers["in"] and name in answers["block"]
    ]


def measured_shares(fzset: FZSet, block: str) -> list[NullShares]:
    """The criteria with blurring, or with the other scaling, in place of S and S-: what is measured of centred sets.

    An empty list where nothing was.
    """
    readings = Readings(fzset, [fzset.info.block(block)])
    found = []
    for axis, null in enumerate(FURTHER, start=1):
        instead = {on: readings.values[ALTERED[on][axis]] for on in VERDICT_TENSORS}
        if not np.isnan(list(instead.values())).all():
            found.append(_in_place_of_scaling(NAMES[null], "measured", readings, instead))
    return found


def _in_place_of_scaling(
    name: str, kind: Kind, readings: Readings, altered: Mapping[Tensor, Float64Array]
) -> NullShares:
    """The criteria with other readings than those of the scaled FZs."""
    real, null = verdicts(readings), verdicts(readings, altered)
    shares = {criterion: share for criterion, share in _shares(null).items() if criterion != "meets_mix"}
    paired = {criterion: mcnemar(_verdict(real, criterion), _verdict(null, criterion)) for criterion in PAIRED}
    return NullShares(name, kind, _shares(real), shares, paired=paired)


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


def _shares(found: Mapping[str, Float64Array]) -> dict[str, Proportion]:
    return {name: proportion(_verdict(found, name)) for name in CRITERIA}


def _verdict(found: Mapping[str, Float64Array], criterion: str) -> Float64Array:
    return found["meets_block"] * found["meets_input"] if criterion == "meets_both" else found[criterion]


def _pairing_p(table: Float64Array) -> float:
    """Share of all shifts of the pairing, the real one (0) among them, that hold in at least as many channels."""
    channel = np.arange(len(table))
    holding = np.nansum(table[(channel + channel[:, None]) % len(table), channel], axis=1)
    return float((holding >= holding[0]).mean())
