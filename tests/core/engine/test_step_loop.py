"""The steps of an optimisation stay on their device, whatever it is: nothing is read back, nothing is sent there.

On the `meta` device tensors have shapes but no values, so whatever would wait for a value (`.item()`, an `if` over a
tensor, a copy to the CPU) raises; and every operation is watched for tensors of the CPU.
"""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from streamscope.core.engine.cone import fold_network
from streamscope.core.engine.network import Network, load_network
from streamscope.core.engine.optimiser import Optimiser, has_gradient
from streamscope.core.engine.precision import OVERRIDE
from streamscope.core.model.blocks import Target
from streamscope.core.model.recipe import PROTOCOLS, Objective, Protocol, Recipe
from streamscope.core.model.spec import ModelSpec

META = torch.device("meta")
CHANNELS = (3, 1, 2)


class OnlyOn(TorchDispatchMode):
    """Fails at the first operation that takes or gives a tensor of another device."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch gives it no types
        self.device = device
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for value in tree_leaves((args, kwargs, found)):
            # Python numbers arrive as tensors of one value of the CPU, which the kernels take as they are.
            number = isinstance(value, torch.Tensor) and value.dim() == 0 and value.device.type == "cpu"
            if isinstance(value, torch.Tensor) and not number:
                assert value.device == self.device, f"{func} works on {value.device}"
        self.operations += 1
        return found


@pytest.fixture(scope="module")
def network() -> Network:
    demo = load_network(ModelSpec("demo"), "cpu")
    module = demo.module.to(META)
    return replace(demo, module=module, folded=fold_network(module, META))


@pytest.mark.parametrize("target", [Target("1.1", "block"), Target("2.0", "in"), Target("3.1", "out")], ids=str)
@pytest.mark.parametrize("of", ["neuron", "channel"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_step_stays_on_its_device(
    network: Network, target: Target, of: Objective, protocol: Protocol, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(OVERRIDE, dtype)
    optimiser = Optimiser(network, target, CHANNELS, Recipe(steps=4), 0, "exact", of, protocol)
    part = optimiser._part(CHANNELS)
    optimiser.activation(part.parameters, part.own)
    with OnlyOn(META) as watch:
        for step in range(2):
            part.parameters.grad = None
            optimiser.backward(part.parameters, part.draws[step], part.own)
            assert has_gradient(part.parameters).device == META
            assert optimiser.activation(part.parameters, part.own).shape == (len(CHANNELS),)
    assert part.parameters.grad is not None
    assert part.parameters.grad.shape == part.parameters.shape
    assert watch.operations > 100


def test_the_watch_sees_a_tensor_of_the_cpu_and_a_value_that_is_read_back() -> None:
    with OnlyOn(META), pytest.raises(AssertionError, match="cpu"):
        torch.ones(3, device=META) + torch.ones(3).to(META)
    with OnlyOn(META), pytest.raises(RuntimeError, match="meta"):
        bool(torch.ones(1, device=META).any())
