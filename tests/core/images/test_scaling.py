"""The scaled FZs that people look at are those that were measured."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from streamscope.core.images.scaling import scaled_down, scaled_up
from streamscope.core.model.arrays import Pixels
from streamscope.core.reading.activations import Scale, scale_down, scale_up


def by_torch(image: Pixels, scale: Scale) -> Pixels:
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    return scale(pixels)[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("side", [64, 225, 224, 31])
@pytest.mark.parametrize(("shown", "measured"), [(scaled_up, scale_up), (scaled_down, scale_down)])
def test_what_is_shown_is_within_one_grey_level_of_what_is_measured(
    side: int, shown: Callable[[Pixels], Pixels], measured: Scale
) -> None:
    image = np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8)
    ours = shown(image)
    assert ours.shape == image.shape
    assert ours.dtype == np.uint8
    assert np.abs(ours.astype(float) - by_torch(image, measured)).max() <= 1
