import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from streamscope.core.engine import visualize
from streamscope.core.engine.cone import fold_network
from streamscope.core.engine.cone.operations import Convolution
from streamscope.core.engine.fourier import from_8_bit
from streamscope.core.engine.network import Network
from streamscope.core.engine.optimiser import LARGEST_MAP, Optimiser, channel_generator, split
from streamscope.core.measures import criteria
from streamscope.core.model.blocks import Target
from streamscope.core.model.fz import NEVER_POSITIVE, NO_GRADIENT, NON_FINITE, SAMPLES
from streamscope.core.model.recipe import Recipe
from streamscope.core.reading.activations import BlockReader, scale_down, scale_up
from tests.support.by_hand import forward_by_hand
from tests.support.networks import MIX, OVERWRITE, SCALE_INVARIANT, SKIP, hand_set_network

STEPS = Recipe(steps=128)


@pytest.fixture(scope="module")
def network() -> Network:
    return hand_set_network()


@pytest.mark.parametrize(
    ("count", "most", "lengths"), [(16, 12, [8, 8]), (16, 16, [16]), (7, 3, [2, 2, 3]), (2, 1, [1, 1]), (0, 4, [])]
)
def test_what_passes_together_is_of_nearly_the_same_number(count: int, most: int, lengths: list[int]) -> None:
    runs = split(range(count), most)
    assert [len(run) for run in runs] == lengths
    assert [item for run in runs for item in run] == list(range(count))


def test_images_that_pass_one_by_one_come_out_as_those_that_pass_together(network: Network) -> None:
    channels = [MIX, SKIP, SCALE_INVARIANT]
    together, one_by_one = (
        Optimiser(
            network, Target("1.1", "block"), channels, Recipe(steps=40), 0, "exact", "neuron", "paper", largest_map=most
        )
        for most in (LARGEST_MAP, 1)
    )
    assert one_by_one.at_once == 1
    alone, beside = one_by_one.run(None), together.run(None)
    assert alone.activation == pytest.approx(beside.activation, rel=1e-4)
    assert alone.trace == pytest.approx(beside.trace, rel=1e-4)
    assert np.abs(alone.images.astype(int) - beside.images).max() <= 1


def test_the_activation_is_that_of_the_stored_image_in_a_full_forward_pass(network: Network) -> None:
    batch = visualize.visualize(network, Target("1.1", "block"), [MIX, SCALE_INVARIANT], Recipe(steps=40))
    full = forward_by_hand(network.module, from_8_bit(batch.images))["1.1"]["block"]
    assert batch.activation == pytest.approx(
        [full[0, MIX, 8, 8].item(), full[1, SCALE_INVARIANT, 8, 8].item()], abs=1e-5
    )
    assert batch.images.shape == (2, 64, 64, 3)
    assert batch.images.dtype == np.uint8


def test_the_trace_rises_to_the_final_activation(network: Network) -> None:
    batch = visualize.visualize(network, Target("1.1", "out"), [MIX], STEPS)
    assert batch.trace.shape == (1, SAMPLES)
    assert batch.trace[0, -1] == pytest.approx(batch.activation[0], abs=0.03)
    assert batch.trace[0, -1] > batch.trace[0, 3] > batch.trace[0, 0]
    assert batch.flags == ("",)


def test_a_rerun_is_bit_equal(network: Network) -> None:
    first, second = (visualize.visualize(network, Target("1.0", "out"), [0, 2, 3], Recipe(steps=12)) for _ in range(2))
    assert np.array_equal(first.images, second.images)
    assert np.array_equal(first.trace, second.trace)


def test_a_channels_draws_do_not_depend_on_its_batch(network: Network) -> None:
    together = visualize.visualize(network, Target("1.0", "out"), [0, 1, 2, 3], Recipe(steps=12))
    alone = visualize.visualize(network, Target("1.0", "out"), [2], Recipe(steps=12))
    assert np.abs(together.images[2].astype(int) - alone.images[0]).max() <= 1
    assert together.trace[2] == pytest.approx(alone.trace[0], abs=1e-4)


def test_seed_tensor_and_channel_each_change_the_draws() -> None:
    base = channel_generator(0, Target("1.1", "block"), 3).integers(0, 2**60)
    others = [
        channel_generator(1, Target("1.1", "block"), 3),
        channel_generator(0, Target("1.1", "out"), 3),
        channel_generator(0, Target("1.1", "block"), 4),
    ]
    assert len({int(base), *(int(g.integers(0, 2**60)) for g in others)}) == 4


def test_weights_are_left_frozen_and_unchanged(network: Network) -> None:
    before = {k: v.clone() for k, v in network.module.state_dict().items()}
    visualize.visualize(network, Target("1.1", "block"), [0], Recipe(steps=3))
    assert all(torch.equal(before[k], v) for k, v in network.module.state_dict().items())
    assert not any(p.requires_grad or p.grad is not None for p in network.module.parameters())
    assert not any(m._forward_hooks or m._backward_hooks for m in network.module.modules())


def _with_last_conv(network: Network, change: Callable[[torch.Tensor, torch.Tensor], None]) -> Network:
    """The same network with block 1.1's last convolution changed."""
    folded = fold_network(network.module, side=network.info.input_size)
    last = folded.operation(folded.stream.addition("1.1").branch)
    assert isinstance(last, Convolution)
    assert last.bias is not None
    change(last.weight, last.bias)
    return dataclasses.replace(network, folded=folded)


