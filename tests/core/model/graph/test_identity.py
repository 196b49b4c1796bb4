"""Networks of equal weights are told apart by what they do, and by nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from streamscope.core.model.graph.capture import capture
from streamscope.core.model.graph.identity import graph_text
from tests.support.small_networks import Small, small

SIDE = 12
Forward = Callable[[Small, Tensor], Any]


def text(forward: Forward) -> str:
    return graph_text(capture(small(forward), SIDE))


def written_out(net: Small, x: Tensor) -> Tensor:
    y = F.conv2d(x, net.stem.weight, net.stem.bias, [1, 1], [1, 1], [1, 1], 1)
    return torch.add(F.conv2d(y, net.a.weight, net.a.bias, padding=1), y, alpha=1).relu_()


@pytest.mark.parametrize(
    "forward",
    [lambda net, x: (net.a(net.stem(x)) + net.stem(x) * 0).relu(), lambda net, x: net.a(net.stem(x)) + net.stem(x)],
)
def test_what_networks_do_differently_tells_them_apart(forward: Forward) -> None:
    assert text(forward) != text(written_out)


def test_what_is_so_by_default_does_not() -> None:
    def with_defaults(net: Small, x: Tensor) -> Tensor:
        y: Tensor = net.stem(x)
        return F.relu(net.a(y) + y)

    assert text(with_defaults) == text(written_out)


def test_values_of_the_code_tell_networks_apart() -> None:
    def shifted(by: float) -> Forward:
        return lambda net, x: net.stem(x - torch.tensor([by, 0.0, 0.0]).view(3, 1, 1))

    assert text(shifted(0.4)) == text(shifted(0.4))
    assert text(shifted(0.4)) != text(shifted(0.5))


def test_where_a_network_was_captured_tells_nothing() -> None:
    def forward(net: Small, x: Tensor) -> Tensor:
        y: Tensor = net.norm(net.stem(x))
        return y + torch.zeros(len(x), 1, 1, 1, device=x.device)

    texts = set()
    for enabled in (True, False):
        with torch.backends.cudnn.flags(enabled=enabled):
            texts.add(text(forward))
    assert len(texts) == 1
