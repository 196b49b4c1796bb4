"""What is stored of a set's FZs under sham transforms."""

from __future__ import annotations

import numpy as np

from streamscope.core.model.arrays import Float64Array
from streamscope.core.model.blocks import VERDICT_TENSORS, Tensor
from streamscope.core.store.layout import SHAMS
from streamscope.core.store.sets.fz_set import FZSet
from streamscope.core.store.sets.responses import READ_OUT, set_responses


def sham_answers(fzset: FZSet, block: str) -> dict[Tensor, dict[str, Float64Array]]:
    """What the other tensor says to the FZs of `in` and of `block`, by sham: (C,), NaN where not computed."""
    channels = fzset.info.block(block).channels
    answers: dict[Tensor, dict[str, Float64Array]] = {}
    for on, read in zip(VERDICT_TENSORS, reversed(VERDICT_TENSORS), strict=True):
        answers[on] = {}
        for batch in set_responses(fzset, SHAMS, block, on):
            for axis, name in enumerate(batch.versions):
                column = answers[on].setdefault(name, np.full(channels, np.nan))
                column[list(batch.channels)] = batch.values[:, READ_OUT.index(read), axis]
    return answers
