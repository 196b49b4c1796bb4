import warnings

import pytest
import torch

from streamscope.core.errors import UsageError
from streamscope.core.model.stream import Stream
from tests.support.by_hand import forward_by_hand
from tests.support.networks import hand_set_network, untrained


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_the_four_tensors_equal_a_forward_pass_written_by_hand(name: str) -> None:
    module = untrained(name)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    by_hand = forward_by_hand(module, images)
    stream = Stream.of(module)
    assert list(stream.additions) == list(by_hand)
    for block in stream.additions:
        read = stream.read_block(images, block)
        got = {"in": read.input, "block": read.block, "pre": read.pre, "out": read.out}
        for tensor, values in by_hand[block].items():
            assert torch.allclose(got[tensor], values, rtol=0, atol=2e-5 * float(values.abs().max())), (block, tensor)


def test_no_two_tensors_share_memory() -> None:
    read = Stream.of(untrained("resnet18")).read_block(torch.randn(1, 3, 64, 64), "1.1")
    tensors = [read.input, read.block, read.pre, read.out]
    assert len({t.untyped_storage().data_ptr() for t in tensors}) == 4


def test_lucents_hook_on_the_last_bn_holds_out_and_not_block() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lucent.optvis.render import hook_model
    module = untrained("resnet18")
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    hooked = hook_model(module, lambda: images)
    module(images)
    exact = forward_by_hand(module, images)["2.1"]
    limit = 2e-5 * float(exact["block"].abs().max())
    held = hooked("layer2_1_bn2")
    assert not torch.allclose(held, exact["block"], rtol=0, atol=limit)
    assert torch.allclose(held, exact["out"], rtol=0, atol=limit)
    assert torch.allclose(Stream.of(module).read_block(images, "2.1").block, exact["block"], rtol=0, atol=limit)


def test_reading_leaves_no_hook_behind_even_when_the_pass_raises() -> None:
    module = untrained("resnet18")
    with pytest.raises(RuntimeError):
        Stream.of(module).read_block(torch.randn(1, 4, 64, 64), "1.1")
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in module.modules())


def test_the_centre_is_index_side_over_two() -> None:
    module = hand_set_network().module
    read = Stream.of(module).read_block(torch.rand(1, 3, 64, 64), "1.0")
    assert read.input.shape[-1] == 16
    assert torch.equal(read.centre("in"), read.input[:, :, 8, 8])
    assert torch.equal(read.centre("out"), read.out[:, :, 8, 8])


def test_an_unknown_block_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"unknown block '7\.1'"):
        Stream.of(untrained("resnet18")).read_block(torch.randn(1, 3, 64, 64), "7.1")
