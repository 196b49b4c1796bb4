import numpy as np
import pytest

from streamscope.core.measures.batch_norms import LayerFit, are_folded, distance, first_fits, later_fit, layer_fit


def test_a_layer_is_off_by_the_median_of_its_channels() -> None:
    running = np.array([0.0, 1.0, 2.0, 7.0]), np.array([4.0, 1.0, 9.0, 0.0])
    # Deviations 2, 1, 3: off by 0.5, 1 and 2 of them; the last channel never varied in training.
    fit = layer_fit("bn1", np.array([1.0, 0.0, 8.0, 9.0]), np.array([2.0, 1.0, 18.0, 5.0]), running)
    assert (fit.name, fit.shift, fit.ratio, fit.factor) == ("bn1", 1.0, 1.0, 1.0)
    assert layer_fit("bn1", *running, running).shift == 0


@pytest.mark.parametrize(
    ("shift", "ratio", "fits"),
    [(0.0, 1.0, True), (0.2, 1.9, True), (0.2, 0.51, True), (0.26, 1.0, False), (0.0, 2.1, False), (0.0, 0.4, False)],
)
def test_a_first_layer_fits_within_a_factor_of_two_and_a_quarter_deviation(
    shift: float, ratio: float, fits: bool
) -> None:
    assert first_fits(LayerFit("bn1", shift, ratio)) is fits


def test_a_layer_that_is_off_either_way_is_as_far_off() -> None:
    assert distance(LayerFit("", 0, 4)) == distance(LayerFit("", 0, 0.25)) == pytest.approx(np.log(4))
    assert distance(LayerFit("", 3, np.exp(4))) == pytest.approx(5)
    assert distance(LayerFit("", 0, 0)) == np.inf


def test_later_layers_are_judged_by_the_median_one() -> None:
    near, far = LayerFit("", 0.05, 1.1), LayerFit("", 0.5, 3.0)
    assert later_fit([near, near, far])
    assert not later_fit([near, far, far])


def test_batch_norms_that_do_nothing_are_known_to_say_nothing() -> None:
    fresh = np.zeros(4), np.ones(4)
    folded = np.zeros(4), np.full(4, 1 - 1e-5)
    trained = np.full(4, 0.1), np.ones(4)
    assert are_folded([fresh, folded])
    assert not are_folded([fresh, trained])
