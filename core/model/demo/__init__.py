"""The bundled demo model: a small ResNet, and its image set.

Importing this package never imports torch; its module `network` does.
"""

from __future__ import annotations

import json
from pathlib import Path

from streamscope.core.model.demo.images import CLASSES, RADII, SIDE, dataset, draw, write_images

__all__ = [
    "CLASSES",
    "RADII",
    "SIDE",
    "accuracy",
    "dataset",
    "description_path",
    "draw",
    "weights_path",
    "write_images",
]


def weights_path() -> Path:
    """The bundled weights, a float32 state dict; `demo.json` beside them says how they were trained."""
    return Path(__file__).with_name("demo.safetensors")


def description_path(weights: Path | None = None) -> Path:
    """The description of a file of the demo's weights, of the bundled ones unless told otherwise; it lies beside them.

    A JSON object: `model`, as a store has it, and `spec`, the text of the weights that it describes.
    """
    return (weights or weights_path()).with_suffix(".model.json")


def accuracy() -> float:
    """Share of held-out images that the bundled weights classify right, as measured when they were trained."""
    return float(json.loads(weights_path().with_suffix(".json").read_text())["held_out_accuracy"])
