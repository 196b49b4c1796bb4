"""The paper's S and S- about other points, against the operations that measure a paper set, and by hand."""

import numpy as np
import pytest
import torch

from streamscope.core.images.bilinear import paper_down, paper_up
from streamscope.core.images.lanczos import Resampling
from streamscope.core.reading.activations import scale_down, scale_up


def ramp(resampling: Resampling) -> np.ndarray:
    """What each pixel takes of an image whose pixels are their own places: where it is read."""
    matrix = resampling.rows[0]
    places: np.ndarray = matrix @ np.arange(matrix.shape[1])
    return places


@pytest.mark.parametrize("side", [12, 64, 66, 75, 77, 224])
def test_about_their_own_points_they_are_what_a_paper_set_is_measured_by(side: int) -> None:
    images = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(side))
    for measured, matrix in ((scale_up, paper_up(side)), (scale_down, paper_down(side))):
        rows = torch.from_numpy(matrix.rows[0]).float()
        assert torch.allclose(rows @ images @ rows.T, measured(images), atol=2e-5)


def test_s_reads_half_as_far_from_its_point() -> None:
    # 5.5 of 12 px; the outermost places, 2.75 and 8.25, are cut off to whole pixels.
    assert ramp(paper_up(12)).tolist() == [3, *(5.5 + (np.arange(1, 11) - 5.5) / 2), 8]
    assert ramp(paper_up(12, about=4)).tolist() == (4 + (np.arange(12) - 4) / 2).clip(2, 7).tolist()


def test_s_down_reads_twice_as_far_and_the_reflection_outside() -> None:
    # About 5.5 every pixel is the mean of two; outside 0.5 ... 10.5 the small image is reflected about its ends.
    assert ramp(paper_down(12)).tolist() == [6.5, 4.5, 2.5, 0.5, 2.5, 4.5, 6.5, 8.5, 10.5, 8.5, 6.5, 4.5]
    about_a_pixel = paper_down(12, move=0.5)
    assert ramp(about_a_pixel).tolist() == [6, 4, 2, 0, 2, 4, 6, 8, 10, 8, 6, 4]
    # Half a pixel away nothing is averaged any more.
    assert set(about_a_pixel.rows[0].ravel().tolist()) == {0.0, 1.0}
    assert set(paper_down(12).rows[0].ravel().tolist()) == {0.0, 0.5}


@pytest.mark.parametrize("about", [96.0, 111.0, 111.5, 112.0, 120.25])
def test_the_point_stays_and_weights_sum_to_one(about: float) -> None:
    for resampling in (paper_up(224, about), paper_down(224, about)):
        assert np.allclose(resampling.rows[0].sum(axis=1), 1)
        if about == int(about):
            assert ramp(resampling)[int(about)] == about
    assert np.array_equal(paper_down(224, about).rows, paper_down(224, about - 3, move=3).rows)
