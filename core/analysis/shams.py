"""What is stored of FZs and MEIs under sham transforms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from streamscope.core.model.arrays import Float64Array
from streamscope.core.model.blocks import VERDICT_TENSORS, Tensor
from streamscope.core.store.layout import SHAMS
from streamscope.core.store.sets.fz_set import FZSet
from streamscope.core.store.sets.responses import READ_OUT, ResponseBatch, set_responses


def sham_answers(fzset: FZSet, block: str) -> dict[Tensor, dict[str, Float64Array]]:
    """What the other tensor says to the FZs of `in` and of `block`, by sham: (C,), NaN where not computed."""
    stored = {on: set_responses(fzset, SHAMS, block, on) for on in VERDICT_TENSORS}
    return answers_in(stored, fzset.info.block(block).channels)


def answers_in(
    stored: Mapping[Tensor, Iterable[ResponseBatch]], channels: int
) -> dict[Tensor, dict[str, Float64Array]]:
    """The same of batches of a block of so many channels, by the tensor whose images they are of."""
    answers: dict[Tensor, dict[str, Float64Array]] = {}
    for on, read in zip(VERDICT_TENSORS, reversed(VERDICT_TENSORS), strict=True):
        answers[on] = {}
        for batch in stored[on]:
            for axis, name in enumerate(batch.versions):
                column = answers[on].setdefault(name, np.full(channels, np.nan))
                column[list(batch.channels)] = batch.values[:, READ_OUT.index(read), axis]
    return answers
