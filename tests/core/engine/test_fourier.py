import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch

from streamscope.core.engine.fourier import Spectrum, from_8_bit, random_parameters, to_8_bit
from tests.support.optional import present


def _lucent_image(size: int) -> tuple[torch.Tensor, Callable[[], torch.Tensor]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lucent.optvis import param
    torch.manual_seed(0)
    parameters, image = param.image(size)
    with torch.no_grad():
        # Lucent starts at sd 0.01; larger parameters make every frequency count.
        parameters[0] *= 50
    return parameters[0], image


@pytest.mark.parametrize(("size", "start", "stop"), [(224, 0, 224), (224, 90, 133), (64, 0, 64), (64, 3, 20)])
def test_a_patch_is_what_lucents_image_shows_there(size: int, start: int, stop: int) -> None:
    parameters, image = _lucent_image(size)
    with torch.no_grad():
        ours = Spectrum.patch(size, 1.0, start, stop).image(parameters.transpose(2, 3))
        assert float((ours - image()[:, :, start:stop, start:stop]).abs().max()) < 5e-6


def test_gradients_of_the_parameters_are_lucents() -> None:
    parameters, image = _lucent_image(64)
    weight = torch.randn(1, 3, 64, 64)
    (image() * weight).sum().backward()
    lucents = present(parameters.grad).clone()
    parameters.grad = None
    (Spectrum.patch(64, 1.0, 0, 64).image(parameters.transpose(2, 3)) * weight).sum().backward()
    assert torch.allclose(present(parameters.grad), lucents, atol=1e-5 * float(lucents.abs().max()))


def test_random_parameters_have_the_recipes_deviation() -> None:
    drawn = random_parameters(64, 0.01, np.random.default_rng(0))
    assert drawn.shape == (3, 33, 64, 2)
    assert drawn.std() == pytest.approx(0.01, rel=0.02)


def test_8_bit_images_are_truncated_and_read_back() -> None:
    images = torch.tensor([0.0, 0.5, 0.999, 1.0]).expand(1, 3, 1, 4)
    stored = to_8_bit(images)
    assert stored.shape == (1, 1, 4, 3)
    assert stored[0, 0, :, 0].tolist() == [0, 127, 254, 255]
    assert from_8_bit(stored)[0, 0, 0].tolist() == pytest.approx([0, 127 / 255, 254 / 255, 1])
