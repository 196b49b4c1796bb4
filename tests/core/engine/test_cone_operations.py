"""Operations one by one: cones through each of them, where they stay in the map and where they leave it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from streamscope.core.engine.cone import Cone, fold_network
from tests.support.cones import CLOSE, centre_of_maps, farthest_cone, images_of
from tests.support.optional import present

CHANNELS = 8
SMALL, LARGE = 17, 44
"""Sides in px: of an image that every cone leaves, and of one that it does not, but for what sees the whole map."""


class Function(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.function(x)
        return y


class Around(nn.Module):
    """An operation between a convolution and a residual block, whose `in` is what the operation gives."""

    def __init__(self, operation: nn.Module, channels: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, CHANNELS, 3, padding=1)
        self.operation = operation
        self.branch = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        x = self.operation(self.stem(x))
        added: Tensor = x + self.branch(x)
        return added

    def own(self, images: Tensor) -> dict[str, dict[str, Tensor]]:
        """`in`, `block` and `pre`, each a copy."""
        with torch.no_grad():
            before = self.operation(self.stem(images)).clone()
            branch = self.branch(before).clone()
        return {"branch": {"in": before, "block": branch, "pre": before + branch}}


def _lively(module: nn.Module) -> nn.Module:
    torch.manual_seed(1)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(present(part.running_mean), 0, 0.2)
            nn.init.uniform_(present(part.running_var), 0.5, 1.5)
        if isinstance(part, nn.BatchNorm2d | nn.GroupNorm | nn.LayerNorm) and getattr(part, "affine", True):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, 0, 0.3)
    return module.eval().requires_grad_(False)


class SqueezeExcitation(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Conv2d(CHANNELS, CHANNELS, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate: Tensor = self.fc(x.mean((2, 3), keepdim=True)).sigmoid()
        return x * gate


class ChannelsLast(nn.Module):
    """As ConvNeXt: a layer norm and linear layers over channels that come last."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.fc = nn.LayerNorm(CHANNELS), nn.Linear(CHANNELS, CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.fc(self.norm(x.permute(0, 2, 3, 1)))).permute(0, 3, 1, 2)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(CHANNELS, 3 * CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        n, channels, rows, columns = x.shape
        tokens = self.qkv(x.flatten(2).transpose(1, 2)).unflatten(2, (3, 2, channels // 2)).permute(2, 0, 3, 1, 4)
        query, key, value = tokens.unbind(0)
        seen = F.scaled_dot_product_attention(query, key, value)
        return seen.transpose(1, 2).flatten(2).transpose(1, 2).reshape(n, channels, rows, columns)


class ByHandAttention(nn.Module):
    """With a bias for every pair of positions, and products written out."""

    def __init__(self, places: int) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.bias = nn.Parameter(torch.randn(places, places))

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        weights = (tokens @ tokens.transpose(1, 2) / 4 + self.bias).softmax(-1)
        return (weights @ tokens).transpose(1, 2).reshape(x.shape)


class Turned(nn.Module):
    """A batch norm that must not become part of a convolution whose map runs from right to left."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), nn.BatchNorm2d(CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x.flip(3))).flip(3)
        return y * x


class PositionBias(nn.Module):
    """A value for every position."""

    def __init__(self, side: int) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.bias = nn.Parameter(torch.randn(1, CHANNELS, side, side))
        self.rows = nn.Parameter(torch.randn(side, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.bias) * self.rows


def _split(x: Tensor) -> Tensor:
    first, second, third = x.split([2, 4, 2], dim=1)
    return torch.cat([third, second.relu(), first * 2], dim=1)


def _same_memory(x: Tensor) -> Tensor:
    """What is contiguous already is no copy, and is read again after its ReLU."""
    y = x * 2
    return torch.relu(y.contiguous(memory_format=torch.channels_last)) + y


def _in_place(x: Tensor) -> Tensor:
    """The base is read after one half of it was overwritten by way of a view."""
    y = x.clone()
    y[:, :4].relu_()
    y[:, 4:].add_(y[:, :4])
    return y * y.sigmoid_()


def _rows_and_norms(x: Tensor) -> Tensor:
    """As above, before norms and a pool: the whole network is taken apart."""
    y = x.clone()
    y[:, :4].relu_()
    y = F.layer_norm(F.group_norm(y, 2), y.shape[3:])
    return F.max_pool2d(y, 3, 2, 1)


def _chain(x: Tensor) -> Tensor:
    y = x * 2
    z = y.relu_().add_(1).mul_(x)
    return z + y


def conv(*arguments: int | tuple[int, int], **options: object) -> nn.Conv2d:
    return nn.Conv2d(CHANNELS, CHANNELS, *arguments, **options)  # type: ignore[arg-type]


OPERATIONS: dict[str, Callable[[], nn.Module]] = {
    "padding that differs above and below": lambda: nn.Sequential(nn.ZeroPad2d((1, 2, 1, 2)), conv(5, stride=2)),
    "padding on one side": lambda: nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), conv(3, stride=2)),
    "same padding": lambda: conv(4, padding="same", dilation=3),
    "reflected padding": lambda: conv(5, padding=4, padding_mode="reflect", stride=2),
    "repeated padding": lambda: nn.Sequential(nn.ReplicationPad2d((3, 2, 3, 2)), conv(5)),
    "padding by a constant": lambda: nn.Sequential(nn.ConstantPad2d((2, 3, 2, 3), 1.5), conv(5)),
    "padding by minus infinity before a max pool": lambda: nn.Sequential(
        nn.ConstantPad2d((0, 1, 0, 1), float("-inf")), nn.MaxPool2d(3, 2)
    ),
    "negative padding": lambda: nn.ZeroPad2d((-2, -1, -2, -1)),
    "a max pool": lambda: nn.MaxPool2d(3, 2, 1),
    "a max pool after a ReLU": lambda: nn.Sequential(nn.ReLU(), nn.MaxPool2d(3, 2, 1)),
    "a max pool after a batch norm": lambda: nn.Sequential(nn.BatchNorm2d(CHANNELS), nn.MaxPool2d(3, 2, 1)),
    "a max pool with a last window that is not whole": lambda: nn.MaxPool2d(3, 2, ceil_mode=True),
    "a ReLU and a max pool with a last window that is not whole": lambda: nn.Sequential(
        nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True)
    ),
    "a dilated max pool": lambda: nn.MaxPool2d(3, 2, 1, dilation=2),
    "a max pool whose ReLU is read elsewhere": lambda: Function(lambda x: F.max_pool2d(y := x.relu(), 3, 1, 1) - y),
    "an average pool": lambda: nn.AvgPool2d(3, 2, 1),
    "an average pool that does not count its padding": lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False),
    "an average pool with a last window that is not whole": lambda: nn.AvgPool2d(2, 2, ceil_mode=True),
    "an average pool with both": lambda: nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False),
    "an average pool with a divisor": lambda: nn.AvgPool2d(3, 2, 1, divisor_override=5),
    "an average pool of 3 x 1": lambda: nn.AvgPool2d((3, 1), 1, (1, 0)),
    "dilation": lambda: conv(3, padding=4, dilation=4),
    "a stride larger than the kernel": lambda: conv(2, stride=3),
    "a stride larger than the kernel, and padding": lambda: conv(1, stride=3, padding=1),
    "kernels of 1 x 7 and 7 x 1": lambda: nn.Sequential(conv((1, 7), padding=(0, 3)), conv((7, 1), padding=(3, 0))),
    "a kernel of 1 x 7": lambda: conv((1, 7), padding=(0, 3)),
    "groups": lambda: conv(3, padding=1, groups=4),
    "a convolution without bias and a batch norm": lambda: nn.Sequential(
        conv(3, padding=1, bias=False), nn.BatchNorm2d(CHANNELS)
    ),
    "a batch norm without weights": lambda: nn.Sequential(conv(3), nn.BatchNorm2d(CHANNELS, affine=False)),
    "a batch norm whose convolution is read elsewhere": lambda: Function(
        lambda x: (
            F.batch_norm(
                y := F.conv2d(x, torch.ones(CHANNELS, 1, 3, 3), padding=1, groups=CHANNELS),
                torch.full((CHANNELS,), 0.3),
                torch.full((CHANNELS,), 2.0),
            )
            * y
        )
    ),
    "enlargement by the nearest": lambda: nn.Sequential(conv(3, stride=2, padding=1), nn.Upsample(scale_factor=2)),
    "enlargement by the nearest, by no whole factor": lambda: nn.Upsample(size=(25, 25)),
    "bilinear enlargement": lambda: nn.Upsample(scale_factor=2, mode="bilinear"),
    "a strided slice": lambda: Function(lambda x: x[:, :, ::2, ::2]),
    "a slice from the third on": lambda: Function(lambda x: x[:, :, 2::3, 2::3]),
    "a slice up to the last": lambda: Function(lambda x: x[:, :, :-1, :-1] - x[:, :, 1:, 1:]),
    "channels joined": lambda: Function(lambda x: torch.cat([x[:, :3], x.relu(), x[:, 5:] * 2], dim=1)),
    "channels split": lambda: Function(_split),
    "channels chunked and gated": lambda: Function(
        lambda x: torch.cat([x, x], 1).chunk(2, dim=1)[0] * x.chunk(2, dim=1)[1].repeat(1, 2, 1, 1).sigmoid()
    ),
    "channels shuffled": lambda: nn.ChannelShuffle(4),
    "pixel shuffle": lambda: nn.Sequential(nn.Conv2d(CHANNELS, 4 * CHANNELS, 1), nn.PixelShuffle(2)),
    "pixel unshuffle": lambda: nn.Sequential(nn.PixelUnshuffle(1), conv(3, padding=1)),
    "a group norm": lambda: nn.GroupNorm(2, CHANNELS),
    "an instance norm": lambda: nn.InstanceNorm2d(CHANNELS),
    "a local response norm": lambda: nn.LocalResponseNorm(3),
    "a layer norm over channels that come last": ChannelsLast,
    "a norm of each position": lambda: Function(lambda x: F.normalize(x, dim=1)),
    "a softmax over channels": lambda: Function(lambda x: x.softmax(1) * 3),
    "a softmax over columns": lambda: Function(lambda x: x.softmax(3) * 3),
    "a mean over channels": lambda: Function(lambda x: x - x.mean(1, keepdim=True)),
    "a mean over columns": lambda: Function(lambda x: x - x.mean(3, keepdim=True)),
    "squeeze and excitation": SqueezeExcitation,
    "attention": Attention,
    "rows and columns exchanged": lambda: Function(lambda x: x.transpose(2, 3)),
    "a map turned over, and back": lambda: Function(lambda x: F.max_pool2d(x.flip(3).relu(), 2, 1).flip(3)),
    "a turned map's convolution": Turned,
    "a map rolled, and back": lambda: Function(lambda x: x.roll((2, 1), (2, 3)).softmax(3).roll((-2, -1), (2, 3))),
    "the ReLU of what was to be made contiguous": lambda: Function(_same_memory),
    "halves overwritten by way of views": lambda: Function(_in_place),
    "an overwritten view before norms and a pool": lambda: Function(_rows_and_norms),
    "a chain of overwriting operations": lambda: Function(_chain),
    "channels of all images, and back": lambda: Function(
        lambda x: (x.flatten(0, 1) * 2).view_as(x.flatten(0, 1).relu()).view_as(x)
    ),
    "zeros for each image": lambda: Function(
        lambda x: torch.cat([torch.zeros(len(x), 1, x.shape[2], x.shape[3]), x], dim=1)[:, 1:]
    ),
    "a PReLU": lambda: nn.PReLU(CHANNELS, init=0.1),
    "hard swish in place": lambda: nn.Hardswish(inplace=True),
    "values clamped by those of a neighbour": lambda: Function(lambda x: torch.maximum(x, F.pad(x, (1, -1, 1, -1)))),
}


def _around(name: str, side: int) -> Around:
    operation = OPERATIONS[name]()
    torch.manual_seed(3)
    with torch.no_grad():
        channels = operation.eval()(torch.randn(2, CHANNELS, side, side)).shape[1]
    module = Around(operation, channels)
    _lively(module)
    return module


@pytest.mark.parametrize("side", [SMALL, LARGE])
@pytest.mark.parametrize("name", OPERATIONS)
def test_cones_through_an_operation_equal_the_networks_own_pass(name: str, side: int) -> None:
    module, images = _around(name, side), images_of(side)
    assert farthest_cone(fold_network(module, side=side), images, module.own(images), centre_of_maps) < CLOSE


@pytest.mark.parametrize("side", [SMALL, LARGE])
def test_a_constant_with_a_value_for_every_position_is_cut_as_the_map_is(side: int) -> None:
    module = Around(nn.Sequential(PositionBias(side), conv(5, stride=2, padding=1)), CHANNELS)
    _lively(module)
    network, images = fold_network(module, side=side), images_of(side)
    assert farthest_cone(network, images, module.own(images), centre_of_maps) < CLOSE
    if side == LARGE:
        assert Cone(network, "branch", "block", [side]).share < 0.5


def test_attention_with_a_bias_for_every_pair_of_positions_sees_all_of_them() -> None:
    module = Around(ByHandAttention(SMALL**2), CHANNELS)
    _lively(module)
    images = images_of(SMALL)
    assert farthest_cone(fold_network(module, side=SMALL), images, module.own(images), centre_of_maps) < CLOSE
