"""The weights that networks begin training with."""

from __future__ import annotations

from torch import nn


def he_initialise(network: nn.Module) -> None:
    """Draws the weights of all convolutions as He et al. 2015 do: normal, with deviation sqrt(2 / fan out)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
