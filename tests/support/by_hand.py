"""A ResNet's forward pass written out from its state dict: what the readers and cones are compared with."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


def forward_by_hand(module: nn.Module, images: torch.Tensor) -> dict[str, dict[str, torch.Tensor]]:
    """`in`, `block`, `pre` and `out` of every block, from weights and functional calls alone."""
    state: dict[str, torch.Tensor] = module.state_dict()
    settings = dict(module.named_modules())

    def conv(x: torch.Tensor, name: str) -> torch.Tensor:
        made = settings[name]
        return F.conv2d(x, state[f"{name}.weight"], None, made.stride, made.padding, made.dilation, made.groups)

    def bn(x: torch.Tensor, name: str) -> torch.Tensor:
        shift = state[f"{name}.running_mean"].view(-1, 1, 1)
        scale: torch.Tensor = (state[f"{name}.running_var"] + settings[name].eps).sqrt().view(-1, 1, 1)
        return (x - shift) / scale * state[f"{name}.weight"].view(-1, 1, 1) + state[f"{name}.bias"].view(-1, 1, 1)

    x = bn(conv(images, "conv1"), "bn1").clamp(min=0)
    if isinstance(settings["maxpool"], nn.MaxPool2d):
        x = F.max_pool2d(x, 3, 2, 1)
    found: dict[str, dict[str, torch.Tensor]] = {}
    for layer in range(1, 5):
        index = 0
        while f"layer{layer}.{index}.conv1.weight" in state:
            at = f"layer{layer}.{index}"
            y = x
            depth = 3 if f"{at}.conv3.weight" in state else 2
            for step in range(1, depth + 1):
                y = bn(conv(y, f"{at}.conv{step}"), f"{at}.bn{step}")
                if step < depth:
                    y = y.clamp(min=0)
            bypass = (
                bn(conv(x, f"{at}.downsample.0"), f"{at}.downsample.1") if f"{at}.downsample.0.weight" in state else x
            )
            found[f"{layer}.{index}"] = {"in": bypass, "block": y, "pre": bypass + y, "out": (bypass + y).clamp(min=0)}
            x = found[f"{layer}.{index}"]["out"]
            index += 1
    return found
