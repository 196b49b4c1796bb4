"""Small networks of every family, and where each one's own modules give the tensors of its residual blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from functools import partial
from typing import Any

import timm
import torch
import torchvision
from timm.layers import BlurPool2d
from timm.models._efficientnet_builder import decode_arch_def
from timm.models.beit import Beit
from timm.models.efficientnet import EfficientNet
from timm.models.hrnet import HighResolutionNet
from timm.models.res2net import Bottle2neck
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from timm.models.resnetv2 import ResNetV2
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torchvision.models.convnext import CNBlockConfig

from streamscope.core.model.networks.backbones import Backbone
from streamscope.core.model.networks.cifar import cifar_resnet
from streamscope.core.model.networks.clip import ClipResNet
from streamscope.core.model.networks.cornet import CORnetArea
from tests.support.optional import present

Place = tuple[str, str]
"""A module's qualified name, and whether its input or its output: `("layer1.0", "in")`. `("V2#1", "out")` is that of
the module's second call."""


@dataclass(frozen=True)
class Own:
    """Where a block's tensors are to be had from the network's own modules."""

    stream: Place
    branch: Place | None
    """None where no module gives it: what the output has more than the stream."""
    out: Place
    kind: str = "simple"
    previous: str | None = None


Layout = Callable[[Tensor], Tensor]
"""Makes a map, (n, channels, rows, columns), of a tensor (n, …)."""


def maps(values: Tensor) -> Tensor:
    return values


def maps_last(values: Tensor) -> Tensor:
    return values.movedim(3, 1)


def tokens(before: int, values: Tensor) -> Tensor:
    """Of patches in rows, after `before` other tokens."""
    side = math.isqrt(values.shape[1] - before)
    found: Tensor = values[:, before:].unflatten(1, (side, side)).movedim(3, 1)
    return found


def maps_last_or_tokens(values: Tensor) -> Tensor:
    return tokens(0, values) if values.ndim == 3 else maps_last(values)


@dataclass(frozen=True)
class Family:
    build: Callable[[], nn.Module]
    blocks: dict[str, Own]
    sides: tuple[int, ...] = (64,)
    """Of images, in px: two where the network takes two."""
    layout: Layout = maps


def lively(module: nn.Module) -> nn.Module:
    """In eval mode, with norms and scales of layers that do something, so that no branch is zero."""
    torch.manual_seed(0)
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            if name in ("gamma", "layer_scale", "gain", "skipinit_gain", "gamma_1", "gamma_2"):
                nn.init.uniform_(parameter, 0.5, 1)
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(present(part.running_mean), 0, 0.2)
            nn.init.uniform_(present(part.running_var), 0.5, 1.5)
        if isinstance(part, nn.BatchNorm2d | nn.LayerNorm | nn.GroupNorm) and isinstance(part.weight, Tensor):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, 0, 0.2)
    return module.eval().requires_grad_(False)


class Copies:
    """Copies of what a network's modules take and give while its own forward pass runs."""

    def __init__(self, module: nn.Module, images: Tensor, places: set[Place]) -> None:
        self._found: dict[Place, list[Tensor]] = {}
        hooks: list[Any] = []
        for name, which in {(place[0].partition("#")[0], place[1]) for place in places}:
            part = module.get_submodule(name)
            keep = partial(self._keep, (name, which))
            if which == "in":
                hooks.append(part.register_forward_pre_hook(lambda _, given, keep=keep: keep(given[0])))
            else:
                hooks.append(part.register_forward_hook(lambda _, given, out, keep=keep: keep(out)))
        with torch.no_grad():
            module(images)
        for hook in hooks:
            hook.remove()

    def _keep(self, place: Place, value: Tensor) -> None:
        self._found.setdefault(place, []).append(value.clone())

    def __getitem__(self, place: Place) -> Tensor:
        name, _, call = place[0].partition("#")
        return self._found[name, place[1]][int(call or 0)]


def own_tensors(family: Family, module: nn.Module, images: Tensor) -> dict[str, dict[str, Tensor]]:
    """`in`, `block`, `pre` and `out` of every block as maps, from copying hooks alone."""
    places = {place for own in family.blocks.values() for place in (own.stream, own.branch, own.out) if place}
    copies = Copies(module, images, places)
    found = {}
    for block, own in family.blocks.items():
        stream, out = family.layout(copies[own.stream]), family.layout(copies[own.out])
        branch = out - stream if own.branch is None else family.layout(copies[own.branch])
        found[block] = {"in": stream, "block": branch, "pre": stream + branch, "out": out}
    return found


