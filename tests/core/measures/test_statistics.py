"""Correlations, ANOVA and intervals against values by hand and against scipy."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import ArrayLike
from scipy import stats

from streamscope.core.measures.statistics import (
    Paired,
    Proportion,
    anova,
    clustered_proportion,
    excess,
    fisher,
    holm,
    mcnemar,
    paired_excess,
    paired_proportion,
    proportion,
    proportion_interval,
    spearman,
)

NAN = math.nan


def test_spearman_by_hand() -> None:
    # Ranks 1 2 3 4 5 against 2 1 4 3 5: rho = 1 - 6 * (1 + 1 + 1 + 1) / (5 * 24) = 0.8.
    found = spearman([10, 20, 30, 40, 50], [0.2, 0.1, 4, 3, 5])
    assert found.rho == pytest.approx(0.8)
    t = 0.8 * math.sqrt(3 / (1 - 0.64))
    assert found.p == pytest.approx(2 * stats.t.sf(t, 3))
    assert found.n == 5


def test_spearman_ties_take_mean_ranks() -> None:
    random = np.random.default_rng(0)
    x, y = random.integers(0, 4, 60), random.integers(0, 4, 60)
    ranks = [stats.rankdata(v) for v in (x, y)]
    assert spearman(x, y).rho == pytest.approx(stats.pearsonr(*ranks).statistic)


def test_spearman_leaves_out_pairs_with_an_unknown() -> None:
    found = spearman([1, 2, NAN, 3, 4], [1, 2, 3, NAN, 4])
    assert found.rho == pytest.approx(1.0)
    assert found.n == 3


@pytest.mark.parametrize(
    ("x", "y", "reason"),
    [
        ([1, 1, 1, 1], [1, 2, 3, 4], "all 4 values on one side are the same"),
        ([1, 2], [1, 2], "2 pairs are too few"),
        ([], [], "0 pairs are too few"),
        ([NAN] * 5, [1, 2, 3, 4, 5], "0 pairs are too few"),
    ],
)
def test_an_undefined_correlation_says_why(x: list[float], y: list[float], reason: str) -> None:
    found = spearman(x, y)
    assert math.isnan(found.rho)
    assert math.isnan(found.p)
    assert found.reason == reason


def test_anova_by_hand() -> None:
    # Means 2 and 5, grand mean 3.5: between 3 * 1.5² * 2 = 13.5 (1 df), within 2 + 2 = 4 (4 df), F = 13.5.
    found = anova([[1, 2, 3, NAN], [4, 5, 6]])
    assert pytest.approx(13.5) == found.F
    assert found.p == pytest.approx(stats.f.sf(13.5, 1, 4))
    assert (found.means, found.sizes) == ((2.0, 5.0), (3, 3))


@pytest.mark.parametrize("groups", [[[1.0, 2.0], []], [[1.0], [2.0, 3.0]], [[], []]])
def test_anova_of_too_small_groups_keeps_means_and_says_why(groups: list[list[float]]) -> None:
    found = anova(groups)
    assert math.isnan(found.F)
    assert "too small" in found.reason
    assert found.sizes == tuple(map(len, groups))


def test_anova_without_any_variation_is_undefined() -> None:
    assert anova([[1, 1, 1], [2, 2, 2]]).reason == "no group varies"


@pytest.mark.parametrize(("k", "n"), [(0, 10), (10, 10), (7, 20), (1, 3), (250, 1000)])
def test_wilson_interval_is_scipys(k: int, n: int) -> None:
    expected = stats.binomtest(k, n).proportion_ci(0.95, method="wilson")
    assert proportion_interval(k, n) == pytest.approx((expected.low, expected.high))


def test_wilson_interval_at_the_ends_stays_within_0_and_1() -> None:
    assert proportion_interval(0, 10) == pytest.approx((0.0, 0.27753), abs=1e-5)
    assert proportion_interval(10, 10)[1] == 1.0
    assert all(map(math.isnan, proportion_interval(0, 0)))
    with pytest.raises(ValueError, match="3 of 2"):
        proportion_interval(3, 2)


def test_a_proportion_counts_known_verdicts_only() -> None:
    found = proportion([1, 0, NAN, 1, NAN])
    assert (found.k, found.n) == (2, 3)
    assert found.share == pytest.approx(2 / 3)
    assert math.isnan(proportion([NAN, NAN]).share)


def interval(found: Proportion) -> tuple[float, float]:
    return found.low, found.high


def test_clusters_whose_trials_are_alike_count_as_one_trial_each() -> None:
    found = clustered_proportion([3, 0, 3, 3, 0, 0, 3, 0, 3, 0], [3] * 10)
    assert (found.k, found.n) == (15, 30)
    # Each cluster is one throw; ten of them, and the usual n / (n - 1) of a variance.
    assert interval(found) == pytest.approx(proportion_interval(4.5, 9))


def test_clusters_of_one_trial_each_count_as_one_trial_fewer() -> None:
    found = clustered_proportion([1, 0, 0, 1, 0], [1] * 5)
    # By the same n / (n - 1): 0.4 * 0.6 / (1.2 / 25 * 5 / 4) = 4 trials.
    assert interval(found) == pytest.approx(proportion_interval(1.6, 4))
    assert (found.k, found.n) == (2, 5)


def test_dependent_trials_that_are_all_alike_count_as_their_clusters() -> None:
    assert interval(clustered_proportion([3, 3], [3, 3])) == pytest.approx(proportion_interval(2, 2))
    assert interval(clustered_proportion([0, 0], [3, 0])) == pytest.approx(proportion_interval(0, 1))
    assert interval(paired_proportion(np.zeros((4, 4)))) == pytest.approx(proportion_interval(0, 4))
    for nothing in (clustered_proportion([], []), clustered_proportion([0], [0]), paired_proportion([[1.0]])):
        assert nothing.n == 0
        assert math.isnan(nothing.low)


def test_the_variance_of_pairs_is_that_of_every_two_that_share_a_thing() -> None:
    table = np.zeros((6, 6))
    table[:2], table[3, 1], table[2, 5] = 1, 1, NAN
    pairs = [(c, d) for c in range(6) for d in range(6) if c != d and not math.isnan(table[c, d])]
    k = sum(table[pair] for pair in pairs)
    share = k / len(pairs)
    sharing = [(p, q) for p in pairs for q in pairs if set(p) & set(q)]
    variance = sum((table[p] - share) * (table[q] - share) for p, q in sharing) / len(pairs) ** 2 * 6 / 5
    trials = share * (1 - share) / variance
    assert 0 < trials < len(pairs)
    found = paired_proportion(table)
    assert (found.k, found.n) == (k, len(pairs))
    assert interval(found) == pytest.approx(proportion_interval(share * trials, trials))


def clusters_of(random: np.random.Generator, share: float, alike: float) -> tuple[ArrayLike, ...]:
    return random.binomial(3, random.beta(share * (1 / alike - 1), (1 - share) * (1 / alike - 1), 60)), [3] * 60


def pairs_of(random: np.random.Generator, share: float, alike: float) -> tuple[ArrayLike, ...]:
    things = random.normal(size=(2, 40)) * math.sqrt(alike / 2)
    values = things[0][:, None] + things[1] + random.normal(size=(40, 40)) * math.sqrt(1 - alike)
    return ((values > stats.norm.isf(share)).astype(float),)


@pytest.mark.parametrize(
    ("interval_of", "drawn", "alike"),
    [
        (clustered_proportion, clusters_of, 0.2),
        (clustered_proportion, clusters_of, 0.8),
        (paired_proportion, pairs_of, 0.2),
        (paired_proportion, pairs_of, 0.8),
    ],
)
def test_intervals_of_dependent_trials_hold_the_true_share_as_often_as_they_say(
    interval_of: Callable[..., Proportion],
    drawn: Callable[[np.random.Generator, float, float], tuple[ArrayLike, ...]],
    alike: float,
) -> None:
    random, share, hits, naive, runs = np.random.default_rng(2), 0.2, 0, 0, 300
    for _ in range(runs):
        found = interval_of(*drawn(random, share, alike))
        hits += found.low <= share <= found.high
        low, high = proportion_interval(found.k, found.n)
        naive += low <= share <= high
    # 95 % is meant; as of independent trials it would be 37 to 92 %.
    assert 0.9 < hits / runs < 0.99
    assert naive < hits


def test_mcnemar_is_a_sign_test_of_the_pairs_that_differ() -> None:
    # Five hold under the first condition alone and one under the second: 2 (1 + 6) / 2^6; the rest says nothing.
    first = [1, 1, 1, 1, 1, 0, 1, 0, NAN, 1]
    second = [0, 0, 0, 0, 0, 1, 1, 0, 1, NAN]
    assert mcnemar(first, second) == Paired(5, 1, 14 / 64)
    assert mcnemar(second, first) == Paired(1, 5, 14 / 64)
    assert mcnemar([1, 0, 1], [1, 0, 1]) == Paired(0, 0, 1.0)
    assert mcnemar([1, 0], [0, 1]) == Paired(1, 1, 1.0)
    assert mcnemar(np.ones(2048), np.zeros(2048)).p == pytest.approx(2 * 0.5**2048)
    unknown = mcnemar([NAN, 1], [0, NAN])
    assert (unknown.first_only, unknown.second_only, np.isnan(unknown.p)) == (0, 0, True)


def test_mcnemar_agrees_with_scipys_binomial_test() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        first, second = random.integers(0, 2, (2, 30))
        found = mcnemar(first, second)
        expected = stats.binomtest(found.first_only, found.first_only + found.second_only).pvalue
        assert found.p == pytest.approx(expected)


def test_holm_corrects_by_how_many_tests_are_left() -> None:
    # .005 * 4, .01 * 3, .03 * 2, and .04 * 1, which must not be less than the one before.
    assert holm([0.01, 0.04, NAN, 0.03, 0.005]) == pytest.approx([0.03, 0.06, NAN, 0.06, 0.02], nan_ok=True)
    assert holm([0.6, 0.7]) == [1, 1]
    assert holm([]) == []


@pytest.mark.parametrize(
    ("first", "second"), [((3, 20), (11, 20)), ((0, 8), (0, 5)), ((40, 128), (2, 64)), ((8, 8), (1, 9))]
)
def test_fisher_is_scipy_s(first: tuple[int, int], second: tuple[int, int]) -> None:
    (a, n), (b, m) = first, second
    expected = stats.fisher_exact(np.array([[a, n - a], [b, m - b]])).pvalue
    assert fisher(share(a, n), share(b, m)) == pytest.approx(expected, rel=1e-6)
    assert fisher(share(b, m), share(a, n)) == pytest.approx(expected, rel=1e-6)


def share(k: int, n: int) -> Proportion:
    return proportion([1.0] * k + [0.0] * (n - k))


def test_the_excess_of_one_share_over_another_is_newcombe_s() -> None:
    # His first example by method 10: 56 of 70 against 48 of 80.
    found = excess(share(56, 70), share(48, 80), 0.01)
    assert found.difference == pytest.approx(0.2)
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert found.p == 0.01
    assert np.isnan(excess(share(1, 2), share(0, 0), 0.5).difference)


def test_the_excess_of_matched_things_is_worked_out_on_paper() -> None:
    first = [1, 1, 1, 1, 1, 0, 1, 0, 0, 0, NAN]
    second = [0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 1]
    found = paired_excess(first, second)
    # Five against one of ten; with halves 5.5 and 1.5 of 12: 1/3 +- 1.96 sqrt(7 - 4^2/12) / 12.
    assert found.difference == pytest.approx(0.4)
    assert (found.low, found.high) == pytest.approx((1 / 3 - 0.3888, 1 / 3 + 0.3888), abs=1e-4)
    assert found.p == mcnemar(first, second).p == 14 / 64
    assert np.isnan(paired_excess([NAN], [1]).difference)
