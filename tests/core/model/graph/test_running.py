"""A pass over a graph: every value is shown as it is, and nothing is run that nobody asked for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx
from torch.utils._python_dispatch import TorchDispatchMode

from streamscope.core.model.graph.capture import capture
from streamscope.core.model.graph.running import GraphRunner
from streamscope.core.model.graph.values import NetworkGraph
from tests.support.small_networks import CHANNELS, Small, small

SIDE = 12
IMAGES = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def block(net: Small, x: Tensor) -> Tensor:
    y = net.stem(x)
    return F.relu_(F.relu_(net.b(F.relu_(net.norm(net.a(y))))).add_(y))


def nodes(graph: NetworkGraph) -> list[fx.Node]:
    return [node for node in graph.graph.nodes if node.op == "call_function"]


def by_hand(net: Small, x: Tensor) -> list[Tensor]:
    stem = net.stem(x)
    a = net.a(stem)
    norm = net.norm(a)
    inner = norm.clamp(min=0)
    b = net.b(inner)
    branch = b.clamp(min=0)
    return [stem, a, norm, inner, b, branch, branch + stem, (branch + stem).clamp(min=0)]


@torch.no_grad()
def test_every_value_is_that_before_it_was_overwritten() -> None:
    module = small(block)
    graph = capture(module, SIDE)
    images = IMAGES.clone()
    values = GraphRunner(graph, nodes(graph)).read(images)
    expected = by_hand(module, IMAGES)
    assert len(values) == len(expected)
    for node, value in zip(nodes(graph), expected, strict=True):
        assert torch.equal(values[node], value)
    assert torch.equal(images, IMAGES)


@torch.no_grad()
def test_a_value_that_nobody_reads_again_is_overwritten_once_it_was_shown() -> None:
    module = small(block)
    graph = capture(module, SIDE)
    shown: dict[str, Tensor] = {}
    GraphRunner(graph, nodes(graph))(IMAGES, lambda node, value: shown.__setitem__(node.name, value))
    _, a, norm, inner, b, branch, pre, out = shown.values()
    assert norm.data_ptr() == inner.data_ptr()
    assert b.data_ptr() == branch.data_ptr() == pre.data_ptr() == out.data_ptr()
    assert a.data_ptr() != norm.data_ptr()


def test_nothing_is_overwritten_that_a_gradient_needs() -> None:
    module = small(block)
    graph = capture(module, SIDE)
    images, own = IMAGES.clone().requires_grad_(), IMAGES.clone().requires_grad_()
    (value,) = GraphRunner(graph, graph.outputs).read(images).values()
    value.square().sum().backward()
    by_hand(module, own)[-1].square().sum().backward()
    assert images.grad is not None
    assert own.grad is not None
    assert torch.allclose(images.grad, own.grad, rtol=0, atol=1e-5 * float(own.grad.abs().max()))


@pytest.mark.parametrize(
    "forward",
    [
        lambda net, x: F.adaptive_avg_pool2d(net.stem(x), 1).add(net.a(net.stem(x))),
        lambda net, x: net.a(net.stem(x).mean((2, 3), keepdim=True)).relu() + net.b(net.stem(x)),
        lambda net, x: net.a(net.stem(x)[:, :, :1, :1]) + net.b(net.stem(x)).double(),
        lambda net, x: net.norm.weight.view(1, CHANNELS, 1, 1) + net.stem(x),
    ],
)
@torch.no_grad()
def test_a_sum_of_another_shape_or_type_is_not_written_into_an_operand(forward: object) -> None:
    module = small(forward)  # type: ignore[arg-type]
    graph = capture(module, SIDE)
    (value,) = GraphRunner(graph, graph.outputs).read(IMAGES).values()
    assert torch.equal(value, module(IMAGES))


class Convolutions(TorchDispatchMode):
    """Counts those that run."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten.convolution.default
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def test_only_what_is_needed_is_run() -> None:
    graph = capture(small(block), SIDE)
    norm = nodes(graph)[2]
    with Convolutions() as convolutions:
        values = GraphRunner(graph, [norm]).read(IMAGES)
    assert convolutions.count == 2
    assert list(values) == [norm]


@torch.no_grad()
def test_given_values_take_the_place_of_the_networks() -> None:
    module = small(block)
    graph = capture(module, SIDE)
    stem, _, norm, *_ = nodes(graph)
    given = torch.ones(2, CHANNELS, SIDE, SIDE)
    with Convolutions() as convolutions:
        values = GraphRunner(graph, [norm, stem], [stem]).read(IMAGES, {stem: given})
    assert convolutions.count == 1
    assert torch.equal(values[norm], module.norm(module.a(given)))
    assert torch.equal(values[stem], given)
    assert torch.equal(given, torch.ones_like(given))


@torch.no_grad()
def test_what_does_not_depend_on_the_image_is_computed_once() -> None:
    def forward(net: Small, x: Tensor) -> Tensor:
        places = torch.linspace(0, 1, CHANNELS * SIDE * SIDE).view(1, CHANNELS, SIDE, SIDE)
        y: Tensor = net.stem(x)
        return y + F.conv2d(places, net.a.weight, padding=1)

    module = small(forward)
    graph = capture(module, SIDE)
    runner = GraphRunner(graph, graph.outputs)
    runner.read(IMAGES)
    with Convolutions() as convolutions:
        (value,) = runner.read(IMAGES).values()
    assert convolutions.count == 1
    assert torch.equal(value, module(IMAGES))


def test_it_runs_on_another_device_than_it_was_captured_on() -> None:
    """No values are computed on `meta`, but whatever is on another device cannot be used together with it."""

    def forward(net: Small, x: Tensor) -> Tensor:
        zeros = torch.zeros(len(x), CHANNELS, SIDE, SIDE, device=x.device)
        shift = torch.arange(len(x), device=x.device).view(-1, 1, 1, 1) + net.norm.bias.to(x.device).sum()
        y: Tensor = net.stem(x.to(x.device, torch.float32))
        return y + zeros + shift

    graph = capture(small(forward), SIDE)
    (value,) = GraphRunner(graph, graph.outputs).read(IMAGES.to("meta")).values()
    assert value.device.type == "meta"
    assert value.shape == (2, CHANNELS, SIDE, SIDE)
