"""Control sets: matched within a caliper, overlapping as little as they can, and random ones beside them."""

import itertools
import math

import numpy as np
import pytest

from streamscope.core.errors import UsageError
from streamscope.core.measures.matching import (
    CALIPER,
    Activity,
    check_controls,
    correlation,
    independent,
    matched_sets,
    random_sets,
    shared,
)


def activity(means: list[float], chosen: list[int], variances: list[float] | None = None) -> Activity:
    return Activity(means, means if variances is None else variances, chosen)


def test_channels_differ_by_logarithms_in_pooled_deviations() -> None:
    """Logs of the means 0 and 2 chosen (variance 2), 0, 1 and 2 others (variance 1): deviation sqrt(3 / 2)."""
    found = activity(np.exp([0.0, 2.0, 0.0, 1.0, 2.0]).tolist(), [0, 1], [1.0] * 5)
    unit = math.sqrt(1.5)
    assert found.distance == pytest.approx(np.array([[0, 1, 2], [2, 1, 0]]) / unit)
    balance = found.balance(((2, 3), (3, 4)))
    assert balance.mean == pytest.approx([0.5 / unit, -0.5 / unit])
    assert balance.variance == (0, 0)


def test_where_a_mean_is_negative_the_means_themselves_are_compared() -> None:
    """Means -1 and 1 chosen (variance 2), 0, 1 and 2 others (variance 1): deviation sqrt(3 / 2); no logarithm."""
    found = activity([-1.0, 1.0, 0.0, 1.0, 2.0], [0, 1], [1.0] * 5)
    assert found.signed
    assert found.distance == pytest.approx(np.array([[1, 2, 3], [1, 0, 1]]) / math.sqrt(1.5))
    _, matching = matched_sets(found, 2, seed=0)
    assert matching.signed
    assert not activity([0.0, 1.0, 2.0], [0]).signed


def test_the_larger_of_the_two_differences_counts() -> None:
    found = activity([1.0, 1.0, 1.0, math.e, math.e], [0], [1.0, 1.0, math.e, 1.0, math.e])
    far = found.distance.ravel()
    assert far[0] == 0
    assert far[1] == pytest.approx(far[2])
    assert far[3] == pytest.approx(far[1])


def test_a_channel_gets_each_of_its_equals_as_a_control_and_nothing_else() -> None:
    sets, matching = matched_sets(activity([1, 1, 1, 1, 50, 90], [0]), 10, seed=0)
    assert {control for (control,) in sets} == {1, 2, 3}
    assert (matching.outside, matching.widest, matching.caliper) == ((), CALIPER, CALIPER)
    assert matching.others == 5
    assert matching.balance.mean == (0, 0, 0)


def test_the_caliper_is_widened_only_for_channels_that_need_it_and_up_to_a_control_of_their_own() -> None:
    logs = [0.0, 5.0, 0.0, 0.01, 3.0, 2.0, -3.0]
    found = activity(np.exp(logs).tolist(), [0, 1])
    sets, matching = matched_sets(found, 10, seed=0)
    # Channel 1 has nothing near: 4, two off in the logarithm, is the nearest, and 5 is not taken.
    assert {control[1] for control in sets} == {4}
    assert {control[0] for control in sets} == {2, 3}
    assert matching.outside == (1,)
    assert matching.widest == found.distance[1, found.others.tolist().index(4)]


def test_two_channels_that_want_the_same_control_get_one_each_at_the_least_widening_in_all() -> None:
    logs = [0.0, 0.0, 0.0, 2.0, 6.0]
    found = activity(np.exp(logs).tolist(), [0, 1])
    sets, matching = matched_sets(found, 10, seed=0)
    assert {frozenset(control) for control in sets} == {frozenset({2, 3})}
    assert len(matching.outside) == 1


def least_overlap(allowed: np.ndarray, count: int) -> float:
    """By trying all collections of distinct matchings."""
    rows = [np.flatnonzero(row) for row in allowed]
    matchings = {frozenset(map(int, m)) for m in itertools.product(*rows) if len(set(m)) == len(m)}
    return min(shared([tuple(m) for m in group]) for group in itertools.combinations(matchings, count))


