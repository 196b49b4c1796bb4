"""Spends FZ seeds where verdicts are undecided: which channels want one more. Never imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from streamscope.core.jobs.plan import Request
from streamscope.core.measures.decision import SURE, verdict
from streamscope.core.model.blocks import VERDICT_TENSORS, ModelInfo
from streamscope.core.store import FZSet, Store
from streamscope.core.store.sets.readings import Readings
from streamscope.core.table.verdicts import OverSeeds, over_seeds

MOST_SEEDS = 8
"""Of one channel. What is undecided then lies on a threshold: its verdict is that of noise."""


@dataclass(frozen=True)
class Spent:
    """What the verdicts of a request's channels came to, and what they cost."""

    channels: int
    """That have a verdict."""
    yes: int
    no: int
    undecided: int
    seeds: float
    """A channel has, in the mean."""


def next_request(
    store: Store, info: ModelInfo, request: Request, most: int = MOST_SEEDS, updates: bool = False
) -> Request | None:
    """FZ(I) and FZ(B) of one more seed, for those of a request's channels that are undecided by the seeds there are.

    `updates` asks for the kind of update too, not for scale invariance alone. Seeds follow that of the request, `most`
    of them in all. None when nothing is undecided, or all seeds are spent.
    """
    fzset = store.set(info, request.key)
    waiting = _undecided(info, fzset, request, updates)
    for seed in range(request.key.seed + 1, request.key.seed + most):
        key = replace(request.key, seed=seed)
        channels = {block: _unread(info, store.set(info, key), block, rows) for block, rows in waiting.items()}
        blocks = tuple(block for block, wanted in channels.items() if wanted)
        if blocks:
            return replace(
                request, key=key, blocks=blocks, tensors=VERDICT_TENSORS, channels={b: channels[b] for b in blocks}
            )
    return None


def spent(info: ModelInfo, fzset: FZSet, request: Request) -> Spent:
    """Over the channels of a request."""
    found = _together(info, fzset, request)
    said = [verdict(together.decision.probability)[rows] for together, rows in found.values()]
    every = np.concatenate(said) if said else np.empty(0, dtype=object)
    seeds = [together.decision.seeds[rows] for together, rows in found.values()]
    counted = np.concatenate(seeds)[every != ""] if seeds else np.empty(0)
    return Spent(
        int((every != "").sum()),
        int((every == "yes").sum()),
        int((every == "no").sum()),
        int((every == "undecided").sum()),
        float(counted.mean()) if len(counted) else 0.0,
    )


def _undecided(info: ModelInfo, fzset: FZSet, request: Request, updates: bool) -> Mapping[str, NDArray[np.intp]]:
    found = {}
    for block, (together, rows) in _together(info, fzset, request).items():
        undecided = verdict(together.decision.probability) == "undecided"
        if updates:
            undecided = undecided | (together.decision.update_probability < SURE)
        found[block] = rows[undecided[rows]]
    return found


def _together(info: ModelInfo, fzset: FZSet, request: Request) -> dict[str, tuple[OverSeeds, NDArray[np.intp]]]:
    """By block what its seeds say together, and the channels that are asked for."""
    return {
        name: (
            over_seeds(Readings(fzset, [info.block(name)])),
            np.array(request.channels_of(info, name), dtype=np.intp),
        )
        for name in request.blocks
    }


def _unread(info: ModelInfo, fzset: FZSet, block: str, channels: NDArray[np.intp]) -> tuple[int, ...]:
    """Those channels whose FZs of this set are not measured."""
    complete = Readings(fzset, [info.block(block)]).complete
    return tuple(channels[~complete[channels]].tolist())
