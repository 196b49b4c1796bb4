import pytest
import torch
import torch.nn.functional as F
from torch import nn

from streamscope.core.engine.cone import Cone, fold_network
from streamscope.core.errors import UsageError
from tests.support.by_hand import forward_by_hand
from tests.support.networks import hand_set_network, untrained
from tests.support.optional import present

CLOSE = 1e-5
"""Of the tensor's largest |activation|."""


def _patch(images: torch.Tensor, cone: Cone, size_index: int = 0) -> torch.Tensor:
    border = 512
    start = border + cone.origin(size_index)
    stop = start + cone.patch.length
    return F.pad(images, (border,) * 4)[:, :, start:stop, start:stop]


def _worst(module: nn.Module, size: int) -> float:
    network = fold_network(module)
    images = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(size))
    by_hand = forward_by_hand(module, images)
    worst = 0.0
    for block in network.stream.additions:
        for read in ("in", "block", "pre"):
            full = by_hand[block][read]
            cone = Cone(network, block, read, [size])
            with torch.no_grad():
                got = cone(_patch(images, cone))
            expected = full[:, :, full.shape[2] // 2, full.shape[3] // 2]
            worst = max(worst, float((got - expected).abs().max() / full.abs().max()))
    return worst


@pytest.mark.parametrize("size", [224, 64])
@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "wide_resnet50_2", "resnext50_32x4d"])
def test_every_cone_equals_the_full_forward_pass(name: str, size: int) -> None:
    assert _worst(untrained(name), size) < CLOSE


@pytest.mark.parametrize("size", [225, 97, 65, 33])
def test_cones_are_right_on_odd_maps_and_where_they_leave_the_map(size: int) -> None:
    assert _worst(untrained("resnet18"), size) < CLOSE


def test_one_pass_serves_images_that_the_network_sees_at_different_sizes() -> None:
    module = untrained("resnet18")
    network = fold_network(module)
    sizes = [64, 65, 66, 68]
    images = [torch.randn(1, 3, s, s, generator=torch.Generator().manual_seed(s)) for s in sizes]
    by_hand = [forward_by_hand(module, image) for image in images]
    for block in network.stream.additions:
        for read in ("in", "block", "pre"):
            cone = Cone(network, block, read, sizes)
            patches = torch.cat([_patch(image, cone, i) for i, image in enumerate(images)])
            with torch.no_grad():
                got = cone(patches, torch.arange(len(sizes)))
            for i, found in enumerate(by_hand):
                full = found[block][read]
                expected = full[0, :, full.shape[2] // 2, full.shape[3] // 2]
                assert float((got[i] - expected).abs().max() / full.abs().max()) < CLOSE, (block, read, sizes[i])


def test_patch_sides_of_resnet18_are_those_of_the_design() -> None:
    network = fold_network(untrained("resnet18"))
    sides = {b: network.stream.geometry.of(a.branch).field for b, a in network.stream.additions.items()}
    assert sides == {"1.0": 27, "1.1": 43, "2.0": 67, "2.1": 99, "3.0": 147, "3.1": 211, "4.0": 307, "4.1": 435}
    assert Cone(network, "4.1", "block", [224]).patch.length == 224


def test_pixels_outside_the_patch_do_not_matter_and_those_at_its_edge_do() -> None:
    module = untrained("resnet18")
    cone = Cone(fold_network(module), "1.1", "block", [224])
    start, stop = cone.origin(), cone.origin() + cone.patch.length
    # A max pool passes one gradient of nine on, so it takes several images to reach every pixel.
    image = torch.randn(12, 3, 224, 224, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    full = forward_by_hand(module, image)["1.1"]["block"]
    full[:, :, full.shape[2] // 2, full.shape[3] // 2].sum().backward()
    touched = present(image.grad).abs().sum(dim=(0, 1)).nonzero()
    assert touched.min() == start
    assert touched.max() == stop - 1


def test_all_tensors_come_from_one_pass() -> None:
    network = hand_set_network()
    images = torch.rand(3, 3, 64, 64)
    cone = Cone(network.folded, "1.1", "pre", [64])
    found = cone.all_tensors(_patch(images, cone))
    by_hand = forward_by_hand(network.module, images)["1.1"]
    for row, tensor in enumerate(("in", "block", "pre")):
        full = by_hand[tensor]
        assert torch.allclose(found[:, row], full[:, :, 8, 8], atol=1e-5)


def test_the_aliased_read_is_what_an_uncopied_hook_holds() -> None:
    network = hand_set_network()
    images = torch.rand(3, 3, 64, 64)
    cone = Cone(network.folded, "1.1", "aliased", [64])
    out = forward_by_hand(network.module, images)["1.1"]["out"]
    assert torch.allclose(cone(_patch(images, cone)), out[:, :, 8, 8], atol=1e-5)


def test_an_unknown_block_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"this network has 1\.0, 1\.1"):
        Cone(hand_set_network().folded, "3.0", "pre", [64])
