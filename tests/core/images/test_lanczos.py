"""Resamplings against SciPy's own interpolation, and against what a cosine becomes when it is scaled."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

from streamscope.core.images.lanczos import (
    HERE,
    MOVES,
    Resampling,
    blur,
    brought,
    brought_blurred,
    flip,
    quarter_turn,
    resampled,
    scaling,
    shift,
)
from streamscope.core.model.arrays import Float64Array, Pixels

SIDE = 96
CENTRES = (48.0, 40.0, 47.5, 33.0)
POINTS = list(product(MOVES, MOVES))
"""What c is moved by, row and column, in the order of a resampling's versions."""


def versions(image: Float64Array, resampling: Resampling) -> list[Float64Array]:
    source = image.T if resampling.transposed else image
    return [resampling.rows[i] @ source @ resampling.columns[j].T for i, j in resampling.pairs]


@pytest.fixture(scope="module")
def smooth() -> Float64Array:
    """Noise without detail finer than about 25 px, different everywhere."""
    noise = np.random.default_rng(0).normal(size=(SIDE, SIDE))
    found: Float64Array = gaussian_filter(noise, 6, mode="reflect")
    found /= found.std()
    return found


def read_at(image: Float64Array, y: Float64Array, x: Float64Array) -> Float64Array:
    # Its "reflect" is about the borders, as NumPy's "symmetric". It prepares its splines beyond them less exactly.
    padded = np.pad(image, SIDE, mode="symmetric")
    found: Float64Array = map_coordinates(padded, [y + SIDE, x + SIDE], order=3, mode="reflect")
    return found


@pytest.mark.parametrize("about", CENTRES)
@pytest.mark.parametrize("factor", [2, 1.3, 0.8, 0.5])
def test_scaling_takes_every_pixel_from_where_it_says(smooth: Float64Array, about: float, factor: float) -> None:
    y, x = np.mgrid[:SIDE, :SIDE].astype(float)
    found = versions(smooth, scaling(SIDE, about, factor))
    assert len(found) == 9
    for version, (down, right) in zip(found, POINTS, strict=True):
        rows, columns = about + down + (y - about - down) / factor, about + right + (x - about - right) / factor
        # Of a reflection's crease a kernel that is widened against aliasing takes a little more.
        tolerance = 0.02 if factor >= 1 else 0.1
        assert np.abs(version - read_at(smooth, rows, columns)).max() < tolerance


def direct(values: Float64Array, place: float, width: float) -> float:
    """Lanczos-3 of `width` px a lobe at one place of (SIDE,) values, reflected outside: the formula, pixel by pixel."""
    total = weights = 0.0
    for pixel in range(int(place - 3 * width) - 2, int(place + 3 * width) + 3):
        away = abs(place - pixel) / width
        if away < 3:
            inside = pixel % (2 * SIDE)
            weight = float(np.sinc(away) * np.sinc(away / 3))
            total += weight * values[inside if inside < SIDE else 2 * SIDE - 1 - inside]
            weights += weight
    return total / weights


@pytest.mark.parametrize("factor", [0.5, 2 ** (-1 / 6), 1, 2 ** (5 / 6), 2])
@pytest.mark.parametrize("at", [20.0, 75.5, 90.0])
def test_what_is_brought_to_a_point_and_scaled_is_the_formula_evaluated_directly(at: float, factor: float) -> None:
    values = np.random.default_rng(1).normal(size=SIDE)
    about, start, stop = 48.0, 30, 71
    found = brought(SIDE, at, about, factor, start, stop) @ values
    expected = [direct(values, at + (p - about) / factor, max(1, 1 / factor)) for p in range(start, stop)]
    assert found == pytest.approx(expected, abs=1e-12)


def test_what_is_brought_to_the_point_itself_is_only_scaled() -> None:
    whole = scaling(SIDE, 40.0, 1.4, HERE).rows[0]
    assert np.array_equal(brought(SIDE, 40.0, 40.0, 1.4, 0, SIDE), whole)
    assert np.array_equal(brought(SIDE, 40.0, 40.0, 1.4, 10, 30), whole[10:30])
    assert np.array_equal(brought(SIDE, 30.0, 40.0, 1, 0, 20).argmax(axis=1)[10:], np.arange(0, 10))


@pytest.mark.parametrize("factor", [2 ** (1 / 6), 2])
def test_a_patch_blurred_to_a_band_keeps_its_size_and_loses_what_is_finer(factor: float) -> None:
    at, about = 60.0, 48.0
    matrix = brought_blurred(SIDE, at, about, factor, 36, 61)
    pixels, places = np.arange(SIDE), at + np.arange(36, 61) - about
    slow, fast = 0.25 / factor, 0.5 / factor + 0.1
    assert matrix @ np.cos(2 * np.pi * slow * pixels) == pytest.approx(np.cos(2 * np.pi * slow * places), abs=0.06)
    if fast < 0.5:
        assert np.abs(matrix @ np.cos(2 * np.pi * fast * pixels)).max() < 0.1


