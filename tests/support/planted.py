"""A network in which it is known which channels are scale invariant, at every stage, and FZs drawn for it.

As in ResNet18 at 224 px, the centre neurons of blocks 1.1, 2.1 and 3.1 look at pixel 112, half a pixel from the image's
centre, and that of block 4.1 at pixel 96, 15.5 px from it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

from streamscope.core.engine.network import Network
from streamscope.core.model.blocks import VERDICT_TENSORS
from streamscope.core.model.fz import NO_FLAG, SAMPLES, FZBatch
from streamscope.core.model.recipe import SetKey
from streamscope.core.reading.activations import BlockReader
from streamscope.core.reading.scalings import scalings
from streamscope.core.store import FZSet, Store
from tests.support.networks import network_of

BLOCKS = ("1.1", "2.1", "3.1", "4.1")
PLANTED, SMOOTH_ONLY, SAME_SIZE = range(3)
"""Channels of those blocks: a dot in the input and a disc of twice its size in the block; smoothness in both; a dot in
both."""
_DOT, _DISC, _SMOOTH, _BRIGHT, _DARK, _UP, _DOWN = range(3, 10)
_WIDTH = 10
RADII = {"in": 2.2, "block": 4.4}
"""Of the drawn dot and disc, in px."""


class _Stages(ResNet):  # type: ignore[misc]  # torchvision has no types
    """Four stages of two blocks after a 7 px stem of stride 4; each stage but the first halves the map."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.conv1 = nn.Conv2d(3, _WIDTH, 7, stride=4, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(_WIDTH)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity()
        for stage in range(1, 5):
            first = BasicBlock(_WIDTH, _WIDTH)
            if stage > 1:
                halved = nn.Sequential(nn.Conv2d(_WIDTH, _WIDTH, 1, stride=2, bias=False), nn.BatchNorm2d(_WIDTH))
                first = BasicBlock(_WIDTH, _WIDTH, stride=2, downsample=halved)
            setattr(self, f"layer{stage}", nn.Sequential(first, BasicBlock(_WIDTH, _WIDTH)))


def planted_network() -> Network:
    """What its channels say follows from the stem and block 1.0, which see dots, discs and smoothness, and is carried
    from stage to stage. Pixels are seen as they are, 0 to 1."""
    module = _Stages().eval().requires_grad_(False)
    for parameter in module.parameters():
        parameter.zero_()
    for bn in module.modules():
        if isinstance(bn, nn.BatchNorm2d):
            bn.weight.fill_((1 + bn.eps) ** 0.5)
    _set_stem(module)
    _set_first(module.get_submodule("layer1.0"))
    for stage in range(1, 5):
        if stage > 1:
            _carry(module.get_submodule(f"layer{stage}.0.downsample.0"))
        _set_last(module.get_submodule(f"layer{stage}.1"))
    network = network_of(module)
    info = dataclasses.replace(network.info, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return Network(info, module, network.folded)


def _set_stem(module: _Stages) -> None:
    y, x = torch.meshgrid(torch.arange(-3.0, 4.0), torch.arange(-3.0, 4.0), indexing="ij")
    radius, reach = torch.sqrt(x**2 + y**2), torch.maximum(x.abs(), y.abs())
    weight, bias = module.conv1.weight, module.bn1.bias
    disc, ring = (radius <= 1.6).float(), ((radius >= 2) & (radius <= 3.6)).float()
    for channel in (PLANTED, SAME_SIZE, _DOT):
        # 1 for a bright dot in a dark ring, nothing for grey or bright all over.
        weight[channel] = (disc / disc.sum() - ring / ring.sum()) / 3
    window = (reach <= 2).float() / 25
    weight[_BRIGHT], weight[_DARK] = window / 3, -window / 3
    bias[_DARK] = 1.0
    fine = (reach == 0).float() - (reach == 1).float() / 8
    weight[_UP], weight[_DOWN] = fine / 3, -fine / 3


def _set_first(block: nn.Module) -> None:
    assert isinstance(block, BasicBlock)
    first, second = block.conv1.weight, block.conv2.weight
    # Bright in the middle, and dark around it.
    first[_DISC, _DARK] = 1 / 8
    first[_DISC, _DARK, 1, 1] = 0
    first[_DISC, _BRIGHT, 1, 1] = 1
    block.bn1.bias[_DISC] = -1.45
    second[_DISC, _DISC, 1, 1] = 4
    # Roughness, as the mean over nine places, is what smoothness lacks.
    first[_SMOOTH, _UP] = first[_SMOOTH, _DOWN] = 1 / 9
    for channel in (_SMOOTH, SMOOTH_ONLY):
        second[channel, _SMOOTH, 1, 1] = -1
        block.bn2.bias[channel] = 1


def _carry(shortcut: nn.Module) -> None:
    """Every stage begins anew with what its verdict channels are to say of the input."""
    assert isinstance(shortcut, nn.Conv2d)
    for channel, source in ((PLANTED, _DOT), (SMOOTH_ONLY, _SMOOTH), (SAME_SIZE, _DOT)):
        shortcut.weight[channel, source, 0, 0] = 1
    for channel in (_DOT, _DISC, _SMOOTH):
        shortcut.weight[channel, channel, 0, 0] = 1


def _set_last(block: nn.Module) -> None:
    assert isinstance(block, BasicBlock)
    for channel, source in ((PLANTED, _DISC), (SMOOTH_ONLY, _SMOOTH), (SAME_SIZE, _DOT)):
        block.conv1.weight[source, source, 1, 1] = 1
        block.conv2.weight[channel, source, 1, 1] = 1


def drawing(channel: int, tensor: str, centre: float, side: int = 224) -> np.ndarray:
    """(side, side, 3) uint8: a white dot or disc on black, or grey noise."""
    image = np.zeros((side, side, 3), dtype=np.uint8)
    if channel == SMOOTH_ONLY:
        image[:] = np.random.default_rng(0).integers(0, 256, (side, side, 1))
    else:
        y, x = np.mgrid[:side, :side] - centre
        image[np.hypot(x, y) <= RADII["in" if channel == SAME_SIZE else tensor]] = 255
    return image


Draw = Callable[[int, str, float], np.ndarray]
"""Draws the FZ of a channel and tensor about a point."""


def planted_set(root: Path, network: Network, key: SetKey, draw: Draw = drawing) -> FZSet:
    """The FZs that the channels would have, drawn about their receptive fields' centres and measured as a job would."""
    fzset = Store.open(root, create=True).set(network.info, key, create=True)
    channels = (PLANTED, SMOOTH_ONLY, SAME_SIZE)
    for block in BLOCKS:
        for tensor in VERDICT_TENSORS:
            target = fzset.target(block, tensor)
            centre = network.info.field_of(target).centre
            images = np.stack([draw(channel, tensor, centre) for channel in channels])
            zeros = np.zeros((len(channels), SAMPLES))
            fzset.commit_fzs(FZBatch(target, channels, images, zeros[:, 0], zeros, (NO_FLAG,) * len(channels)), {})
            versions = scalings(network.info, block, tensor, key.protocol)
            plain, scaled, *others = BlockReader(network, block).read_each(images, [None, *versions.values()])
            further = dict(zip(list(versions)[1:], others, strict=True))
            fzset.commit_measures(block, tensor, channels, plain, scaled, further=further)
    return fzset
