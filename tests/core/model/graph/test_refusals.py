"""Networks whose operations cannot be told are refused in one sentence, and what they overwrite is told apart."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from streamscope.core.errors import UnreadableNetworkError
from streamscope.core.model.graph.capture import capture
from streamscope.core.model.graph.running import GraphRunner

SIDE = 16


class Chance(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.rand_like(x)


class Training(nn.Module):
    """Drops values in eval mode too."""

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.5, training=True)


class Data(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if float(x.sum()) > 0 else x


class OneAtATime(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(2, 3, SIDE, SIDE)


@pytest.mark.parametrize(
    "module",
    [
        Chance(),
        Training(),
        Data(),
        OneAtATime(),
        nn.Conv2d(1, 4, 3),
        nn.Conv2d(4, 4, 3),
        nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4)),
    ],
)
def test_it_is_said_in_one_sentence_that_a_network_cannot_be_read(module: nn.Module) -> None:
    with pytest.raises(UnreadableNetworkError, match=r"^the network'?s? ") as raised:
        capture(module.eval(), SIDE)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 500


class Overwriting(nn.Module):
    """A view's base is read after it was overwritten, and a value whose name is read again."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        before = y * 1
        y[:, :2].mul_(3)
        z = y.view(y.shape[0], 4, -1).relu_()
        y += before
        difference: Tensor = y.flatten(2) - z
        return difference


def test_every_value_of_an_overwriting_network_is_its_own() -> None:
    torch.manual_seed(0)
    module = Overwriting().eval().requires_grad_(False)
    graph = capture(module, SIDE)
    images = torch.randn(2, 3, SIDE, SIDE)
    kept = images.clone()
    found = GraphRunner(graph, graph.outputs).read(images)
    assert torch.equal(found[graph.outputs[0]], module(images))
    assert torch.equal(images, kept)
    # Read one by one or all together, the values are the same.
    nodes = [n for n in graph.graph.nodes if n.op == "call_function" and "shape" in n.meta and n.meta["depends"]]
    together = GraphRunner(graph, nodes).read(images)
    for node in nodes:
        assert torch.equal(GraphRunner(graph, (node,)).read(images)[node], together[node])


def test_the_network_is_left_as_it_is() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    state = {name: value.clone() for name, value in module.state_dict().items()}
    capture(module, SIDE)
    assert not module.training
    assert all(torch.equal(state[name], value) for name, value in module.state_dict().items())
    assert all(parameter.requires_grad for parameter in module.parameters())
