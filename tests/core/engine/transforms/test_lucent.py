import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from streamscope.core.engine.cone import FoldedNetwork, fold_network
from streamscope.core.engine.transforms.lucent import LucentTransform
from streamscope.core.model.recipe import Recipe, jitter_for
from tests.support.lucent import CLOSE, MEAN, STD, lucent_transforms
from tests.support.networks import untrained
from tests.support.optional import present


@pytest.fixture(scope="module")
def network() -> FoldedNetwork:
    return fold_network(untrained("resnet18"))


@pytest.mark.parametrize("size", [224, 64])
@pytest.mark.parametrize(("block", "jitter"), [("1.1", 0), ("2.1", 4), ("3.1", 16)])
def test_patches_are_lucents_pixel_by_pixel(network: FoldedNetwork, block: str, jitter: int, size: int) -> None:
    recipe = Recipe()
    ours = LucentTransform(network, block, "block", recipe, jitter, size, MEAN, STD)
    generator = np.random.default_rng(1)
    choices = np.concatenate([ours.choices(1, generator) for _ in range(24)])
    choices[:5, 0] = range(5)
    choices[5:16, 1] = range(11)
    images = torch.rand(len(choices), 3, size, size, generator=torch.Generator().manual_seed(0))
    draws = ours.draws(choices)
    inner = slice(ours.start, ours.stop)
    got = ours(images[:, :, inner, inner], draws)
    seen = draws.size
    for row, choice in enumerate(choices):
        lucents = lucent_transforms(images[row : row + 1], choice, jitter, recipe, size)
        assert lucents.shape[-1] == ours.cone.sizes[seen[row]]
        first = 512 + ours.cone.origin(int(seen[row]))
        expected = F.pad(lucents, (512,) * 4)[:, :, first : first + ours.side, first : first + ours.side]
        assert float((got[row] - expected).abs().max()) < CLOSE, choice


def test_lucents_own_jitter_is_the_translation_that_is_compared_with() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from kornia.geometry.transform import translate
        from lucent.optvis import transform
    image = torch.rand(1, 3, 32, 32)
    np.random.seed(3)
    got = transform.jitter(8)(image)
    np.random.seed(3)
    columns, rows = np.random.choice(8), np.random.choice(8)
    assert (columns, rows) != (0, 0)
    assert torch.equal(got, translate(image, torch.tensor([[columns, rows]]).float()))


def test_without_jitter_the_network_sees_maps_of_224_225_230_and_236_px(network: FoldedNetwork) -> None:
    assert LucentTransform(network, "1.1", "block", Recipe(), 0, 224, MEAN, STD).cone.sizes == (224, 225, 230, 236)
    assert LucentTransform(network, "2.1", "block", Recipe(), 4, 224, MEAN, STD).cone.sizes == (224,)


def test_no_draw_reaches_outside_the_patch(network: FoldedNetwork) -> None:
    recipe = Recipe()
    ours = LucentTransform(network, "2.1", "block", recipe, 4, 224, MEAN, STD)
    image = torch.rand(1, 3, 224, 224, requires_grad=True)
    generator = np.random.default_rng(0)
    for _ in range(40):
        choices = ours.choices(1, generator)
        lucents = lucent_transforms(image, choices[0], 4, recipe, 224)
        first = ours.cone.origin()
        lucents[:, :, first : first + ours.side, first : first + ours.side].sum().backward()
    used = present(image.grad).abs().sum(dim=(0, 1)).nonzero()
    assert ours.start <= int(used.min())
    assert int(used.max()) < ours.stop


def test_a_longer_run_begins_with_the_draws_of_a_shorter_one(network: FoldedNetwork) -> None:
    ours = LucentTransform(network, "3.1", "block", Recipe(), 16, 224, MEAN, STD)
    short, long = (ours.choices(n, np.random.default_rng(5)) for n in (10, 50))
    assert np.array_equal(short, long[:10])
    assert long[:, 2:4].max() == 15
    assert long[:, 4:6].max() == 7
    assert long.min() == 0


@pytest.mark.parametrize(
    ("field", "paper", "centred"), [(43, 0, 4), (67, 0, 4), (68, 4, 4), (147, 4, 4), (148, 16, 16), (435, 16, 16)]
)
def test_jitter_follows_the_receptive_field(field: int, paper: int, centred: int) -> None:
    assert (jitter_for(field, "paper"), jitter_for(field, "centred")) == (paper, centred)
