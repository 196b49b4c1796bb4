"""Which additions are a stream's: networks of a few lines, each of which could be mistaken for another."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from streamscope.core.model.graph.additions import Addition, find_additions
from streamscope.core.model.graph.capture import capture
from tests.support.families import FAMILIES

SIDE, C = 16, 6


def conv(size: int = 3, inside: int = C, outside: int = C, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inside, outside, size, stride=stride, padding=size // 2)


def found(module: nn.Module, side: int = SIDE) -> tuple[Addition, ...]:
    torch.manual_seed(0)
    return find_additions(capture(module.eval().requires_grad_(False), side))


class Net(nn.Module):
    """`forward(parts, x)` of some parts, after a convolution."""

    def __init__(self, forward: Callable[[dict[str, nn.Module], Tensor], Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.stem, self.run = conv(inside=3), forward
        self.names = list(parts)
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.run({name: self.get_submodule(name) for name in self.names}, self.stem(x))
        return y


class Block(nn.Module):
    def __init__(self, scale: float = 1.0, swapped: bool = False) -> None:
        super().__init__()
        self.one, self.two, self.scale, self.swapped = conv(), conv(), scale, swapped

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.two(self.one(x).relu())
        return y + x if self.swapped else x + y


def _names(additions: tuple[Addition, ...]) -> list[tuple[str, str, str | None]]:
    return [(addition.name, addition.kind, addition.previous) for addition in additions]


@pytest.mark.parametrize("swapped", [False, True])
def test_the_order_of_the_operands_says_nothing(swapped: bool) -> None:
    (addition,) = found(Net(lambda p, x: p["a"](x), a=Block(swapped=swapped)))
    assert addition.name == "a"
    assert addition.stream.meta["module"] == "stem"
    assert addition.branch.meta["module"] == "a.two"


def test_branches_side_by_side_each_add() -> None:
    additions = found(Net(lambda p, x: x + p["a"](x) + p["m"](x), a=nn.Sequential(conv(), nn.ReLU(), conv()), m=conv()))
    assert _names(additions) == [("a", "simple", None), ("m", "simple", "a")]


def test_a_block_that_runs_several_times_has_steps() -> None:
    block = Block()
    additions = found(Net(lambda p, x: p["a"](p["a"](p["a"](x))), a=block))
    assert _names(additions) == [("a.t0", "simple", None), ("a.t1", "simple", "a.t0"), ("a.t2", "simple", "a.t1")]


def test_additions_of_the_network_itself_are_called_by_their_branches() -> None:
    def forward(p: dict[str, nn.Module], x: Tensor) -> Tensor:
        x = x + p["first"](x)
        y: Tensor = (x + p["second"](x)).relu()
        return y

    additions = found(Net(forward, first=conv(), second=nn.Sequential(conv(), nn.BatchNorm2d(C))))
    assert _names(additions) == [("first", "simple", None), ("second", "simple", "first")]
    assert [addition.activation for addition in additions] == ["", "relu"]


def test_one_convolution_beside_a_shortcut_of_one_is_nobodys_stream() -> None:
    def forward(p: dict[str, nn.Module], x: Tensor) -> Tensor:
        y: Tensor = p["branch"](x) + p["shortcut"](x)
        return y

    assert found(Net(forward, branch=conv(), shortcut=conv(1))) == ()
    additions = found(Net(forward, branch=nn.Sequential(conv(), nn.ReLU(), conv()), shortcut=conv(1)))
    assert _names(additions) == [("branch", "downsample", None)]
    assert additions[0].stream.meta["module"] == "shortcut"


def test_what_is_added_to_itself_or_has_no_weights_is_no_branch() -> None:
    for forward in (
        lambda p, x: x + x,
        lambda p, x: x + x.relu(),
        lambda p, x: x + x.mean((2, 3), keepdim=True).expand(-1, -1, SIDE, SIDE),
        lambda p, x: x + 1.0,
        lambda p, x: x.sigmoid() + F.avg_pool2d(x, 3, 1, 1),
    ):
        assert found(Net(forward)) == ()


def test_positions_biases_and_weights_are_no_stream() -> None:
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.places, self.conv = nn.Parameter(torch.randn(1, C, SIDE, SIDE)), conv()

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.conv(x + self.places)
            return y + torch.zeros_like(y)

    assert found(Net(lambda p, x: p["a"](x), a=Positions())) == ()


def test_a_sum_of_equal_branches_has_no_stream() -> None:
    def part() -> nn.Module:
        return nn.Sequential(conv(), nn.ReLU(), conv())

    assert found(Net(lambda p, x: p["a"](x) + p["b"](x), a=part(), b=part())) == ()


def test_additions_that_overwrite_are_found_too() -> None:
    class Overwriting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = conv(), conv()

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.two(self.one(x).relu_())
            y += x
            y.add_(self.one(y).relu_())
            return y.relu_()

    additions = found(Net(lambda p, x: p["a"](x), a=Overwriting()))
    assert [addition.kind for addition in additions] == ["simple", "simple"]
    assert [addition.activation for addition in additions] == ["", "relu"]
    assert len({addition.name for addition in additions}) == 2


def test_the_next_blocks_activation_is_not_lent() -> None:
    class First(nn.Module):
        """Begins with its activation."""

        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = conv(), conv()

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.two(self.one(x).relu())
            return x + y

    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act, self.conv = nn.ReLU(), conv()

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.conv(self.act(x))
            return y

    (addition,) = found(Net(lambda p, x: p["b"](p["a"](x)), a=First(), b=Last()))
    assert addition.activation == ""
    assert addition.out is addition.sum


def test_a_mixer_that_only_pools_is_a_branch_by_its_norm() -> None:
    class Mixer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.pool, self.mlp = nn.GroupNorm(1, C), nn.AvgPool2d(3, 1, 1), nn.Sequential(conv(1), conv(1))

        def forward(self, x: Tensor) -> Tensor:
            y = self.norm(x)
            x = x + (self.pool(y) - y)
            z: Tensor = self.mlp(x)
            return x + z

    additions = found(Net(lambda p, x: p["a"](x), a=Mixer()))
    assert _names(additions) == [("a.norm", "simple", None), ("a.mlp", "simple", "a.norm")]


def test_levels_that_a_pyramid_joins_are_no_blocks() -> None:
    def forward(p: dict[str, nn.Module], x: Tensor) -> Tensor:
        small = p["down"](x)
        y: Tensor = p["lateral"](x) + F.interpolate(p["top"](small), scale_factor=2)
        return y

    parts = {"down": nn.Sequential(conv(stride=2), nn.ReLU(), conv()), "lateral": conv(1), "top": conv(1)}
    assert found(Net(forward, **parts)) == ()


def test_a_sum_around_all_of_a_u_net_is_a_block() -> None:
    def forward(p: dict[str, nn.Module], x: Tensor) -> Tensor:
        y: Tensor = x + F.interpolate(p["down"](x), scale_factor=2)
        return y

    assert _names(found(Net(forward, down=nn.Sequential(conv(stride=2), nn.ReLU(), conv())))) == [
        ("down", "simple", None)
    ]


def test_of_a_scaled_stream_in_is_the_scaled_one() -> None:
    (addition,) = found(Net(lambda p, x: 0.5 * x + p["a"](x), a=nn.Sequential(conv(), nn.ReLU(), conv())))
    assert (addition.name, addition.kind) == ("a", "downsample")
    assert str(addition.stream.target) == "aten.mul.Tensor"


def test_what_a_network_adds_in_no_module_of_its_own_has_a_name_too() -> None:
    weights = torch.randn(C, C, 3, 3, generator=torch.Generator().manual_seed(0))

    def forward(p: dict[str, nn.Module], x: Tensor) -> Tensor:
        x = x + F.conv2d(x, weights, padding=1)
        return x + F.conv2d(x, weights, padding=1)

    assert _names(found(Net(forward))) == [("add.t0", "simple", None), ("add.t1", "simple", "add.t0")]


@pytest.mark.parametrize(
    "build",
    [
        lambda: torchvision.models.DenseNet(4, (2, 2), 8, num_classes=5),
        lambda: torchvision.models.VGG(torchvision.models.vgg.make_layers([8, "M", 512, "M"], True), num_classes=5),
        lambda: torchvision.models.squeezenet1_1(num_classes=5),
        lambda: torchvision.models.GoogLeNet(num_classes=5, aux_logits=False, init_weights=False),
    ],
)
def test_networks_without_a_stream_have_none(build: Callable[[], nn.Module]) -> None:
    assert found(build(), 64) == ()


@pytest.mark.parametrize(("name", "side"), [("res2net", 64), ("HRNet", 64)])
def test_inner_sums_and_fusions_are_no_blocks(name: str, side: int) -> None:
    """There are several sums beside those of the stream."""
    graph = capture(FAMILIES[name].build().eval(), side)
    sums = [node for node in graph.graph.nodes if str(node.target) == "aten.add.Tensor"]
    additions = find_additions(graph)
    assert len(sums) > len(additions)
    assert [addition.name for addition in additions] == list(FAMILIES[name].blocks)
