"""Which change makes the verdicts of two protocols differ, one change at a time, and what half a pixel does to either.

From a set of the paper's protocol to a centred one, in this order:

1. jitter: FZs made under transforms that move nothing on average, the same for FZ(I) and FZ(B); the recipe stays;
2. recipe: FZs made by the centred recipe;
3. centre: S and S- about the centre of the receptive field, still bilinear and not antialiased;
4. kernel: S and S- by Lanczos, antialiased, as the mean over c moved by half a pixel.

Each is made after those before it, so that what it does depends on the order: about a whole pixel, where 3 puts it, the
paper's S- takes every other pixel and no longer smooths, until 4 does. M, and so the kind of update, follows from the
FZs alone, that is from 1 and 2. These can be told apart where a set is stored that has the one without the other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from streamscope.core.analysis.comparison import CRITERIA
from streamscope.core.images.bilinear import paper_down, paper_up
from streamscope.core.images.lanczos import Resampling, scaling
from streamscope.core.images.scaling import FACTORS
from streamscope.core.measures import criteria
from streamscope.core.measures.agreement import Flips, flips
from streamscope.core.model.arrays import Float64Array
from streamscope.core.model.blocks import VERDICT_TENSORS, ModelInfo, Target, Tensor
from streamscope.core.model.recipe import Protocol, SetKey
from streamscope.core.store.sets.fz_set import FZSet
from streamscope.core.store.sets.readings import Readings
from streamscope.core.store.store import Store
from streamscope.core.table.verdicts import verdicts

JITTER, RECIPE, CENTRE, KERNEL = "jitter", "recipe", "centre", "kernel"
MOVES = (0.5, -0.5)
"""In px, on both axes: how far c is moved to see how much verdicts hang on where it is."""

Versions = Mapping[str, Mapping[Tensor, Resampling]]
"""Ways of altering a block's FZs, by name: one for FZ(I) and one for FZ(B) each."""
Altered = Mapping[str, Mapping[Tensor, Float64Array]]
"""What is read of them, by the same names: what the other tensor of every channel of the block says."""
Reader = Callable[[FZSet, str, NDArray[np.int64], Versions], Altered]
"""What reads altered FZs of some channels of a block (`reading.altered.read_altered`, given a network)."""

_Stage = tuple[tuple[str, ...], Mapping[str, Float64Array]]
"""Verdicts of a block's channels, and the changes that lead to them from those before."""


@dataclass(frozen=True)
class Step:
    """What one change does to the verdicts of the channels that both sets have."""

    changes: tuple[str, ...]
    """One of jitter, recipe, centre and kernel; two where they cannot be told apart."""
    criteria: Mapping[str, Flips]
    """By criterion, of `comparison.CRITERIA`."""
    flipped: Mapping[str, frozenset[int]]
    """Channels whose `update` or `scale_invariant` it changes."""

    @property
    def name(self) -> str:
        return " and ".join(self.changes)


@dataclass(frozen=True)
class Attribution:
    """The changes that lead from the paper's verdicts on one block to the centred ones."""

    block: str
    channels: tuple[int, ...]
    steps: tuple[Step, ...]
    lacking: SetKey | None
    """The set that would tell jitter and recipe apart, where it lacks some of the channels."""

    def causes(self, channel: int, changed: Collection[str]) -> list[str]:
        """The steps that change any of what is `changed` of a channel, of update and scale_invariant."""
        return [step.name for step in self.steps if any(channel in step.flipped.get(name, ()) for name in changed)]


@dataclass(frozen=True)
class Move:
    """What moving the point that FZs are scaled about by `move` px on both axes does to one set's verdicts."""

    block: str
    protocol: Protocol
    move: float
    criteria: Mapping[str, Flips]


