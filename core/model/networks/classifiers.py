"""torchvision's networks that classify images, as it builds them for its own weights."""

from __future__ import annotations

import torchvision
from torch import nn

_SIZED = {"vit": "image_size", "maxvit": "input_size"}
"""What the side of the input is called by families that have position embeddings."""
_AS_TRAINED = {
    # Their weights were trained on values from -1 to 1, and what is shown has ImageNet's mean and deviation: they undo
    # it by themselves. The heads beside the last classifier were for training only.
    "googlenet": {"transform_input": True, "aux_logits": False, "init_weights": True},
    "inception": {"transform_input": True, "aux_logits": False, "init_weights": True},
}
"""What families are built with that is not their default."""


def classifier(name: str, side: int | None = None) -> nn.Module:
    """The network called `name`; of families with position embeddings that for inputs of `side` px."""
    family = name.partition("_")[0]
    arguments: dict[str, object] = dict(_AS_TRAINED.get(family, {}))
    if side is not None:
        arguments[_SIZED[family]] = (side, side) if family == "maxvit" else side
    module: nn.Module = torchvision.models.get_model(name, weights=None, **arguments)
    return module
