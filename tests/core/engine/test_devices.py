"""What holds on any device: the suite sees to it on a CPU; `python -m tests.gpu_rehearsal` on a GPU."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from streamscope.core.engine.fourier import from_8_bit
from streamscope.core.engine.network import Network, load_network
from streamscope.core.engine.precision import OVERRIDE
from streamscope.core.engine.transforms.rotation import fused_function
from streamscope.core.engine.visualize import visualize
from streamscope.core.model.blocks import Target
from streamscope.core.model.recipe import PROTOCOLS, Protocol
from streamscope.core.model.spec import ModelSpec
from streamscope.core.reading.activations import BlockReader
from streamscope.tui.cli.main import main
from tests.support.by_hand import forward_by_hand

DEVICE = os.environ.get("STREAMSCOPE_TEST_DEVICE", "cpu")
CONV = Target("2.1", "block")
on_cuda = pytest.mark.skipif(not DEVICE.startswith("cuda"), reason="of CUDA only: set STREAMSCOPE_TEST_DEVICE")


@pytest.fixture(scope="module")
def network() -> Network:
    return load_network(ModelSpec("demo"), DEVICE)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_fzs_made_again_are_the_same_bit_by_bit(network: Network, protocol: Protocol) -> None:
    recipe = network.info.recipe(protocol, steps=12)
    first, second = (visualize(network, CONV, range(8), recipe, protocol=protocol) for _ in range(2))
    assert np.array_equal(first.images, second.images)
    assert np.array_equal(first.trace, second.trace)


def test_readings_are_those_of_double_precision_but_for_rounding_in_float32(network: Network) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    exact = load_network(ModelSpec("demo"), "cpu").module.double()
    mean, std = (torch.tensor(values)[:, None, None] for values in (network.info.mean, network.info.std))
    tensors = forward_by_hand(exact, ((from_8_bit(images) - mean) / std).double())["2.1"]
    middle = tensors["pre"].shape[2] // 2
    read = BlockReader(network, "2.1").read(images)
    for row, name in enumerate(("in", "block", "pre")):
        expected = tensors[name][:, :, middle, middle].numpy()
        # TF32, torch's default on CUDA, would be 1e-3 off.
        assert np.abs(read[:, row] - expected).max() < 2e-5 * np.abs(expected).max()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_steps_in_bfloat16_reach_what_steps_in_float32_on_a_cpu_reach(
    network: Network, protocol: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = network.info.recipe(protocol, steps=48)
    found = []
    for place, dtype in ((load_network(ModelSpec("demo"), "cpu"), "float32"), (network, "bfloat16")):
        monkeypatch.setenv(OVERRIDE, dtype)
        found.append(visualize(place, Target("1.1", "block"), range(16), recipe, protocol=protocol).activation)
    assert 0.85 < found[1].mean() / found[0].mean() < 1.15
    assert not np.array_equal(found[0], found[1])


def test_a_set_computed_twice_is_the_same_and_intact(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    size = ["--model", "demo", "--block", "1.1", "--channels", "0-5", "--tensor", "in,block", "--steps", "4"]
    stored = []
    for cache in (tmp_path / "first", tmp_path / "second"):
        assert main(["compute", *size, "--device", DEVICE, "--batch", "2", "--cache", str(cache)]) == 0
        kept = (p for p in sorted(cache.rglob("*")) if p.suffix in (".png", ".npy", ".safetensors"))
        stored.append({path.relative_to(cache): path.read_bytes() for path in kept})
        assert main(["cache", "verify", "--cache", str(cache)]) == 0
    assert len(stored[0]) == 12 + 6 + 6
    assert stored[0] == stored[1]
    capfd.readouterr()


@on_cuda
def test_the_kernels_are_used() -> None:
    assert fused_function(torch.device(DEVICE)) is not None


@on_cuda
def test_a_batch_that_does_not_fit_is_made_in_halves(network: Network) -> None:
    device, recipe = torch.device(DEVICE), network.info.recipe("centred", steps=2)

    def peak(count: int, calls: list[int]) -> int:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        visualize(network, CONV, range(count), recipe, protocol="centred", watch=lambda step, steps: calls.append(step))
        return torch.cuda.max_memory_reserved(device)

    calls: list[int] = []
    few, many = peak(2, []), peak(32, [])
    torch.cuda.empty_cache()
    share = (few + many) / 2 / torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(share, device)
    try:
        peak(32, calls)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
    assert len(calls) > recipe.steps
