"""Correlations, ANOVA and intervals against values by hand and against scipy."""

import math

import numpy as np
import pytest
from scipy import stats

from core.analysis.statistics import anova, proportion, proportion_interval, spearman

NAN = math.nan


def test_spearman_by_hand():
    # Ranks 1 2 3 4 5 against 2 1 4 3 5: rho = 1 - 6 * (1 + 1 + 1 + 1) / (5 * 24) = 0.8.
    found = spearman([10, 20, 30, 40, 50], [0.2, 0.1, 4, 3, 5])
    assert found.rho == pytest.approx(0.8)
    t = 0.8 * math.sqrt(3 / (1 - 0.64))
    assert found.p == pytest.approx(2 * stats.t.sf(t, 3))
    assert found.n == 5


def test_spearman_ties_take_mean_ranks():
    random = np.random.default_rng(0)
    x, y = random.integers(0, 4, 60), random.integers(0, 4, 60)
    ranks = [stats.rankdata(v) for v in (x, y)]
    assert spearman(x, y).rho == pytest.approx(np.corrcoef(*ranks)[0, 1])


def test_spearman_leaves_out_pairs_with_an_unknown():
    found = spearman([1, 2, NAN, 3, 4], [1, 2, 3, NAN, 4])
    assert (found.rho, found.n) == (pytest.approx(1.0), 3)


@pytest.mark.parametrize(
    ("x", "y", "reason"),
    [
        ([1, 1, 1, 1], [1, 2, 3, 4], "all 4 values on one side are the same"),
        ([1, 2], [1, 2], "2 pairs are too few"),
        ([], [], "0 pairs are too few"),
        ([NAN] * 5, [1, 2, 3, 4, 5], "0 pairs are too few"),
    ],
)
def test_an_undefined_correlation_says_why(x, y, reason):
    found = spearman(x, y)
    assert math.isnan(found.rho)
    assert math.isnan(found.p)
    assert found.reason == reason


def test_anova_by_hand():
    # Means 2 and 5, grand mean 3.5: between 3 * 1.5² * 2 = 13.5 (1 df), within 2 + 2 = 4 (4 df), F = 13.5.
    found = anova([[1, 2, 3, NAN], [4, 5, 6]])
    assert pytest.approx(13.5) == found.F
    assert found.p == pytest.approx(stats.f.sf(13.5, 1, 4))
    assert (found.means, found.sizes) == ((2.0, 5.0), (3, 3))


@pytest.mark.parametrize("groups", [[[1.0, 2.0], []], [[1.0], [2.0, 3.0]], [[], []]])
def test_anova_of_too_small_groups_keeps_means_and_says_why(groups):
    found = anova(groups)
    assert math.isnan(found.F)
    assert "too small" in found.reason
    assert found.sizes == tuple(map(len, groups))


def test_anova_without_any_variation_is_undefined():
    assert anova([[1, 1, 1], [2, 2, 2]]).reason == "no group varies"


@pytest.mark.parametrize(("k", "n"), [(0, 10), (10, 10), (7, 20), (1, 3), (250, 1000)])
def test_wilson_interval_is_scipys(k, n):
    expected = stats.binomtest(k, n).proportion_ci(0.95, method="wilson")
    assert proportion_interval(k, n) == pytest.approx((expected.low, expected.high))


def test_wilson_interval_at_the_ends_stays_within_0_and_1():
    assert proportion_interval(0, 10) == pytest.approx((0.0, 0.27753), abs=1e-5)
    assert proportion_interval(10, 10)[1] == 1.0
    assert all(map(math.isnan, proportion_interval(0, 0)))
    with pytest.raises(ValueError, match="3 of 2"):
        proportion_interval(3, 2)


def test_a_proportion_counts_known_verdicts_only():
    found = proportion([1, 0, NAN, 1, NAN])
    assert (found.k, found.n, found.share) == (2, 3, pytest.approx(2 / 3))
    assert math.isnan(proportion([NAN, NAN]).share)
