"""FZs as an optimisation leaves them, before they are stored. Never imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from streamscope.core.model.arrays import FloatArray, Pixels
from streamscope.core.model.blocks import Target

SAMPLES = 32
"""How often an FZ's activation is read during its optimisation; the last sample is at the end."""

Flag = Literal["", "no gradient", "non-finite", "never positive"]
NO_FLAG: Flag = ""
NO_GRADIENT: Flag = "no gradient"
"""The FZ never moved."""
NON_FINITE: Flag = "non-finite"
NEVER_POSITIVE: Flag = "never positive"
FLAGS: tuple[Flag, ...] = (NO_FLAG, NO_GRADIENT, NON_FINITE, NEVER_POSITIVE)
"""What can go wrong with an FZ; empty where nothing did."""


@dataclass(frozen=True, eq=False)
class FZBatch:
    """FZs of n channels of one target."""

    target: Target
    channels: tuple[int, ...]
    images: Pixels
    """(n, side, side, 3): the images to store."""
    activation: FloatArray
    """(n,): centre activation of the stored image at the objective, without transforms."""
    trace: FloatArray
    """(n, 32): the same for the image as it was after each 1/32 of its steps."""
    flags: tuple[Flag, ...]
    steps: tuple[int, ...] = ()
    """Steps that each took: the recipe's, or fewer by a recipe that stops what has converged. Not stored."""