def attribute(
    store: Store, paper: FZSet, centred: FZSet, block: str, channels: NDArray[np.int64], read: Reader
) -> Attribution:
    """Attributes what differs between a set of each protocol over those `channels` of a block that both have.

    Raises StoreError when an FZ cannot be read.
    """
    info = paper.info
    by_paper, about_c = {"paper": _by_paper(info)}, {CENTRE: _by_paper(info, _centres(info, block))}
    of_paper, of_centred = (Readings(fzset, [info.block(block)]) for fzset in (paper, centred))
    altered = read(centred, block, channels, {**by_paper, **about_c})

    stages: list[_Stage] = [((), verdicts(of_paper))]
    lacking: SetKey | None = None
    of_fzs: tuple[str, ...] = (JITTER,)
    between = store.set(info, replace(paper.key, protocol="centred"))
    if between.key != centred.key:
        of_between = Readings(between, [info.block(block)])
        if of_between.complete[channels].all():
            stages.append(((JITTER,), verdicts(of_between, read(between, block, channels, by_paper)["paper"])))
            of_fzs = (RECIPE,)
        else:
            of_fzs, lacking = (JITTER, RECIPE), between.key
    stages += [
        (of_fzs, verdicts(of_centred, altered["paper"])),
        ((CENTRE,), verdicts(of_centred, altered[CENTRE])),
        ((KERNEL,), verdicts(of_centred)),
    ]
    steps = [
        Step(changes, _flips(before, after, channels), _flipped(before, after, channels))
        for (_, before), (changes, after) in pairwise(stages)
    ]
    return Attribution(block, tuple(channels.tolist()), tuple(steps), lacking)


def moves_of(fzset: FZSet, block: str, channels: NDArray[np.int64], read: Reader) -> list[Move]:
    """What half a pixel does to the verdicts of a set, of either protocol, over some channels of a block.

    Raises StoreError when an FZ cannot be read.
    """
    info, protocol = fzset.info, fzset.key.protocol
    if protocol == "paper":
        ways = {f"{move:+g}": _by_paper(info, move=move) for move in MOVES}
    else:
        ways = {f"{move:+g}": _by_centred(info, _centres(info, block), move) for move in MOVES}
    readings = Readings(fzset, [info.block(block)])
    stored, altered = verdicts(readings), read(fzset, block, channels, ways)
    return [
        Move(block, protocol, move, _flips(stored, verdicts(readings, altered[name]), channels))
        for move, name in zip(MOVES, ways, strict=True)
    ]


def _centres(info: ModelInfo, block: str) -> dict[Tensor, float]:
    return {on: info.field_of(Target(block, on)).centre for on in VERDICT_TENSORS}


def _by_paper(
    info: ModelInfo, about: Mapping[Tensor, float] | None = None, move: float = 0.0
) -> dict[Tensor, Resampling]:
    """S and S- by the paper's kernel, about other points than the paper's, or about that one moved."""
    up, down = (None if about is None else about[on] for on in VERDICT_TENSORS)
    return {"in": paper_up(info.input_size, up, move), "block": paper_down(info.input_size, down, move)}


def _by_centred(info: ModelInfo, about: Mapping[Tensor, float], move: float) -> dict[Tensor, Resampling]:
    """S and S- of the centred protocol, with c moved."""
    return {on: scaling(info.input_size, about[on] + move, FACTORS[on]) for on in VERDICT_TENSORS}


def _flips(
    before: Mapping[str, Float64Array], after: Mapping[str, Float64Array], channels: NDArray[np.int64]
) -> dict[str, Flips]:
    return {name: flips(before[name][channels], after[name][channels]) for name in CRITERIA}


def _flipped(
    before: Mapping[str, Float64Array], after: Mapping[str, Float64Array], channels: NDArray[np.int64]
) -> dict[str, frozenset[int]]:
    kinds = [criteria.update_kind(stage["mix_ratio"]) for stage in (before, after)]
    update = (kinds[0] != kinds[1]) & (kinds[0] != "") & (kinds[1] != "")
    a, b = before["scale_invariant"], after["scale_invariant"]
    invariant = (a != b) & ~np.isnan(a) & ~np.isnan(b)
    found = {"update": update, "scale_invariant": invariant}
    return {name: frozenset(channels[changed[channels]].tolist()) for name, changed in found.items()}
