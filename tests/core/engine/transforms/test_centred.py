"""The centred transforms, against a plain reading of their formula by scipy."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from streamscope.core.engine.cone import FoldedNetwork, fold_network
from streamscope.core.engine.transforms.centred import CentredTransform
from streamscope.core.model.recipe import Recipe
from tests.support.networks import untrained

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RECIPE = Recipe()
"""Its transforms do not fade."""


@pytest.fixture(scope="module")
def network() -> FoldedNetwork:
    return fold_network(untrained("resnet18"))


def seen_at(places: np.ndarray, choice: np.ndarray, centre: float) -> tuple[np.ndarray, np.ndarray]:
    """Where in the image the network's positions are read, as the module's formula says."""
    scale, angle = choice[:2]
    y, x = places[0] - choice[4] - centre, places[1] - choice[5] - centre
    across = (math.cos(angle) * x - math.sin(angle) * y) / scale + centre - choice[3]
    down = (math.sin(angle) * x + math.cos(angle) * y) / scale + centre - choice[2]
    return down, across


@pytest.mark.parametrize(
    ("block", "jitter", "size", "centre"),
    [
        ("1.1", 4, 224, 112.0),
        ("2.1", 4, 224, 112.0),
        ("3.1", 16, 224, 112.0),
        ("4.0", 16, 224, 96.0),
        ("1.1", 4, 64, 32),
    ],
)
def test_patches_are_those_of_the_formula(
    network: FoldedNetwork, block: str, jitter: int, size: int, centre: float
) -> None:
    ours = CentredTransform(network, block, "block", RECIPE, jitter, centre, size, MEAN, STD)
    choices = ours.choices(12, np.random.default_rng(1))
    images = torch.rand(len(choices), 3, size, size, generator=torch.Generator().manual_seed(0))
    inner = slice(ours.start, ours.stop)
    got = ours(images[:, :, inner, inner], ours.draws(choices))
    first = ours.cone.origin()
    places = np.mgrid[first : first + ours.side, first : first + ours.side].astype(float)
    for row, choice in enumerate(choices):
        down, across = seen_at(places, choice, centre)
        for colour in range(3):
            image = images[row, colour].double().numpy()
            expected = map_coordinates(image, [down, across], order=1, mode="mirror")
            expected = (expected - MEAN[colour]) / STD[colour]
            assert np.abs(got[row, colour].numpy() - expected).max() < 2e-3, (row, choice)


@pytest.mark.parametrize("size", [224, 225, 96])
@pytest.mark.parametrize("jitter", [0, 1, 2, 4, 5, 16])
def test_the_receptive_fields_centre_stays_on_average_and_is_moved_alike_both_ways(
    network: FoldedNetwork, jitter: int, size: int
) -> None:
    centre = (size / 8 // 2) * 8.0
    ours = CentredTransform(network, "2.1", "block", RECIPE, jitter, centre, size, MEAN, STD)
    choices = ours.choices(20_000, np.random.default_rng(3))
    # Where the network now sees what was at the centre: the inverse of the formula, by the draws themselves.
    theta = ours.draws(choices).theta.double().numpy()
    reach, half = (ours.source_side - 1) / 2, (ours.side - 1) / 2
    turn = theta[:, :, :2] * reach / half
    shift = theta[:, :, 2] * reach
    wanted = np.array([centre, centre]) - ours.source_start - reach
    seen = np.linalg.solve(turn, (wanted - shift)[:, :, None])[:, :, 0] + half + ours.cone.origin() - centre
    assert np.abs(seen.mean(axis=0)).max() < 0.15
    furthest = 1.05 * math.sqrt(2) * (jitter // 2) + jitter // 4
    assert np.abs(seen).max() <= furthest + 1e-3
    assert np.allclose(np.quantile(seen, [0.01, 0.99]).sum(), 0, atol=0.3)


def test_a_longer_run_begins_with_the_draws_of_a_shorter_one(network: FoldedNetwork) -> None:
    ours = CentredTransform(network, "3.1", "block", RECIPE, 16, 112.0, 224, MEAN, STD)
    short, long = (ours.choices(n, np.random.default_rng(5)) for n in (10, 500))
    assert np.array_equal(short, long[:10])
    assert (long[:, 2:4].min(), long[:, 2:4].max()) == (-8, 8)
    assert (long[:, 4:6].min(), long[:, 4:6].max()) == (-4, 4)


def test_draws_are_the_recipes_scales_angles_and_whole_shifts(network: FoldedNetwork) -> None:
    ours = CentredTransform(network, "3.1", "block", RECIPE, 16, 112.0, 224, MEAN, STD)
    drawn = ours.choices(5000, np.random.default_rng(0))
    assert np.unique(drawn[:, 0].round(9)).tolist() == sorted(RECIPE.scales)
    assert np.allclose(np.unique(drawn[:, 1].round(9)), np.deg2rad(RECIPE.degrees))
    assert np.unique(drawn[:, 2:4]).tolist() == list(range(-8, 9))
    assert np.unique(drawn[:, 4:6]).tolist() == list(range(-4, 5))


def test_transforms_fade_evenly_over_three_quarters_of_the_steps(network: FoldedNetwork) -> None:
    whole, fading = (
        CentredTransform(network, "2.1", "block", recipe, 4, 112.0, 224, MEAN, STD).choices(
            80, np.random.default_rng(0)
        )
        for recipe in (RECIPE, replace(RECIPE, fade_to=0.1))
    )
    still = np.array([1.0, 0, 0, 0, 0, 0])
    strength = np.concatenate([1 - 0.9 * np.arange(60) / 60, np.full(20, 0.1)])
    assert np.allclose(fading - still, (whole - still) * strength[:, None])


def test_gradients_are_those_of_the_patches(network: FoldedNetwork) -> None:
    ours = CentredTransform(network, "3.1", "block", RECIPE, 16, 112.0, 224, MEAN, STD)
    draws = ours.draws(ours.choices(2, np.random.default_rng(0)))
    side = ours.stop - ours.start
    generator = torch.Generator().manual_seed(1)
    patch, direction, weight = (torch.rand(2, 3, n, n, generator=generator) for n in (side, side, ours.side))
    patch.requires_grad_(True)
    (ours(patch, draws) * weight).sum().backward()
    moved = ((ours(patch + direction, draws) - ours(patch, draws)) * weight).sum()
    assert patch.grad is not None
    assert float((patch.grad * direction).sum().detach()) == pytest.approx(float(moved.detach()), rel=1e-3)
