"""What records in the store say, and whether they lie where they belong.

The record of a batch names what it is of: the model, the set, the tensor. `Place` is what a folder expects of the
records in it; a batch that was copied elsewhere does not fit, and is not read as if it were of its new place.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, cast

from streamscope.core.errors import DamageError, MisplacedError, NewerError
from streamscope.core.model.blocks import MAX_CHANNELS, ModelInfo
from streamscope.core.model.preprocessing import Interpolation
from streamscope.core.model.recipe import PROTOCOLS, UNSAID_PROTOCOL, Capture, Objective, Protocol, Recipe, SetKey
from streamscope.core.schema import MalformedError, parse_object
from streamscope.core.store.files.documents import encode, malformed
from streamscope.core.store.layout import batch_name

_DEFAULTS = {"objective": "neuron", "protocol": UNSAID_PROTOCOL, "graph": "", "preprocessing": ""}
"""What is meant by a record that does not say: records are older than these."""
RECORD = "batch.json"
RESPONSES_OWN = frozenset({"engine", "device", "images", "created", "read", "channels", "versions"})
"""What a record of responses says besides where it belongs."""
RESPONSES_OPTIONAL = frozenset({"recipe", "capture", "retry"})
"""What 0.2.0 did not say of the set whose FZs they are responses to."""
PHOTOGRAPHS_OWN = frozenset({"engine", "device", "created", "channels", "scales"})
"""The same of a record of photographs."""
KINDS = ("fzs", "measures", "curves", "shams", "photographs")
"""Of batches."""
_SUBJECTS = frozenset({"target", "block", "on", "variant", "retry", "recipe", "seed", "capture", "scan"})
"""What some batches are of and others not."""
LATEST = 2**40
"""Seconds since 1970 that no clock shows."""
_MISSING = object()
_NEXT, _REST = b',\n "created": ', b'{"created": '
"""What follows the header of a batch's record, and how the rest becomes an object of its own."""


@dataclass(frozen=True)
class SetRecord:
    """`set.json`."""

    fingerprint: str
    recipe: Recipe
    seed: int
    capture: Capture
    objective: Objective = "neuron"
    protocol: str = UNSAID_PROTOCOL
    graph: str = ""
    preprocessing: str = ""
    engine: str = ""
    created: float = 0.0
    model: str = ""

    @property
    def key(self) -> SetKey:
        """Raises UsageError."""
        return SetKey(self.recipe, self.seed, self.capture, self.objective, cast(Protocol, self.protocol))

    @property
    def identity_fields(self) -> dict[str, str]:
        return {"fingerprint": self.fingerprint, "graph": self.graph, "preprocessing": self.preprocessing}


@dataclass(frozen=True)
class CompletedRecord:
    """`completed.json`; `set` is the folder's name."""

    time: float
    job: str
    set: str | None = None


@dataclass(frozen=True)
class ScanRecord:
    """`scan.json`; `scan` is the folder's name."""

    model: str
    fingerprint: str
    source: str
    images: int
    preparation: str = ""
    engine: str = ""
    created: float = 0.0
    value_range: tuple[float, float] | None = None
    exif_rotate: bool = False
    background: tuple[int, int, int] | None = None
    """These as `images.pixels.Interpretation` has them."""
    resize: int | None = None
    interpolation: Interpolation = "bilinear"
    """Where images were not prepared as versions up to 0.2 did, as `images.folder.Preparation` has them."""
    scan: str | None = None
    graph: str = ""
    preprocessing: str = ""

    @property
    def identity_fields(self) -> dict[str, str]:
        return {"fingerprint": self.fingerprint, "graph": self.graph, "preprocessing": self.preprocessing}


@dataclass(frozen=True)
class FinishedRecord:
    """`finished.json` of a scan; `scan` is the folder's name."""

    time: float
    scan: str | None = None


