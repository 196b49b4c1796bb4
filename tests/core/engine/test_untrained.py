"""Untrained copies: the architecture's own initialisation, drawn with a seed, batch norms that do something."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from streamscope.core.engine.network import Network, load_network
from streamscope.core.engine.untrained import photograph_like, untrained
from streamscope.core.errors import UsageError
from streamscope.core.model.demo.network import build
from streamscope.core.model.spec import ModelSpec, architecture_of, untrained_name, untrained_seed


def test_a_copy_is_named_by_its_architecture_and_seed() -> None:
    name = untrained_name("resnet18", 3)
    assert name == "resnet18-untrained-3"
    assert (architecture_of(name), untrained_seed(name)) == ("resnet18", 3)
    assert (architecture_of("resnet18"), untrained_seed("resnet18")) == ("resnet18", None)
    spec = ModelSpec(name)
    assert (spec.architecture, spec.untrained_seed) == ("resnet18", 3)
    assert spec.text != ModelSpec(untrained_name("resnet18", 4)).text


@pytest.mark.parametrize(
    "name", ["resnet19-untrained-0", "resnet18-untrained-", "resnet18-untrained--1", "untrained-0"]
)
def test_a_copy_of_nothing_is_an_unknown_model(name: str) -> None:
    with pytest.raises(UsageError, match="unknown model"):
        ModelSpec(name)


def test_a_copy_takes_no_weights(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a file of weights goes with resnet18"):
        ModelSpec("resnet18-untrained-0", tmp_path / "weights.pth")


@pytest.fixture(scope="module")
def network() -> Network:
    return load_network(ModelSpec("demo-untrained-0"), "cpu")


def test_the_same_seed_gives_the_same_fingerprint_whatever_the_threads_and_drew_nothing_else(network: Network) -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    try:
        torch.set_num_threads(1 if threads > 1 else 2)
        again = load_network(ModelSpec("demo-untrained-0"), "cpu")
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(torch.get_rng_state(), state)
    assert again.info == network.info
    other = load_network(ModelSpec("demo-untrained-1"), "cpu")
    trained = load_network(ModelSpec("demo"), "cpu")
    assert len({net.info.fingerprint for net in (network, other, trained)}) == 3
    assert other.info.blocks == trained.info.blocks == network.info.blocks
    assert network.info.input_size == trained.info.input_size
    assert network.info.default_recipe == trained.info.default_recipe


def test_the_weights_are_those_of_the_architectures_own_initialisation(network: Network) -> None:
    torch.manual_seed(0)
    fresh = build().state_dict()
    state = network.module.state_dict()
    assert all(torch.equal(state[k], v) for k, v in fresh.items() if "running" not in k and "num_batches" not in k)


def test_every_channel_varies_about_zero_as_a_batch_norm_in_training_makes_it(network: Network) -> None:
    images = torch.from_numpy(photograph_like(16, 64, 0)).float()
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (network.info.mean, network.info.std))
    with torch.no_grad():
        for block in ("1.0", "2.1", "3.1"):
            values = network.stream.read_block((images - mean) / std, block).block
            assert values.mean(dim=(0, 2, 3)).abs().max() < 0.05
            assert (values.std(dim=(0, 2, 3)) - 1).abs().max() < 0.05


def test_a_network_is_left_in_eval_mode_with_float32_weights_and_the_momentum_it_had() -> None:
    module = untrained(build, 0, 64, (0.5,) * 3, (0.25,) * 3)
    norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert not module.training
    assert {norm.momentum for norm in norms} == {0.1}
    assert {value.dtype for value in module.parameters()} == {torch.float32}


def test_made_up_images_have_the_spread_and_spectrum_of_photographs() -> None:
    images = photograph_like(8, 64, 0)
    assert images.shape == (8, 3, 64, 64)
    assert (images.min() > 0, images.max() < 1) == (True, True)
    assert images.mean() == pytest.approx(0.5, abs=0.05)
    assert images.std() == pytest.approx(0.21, abs=0.03)
    power = (np.abs(np.fft.fft2(images - images.mean(axis=(2, 3), keepdims=True))) ** 2).mean(axis=(0, 1))
    # 1/f in amplitude is 1/f squared in power: four times the frequency, a sixteenth.
    assert power[0, 2] / power[0, 8] == pytest.approx(16, rel=0.6)
    assert not np.array_equal(images, photograph_like(8, 64, 1))
