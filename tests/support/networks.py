"""Small networks for the tests: untrained ones with lively batch norms, and one whose channels are set by hand."""

from __future__ import annotations

import dataclasses

import torch
import torchvision
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

from streamscope.core.engine.cone import fold_network
from streamscope.core.engine.network import Network, describe
from tests.support.optional import present

SKIP, OVERWRITE, MIX, SCALE_INVARIANT = range(4)
"""What the channels of block 1.1 of `hand_set_network` do."""


def untrained(name: str) -> nn.Module:
    """A torchvision ResNet with random weights and batch norms that do something, in eval mode."""
    torch.manual_seed(0)
    module: nn.Module = torchvision.models.get_model(name, weights=None).eval()
    for bn in module.modules():
        if isinstance(bn, nn.BatchNorm2d):
            present(bn.running_mean).normal_(0, 0.1)
            present(bn.running_var).uniform_(0.5, 2)
            nn.init.uniform_(bn.weight, 0.5, 1.5)
            nn.init.normal_(bn.bias, 0, 0.2)
    return module.requires_grad_(False)


def network_of(module: nn.Module, name: str = "resnet18") -> Network:
    folded = fold_network(module)
    return Network(describe(name, module, folded), module, folded)


class _Small(ResNet):  # type: ignore[misc]  # torchvision has no types
    """Two simple blocks after a 7 px stem of stride 4: no pool, no layer2."""

    def __init__(self, width: int) -> None:
        nn.Module.__init__(self)
        self.conv1 = nn.Conv2d(3, width, 7, stride=4, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity()
        self.layer1 = nn.Sequential(BasicBlock(width, width), BasicBlock(width, width))


WIDTH = 8
_RED, _GREEN, _BLUE = range(3)
_SKIP_FEATURE, _OVERWRITE_FEATURE, _MIX_FEATURE, _SMALL_BLOB, _BRIGHT, _DARK, _GREENER, _BLUER = range(WIDTH)


def hand_set_network() -> Network:
    """Channels 0 to 3 of block 1.1 skip, overwrite, mix, and are scale invariant, by construction.

    The stem makes eight features; block 1.0 adds nothing; block 1.1 adds to channel
    0 (redder than the rest) a tenth of `greener`: the input feature passes;
    1 (redder) twelve times `bluer`: the block feature takes over;
    2 (redder) an equal amount of `bluer`: each alone excites the output as much;
    3 (small bright blob on dark) a large bright blob on dark, of about twice the size, as strong.
    Pixels are seen as they are, 0 to 1.
    """
    module = _Small(WIDTH).eval().requires_grad_(False)
    for parameter in module.parameters():
        parameter.zero_()
    for bn in module.modules():
        if isinstance(bn, nn.BatchNorm2d):
            bn.weight.fill_((1 + bn.eps) ** 0.5)
    _set_stem(module)
    _set_block(module.layer1[1])
    network = network_of(module, "demo")
    info = dataclasses.replace(network.info, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return Network(info, module, network.folded)


def _set_stem(module: _Small) -> None:
    """Every feature is a little above zero on a grey image, so that whatever an FZ starts from has a gradient."""
    y, x = torch.meshgrid(torch.arange(-3.0, 4.0), torch.arange(-3.0, 4.0), indexing="ij")
    radius = torch.sqrt(x**2 + y**2)
    weight, bias = module.conv1.weight, module.bn1.bias
    window = (torch.maximum(x.abs(), y.abs()) <= 2).float() / 25
    for feature, colour in (
        (_SKIP_FEATURE, _RED),
        (_OVERWRITE_FEATURE, _RED),
        (_MIX_FEATURE, _RED),
        (_GREENER, _GREEN),
        (_BLUER, _BLUE),
    ):
        for other in range(3):
            weight[feature, other] = window if other == colour else -window / 2
        bias[feature] = 0.3
    disc, ring = (radius <= 1.6).float(), ((radius >= 2) & (radius <= 3.6)).float()
    # 2.1 for a bright disc in a dark ring, 0.1 for grey, nothing for bright all over.
    weight[_SMALL_BLOB] = (disc / disc.sum() - 3 * ring / ring.sum()) / 3 / 2.1
    bias[_SMALL_BLOB] = 1.1 / 2.1
    weight[_BRIGHT] = window / 3
    weight[_DARK] = -window / 3
    bias[_DARK] = 1.0


def _set_block(block: BasicBlock) -> None:
    first, second = block.conv1.weight, block.conv2.weight
    for feature in (_GREENER, _BLUER):
        first[feature, feature, 1, 1] = 1
    # Bright in the middle and dark at the eight positions around it: 1.1 at the most, 0.1 for grey.
    first[_BRIGHT, _DARK] = 1 / 8
    first[_BRIGHT, _DARK, 1, 1] = 0
    first[_BRIGHT, _BRIGHT, 1, 1] = 1
    block.bn1.bias[_BRIGHT] = -0.9
    second[SKIP, _GREENER, 1, 1] = 0.1
    second[OVERWRITE, _BLUER, 1, 1] = 12
    second[MIX, _BLUER, 1, 1] = 1
    second[SCALE_INVARIANT, _BRIGHT, 1, 1] = 1 / 1.1
