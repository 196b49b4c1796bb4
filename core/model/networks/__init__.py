"""Networks that are defined here, by the names that `--model` takes. Never imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from streamscope.core.model.preprocessing import IMAGENET_MEAN, IMAGENET_SIZE, IMAGENET_STD, Colour


@dataclass(frozen=True)
class NetworkEntry:
    """A function that makes an untrained network, to be imported only where it is made, and what it is shown."""

    module: str
    function: str
    input_size: int = IMAGENET_SIZE
    mean: Colour = IMAGENET_MEAN
    std: Colour = IMAGENET_STD


NETWORKS: Mapping[str, NetworkEntry] = {}
