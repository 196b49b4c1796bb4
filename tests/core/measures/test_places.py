"""Places of a map as pixels, which of them are far enough from the border, and the best ones kept while images pass."""

import numpy as np
import pytest

from streamscope.core.measures.extremes import NONE
from streamscope.core.measures.places import BestPlaces, inner_places, pixel_centres


def test_a_place_s_centre_is_its_distance_from_the_centre_place_in_strides() -> None:
    # ResNet18 at 224 px: 2.1 has 28 places, 8 px apart, about pixel 112.
    assert pixel_centres(np.array([[14, 14], [0, 27]]), 112.0, 28, 8).tolist() == [[112, 112], [0, 216]]
    assert pixel_centres(np.array([3]), 15.5, 7, 4).tolist() == [15.5]


@pytest.mark.parametrize(
    ("size", "stride", "about", "field", "side", "places"),
    [
        # 16 places at pixels 0, 4, … 60; borders at -0.5 and 63.5. A quarter of 23 px is 5.75: pixels 5.25 to 57.75.
        (16, 4, 32.0, 23, 64, range(2, 15)),
        # On the very border: a quarter of 18 px is 4.5, so that pixel 4 is just far enough.
        (16, 4, 32.0, 18, 64, range(1, 15)),
        (16, 4, 32.0, 19, 64, range(2, 15)),
        # ResNet18's 2.1, 3.1 and 4.0.
        (28, 8, 112.0, 99, 224, range(4, 25)),
        (14, 16, 112.0, 211, 224, range(4, 11)),
        (7, 32, 96.0, 307, 224, range(3, 5)),
        # Its 4.1: pixels 108.25 to 114.75 would do, and the places are at 96 and 128.
        (7, 32, 96.0, 435, 224, range(3, 4)),
        # Larger than two images.
        (7, 32, 96.0, 999, 224, range(3, 4)),
        # Smaller than the gap between places: no place that there is not.
        (4, 1, 2.0, 1, 4, range(4)),
    ],
)
def test_places_near_the_border_are_left_out_and_the_centre_alone_is_left_at_worst(
    size: int, stride: int, about: float, field: int, side: int, places: range
) -> None:
    assert inner_places(size, stride, about, field, side) == places


def added(batches: list[np.ndarray], channels: int, count: int) -> BestPlaces:
    best, first = BestPlaces(channels, count), 0
    for values in batches:

        def locate(images: np.ndarray, channel: np.ndarray, first: int = first) -> np.ndarray:
            return np.stack([images + first, channel], axis=1)

        best.add(np.arange(first, first + len(values)), values, locate)
        first += len(values)
    return best


def test_what_is_kept_is_the_highest_of_all_however_they_are_cut_into_batches() -> None:
    # Few distinct values: ties within batches and between them.
    values = np.random.default_rng(0).integers(0, 6, (50, 4)).astype(np.float32)
    expected = np.argsort(-values, axis=0, kind="stable")[:9]
    for cuts in ([], [9], [3, 4, 30], [1, 2, 3]):
        best = added(np.split(values, cuts), 4, 9)
        assert np.array_equal(best.rows, expected)
        assert np.array_equal(best.values, np.take_along_axis(values, expected, axis=0))
        assert np.array_equal(best.places[..., 0], expected)
        assert (best.places[..., 1] == np.arange(4)).all()


def test_merged_chunks_are_as_one_and_an_image_that_has_no_row_is_left_out() -> None:
    values = np.random.default_rng(1).integers(0, 6, (40, 3)).astype(np.float32)
    whole = added([values], 3, 9)
    merged = BestPlaces(3, 9)
    for first in (0, 16, 32):
        part = added([values[first : first + 16]], 3, 9)
        rows = np.where(part.rows == NONE, NONE, part.rows + first)
        part.places[..., 0] = np.where(part.rows == NONE, NONE, part.places[..., 0] + first)
        merged.merge(rows, part)
    assert np.array_equal(merged.rows, whole.rows)
    assert np.array_equal(merged.places, whole.places)
    assert np.array_equal(merged.values, whole.values)
    last = BestPlaces(3, 9)
    last.merge(np.where(whole.rows == whole.rows[0], NONE, whole.rows), whole)
    assert np.array_equal(last.rows[:-1], whole.rows[1:])
    assert (last.rows[-1] == NONE).all()


def test_fewer_images_than_are_kept_leave_empty_places_and_nan_is_no_activation() -> None:
    best = added([np.array([[1.0], [np.nan], [2.0]], dtype=np.float32)], 1, 4)
    assert best.rows[:, 0].tolist() == [2, 0, NONE, NONE]
    assert best.places[:, 0].tolist() == [[2, 0], [0, 0], [NONE, NONE], [NONE, NONE]]
    assert best.values[:2, 0].tolist() == [2, 1]
    assert np.isnan(best.values[2:]).all()
