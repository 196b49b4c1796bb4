"""Networks beside torchvision's ResNets and the demo, by the names that `--model` takes. Never imports torch.

CIFAR ResNets, CORnet-S, CLIP's ResNets and the backbones of segmentation and detection networks are modules of this
package; torchvision's other classifiers are torchvision's.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from streamscope.core.model.networks.entries import NetworkEntry, Release, build
from streamscope.core.model.networks.torchvision_table import BACKBONES, CLASSIFIERS

__all__ = ["BACKBONES", "DEFINED_HERE", "NETWORKS", "NetworkEntry", "Release", "build"]

_HERE = "streamscope.core.model.networks"

CIFAR_DEPTHS = (20, 32, 44, 56, 110)
"""Layers, 6n + 2, of He et al. 2016, table 6."""
_CIFAR_MEAN, _CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
"""What most checkpoints for CIFAR-10 were trained with. This std is the mean of the images' own deviations; that of all
pixels is 0.2470, 0.2435, 0.2616, which some use."""


def _cifar(depth: int, option: str) -> NetworkEntry:
    shortcuts = "zero-padded shortcuts (option A)" if option == "A" else "convolutions in its shortcuts (option B)"
    return NetworkEntry(
        module=f"{_HERE}.cifar",
        function="cifar_resnet",
        description=f"ResNet-{depth} for CIFAR, {shortcuts} (He et al. 2016, section 4.2)",
        arguments=(depth, option),
        input_size=32,
        resize=32,
        mean=_CIFAR_MEAN,
        std=_CIFAR_STD,
    )


_CORNET_S = NetworkEntry(
    module=f"{_HERE}.cornet",
    function="cornet_s",
    description="CORnet-S, areas V1, V2, V4 and IT that run 2, 4 and 2 steps (Kubilius et al. 2019)",
)

CLIP_SIZES = {"RN50": 224, "RN101": 224, "RN50x4": 288, "RN50x16": 384, "RN50x64": 448}
"""Pixels of the input's side, by what CLIP calls its image encoders that are ResNets."""


def _clip(name: str, side: int) -> NetworkEntry:
    return NetworkEntry(
        module=f"{_HERE}.clip",
        function="clip_resnet",
        description=f"the image encoder of CLIP's {name} (Radford et al. 2021)",
        arguments=(name,),
        input_size=side,
        resize=side,
        interpolation="bicubic",
        mean=(0.48145466, 0.4578275, 0.40821073),
        std=(0.26862954, 0.26130258, 0.27577711),
        side_step=32,
    )


def _backbone(name: str) -> NetworkEntry:
    resnet = name.split("_")[1]
    task = "detection" if name.endswith("_fpn") else "segmentation"
    dilated = ", with dilation in its last two stages" if task == "segmentation" else ""
    return NetworkEntry(
        module=f"{_HERE}.backbones",
        function=f"{task}_backbone",
        description=f"the {resnet} in torchvision's {name}{dilated}; images of any size",
        arguments=(resnet,),
        releases=BACKBONES[name],
    )


_SIDE_STEPS = {"vit_b_16": 16, "vit_b_32": 32, "vit_l_16": 16, "vit_l_32": 32, "vit_h_14": 14, "maxvit_t": 224}
"""Of torchvision's networks with position embeddings."""


def _classifier(name: str, releases: Mapping[str, Release]) -> NetworkEntry:
    shown = [*releases.values()][-1].preprocessing
    return NetworkEntry(
        module=f"{_HERE}.classifiers",
        function="classifier",
        description=f"torchvision's {name}",
        arguments=(name,),
        input_size=shown.size,
        resize=shown.resize,
        interpolation=shown.interpolation,
        mean=shown.mean,
        std=shown.std,
        side_step=_SIDE_STEPS.get(name, 0),
        releases=releases,
    )


_DEFINED_HERE = {
    **{f"cifar_resnet{depth}": _cifar(depth, "A") for depth in CIFAR_DEPTHS},
    **{f"cifar_resnet{depth}_b": _cifar(depth, "B") for depth in CIFAR_DEPTHS},
    "cornet_s": _CORNET_S,
    **{f"clip_{name.lower()}": _clip(name, side) for name, side in CLIP_SIZES.items()},
}
DEFINED_HERE = (*_DEFINED_HERE,)
"""Names of the networks whose modules are in this package, and no part of torchvision's."""
NETWORKS: Mapping[str, NetworkEntry] = MappingProxyType(
    {
        **_DEFINED_HERE,
        **{name: _backbone(name) for name in BACKBONES},
        **{name: _classifier(name, releases) for name, releases in CLASSIFIERS.items()},
    }
)
