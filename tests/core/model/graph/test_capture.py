"""What is captured of a network is what it computes, and the network is left as it was."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from streamscope.core.errors import UnreadableNetworkError
from streamscope.core.model.graph.capture import capture
from streamscope.core.model.graph.operations import is_dependent, operation, shape_of
from streamscope.core.model.graph.running import GraphRunner
from streamscope.core.model.graph.values import NetworkGraph
from tests.support.small_networks import CHANNELS, Small, small

SIDE = 12
Forward = Callable[[Small, Tensor], Any]


def calls(graph: NetworkGraph) -> list[str]:
    return [operation(node) for node in graph.graph.nodes if node.op == "call_function"]


def assert_same_outputs(module: nn.Module, graph: NetworkGraph, count: int = 4) -> None:
    """As the network's own, bit for bit, for another number of images than it was captured with."""
    images = torch.randn(count, 3, graph.side, graph.side, generator=torch.Generator().manual_seed(1))
    own = [value for value in pytree.tree_leaves(module(images.clone())) if isinstance(value, Tensor)]
    found = GraphRunner(graph, graph.outputs).read(images)
    assert len(own) == len(graph.outputs)
    for node, value in zip(graph.outputs, own, strict=True):
        assert torch.equal(found[node], value)


def relu_in_place_read_later(net: Small, x: Tensor) -> Tensor:
    y: Tensor = net.stem(x)
    z: Tensor = net.b(net.a(F.relu_(y)))
    return y + z


def sum_in_place_without_its_value(net: Small, x: Tensor) -> Tensor:
    y: Tensor = net.stem(x)
    z: Tensor = net.a(y)
    z.add_(y).mul_(2)
    return z


def through_a_view(net: Small, x: Tensor) -> Tensor:
    y: Tensor = net.stem(x)
    y[:, :2].mul_(3)
    z: Tensor = net.a(y)
    return y + z


def one_view_through_another(net: Small, x: Tensor) -> Tensor:
    y: Tensor = net.stem(x)
    flat, last = y.flatten(2), y.permute(0, 2, 3, 1)
    flat.relu_()
    return last + 1


def into_a_new_tensor(net: Small, x: Tensor) -> Tensor:
    y: Tensor = net.stem(x)
    padded = torch.zeros(len(x), 2 * CHANNELS, SIDE, SIDE)
    padded[:, :CHANNELS] = y
    return padded


def given_a_place(net: Small, x: Tensor) -> Tensor:
    y: Tensor = net.stem(x)
    place = torch.empty_like(y)
    torch.add(y, net.a(y), out=place)
    return y * place


def the_image_itself(net: Small, x: Tensor) -> Tensor:
    x.sub_(0.5)
    x[:, 0].mul_(2)
    y: Tensor = net.stem(x)
    return y


@pytest.mark.parametrize(
    "forward",
    [
        relu_in_place_read_later,
        sum_in_place_without_its_value,
        through_a_view,
        one_view_through_another,
        into_a_new_tensor,
        given_a_place,
        the_image_itself,
    ],
)
def test_what_is_overwritten_is_read_by_whoever_read_it(forward: Forward) -> None:
    module = small(forward)
    graph = capture(module, SIDE)
    assert_same_outputs(module, graph)
    for node in graph.graph.nodes:
        schema = getattr(node.target, "_schema", None)
        assert schema is None or not schema.is_mutable, node


def test_outputs_may_be_many_and_named() -> None:
    module = small(lambda net, x: {"out": net.stem(x), "others": [net.a(net.stem(x)), None, 3], "image": x})
    graph = capture(module, SIDE)
    assert len(graph.outputs) == 3
    assert_same_outputs(module, graph)


def test_an_output_may_be_a_parameter() -> None:
    module = small(lambda net, x: (net.stem(x), net.norm.weight))
    assert_same_outputs(module, capture(module, SIDE))


def test_the_constants_are_the_networks_own_tensors() -> None:
    module = small(lambda net, x: net.norm(net.stem(x)))
    own = {id(value) for value in [*module.parameters(), *module.buffers()]}
    constants = capture(module, SIDE).constants
    assert len(constants) == 6
    assert all(id(value) in own for value in constants.values())


def test_the_network_is_left_as_it_was() -> None:
    module = small(lambda net, x: net.norm(net.b(F.relu_(net.a(net.stem(x))))))
    module.a.requires_grad_(True)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    attributes = set(vars(module))
    capture(module, SIDE)
    assert {name for name, value in module.named_parameters() if value.requires_grad} == {"a.weight", "a.bias"}
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(value.grad is None for value in module.parameters())
    assert not any(part.training or part._forward_hooks or part._forward_pre_hooks for part in module.modules())
    assert set(vars(module)) == attributes


def test_what_does_nothing_is_not_in_the_graph() -> None:
    module = small(lambda net, x: sum([F.dropout(net.a(net.stem(x)), 0.5, net.training).detach() * 1]))
    assert calls(capture(module, SIDE)) == ["conv2d", "conv2d"]


def test_what_does_not_depend_on_the_image_is_a_value() -> None:
    def forward(net: Small, x: Tensor) -> Tensor:
        weight = net.a.weight - net.a.weight.mean((1, 2, 3), keepdim=True)
        mean = torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1)
        position = torch.linspace(0, 1, x.shape[-1]).expand(len(x), CHANNELS, SIDE, SIDE)
        y: Tensor = F.conv2d(net.stem(x - mean), weight, padding=1)
        return y + position

    module = small(forward)
    graph = capture(module, SIDE)
    dependent = [operation(node) for node in graph.graph.nodes if is_dependent(node)]
    assert dependent == ["", "sub", "conv2d", "conv2d", "add"]
    assert [operation(node) for node in graph.graph.nodes if node.op == "call_function" and not is_dependent(node)] == [
        "sym_size",
        "expand",
    ]
    assert_same_outputs(module, graph)


