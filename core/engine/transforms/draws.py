"""What every protocol's random transforms do, and what random choices come to, worked out before the first step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Protocol

import numpy as np
import torch

from streamscope.core.engine.cone import Cone


@dataclass(frozen=True)
class Draws:
    """What some random choices mean to one transform, on its device, so that a step waits for nothing.

    All have the leading shape of the choices, (n,) or (steps, n).
    """

    rows: torch.Tensor
    """Which resampling matrix the rows take."""
    columns: torch.Tensor
    theta: torch.Tensor
    """(..., 2, 3): from the rotated patch to the scaled patch, both in grid_sample's -1..1."""
    down: torch.Tensor
    """Fraction of a px that the second jitter moves the patch by."""
    right: torch.Tensor
    size: torch.Tensor
    """Which of the cone's sizes the network sees the image at."""

    def __getitem__(self, step: int | slice) -> Draws:
        return Draws(*(getattr(self, f.name)[step] for f in fields(self)))

    @classmethod
    def joined(cls, parts: Sequence[Draws]) -> Draws:
        """The draws of several lots of images as those of one."""
        return cls(*(torch.cat([getattr(part, f.name) for part in parts]) for f in fields(cls)))


class RandomTransform(Protocol):
    """From an image patch, by random transforms, to the normalised patch that a cone reads."""

    cone: Cone
    start: int
    stop: int
    """Bounds of the pixels of the image that any draw can reach."""

    def choices(self, steps: int, generator: np.random.Generator) -> np.ndarray:
        """Random choices of one image for `steps` steps, (steps, 6)."""
        ...

    def draws(self, choices: np.ndarray) -> Draws:
        """What choices (..., 6) come to."""
        ...

    def activations(self, patch: torch.Tensor, draws: Draws) -> torch.Tensor:
        """Centre activations (n, channels) of transformed image patches (n, 3, stop - start, stop - start) in 0..1."""
        ...
