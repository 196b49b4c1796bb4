"""Which model is meant, by name and weights. Never imports torch, so that the app can use it."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from streamscope.core.errors import UsageError, WeightsError

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
_UNTRAINED = re.compile(r"(.+)-untrained-(\d{1,9})")


def untrained_name(architecture: str, seed: int = 0) -> str:
    """`resnet18-untrained-0`: the copy of a model that has the weights it would begin training with."""
    return f"{architecture}-untrained-{seed}"


def untrained_seed(name: str) -> int | None:
    """The seed of an untrained copy's weights; None for any other name."""
    found = _UNTRAINED.fullmatch(name)
    return int(found[2]) if found else None


def architecture_of(name: str) -> str:
    """The name itself, of an untrained copy that of the model it is a copy of."""
    found = _UNTRAINED.fullmatch(name)
    return found[1] if found else name


def check_weights_file(path: Path) -> os.stat_result:
    """What the file system says of a file of weights. Raises WeightsError where it is missing or a directory."""
    try:
        status = path.stat()
    except OSError as error:
        raise WeightsError(f"no such file: {path}") from error
    if stat.S_ISDIR(status.st_mode):
        raise WeightsError(f"{path} is a directory, not a file with a torchvision state dict")
    return status


def canonical_path(weights: Path) -> Path:
    """The one path that a file of weights is stored and compared by: absolute, through no symbolic link."""
    return Path(os.path.realpath(weights))


@dataclass(frozen=True)
class ModelSpec:
    """A model by name, with its default weights or those of a file.

    `resnet18-untrained-0` is resnet18 as it is before training, its weights drawn with seed 0.
    """

    name: str
    weights: Path | None = None

    def __post_init__(self) -> None:
        if self.architecture not in MODELS:
            raise UsageError(f"unknown model {self.name!r}; use one of {', '.join(MODELS)}")
        if self.weights is not None and self.untrained_seed is not None:
            raise UsageError(f"{self.name} has weights of its own; a file of weights goes with {self.architecture}")

    @property
    def architecture(self) -> str:
        return architecture_of(self.name)

    @property
    def untrained_seed(self) -> int | None:
        return untrained_seed(self.name)

    @property
    def is_downloaded(self) -> bool:
        """Whether its weights come from elsewhere unless they were fetched before."""
        return self.weights is None and self.untrained_seed is None and self.name != DEMO_MODEL

    @property
    def text(self) -> str:
        """Changes whenever the weights may have: what the store remembers a fingerprint by, to spare loading them.

        Raises WeightsError when the weights file is not there or is none.
        """
        if self.weights is not None:
            status = check_weights_file(self.weights)
            return f"{self.name} {canonical_path(self.weights)} {status.st_size} {status.st_mtime_ns}"
        if self.untrained_seed is not None:
            return f"{self.name} initial weights"
        if self.name == DEMO_MODEL:
            from streamscope.core.model.demo import weights_path

            return f"{self.name} {hashlib.sha256(weights_path().read_bytes()).hexdigest()}"
        return f"{self.name} default weights"