def _chain(
    paths: list[str],
    branch: str | None,
    shortcut: str,
    down: set[int],
    rename: Callable[[str], str] = str,
    anew: Set[int] = frozenset(),
) -> dict[str, Own]:
    """Blocks one after another, each a module that adds its `branch` part to its input or, where it is in `down`, to
    what its `shortcut` part gives. Those in `anew` begin a stream: what lies before them is no residual block's."""
    found: dict[str, Own] = {}
    previous: str | None = None
    for index, path in enumerate(paths):
        name, place = rename(path), None if branch is None else (f"{path}.{branch}", "out")
        if index in down:
            found[name] = Own((f"{path}.{shortcut}", "out"), place, (path, "out"), "downsample", previous)
        else:
            found[name] = Own((path, "in"), place, (path, "out"), "simple", None if index in anew else previous)
        previous = name
    return found


def _stages(counts: list[int], template: str, start: int = 0) -> list[str]:
    """Names of blocks, of which stages have `counts`; the first number is `start`."""
    return [
        template.format(stage + start, block + (start if "b{}" in template else 0))
        for stage, count in enumerate(counts)
        for block in range(count)
    ]


def _torchvision_name(path: str) -> str:
    return path.removeprefix("layer")


def _transformer(
    paths: list[str], attention: str, mlp: str, norm: str, adds: tuple[str, str], anew: tuple[int, ...] = ()
) -> dict[str, Own]:
    """Blocks that add an attention and an MLP to their tokens; the input of `norm` is the stream between them."""
    found: dict[str, Own] = {}
    previous: str | None = None
    for index, path in enumerate(paths):
        one, two = f"{path}.{adds[0]}", f"{path}.{adds[1]}"
        between = (f"{path}.{norm}", "in")
        found[one] = Own(
            (path, "in"), (f"{path}.{attention}", "out"), between, "simple", None if index in anew else previous
        )
        found[two] = Own(between, (f"{path}.{mlp}", "out"), (path, "out"), "simple", one)
        previous = two
    return found


def _resnet(branch: str, block: type[nn.Module] = Bottleneck, **options: Any) -> Family:
    counts = [1, 2, 1]

    def build() -> nn.Module:
        made: nn.Module = ResNet(block, [*counts, 1], num_classes=5, channels=(8, 8, 16, 16), stem_width=8, **options)
        return made

    paths = _stages([*counts, 1], "layer{}.{}", 1)
    return Family(build, _chain(paths, branch, "downsample", {0, 1, 3, 4}, _torchvision_name), (64, 75))


def _hrnet() -> nn.Module:
    def stage(modules: int, branches: int, kind: str) -> dict[str, Any]:
        return {
            "num_modules": modules,
            "num_branches": branches,
            "block_type": kind,
            "num_blocks": (1,) * branches,
            "num_channels": (8, 16, 24, 32)[:branches],
            "fuse_method": "SUM",
        }

    made: nn.Module = HighResolutionNet(
        {
            "stem_width": 16,
            "stage1": stage(1, 1, "BOTTLENECK"),
            "stage2": stage(1, 2, "BASIC"),
            "stage3": stage(1, 3, "BASIC"),
            "stage4": stage(1, 4, "BASIC"),
        },
        num_classes=5,
        head="",
    )
    return made


