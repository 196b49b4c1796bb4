"""Reliability of stated probabilities, on paper."""

import math

import numpy as np
import pytest

from streamscope.core.measures.calibration import EDGES, reliability

NAN = np.nan


def test_bins_error_and_brier_score_are_those_on_paper() -> None:
    found = reliability([0.0, 0.02, 0.1, 0.2, 0.6, 0.7, 1.0, NAN, 0.5], [0, 1, 0, 0, 1, 0, 1, 1, NAN])
    assert found.n == 7
    by_low = {one.low: one for one in found.bins}
    assert [one.n for one in found.bins] == [2, 2, 0, 2, 0, 1]
    assert (by_low[0.0].mean, by_low[0.0].share) == pytest.approx((0.01, 0.5))
    assert (by_low[0.5].mean, by_low[0.5].share) == pytest.approx((0.65, 0.5))
    assert math.isnan(by_low[0.25].mean)
    # .49 and .15 and .15 of two each, and 0 of one.
    assert found.error == pytest.approx((2 * 0.49 + 2 * 0.15 + 2 * 0.15) / 7)
    assert found.brier == pytest.approx((0.98**2 + 0.01 + 0.04 + 0.16 + 0.49) / 7)


def test_what_is_true_as_often_as_said_has_no_error_and_what_is_surer_has() -> None:
    draw = np.random.default_rng(0)
    p = draw.uniform(size=20_000)
    truth = (draw.uniform(size=len(p)) < p).astype(float)
    assert reliability(p, truth).error < 0.01
    assert reliability(np.clip(2 * p - 0.5, 0, 1), truth).error > 0.1


def test_of_nothing_nothing_is_known() -> None:
    found = reliability([NAN], [1])
    assert (found.n, len(found.bins)) == (0, len(EDGES) + 1)
    assert math.isnan(found.error)
    assert math.isnan(found.brier)
