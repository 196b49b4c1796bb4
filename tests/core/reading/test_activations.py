from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional

from streamscope.core.engine.fourier import from_8_bit
from streamscope.core.images.lanczos import Resampling, blur, flip, quarter_turn, scaling, shift
from streamscope.core.reading.activations import CHUNK, BlockReader, Branch, scale_down, scale_up
from tests.support.by_hand import forward_by_hand
from tests.support.networks import hand_set_network


@pytest.mark.parametrize("side", [224, 64])
def test_scale_up_is_a_centre_crop_to_half_resized_back(side: int) -> None:
    images = torch.rand(2, 3, side, side)
    expected = functional.resize(functional.center_crop(images, [side // 2]), [side], antialias=False)
    assert torch.allclose(scale_up(images), expected, atol=1e-6)


def test_scale_down_is_half_the_size_with_reflections_around_it() -> None:
    images = torch.rand(1, 3, 224, 224)
    small = functional.resize(images, [112], antialias=False)
    got = scale_down(images)
    assert torch.allclose(got[:, :, 56:168, 56:168], small, atol=1e-6)
    assert torch.equal(got[:, :, 55, 56:168], got[:, :, 57, 56:168])
    assert torch.equal(got[:, :, 0, 0], got[:, :, 112, 112])
    # Without antialiasing a half-size pixel is the mean of the middle four of its own four.
    assert torch.allclose(small[0, :, 0, 0], images[0, :, :2, :2].mean(dim=(1, 2)), atol=1e-6)


def test_a_blob_doubles_and_halves_about_the_centre() -> None:
    image = np.zeros((64, 64, 3), dtype=np.uint8)
    image[28:36, 28:36] = 255
    pixels = from_8_bit(image[None])
    area = float(pixels[0, 0].sum())
    assert float(scale_up(pixels)[0, 0].sum()) == pytest.approx(4 * area, rel=0.05)
    # Reflections of the blob lie at the border; the middle half holds the blob itself.
    assert float(scale_down(pixels)[0, 0, 16:48, 16:48].sum()) == pytest.approx(area / 4, rel=0.05)


def test_activations_are_those_of_a_full_forward_pass_of_every_channel() -> None:
    network = hand_set_network()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (CHUNK + 3, 64, 64, 3), dtype=np.uint8)
    reader = BlockReader(network, "1.1")
    for scale in (None, scale_up, scale_down):
        got = reader.read(images, scale)
        pixels = from_8_bit(images)
        by_hand = forward_by_hand(network.module, pixels if scale is None else scale(pixels))["1.1"]
        assert got.shape == (CHUNK + 3, 3, 8)
        for row, tensor in enumerate(("in", "block", "pre")):
            assert got[:, row] == pytest.approx(by_hand[tensor][:, :, 8, 8].numpy(), abs=1e-5)


@pytest.mark.parametrize(
    "resampling",
    [scaling(64, 32, 2), scaling(64, 33.5, 0.5), blur(64, 32), flip(64, 32), quarter_turn(64, 30), shift(64, 5)],
)
def test_a_resampling_is_read_as_the_mean_over_full_forward_passes_of_its_versions(resampling: Resampling) -> None:
    network = hand_set_network()
    images = np.random.default_rng(0).integers(0, 256, (CHUNK + 3, 64, 64, 3), dtype=np.uint8)
    pixels = images.transpose(0, 3, 2, 1) if resampling.transposed else images.transpose(0, 3, 1, 2)
    passes = []
    for row, column in resampling.pairs:
        version = resampling.rows[row] @ (pixels / 255) @ resampling.columns[column].T
        by_hand = forward_by_hand(network.module, torch.from_numpy(version).float())["1.1"]
        passes.append(np.stack([by_hand[tensor][:, :, 8, 8].numpy() for tensor in ("in", "block", "pre")], axis=1))
    plain, got, doubled = BlockReader(network, "1.1").read_each(images, [None, resampling, scale_up])
    assert got == pytest.approx(np.mean(passes, axis=0), abs=1e-5)
    assert np.array_equal(plain, BlockReader(network, "1.1").read(images))
    assert np.array_equal(doubled, BlockReader(network, "1.1").read(images, scale_up))
    branches: tuple[Branch, ...] = ("in", "block")
    for row, of in enumerate(branches):
        plain_too, alone, doubled_too = BlockReader(network, "1.1").read_each(images, [None, resampling, scale_up], of)
        assert alone[:, row] == pytest.approx(got[:, row], abs=1e-5)
        assert np.isnan(np.delete(alone, row, axis=1)).all()
        assert np.array_equal(plain_too, plain)
        assert np.array_equal(doubled_too, doubled)


def test_pixels_read_from_a_png_are_those_written(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    assert torch.equal(from_8_bit(np.asarray(Image.open(tmp_path / "a.png"))[None]), from_8_bit(image[None]))
