"""The image encoders of CLIP that are ResNets, without the encoder of texts.

Radford et al., Learning Transferable Visual Models From Natural Language Supervision, ICML 2021 (arXiv 2103.00020),
section 2.4.

They differ from torchvision's ResNets in three ways: a stem of three convolutions and an average pool (He et al. 2019,
ResNet-D), average pools in place of strides (so that what is subsampled is blurred), and attention in place of the
global average. The names of the parameters are those of the published checkpoints, without `visual.`.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EXPANSION = 4
"""How many times as many channels a block's output has as its inside."""
HEAD_WIDTH = 64
"""Channels of a head of attention."""
STRIDE = 32
"""Pixels of the image that a pixel of the last map stands for, along a side."""


class ClipBlock(nn.Module):
    """A bottleneck whose stride is an average pool: before the last convolution, and before that of the shortcut."""

    def __init__(self, inside: int, planes: int, stride: int) -> None:
        super().__init__()
        outside = planes * EXPANSION
        self.conv1 = nn.Conv2d(inside, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, outside, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outside)
        self.relu = nn.ReLU(inplace=True)
        self.avgpool = _pool(stride)
        self.downsample: nn.Module | None = None
        if stride > 1 or inside != outside:
            # The pool has a name that is no index, so that the others have those of the checkpoints.
            self.downsample = nn.Sequential(
                OrderedDict(
                    [
                        ("pool", _pool(stride)),
                        ("0", nn.Conv2d(inside, outside, 1, bias=False)),
                        ("1", nn.BatchNorm2d(outside)),
                    ]
                )
            )

    def forward(self, x: Tensor) -> Tensor:
        branch = self.relu(self.bn1(self.conv1(x)))
        branch = self.avgpool(self.relu(self.bn2(self.conv2(branch))))
        branch = self.bn3(self.conv3(branch))
        stream = x if self.downsample is None else self.downsample(x)
        out: Tensor = self.relu(stream + branch)
        return out


def _pool(stride: int) -> nn.Module:
    return nn.AvgPool2d(stride) if stride > 1 else nn.Identity()


class AttentionPool(nn.Module):
    """One query, made of the map's mean, that attends to the mean and to every position of the map."""

    def __init__(self, side: int, width: int, outside: int) -> None:
        """For maps of `side` x `side` positions with `width` channels each."""
        super().__init__()
        self.heads = width // HEAD_WIDTH
        self.positional_embedding = nn.Parameter(torch.randn(side**2 + 1, width) * width**-0.5)
        self.k_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.c_proj = nn.Linear(width, outside)

    def forward(self, x: Tensor) -> Tensor:
        """(n, width, side, side) to (n, outside)."""
        positions = x.flatten(2).transpose(1, 2)
        tokens = torch.cat([positions.mean(1, keepdim=True), positions], 1) + self.positional_embedding
        query, key, value = self.q_proj(tokens[:, :1]), self.k_proj(tokens), self.v_proj(tokens)
        query, key, value = (
            part.unflatten(2, (self.heads, HEAD_WIDTH)).transpose(1, 2) for part in (query, key, value)
        )
        seen = F.scaled_dot_product_attention(query, key, value)
        pooled: Tensor = self.c_proj(seen.transpose(1, 2).flatten(1))
        return pooled


class ClipResNet(nn.Module):
    """The image encoder whose stages have `blocks` blocks, of `width` times 4, 8, 16 and 32 channels."""

    def __init__(self, blocks: tuple[int, int, int, int], width: int, outside: int, side: int) -> None:
        """For images of `side` px, embedded into `outside` dimensions."""
        super().__init__()
        self.conv1 = nn.Conv2d(3, width // 2, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width // 2)
        self.conv2 = nn.Conv2d(width // 2, width // 2, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width // 2)
        self.conv3 = nn.Conv2d(width // 2, width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.avgpool = nn.AvgPool2d(2)
        self.layer1 = _stage(width, width, blocks[0], 1)
        self.layer2 = _stage(width * 4, width * 2, blocks[1], 2)
        self.layer3 = _stage(width * 8, width * 4, blocks[2], 2)
        self.layer4 = _stage(width * 16, width * 8, blocks[3], 2)
        self.attnpool = AttentionPool(side // STRIDE, width * 32, outside)

    def forward(self, x: Tensor) -> Tensor:
        """Embeddings, (n, outside), not normalised, of normalised images, (n, 3, side, side)."""
        for conv, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            x = self.relu(norm(conv(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.avgpool(x)))))
        embedding: Tensor = self.attnpool(x)
        return embedding


def _stage(inside: int, planes: int, blocks: int, stride: int) -> nn.Sequential:
    first = ClipBlock(inside, planes, stride)
    return nn.Sequential(first, *(ClipBlock(planes * EXPANSION, planes, 1) for _ in range(blocks - 1)))


_SIZES = {
    "RN50": ((3, 4, 6, 3), 64, 1024),
    "RN101": ((3, 4, 23, 3), 64, 512),
    "RN50x4": ((4, 6, 10, 6), 80, 640),
    "RN50x16": ((6, 8, 18, 8), 96, 768),
    "RN50x64": ((3, 15, 36, 10), 128, 1024),
}
"""Blocks of the stages, width and dimensions of the embedding, as the published checkpoints have them."""


def clip_resnet(name: str, side: int) -> ClipResNet:
    """The encoder that CLIP calls `name`, with fresh weights.

    CLIP began training with the last batch norm of every block at zero. Here it begins at one: of a network whose
    blocks add nothing, untrained copies would have nothing to compare with.
    """
    blocks, width, outside = _SIZES[name]
    network = ClipResNet(blocks, width, outside, side)
    pool = network.attnpool
    for projection in (pool.q_proj, pool.k_proj, pool.v_proj, pool.c_proj):
        nn.init.normal_(projection.weight, std=projection.in_features**-0.5)
    return network
