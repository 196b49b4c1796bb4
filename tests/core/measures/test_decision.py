"""How sure verdicts are: margins by hand, probabilities against planted channels and against scipy."""

import numpy as np
import pytest
from scipy import stats

from streamscope.core.measures.criteria import update_kind
from streamscope.core.measures.decision import (
    UNITS,
    USUAL_NOISE,
    decide,
    joined,
    margins,
    verdict,
)
from streamscope.core.model.arrays import Float64Array

NAN = np.nan
BOUND = np.log(1.5)


def probability(found: Float64Array) -> Float64Array:
    seeds = np.broadcast_to(np.arange(len(found))[:, None], found.shape[:2])
    return decide(found, passes(found), seeds).probability


def passes(values: np.ndarray) -> np.ndarray:
    return np.asarray((np.abs(values[..., 0]) < BOUND) & (values[..., 1] > 0) & (values[..., 2] > 0))


def test_margins_by_hand() -> None:
    found = margins([2.0, 0.0, 1.0], [3, -1, 1], [1, -2, 1], [4, 2, 0], [5, 0, 1], [1, 0, 1], [8, NAN, 1])
    assert found[0] == pytest.approx([np.log(2), 0.5, 0.5])
    # A scaled reading below 0 is further from passing the lower it is; M is clamped at 1/5.
    assert found[1] == pytest.approx([-np.log(5), -0.5, NAN], nan_ok=True)
    assert found[2] == pytest.approx([0, NAN, 0], nan_ok=True)


@pytest.mark.parametrize("correlation", [0, 0.7])
@pytest.mark.parametrize("seeds", [1, 2, 4])
def test_probabilities_are_borne_out_by_planted_channels(seeds: int, correlation: float) -> None:
    """Means and noise as in a real block; that of (2) and (4) goes together, or does not. The truth is the verdict of
    more than half of 200 further seeds."""
    draw = np.random.default_rng(seeds)
    together = np.eye(3)
    together[0, 2] = together[2, 0] = correlation
    root = np.linalg.cholesky(together)
    means = draw.normal([0.05, -0.02, -0.02], [0.35, 0.1, 0.12], (6000, 3))

    def seen_by(count: int) -> Float64Array:
        return np.asarray(means + draw.normal(size=(count, *means.shape)) @ root.T * UNITS)

    found = probability(seen_by(seeds))
    truth = passes(seen_by(200)).mean(axis=0) > 0.5
    assert found.sum() == pytest.approx(truth.sum(), rel=0.1)
    bins = np.digitize(found, [0.05, 0.25, 0.5, 0.75, 0.95])
    errors = [np.abs(found[bins == n].mean() - truth[bins == n].mean()) * (bins == n).sum() for n in np.unique(bins)]
    assert sum(errors) / len(found) < 0.02
    sure = verdict(found)
    assert truth[sure == "yes"].mean() > 0.93
    assert truth[sure == "no"].mean() < 0.05
    assert (sure == "undecided").mean() < {1: 0.33, 2: 0.25, 4: 0.17}[seeds]


def test_where_most_channels_lie_below_a_threshold_one_that_is_seen_above_has_come_from_below() -> None:
    """Channels in two heaps, as no normal distribution has them: a few passing ones, and many that just fail."""
    draw = np.random.default_rng(0)
    own = np.where(np.arange(4000) < 400, 2.5, -1.5) * UNITS[2]
    seen = np.stack([np.zeros(4000), np.full(4000, 0.5), draw.normal(own, USUAL_NOISE * UNITS[2])], axis=-1)
    found = probability(seen[None])
    near = np.abs(seen[:, 2] - 0.2 * UNITS[2]) < 0.2 * UNITS[2]
    share = (np.flatnonzero(near) < 400).mean()
    assert share < 0.1
    # By the noise alone it would be 0.6.
    assert found[near].mean() < 0.3
    assert found.sum() == pytest.approx(400, rel=0.15)


