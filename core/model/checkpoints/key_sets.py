"""Finds the sets of keys in a checkpoint that may be a network's, wherever they are and whatever stands before them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn

from streamscope.core.model.checkpoints.pickles import attributes
from streamscope.core.model.classifier import classifier_name

DEPTH = 5
"""How many containers inside each other are opened."""
TOP = "."
"""What the set of keys is called that lies at the top of a file, with nothing before its keys."""

_OWN = re.compile(r"(conv1|bn1|layer\d+)\.")
"""What the keys of a torchvision ResNet begin with, but for its classifier's."""
_ANCHOR = "layer1.0.conv1.weight"
"""A key that each of them has."""
_COUNTS = "num_batches_tracked"
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
_CIFAR = ((re.compile(r"^linear\."), "fc."), (re.compile(r"(?<=\.)shortcut\."), "downsample."))
"""How pytorch_resnet_cifar10 and pytorch-cifar name what torchvision's ResNets have too."""
_FORMER = (
    (re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\."), r"\1\2."),
    (re.compile(r"(encoder_layer_\d+\.mlp)\.linear_1\."), r"\1.0."),
    (re.compile(r"(encoder_layer_\d+\.mlp)\.linear_2\."), r"\1.3."),
)
"""How torchvision's densenets and vision transformers were named when its weights of them were stored."""
_CHILDREN, _TRANSFORMERS = "nn.Sequential's", "Hugging Face's"
_PYTORCH_CIFAR, _OLD = "pytorch-cifar's", "torchvision's former"
"""Whose names are not torchvision's."""

State = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Expected:
    """The network whose keys are looked for, by the shapes of its state dict."""

    shapes: Mapping[str, torch.Size]
    """Of all that must be in a file: numbers with a fraction. What is whole follows from the architecture."""
    classifier: str = "fc"
    """The name of the layer that may have any width, or be missing; "" where every layer must fit."""
    whole: frozenset[str] = frozenset()
    """Keys of numbers without a fraction, which a file may have or not."""

    @classmethod
    def of(cls, module: nn.Module) -> Expected:
        state = module.state_dict()
        shapes = {key: value.shape for key, value in state.items() if value.is_floating_point()}
        return cls(shapes, classifier_name(module), frozenset(state.keys() - shapes.keys()))

    @cached_property
    def is_resnet(self) -> bool:
        """Whether it has the names of torchvision's ResNets, so that a file may have others for the same."""
        return _ANCHOR in self.shapes and all(_OWN.match(key) for key in self.backbone)

    @cached_property
    def is_cifar(self) -> bool:
        """Whether it is a ResNet for CIFAR: three stages after a 3 x 3 stem."""
        has_three = "layer4.0.conv1.weight" not in self.shapes
        return self.is_resnet and has_three and self.shapes["conv1.weight"][2:] == (3, 3)

    @cached_property
    def backbone(self) -> dict[str, torch.Size]:
        """Shapes without those of the classifier and counts of batches."""
        return {k: v for k, v in self.shapes.items() if not self.is_classifiers(k) and not k.endswith(_COUNTS)}

    @cached_property
    def anchor(self) -> str:
        """The key by which sets are found: the one with most parts, since others may have its end."""
        return _ANCHOR if self.is_resnet else max(self.backbone, key=lambda key: key.count("."), default="")

    @cached_property
    def _tops(self) -> frozenset[str]:
        return frozenset(key.partition(".")[0] for key in self.backbone)

    def is_classifiers(self, key: str) -> bool:
        return bool(self.classifier) and key.startswith(f"{self.classifier}.")

    def is_own(self, key: str) -> bool:
        """Whether a key is of a part of the network, its classifier and counts of batches apart."""
        if key.endswith(_COUNTS) or key in self.whole:
            return False
        if self.is_resnet:
            return _OWN.match(key) is not None
        return key.partition(".")[0] in self._tops and not self.is_classifiers(key)


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
    """The tensors of one container that have the same beginning, by the names of the network that is looked for."""

    expected: Expected
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
        """What has the name of a part of the network, without its classifier and counts of batches."""
        return {k: v for k, v in self.state.items() if self.expected.is_own(k)}

    @cached_property
    def classifier(self) -> State:
        """What has the name of its classifier's weight and bias."""
        name = self.expected.classifier
        return {k: v for k, v in self.state.items() if name and k in (f"{name}.weight", f"{name}.bias")}

    @cached_property
    def problems(self) -> list[tuple[str, list[str]]]:
        """What keeps it from being the network: (what is wrong, which keys). Its classifier does not count."""
        expected = self.expected.backbone
        given = {k: v.shape for k, v in self.backbone.items()}
        differing = [
            f"{k} {tuple(given[k])} instead of {tuple(expected[k])}"
            for k in sorted(expected.keys() & given.keys())
            if given[k] != expected[k]
        ]
        wrong = [
            ("missing", sorted(expected.keys() - given.keys())),
            ("unexpected", sorted(given.keys() - expected.keys())),
            ("of another shape", differing),
        ]
        return [(what, keys) for what, keys in wrong if keys]

    @property
    def consumed(self) -> set[str]:
        """Keys of the container that are of a part of the network, its classifier apart."""
        own = self.expected
        return {original for k, original in self.keys.items() if own.is_own(k) or k.endswith(_COUNTS) or k in own.whole}


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


def key_sets(container: Container, expected: Expected) -> Iterator[KeySet]:
    """The sets of keys of a container that begin as those of the network do."""
    ways: list[tuple[str, Callable[[str], str], str]] = [
        (expected.anchor, str, ""),
        (expected.anchor, _from_cifar, _PYTORCH_CIFAR) if expected.is_cifar else (expected.anchor, _from_former, _OLD),
        ("embedder.embedder.convolution.weight", _from_hugging_face, _TRANSFORMERS),
        ("4.0.conv1.weight", _from_sequential, _CHILDREN),
    ]
    for anchor, name_of, renamed in ways if expected.is_resnet else ways[:2]:
        for key in container.tensors:
            # The anchor of the network itself is a name that it has today; the others are foreign ones.
            today = name_of(key) if anchor == expected.anchor else key
            prefix = today.removesuffix(anchor)
            if prefix == today or (prefix and not prefix.endswith(".")):
                continue
            if renamed == _CHILDREN and f"{prefix}0.weight" not in container.tensors:
                continue
            keys = {name_of(k[len(prefix) :]): k for k in container.tensors if k.startswith(prefix)}
            if renamed == _TRANSFORMERS:
                # The classifier is beside the network, which has a name of its own in it.
                outer = prefix.removesuffix("resnet.") + "classifier.1."
                keys.update({f"fc.{k[len(outer) :]}": k for k in container.tensors if k.startswith(outer)})
            if renamed and all(old == prefix + new for new, old in keys.items()):
                continue
            state = {new: container.tensors[old] for new, old in keys.items()}
            yield KeySet(expected, container, prefix, state, keys, renamed)


def _from_cifar(key: str) -> str:
    for pattern, name in _CIFAR:
        key = pattern.sub(name, key)
    return key


def _from_former(key: str) -> str:
    for pattern, name in _FORMER:
        key = pattern.sub(name, key)
    return key


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