def test_what_went_wrong_with_an_fz_is_flagged(network: Network) -> None:
    def change(weight: torch.Tensor, bias: torch.Tensor) -> None:
        weight[0], bias[0] = 0, 1  # constant: nothing to climb
        weight[1], bias[1] = 3e38, 3e38  # overflows
        bias[2] = -50  # rises but never above zero

    batch = visualize.visualize(
        _with_last_conv(network, change), Target("1.1", "block"), [0, 1, 2, 3], Recipe(steps=16)
    )
    assert batch.flags == (NO_GRADIENT, NON_FINITE, NEVER_POSITIVE, "")


def test_a_broken_channel_does_not_touch_its_neighbours(network: Network) -> None:
    def change(weight: torch.Tensor, bias: torch.Tensor) -> None:
        weight[1], bias[1] = 3e38, 3e38

    broken = visualize.visualize(_with_last_conv(network, change), Target("1.1", "block"), [1, 2], Recipe(steps=8))
    sound = visualize.visualize(network, Target("1.1", "block"), [1, 2], Recipe(steps=8))
    assert broken.flags[0] == NON_FINITE
    assert np.array_equal(broken.images[1], sound.images[1])


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
        RuntimeError("Triton Error [CUDA]: out of memory"),
    ],
)
def test_running_out_of_memory_halves_the_batch_and_goes_on(network: Network, error: RuntimeError) -> None:
    whole = visualize.visualize(network, Target("1.0", "out"), [0, 1, 2, 3], Recipe(steps=6))
    seen: list[int] = []

    def too_much_twice(step: int, steps: int) -> None:
        seen.append(step)
        # Of four images, and then of the first two of them.
        if len(seen) in (3, 4):
            raise error

    halved = visualize.visualize(network, Target("1.0", "out"), [0, 1, 2, 3], Recipe(steps=6), watch=too_much_twice)
    assert seen == [1, 2, 3, 1, *range(1, 7), *range(1, 7), *range(1, 7)]
    assert halved.channels == (0, 1, 2, 3)
    assert np.abs(halved.images.astype(int) - whole.images).max() <= 1


def test_one_fz_that_does_not_fit_is_an_error(network: Network) -> None:
    def too_much(step: int, steps: int) -> None:
        raise torch.OutOfMemoryError("out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        visualize.visualize(network, Target("1.0", "out"), [0, 1], Recipe(steps=6), watch=too_much)


def test_what_the_watcher_raises_ends_the_optimisation(network: Network) -> None:
    seen = []

    def watch(step: int, steps: int) -> None:
        seen.append((step, steps))
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        visualize.visualize(network, Target("1.0", "out"), [0], Recipe(steps=9), watch=watch)
    assert seen == [(1, 9), (2, 9), (3, 9)]


def test_lucent_capture_optimises_the_aliased_tensor(network: Network) -> None:
    exact = visualize.visualize(network, Target("1.1", "block"), [OVERWRITE], STEPS)
    aliased = visualize.visualize(network, Target("1.1", "block"), [OVERWRITE], STEPS, capture="lucent")
    out = forward_by_hand(network.module, from_8_bit(aliased.images))["1.1"]["out"]
    assert aliased.activation[0] == pytest.approx(out[0, OVERWRITE, 8, 8].item(), abs=1e-4)
    assert not np.array_equal(exact.images, aliased.images)


@pytest.mark.parametrize("seed", range(5))
def test_hand_set_channels_skip_overwrite_mix_and_are_scale_invariant_whatever_the_seed(
    network: Network, seed: int
) -> None:
    reader = BlockReader(network, "1.1")
    four = range(4)

    def own(activations: NDArray[np.float32], tensor: int) -> NDArray[np.float32]:
        return activations[four, tensor, four]

    found = {}
    for tensor in ("in", "block"):
        batch = visualize.visualize(network, network.info.source("1.1", tensor), four, STEPS, seed)
        scale = {"in": scale_up, "block": scale_down}[tensor]
        found[tensor] = reader.read(batch.images), reader.read(batch.images, scale)
    (on_in, on_in_up), (on_block, on_block_down) = found["in"], found["block"]
    ratio = criteria.mix_ratio(own(on_in, 2), own(on_block, 2))
    kinds = criteria.update_kind(ratio)
    assert (kinds[SKIP], kinds[OVERWRITE], kinds[MIX], kinds[SCALE_INVARIANT]) == ("skip", "overwrite", "mix", "mix")
    # On paper: the input feature gives 1.3 to either; the block adds 0.1 * 1.3, or 12 * 1.3 of its own, or as much.
    assert ratio[OVERWRITE] == pytest.approx(1 / 12, abs=0.02)
    assert ratio[MIX] == pytest.approx(1, abs=0.1)
    invariant = criteria.scale_invariant(
        criteria.meets_mix(ratio),
        criteria.meets_block(own(on_in_up, 1), own(on_in, 1)),
        criteria.meets_input(own(on_block_down, 0), own(on_block, 0)),
    )
    assert invariant.tolist() == [0, 0, 0, 1]
    gain = criteria.block_gain(own(on_in_up, 1), own(on_in, 1), own(on_block, 1))
    assert gain[SCALE_INVARIANT] > 0.1
