"""What weights look like that are no torchvision ResNet's, told by their keys and shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
import torchvision

from streamscope.core.model.checkpoints.key_sets import Container, Expected, KeySet, key_sets
from streamscope.core.model.networks import DEFINED_HERE, NETWORKS, build
from streamscope.core.model.spec import RESNETS

_SIGNS = (
    (r"(^|\.)IT\.(conv|norm)", "CORnet"),
    (r"visual\.(attnpool|transformer)|transformer\.resblocks", "CLIP"),
    (r"(^|\.)attnpool\.", "CLIP's image encoder, with attention in place of its pool"),
    (r"\.filt$", "an anti-aliased network, whose blurs are buffers"),
    (r"\.se_?\w*\.|\.se_module\.|\.fc[12]\.conv|layer\d+\.\d+\.(fc1|fc2)\.", "a network with squeeze-and-excitation"),
    (r"layer\d+\.\d+\.conv2\.(rsoftmax|fc1)", "ResNeSt"),
    (r"stages\.\d+\.blocks\.\d+\.norm1\.", "timm's resnetv2, whose norms come before its convolutions"),
    (r"layer\d+\.\d+\.shortcut\.\d", "the CIFAR ResNets of pytorch-cifar (3x3 stem, shortcut in place of downsample)"),
    (r"(^|\.)res2\.\d+\.(shortcut|conv1)", "detectron2's ResNet, which may have its stride in conv1"),
    (r"features\.denseblock\d", "DenseNet"),
    (r"(^|\.)(cls_token|patch_embed\.)", "a vision transformer"),
    (r"(^|\.)downsample_layers\.\d|stages\.\d+\.\d+\.dwconv", "ConvNeXt"),
    (
        r"(^|\.)features\.\d+\.(\d+\.)?(weight|block)",
        "a network of torchvision's without residual stages (VGG, AlexNet, …)",
    ),
)


def appearance(state: Mapping[str, torch.Tensor]) -> str:
    """What keys are known of; "" where they are of nothing in particular."""
    for sign, what in _SIGNS:
        if any(re.search(sign, key) for key in state):
            return what
    last = {key.split(".")[0] for key in state}
    if "layer3" in last and "layer4" not in last and "layer1" in last:
        return "a CIFAR ResNet (three stages, as ResNet-20 or ResNet-56)"
    return ""


def block_counts(state: Mapping[str, torch.Tensor]) -> str:
    """How many blocks of which kind each stage has, as the end of a sentence; "" where there are no stages."""
    blocks = {match[1]: match[2] for key in state if (match := re.match(r"layer(\d+)\.(\d+)\.conv1\.weight", key))}
    if not blocks:
        return ""
    counts = [str(int(blocks[stage]) + 1) for stage in sorted(blocks)]
    kind = "bottleneck" if "layer1.0.conv3.weight" in state else "basic"
    return f"the stages have {', '.join(counts)} {kind} blocks"


def stem_problem(key_set: KeySet, shapes: Mapping[str, torch.Size]) -> str:
    """What is wrong with the first convolution, in words; "" where it is as expected."""
    deep = key_set.state.get("conv1.0.weight")
    if deep is not None:
        return f"its stem is several convolutions ({deep.shape[2]}x{deep.shape[3]} first), as in ResNet-C, D and S"
    weight = key_set.state.get("conv1.weight")
    expected = shapes["conv1.weight"]
    if weight is None or weight.shape == expected or weight.ndim != 4:
        return ""
    if "layer3" in _parts(key_set) and "layer4" not in _parts(key_set) and any(k.startswith("layer4.") for k in shapes):
        return f"it looks like {appearance(key_set.state)}"
    if weight.shape[2:] != expected[2:]:
        size = "x".join(map(str, weight.shape[2:]))
        usual = "x".join(map(str, expected[2:]))
        cifar = ", as networks for CIFAR have" if tuple(weight.shape[2:]) == (3, 3) else ""
        looks = appearance(key_set.state)
        more = f"; it looks like {looks}" if looks else ""
        return f"its stem is a {size} convolution in place of a {usual} one{cifar}{more}"
    if weight.shape[1] != expected[1]:
        grey = " (grey images)" if weight.shape[1] == 1 else ""
        return f"it takes images of {weight.shape[1]} channel{'s' * (weight.shape[1] != 1)}{grey}, not {expected[1]}"
    return ""


def _parts(key_set: KeySet) -> set[str]:
    return {key.split(".")[0] for key in key_set.state}


def fitting_architecture(found: Sequence[Container], asked: str) -> str | None:
    """The network among torchvision's ResNets and those that are defined here whose keys and shapes a file has, where
    it is not the one that was asked for. Backbones are not named: they have those of torchvision's ResNets."""
    for name in _candidates(found):
        if name == asked:
            continue
        # No weights are made: shapes are all that is wanted.
        with torch.device("meta"):
            made = build(NETWORKS[name]) if name in NETWORKS else torchvision.models.get_model(name, weights=None)
        expected = Expected.of(made)
        if any(not key_set.problems for container in found for key_set in key_sets(container, expected)):
            return name
    return None


def _candidates(found: Sequence[Container]) -> Sequence[str]:
    """Which networks are worth building, to see whether a file fits one."""
    text = "\n".join(key for container in found for key in container.tensors)
    if re.search(r"\bIT\.conv_input\.", text):
        return ["cornet_s"]
    if re.search(r"\battnpool\.", text):
        return [name for name in DEFINED_HERE if name.startswith("clip_")]
    if re.search(r"\blayer3\.0\.", text) and not re.search(r"\blayer4\.0\.", text):
        return [name for name in DEFINED_HERE if name.startswith("cifar_")]
    # With another stem none of torchvision's ResNets fits.
    has_stem = any(value.shape[1:] == (3, 7, 7) for container in found for value in container.tensors.values())
    return RESNETS if has_stem else ()
