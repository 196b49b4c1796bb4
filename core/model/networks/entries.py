"""What is known of a network by its name, before torch is imported: how it is built, and what it is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from streamscope.core.errors import UsageError
from streamscope.core.model.preprocessing import (
    IMAGENET_MEAN,
    IMAGENET_SIZE,
    IMAGENET_STD,
    Colour,
    Interpolation,
    Preprocessing,
)


@dataclass(frozen=True)
class Release:
    """Weights that torchvision has: the file that they come in, and what the network is shown with them."""

    file: str
    """Without `.pth`; ends in the first digits of its SHA-256."""
    preprocessing: Preprocessing


@dataclass(frozen=True)
class NetworkEntry:
    """A function that makes a network with the weights that it begins training with, and what the network is shown.

    Images have three colour channels.
    """

    module: str
    """What is imported when it is built, never before: its function imports torch."""
    function: str
    description: str
    """One line: what it is, and where that is published."""
    arguments: tuple[str | int | bool, ...] = ()
    """What the function is called with."""
    input_size: int = IMAGENET_SIZE
    resize: int = 256
    interpolation: Interpolation = "bilinear"
    mean: Colour = IMAGENET_MEAN
    std: Colour = IMAGENET_STD
    side_step: int = 0
    """Where position embeddings fix the input's side: what it must be a multiple of. 0 for a network of any side."""
    releases: Mapping[str, Release] = field(default_factory=dict, hash=False)
    """Weights that torchvision has of it, by name, the default ones last."""

    @property
    def preprocessing(self) -> Preprocessing:
        """What it is shown where its weights do not say otherwise."""
        return Preprocessing(self.input_size, self.resize, self.interpolation, self.mean, self.std)


def build(entry: NetworkEntry, side: int | None = None) -> Any:
    """The network, an `nn.Module` in eval mode, for inputs of `side` px (None: of its usual side), drawn with torch's
    current seed.

    Raises UsageError for a side that it cannot be built for.
    """
    side = entry.input_size if side is None else side
    if entry.side_step and side % entry.side_step:
        raise UsageError(
            f"{entry.description} takes inputs whose side is a multiple of {entry.side_step} px, not {side}"
        )
    sized = (side,) if entry.side_step else ()
    module = getattr(import_module(entry.module), entry.function)(*entry.arguments, *sized)
    return module.eval()