@pytest.mark.parametrize("about", CENTRES)
def test_flips_quarter_turns_and_shifts_do_so_too(smooth: Float64Array, about: float) -> None:
    y, x = np.mgrid[:SIDE, :SIDE].astype(float)
    mirrored = versions(smooth, flip(SIDE, about))
    assert [
        np.abs(found - read_at(smooth, y, 2 * (about + move) - x)).max() < 1e-4
        for found, move in zip(mirrored, MOVES, strict=True)
    ] == [True] * 3
    for found, (down, right) in zip(versions(smooth, quarter_turn(SIDE, about)), POINTS, strict=True):
        cy, cx = about + down, about + right
        assert np.abs(found - read_at(smooth, cy + (x - cx), cx - (y - cy))).max() < 0.02
    for found, (down, right) in zip(versions(smooth, shift(SIDE, 10)), POINTS, strict=True):
        assert np.abs(found - read_at(smooth, y - down, x - 10 - right)).max() < 0.02


def test_about_the_middle_of_an_image_a_flip_and_a_quarter_turn_are_numpys(smooth: Float64Array) -> None:
    middle = (SIDE - 1) / 2
    [flipped] = versions(smooth, flip(SIDE, middle, HERE))
    [turned] = versions(smooth, quarter_turn(SIDE, middle, HERE))
    assert np.array_equal(flipped, smooth[:, ::-1])
    assert np.array_equal(turned, np.rot90(smooth))


@pytest.mark.parametrize(("period", "tolerance"), [(8, 0.014), (16, 0.006), (30, 0.004)])
@pytest.mark.parametrize("factor", [2, 1.3, 0.7, 0.5])
@pytest.mark.parametrize("about", [112, 96, 111.5])
def test_a_cosine_becomes_one_of_another_period(period: int, tolerance: float, factor: float, about: float) -> None:
    side = 224
    x = np.arange(side)
    matrix = scaling(side, about, factor, HERE).rows[0]
    source = about + (x - about) / factor
    away = (source > 10) & (source < side - 11)
    scaled = np.cos(2 * np.pi * (source - about) / period + 0.3)
    assert np.abs(matrix @ np.cos(2 * np.pi * (x - about) / period + 0.3) - scaled)[away].max() < tolerance


@pytest.mark.parametrize("factor", [2, 0.5])
def test_the_contrast_of_a_grating_hardly_depends_on_where_the_point_lies(factor: float) -> None:
    side, period = 224, 8
    x = np.arange(side)
    inner = slice(80, 144)  # whole periods of the scaled grating, far from borders
    contrasts = []
    for move, phase in product(MOVES, (0, 0.4, 1.1)):
        grating = 0.5 + 0.5 * np.cos(2 * np.pi * x / period + phase)
        scaled = (scaling(side, 112 + move, factor, HERE).rows[0] @ grating)[inner]
        contrasts.append(abs(np.mean((scaled - 0.5) * np.exp(-2j * np.pi * x[inner] / (period * factor)))) * 2)
    assert np.ptp(contrasts) / max(contrasts) <= 0.002


def test_shrinking_loses_what_the_smaller_image_cannot_hold_and_blurring_keeps_the_rest_in_place() -> None:
    x = np.arange(SIDE)
    fine, coarse = np.cos(2 * np.pi * x / 3), np.cos(2 * np.pi * (x - 40) / 16)
    inner = slice(20, 70)
    assert np.abs((scaling(SIDE, 40, 0.5, HERE).rows[0] @ fine)[30:50]).max() < 0.06
    blurred = blur(SIDE, 40, HERE).rows[0]
    assert np.abs((blurred @ fine)[inner]).max() < 0.06
    assert np.abs((blurred @ coarse - coarse)[inner]).max() < 0.03


def test_weights_sum_to_one_and_what_is_not_scaled_is_the_image_itself() -> None:
    every = [scaling(SIDE, 40, factor) for factor in (0.5, 0.9, 1.7, 2)]
    every += [blur(SIDE, 40), flip(SIDE, 40), quarter_turn(SIDE, 40), shift(SIDE, 11)]
    for resampling in every:
        assert resampling.rows.sum(axis=2) == pytest.approx(1)
        assert resampling.columns.sum(axis=2) == pytest.approx(1)
    alone = scaling(SIDE, 40, 1)
    assert (alone.pairs, alone.rows.tolist()) == (((0, 0),), [np.eye(SIDE).tolist()])


def test_a_crop_of_a_resampling_is_that_of_its_versions(smooth: Float64Array) -> None:
    for resampling in (scaling(SIDE, 40, 2), quarter_turn(SIDE, 40)):
        cropped = versions(smooth, resampling.cropped(30, 51))
        for part, whole in zip(cropped, versions(smooth, resampling), strict=True):
            assert part == pytest.approx(whole[30:51, 30:51])


def test_a_picture_is_rounded_and_clipped() -> None:
    image: Pixels = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    image[40:, :, 1] = 255
    picture = resampled(image, scaling(SIDE, 40, 2, HERE))
    assert picture.dtype == np.uint8
    assert picture[:, 10, 1].tolist() == picture[:, 90, 1].tolist()
    # The edge lies half a pixel above c: a whole one when it is twice as far.
    assert (picture[36:39, 10, 1] < 30).all()
    assert (picture[39:43, 10, 1] > 120).all()
    assert not picture[:, :, [0, 2]].any()
    turned = resampled(image, quarter_turn(SIDE, (SIDE - 1) / 2, HERE))
    assert np.array_equal(turned, np.rot90(image))
