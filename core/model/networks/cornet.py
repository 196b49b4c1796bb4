"""CORnet-S: Kubilius, Schrimpf et al., Brain-Like Object Recognition with High-Performing Shallow Recurrent ANNs,
NeurIPS 2019 (arXiv 1909.06161); Kubilius et al. 2018 (bioRxiv 408385).

Four areas, named after those of the ventral stream. V1 is two convolutions. V2, V4 and IT each run a bottleneck with a
skip connection several times with the same convolutions, but with a batch norm of its own for each time step. The names
of the parameters are those of the published checkpoint.
"""

from __future__ import annotations

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from streamscope.core.model.networks.initial import he_initialise

CLASSES = 1000
SCALE = 4
"""How many times as many channels a bottleneck has inside as its area has."""


class CORnetArea(nn.Module):
    """V2, V4 or IT. Every time step adds a bottleneck to the state of the step before, and a ReLU follows the sum.

    The first step halves the map: its middle convolution has a stride of 2, and so has the convolution that stands for
    the skip connection there. The other steps have the same weights with a stride of 1.
    """

    def __init__(self, inside: int, outside: int, steps: int) -> None:
        super().__init__()
        self.steps = steps
        wide = outside * SCALE
        self.conv_input = nn.Conv2d(inside, outside, 1, bias=False)
        self.skip = nn.Conv2d(outside, outside, 1, stride=2, bias=False)
        self.norm_skip = nn.BatchNorm2d(outside)
        self.conv1 = nn.Conv2d(outside, wide, 1, bias=False)
        self.conv2 = nn.Conv2d(wide, wide, 3, padding=1, bias=False)
        self.conv3 = nn.Conv2d(wide, outside, 1, bias=False)
        for step in range(steps):
            self.add_module(f"norm1_{step}", nn.BatchNorm2d(wide))
            self.add_module(f"norm2_{step}", nn.BatchNorm2d(wide))
            self.add_module(f"norm3_{step}", nn.BatchNorm2d(outside))

    def forward(self, x: Tensor) -> Tensor:
        """(n, inside, h, w) to (n, outside, ceil(h / 2), ceil(w / 2))."""
        state: Tensor = self.conv_input(x)
        for step in range(self.steps):
            norm1, norm2, norm3 = (self.get_submodule(f"norm{place}_{step}") for place in (1, 2, 3))
            stream = state if step else self.norm_skip(self.skip(state))
            branch = F.relu(norm1(self.conv1(state)))
            # As a function: the stride of the same convolution differs between steps.
            branch = F.conv2d(branch, self.conv2.weight, stride=1 if step else 2, padding=1)
            branch = norm3(self.conv3(F.relu(norm2(branch))))
            state = F.relu(stream + branch)
        return state


def _v1() -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False),
            norm1=nn.BatchNorm2d(64),
            nonlin1=nn.ReLU(inplace=True),
            pool=nn.MaxPool2d(3, stride=2, padding=1),
            conv2=nn.Conv2d(64, 64, 3, padding=1, bias=False),
            norm2=nn.BatchNorm2d(64),
            nonlin2=nn.ReLU(inplace=True),
        )
    )


class CORnetS(nn.Module):
    """V1 at a quarter of the image's side, V2, V4 and IT each at half of the side of the area before."""

    def __init__(self) -> None:
        super().__init__()
        self.V1 = _v1()
        self.V2 = CORnetArea(64, 128, steps=2)
        self.V4 = CORnetArea(128, 256, steps=4)
        self.IT = CORnetArea(256, 512, steps=2)
        self.decoder = nn.Sequential(
            OrderedDict(avgpool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), linear=nn.Linear(512, CLASSES))
        )

    def get_classifier(self) -> nn.Linear:
        """The layer that gives the scores, by the name that timm's networks have for it."""
        classifier = self.decoder.get_submodule("linear")
        assert isinstance(classifier, nn.Linear)
        return classifier

    def forward(self, x: Tensor) -> Tensor:
        """Class scores, (n, 1000), of normalised images, (n, 3, h, w)."""
        scores: Tensor = self.decoder(self.IT(self.V4(self.V2(self.V1(x)))))
        return scores


def cornet_s() -> CORnetS:
    network = CORnetS()
    he_initialise(network)
    return network
