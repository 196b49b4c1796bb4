"""Lucent's own transforms, which the engine's are compared with."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch
from torchvision.transforms import CenterCrop

from streamscope.core.model.recipe import Recipe

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLOSE = 2e-3
"""In normalised units on white noise, where a coordinate's rounding shows most; a shift by a hundredth of a pixel
is five times that."""


def lucent_transforms(image: torch.Tensor, choices: np.ndarray, jitter: int, recipe: Recipe, size: int) -> torch.Tensor:
    """Lucent's own transforms with the given choices: each gets a list of one, and its jitter a seeded generator."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from kornia.geometry.transform import translate
        from lucent.optvis import transform

        scale, degree = recipe.scales[choices[0]], recipe.degrees[choices[1]]
        steps = [transform.random_scale([scale]), transform.random_rotate([degree])]
        if jitter:
            # lucent's jitter(d) is translate(image, [[dx, dy]]) with dx, dy from np.random.choice(d).
            def shifted(rows: int, columns: int) -> Callable[[torch.Tensor], torch.Tensor]:
                return lambda x: translate(x, torch.tensor([[columns, rows]]).float())

            before = [transform.pad(jitter, mode="reflect"), shifted(*choices[2:4])]
            steps = [*before, *steps, shifted(*choices[4:6]), CenterCrop(size)]
        shown: torch.Tensor = transform.compose([*steps, transform.normalize()])(image)
        return shown
