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
from streamscope.core.model.preprocessing_sources import TORCHVISION, of_weights

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
RELEASES = {name: tuple(releases) for name, releases in TORCHVISION.items()}
"""The names of torchvision's weights of each, the default last; a test compares with the installed torchvision."""
WEIGHTS_IN_FOLDER = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""What a folder of weights has one of, as Hugging Face lays it out; the first that is there counts."""
DEMO_MODEL = "demo"
MODELS = (*RESNETS, DEMO_MODEL)
FORMER_DEMO = "demo-0.2"
"""The demo model of versions up to 0.2: another network, whose weights are not in the package any more. What stores
have of it is read by this name; nothing more of it can be computed."""
_FORMER_WEIGHTS = "3d29364b2599a9be3b53f0304aa581cc894352925c6af5c1f7dbe1322726b22b"
"""SHA-256 of the file of its weights, by which stores remember it."""
_RELEASE = re.compile(r"(?:(\w+)_Weights\.)?(DEFAULT|[A-Z0-9]+(?:_[A-Z0-9]+)*_V\d+)")
"""torchvision's weights by name: `IMAGENET1K_V1`, `ResNet18_Weights.DEFAULT`."""
_URL = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
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
    """What the file system says of a file of weights, or of a folder that Hugging Face would know as such.

    Raises WeightsError where it is missing, or a folder of something else.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise WeightsError(f"no such file: {path}") from error
    if stat.S_ISDIR(status.st_mode) and not any((path / name).is_file() for name in WEIGHTS_IN_FOLDER):
        raise WeightsError(f"{path} is a directory, and none of weights: it has no {', '.join(WEIGHTS_IN_FOLDER[:-1])}")
    return status


def _stamp(path: Path) -> str:
    """Changes whenever a file, or what counts in a folder, may have. Raises WeightsError."""
    status = check_weights_file(path)
    if not stat.S_ISDIR(status.st_mode):
        return f"{status.st_size} {status.st_mtime_ns}"
    files = sorted(file for file in path.iterdir() if file.suffix in (".json", ".safetensors", ".bin"))
    states = [(file.name, file.stat()) for file in files if file.is_file()]
    listing = "\n".join(f"{name} {state.st_size} {state.st_mtime_ns}" for name, state in states)
    return f"{len(states)} files {hashlib.sha256(listing.encode(errors='surrogateescape')).hexdigest()}"


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
    """A file, or a folder as Hugging Face lays it out."""
    changes: Changes = UNCHANGED
    entry: str = ""
    """Which weights of a file that has several, such as `teacher`; "" where one set of them fits."""
    release: str = ""
    """The name of torchvision's weights, such as IMAGENET1K_V1, where they are not its default."""

    def __post_init__(self) -> None:
        if self.architecture not in MODELS and self.name != FORMER_DEMO:
            raise UsageError(f"unknown model {self.name!r}; use one of {', '.join(MODELS)}")
        if self.weights is not None and self.name == FORMER_DEMO:
            raise UsageError(f"{FORMER_DEMO} takes no weights: what is stored of it can only be read")
        if self.weights is not None and self.untrained_seed is not None:
            raise UsageError(f"{self.name} has weights of its own; a file of weights goes with {self.architecture}")
        if self.entry and self.weights is None:
            raise UsageError(f"{self.entry!r} is to be chosen in a file of weights, and none is named")
        if self.release and (self.weights is not None or self.release not in RELEASES.get(self.name, ())):
            known = ", ".join(RELEASES.get(self.name, ())) or "none"
            raise UsageError(f"{self.name} has no weights {self.release}; of torchvision's there are: {known}")

    @classmethod
    def given(cls, name: str, weights: str | None = None, entry: str = "", changes: Changes = UNCHANGED) -> ModelSpec:
        """The model of a command line: `weights` is a file, a folder, or the name of torchvision's weights.

        A file that has such a name is taken for one. Raises UsageError, and WeightsError for an address.
        """
        if weights is None:
            return cls(name, changes=changes, entry=entry)
        if _URL.match(weights):
            raise WeightsError(f"{weights} is an address, not a file: download it, and pass the file")
        named = _RELEASE.fullmatch(weights)
        if named is None or os.path.exists(weights):
            return cls(name, Path(weights), changes, entry)
        release = named[2]
        known = RELEASES.get(name, ())
        if named[1] is not None and named[1].lower() != name:
            raise UsageError(
                f"{weights} are not weights of {name}; of torchvision's there are: {', '.join(known) or 'none'}"
            )
        # The default has a name too, and what is stored of it is of the model without one.
        release = "" if known and release in ("DEFAULT", known[-1]) else release
        return cls(name, changes=changes, entry=entry, release=release)

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
        return of_weights(self.architecture, Path(self.release) if self.release else self.weights).changed(self.changes)

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
            chosen = f" {self.entry}" if self.entry else ""
            return f"{self.name} {canonical_path(self.weights)} {_stamp(self.weights)}{chosen}"
        if self.name == FORMER_DEMO:
            return f"{DEMO_MODEL} {_FORMER_WEIGHTS}"
        if self.untrained_seed is not None:
            # The former demo's copies were of another network and had the text without.
            return f"{self.name} initial weights" + (", second network" if self.architecture == DEMO_MODEL else "")
        if self.name == DEMO_MODEL:
            from streamscope.core.model.demo import weights_path

            return f"{self.name} {hashlib.sha256(weights_path().read_bytes()).hexdigest()}"
        return f"{self.name} {self.release or 'default'} weights"