class CornetPair(nn.Module):
    """Two areas of CORnet-S, that run two and three steps, behind a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.V1 = nn.Conv2d(3, 8, 7, stride=2, padding=3)
        self.V2 = CORnetArea(8, 8, steps=2)
        self.V4 = CORnetArea(8, 12, steps=3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.V4(self.V2(self.V1(x)))
        return y


def _cornet_blocks() -> Iterator[tuple[str, Own]]:
    previous: str | None = None
    for area, steps in (("V2", 2), ("V4", 3)):
        for step in range(steps):
            name = f"{area}.t{step}"
            stream = (f"{area}.norm_skip", "out") if step == 0 else (f"{area}.conv1#{step}", "in")
            last = step == steps - 1
            out = (area, "out") if last else (f"{area}.conv1#{step + 1}", "in")
            kind = "downsample" if step == 0 else "simple"
            yield name, Own(stream, (f"{area}.norm3_{step}", "out"), out, kind, previous)
            previous = name


def _coatnet_blocks() -> Iterator[tuple[str, Own]]:
    previous = "stages.1.blocks.0"
    for path, begins in (("stages.2.blocks.0", True), ("stages.2.blocks.1", False), ("stages.3.blocks.0", True)):
        stream = (f"{path}.shortcut", "out") if begins else (path, "in")
        between = f"{path}.norm2", "in"
        kind = "downsample" if begins else "simple"
        yield f"{path}.attn", Own(stream, (f"{path}.drop_path1", "out"), between, kind, previous)
        yield f"{path}.mlp", Own(between, (f"{path}.drop_path2", "out"), (path, "out"), "simple", f"{path}.attn")
        previous = f"{path}.mlp"


def _efficientnet() -> nn.Module:
    """Padded as TensorFlow pads: more below and to the right."""
    blocks = [["ds_r1_k3_s1_e1_c8_se0.25"], ["ir_r2_k3_s2_e2_c16_se0.25"], ["ir_r2_k5_s2_e2_c16_se0.25"]]
    made: nn.Module = EfficientNet(
        decode_arch_def(blocks), num_classes=5, num_features=32, stem_size=8, fix_stem=True, pad_type="same"
    )
    return made


def _mobilenet() -> nn.Module:
    made: nn.Module = torchvision.models.MobileNetV2(
        num_classes=5, inverted_residual_setting=[[1, 8, 1, 1], [6, 8, 2, 2], [6, 16, 3, 2]], width_mult=0.5
    )
    return made


def _swin() -> nn.Module:
    made: nn.Module = torchvision.models.SwinTransformer([4, 4], 16, [2, 2], [2, 4], [4, 4], num_classes=5)
    return made


_HRNET_BRANCHES = [f"stage{stage}.0.branches.{branch}.0" for stage in (2, 3, 4) for branch in range(stage)]
_FEATURES = ["features.1.0", "features.1.1", "features.3.0", "features.3.1"]
_CIFAR_PATHS = _stages([3, 3, 3], "layer{}.{}", 1)

FAMILIES: dict[str, Family] = {
    "deep stem, average-pooled shortcuts": _resnet("bn3", stem_type="deep", avg_down=True),
    "squeeze and excitation": _resnet("se", block_args={"attn_layer": "se"}),
    "blur pools": _resnet("bn2", BasicBlock, aa_layer=BlurPool2d),
    "res2net": _resnet("bn3", Bottle2neck, base_width=26, block_args={"scale": 4}),
    "pre-activation": Family(
        lambda: timm.create_model(
            "resnetv2_50", layers=[1, 2, 1, 1], channels=(16, 24, 32, 32), stem_chs=8, num_classes=5
        ),
        _chain(_stages([1, 2, 1, 1], "stages.{}.blocks.{}"), "conv3", "downsample", {0, 1, 3, 4}),
        (64, 75),
    ),
    "BiT": Family(
        lambda: ResNetV2([1, 2, 1, 1], channels=(128,) * 4, num_classes=5, stem_chs=32, stem_type="fixed"),
        _chain(_stages([1, 2, 1, 1], "stages.{}.blocks.{}"), "conv3", "downsample", {0, 1, 3, 4}),
        (64,),
    ),
    "ConvNeXt of torchvision": Family(
        lambda: torchvision.models.ConvNeXt([CNBlockConfig(8, 16, 2), CNBlockConfig(16, None, 2)], num_classes=5),
        _chain(
            ["features.1.0", "features.1.1", "features.3.0", "features.3.1"], "stochastic_depth", "", set(), anew={2}
        ),
        (64, 72),
    ),
    "ConvNeXt of timm": Family(
        lambda: timm.create_model("convnext_atto", depths=(1, 2, 1, 1), dims=(8, 16, 24, 32), num_classes=5),
        _chain(_stages([1, 2, 1, 1], "stages.{}.blocks.{}"), "drop_path", "", set(), anew={1, 3, 4}),
        (64,),
    ),
    "CIFAR ResNet, option A": Family(
        lambda: cifar_resnet(20, "A"),
        _chain(_CIFAR_PATHS, "bn2", "downsample", {3, 6}, _torchvision_name),
        (32, 45),
    ),
    "CIFAR ResNet, option B": Family(
        lambda: cifar_resnet(20, "B"),
        _chain(_CIFAR_PATHS, "bn2", "downsample", {3, 6}, _torchvision_name),
        (32,),
    ),
    "CORnet-S": Family(CornetPair, dict(_cornet_blocks()), (64, 51)),
    "CLIP's ResNet": Family(
        lambda: ClipResNet((1, 2, 1, 1), 8, 16, 64),
        _chain(_stages([1, 2, 1, 1], "layer{}.{}", 1), "bn3", "downsample", {0, 1, 3, 4}, _torchvision_name),
        (64,),
    ),
    "a dilated backbone": Family(
        lambda: Backbone(
            torchvision.models.ResNet(
                torchvision.models.resnet.Bottleneck,
                [1, 1, 2, 1],
                width_per_group=16,
                replace_stride_with_dilation=[False, True, True],
            )
        ),
        _chain(_stages([1, 1, 2, 1], "layer{}.{}", 1), "bn3", "downsample", {0, 1, 2, 4}, _torchvision_name),
        (64, 91),
    ),
    "MobileNet": Family(
        _mobilenet,
        _chain(["features.3", "features.5", "features.6"], "conv", "", set(), anew={1}),
        (64, 51),
    ),
    "EfficientNet with asymmetric padding": Family(
        _efficientnet,
        _chain(["blocks.0.0", "blocks.1.1", "blocks.2.1"], "drop_path", "", set(), anew={1, 2}),
        (64, 51),
    ),
    "HRNet": Family(
        _hrnet,
        _chain(["layer1.0"], "bn3", "downsample", {0}, _torchvision_name)
        | _chain(_HRNET_BRANCHES, "bn2", "", set(), anew=set(range(len(_HRNET_BRANCHES)))),
    ),
    "NFNet": Family(
        lambda: timm.create_model("test_nfnet", num_classes=5),
        _chain(_stages([1, 1, 1, 1], "stages.{}.{}"), None, "downsample", {0, 1, 2, 3}),
    ),
    "RegNet": Family(
        lambda: timm.create_model("regnety_002", num_classes=5),
        _chain(_stages([1, 1, 4, 7], "s{}.b{}", 1), "conv3", "downsample", {0, 1, 2, 6}),
    ),
    "CoAtNet": Family(
        lambda: timm.create_model("test_coatnet", img_size=64, num_classes=5),
        _chain(["stages.0.blocks.0", "stages.1.blocks.0"], "drop_path", "shortcut", {0, 1}) | dict(_coatnet_blocks()),
    ),
    "ViT of timm": Family(
        lambda: VisionTransformer(64, 16, embed_dim=24, depth=2, num_heads=2, num_classes=5, init_values=0.5),
        _transformer(["blocks.0", "blocks.1"], "ls1", "ls2", "norm2", ("attn", "mlp")),
        (64,),
        partial(tokens, 1),
    ),
    "DeiT, distilled": Family(
        lambda: timm.create_model(
            "deit_tiny_distilled_patch16_224", img_size=64, embed_dim=24, depth=2, num_heads=2, num_classes=5
        ),
        _transformer(["blocks.0", "blocks.1"], "drop_path1", "drop_path2", "norm2", ("attn", "mlp")),
        (64,),
        partial(tokens, 2),
    ),
    "ViT of torchvision": Family(
        lambda: torchvision.models.VisionTransformer(64, 16, 2, 2, 24, 48, num_classes=5),
        _transformer(
            [f"encoder.layers.encoder_layer_{index}" for index in range(2)],
            "dropout",
            "mlp",
            "ln_2",
            ("self_attention", "mlp"),
        ),
        (64,),
        partial(tokens, 1),
    ),
    "BEiT": Family(
        lambda: Beit(64, 16, embed_dim=24, depth=2, num_heads=2, num_classes=5, init_values=0.5, use_rel_pos_bias=True),
        _transformer(["blocks.0", "blocks.1"], "drop_path1", "drop_path2", "norm2", ("attn", "mlp")),
        (64,),
        partial(tokens, 1),
    ),
    "Swin of torchvision": Family(
        _swin,
        _transformer(
            ["features.1.0", "features.1.1", "features.3.0", "features.3.1"],
            "attn",
            "mlp",
            "norm2",
            ("attn", "mlp"),
            (2,),
        ),
        (64,),
        maps_last,
    ),
    "Swin of timm": Family(
        lambda: SwinTransformer(64, 4, embed_dim=16, depths=(2, 2), num_heads=(2, 4), window_size=4, num_classes=5),
        _transformer(
            _stages([2, 2], "layers.{}.blocks.{}"), "drop_path1", "drop_path2", "norm2", ("attn", "mlp"), (2,)
        ),
        (64,),
        maps_last_or_tokens,
    ),
}
