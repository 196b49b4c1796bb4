"""The graph of a torchvision ResNet, written down from its modules: what capturing it finds, in milliseconds.

Every command that runs a network waits for its graph, and a capture takes seconds. A test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from streamscope.core.model.demo.network import DemoNet
from streamscope.core.model.graph.values import NetworkGraph

_ATEN = torch.ops.aten
_FORWARDS = {ResNet.forward, DemoNet.forward}
_BRANCHES = {BasicBlock.forward: 2, Bottleneck.forward: 3}
"""Convolutions of a block's branch, by what runs it."""


def is_resnet(module: nn.Module) -> bool:
    """Whether a network does what torchvision's ResNets do, and nothing else."""
    if type(module).forward not in _FORWARDS:
        return False
    if isinstance(module, ResNet) and type(module)._forward_impl is not ResNet._forward_impl:
        return False
    if any(_is_altered(part) for part in module.modules()):
        return False
    return (
        _is_convolution(module.conv1)
        and _is_norm(module.bn1)
        and type(module.relu) is nn.ReLU
        and _is_pool(module.maxpool)
        and all(type(stage) is nn.Sequential for stage in _stages(module))
        and all(type(block).forward in _BRANCHES and _is_plain(block) for _, block in _blocks(module))
        and _ends_plainly(module)
    )


def _is_altered(part: nn.Module) -> bool:
    """Whether something else runs than the forward of the module's class."""
    own = vars(part)
    return bool(
        part._forward_hooks or part._forward_pre_hooks or any(name in own for name in ("forward", "_forward_impl"))
    )


def _ends_plainly(module: nn.Module) -> bool:
    """In the mean of the last map and one linear layer, or less."""
    if not hasattr(module, "avgpool"):
        return True
    mean = module.avgpool
    return (
        type(mean) is nn.AdaptiveAvgPool2d
        and mean.output_size in (1, (1, 1))
        and type(module.fc) in (nn.Linear, nn.Identity)
    )


def resnet_graph(module: nn.Module, side: int) -> NetworkGraph:
    """The graph of a network that `is_resnet`, for images of `side` px."""
    writer = _Writer(side)
    x = writer.normed(writer.image, module, "conv1", "bn1", "")
    x = writer.call("relu", _ATEN.relu.default, (x,), shape=writer.shape(x))
    pool = module.maxpool
    if isinstance(pool, nn.MaxPool2d):
        x = writer.pooled(x, pool)
    for path, block in _blocks(module):
        y = x
        count = _BRANCHES[type(block).forward]
        for index in range(1, count + 1):
            y = writer.normed(y, block, f"conv{index}", f"bn{index}", path)
            if index < count:
                y = writer.call(f"{path}.relu", _ATEN.relu.default, (y,), call=index - 1, shape=writer.shape(y))
        if block.downsample is not None:
            x = writer.normed(x, block, "downsample.0", "downsample.1", path)
        y = writer.call(path, _ATEN.add.Tensor, (y, x), shape=writer.shape(y))
        x = writer.call(f"{path}.relu", _ATEN.relu.default, (y,), call=count - 1, shape=writer.shape(y))
    if hasattr(module, "avgpool"):
        channels = writer.shape(x)[1]
        x = writer.call("avgpool", _ATEN.adaptive_avg_pool2d.default, (x, [1, 1]), shape=(-1, channels, 1, 1))
        x = writer.call("", _ATEN.flatten.using_ints, (x, 1), shape=(-1, channels))
        if isinstance(module.fc, nn.Linear):
            parameters = [writer.constant(module.fc.weight, "fc.weight")]
            if module.fc.bias is not None:
                parameters.append(writer.constant(module.fc.bias, "fc.bias"))
            x = writer.call("fc", _ATEN.linear.default, (x, *parameters), shape=(-1, module.fc.out_features))
    writer.graph.output((x,))
    return NetworkGraph(writer.graph, writer.constants, writer.image, side, (x,))


