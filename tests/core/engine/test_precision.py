"""FZs are optimised in bfloat16 where a CUDA device has tensor cores for it; everything measured is float32."""

import numpy as np
import pytest
import torch

from streamscope.core.engine.cone import Cone, Read, fold_network
from streamscope.core.engine.network import Network, load_network, provenance
from streamscope.core.engine.optimiser import Optimiser
from streamscope.core.engine.precision import OVERRIDE, measure_in_float32, step_dtype
from streamscope.core.engine.visualize import visualize
from streamscope.core.errors import UsageError
from streamscope.core.model.blocks import Target
from streamscope.core.model.recipe import Recipe
from streamscope.core.model.spec import ModelSpec

CUDA, CPU = torch.device("cuda"), torch.device("cpu")
HALF = torch.bfloat16


@pytest.fixture(scope="module")
def network() -> Network:
    return load_network(ModelSpec("demo"), "cpu")


@pytest.fixture
def half(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OVERRIDE, "bfloat16")


@pytest.mark.parametrize(
    ("device", "capability", "override", "wanted"),
    [
        (CUDA, (9, 0), None, HALF),
        (CUDA, (8, 0), "", HALF),
        (CUDA, (7, 5), None, torch.float32),
        (CUDA, (9, 0), "float32", torch.float32),
        (CPU, (9, 0), None, torch.float32),
        (CPU, (9, 0), "bfloat16", HALF),
    ],
)
def test_steps_use_what_the_device_has_and_the_environment_says(
    device: torch.device,
    capability: tuple[int, int],
    override: str | None,
    wanted: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.delenv(OVERRIDE, raising=False)
    if override is not None:
        monkeypatch.setenv(OVERRIDE, override)
    assert step_dtype(device) == wanted


def test_an_unknown_dtype_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OVERRIDE, "float16")
    with pytest.raises(UsageError, match=f"{OVERRIDE} is 'float16'; set it to float32 or bfloat16, or not at all"):
        step_dtype(CPU)


def test_measuring_is_in_float32_and_in_a_fixed_order() -> None:
    torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic = True, False
    measure_in_float32()
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.deterministic


@pytest.mark.parametrize("read", ["in", "block", "pre", "aliased"])
def test_a_network_in_bfloat16_reads_the_same_but_for_rounding(network: Network, read: Read) -> None:
    folded = fold_network(network.module)
    cones = [Cone(given, "2.0", read, [64, 61]) for given in (folded, folded.to(HALF))]
    side = cones[0].patch.length
    patch = torch.rand(4, 3, side, side, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    size = torch.tensor([0, 1, 1, 0])
    plain, rounded = (cone(patch, size) for cone in cones)
    assert rounded.dtype == torch.float32
    assert float((rounded - plain).detach().abs().max() / plain.detach().abs().max()) < 0.03
    slopes = [torch.autograd.grad(value.sum(), patch)[0] for value in (plain, rounded)]
    assert slopes[1].dtype == torch.float32
    # Where a pool's window has two numbers alike once they are rounded, the gradient goes another way.
    assert float(torch.cosine_similarity(slopes[0].flatten(), slopes[1].flatten(), dim=0)) > 0.98
    assert not torch.equal(plain, rounded)


def test_only_the_steps_are_in_bfloat16(network: Network, half: None) -> None:
    optimiser = Optimiser(network, Target("1.1", "block"), (0, 1), Recipe(steps=2), 0, "exact", "neuron", "centred")
    assert optimiser.transform.cone.network.dtype == HALF
    assert optimiser.still.cone.network.dtype == torch.float32
    assert network.folded.dtype == torch.float32
    assert provenance(network)["dtype"] == "bfloat16"


def test_fzs_reach_the_activations_of_float32(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for dtype in ("float32", "bfloat16"):
        monkeypatch.setenv(OVERRIDE, dtype)
        found.append(visualize(network, Target("1.1", "block"), range(8), Recipe(steps=64, rate=0.3)).activation)
    ratio = found[1] / found[0]
    assert 0.9 < ratio.mean() < 1.1
    assert not np.array_equal(found[0], found[1])
