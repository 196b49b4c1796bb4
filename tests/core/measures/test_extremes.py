"""Which images excite a channel most, and the rank correlation of a block's tensors, beside plain reckoning."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from streamscope.core.measures.extremes import highest, lowest
from streamscope.core.measures.inhibition import BYTES_A_VALUE, inhibition_rho
from streamscope.core.measures.robust import MeiActivations, own_activations, robust_measures


def test_highest_and_lowest_are_those_of_a_stable_sort_of_ties() -> None:
    values = np.random.default_rng(0).integers(-3, 4, (40, 200)).astype(np.float32)
    rows, found = highest(values)
    order = np.argsort(-values, axis=1, kind="stable")[:, :9].T
    assert np.array_equal(rows, order)
    assert np.array_equal(found, np.take_along_axis(values, order.T, axis=1).T)
    assert np.array_equal(lowest(values)[0], np.argsort(values, axis=1, kind="stable")[:, :9].T)
    assert found.dtype == np.float32


def test_extremes_hold_for_numbers_of_every_size() -> None:
    random = np.random.default_rng(1)
    values = (random.choice([-1, 1], (20, 500)) * 10.0 ** random.uniform(-38, 38, (20, 500))).astype(np.float32)
    values[:, 7], values[:, 8] = np.inf, -np.inf
    assert np.array_equal(highest(values)[0], np.argsort(-values, axis=1, kind="stable")[:, :9].T)
    assert np.array_equal(lowest(values)[0], np.argsort(values, axis=1, kind="stable")[:, :9].T)


def test_nan_is_never_an_extreme_and_both_zeros_are_the_same() -> None:
    values = np.array([[np.nan, 0.0, -0.0, 1.0, np.nan]], dtype=np.float32)
    rows, found = highest(values, 4)
    assert rows[:, 0].tolist() == [3, 1, 2, -1]
    assert found[:3, 0].tolist() == [1, 0, 0]
    assert np.isnan(found[3, 0])
    assert lowest(values, 4)[0][:, 0].tolist() == [1, 2, 3, -1]


def test_fewer_images_than_asked_for_leave_places_empty() -> None:
    rows, found = highest(np.array([[2.0, 3.0]], dtype=np.float32))
    assert rows[:, 0].tolist() == [1, 0, *[-1] * 7]
    assert np.isnan(found[2:]).all()


def test_rho_is_scipys_with_ties_and_without_what_is_not_finite() -> None:
    random = np.random.default_rng(2)
    input_ = random.integers(-2, 9, (300, 8)).astype(np.float32)
    block = np.round(random.normal(0, 3, (300, 8)) - 0.5 * input_).astype(np.float32)
    input_[5, 0], block[9, 1], input_[11, 2] = np.nan, np.nan, np.inf
    # Three channels at a time, and a last slice that is not full.
    rho, p, n = inhibition_rho(input_, block, budget=3 * BYTES_A_VALUE * 300)
    for channel in range(8):
        x, y = input_[:, channel], block[:, channel]
        used = (x > 0) & np.isfinite(x) & np.isfinite(y)
        expected = stats.spearmanr(x[used], y[used])
        assert rho[channel] == pytest.approx(expected.statistic, abs=1e-12)
        assert p[channel] == pytest.approx(expected.pvalue, rel=1e-9)
        assert n[channel] == used.sum()


def test_rho_is_empty_where_it_says_nothing() -> None:
    input_ = np.array([[1, 1, 1, -1], [2, 2, 1, -1], [3, -1, 1, -1], [4, -1, 1, -1]], dtype=np.float32)
    block = np.array([[4, 1, 5, 1], [3, 2, 6, 2], [2, 3, 7, 3], [1, 4, 8, 4]], dtype=np.float32)
    rho, p, n = inhibition_rho(input_, block)
    assert rho[0] == -1
    assert p[0] == 0
    assert np.isnan(rho[1:]).all()
    assert np.isnan(p[1:]).all()
    assert n.tolist() == [4, 2, 4, 0]


def mei_activations(**changes: NDArray[np.float32]) -> MeiActivations:
    """Nine images of one channel: O 3 on both, B 1 on MEI(I) and 2 when it is scaled up, I likewise on MEI(B)."""
    values = {"excited_in": 5, "excited_block": 6, "out_on_in": 3, "out_on_block": 3, "block_on_in": 1}
    values |= {"block_on_in_up": 2, "in_on_block": 1, "in_on_block_down": 2}
    arrays = {name: np.full((9, 1), value, dtype=np.float32) for name, value in values.items()}
    return MeiActivations(**{**arrays, **changes})


def column(*values: float) -> NDArray[np.float32]:
    return np.array(values, dtype=np.float32)[:, None]


def test_a_channel_whose_meis_meet_all_criteria_is_scale_invariant() -> None:
    found = robust_measures(mei_activations())
    names = ("mix_ratio", "meets_mix", "meets_block", "meets_input", "scale_invariant", "images")
    assert [getattr(found, name)[0] for name in names] == [1, 1, 1, 1, 1, 9]


def test_activations_are_rectified_image_by_image_before_they_are_averaged() -> None:
    # The plain mean is -1, the mean of the rectified 1; O(MEI_B) is 3, so M is a third.
    found = robust_measures(mei_activations(out_on_in=column(9, *[-2.25] * 8)))
    assert found.mix_ratio[0] == pytest.approx(1 / 3)
    # 9 / 9 = 1 rectified, which does not exceed B(MEI_I) = 1.
    assert robust_measures(mei_activations(block_on_in_up=column(9, *[-5] * 8))).meets_block[0] == 0


def test_fewer_than_nine_images_of_positive_activation_leave_a_channel_empty() -> None:
    for name in ("excited_in", "excited_block"):
        for last in (0.0, -1.0, np.nan):
            found = robust_measures(mei_activations(**{name: column(*[5] * 8, last)}))
            assert found.images[0] == 8
            assert np.isnan([found.mix_ratio[0], found.meets_mix[0], found.scale_invariant[0]]).all()


def test_own_activations_are_each_channels_on_its_own_images() -> None:
    matrix = np.arange(12, dtype=np.float32).reshape(4, 3)
    rows = np.array([[3, 0, 1], [2, -1, 1]])
    found = own_activations(matrix, rows)
    assert found[0].tolist() == [9, 1, 5]
    assert found[1, [0, 2]].tolist() == [6, 5]
    assert np.isnan(found[1, 1])
