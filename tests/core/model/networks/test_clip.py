"""CLIP's image encoders against timm's, which were written apart from these."""

import re

import pytest
import timm
import torch
from torch import Tensor, nn

from streamscope.core.model.networks import CLIP_SIZES, NETWORKS, build

TIMMS = {"RN50": "resnet50_clip", "RN101": "resnet101_clip", "RN50x4": "resnet50x4_clip"}
TIMMS |= {"RN50x16": "resnet50x16_clip", "RN50x64": "resnet50x64_clip"}


PARTS = {"conv1": "conv1_1x1.conv", "bn1": "conv1_1x1.bn", "conv2": "conv2_kxk.conv", "bn2": "conv2_kxk.bn"}
PARTS |= {"conv3": "conv3_1x1.conv", "bn3": "conv3_1x1.bn"}
PARTS |= {"downsample.0": "shortcut.conv.conv", "downsample.1": "shortcut.conv.bn"}
OTHERS = {"attnpool.c_proj": "head.proj", "attnpool.positional_embedding": "head.pos_embed"}
OTHERS |= {f"attnpool.{letter}_proj": f"head.{letter}" for letter in "qkv"}
OTHERS |= {f"{part}{place}": f"stem.conv{place}.{part}" for part in ("conv", "bn") for place in (1, 2, 3)}


def by_timms_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of an OpenAI checkpoint by the names that they have in timm's network."""
    renamed = {}
    for key, value in state.items():
        if match := re.fullmatch(r"layer(\d)\.(\d+)\.(downsample\.\d|\w+)\.(\w+)", key):
            stage, block, part, last = match.groups()
            renamed[f"stages.{int(stage) - 1}.{block}.{PARTS[part]}.{last}"] = value
        else:
            name = next(name for name in OTHERS if key == name or key.startswith(f"{name}."))
            renamed[OTHERS[name] + key.removeprefix(name)] = value
    return renamed


@pytest.mark.parametrize(("name", "millions"), [("RN50", 38.3), ("RN101", 56.2), ("RN50x4", 87.1)])
def test_parameters_are_as_many_as_published(name: str, millions: float) -> None:
    with torch.device("meta"):
        network = build(NETWORKS[f"clip_{name.lower()}"])
    assert sum(value.numel() for value in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.1)


@pytest.mark.parametrize("name", CLIP_SIZES)
def test_sizes_are_timms(name: str) -> None:
    with torch.device("meta"):
        ours = build(NETWORKS[f"clip_{name.lower()}"])
        theirs = timm.create_model(TIMMS[name], pretrained=False)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
    config = theirs.pretrained_cfg
    entry = NETWORKS[f"clip_{name.lower()}"]
    assert config["input_size"] == (3, entry.input_size, entry.input_size)
    assert config["mean"] == entry.mean
    assert config["std"] == entry.std
    assert config["interpolation"] == entry.interpolation


@pytest.mark.parametrize("side", [64, 96])
def test_embeddings_are_timms_with_the_same_weights(side: int) -> None:
    torch.manual_seed(0)
    ours = build(NETWORKS["clip_rn50"], side)
    for module in ours.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.1, 0.1)
    theirs = timm.create_model("resnet50_clip", pretrained=False, img_size=side).eval()
    theirs.load_state_dict(by_timms_names(dict(ours.state_dict())))
    x = torch.randn(2, 3, side, side)
    with torch.no_grad():
        seen, expected = ours(x), theirs(x)
    assert seen.shape == (2, 1024)
    torch.testing.assert_close(seen, expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())