def _blocks(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """(`layer2.1`, module) of each residual block, in stream order."""
    return [
        (f"layer{layer}.{index}", block)
        for layer, stage in enumerate(_stages(module), 1)
        for index, block in enumerate(stage)
    ]


def _stages(module: nn.Module) -> list[Any]:
    """`layer1` and so on."""
    found: list[Any] = []
    while hasattr(module, f"layer{len(found) + 1}"):
        found.append(getattr(module, f"layer{len(found) + 1}"))
    return found


def _is_plain(block: nn.Module) -> bool:
    """Whether a block has the parts of torchvision's: convolutions, batch norms, a ReLU and a shortcut of these."""
    shortcut = block.downsample
    parts = list(shortcut) if isinstance(shortcut, nn.Sequential) else []
    if shortcut is not None and (len(parts) != 2 or not _is_convolution(parts[0]) or not _is_norm(parts[1])):
        return False
    count = _BRANCHES[type(block).forward]
    return type(block.relu) is nn.ReLU and all(
        _is_convolution(getattr(block, f"conv{index}")) and _is_norm(getattr(block, f"bn{index}"))
        for index in range(1, count + 1)
    )


def _is_convolution(module: Any) -> bool:
    return type(module) is nn.Conv2d and module.padding_mode == "zeros" and not isinstance(module.padding, str)


def _is_pool(module: Any) -> bool:
    if type(module) is nn.Identity:
        return True
    return type(module) is nn.MaxPool2d and not module.ceil_mode and not module.return_indices


def _is_norm(module: Any) -> bool:
    return type(module) is nn.BatchNorm2d and module.running_mean is not None and module.affine


@dataclass
class _Writer:
    """Adds operations to a graph, with what a capture says of each."""

    side: int
    graph: fx.Graph = field(default_factory=fx.Graph)
    constants: dict[str, torch.Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.image = self.graph.placeholder("x")
        self.image.meta = _meta("", 0, True, (-1, 3, self.side, self.side))

    def shape(self, node: fx.Node) -> tuple[int, ...]:
        shape: tuple[int, ...] = node.meta["shape"]
        return shape

    def constant(self, value: torch.Tensor, name: str) -> fx.Node:
        with self.graph.inserting_after(self.image):
            node = self.graph.placeholder("p_" + name.replace(".", "_"))
        node.meta = _meta("", 0, False, tuple(value.shape))
        self.constants[node.name] = value
        return node

    def call(
        self, module: str, target: Any, arguments: tuple[Any, ...], shape: tuple[int, ...], call: int = 0
    ) -> fx.Node:
        node = self.graph.call_function(target, arguments)
        node.meta = _meta(module, call, True, shape)
        return node

    def normed(self, x: fx.Node, parent: nn.Module, conv: str, norm: str, path: str) -> fx.Node:
        """A convolution and its batch norm."""
        prefix = f"{path}." if path else ""
        convolution, of_norm = parent.get_submodule(conv), parent.get_submodule(norm)
        assert isinstance(convolution, nn.Conv2d)
        assert isinstance(of_norm, nn.BatchNorm2d)
        names = f"{prefix}{conv}", f"{prefix}{norm}"
        weight = self.constant(convolution.weight, f"{names[0]}.weight")
        bias = None if convolution.bias is None else self.constant(convolution.bias, f"{names[0]}.bias")
        strides, padding, dilation = ([int(n) for n in _two(v)] for v in _geometry(convolution))
        sides = [
            (size + 2 * pad - far * (kernel - 1) - 1) // stride + 1
            for size, pad, far, kernel, stride in zip(
                self.shape(x)[2:], padding, dilation, convolution.kernel_size, strides, strict=True
            )
        ]
        shape = (-1, convolution.out_channels, *sides)
        arguments = (x, weight, bias, strides, padding, dilation, convolution.groups)
        y = self.call(names[0], _ATEN.conv2d.default, arguments, shape)
        statistics = [
            self.constant(value, f"{names[1]}.{name}")
            for name in ("weight", "bias", "running_mean", "running_var")
            if isinstance(value := getattr(of_norm, name), torch.Tensor)
        ]
        of_y = (y, *statistics, False, of_norm.momentum, of_norm.eps, False)
        return self.call(names[1], _ATEN.batch_norm.default, of_y, shape)

    def pooled(self, x: fx.Node, pool: nn.MaxPool2d) -> fx.Node:
        kernel, stride, padding, dilation = (
            [int(n) for n in _two(v)] for v in (pool.kernel_size, pool.stride, pool.padding, pool.dilation)
        )
        sides = [
            (size + 2 * pad - far * (taps - 1) - 1) // step + 1
            for size, pad, far, taps, step in zip(self.shape(x)[2:], padding, dilation, kernel, stride, strict=True)
        ]
        arguments = (x, kernel, stride, padding, dilation)
        return self.call("maxpool", _ATEN.max_pool2d.default, arguments, (-1, self.shape(x)[1], *sides))


def _geometry(convolution: nn.Conv2d) -> tuple[Any, Any, Any]:
    return convolution.stride, convolution.padding, convolution.dilation


def _two(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def _meta(module: str, call: int, depends: bool, shape: tuple[int, ...]) -> dict[str, Any]:
    of_one = tuple(1 if size < 0 else size for size in shape)
    return {"module": module, "call": call, "depends": depends, "shape": shape, "shape of one": of_one}
