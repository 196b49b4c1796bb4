"""Every family of networks: additions, their tensors, cones and gradients, against the modules' own forward pass."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import nn

from streamscope.core.engine.cone import Cone, FoldedNetwork, fold_network
from tests.support.cones import CLOSE, READS, centre_of_maps, distance, farthest_cone, images_of, patch_of
from tests.support.families import FAMILIES, lively, own_tensors
from tests.support.optional import present


@cache
def _made(name: str) -> tuple[nn.Module, FoldedNetwork]:
    torch.manual_seed(0)
    module = lively(FAMILIES[name].build())
    return module, fold_network(module, side=FAMILIES[name].sides[0])


@pytest.mark.parametrize("name", FAMILIES)
def test_additions_are_the_modules_that_add(name: str) -> None:
    _, network = _made(name)
    found = {block: (addition.kind, addition.previous) for block, addition in network.stream.additions.items()}
    assert found == {block: (own.kind, own.previous) for block, own in FAMILIES[name].blocks.items()}


@pytest.mark.parametrize("name", FAMILIES)
def test_tensors_and_cones_are_those_of_copying_hooks(name: str) -> None:
    family = FAMILIES[name]
    module, network = _made(name)
    for side in family.sides:
        images, of_side = images_of(side), network.at(side)
        own = own_tensors(family, module, images)
        for block, tensors in own.items():
            with torch.no_grad():
                read = of_side.stream.read_block(images, block)
            found = {"in": read.input, "block": read.block, "pre": read.pre, "out": read.out}
            for tensor, whole in tensors.items():
                assert distance(found[tensor], whole, whole) < CLOSE, (block, tensor)
        assert farthest_cone(of_side, images, own, centre_of_maps) < CLOSE


@pytest.mark.parametrize(
    "name",
    ["squeeze and excitation", "pre-activation", "ConvNeXt of torchvision", "CORnet-S", "ViT of timm", "Swin of timm"],
)
def test_gradients_of_a_cone_are_those_of_the_network(name: str) -> None:
    """The centre of the last block that a module's own output gives."""
    family = FAMILIES[name]
    module, network = _made(name)
    side = family.sides[0]
    block, own = [(block, own) for block, own in family.blocks.items() if own.out[1] == "out"][-1]
    images = images_of(side).requires_grad_(True)
    given: list[torch.Tensor] = []
    hook = module.get_submodule(own.out[0]).register_forward_hook(lambda _module, _inputs, out: given.append(out))
    module(images)
    hook.remove()
    out = centre_of_maps(family.layout(given[-1]))
    mix = torch.randn(out.shape, generator=torch.Generator().manual_seed(0))
    (out * mix).sum().backward()
    whole = present(images.grad)
    cone = Cone(network, block, "pre", [side])
    patch = patch_of(images_of(side), cone).requires_grad_(True)
    found = cone(patch)
    activation = network.stream.additions[block].activation
    assert activation in ("", "relu")
    ((found.relu() if activation else found) * mix).sum().backward()
    assert distance(present(patch.grad), patch_of(whole, cone), whole) < CLOSE
    inside = whole.clone()
    start, stop = max(0, cone.origin()), cone.origin() + cone.patch.length
    inside[:, :, start:stop, start:stop] = 0
    assert not inside.any()


@pytest.mark.parametrize("name", ["CIFAR ResNet, option A", "pre-activation", "squeeze and excitation"])
def test_images_of_several_sizes_at_once(name: str) -> None:
    """One pass with masks where everything is local; with squeeze and excitation a pass for each size."""
    family = FAMILIES[name]
    module, network = _made(name)
    sizes = [family.sides[0] + more for more in (0, 1, 3)]
    images = [images_of(size, 1) for size in sizes]
    own = [own_tensors(family, module, image) for image in images]
    for block in family.blocks:
        for read in READS:
            cone = Cone(network, block, read, sizes)
            patches = torch.cat([patch_of(image, cone, index) for index, image in enumerate(images)])
            with torch.no_grad():
                found = cone(patches, torch.arange(len(sizes)))
            for index, tensors in enumerate(own):
                whole = tensors[block][read]
                assert distance(found[index : index + 1], centre_of_maps(whole), whole) < CLOSE, (block, read, index)
