"""Gains among those of pairs: counts on paper, q against scipy."""

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from streamscope.core.measures.pairs import POINTS, false_discovery, null_p, pair_null

NAN = np.nan


def test_pairs_that_reach_a_channel_are_counted_as_on_paper() -> None:
    # Statistics, the smaller gain: [[0.5, 0.1, -1], [0.5, 0.2, 0], [NaN, 0.3, NaN]].
    block = [[0.5, 0.1, -1.0], [0.5, 0.9, 0.0], [NAN, 0.4, 1.0]]
    input_ = [[0.7, 0.8, 2.0], [0.6, 0.2, 0.0], [0.5, 0.3, NAN]]
    found = pair_null(block, input_)
    # Pairs: 0.1, -1, 0.5, 0, 0.3. Those of at least 0.5: one; of at least 0.2: two.
    assert found.pairs == 5
    assert found.reached == pytest.approx([1, 2, NAN], nan_ok=True)
    assert null_p(found.reached, found.pairs) == pytest.approx([2 / 6, 3 / 6, NAN], nan_ok=True)
    # In order of the smaller of both.
    assert found.block_gain.tolist() == [-1.0, 0.0, 0.1, 0.4, 0.5]
    assert found.input_gain.tolist() == [2.0, 0.0, 0.8, 0.3, 0.6]


def test_a_large_null_is_thinned_to_its_quantiles() -> None:
    draw = np.random.default_rng(0)
    block, input_ = draw.normal(size=(2, 60, 60))
    found = pair_null(block, input_)
    statistic = np.minimum(block, input_)[~np.eye(60, dtype=bool)]
    kept = np.minimum(found.block_gain, found.input_gain)
    assert (found.pairs, len(kept), len(found.input_gain)) == (60 * 59, POINTS, POINTS)
    assert (kept[0], kept[-1]) == (statistic.min(), statistic.max())
    assert np.quantile(kept, [0.1, 0.5, 0.9]) == pytest.approx(np.quantile(statistic, [0.1, 0.5, 0.9]), abs=0.01)
    own = np.diag(np.minimum(block, input_))
    assert found.reached.tolist() == [(statistic >= value).sum() for value in own]


@pytest.mark.parametrize("count", [1, 2, 50])
def test_q_is_scipy_s(count: int) -> None:
    draw = np.random.default_rng(count)
    p = draw.uniform(size=count) ** 3
    p[count // 2 :] = p[count // 2]
    assert false_discovery(p) == pytest.approx(false_discovery_control(p))


def test_q_by_hand_leaves_unknown_ones_out() -> None:
    # 0.01 * 3 / 1, and 0.04 * 3 / 2 = 0.06 is more than what the largest, 0.05, has.
    assert false_discovery([0.04, NAN, 0.01, 0.05]) == pytest.approx([0.05, NAN, 0.03, 0.05], nan_ok=True)
    assert np.isnan(false_discovery([NAN, NAN])).all()
    assert len(false_discovery([])) == 0


def test_channels_like_all_others_are_no_discoveries() -> None:
    draw = np.random.default_rng(0)
    block, input_ = draw.normal(size=(2, 100, 100))
    stand_out = np.arange(10)
    block[stand_out, stand_out] = input_[stand_out, stand_out] = 6
    found = pair_null(block, input_)
    q = false_discovery(null_p(found.reached, found.pairs))
    assert q[:10].max() < 0.01
    assert q[10:].min() > 0.1
