"""Every number below is worked out by hand from the definitions in the module's docstrings."""

from collections.abc import Callable

import numpy as np
import pytest

from streamscope.core.measures import criteria
from streamscope.core.model.arrays import Float64Array

NAN = float("nan")


def check(found: np.ndarray, expected: list[float]) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-12, equal_nan=True)


@pytest.mark.parametrize(
    ("on_in", "on_block", "expected"),
    [
        (3.0, 2.0, 1.5),  # plain ratio
        (2.0, 3.0, 2 / 3),
        (1.0, 4.0, 0.25),
        (30.0, 2.0, 5.0),  # 15, clamped
        (10.0, 2.0, 5.0),  # exactly the clamp
        (9.0, 2.0, 4.5),  # just below it
        (1.0, 0.0, 5.0),  # O(FZ(B)) not positive
        (1.0, -2.0, 5.0),
        (0.0, 2.0, 0.0),  # O(FZ(I)) not positive
        (-1.0, 2.0, 0.0),
        (0.0, 0.0, NAN),  # neither positive
        (-1.0, -2.0, NAN),
        (0.0, -2.0, NAN),
        (-2.0, 0.0, NAN),
        (NAN, 2.0, NAN),  # one not measured yet
        (NAN, -2.0, NAN),
        (2.0, NAN, NAN),
        (-2.0, NAN, NAN),
        (1e30, 1e-300, 5.0),  # overflows to infinity, clamped
    ],
)
def test_mix_ratio_follows_each_branch_of_its_definition(on_in: float, on_block: float, expected: float) -> None:
    check(criteria.mix_ratio([on_in], [on_block]), [expected])


def test_mix_ratio_keeps_the_shape_of_its_arguments() -> None:
    assert criteria.mix_ratio(np.ones((2, 3)), np.ones((2, 3))).shape == (2, 3)
    assert criteria.mix_ratio(np.ones(0), np.ones(0)).shape == (0,)
    assert float(criteria.mix_ratio(3.0, 4.0)) == 0.75


def test_mix_ratio_of_float32_activations_is_computed_in_double_precision() -> None:
    # 2/3 in float32 is 0.666666687, above 1/1.5: the channel would mix instead of overwriting
    found = criteria.mix_ratio(np.array([2.0], dtype=np.float32), np.array([3.0], dtype=np.float32))
    assert criteria.update_kind(found).tolist() == ["overwrite"]


def test_undefined_means_neither_is_positive_and_both_are_known() -> None:
    on_in = [1.0, 1.0, -1.0, -1.0, 0.0, NAN, NAN, -1.0]
    on_block = [1.0, -1.0, 1.0, -1.0, 0.0, -1.0, 1.0, NAN]
    expected = [False, False, False, True, True, False, False, False]
    assert criteria.is_undefined(on_in, on_block).tolist() == expected


def test_update_kind_bounds_belong_to_overwrite_and_skip() -> None:
    m = [0.0, 1 / 1.5, np.nextafter(1 / 1.5, 2), 1.0, np.nextafter(1.5, 0), 1.5, 5.0, NAN]
    assert criteria.update_kind(m).tolist() == ["overwrite", "overwrite", "mix", "mix", "mix", "skip", "skip", ""]


def test_meets_mix_is_strict_at_both_bounds() -> None:
    m = [0.5, 1 / 1.5, np.nextafter(1 / 1.5, 2), 1.0, np.nextafter(1.5, 0), 1.5, 5.0, NAN]
    check(criteria.meets_mix(m), [0, 0, 1, 1, 1, 0, 0, NAN])


@pytest.mark.parametrize("criterion", [criteria.meets_block, criteria.meets_input])
def test_scale_criteria_are_strict_and_rectify_the_unscaled_activation(criterion: Callable[..., Float64Array]) -> None:
    rescaled = [2.0, 1.0, 0.5, 0.0, 0.1, -0.5, -0.5, NAN, 1.0]
    plain = [1.0, 1.0, 1.0, -3.0, -3.0, -3.0, 1.0, 1.0, NAN]
    # 2 > 1; 1 > 1 no; 0.5 > 1 no; 0 > relu(-3) = 0 no; 0.1 > 0; -0.5 > 0 no (though -0.5 > -3); no; unknown; unknown
    check(criterion(rescaled, plain), [1, 0, 0, 0, 1, 0, 0, NAN, NAN])


