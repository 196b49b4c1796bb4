"""The scaled FZs that people look at are those that were measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch

from streamscope.core.images.scaling import patch_at_sizes, scaled_down, scaled_picture, scaled_up
from streamscope.core.model.arrays import Pixels
from streamscope.core.model.blocks import VERDICT_TENSORS, Field, Tensor
from streamscope.core.reading.activations import Scale, scale_down, scale_up
from tests.support.stores import toy_info


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


@pytest.mark.parametrize("on", VERDICT_TENSORS)
def test_a_picture_follows_the_protocol(on: Tensor) -> None:
    # The field of both tensors is about pixel 40 of 64.
    info = dataclasses.replace(
        toy_info(), input_size=64, fields={f"2.0.{tensor}": Field(0, 64, 99, 40.0) for tensor in VERDICT_TENSORS}
    )
    image = np.zeros((64, 64, 3), dtype=np.uint8)
    image[38:43, 38:43] = 255
    centred = scaled_picture(info, "2.0", on, "centred")(image)
    # At the borders of a shrunk image lie its reflections.
    bright = centred[22:59, 22:59, 0] > 127
    assert np.argwhere(bright).mean(axis=0) + 22 == pytest.approx([40, 40])
    assert centred[22:59, 22:59, 0].sum() / 255 == pytest.approx(100 if on == "in" else 6.25, rel=0.12)
    paper = scaled_picture(info, "2.0", on, "paper")(image)
    assert np.array_equal(paper, scaled_up(image) if on == "in" else scaled_down(image))


def test_a_patch_comes_to_the_point_where_it_is_read_and_grows_about_it() -> None:
    image = np.zeros((64, 64, 3), dtype=np.uint8)
    image[18:23, 42:47, 1] = 255
    image[10, 10] = 255
    found = patch_at_sizes(image, (20, 44), 32, (22, 43), (0.5, 1, 2))
    assert [patch.shape for patch in found] == [(21, 21, 3)] * 3
    for patch, factor in zip(found, (0.5, 1, 2), strict=True):
        assert np.argwhere(patch[..., 1] > 127).mean(axis=0) + 22 == pytest.approx([32, 32])
        assert patch[..., 1].sum() / 255 == pytest.approx(25 * factor**2, rel=0.12)
        assert not patch[..., (0, 2)].any()
    # At its own size it is moved by whole pixels, which changes none of them.
    assert np.array_equal(found[1], image[10:31, 34:55])
