"""Flips, the Jaccard index, kappa and the AUC, against numbers worked out by hand."""

import math

import numpy as np
import pytest

from streamscope.core.measures.agreement import Flips, auc, flips, kappa

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
