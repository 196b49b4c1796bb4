"""How often the scale criteria hold where they should mean nothing, beside how often they really hold.

A share of channels says little without its false-positive rate. The nulls:

- shuffled pairs: (3) and (4) where the block feature is one channel's and the input feature another's;
- sham transforms: S and S- both replaced by one that does not change the size of anything;
- blur: both replaced by S after S-, which leaves sizes alone and takes the finer half of an image's band;
- reversed: S- in (3), and S in (4);
- an untrained copy: the same architecture, weights as they were before training;
- other seeds: the same channels with FZs from other noise.

Each is put to every column that says "scale invariant", by FZs and by images, where that makes sense: `coverage` says
where it does not, and what is not computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from streamscope.core.analysis.image_verdicts import BY_PATCHES, lacks_image_nulls, scan_of_same_images
from streamscope.core.analysis.null_shares import (
    BY_IMAGES,
    NAMES,
    SHUFFLED,
    TESTED,
    UNTRAINED,
    NullShares,
    measured_seeds,
    measured_shares,
    real_shares,
    sham_shares,
    shuffled_pairs,
    untrained_shares,
)
from streamscope.core.analysis.pairs import lacks_pairs
from streamscope.core.measures.stability import Stability
from streamscope.core.measures.statistics import Proportion, clustered_proportion, holm
from streamscope.core.model.arrays import Float64Array
from streamscope.core.model.blocks import ModelInfo
from streamscope.core.model.recipe import SetKey
from streamscope.core.model.spec import architecture_of, untrained_seed
from streamscope.core.store.sets.batches import BLURRED, FURTHER
from streamscope.core.store.sets.fz_set import FZSet
from streamscope.core.store.sets.readings import Readings
from streamscope.core.store.store import Store
from streamscope.core.table.verdicts import over_seeds, seed_verdicts, verdicts

if TYPE_CHECKING:
    from streamscope.core.store.scans.scan import Scan

BY_FZS = ("scale_invariant", "beyond_blur", "verdict")
"""Columns that say whether a channel is scale invariant, by FZs."""
NULL_SEEDS = 3
"""Of an untrained copy, at most, so that its verdicts over seeds are as sure as the real ones; a seed takes as long as
`compute`."""
Lacking = Literal["pairs", "sham", "untrained", "seeds", "images"]
LACKING: Mapping[Lacking, str] = {
    "pairs": "q against pairs",
    "sham": "sham transforms",
    "untrained": "untrained copy",
    "seeds": "other FZ seeds",
    "images": "nulls of verdicts by images",
}
"""What can be computed for the nulls of a block, in words."""


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


def read_nulls(store: Store, info: ModelInfo, key: SetKey, block: str, scan: Scan | None = None) -> Nulls | None:
    """Every null of a block that is stored, or follows from what is; None where the block has no verdict yet.

    Verdicts by images are those of `scan`. Raises UsageError for an unknown block, StoreError where a part of the scan
    is damaged.
    """
    fzset = store.set(info, key)
    readings = Readings(fzset, [info.block(block)])
    real = real_shares(fzset, block, scan)
    if not any(share.n for name, share in real.items() if name not in BY_IMAGES):
        return None
    shuffled = shuffled_pairs(fzset, block)
    found = [*([shuffled] if shuffled else []), *measured_shares(fzset, block, scan), *sham_shares(fzset, block, scan)]
    really = measured_seeds(seed_verdicts(readings))
    copies = untrained_copies(store, info)
    for copy in copies:
        copied = scan_of_same_images(store, copy, scan) if scan is not None else None
        null = untrained_shares(store.set(copy, key), block, real, really, copied)
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
        "images": scan is not None and lacks_image_nulls(store, scan, copies, block, key.protocol),
    }
    return Nulls(block, real, tuple(found), seeds, tuple(null for null, lacks in lacking.items() if lacks))


def coverage(nulls: Nulls) -> dict[str, dict[str, str]]:
    """By column that says "scale invariant", by null: `computed`, `not computed`, or why there can be no such null."""
    computed = {null.null: null.shares for null in nulls.nulls}
    centred = bool(nulls.real["beyond_blur"].n)
    names = [SHUFFLED, *NAMES.values()]
    names += [name for name in computed if name.startswith(UNTRAINED)] or [UNTRAINED]
    found: dict[str, dict[str, str]] = {}
    for column in (*BY_FZS, *BY_IMAGES):
        found[column] = {}
        for name in names:
            why = "computed" if column in computed.get(name, {}) else "not computed"
            if column in BY_IMAGES and not nulls.real[column].n:
                why = "no image says anything of the block"
            elif column == BY_PATCHES and name in _OF_PATCHES:
                why = _OF_PATCHES[name]
            elif name == SHUFFLED:
                why = "a pair has no O, and so no M: see (3) and (4)"
            elif not centred and column != BY_PATCHES and (name in _FURTHER or column == "beyond_blur"):
                why = "the paper protocol reads nothing blurred or scaled the other way"
            elif (name, column) == (NAMES[BLURRED], "beyond_blur"):
                why = "nothing is more than itself"
            found[column][name] = why
    return found


_FURTHER = [NAMES[null] for null in FURTHER]
_OF_PATCHES = {SHUFFLED: "the column is against pairs itself", NAMES[BLURRED]: "see photo_beyond_blur"}
_OF_PATCHES |= {name: "a preference is of sizes alone" for null, name in NAMES.items() if null not in FURTHER}
"""Why there is no such null of photographs."""


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