@dataclass(frozen=True)
class ImagesRecord:
    """`images.json` of a scan's result; `scan` is the scan's folder's name."""

    images: tuple[tuple[str, str, str], ...]
    """Path, class folder or "", SHA-256."""
    unreadable: tuple[tuple[str, str], ...]
    """Path, what was wrong."""
    provenance: Mapping[str, Any]
    traits: Mapping[str, int] | None = None
    """How many images have each; 0.2.0 did not look."""
    scan: str | None = None


@dataclass(frozen=True)
class ChunkRecord:
    """`images.json` of a chunk of a scan in the making."""

    images: tuple[tuple[str, str, str, str], ...]
    """Path, class folder or "", SHA-256, what was wrong or ""."""
    traits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By path."""
    scan: str | None = None


@dataclass(frozen=True)
class AliasRecord:
    """Which model a name or a file of weights stands for; `fingerprint` is the model's identity."""

    spec: str
    fingerprint: str
    layout: str = ""
    """What was done to get the weights out of their file; "" for nothing."""
    warnings: tuple[str, ...] = ()
    """Ways in which the file says that its network is another than it is taken for."""


@dataclass(frozen=True)
class FormatRecord:
    """`store.json`."""

    format: int
    by: str = ""


@dataclass(frozen=True)
class Place:
    """What the records of a folder's batches must say: `header` as JSON, in the order in which it is written.

    `optional` are fields that an earlier version did not write; `own` are those that every batch says for itself.
    """

    header: Mapping[str, Any]
    own: frozenset[str]
    channels: int
    """Of the block."""
    optional: frozenset[str] = frozenset()

    @cached_property
    def prefix(self) -> bytes:
        """How a record that belongs here begins, as this version writes it and 0.2.0 did."""
        # As `encode`, which takes most of the time of planning a small set: its layout is not the fast one's.
        return b"{\n" + b",\n".join(_encoded(name, value) for name, value in self.header.items()) + _NEXT

    @cached_property
    def _expected(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(json.dumps(self.header))
        return found

    @cached_property
    def _known(self) -> frozenset[str]:
        return self.own | self.header.keys()

    def read(self, folder: Path, content: bytes) -> dict[str, Any]:
        """What the record of a batch in `folder` says for itself; perhaps also what every batch here says.

        Raises MisplacedError, NewerError, or DamageError where it is no record or lacks a field.
        """
        if content.startswith(self.prefix):
            # Half of a record is what all batches here say: it is compared as bytes, and only the rest is parsed.
            try:
                rest = parse_object(_REST + content[len(self.prefix) :])
                if rest.keys() <= self.own:
                    return rest
            except MalformedError:  # `suppress` costs a tenth of the parsing
                pass
        with malformed(folder / RECORD):
            record = parse_object(content)
        self._check(folder, record)
        return record

    def _check(self, folder: Path, record: Mapping[str, Any]) -> None:
        path, kind = folder / RECORD, record.get("kind")
        if kind in KINDS and kind != self.header["kind"]:
            raise MisplacedError(f"{folder} {_difference('kind', record, self.header)}")
        protocol = record.get("protocol", UNSAID_PROTOCOL)
        unknown = [name for name in record if not (name in self._known or name in _DEFAULTS or name in _SUBJECTS)]
        if unknown or protocol not in PROTOCOLS:
            what = f"protocol {_text(protocol)}" if not unknown else f"it says {_text(unknown[0])!r}"
            raise NewerError(f"{path} was written by a later version ({what})")
        expected = {**{name: value for name, value in _DEFAULTS.items() if name in record}, **self._expected}
        for name, value in expected.items():
            stored = record.get(name, _DEFAULTS.get(name, _MISSING))
            if stored is _MISSING and name not in self.optional | {"model"}:
                raise DamageError(f"{path} is damaged ({name!r} is missing)")
            # The same weights under two names are one model.
            if name != "model" and stored is not _MISSING and not _same(stored, value):
                raise MisplacedError(f"{folder} {_difference(name, record, expected)}")
        if more := sorted(_SUBJECTS & record.keys() - expected.keys()):
            raise MisplacedError(f"{folder} is of the {more[0]} {_text(record[more[0]])}")

    def check_channels(self, folder: Path, channels: Sequence[int]) -> None:
        """Whether a batch's channels are of the block, and those of its folder's name. Raises DamageError."""
        check_channels(folder, channels, self.channels)


def check_channels(folder: Path, channels: Sequence[int], count: int = MAX_CHANNELS) -> None:
    """Raises DamageError unless the channels are different, below `count` and those of the folder's name."""
    try:
        if set(map(type, channels)) != {int}:
            raise MalformedError("whole numbers are expected")
        name = _batch_name(tuple(channels), count)
    except ValueError as error:
        raise DamageError(f"{folder} is damaged (channels: {error})") from error
    if name != folder.name:
        raise MisplacedError(f"{folder} is of other channels ({name})")


@lru_cache(4096)
def _batch_name(channels: tuple[int, ...], count: int) -> str:
    """Many batches of a set have the same channels. Raises ValueError where they are not different, or not below
    `count`."""
    if not 0 <= min(channels) <= max(channels) < count:
        raise MalformedError(f"whole numbers from 0 to {count - 1} are expected")
    return batch_name(channels)


def checked_time(path: Path, time: float) -> float:
    """Seconds since 1970. Raises DamageError for what is no time."""
    if not 0 <= time < LATEST:
        raise DamageError(f"{path} is damaged ({_text(time)} is no time)")
    return time


def check_identity(path: Path, record: Mapping[str, str], model: str, info: ModelInfo) -> None:
    """Whether what a record says of its model is `info`. Raises MisplacedError."""
    if {name: value for name, value in record.items() if value} != info.identity_fields:
        shown = (f"{_text(model)} {_text(record['fingerprint'])[:12]}".strip(), f"{info.name} {info.fingerprint[:12]}")
        raise MisplacedError(f"{path} is of {shown[0]}, not {shown[1]}")


def _encoded(name: str, value: Any) -> bytes:
    """A field as `encode` writes it."""
    text = json.dumps(value)
    return f' "{name}": {text}'.encode() if isinstance(value, str | int) else _nested(name, text)


@lru_cache(1024)
def _nested(name: str, text: str) -> bytes:
    return encode({name: json.loads(text)}).removeprefix(b"{\n").removesuffix(b"\n}\n")


def _same(stored: Any, value: Any) -> bool:
    # true is 1 to Python.
    return bool(stored == value) and isinstance(stored, bool) == isinstance(value, bool)


def _difference(name: str, record: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    match name:
        case "kind":
            return f"holds {_text(record.get('kind'))}, not {expected['kind']}"
        case "target" | "block" | "on" | "variant":
            return f"is of {_subject(record)}, not {_subject(expected)}"
        case "fingerprint" | "graph" | "preprocessing":
            return f"is of the model {_model(record)}, not {_model(expected)}"
        case "recipe":
            return f"is of another recipe ({_recipe(record)}, not {_recipe(expected)})"
    return f"is of {name} {_text(record.get(name))}, not {_text(expected[name])}"


def _subject(record: Mapping[str, Any]) -> str:
    if "target" in record:
        return _text(record["target"])
    variant = record.get("variant")
    return f"{_text(record.get('block'))} on {_text(record.get('on'))}{f' ({_text(variant)})' if variant else ''}"


def _model(record: Mapping[str, Any]) -> str:
    more = [_text(record[name]) for name in ("graph", "preprocessing") if record.get(name)]
    return " ".join([_text(record.get("model", "")), _text(record.get("fingerprint"))[:12], *more]).strip()


def _recipe(record: Mapping[str, Any]) -> str:
    recipe = record.get("recipe")
    steps, name = (recipe.get("steps"), recipe.get("name")) if isinstance(recipe, dict) else (None, None)
    return f"{_text(name)} of {_text(steps)} steps"


def _text(value: Any) -> str:
    """What a record says, fit for one line."""
    text = str(value) if isinstance(value, str | int | float | None) else type(value).__name__
    return text if text.isprintable() and len(text) <= 80 else repr(text[:80])
