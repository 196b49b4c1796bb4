"""What a network is shown of a photograph is what the library that it comes from shows it, to the last bit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image

from streamscope.core.engine.fourier import from_8_bit
from streamscope.core.engine.normalisation import Normalisation
from streamscope.core.images.folder import Preparation
from streamscope.core.model.blocks import ModelInfo
from streamscope.core.model.preprocessing import INTERPOLATIONS, Preprocessing
from streamscope.core.model.preprocessing_sources import TORCHVISION, of_timm, of_weights
from streamscope.core.model.spec import RESNETS, ModelSpec
from tests.support.optional import present
from tests.support.stores import toy_info

SIZES = [(500, 375), (375, 501), (256, 256), (232, 233), (231, 640), (1023, 229), (47, 33), (1, 5), (90, 3)]
"""Odd and even leftovers beside the middle, no resizing, shrinking, growing; (1, 5) and (90, 3) are hardly images."""
MODES = ["RGB", "L", "P", "RGBA", "CMYK", "1"]


def drawn(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Shapes on a gradient, with noise: edges that show a shift, and all 256 levels."""
    random = np.random.default_rng(width * 1000 + height)
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([255 * x / width, 255 * y / height, 127 + 127 * np.sin(x / 3) * np.cos(y / 5)], axis=2)
    pixels[(x - width / 3) ** 2 + (y - height / 2) ** 2 < (min(width, height) / 4) ** 2] = (250, 5, 128)
    noisy = np.clip(pixels + random.normal(0, 12, pixels.shape), 0, 255)
    return Image.fromarray(noisy.astype(np.uint8)).convert(mode)


def shown(preprocessing: Preprocessing, image: Image.Image) -> torch.Tensor:
    """(3, side, side): what the network is given."""
    info = described(preprocessing)
    pixels = Preparation.of(info).apply(image)
    return Normalisation.of(info, torch.device("cpu"))(from_8_bit(pixels[None]))[0]


def described(preprocessing: Preprocessing) -> ModelInfo:
    size, mean, std = preprocessing.seen
    made_up = toy_info()
    return ModelInfo(
        "toy", made_up.fingerprint, size, mean, std, made_up.blocks, made_up.default_blocks, made_up.default_recipe
    ).showing(preprocessing)


def compare(preprocessing: Preprocessing, transform: Callable[[Image.Image], torch.Tensor]) -> None:
    for number, size in enumerate(SIZES):
        image = drawn(*size, MODES[number % len(MODES)])
        assert torch.equal(shown(preprocessing, image), transform(image.convert("RGB"))), size


def timms_transform(config: dict[str, Any]) -> Callable[[Image.Image], torch.Tensor]:
    resolved = timm.data.resolve_data_config({}, pretrained_cfg=config)
    made: Callable[[Image.Image], torch.Tensor] = timm.data.create_transform(**resolved, is_training=False)
    return made


@pytest.mark.parametrize("name", RESNETS)
def test_default_weights_are_shown_what_their_own_transform_makes(name: str) -> None:
    weights = torchvision.models.get_model_weights(name).DEFAULT
    compare(ModelSpec(name).preprocessing, weights.transforms())


@pytest.mark.parametrize("name", RESNETS)
def test_what_is_known_of_torchvisions_weights_is_what_they_say(name: str) -> None:
    every = torchvision.models.get_model_weights(name)
    assert set(TORCHVISION[name]) == {weights.name for weights in every}
    assert list(TORCHVISION[name])[-1] == every.DEFAULT.name
    for weights in every:
        transform = weights.transforms()
        file = weights.url.rpartition("/")[2]
        for known in (of_weights(name, Path(weights.name)), of_weights(name, Path("somewhere") / file)):
            assert [known.resize] == transform.resize_size
            assert [known.size] == transform.crop_size
            assert known.interpolation == transform.interpolation.value
            assert known.to_json()["antialias"] == transform.antialias
            assert [*known.mean, *known.std] == [*transform.mean, *transform.std]
    assert of_weights(name, None) == of_weights(name, Path(every.DEFAULT.name))


TIMM = [
    "resnet18.a1_in1k",
    "resnet50.a1_in1k",
    "resnet50.tv2_in1k",
    "resnet50.ram_in1k",
    "resnext50_32x4d.fb_swsl_ig1b_ft_in1k",
    "wide_resnet50_2.racm_in1k",
    "resnet101.a3_in1k",
    "resnet152.tv_in1k",
]


@pytest.mark.parametrize("name", TIMM)
def test_timms_configurations_give_timms_transforms(name: str) -> None:
    config = present(timm.models.get_pretrained_cfg(name)).to_dict()
    compare(of_timm(config), timms_transform(config))


@pytest.mark.parametrize(
    "config",
    [
        {"input_size": (3, 225, 225), "crop_pct": 0.95, "interpolation": "bicubic"},
        {
            "input_size": (3, 97, 97),
            "crop_pct": 1.0,
            "interpolation": "bilinear",
            "mean": (0.5,) * 3,
            "std": (0.5,) * 3,
        },
        {"input_size": (3, 288, 288), "interpolation": "bicubic", "crop_mode": "center", "std": (1 / 255,) * 3},
        {"crop_mode": "center"},
    ],
)
def test_any_input_size_and_colours_are_as_timm_makes_them(config: dict[str, Any]) -> None:
    compare(of_timm(config), timms_transform(config))


def test_timms_names_of_interpolations_are_pillows() -> None:
    for name in INTERPOLATIONS:
        assert timm.data.transforms.str_to_interp_mode(name).value == name
