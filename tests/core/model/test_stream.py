import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

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


class _WithClassToken(nn.Module):
    """A block of patches, then one of the class token alone, as CaiT has, then one of patches again."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.token = nn.Conv2d(3, 6, 4, stride=4), nn.Parameter(torch.ones(1, 1, 6))
        self.first, self.alone, self.last = (nn.Linear(6, 6) for _ in range(3))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = x + self.first(x)
        token = self.token.expand(len(x), -1, -1) * x.mean(1, keepdim=True)
        token = token + self.alone(token)
        return x + self.last(x), token


def test_additions_of_what_is_no_map_are_no_blocks_and_say_why() -> None:
    stream = Stream.of(_WithClassToken().eval(), 16)
    assert [(block.name, block.channels, block.previous) for block in stream.blocks] == [
        ("first", 6, None),
        ("last", 6, "first"),
    ]
    with pytest.raises(UsageError, match=r"block 'alone' cannot be read: .* is no"):
        stream.read_block(torch.randn(1, 3, 16, 16), "alone")


class _RelativePositions(nn.Module):
    """A block whose branch pads a matrix of all images' places, as relative positions are looked up in BoTNet."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        matrix = F.pad(self.conv(x).reshape(-1, x.shape[2] * x.shape[3]), [0, 3])[:, :-3]
        y: torch.Tensor = x + matrix.view_as(x)
        return y


def test_a_matrix_of_all_images_that_is_padded_has_no_places() -> None:
    stream = Stream.of(_RelativePositions().eval(), 8)
    (block,) = stream.blocks
    assert (block.channels, stream.map_geometry(block.name).side) == (6, 8)
