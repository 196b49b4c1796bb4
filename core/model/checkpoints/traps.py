"""Weights whose keys and shapes fit although the network that they are of is another: told where the file says so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import torch

from streamscope.core.model.checkpoints.contents import Contents
from streamscope.core.model.checkpoints.key_sets import KeySet
from streamscope.core.model.checkpoints.pickles import StandIn, attributes
from streamscope.core.model.preprocessing import Colour

_DEPTH = 4
"""How deep arguments and hyper-parameters are looked through."""
_NAMES = re.compile(r"(model_?|net_?|backbone_?|encoder_?)?arch(itecture)?|(model|net|backbone|encoder)(_?name)?")
"""What an entry is called that says which network it is."""
_VARIANTS = (
    (r"resnetblur|blurpool|antialias|anti_alias|_lpf\d", "blurs before it subsamples, and the blur has no weights"),
    (r"resnetaa\d", "averages before it subsamples, and the average has no weights"),
    (r"dilat|deeplab|fcn_resnet|pspnet|r\d+-d(8|16)\b|_os(8|16)\b", "replaces stride with dilation"),
    (r"caffe|msra", "has its stride in conv1 of a bottleneck, not in conv2"),
)
"""Names of networks, and in what they differ from torchvision's without a key or a shape that tells."""
_TAG = re.compile(r"^(?:timm/)?\w+\.(?!tv_in1k|tv2_in1k)(\w*in\d+k?\w*)$")
"""timm's names of weights that are not torchvision's: `resnet50.a1_in1k`."""
_FLAGS = {
    "replace_stride_with_dilation": "replaces stride with dilation",
    "downsample_in_bottleneck": "has its stride in conv1 of a bottleneck, not in conv2",
    "downsample_in_first_stage": "halves the map in its first stage too",
}
_CLOSE = 0.01
"""How far colours' means and deviations may be apart that are called the same."""


def find_traps(contents: Contents, chosen: KeySet, name: str | None, mean: Colour, std: Colour) -> list[str]:
    """A sentence for each way in which the file says that its network is another than torchvision's `name`, seen with
    these colours. None for a network that is not torchvision's: of that only its colours can be doubted."""
    of_torchvision = [] if name is None else [*_said(contents, name), *_segmentation(chosen)]
    return list(dict.fromkeys([*of_torchvision, *_normaliser(chosen, mean, std)]))


def _said(contents: Contents, name: str) -> Iterator[str]:
    """What names and flags in arguments, hyper-parameters and configurations give away."""
    for where, value in [*_entries(contents.tree), *_entries(contents.config)]:
        last = where.rpartition(".")[2]
        if last in _FLAGS and (value is True or (isinstance(value, list | tuple) and any(v is True for v in value))):
            yield f"{where} says that the network {_FLAGS[last]}; here it is run as torchvision's {name}"
        elif last == "output_stride" and value in (8, 16):
            yield f"{where} is {value}: the network replaces stride with dilation; here it is run with stride"
        elif last == "hidden_act" and isinstance(value, str) and value != "relu":
            yield f"{where} is {value}; here the network is run with ReLUs"
        elif isinstance(value, str) and _NAMES.fullmatch(last):
            yield from _variant(f"{where} is {value}", value, name)
            if _TAG.match(value):
                yield (
                    f"{where} is {value}, weights of timm's: they may be made for another input size or other colours "
                    "than torchvision's"
                )
    # Whoever renames a file knows what is in it.
    yield from _variant(f"the file is called {contents.source.name}", contents.source.name, name)


def _variant(saying: str, text: str, name: str) -> Iterator[str]:
    for sign, difference in _VARIANTS:
        if re.search(sign, text.lower()):
            yield f"{saying}: such a network {difference}; here it is run as torchvision's {name}"


def _entries(tree: Any, where: str = "", depth: int = 0, seen: set[int] | None = None) -> Iterator[tuple[str, Any]]:
    """Names (`args.arch`) and values of everything that is no tensor."""
    seen = set() if seen is None else seen
    if depth > _DEPTH or id(tree) in seen:
        return
    seen.add(id(tree))
    for key, value in attributes(tree).items():
        if isinstance(value, torch.Tensor):
            continue
        # omegaconf keeps entries and values in objects of its own.
        inner = key in ("_content", "_val") and isinstance(tree, StandIn)
        name = where if inner else f"{where}.{key}" if where else str(key)
        yield name, value
        yield from _entries(value, name, depth + (not inner), seen)


def _segmentation(chosen: KeySet) -> Iterator[str]:
    """A head of convolutions beside a backbone: of the networks that torchvision, and many others, segment with."""
    if "backbone" not in chosen.words:
        return
    parent = chosen.prefix[: chosen.prefix.rindex("backbone.")] if "backbone." in chosen.prefix else ""
    for key, value in chosen.container.tensors.items():
        if value.ndim == 4 and re.match(r"(aux_)?classifier\.|decode_head\.", key.removeprefix(parent)):
            yield (
                f"{key} is a convolution: this is the backbone of a segmentation network, and those replace stride "
                "with dilation in their last layers; here it is run with stride, in fcn_resnet50 and fcn_resnet101 "
                "with dilation"
            )
            return


def _normaliser(chosen: KeySet, mean: Colour, std: Colour) -> Iterator[str]:
    """Buffers of a network that normalises images by itself."""
    for words, asked in (("mean", mean), ("std", std)):
        for key, value in chosen.container.tensors.items():
            if re.search(rf"normali[sz]er?\.(new_)?{words}$", key) and value.numel() == 3:
                own = [float(v) for v in value.flatten()]
                if _differ(own, asked):
                    yield f"{key} is {_colours(own)}; here the images' {words} is taken to be {_colours(asked)}"
                break


def _differ(first: list[float], second: Colour) -> bool:
    return any(abs(a - b) > _CLOSE for a, b in zip(first, second, strict=True))


def _colours(values: list[float] | Colour) -> str:
    return ", ".join(f"{value:g}" for value in values)
