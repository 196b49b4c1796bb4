"""Which model is meant, by name and weights. Never imports torch, so that the app can use it."""

from __future__ import annotations

import difflib
import hashlib
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from streamscope.core.errors import ArchitectureError, UsageError, WeightsError
from streamscope.core.model.blocks import MAX_NAME, ModelInfo
from streamscope.core.model.networks import NETWORKS
from streamscope.core.model.preprocessing import (
    UNCHANGED,
    Changes,
    Preprocessing,
    identity_text,
    usual,
)
from streamscope.core.model.preprocessing_sources import TORCHVISION, of_weights
from streamscope.core.model.sources.addresses import (
    code_digest,
    find_module,
    is_file,
    is_timm,
    read_code,
    split_own,
)

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
RELEASES = {
    **{name: tuple(releases) for name, releases in TORCHVISION.items()},
    **{name: tuple(entry.releases) for name, entry in NETWORKS.items() if entry.releases},
}
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
"""Those whose blocks are known without building them."""
OTHERS = "timm:NAME, FILE.py:FUNCTION or PACKAGE.MODULE:FUNCTION"
"""How networks of timm's and of one's own are named."""
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


def names_a_model(architecture: str) -> bool:
    """Whether there may be a network of this name, as far as a name alone can tell."""
    return (
        architecture in MODELS
        or architecture in NETWORKS
        or is_timm(architecture)
        or split_own(architecture) is not None
    )


