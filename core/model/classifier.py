"""Where a network tells classes apart, and how many; how it takes weights whose classifier is another."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import nn

_HEADS = ("head", "heads", "classifier")
"""What the last part of torchvision's networks is called where it is not `fc`."""


def classifier_name(module: nn.Module) -> str:
    """The qualified name of the linear layer that gives the scores: `fc`, the last layer of the head of torchvision's
    networks, timm's as it says; "" where there is none, or none can be told from the other layers."""
    if isinstance(getattr(module, "fc", None), nn.Linear):
        return "fc"
    if type(module).__module__.startswith("torchvision."):
        heads = [(name, getattr(module, name)) for name in _HEADS if isinstance(getattr(module, name, None), nn.Module)]
        layers = [
            name
            for head, part in heads
            for name, layer in part.named_modules(prefix=head)
            if isinstance(layer, nn.Linear)
        ]
        return layers[-1] if layers else ""
    ask = getattr(module, "get_classifier", None)
    classifier = ask() if callable(ask) else None
    if not isinstance(classifier, nn.Linear):
        return ""
    return next((name for name, part in module.named_modules() if part is classifier), "")


def class_count(module: nn.Module) -> int | None:
    """How many classes it tells apart; None for one without a classifier."""
    name = classifier_name(module)
    layer = module.get_submodule(name) if name else None
    return layer.out_features if isinstance(layer, nn.Linear) else None


def fit_classifier(module: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Gives a network the classifier of a state dict: one of that width, or none."""
    name = classifier_name(module)
    if not name:
        return
    weight = state.get(f"{name}.weight")
    if weight is None:
        _replace(module, name, nn.Identity())
        return
    classes, features = weight.shape
    has_bias = f"{name}.bias" in state
    if module.get_parameter(f"{name}.weight").shape != weight.shape or not has_bias:
        _replace(module, name, nn.Linear(features, classes, bias=has_bias))


def load_weights(module: nn.Module, state: Mapping[str, torch.Tensor], strict: bool = True) -> None:
    """Loads a state dict that fits, with the classifier that it has; without `strict` what is whole may be missing."""
    fit_classifier(module, state)
    # Modules that were changed since ask for the version that wrote their tensors; these have today's names and shapes.
    today: OrderedDict[str, torch.Tensor] = OrderedDict(state)
    today._metadata = module.state_dict()._metadata  # type: ignore[attr-defined]
    module.load_state_dict(today, strict=strict)


def _replace(module: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(module.get_submodule(parent), last, layer)
