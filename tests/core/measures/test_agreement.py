"""Flips, the Jaccard index, kappa with its interval and the AUC, against numbers worked out by hand or published."""

import math

import numpy as np
import pytest

from streamscope.core.measures.agreement import Flips, agreement, auc, flips, kappa

NAN = math.nan


def test_flips_are_counted_each_way_over_channels_known_both_times() -> None:
    before = [1, 1, 1, 0, 0, NAN, 1]
    after = [1, 0, 0, 1, 0, 1, NAN]
    found = flips(before, after)
    assert found == Flips(n=5, before=3, after=2, gained=1, lost=2)
    assert found.flipped == 3


def test_the_jaccard_index_is_those_of_both_over_those_of_either() -> None:
    # {0, 1, 2} and {0, 3}: one in both, four in either.
    assert flips([1, 1, 1, 0, 0], [1, 0, 0, 1, 0]).jaccard == 1 / 4
    assert flips([1, 0], [1, 0]).jaccard == 1
    assert flips([1, 0], [0, 1]).jaccard == 0
    assert math.isnan(flips([0, 0], [0, 0]).jaccard)
    assert math.isnan(flips([], []).jaccard)


def test_kappa_is_agreement_beyond_chance() -> None:
    # 20 + 15 of 50 agree, 0.7; by chance 25/50 * 30/50 + 25/50 * 20/50 = 0.5 would.
    assert kappa([[20, 5], [10, 15]]) == pytest.approx(0.4)
    # Of 10: 7 agree; by chance (5 * 4 + 3 * 4 + 2 * 2) / 100 = 0.36.
    assert kappa([[4, 1, 0], [0, 2, 1], [0, 1, 1]]) == pytest.approx((0.7 - 0.36) / 0.64)


def test_kappa_is_one_for_the_same_zero_for_chance_and_below_for_the_opposite() -> None:
    assert kappa(np.diag([3, 4, 5])) == 1
    assert kappa(np.outer([1, 2], [3, 4])) == pytest.approx(0)
    assert kappa([[0, 5], [5, 0]]) == pytest.approx(-1)


@pytest.mark.parametrize("table", [np.zeros((3, 3)), [[7, 0], [0, 0]]], ids=["nothing", "one kind"])
def test_kappa_is_unknown_where_chance_explains_all(table: list[list[int]]) -> None:
    assert math.isnan(kappa(table))


def test_the_auc_is_the_share_of_pairs_in_the_right_order() -> None:
    # 3 exceeds both that do not hold; 1 exceeds one and ties with the other.
    assert auc([3, 1, 1, 0], [1, 1, 0, 0]) == 3.5 / 4
    assert auc([3, 1, 9, 9, 0], [1, 0, NAN, NAN, 0]) == 1
    assert auc([0, 1, NAN], [1, 0, 1]) == 0
    assert auc([2, 2, 2], [1, 0, 0]) == 0.5
    assert math.isnan(auc([1, 2], [1, 1]))
    assert math.isnan(auc([], []))


PSYCHIATRISTS = [[75, 1, 4], [5, 4, 1], [0, 0, 10]]
"""Diagnoses of 100 subjects: Fleiss, "Statistical methods for rates and proportions", chapter 18."""


def test_the_interval_of_kappa_is_that_of_a_textbook() -> None:
    found = agreement(PSYCHIATRISTS)
    assert (found.n, found.share, round(found.kappa, 3)) == (100, 0.89, 0.676)
    # The book's standard error for an interval is 0.087, and 1.96 of it are 0.171.
    assert found.high - found.kappa == pytest.approx(0.171, abs=0.001)
    assert found.kappa - found.low == pytest.approx(0.171, abs=0.001)
    # Fleiss, Cohen and Everitt 1969, their example of 200: kappa 0.429, its variance 0.002885.
    found = agreement([[106, 10, 4], [22, 28, 10], [2, 12, 6]])
    assert round(found.kappa, 3) == 0.429
    assert ((found.high - found.low) / 2 / 1.959964) ** 2 == pytest.approx(0.002885, abs=5e-6)


@pytest.mark.parametrize("table", [PSYCHIATRISTS, [[20, 5], [10, 15]], [[3, 9, 1], [2, 2, 8], [7, 1, 4]]])
def test_the_standard_error_of_kappa_is_that_of_the_delta_method(table: list[list[int]]) -> None:
    counts = np.asarray(table, dtype=float)
    p, step = counts.ravel() / counts.sum(), 1e-6
    gradient = np.array(
        [
            (kappa((p + step * unit).reshape(counts.shape)) - kappa((p - step * unit).reshape(counts.shape))) / 2 / step
            for unit in np.eye(len(p))
        ]
    )
    variance = gradient @ (np.diag(p) - np.outer(p, p)) @ gradient / counts.sum()
    found = agreement(table)
    assert (found.high - found.low) / 2 == pytest.approx(1.959964 * math.sqrt(variance), rel=1e-5)


def test_the_interval_of_kappa_covers_it_in_nineteen_of_twenty_samples() -> None:
    truth = np.array([[0.3, 0.05, 0.05], [0.05, 0.15, 0.05], [0.05, 0.05, 0.25]])
    random, held = np.random.default_rng(0), 0
    for _ in range(400):
        found = agreement(random.multinomial(150, truth.ravel()).reshape(3, 3))
        held += found.low <= kappa(truth) <= found.high
    # 380 expected; 3.5 deviations of a binomial below and above.
    assert 364 <= held <= 396


@pytest.mark.parametrize(
    ("table", "value", "reason"),
    [
        (np.diag([3, 4, 5]), 1.0, "both say the same throughout"),
        ([[7, 0], [0, 0]], math.nan, "both say the same throughout"),
        (np.zeros((3, 3)), math.nan, "nothing is judged by both"),
    ],
    ids=["the same", "one kind", "nothing"],
)
def test_where_nothing_varies_there_is_no_interval(table: list[list[int]], value: float, reason: str) -> None:
    found = agreement(table)
    assert found.kappa == pytest.approx(value, nan_ok=True)
    assert found.reason == reason
    assert math.isnan(found.low)
    assert math.isnan(found.high)
