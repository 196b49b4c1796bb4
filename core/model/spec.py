"""Which model is meant, by name and weights. Never imports torch, so that the app can use it."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from streamscope.core.errors import UsageError, WeightsError
from streamscope.core.model.preprocessing import UNCHANGED, Changes, Preprocessing, identity_text, usual
from streamscope.core.model.preprocessing_sources import of_weights

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
FORMER_DEMO = "demo-0.2"
"""The demo model of versions up to 0.2: another network, whose weights are not in the package any more. What stores
have of it is read by this name; nothing more of it can be computed."""
_FORMER_WEIGHTS = "3d29364b2599a9be3b53f0304aa581cc894352925c6af5c1f7dbe1322726b22b"
"""SHA-256 of the file of its weights, by which stores remember it."""
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
    """A model by name, with its default weights or those of a file, and what was said of its preprocessing.

    `resnet18-untrained-0` is resnet18 as it is before training, its weights drawn with seed 0.
    """

    name: str
    weights: Path | None = None
    changes: Changes = UNCHANGED

    def __post_init__(self) -> None:
        if self.architecture not in MODELS and self.name != FORMER_DEMO:
            raise UsageError(f"unknown model {self.name!r}; use one of {', '.join(MODELS)}")
        if self.weights is not None and self.name == FORMER_DEMO:
            raise UsageError(f"{FORMER_DEMO} takes no weights: what is stored of it can only be read")
        if self.weights is not None and self.untrained_seed is not None:
            raise UsageError(f"{self.name} has weights of its own; a file of weights goes with {self.architecture}")

    @property
    def architecture(self) -> str:
        return architecture_of(self.name)

    @property
    def untrained_seed(self) -> int | None:
        return untrained_seed(self.name)

    @property
    def preprocessing(self) -> Preprocessing:
        """What its weights want, changed as was said. An untrained copy is shown what the trained network is.

        Raises UsageError for what makes no sense, WeightsError where what lies beside the weights cannot be read.
        """
        if None not in vars(self.changes).values():
            return usual(self.name).changed(self.changes)
        return of_weights(self.architecture, self.weights).changed(self.changes)

    @property
    def seen_text(self) -> str:
        """As `ModelInfo.preprocessing`. Raises as `preprocessing` does."""
        return identity_text(self.preprocessing.seen, usual(self.name).seen)

    @property
    def is_downloaded(self) -> bool:
        """Whether its weights come from elsewhere unless they were fetched before."""
        return self.weights is None and self.untrained_seed is None and self.name not in (DEMO_MODEL, FORMER_DEMO)

    def check_computable(self) -> None:
        """Raises WeightsError for the former demo, whose weights nobody has any more."""
        if self.name == FORMER_DEMO:
            raise WeightsError(
                f"{FORMER_DEMO} is the demo model of versions up to 0.2, whose weights are gone: what is stored of it "
                f"can be read but not added to; --model {DEMO_MODEL} computes today's"
            )

    @property
    def text(self) -> str:
        """Changes whenever the weights may have: what the store remembers a fingerprint by, to spare loading them.

        Raises WeightsError when the weights file is not there or is none, and as `preprocessing` does.
        """
        seen = self.seen_text
        return f"{self._weights_text}, {seen}" if seen else self._weights_text

    @property
    def _weights_text(self) -> str:
        if self.weights is not None:
            status = check_weights_file(self.weights)
            return f"{self.name} {canonical_path(self.weights)} {status.st_size} {status.st_mtime_ns}"
        if self.name == FORMER_DEMO:
            return f"{DEMO_MODEL} {_FORMER_WEIGHTS}"
        if self.untrained_seed is not None:
            # The former demo's copies were of another network and had the text without.
            return f"{self.name} initial weights" + (", second network" if self.architecture == DEMO_MODEL else "")
        if self.name == DEMO_MODEL:
            from streamscope.core.model.demo import weights_path

            return f"{self.name} {hashlib.sha256(weights_path().read_bytes()).hexdigest()}"
        return f"{self.name} default weights"
