"""CIFAR ResNets against the paper's figures and against a forward pass written down from the state dict."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from streamscope.core.model.networks import NETWORKS, build

PUBLISHED = {20: 0.27, 32: 0.46, 44: 0.66, 56: 0.85, 110: 1.7}
"""Millions of parameters, He et al. 2016, table 6."""
SHORTCUTS = 32 * 16 + 2 * 32 + 64 * 32 + 2 * 64
"""Parameters of option B's: two 1 x 1 convolutions, each with a batch norm."""


def parameters(module: nn.Module) -> int:
    return sum(value.numel() for value in module.parameters())


def randomised(module: nn.Module) -> nn.Module:
    """With norms that are not those of a fresh network."""
    torch.manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None
            assert part.running_var is not None
            for value, low, high in (
                (part.weight, 0.5, 1.5),
                (part.bias, -0.5, 0.5),
                (part.running_mean, -0.5, 0.5),
                (part.running_var, 0.5, 2.0),
            ):
                nn.init.uniform_(value, low, high)
    return module


def written_down(state: dict[str, Tensor], x: Tensor, blocks: int) -> Tensor:
    """The scores of a CIFAR ResNet, from the tensors of its state dict."""

    def norm(x: Tensor, name: str) -> Tensor:
        mean, var, weight, bias = (
            state[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    x = norm(F.conv2d(x, state["conv1.weight"], padding=1), "bn1").clamp(min=0)
    for stage in (1, 2, 3):
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            y = norm(F.conv2d(x, state[f"{name}.conv1.weight"], stride=stride, padding=1), f"{name}.bn1").clamp(min=0)
            y = norm(F.conv2d(y, state[f"{name}.conv2.weight"], padding=1), f"{name}.bn2")
            if stride == 2 and f"{name}.downsample.0.weight" in state:
                x = norm(F.conv2d(x, state[f"{name}.downsample.0.weight"], stride=2), f"{name}.downsample.1")
            elif stride == 2:
                zeros = torch.zeros_like(x[:, : x.shape[1] // 2, ::2, ::2])
                x = torch.cat([zeros, x[:, :, ::2, ::2], zeros], 1)
            x = (x + y).clamp(min=0)
    return x.mean((2, 3)) @ state["fc.weight"].T + state["fc.bias"]


@pytest.mark.parametrize("depth", PUBLISHED)
def test_parameters_are_as_many_as_published(depth: int) -> None:
    with torch.device("meta"):
        plain, projecting = (build(NETWORKS[f"cifar_resnet{depth}{option}"]) for option in ("", "_b"))
    assert parameters(plain) / 1e6 == pytest.approx(PUBLISHED[depth], abs=0.05 if depth == 110 else 0.01)
    assert parameters(projecting) - parameters(plain) == SHORTCUTS
    layers = [m for m in plain.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == depth


@pytest.mark.parametrize("name", ["cifar_resnet20", "cifar_resnet20_b"])
@pytest.mark.parametrize("side", [32, 45])
def test_scores_are_those_of_the_definition(name: str, side: int) -> None:
    network = randomised(build(NETWORKS[name]))
    x = torch.randn(2, 3, side, side)
    with torch.no_grad():
        scores = network(x)
        expected = written_down(network.state_dict(), x, 3)
    assert scores.shape == (2, 10)
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


def test_stages_have_16_32_and_64_channels_and_halve_the_map_twice() -> None:
    network = build(NETWORKS["cifar_resnet20"])
    x = network.get_submodule("bn1")(network.get_submodule("conv1")(torch.randn(1, 3, 32, 32)))
    shapes = []
    for stage in ("layer1", "layer2", "layer3"):
        x = network.get_submodule(stage)(x)
        shapes.append(tuple(x.shape[1:]))
    assert shapes == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]
