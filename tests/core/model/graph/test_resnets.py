"""The graph of a ResNet that is written down: what capturing finds, and taken for no other network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torchvision
from torch import Tensor, fx, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from streamscope.core.model.demo.network import build
from streamscope.core.model.graph.additions import find_additions
from streamscope.core.model.graph.capture import capture
from streamscope.core.model.graph.operations import arguments, operation
from streamscope.core.model.graph.resnets import is_resnet, resnet_graph
from streamscope.core.model.graph.values import NetworkGraph

_DEFAULTS: dict[str, Any] = {
    "bias": None,
    "stride": (1, 1),
    "padding": (0, 0),
    "dilation": (1, 1),
    "groups": 1,
    "ceil_mode": False,
}


def _listing(graph: NetworkGraph) -> list[Any]:
    """Every operation with its module, shape and arguments; constants by which tensor they are."""
    names: dict[fx.Node, Any] = {}
    found: list[Any] = []
    for node in graph.graph.nodes:
        if node.op == "placeholder":
            names[node] = "image" if node is graph.image else ("constant", id(graph.constants[node.name]))
        elif node.op == "call_function":
            said = dict(_DEFAULTS) if operation(node) in ("conv2d", "max_pool2d") else {}
            for name, value in arguments(node).items():
                value = names[value] if isinstance(value, fx.Node) else value
                said[name] = tuple(value) if isinstance(value, list) else value
            # A switch of the machine's, not of the network.
            said.pop("cudnn_enabled", None)
            names[node] = len(found)
            found.append((operation(node), node.meta["module"], node.meta["call"], node.meta["shape"], said))
    return found


def _small(block: type[nn.Module], **options: Any) -> nn.Module:
    module: nn.Module = ResNet(block, [1, 2, 1, 1], num_classes=5, **options)
    return module.eval().requires_grad_(False)


@pytest.mark.parametrize(
    ("module", "side"),
    [
        (lambda: _small(BasicBlock), 64),
        (lambda: _small(Bottleneck, groups=4, width_per_group=8), 97),
        (lambda: _small(Bottleneck, replace_stride_with_dilation=[False, True, True]), 64),
        (lambda: build().eval(), 64),
    ],
)
def test_what_is_written_down_is_what_capturing_finds(module: Callable[[], nn.Module], side: int) -> None:
    made = module()
    assert is_resnet(made)
    written, captured = resnet_graph(made, side), capture(made, side)
    assert _listing(written) == _listing(captured)
    known = [(a.name, a.kind, a.previous, a.activation) for a in find_additions(captured)]
    assert [(a.name, a.kind, a.previous, a.activation) for a in find_additions(written)] == known


class _OtherForward(ResNet):  # type: ignore[misc]  # torchvision has no types
    def _forward_impl(self, x: Tensor) -> Tensor:
        y: Tensor = super()._forward_impl(x * 2)
        return y


class _OtherBlock(BasicBlock):  # type: ignore[misc]
    def forward(self, x: Tensor) -> Tensor:
        return self.relu(x + self.bn1(self.conv1(x)))  # type: ignore[no-any-return]


def _hooked(module: Any) -> None:
    module.layer1[0].conv1.register_forward_hook(lambda _module, _inputs, out: out * 2)


def _hooked_before(module: Any) -> None:
    module.register_forward_pre_hook(lambda _module, given: (given[0] * 2,))


def _own_forward(module: Any) -> None:
    module.layer1[0].forward = lambda x: x


CHANGES: dict[str, Callable[[Any], object]] = {
    "a block of another kind": lambda m: setattr(m.layer2, "1", nn.Sequential(nn.Conv2d(128, 128, 1))),
    "a block's forward": _own_forward,
    "another activation": lambda m: setattr(m.layer1[0], "relu", nn.GELU()),
    "another norm": lambda m: setattr(m.layer1[0], "bn2", nn.GroupNorm(4, 64)),
    "another shortcut": lambda m: setattr(m.layer2[0], "downsample", nn.Conv2d(64, 128, 1, stride=2)),
    "another stem's norm": lambda m: setattr(m, "bn1", nn.Identity()),
    "another pool": lambda m: setattr(m, "maxpool", nn.AvgPool2d(3, 2, 1)),
    "another activation in the stem": lambda m: setattr(m, "relu", nn.GELU()),
    "a pool with a last window that is not whole": lambda m: setattr(m, "maxpool", nn.MaxPool2d(3, 2, ceil_mode=True)),
    "a convolution that is reflected": lambda m: setattr(
        m.layer1[0], "conv1", nn.Conv2d(64, 64, 3, padding=1, padding_mode="reflect")
    ),
    "a stem that is reflected": lambda m: setattr(
        m, "conv1", nn.Conv2d(3, 64, 7, stride=2, padding=3, padding_mode="reflect")
    ),
    "a stem of several convolutions": lambda m: setattr(
        m, "conv1", nn.Sequential(nn.Conv2d(3, 64, 3, 2, 1), nn.Conv2d(64, 64, 3, 1, 1))
    ),
    "an average of several positions": lambda m: setattr(m, "avgpool", nn.AdaptiveAvgPool2d(2)),
    "another part before the classifier": lambda m: setattr(m, "avgpool", nn.AdaptiveMaxPool2d(1)),
    "a classifier of several layers": lambda m: setattr(m, "fc", nn.Sequential(nn.Dropout(0.5), nn.Linear(512, 5))),
    "a stage with a gate": lambda m: setattr(m, "layer3", nn.Sequential(*m.layer3, nn.Sigmoid())),
    "a hook that changes what comes out": _hooked,
    "a hook that changes what goes in": _hooked_before,
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_resnet_is_not_taken_for_what_it_was(name: str) -> None:
    module = _small(BasicBlock)
    CHANGES[name](module)
    assert not is_resnet(module.eval().requires_grad_(False))


def test_a_resnet_without_a_classifier_is_one_still() -> None:
    module = _small(BasicBlock)
    module.fc = nn.Identity()
    assert is_resnet(module)
    assert _listing(resnet_graph(module, 64)) == _listing(capture(module, 64))


def test_a_subclass_that_does_something_else_is_another_network() -> None:
    assert not is_resnet(_OtherForward(BasicBlock, [1, 1, 1, 1]).eval())
    assert not is_resnet(ResNet(_OtherBlock, [1, 1, 1, 1]).eval())
    assert is_resnet(torchvision.models.resnet18().eval())