def test_a_probability_is_that_of_the_posterior_reckoned_by_scipy() -> None:
    """Margins (2) and (3) are far from their thresholds; the own values of (4) are normal, and many."""
    draw = np.random.default_rng(0)
    spread, noise = 2 * UNITS[2], USUAL_NOISE * UNITS[2]  # a single seed says nothing of the noise: it is the usual
    own = draw.normal(-UNITS[2], spread, 4000)
    seen = np.stack([np.zeros(4000), np.ones(4000), draw.normal(own, noise)], axis=-1)
    places = np.array([-0.1, -0.04, 0.0, 0.03, 0.06, 0.1])
    seen[: len(places), 2] = places
    weight = spread**2 / (spread**2 + noise**2)
    centre = weight * places - (1 - weight) * UNITS[2]
    expected = stats.norm.sf(0, centre, np.sqrt(weight) * noise)
    assert probability(seen[None])[: len(places)] == pytest.approx(expected, abs=0.06)


def test_the_noise_of_a_block_is_learned_from_its_seeds() -> None:
    """A channel is 0.05 above a threshold in every seed; in a noisy block that says less."""

    def of_noise(size: float) -> float:
        draw = np.random.default_rng(1)
        means = draw.normal([0, 0.3, 0], 0.1, (200, 3))
        seen = draw.normal(means, size, (2, 200, 3))
        seen[:, 0] = [0, 0.3, 0.05]
        return float(probability(seen)[0])

    assert of_noise(0.005) > 0.99
    assert of_noise(0.1) < 0.9
    # Two channels' seeds do not outweigh what is usual, 8 pairs and 8 channels of it.
    assert 0.9 < probability(np.tile([0.0, 0.3, 0.05], (2, 2, 1)))[0] < 0.98


def test_how_far_a_margin_is_beyond_does_not_matter() -> None:
    draw = np.random.default_rng(2)
    seen = draw.normal([0, 0.3, 0], 0.1, (1, 100, 3))
    further = np.where(seen < -0.5, 10 * seen, seen)
    seen[0, :50, 2], further[0, :50, 2] = -1, -50
    assert probability(further) == pytest.approx(probability(seen))
    assert probability(seen)[:50].max() < 0.001


@pytest.mark.parametrize("seeds", [1, 3])
def test_kinds_of_update_are_as_probable_as_planted_channels_bear_out(seeds: int) -> None:
    draw = np.random.default_rng(seeds)
    means = draw.normal([-0.2, 0, 0], [0.4, 0.1, 0.12], (4000, 3))
    seen = draw.normal(means, UNITS, (seeds, *means.shape))
    found = decide(seen, passes(seen), np.broadcast_to(np.arange(seeds)[:, None], seen.shape[:2]))
    assert found.mix_ratio == pytest.approx(np.exp(seen[..., 0].mean(axis=0)))
    right = update_kind(found.mix_ratio) == update_kind(np.exp(means[:, 0]))
    assert found.update_probability.min() > 1 / 3
    for low, high in ((0.5, 0.7), (0.7, 0.9), (0.9, 0.99), (0.99, 1.01)):
        here = (found.update_probability >= low) & (found.update_probability < high)
        assert right[here].mean() == pytest.approx(found.update_probability[here].mean(), abs=0.06)


def test_seeds_count_once_and_unknown_ones_not_at_all() -> None:
    far, never = [0.0, 0.5, 0.5], [0.0, -0.5, 0.5]
    found = decide(
        np.array([[far, never, far, [NAN] * 3], [far, never, never, [NAN] * 3], [never, never, far, [NAN] * 3]]),
        scale_invariant=[[1, 0, 1, NAN], [1, 0, 0, NAN], [0, 0, 1, NAN]],
        fz_seed=np.array([[0, 0, 0, 0], [1, 1, 1, 1], [1, 2, 2, NAN]]),
    )
    assert found.seeds.tolist() == [2, 3, 3, 0]
    assert found.agreement == pytest.approx([1, 1, 2 / 3, NAN], nan_ok=True)
    assert found.mix_ratio == pytest.approx([1, 1, 1, NAN], nan_ok=True)
    assert found.update_probability[0] > 0.99
    assert found.probability[0] > 0.5 > found.probability[1]
    assert np.isnan(found.probability[3])
    both = joined([found, found])
    assert both.seeds.tolist() == [2, 3, 3, 0, 2, 3, 3, 0]


def test_verdicts_are_said_from_certain_probabilities_on() -> None:
    said = verdict([0, 0.05, 0.051, 0.5, 0.949, 0.95, 1, NAN])
    assert said.tolist() == ["no", "no", "undecided", "undecided", "undecided", "yes", "yes", ""]