@pytest.mark.parametrize("seed", range(8))
def test_sets_overlap_as_little_as_any_distinct_ones_within_the_caliper(seed: int) -> None:
    # Two chosen channels at one level and one at another, with three to five and one to four others there.
    levels = [0, 0, 1, *[0] * (3 + seed % 3), *[1] * (1 + seed // 2)]
    found = activity(np.exp(np.array(levels, dtype=float)).tolist(), [0, 1, 2])
    sets, matching = matched_sets(found, 3, seed)
    assert matching.outside == ()
    assert shared(sets) == pytest.approx(least_overlap(found.distance <= CALIPER, 3))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("chosen", [1, 5, 12, 20])
def test_no_control_is_chosen_sets_differ_and_matched_ones_are_closer_than_random_ones(seed: int, chosen: int) -> None:
    random = np.random.default_rng(seed)
    means = random.gamma(1, 1, 64)
    picked = np.argsort(means + random.gamma(1, 1, 64))[-chosen:].tolist()
    found = Activity(means, means**2 * random.uniform(0.5, 2, 64), picked)
    matched, matching = matched_sets(found, 10, seed)
    drawn = random_sets(found, 10, seed)
    for sets in matched, drawn.sets:
        assert len({frozenset(control) for control in sets}) == len(sets)
        assert all(len(set(control)) == chosen and not set(control) & set(picked) for control in sets)
    assert len(drawn.sets) == 10
    off, chance = (np.abs([balance.mean, balance.variance]).mean() for balance in (matching.balance, drawn.balance))
    assert off < chance


def test_every_pair_lies_within_its_channels_width() -> None:
    random = np.random.default_rng(3)
    means = random.gamma(1, 1, 64)
    found = activity(means.tolist(), list(range(20)))
    sets, matching = matched_sets(found, 10, 0)
    place = {channel: column for column, channel in enumerate(found.others.tolist())}
    far = np.array([[found.distance[row, place[control]] for row, control in enumerate(s)] for s in sets])
    outside = np.isin(found.chosen, matching.outside)
    assert (far[:, ~outside] <= CALIPER).all()
    assert far.max() <= matching.widest


def test_one_seed_draws_the_same_sets_and_another_others() -> None:
    means = np.random.default_rng(0).gamma(1, 1, 64).tolist()
    found = activity(means, [3, 4, 5, 6])
    assert matched_sets(found, 5, 1) == matched_sets(found, 5, 1)
    assert matched_sets(found, 5, 1) != matched_sets(found, 5, 2)
    assert random_sets(found, 5, 1) == random_sets(found, 5, 1)
    assert random_sets(found, 5, 1).sets != random_sets(found, 5, 2).sets


@pytest.mark.parametrize(
    ("means", "variances"),
    [
        ([2.0] * 12, [3.0] * 12),
        ([2.0] * 12, [0.0] * 12),
        ([0.0] * 12, [0.0] * 12),
    ],
    ids=["all equal", "no variance", "all dead"],
)
def test_where_all_channels_are_alike_every_control_is_within_the_caliper(
    means: list[float], variances: list[float]
) -> None:
    sets, matching = matched_sets(Activity(means, variances, [0, 1, 2]), 3, 0)
    assert (matching.outside, matching.widest) == ((), CALIPER)
    assert matching.balance.mean == (0, 0, 0)
    # Nine other channels make three sets that have nothing in common.
    assert shared(sets) == 0


def test_dead_channels_are_matched_with_dead_ones() -> None:
    means = [0.0, 3.0, 0.0, 1e-9, 3.1, 2.9, 1.0, 9.0]
    sets, matching = matched_sets(activity(means, [0, 1]), 10, 0)
    assert {control[0] for control in sets} == {2, 3}
    assert {control[1] for control in sets} == {4, 5}
    assert matching.outside == ()


def test_half_of_the_channels_have_one_control_set_matched_or_random() -> None:
    found = activity([1.0, 2, 3, 4, 5, 6], [0, 2, 4])
    sets, matching = matched_sets(found, 10, 0)
    drawn = random_sets(found, 10, 0)
    assert {frozenset(control) for control in (*sets, *drawn.sets)} == {frozenset({1, 3, 5})}
    assert (len(sets), len(drawn.sets)) == (1, 1)
    assert math.isnan(shared(sets))
    assert math.isnan(correlation(sets, matching.others))
    assert independent(sets, matching.others) == 1


def test_more_than_half_have_none() -> None:
    check_controls(10, 5, 10)
    with pytest.raises(UsageError, match="the 4 others do not make a control set of that size; choose fewer channels"):
        check_controls(10, 6, 1)
    with pytest.raises(UsageError, match="controls must be 1 or more, not 0"):
        check_controls(10, 2, 0)


def test_what_sets_share_and_as_how_many_they_count() -> None:
    # Pairs of sets: 1 of 2, 0 of 2 and 1 of 2 channels in common.
    sets = [(0, 1), (1, 2), (2, 3)]
    assert shared(sets) == pytest.approx(1 / 3)
    # Of eight channels random pairs share a quarter.
    assert correlation(sets, 8) == pytest.approx((1 / 3 - 1 / 4) / (3 / 4))
    assert independent(sets, 8) == pytest.approx(3 / (1 + 2 / 9))
    assert independent([(0, 1), (2, 3)], 8) == 2
    assert independent([(0, 1), (0, 1)], 8) == 1


def test_sums_over_sets_that_share_channels_correlate_as_said() -> None:
    """Effects of 20 channels in every order: the correlation of two sums of five, three of them common."""
    random = np.random.default_rng(0)
    effects = random.permuted(np.tile(random.normal(size=20), (40_000, 1)), axis=1)
    first, second = (0, 1, 2, 3, 4), (2, 3, 4, 5, 6)
    sums = [effects[:, list(channels)].sum(axis=1) for channels in (first, second)]
    assert correlation([first, second], 20) == pytest.approx(np.corrcoef(sums)[0, 1], abs=0.02)
