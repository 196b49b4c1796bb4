"""The ResNets inside torchvision's networks that segment and detect, without what comes after their last stage.

Those that segment (fcn, deeplabv3) have dilation in place of stride in their last two stages: the map stays at an
eighth of the image's side. Those that detect (fasterrcnn, maskrcnn, retinanet) freeze their batch norms, and their
published weights are used with an epsilon of 0 in them.
"""

from __future__ import annotations

from functools import partial

import torchvision
from torch import Tensor, nn

_EPSILON = 1e-30
"""Nothing in float32 beside any variance above 1e-22. With none at all PyTorch gathers no statistics."""


class Backbone(nn.Module):
    """A torchvision ResNet up to `layer4`, for images of any size."""

    def __init__(self, resnet: nn.Module) -> None:
        super().__init__()
        for name, child in resnet.named_children():
            if name not in ("avgpool", "fc"):
                self.add_module(name, child)

    def forward(self, x: Tensor) -> Tensor:
        """The last stage's output, (n, 2048, h, w), of normalised images."""
        for child in self.children():
            x = child(x)
        return x


def segmentation_backbone(resnet: str) -> Backbone:
    return Backbone(
        torchvision.models.get_model(resnet, weights=None, replace_stride_with_dilation=[False, True, True])
    )


def detection_backbone(resnet: str) -> Backbone:
    norm = partial(nn.BatchNorm2d, eps=_EPSILON)
    return Backbone(torchvision.models.get_model(resnet, weights=None, norm_layer=norm))
