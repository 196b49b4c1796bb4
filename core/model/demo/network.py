"""The demo model: a residual net of torchvision's blocks for 64 px images, small enough to study whole on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

from streamscope.core.model.demo.images import CLASSES, SIDE
from streamscope.core.model.preprocessing import IMAGENET_MEAN, IMAGENET_STD

INPUT_SIZE = SIDE
MEAN, STD = IMAGENET_MEAN, IMAGENET_STD
WIDTHS = (16, 32, 48)
"""Channels of `layer1` to `layer3`, two blocks each."""


class DemoBlock(Bottleneck):  # type: ignore[misc]  # torchvision has no types
    """torchvision's Bottleneck with half as many channels inside as outside.

    One 3x3 convolution a block instead of two: receptive fields grow slowly enough (15 px in 1.1, 51 px in 3.1 of the
    64 px image) for each block to see more than the one before and no FZ to be cut off at the image's border.
    """

    expansion = 2


class DemoNet(nn.Module):
    """A torchvision ResNet in small: its stem at half the input's side, no pooling, three layers of two blocks, the
    second and third at half the side of the one before."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity()
        self.layer1 = _layer(WIDTHS[0], WIDTHS[0], stride=1)
        self.layer2 = _layer(WIDTHS[0], WIDTHS[1], stride=2)
        self.layer3 = _layer(WIDTHS[1], WIDTHS[2], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(WIDTHS[2], len(CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        """Class scores, (n, 10), of normalised images, (n, 3, 64, 64)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer3(self.layer2(self.layer1(x)))
        scores: Tensor = self.fc(torch.flatten(self.avgpool(x), 1))
        return scores


def _layer(inside: int, outside: int, stride: int) -> nn.Sequential:
    shortcut = None
    if inside != outside:
        shortcut = nn.Sequential(nn.Conv2d(inside, outside, 1, stride=stride, bias=False), nn.BatchNorm2d(outside))
    planes = outside // DemoBlock.expansion
    return nn.Sequential(DemoBlock(inside, planes, stride, shortcut), DemoBlock(outside, planes))


def build() -> DemoNet:
    """The demo model with fresh weights, initialised as torchvision does (He, fan out)."""
    net = DemoNet()
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return net
