import pytest
import torch
import torch.nn.functional as F

from streamscope.core.engine.stem import StemGradient, stem_convolution
from tests.support.optional import present


@pytest.mark.parametrize(
    ("kernel", "stride", "side"), [(7, 2, 43), (7, 2, 44), (7, 2, 7), (3, 1, 12), (5, 2, 16), (3, 2, 9), (3, 3, 14)]
)
def test_the_stems_gradient_is_that_of_the_convolution(kernel: int, stride: int, side: int) -> None:
    torch.manual_seed(0)
    weight = torch.randn(16, 3, kernel, kernel, dtype=torch.float64)
    bias = torch.randn(16, dtype=torch.float64)
    ours = torch.randn(2, 3, side, side, dtype=torch.float64, requires_grad=True)
    torchs = ours.detach().clone().requires_grad_(True)
    expected = F.conv2d(torchs, weight, bias, stride)
    found = stem_convolution(ours, weight, bias, StemGradient.of(weight, stride))
    assert torch.equal(found, expected)
    pull = torch.randn_like(expected)
    (expected * pull).sum().backward()
    (found * pull).sum().backward()
    assert torch.allclose(present(ours.grad), present(torchs.grad), atol=1e-12)
