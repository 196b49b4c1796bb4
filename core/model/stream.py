"""The four tensors of a residual block, read exactly.

torchvision's blocks end in an in-place sum and an in-place ReLU, so a forward hook that keeps `bn2`'s output without
copying holds `out` once the pass ends. Here nothing is hooked: the block's own modules are called
one by one and nothing is written in place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from streamscope.core.errors import UsageError
from streamscope.core.model.blocks import Block


@dataclass(frozen=True)
class BlockTensors:
    """Activations of one block, each (n, channels, side, side), none sharing memory with another."""

    input: torch.Tensor
    """`in`: what bypasses the block (the shortcut BN's output in a downsample block)."""
    block: torch.Tensor
    pre: torch.Tensor
    out: torch.Tensor

    def centre(self, tensor: str) -> torch.Tensor:
        """Centre activations (n, channels) of `in`, `block`, `pre` or `out`: index side // 2 on both axes."""
        values = {"in": self.input, "block": self.block, "pre": self.pre, "out": self.out}[tensor]
        return values[:, :, values.shape[2] // 2, values.shape[3] // 2]


def residual_blocks(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """(`2.1`, module) for each residual block of a torchvision-style ResNet, in stream order."""
    layer = 1
    while hasattr(module, f"layer{layer}"):
        for index, block in enumerate(getattr(module, f"layer{layer}")):
            yield f"{layer}.{index}", block
        layer += 1


def branch(block: nn.Module) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """The (convolution, BN) pairs of a block's own branch, in order; a ReLU follows each but the last."""
    if isinstance(block, BasicBlock):
        return [(block.conv1, block.bn1), (block.conv2, block.bn2)]
    if isinstance(block, Bottleneck):
        return [(block.conv1, block.bn1), (block.conv2, block.bn2), (block.conv3, block.bn3)]
    raise UsageError(f"{type(block).__name__} is not a residual block that streamscope knows (BasicBlock, Bottleneck)")


def stem(module: nn.Module) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    """The first convolution of a torchvision-style ResNet, and its BN."""
    return _pair(module, "conv1", "bn1")


def shortcut(block: nn.Module) -> tuple[nn.Conv2d, nn.BatchNorm2d] | None:
    """The convolution that a downsample block's input passes on its way round the block, and its BN."""
    return None if block.downsample is None else _pair(block, "downsample.0", "downsample.1")


def _pair(module: nn.Module, conv: str, bn: str) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    first, second = module.get_submodule(conv), module.get_submodule(bn)
    assert isinstance(first, nn.Conv2d)
    assert isinstance(second, nn.BatchNorm2d)
    return first, second


def running_statistics(bn: nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance by which a BN normalises in eval mode, (channels,) each."""
    assert bn.running_mean is not None
    assert bn.running_var is not None
    return bn.running_mean, bn.running_var


def describe_blocks(module: nn.Module) -> tuple[Block, ...]:
    """The blocks of a torchvision-style ResNet, in stream order: its architecture's, whatever its weights."""
    blocks: list[Block] = []
    for name, block in residual_blocks(module):
        kind: Literal["simple", "downsample"] = "simple" if block.downsample is None else "downsample"
        channels = branch(block)[-1][0].out_channels
        blocks.append(Block(name, kind, channels, blocks[-1].name if blocks else None))
    return tuple(blocks)


def read_block(module: nn.Module, images: torch.Tensor, name: str) -> BlockTensors:
    """Runs `images` (n, 3, side, side; normalised) up to block `name` and returns its four tensors.

    Raises UsageError for a block that the network does not have.
    """
    part = module.get_submodule
    x = part("maxpool")(torch.relu(part("bn1")(part("conv1")(images))))
    for current, block in residual_blocks(module):
        tensors = _forward(block, x)
        if current == name:
            return tensors
        x = tensors.out
    raise UsageError(f"unknown block {name!r}")


def scores_after(module: nn.Module, out: torch.Tensor, name: str) -> torch.Tensor:
    """Class scores (n, classes) of the network from `out` (n, channels, side, side), the stream after block `name`.

    `out` is left as it is. Raises UsageError for a block that the network does not have.
    """
    names = [current for current, _ in residual_blocks(module)]
    if name not in names:
        raise UsageError(f"unknown block {name!r}")
    for current, block in residual_blocks(module):
        if names.index(current) > names.index(name):
            out = _forward(block, out).out
    part = module.get_submodule
    scores: torch.Tensor = part("fc")(torch.flatten(part("avgpool")(out), 1))
    return scores


MapWatch = Callable[[str, str, torch.Tensor], None]
"""Is shown the map (n, channels, side, side) of a block's `in`, `block` or `pre`, to be read at once: the network goes
on to overwrite it."""


def read_centres(module: nn.Module, images: torch.Tensor, watch: MapWatch | None = None) -> dict[str, torch.Tensor]:
    """Centre activations (n, 3, channels) of `in`, `block` and `pre` of every block, from one forward pass.

    `images` (n, 3, side, side; normalised). What the network overwrites is overwritten here too, but only after the
    centres were copied and `watch` was shown the map.
    """
    part = module.get_submodule
    x = part("maxpool")(torch.relu_(part("bn1")(part("conv1")(images))))
    found = {}
    for name, block in residual_blocks(module):
        y = x
        pairs = branch(block)
        for index, (conv, bn) in enumerate(pairs):
            y = bn(conv(y))
            if index < len(pairs) - 1:
                torch.relu_(y)
        bypass = block.downsample(x) if isinstance(block.downsample, nn.Module) else x
        row, column = (extent // 2 for extent in y.shape[2:])
        centres = bypass[:, :, row, column], y[:, :, row, column]
        found[name] = torch.stack([*centres, centres[0] + centres[1]], dim=1)
        if watch is not None:
            watch(name, "in", bypass)
            watch(name, "block", y)
        x = y.add_(bypass)
        if watch is not None:
            watch(name, "pre", x)
        torch.relu_(x)
    return found


def _forward(block: nn.Module, x: torch.Tensor) -> BlockTensors:
    pairs = branch(block)
    y = x
    for index, (conv, bn) in enumerate(pairs):
        y = bn(conv(y))
        if index < len(pairs) - 1:
            y = torch.relu(y)
    identity = block.downsample(x) if isinstance(block.downsample, nn.Module) else x.clone()
    pre = identity + y
    return BlockTensors(identity, y, pre, torch.relu(pre))
