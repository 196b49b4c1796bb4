"""Finds the sets of keys in a checkpoint that may be a ResNet's, wherever they are and whatever stands before them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from streamscope.core.model.checkpoints.pickles import attributes

DEPTH = 5
"""How many containers inside each other are opened."""
TOP = "."
"""What the set of keys is called that lies at the top of a file, with nothing before its keys."""

_OWN = re.compile(r"(conv1|bn1|layer\d+)\.")
"""What the keys of a torchvision ResNet begin with, but for its classifier's."""
_AVERAGE = re.compile(r"(^|_)(ema|swa|polyak|average|averaged|avg|shadow)(_|$)", re.IGNORECASE)
_MOMENTUM = re.compile(r"(^|_)(k|key|momentum|target)(_|$)", re.IGNORECASE)
_SEQUENTIAL = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4", "9": "fc"}
"""The children of a torchvision ResNet by their places, as `nn.Sequential(*resnet.children())` names them."""
_HUGGING_FACE = (
    (re.compile(r"embedder\.embedder\.convolution\."), "conv1."),
    (re.compile(r"embedder\.embedder\.normalization\."), "bn1."),
    (re.compile(r"encoder\.stages\.(\d+)\.layers\.(\d+)\.shortcut\.convolution\."), "layer{0}.{1}.downsample.0."),
    (re.compile(r"encoder\.stages\.(\d+)\.layers\.(\d+)\.shortcut\.normalization\."), "layer{0}.{1}.downsample.1."),
    (re.compile(r"encoder\.stages\.(\d+)\.layers\.(\d+)\.layer\.(\d+)\.convolution\."), "layer{0}.{1}.conv{2}."),
    (re.compile(r"encoder\.stages\.(\d+)\.layers\.(\d+)\.layer\.(\d+)\.normalization\."), "layer{0}.{1}.bn{2}."),
)
"""How transformers' ResNets are named."""
_CHILDREN, _TRANSFORMERS = "nn.Sequential's", "Hugging Face's"
"""Whose names are not torchvision's."""

State = dict[str, torch.Tensor]


def is_average(word: str) -> bool:
    """Whether a container or a part of a key of this name is an average of weights over training."""
    return _AVERAGE.search(word) is not None


def is_momentum(word: str) -> bool:
    """The same of a momentum encoder."""
    return _MOMENTUM.search(word) is not None


@dataclass(frozen=True)
class Container:
    """The tensors of one mapping of a checkpoint, by the names of the mappings that it is in."""

    path: tuple[str, ...]
    tensors: State


@dataclass(frozen=True, eq=False)
class KeySet:
    """The tensors of one container that have the same beginning, by torchvision's names."""

    container: Container
    prefix: str
    """What stood before each key, `module.encoder_q.`."""
    state: State
    keys: Mapping[str, str]
    """What each key of `state` is called in the container."""
    renamed: str = ""
    """Whose names the keys had, where not torchvision's."""

    @cached_property
    def words(self) -> tuple[str, ...]:
        """Containers and parts of the prefix, from the outermost to the innermost."""
        return (*self.container.path, *filter(None, self.prefix.split(".")))

    @property
    def label(self) -> str:
        return ".".join(self.words) or TOP

    @property
    def average(self) -> str:
        """The word by which it is an average of weights over training; "" where it is none."""
        return next((word for word in self.words if is_average(word)), "")

    @property
    def momentum(self) -> str:
        """The word by which it is a momentum encoder, which follows the one that is trained; "" where it is none."""
        return next((word for word in self.words if is_momentum(word)), "")

    @cached_property
    def backbone(self) -> State:
        """What has the name of a part of a torchvision ResNet, without its classifier and counts of batches."""
        return {k: v for k, v in self.state.items() if _OWN.match(k) and not k.endswith("num_batches_tracked")}

    @property
    def consumed(self) -> set[str]:
        """Keys of the container that are of a part of a torchvision ResNet, its classifier apart."""
        return {original for key, original in self.keys.items() if _OWN.match(key)}


def containers(tree: Any, path: tuple[str, ...] = (), seen: set[int] | None = None) -> Iterator[Container]:
    """Every mapping with tensors in it, outermost first. What was no mapping in the file is not looked into."""
    seen = set() if seen is None else seen
    if not isinstance(tree, dict) or len(path) > DEPTH or id(tree) in seen:
        return
    seen.add(id(tree))
    entries = attributes(tree)
    tensors = {str(key): value for key, value in entries.items() if _has_numbers(value)}
    if tensors:
        yield Container(path, tensors)
    for key, value in entries.items():
        yield from containers(value, (*path, str(key)), seen)


def _has_numbers(value: Any) -> bool:
    """Whether it is a tensor as networks have them, and neither sparse, nor quantised, nor without its numbers."""
    if not isinstance(value, torch.Tensor):
        return False
    return value.device.type == "cpu" and value.layout == torch.strided and not value.is_quantized


def key_sets(container: Container) -> Iterator[KeySet]:
    """The sets of keys of a container that begin as a ResNet's do."""
    for anchor, name_of, renamed in (
        ("layer1.0.conv1.weight", str, ""),
        ("embedder.embedder.convolution.weight", _from_hugging_face, _TRANSFORMERS),
        ("4.0.conv1.weight", _from_sequential, _CHILDREN),
    ):
        for key in container.tensors:
            prefix = key.removesuffix(anchor)
            if prefix == key or (prefix and not prefix.endswith(".")):
                continue
            if renamed == _CHILDREN and f"{prefix}0.weight" not in container.tensors:
                continue
            keys = {name_of(k[len(prefix) :]): k for k in container.tensors if k.startswith(prefix)}
            if renamed == _TRANSFORMERS:
                # The classifier is beside the network, which has a name of its own in it.
                outer = prefix.removesuffix("resnet.") + "classifier.1."
                keys.update({f"fc.{k[len(outer) :]}": k for k in container.tensors if k.startswith(outer)})
            state = {new: container.tensors[old] for new, old in keys.items()}
            yield KeySet(container, prefix, state, keys, renamed)


def _from_hugging_face(key: str) -> str:
    for pattern, name in _HUGGING_FACE:
        match = pattern.match(key)
        if match:
            stage, block, layer = (int(n) for n in (*match.groups(), 0, 0, 0)[:3])
            return name.format(stage + 1, block, layer + 1) + key[match.end() :]
    return key


def _from_sequential(key: str) -> str:
    first, _, rest = key.partition(".")
    return f"{_SEQUENTIAL[first]}.{rest}" if first in _SEQUENTIAL else key
