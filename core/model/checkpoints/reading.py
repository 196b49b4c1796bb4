"""Weights of a model: of a file or a folder in any of the usual layouts, of torchvision, or bundled."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from streamscope.core.errors import WeightsError
from streamscope.core.model.checkpoints.choosing import choose
from streamscope.core.model.checkpoints.contents import Contents, read_contents
from streamscope.core.model.checkpoints.downloads import Progress, download, torchvision_weights
from streamscope.core.model.checkpoints.key_sets import Expected, State
from streamscope.core.model.checkpoints.pickles import attributes
from streamscope.core.model.checkpoints.traps import find_traps
from streamscope.core.model.demo import CLASSES, weights_path
from streamscope.core.model.networks import BACKBONES
from streamscope.core.model.preprocessing import Colour
from streamscope.core.model.spec import DEMO_MODEL, MODELS, RELEASES, ModelSpec, check_weights_file

_PLACEHOLDER = re.compile(r"LABEL_\d+")
"""What Hugging Face calls classes that were given no names."""


@dataclass(frozen=True)
class Weights:
    """A state dict that fits, by torchvision's names, and what is to be said of where it is from."""

    state: State
    line: str = ""
    """What was done to get it out of its file; "" for a plain state dict of torchvision's."""
    warnings: tuple[str, ...] = ()
    """Ways in which the file says that its network is another than it is taken for."""
    class_names: tuple[str, ...] | None = None
    """What the classes are called, in the order of the scores; None where the weights do not say."""


def read_weights(
    spec: ModelSpec, expected: Expected, mean: Colour, std: Colour, progress: Progress | None = None
) -> Weights:
    """The weights of a model that sees images with these colours.

    Their classifier may have another width, or be missing. Raises WeightsError.
    """
    if spec.weights is not None:
        check_weights_file(spec.weights)
        contents = read_contents(spec.weights)
        chosen = choose(contents, spec.name, expected, spec.entry)
        is_torchvision = spec.architecture in MODELS
        traps = find_traps(contents, chosen.key_set, spec.name if is_torchvision else None, mean, std)
        return Weights(chosen.state, chosen.line, tuple(traps), _class_names(contents, chosen.classes))
    if spec.architecture != DEMO_MODEL and spec.architecture not in RELEASES:
        raise WeightsError(f"{spec.name} comes without weights; pass some with --weights FILE")
    if spec.name == DEMO_MODEL:
        return Weights(load_file(weights_path()), class_names=class_names(spec.name))
    state = download(spec.name, spec.release, progress)
    # Some are stored by former names, and with heads that were for training only.
    chosen = choose(Contents(Path(_file_name(spec)), state), spec.name, expected)
    return Weights(chosen.state, class_names=class_names(spec.name, spec.release))


def _file_name(spec: ModelSpec) -> str:
    """What torchvision calls the file of its weights."""
    return str(torchvision_weights(spec.name, spec.release).url).rpartition("/")[2]


def class_names(architecture: str, release: str = "") -> tuple[str, ...] | None:
    """What the classes of the bundled demo or of torchvision's weights are called, in the order of the scores; None for
    backbones, which have no scores."""
    if architecture == DEMO_MODEL:
        return CLASSES
    if architecture in BACKBONES:
        return None
    return tuple(torchvision_weights(architecture, release).meta["categories"])


def imagenet_classes() -> tuple[str, ...]:
    """What ImageNet's 1,000 classes are called, in the order of the scores of whoever learnt them."""
    return tuple(torchvision_weights("resnet18", "").meta["categories"])


def _class_names(contents: Contents, count: int | None) -> tuple[str, ...] | None:
    """What a checkpoint or the configuration beside it calls its classes, where that is a name for each."""
    tree = attributes(contents.tree)
    for found in (
        tree.get("classes"),
        tree.get("class_names"),
        _by_index(tree.get("class_to_idx"), inverted=True),
        _by_index(contents.config.get("id2label")),
        contents.config.get("label_names"),
    ):
        names = tuple(found) if isinstance(found, list | tuple) and len(found) == count else ()
        if names and all(isinstance(name, str) and not _PLACEHOLDER.fullmatch(name) for name in names):
            return names
    return None


def _by_index(named: Any, inverted: bool = False) -> list[Any] | None:
    """The names of a mapping from indices, or `inverted` from names, in the order of the indices."""
    if not isinstance(named, Mapping):
        return None
    pairs = (
        [(str(index), name) for name, index in named.items()] if inverted else [(str(k), v) for k, v in named.items()]
    )
    found = dict(pairs)
    order = [str(index) for index in range(len(pairs))]
    return [found[index] for index in order] if found.keys() == set(order) else None