def unknown_model(name: str) -> UsageError:
    """What is said of a name that no model has."""
    near = difflib.get_close_matches(name, NETWORKS, 3)
    others = f", {' or '.join(near)} (the nearest of {len(NETWORKS)} others)" if near else ""
    return UsageError(f"unknown model {name!r}; use one of {', '.join(MODELS)}{others}; {OTHERS}")


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
    code: Path | None = None
    """The file of one's own network; None for any other, and where the module was not found."""
    pinned: str = field(default="", compare=False)
    """SHA-256 of what `code` must hold to be run; "" where anything it holds may be."""

    def __post_init__(self) -> None:
        if not names_a_model(self.architecture) and self.name != FORMER_DEMO:
            raise unknown_model(self.name)
        own = split_own(self.architecture)
        if own is not None and (not self.name.isprintable() or len(self.name) > MAX_NAME):
            raise UsageError(
                f"a name of more than {MAX_NAME} characters, or of ones that cannot be shown: {self.name!r}"
            )
        if own is not None and is_file(own[0]) and (self.code is None or self.code.name != own[0]):
            raise UsageError(f"{self.name} is a network of somebody's own, and where its file is was not said")
        if own is None and self.code is not None:
            raise UsageError(f"{self.name} needs no file of code, and {self.code} is named")
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

        A file that has such a name is taken for one. A network of one's own is `FILE.py:FUNCTION`, by any path, or
        `PACKAGE.MODULE:FUNCTION`. Raises UsageError, and WeightsError for an address.
        """
        own = split_own(architecture_of(name))
        if own is not None:
            code = Path(os.path.abspath(own[0])) if is_file(own[0]) else find_module(own[0])
            shown = name if code is None or not is_file(own[0]) else f"{code.name}{name.removeprefix(own[0])}"
            if weights is not None and _URL.match(weights):
                raise WeightsError(f"{weights} is an address, not a file: download it, and pass the file")
            return cls(shown, Path(weights) if weights else None, changes, entry, code=code)
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
    def address(self) -> str:
        """What `--model` takes: of one's own file with its path."""
        own = split_own(self.architecture)
        if own is None or not is_file(own[0]):
            return self.name
        return f"{self.code}{self.name.removeprefix(own[0])}"

    @property
    def is_own(self) -> bool:
        """Whether code of the user's own makes it."""
        return split_own(self.architecture) is not None

    @property
    def code_sha256(self) -> str:
        """SHA-256, hex, of its own code as it is now; "" for one that has none. Raises ArchitectureError."""
        return code_digest(read_code(self._check_code())) if self.is_own else ""

    @property
    def says_preprocessing(self) -> bool:
        """Whether its preprocessing is known by its name and weights; timm's and one's own say it when they are built,
        and descriptions of them have it."""
        return not self.is_own and not is_timm(self.architecture)

    @property
    def preprocessing(self) -> Preprocessing:
        """What its weights want, changed as was said. An untrained copy is shown what the trained network is.

        Raises UsageError for what makes no sense, or where only the network can say (`says_preprocessing`),
        WeightsError where what lies beside the weights cannot be read.
        """
        if not self.says_preprocessing:
            raise UsageError(f"what {self.name} is shown is known once it is built")
        return self.wanted(self._usual).changed(self.changes)

    @property
    def _usual(self) -> Preprocessing:
        entry = NETWORKS.get(self.architecture)
        return usual(self.name) if entry is None else entry.preprocessing

    def wanted(self, own: Preprocessing) -> Preprocessing:
        """What its weights want, before anything else is said: of weights that do not say `own`, the network's.

        Raises as `preprocessing` does.
        """
        if None not in vars(self.changes).values():
            return own
        entry = NETWORKS.get(self.architecture)
        for name, release in entry.releases.items() if entry is not None else ():
            if name == self.release or (self.weights is not None and self.weights.name == f"{release.file}.pth"):
                return release.preprocessing
        return of_weights(self.architecture, Path(self.release) if self.release else self.weights, own)

    def showing(self, info: ModelInfo) -> ModelInfo:
        """This model as it was described, shown photographs as was said or as its weights want.

        Raises as `preprocessing` does.
        """
        if self.says_preprocessing:
            return info.showing(self.preprocessing)
        return info.showing((info.wanted or info.full_preprocessing).changed(self.changes))

    @property
    def seen_text(self) -> str:
        """As `ModelInfo.preprocessing`, or what was said of it where only the network can say the rest.

        Raises as `preprocessing` does.
        """
        if not self.says_preprocessing:
            return " ".join(replace(self.changes, resize=None, interpolation=None).words())
        return identity_text(self.preprocessing.seen, usual(self.name).seen)

    @property
    def is_downloaded(self) -> bool:
        """Whether its weights come from elsewhere unless they were fetched before."""
        elsewhere = self.architecture in RELEASES or is_timm(self.architecture)
        return elsewhere and self.weights is None and self.untrained_seed is None

    @property
    def missing(self) -> str:
        """Which file of its code or weights is not there, in words; "" where all are. What is stored of it can be read
        even so."""
        try:
            if self.is_own:
                self._check_code()
        except ArchitectureError as error:
            return str(error)
        return "" if self.weights is None or os.path.exists(self.weights) else f"no such file: {self.weights}"

    def _check_code(self) -> Path:
        """The file of one's own network. Raises ArchitectureError where it is gone."""
        own = split_own(self.architecture)
        if self.code is None and own is not None:
            raise ArchitectureError(f"no module {own[0]} in the installed packages or in {Path.cwd()}")
        if self.code is None or not os.path.exists(self.code):
            raise ArchitectureError(f"no such file: {self.code}")
        return self.code

    def check_computable(self) -> None:
        """Raises WeightsError for the former demo, whose weights nobody has any more, and where the file of the weights
        is gone, ArchitectureError where that of the code is."""
        if self.name == FORMER_DEMO:
            raise WeightsError(
                f"{FORMER_DEMO} is the demo model of versions up to 0.2, whose weights are gone: what is stored of it "
                f"can be read but not added to; --model {DEMO_MODEL} computes today's"
            )
        if self.is_own:
            self._check_code()
        if self.weights is not None:
            check_weights_file(self.weights)

    @property
    def text(self) -> str:
        """Changes whenever the weights may have: what the store remembers a fingerprint by, to spare loading them.

        Raises WeightsError when the weights file is not there or is none, ArchitectureError when the code is not, and
        as `preprocessing` does.
        """
        seen = self.seen_text
        return f"{self._weights_text}, {seen}" if seen else self._weights_text

    @property
    def former_texts(self) -> re.Pattern[str]:
        """What `text` may have been while all of its files were there."""
        gone = "\0"

        def stamp(weights: Path) -> str:
            return gone if not os.path.exists(weights) else _stamp(weights)

        if not self.is_own:
            text = self._text_of_files("", stamp)
        elif self.code is None:
            text = self._text_of_files(gone, stamp)
        else:
            there = os.path.exists(self.code)
            text = self._text_of_files(self._code_text if there else f"{canonical_path(self.code)} {gone}", stamp)
        said = replace(self.changes, resize=None, interpolation=None) != UNCHANGED
        # A folder of weights that is gone may have said more of what pictures it is shown.
        rest = re.escape(f", {self.seen_text}") if said else "(, .*)?"
        return re.compile("[^,]*".join(map(re.escape, text.split(gone))) + rest)

    @property
    def _weights_text(self) -> str:
        return self._text_of_files(self._code_text if self.is_own else "", _stamp)

    @property
    def _code_text(self) -> str:
        code = self._check_code()
        return f"{canonical_path(code)} {code_digest(read_code(code))}"

    def _text_of_files(self, code: str, stamp: Callable[[Path], str]) -> str:
        own = f"{self.name} {code}" if code else ""
        if self.weights is not None:
            chosen = f" {self.entry}" if self.entry else ""
            return f"{own or self.name} {canonical_path(self.weights)} {stamp(self.weights)}{chosen}"
        if own:
            return own
        if self.name == FORMER_DEMO:
            return f"{DEMO_MODEL} {_FORMER_WEIGHTS}"
        if self.untrained_seed is not None:
            # The former demo's copies were of another network and had the text without.
            return f"{self.name} initial weights" + (", second network" if self.architecture == DEMO_MODEL else "")
        if self.name == DEMO_MODEL:
            from streamscope.core.model.demo import weights_path

            return f"{self.name} {hashlib.sha256(weights_path().read_bytes()).hexdigest()}"
        return f"{self.name} {self.release or 'default'} weights"
