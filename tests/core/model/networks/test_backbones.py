"""Backbones against those inside torchvision's networks."""

import pytest
import torch
import torchvision
from torch import Tensor, nn

from streamscope.core.engine.untrained import untrained
from streamscope.core.model.networks import NETWORKS, build
from streamscope.core.model.preprocessing import IMAGENET_MEAN, IMAGENET_STD

SIDES = (64, 100)


def randomised(module: nn.Module) -> nn.Module:
    """With norms that are not those of a fresh network, of variances so small that an epsilon counts."""
    torch.manual_seed(0)
    for value in module.parameters():
        if value.ndim == 4:
            nn.init.kaiming_normal_(value, mode="fan_out", nonlinearity="relu")
    for part in module.modules():
        weight, mean, var = (getattr(part, name, None) for name in ("weight", "running_mean", "running_var"))
        if isinstance(weight, Tensor) and isinstance(mean, Tensor) and isinstance(var, Tensor):
            nn.init.uniform_(weight, 0.005, 0.01)
            nn.init.uniform_(mean, -0.1, 0.1)
            nn.init.uniform_(var, 1e-4, 2e-4)
    return module.eval()


def compare(name: str, theirs: nn.Module, key: str) -> None:
    """`theirs` returns maps by their names."""
    ours = build(NETWORKS[name])
    missing = ours.load_state_dict(theirs.state_dict(), strict=False)
    assert not missing.unexpected_keys
    assert all(key.endswith("num_batches_tracked") for key in missing.missing_keys)
    for side in SIDES:
        x = torch.randn(1, 3, side, side)
        with torch.no_grad():
            seen, expected = ours(x), theirs(x)[key]
        torch.testing.assert_close(seen, expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())


@pytest.mark.parametrize("name", ["fcn_resnet50", "deeplabv3_resnet50"])
def test_a_segmentation_backbone_gives_what_torchvisions_does(name: str) -> None:
    whole = torchvision.models.get_model(name, weights=None, weights_backbone=None)
    compare(name, randomised(whole.backbone), "out")


def test_dilation_keeps_the_map_at_an_eighth() -> None:
    with torch.device("meta"):
        for name in ("fcn_resnet50", "fcn_resnet101", "deeplabv3_resnet50", "deeplabv3_resnet101"):
            assert build(NETWORKS[name])(torch.zeros(1, 3, 224, 224)).shape == (1, 2048, 28, 28)
        for name in ("fasterrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn", "retinanet_resnet50_fpn"):
            assert build(NETWORKS[name])(torch.zeros(1, 3, 224, 224)).shape == (1, 2048, 7, 7)


@pytest.mark.parametrize("name", ["fasterrcnn_resnet50_fpn", "retinanet_resnet50_fpn"])
def test_a_detection_backbone_gives_what_torchvisions_does_with_its_weights(name: str) -> None:
    """Its published weights have frozen norms whose epsilon is 0."""
    frozen = torchvision.ops.misc.FrozenBatchNorm2d
    body = torchvision.models.resnet50(norm_layer=frozen)
    torchvision.models.detection._utils.overwrite_eps(body, 0.0)
    getter = torchvision.models._utils.IntermediateLayerGetter(body, {"layer4": "3"})
    compare(name, randomised(getter), "3")


def test_an_untrained_detection_backbone_gathers_statistics() -> None:
    module = untrained(lambda: build(NETWORKS["fasterrcnn_resnet50_fpn"]), 0, 64, IMAGENET_MEAN, IMAGENET_STD)
    assert all(torch.isfinite(value).all() for value in module.state_dict().values())


@pytest.mark.parametrize(
    ("name", "depth"), [("fcn_resnet50", 16), ("deeplabv3_resnet101", 33), ("maskrcnn_resnet50_fpn", 16)]
)
def test_names_are_those_of_torchvisions_resnets(name: str, depth: int) -> None:
    with torch.device("meta"):
        built = build(NETWORKS[name])
        resnet = torchvision.models.get_model("resnet101" if "101" in name else "resnet50", weights=None)
    expected = {key for key in resnet.state_dict() if not key.startswith("fc.")}
    assert built.state_dict().keys() == expected
    assert sum(key.endswith(".conv3.weight") for key in expected) == depth
