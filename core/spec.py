"""Which model is meant, by name and weights. Never imports torch, so that the app can use it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from core.errors import UsageError, WeightsError

RESNETS = (
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "resnext101_64x4d",
    "wide_resnet50_2",
    "wide_resnet101_2",
)
"""torchvision's ResNets; a test compares with what the installed torchvision lists."""
DEMO_MODEL = "demo"
MODELS = (*RESNETS, DEMO_MODEL)


@dataclass(frozen=True)
class ModelSpec:
    """A model by name, with its default weights or those of a file."""

    name: str
    weights: Path | None = None

    def __post_init__(self) -> None:
        if self.name not in MODELS:
            raise UsageError(f"unknown model {self.name!r}; use one of {', '.join(MODELS)}")

    @property
    def text(self) -> str:
        """Changes whenever the weights may have: what the store remembers a fingerprint by, to spare loading them.

        Raises WeightsError when the weights file is not there.
        """
        if self.weights is not None:
            try:
                status = self.weights.stat()
            except OSError as error:
                raise WeightsError(f"no such file: {self.weights}") from error
            return f"{self.name} {self.weights.resolve()} {status.st_size} {status.st_mtime_ns}"
        if self.name == DEMO_MODEL:
            from core.demo import weights_path

            return f"{self.name} {hashlib.sha256(weights_path().read_bytes()).hexdigest()}"
        return f"{self.name} default weights"