def test_shapes_have_the_batch_as_minus_one() -> None:
    module = small(lambda net, x: net.stem(x).view(len(x) * 2, CHANNELS // 2, SIDE, SIDE))
    (output,) = capture(module, SIDE).outputs
    assert shape_of(output) == (-1, CHANNELS // 2, SIDE, SIDE)
    assert output.meta["shape of one"] == (2, CHANNELS // 2, SIDE, SIDE)


def test_a_value_that_is_given_for_its_shape_or_type_is_no_operand() -> None:
    def forward(net: Small, x: Tensor) -> tuple[Tensor, Tensor]:
        y: Tensor = net.stem(x)
        mask = net.norm.weight.double().view(CHANNELS, 1, 1).type_as(y).expand_as(y)
        return y.flatten(1).view_as(y).reshape_as(y), mask

    module = small(forward)
    graph = capture(module, SIDE)
    assert [operation(node) for node in graph.graph.nodes if is_dependent(node)] == [
        "",
        "conv2d",
        "flatten",
        "view",
        "reshape",
    ]
    assert_same_outputs(module, graph)


def test_operations_say_which_module_they_run_in() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.act = nn.Conv2d(3, 3, 1), nn.ReLU(inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.act(self.conv(self.act(self.conv(x))))
            return x + y

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.Sequential(Block())

        def forward(self, x: Tensor) -> Tensor:
            return self.blocks(self.blocks(x)) * 2  # type: ignore[no-any-return]

    graph = capture(Twice().eval(), SIDE)
    of_block = ["blocks.0.conv", "blocks.0.act", "blocks.0.conv", "blocks.0.act", "blocks.0"]
    found = [node.meta["module"] for node in graph.graph.nodes if node.op == "call_function"]
    assert found == [*of_block, *of_block, ""]


@pytest.mark.parametrize(
    "forward",
    [
        lambda net, x: net.stem(x).reshape(int(x.shape[0]), -1) + torch.zeros(int(x.shape[0]), 1),
        lambda net, x: net.stem(x).view(int(x.shape[0]) * CHANNELS, 1, SIDE, SIDE).relu_(),
    ],
)
def test_code_that_makes_a_number_of_the_batchs_size_takes_any_number_of_images(forward: Forward) -> None:
    module = small(forward)
    graph = capture(module, SIDE)
    assert [shape_of(node)[0] for node in graph.graph.nodes if is_dependent(node)] == [-1] * 4
    assert_same_outputs(module, graph, count=1)
    assert_same_outputs(module, graph, count=4)


def overwriting_for_a_number_of_images(net: Small, x: Tensor) -> Tensor:
    y: Tensor = net.norm(net.stem(x))
    flat = y.view(int(x.shape[0]), CHANNELS, -1)
    flat[:, 0].mul_(2)
    return y * 2


def test_so_it_does_where_it_overwrites_values_through_views() -> None:
    module = small(overwriting_for_a_number_of_images)
    graph = capture(module, SIDE)
    assert_same_outputs(module, graph)
    assert "batch_norm" in calls(graph)


def counting(net: Small, x: Tensor) -> Tensor:
    net.get_buffer("kept").add_(1)
    y: Tensor = net.stem(x)
    return y * net.get_buffer("kept")


def conditional(net: Small, x: Tensor) -> Tensor:
    y: Tensor = net.stem(x)
    return net.a(y) if y.mean() > 0 else y


def in_another_precision(net: Small, x: Tensor) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y: Tensor = net.stem(x)
    return y


@pytest.mark.parametrize(
    ("forward", "sentence"),
    [
        (conditional, "depends on what is on the images"),
        (lambda net, x: net.stem(x) * float(x.mean()), "depends on what is on the images"),
        (lambda net, x: net.stem(x) + torch.rand(1), "something else each time"),
        (lambda net, x: F.dropout(net.stem(x), 0.5, training=True), "something else each time"),
        (counting, "changes its own kept when it runs"),
        (
            lambda net, x: F.batch_norm(net.stem(x), None, None, training=True),
            r"statistics of the batch \(batch_norm\)",
        ),
        (lambda net, x: net.stem(x) - x.mean((0, 1, 2, 3)), "beside other images"),
        (lambda net, x: torch.stack([net.stem(one[None])[0] for one in x]), "for another number of images"),
        (lambda net, x: net.stem(x) if len(x) != 2 else net.a(net.stem(x)), "for another number of images"),
        (lambda net, x: net.stem(x[:, :2]), "takes no images of 12 px, .*RuntimeError: Given groups=1"),
        (lambda net, x: torch.from_numpy(net.stem(x).numpy()), "torch.export cannot follow"),
        (in_another_precision, "autocast"),
        (lambda net, x: net.stem(x) / 0, "no finite numbers"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(
    forward: Forward, sentence: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UnreadableNetworkError, match=sentence) as refusal:
        capture(small(forward), SIDE)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 400
    printed = capfd.readouterr()
    assert printed.out + printed.err == ""


def test_statistics_of_weights_are_no_statistics_of_a_batch() -> None:
    """Weight standardisation is written as a batch norm of the weights."""

    def forward(net: Small, x: Tensor) -> Tensor:
        weight = F.batch_norm(net.a.weight.view(1, CHANNELS, -1), None, None, training=True).view_as(net.a.weight)
        return F.conv2d(net.stem(x), weight, padding=1)

    module = small(forward)
    assert_same_outputs(module, capture(module, SIDE))
