import numpy as np
import pytest
import torch

from streamscope.core.engine.transforms.resample import BAND, Resampler


def _banded(kinds: int, out: int, inputs: int) -> np.ndarray:
    random = np.random.default_rng(0)
    matrices = np.zeros((kinds, out, inputs))
    for kind in range(kinds):
        for row in range(out):
            first = min(max(0, row * inputs // out - 2 + kind), inputs - 3)
            matrices[kind, row, first : first + 3] = random.normal(size=3)
    return matrices


@pytest.mark.parametrize(("out", "inputs"), [(20, 24), (2 * BAND + 5, 2 * BAND), (3 * BAND, 4 * BAND)])
def test_bands_give_what_the_whole_matrices_give_with_their_gradient(out: int, inputs: int) -> None:
    matrices = _banded(4, out, inputs)
    rows, columns = torch.tensor([0, 3, 1]), torch.tensor([2, 2, 0])
    x = torch.randn(3, 2, inputs, inputs, requires_grad=True)
    whole = torch.tensor(matrices, dtype=torch.float32)
    expected = torch.einsum("nri,ncij,nsj->ncrs", whole[rows], x, whole[columns])
    found = Resampler(matrices, torch.device("cpu"))(x, rows, columns)
    assert torch.allclose(found, expected, atol=1e-4)
    pull = torch.randn_like(expected)
    gradients = [torch.autograd.grad((value * pull).sum(), x)[0] for value in (expected, found)]
    assert torch.allclose(gradients[1], gradients[0], atol=1e-4)
