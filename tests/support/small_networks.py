"""A network of a few convolutions whose forward pass is a function of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tests.support.optional import present

CHANNELS = 6


class Small(nn.Module):
    """`stem` makes a map of an image; `a`, `b` and `c` are convolutions that keep its shape, `norm` is a batch norm."""

    def __init__(self, function: Callable[[Small, Tensor], Any]) -> None:
        super().__init__()
        self.function = function
        self.stem = nn.Conv2d(3, CHANNELS, 3, padding=1)
        self.a, self.b, self.c = (nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1) for _ in range(3))
        self.norm = nn.BatchNorm2d(CHANNELS)
        self.register_buffer("kept", torch.zeros(1))

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def small(function: Callable[[Small, Tensor], Any]) -> Small:
    """In eval mode, frozen, with random weights that are alike at every call."""
    torch.manual_seed(0)
    network = Small(function)
    nn.init.normal_(present(network.norm.running_mean), 0, 0.2)
    nn.init.uniform_(present(network.norm.running_var), 0.5, 1.5)
    nn.init.uniform_(network.norm.weight, 0.5, 1.5)
    nn.init.normal_(network.norm.bias, 0, 0.2)
    network.eval().requires_grad_(False)
    return network
