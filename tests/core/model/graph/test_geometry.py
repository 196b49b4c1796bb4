"""Receptive fields and centres that are known on paper, and gradients that keep within them."""

from __future__ import annotations

import pytest
import torch

from streamscope.core.model.networks.cifar import cifar_resnet
from streamscope.core.model.stream import Stream
from tests.support.cones import centre_of_maps, images_of
from tests.support.families import FAMILIES, lively, own_tensors
from tests.support.networks import untrained
from tests.support.optional import present


def test_resnet18_looks_at_pixel_112_and_in_layer_4_at_96() -> None:
    stream = Stream.of(untrained("resnet18"))
    middles = {name: stream.field(addition, "block").middle for name, addition in stream.additions.items()}
    assert middles == {name: 96.0 if name[0] == "4" else 112.0 for name in middles}
    assert [stream.map_geometry(name).stride for name in ("1.1", "2.1", "3.1", "4.1")] == [4, 8, 16, 32]


def test_a_cifar_resnet_begins_with_three_pixels() -> None:
    """Each convolution of 3 x 3 adds two places of its input: 3 + 4 for the first block."""
    stream = Stream.of(cifar_resnet(20, "A").eval().requires_grad_(False), 32)
    fields = {name: stream.field(stream.additions[name], "block").field for name in ("1.0", "1.1", "1.2", "2.0")}
    assert fields == {"1.0": 7, "1.1": 11, "1.2": 15, "2.0": 21}
    assert stream.field(stream.additions["1.2"], "block").middle == 16
    assert stream.map_geometry("3.2").side == 8


@pytest.mark.parametrize(
    ("name", "block", "field", "middle", "side"),
    [
        # The patch of 16 px that begins at pixel 32, whatever attention sees beyond it.
        ("ViT of timm", "blocks.1.mlp", 16, 39.5, 4),
        ("DeiT, distilled", "blocks.0.attn", 16, 39.5, 4),
        ("ViT of torchvision", "encoder.layers.encoder_layer_1.mlp", 16, 39.5, 4),
        # Patches of 4 px, then four of them merged: 8 px from pixel 32.
        ("Swin of torchvision", "features.1.0.attn", 4, 33.5, 16),
        ("Swin of torchvision", "features.3.1.mlp", 8, 35.5, 8),
        ("Swin of timm", "layers.1.blocks.1.mlp", 8, 35.5, 8),
        # Patches of 4 px and a kernel of 7 of them.
        ("ConvNeXt of torchvision", "features.1.0", 28, 33.5, 16),
    ],
)
def test_what_a_centre_neuron_sees_locally(name: str, block: str, field: int, middle: float, side: int) -> None:
    stream = Stream.of(lively(FAMILIES[name].build()), 64)
    seen = stream.field(stream.additions[block], "block")
    assert (seen.field, seen.middle, seen.side) == (field, middle, side)


def test_padding_that_differs_above_and_below_moves_the_centre() -> None:
    """TensorFlow pads a stride of 2 over an even side below and to the right only: stem output i reads 2i to 2i + 2."""
    stream = Stream.of(lively(FAMILIES["EfficientNet with asymmetric padding"].build()), 64)
    seen = stream.field(stream.additions["blocks.0.0"], "in")
    # Of the map of 32 px position 16, from pixel 32 to pixel 34.
    assert (seen.field, seen.middle) == (3, 33.0)


@pytest.mark.parametrize("name", ["CIFAR ResNet, option B", "pre-activation", "MobileNet", "ConvNeXt of torchvision"])
def test_gradients_keep_within_the_field(name: str) -> None:
    """Of the network's own forward pass, where everything is local; they reach the field's borders, or the image's."""
    family = FAMILIES[name]
    module, side = lively(family.build()), family.sides[0]
    stream = Stream.of(module, side)
    block, own = next(iter(family.blocks.items()))
    kept: list[torch.Tensor] = []
    place = present(own.branch)[0]
    hook = module.get_submodule(place).register_forward_hook(lambda _module, _inputs, out: kept.append(out * 1))
    images = images_of(side, 8).requires_grad_(True)
    module(images)
    hook.remove()
    centre_of_maps(family.layout(kept[-1])).sum().backward()
    touched = present(images.grad).abs().sum((0, 1)).nonzero()
    seen = stream.field(stream.additions[block], "block")
    first, last = seen.middle - (seen.field - 1) / 2, seen.middle + (seen.field - 1) / 2
    assert int(touched.min()) == max(0, first)
    assert int(touched.max()) == min(side - 1, last)


def test_a_map_is_put_back_where_it_came_from() -> None:
    """Tokens as a map and back: what has no place in it stays."""
    family = FAMILIES["ViT of timm"]
    module = lively(family.build())
    stream = Stream.of(module, 64)
    geometry = stream.map_geometry("blocks.0.attn")
    tokens = torch.randn(2, 17, 24)
    maps = geometry.as_map(tokens)
    assert torch.equal(maps, family.layout(tokens))
    assert torch.equal(geometry.from_map(maps, tokens), tokens)
    changed = geometry.from_map(maps * 2, tokens)
    assert torch.equal(changed[:, 0], tokens[:, 0])
    assert torch.equal(changed[:, 1:], tokens[:, 1:] * 2)


def test_the_centre_of_a_stream_is_its_own_of_every_layout() -> None:
    for name in ("Swin of torchvision", "ViT of torchvision"):
        family = FAMILIES[name]
        module = lively(family.build())
        stream, images = Stream.of(module, 64), images_of(64)
        with torch.no_grad():
            centres = stream.read_centres(images)
        for block, tensors in own_tensors(family, module, images).items():
            for index, tensor in enumerate(("in", "block", "pre")):
                assert torch.allclose(centres[block][:, index], centre_of_maps(tensors[tensor]), atol=1e-5)
