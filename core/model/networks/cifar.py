"""ResNets for CIFAR: He et al., Deep Residual Learning for Image Recognition, CVPR 2016, section 4.2.

A 3 x 3 convolution to 16 channels without a pool after it, then three stages of 16, 32 and 64 channels at 32, 16 and
8 px, n blocks of two 3 x 3 convolutions each: 6n + 2 layers with the classifier. The parts are named as torchvision
names those of its ResNets.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from streamscope.core.model.networks.initial import he_initialise

WIDTHS = (16, 32, 64)
"""Channels of `layer1` to `layer3`."""
CLASSES = 10
"""Of CIFAR-10; a checkpoint's classifier may have another number."""


class PaddedShortcut(nn.Module):
    """Option A: every second row and column, and as many channels of zeros as are missing, half of them on each side.

    The paper does not say where the zeros go. Checkpoints that are around (pytorch_resnet_cifar10) have them on both
    sides; nothing in a file tells of others.
    """

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.before = (outside - inside) // 2
        self.after = outside - inside - self.before

    def forward(self, x: Tensor) -> Tensor:
        """(n, inside, h, w) to (n, outside, ceil(h / 2), ceil(w / 2))."""
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.before, self.after))


class CifarBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut; the ReLU follows their sum."""

    def __init__(self, inside: int, outside: int, stride: int, option: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None if stride == 1 else _shortcut(inside, outside, option)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        stream = x if self.downsample is None else self.downsample(x)
        out: Tensor = self.relu(stream + branch)
        return out


def _shortcut(inside: int, outside: int, option: str) -> nn.Module:
    if option == "A":
        return PaddedShortcut(inside, outside)
    return nn.Sequential(nn.Conv2d(inside, outside, 1, stride=2, bias=False), nn.BatchNorm2d(outside))


class CifarResNet(nn.Module):
    """`blocks` blocks in each of three stages; `option` is that of the two shortcuts that halve the map, A or B."""

    def __init__(self, blocks: int, option: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = _stage(WIDTHS[0], WIDTHS[0], blocks, 1, option)
        self.layer2 = _stage(WIDTHS[0], WIDTHS[1], blocks, 2, option)
        self.layer3 = _stage(WIDTHS[1], WIDTHS[2], blocks, 2, option)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(WIDTHS[2], CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores, (n, classes), of normalised images, (n, 3, h, w); they were trained on 32 px."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        scores: Tensor = self.fc(torch.flatten(self.avgpool(x), 1))
        return scores


def _stage(inside: int, outside: int, blocks: int, stride: int, option: str) -> nn.Sequential:
    first = CifarBlock(inside, outside, stride, option)
    return nn.Sequential(first, *(CifarBlock(outside, outside, 1, option) for _ in range(blocks - 1)))


def cifar_resnet(depth: int, option: str) -> CifarResNet:
    """The network of `depth` = 6n + 2 layers."""
    network = CifarResNet((depth - 2) // 6, option)
    he_initialise(network)
    return network
