import pytest
import torch

from streamscope.core.engine.transforms.rotation import _Rotate, rotate
from tests.support.interpreted_kernels import rotations


@pytest.mark.parametrize(("side", "source"), [(43, 47), (30, 20), (20, 33)])
def test_the_gathered_gradient_is_that_of_grid_sample(side: int, source: int) -> None:
    degrees, shifts = [0, 5, -5, 1, -30, 45], [(0, 0), (0.3, -0.7), (2, 1.5), (0.5, 0.5), (0, 3.2), (1, 1)]
    scales = [1, 0.95, 1.05, 1, 0.95, 1.05]
    theta = rotations(degrees, scales, shifts, side, source, torch.float64)
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(len(theta), 3, source, source, generator=generator, dtype=torch.float64).requires_grad_(True)
    weight = torch.randn(len(theta), 3, side, side, generator=generator, dtype=torch.float64)
    expected = rotate(image, theta, side)
    (gradient,) = torch.autograd.grad((expected * weight).sum(), image)
    got = _Rotate.apply(image, theta, side)
    assert torch.equal(got, expected)
    (gathered,) = torch.autograd.grad((got * weight).sum(), image)
    assert float((gathered - gradient).abs().max()) < 1e-9 * float(gradient.abs().max())