def test_beyond_blur_the_larger_of_the_plain_reading_and_the_blurred_one_is_to_be_exceeded() -> None:
    plain = [1.0, 1.0, -3.0, -3.0, 2.0, NAN, 1.0]
    blurred = [0.5, 2.0, -1.0, 0.25, 2.0, 1.0, NAN]
    baseline = criteria.larger_baseline(plain, blurred)
    check(baseline, [1.0, 2.0, 0.0, 0.25, 2.0, NAN, NAN])
    rescaled = [1.5, 1.5, 0.5, 0.5, 2.0, 3.0, 3.0]
    check(criteria.meets_block(rescaled, baseline), [1, 0, 1, 1, 0, NAN, NAN])
    # Over an own activation of 2: (1.5 - 1) / 2; (1.5 - 2) / 2; 0.5 / 2; (0.5 - 0.25) / 2; 0; unknown
    check(criteria.block_gain(rescaled, baseline, 2.0), [0.25, -0.25, 0.25, 0.125, 0.0, NAN, NAN])


def test_scale_invariant_needs_all_three_and_is_unknown_where_one_is() -> None:
    mix = [1, 1, 1, 0, 0, NAN, 1]
    block = [1, 1, 0, 1, 0, 1, NAN]
    input_ = [1, 0, 1, 1, 0, 0, 0]
    check(criteria.scale_invariant(mix, block, input_), [1, 0, 0, 0, 0, NAN, NAN])


@pytest.mark.parametrize("gain", [criteria.block_gain, criteria.input_gain])
def test_gains_rectify_both_terms_and_need_a_positive_denominator(gain: Callable[..., Float64Array]) -> None:
    rescaled = [6.0, 1.0, -1.0, 4.0, 6.0, 6.0, NAN, 6.0, 6.0]
    plain = [2.0, 3.0, 3.0, -2.0, 2.0, 2.0, 2.0, NAN, 2.0]
    own = [8.0, 8.0, 4.0, 8.0, 0.0, -8.0, 8.0, 8.0, NAN]
    # (6-2)/8; (1-3)/8; (0-3)/4; (4-0)/8; denominators 0 and -8; unknowns
    check(gain(rescaled, plain, own), [0.5, -0.25, -0.75, 0.5, NAN, NAN, NAN, NAN, NAN])


def test_scale_metric_is_the_sum_and_unknown_where_either_gain_is() -> None:
    check(criteria.scale_metric([0.5, NAN, 0.5, NAN], [-0.25, 1.0, NAN, NAN]), [0.25, NAN, NAN, NAN])


def test_late_rise_compares_the_last_sample_with_the_one_at_three_quarters() -> None:
    rising = np.arange(1.0, 33.0)  # sample 24 of 32 is 24, the last 32: (32 - 24) / 32
    flat = np.full(32, 7.0)
    falling = np.where(np.arange(32) < 24, 4.0, 2.0)  # (2 - 4) / 2
    late = np.where(np.arange(32) < 24, 0.0, 3.0)  # all of it late
    check(criteria.late_rise(np.stack([rising, flat, falling, late])), [0.25, 0.0, -1.0, 1.0])


def test_late_rise_is_unknown_without_a_positive_final_activation() -> None:
    traces = np.stack([np.zeros(32), np.full(32, -1.0), np.full(32, NAN)])
    check(criteria.late_rise(traces), [NAN, NAN, NAN])


def test_late_rise_takes_traces_of_any_length_and_leading_shape() -> None:
    assert float(criteria.late_rise([1.0, 2.0, 3.0, 4.0])) == 0.25  # (4 - 3) / 4
    assert float(criteria.late_rise([5.0])) == 0.0
    assert criteria.late_rise(np.ones((2, 3, 32))).shape == (2, 3)


def test_no_measure_warns_about_unknown_or_zero_values(recwarn: pytest.WarningsRecorder) -> None:
    values = np.array([NAN, 0.0, -1.0, 1.0, np.inf])
    a, b = (x.ravel() for x in np.meshgrid(values, values))
    m = criteria.mix_ratio(a, b)
    criteria.update_kind(m)
    criteria.scale_metric(criteria.block_gain(a, b, a), criteria.input_gain(b, a, b))
    criteria.scale_invariant(criteria.meets_mix(m), criteria.meets_block(a, b), criteria.meets_input(b, a))
    criteria.late_rise(np.stack([a] * 8, axis=-1))
    assert not recwarn.list
