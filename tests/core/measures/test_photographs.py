"""What photographs say of a channel, against values worked out by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.stats import binom

from streamscope.core.measures.photographs import (
    LARGER,
    SCALES,
    UNSCALED,
    PatchReadings,
    against,
    bootstrap_interval,
    chance,
    contrast,
    exceedance,
    interval_over_images,
    photo_measures,
    preferences,
)

CHANNELS = 30
OCTAVES = np.log2(SCALES)


def readings(
    block_slope: float = 0.5, in_slope: float = -0.25, patches: int = 9, deviation: float = 2.0, blur: float = 1.0
) -> PatchReadings:
    """Channel 0 of 30: B rises with the octaves by `block_slope` of I's patches, I by `in_slope` on B's; on their own
    patches all have a peak at scale 1. Others prefer nothing; ten answer as strongly. Blurred ones read `blur`."""
    curves = np.full((1, 3, 9, len(SCALES), 3), 4 - 4 * np.abs(OCTAVES)[:, None], dtype=np.float32)
    curves[:, 0, :, :, 1] = 1 + block_slope * OCTAVES
    curves[:, 1, :, :, 0] = 1 + in_slope * OCTAVES
    blurred = np.full((1, 3, 9, len(LARGER), 3), blur, dtype=np.float32)
    curves[:, :, patches:], blurred[:, :, patches:] = np.nan, np.nan
    pair_contrast = np.zeros((1, 2, CHANNELS), dtype=np.float32)
    pair_contrast[:, :, 0] = 99
    pair_reading = np.full((1, 2, CHANNELS), 3, dtype=np.float32)
    # At scale 1 the channel reads 1: half a deviation of 2, its mean being 0.
    pair_reading[:, :, 1:11] = 0.75
    return PatchReadings(
        channels=np.array([0]),
        curves=curves,
        blurred=blurred,
        mean=np.zeros((1, 3), dtype=np.float32),
        deviation=np.full((1, 3), deviation, dtype=np.float32),
        pair_contrast=pair_contrast,
        pair_reading=pair_reading,
    )


def values(found: PatchReadings) -> dict[str, float]:
    return {name: float(column[0]) for name, column in photo_measures(found).items()}


def test_a_contrast_is_the_mean_above_scale_1_less_the_mean_below() -> None:
    assert (SCALES[0], SCALES[UNSCALED], SCALES[-1]) == (0.5, 1, 2)
    assert len(SCALES) == 13
    # Of a line over the octaves: twice the mean of 1/6, …, 6/6.
    assert contrast(OCTAVES) == pytest.approx(2 * 3.5 / 6)
    assert contrast(np.abs(OCTAVES)) == pytest.approx(0)
    peak = np.zeros(13)
    peak[UNSCALED] = 7
    assert contrast(peak) == 0


def test_the_columns_of_a_channel_that_prefers_both() -> None:
    found = values(readings())
    # 0.5 and 0.25 an octave, in deviations of 2.
    assert found["photo_block_larger"] == pytest.approx(0.25 * 7 / 6)
    assert found["photo_in_smaller"] == pytest.approx(0.125 * 7 / 6)
    assert (found["photo_peak_block"], found["photo_peak_in"]) == (1, -1)
    assert (found["photo_images"], found["photo_invariant"], found["photo_beyond_blur"]) == (9, 1, 1)
    # Half of 4 is reached half an octave off on either side.
    assert [found["photo_width_in"], found["photo_width_out"]] == pytest.approx([1, 1])
    assert (found["photo_pairs_block"], found["photo_pairs_in"]) == (1, 1)
    # None of the ten mates prefers as much.
    assert (found["photo_mates_block"], found["photo_mates_in"]) == (10, 10)
    assert found["photo_p_block"] == found["photo_p_in"] == pytest.approx(1 / 11)
    # All patches say the same.
    assert found["photo_block_low"] == pytest.approx(found["photo_block_larger"])


@pytest.mark.parametrize("slopes", [(-0.5, -0.25), (0.5, 0.25), (0, 0)])
def test_a_channel_that_prefers_one_way_only_is_not_invariant(slopes: tuple[float, float]) -> None:
    found = values(readings(*slopes))
    assert found["photo_invariant"] == found["photo_beyond_blur"] == 0
    assert found["photo_block_larger"] == pytest.approx(slopes[0] * 7 / 12)
    assert found["photo_in_smaller"] == pytest.approx(-slopes[1] * 7 / 12)


def test_what_blurring_alone_brings_about_is_not_beyond_it() -> None:
    larger, smaller = preferences(readings(blur=2.0))
    # B reads 1 + 0.5 * 3.5 / 6 of the enlarged patches on average.
    assert larger.beyond_blur == pytest.approx((0.5 * 3.5 / 6 - 1) / 2)
    assert smaller.beyond_blur == pytest.approx((0.25 * 3.5 / 6 - 1) / 2)
    found = values(readings(blur=2.0))
    assert (found["photo_invariant"], found["photo_beyond_blur"]) == (1, 0)


def test_what_too_few_images_excite_is_empty() -> None:
    found = values(readings(patches=4))
    assert found.pop("photo_images") == 4
    assert np.isnan(list(found.values())).all()
    assert values(readings(patches=5))["photo_invariant"] == 1
    unvaried = values(readings(deviation=np.nan))
    assert np.isnan([unvaried[name] for name in ("photo_block_larger", "photo_p_in", "photo_invariant")]).all()


def test_a_flat_curve_has_no_peak() -> None:
    assert np.isnan(values(readings(block_slope=0))["photo_peak_block"])


def test_pairs_and_mates_are_counted_without_the_channel_itself() -> None:
    pairs = np.full((1, 12), 0.0)
    pairs[0, 0], pairs[0, 1:4], pairs[0, 4] = np.nan, [0.2, 0.3, 0.5], np.nan
    readings = np.array([[1, 1.5, 1.51, 0.5, 1, *[1.2] * 4, *[9] * 3]])
    found = against([0.3], [1.0], pairs, readings)
    # Of ten known others 0.3 is tied and 0.5 more.
    assert [*found.pairs, *found.exceeded] == [10, 0.8]
    assert found.pairs_mean == pytest.approx(0.1)
    # 1.5 and 0.5 are half a deviation off, 1.51 is more; the unknown one is none.
    assert [*found.mates, *found.at_least] == [6, 1]
    assert found.p == pytest.approx(2 / 7)
    assert found.mates_mean == pytest.approx(0.7 / 6)
    few = against([0.3], [1.0], pairs[:, :7], readings[:, :7])
    assert few.mates == 4
    assert np.isnan(few.p)
    assert np.isnan(few.exceeds_mates)


def test_exceeding_95_percent_and_its_chance() -> None:
    # Of 40 others two may do as well: the channel is among the best 3 of 41.
    others = np.zeros((1, 41))
    others[0, 0] = np.nan
    for tied, exceeds in ((2, 1), (3, 0)):
        others[0, 1 : 1 + tied] = 1
        found = against([1], [0], others, np.zeros((1, 41)))
        assert [*found.exceeds_pairs, *found.exceeds_mates] == [exceeds, exceeds]
    assert chance([40, 5, 20, 19]) == pytest.approx([3 / 41, 1 / 6, 2 / 21, 1 / 20])


def test_an_excess_of_equal_chances_is_binomial_and_of_others_their_own_sum() -> None:
    found = exceedance([1] * 4 + [0] * 16 + [np.nan], [0.05] * 20 + [0.9])
    assert [found.k, found.n, found.expected] == pytest.approx([4, 20, 1])
    assert found.p == pytest.approx(binom.sf(3, 20, 0.05))
    assert exceedance([1, 0], [0.5, 0.1]).p == pytest.approx(1 - 0.5 * 0.9)
    assert exceedance([0, 0], [0.5, 0.1]).p == 1
    assert np.isnan(exceedance([np.nan], [0.5]).p)


def test_intervals_are_of_the_rows_own_images() -> None:
    normal = np.random.default_rng(3).normal(1, 1, (200, 9))
    normal[:50, 6:] = np.nan
    normal[0, 4:] = np.nan
    low, high = bootstrap_interval(normal)
    assert np.isnan([low[0], high[0]]).all()
    assert np.array_equal(bootstrap_interval(normal[60:70]), [low[60:70], high[60:70]])
    # Percentile intervals of nine values are a little narrow.
    covering = ((low < 1) & (high > 1))[50:]
    assert 0.8 < covering.mean() < 0.97
    assert (low[1:] < np.nanmean(normal[1:], axis=1)).all()


def test_patches_of_one_image_count_together() -> None:
    random = np.random.default_rng(4)
    by_image = random.normal(0, 1, 20)
    images = np.tile(np.arange(20), (50, 1))
    values = by_image[images]
    low, high = interval_over_images(values, images)
    half = 1.96 * by_image.std() / np.sqrt(20)
    assert [low, high] == pytest.approx([by_image.mean() - half, by_image.mean() + half], abs=0.1)
    apart = interval_over_images(values, np.arange(1000).reshape(50, 20))
    assert apart[1] - apart[0] < (high - low) / 5
    assert np.isnan(interval_over_images(values, np.zeros_like(images))).all()


def test_a_channel_of_several_is_measured_as_alone() -> None:
    one, other = readings(), readings(0.1, 0.3)
    both = PatchReadings(
        **{
            field.name: np.concatenate([getattr(part, field.name) for part in (one, other)])
            for field in dataclasses.fields(PatchReadings)
        }
    )
    for name, column in photo_measures(both).items():
        expected = [values(one)[name], values(other)[name]]
        assert column == pytest.approx(expected, nan_ok=True), name
