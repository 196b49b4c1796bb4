"""The command line that makes what is missing: an error or a report names one that can be pasted as it stands."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import streamscope
from streamscope.core.errors import HomeError
from streamscope.core.model.blocks import ModelInfo
from streamscope.core.model.preprocessing import UNCHANGED, Changes
from streamscope.core.model.recipe import DEFAULT_PROTOCOL, SetKey
from streamscope.core.model.spec import ModelSpec
from streamscope.core.store.files.users import user_folder

if TYPE_CHECKING:
    from streamscope.core.analysis.nulls import Lacking

DEFAULT_MODEL = "resnet18"
"""What a command line that names no model is about."""


@dataclass(frozen=True)
class CommandLine:
    """The model and the store that commands are to be about; None for what they find by themselves."""

    model: str = DEFAULT_MODEL
    weights: Path | str | None = None
    """A file or folder, or the name of torchvision's."""
    cache: Path | None = None
    changes: Changes = UNCHANGED
    """Of the model's preprocessing."""
    entry: str = ""
    """Which weights of a file that has several."""

    def __call__(self, *words: object) -> str:
        """`streamscope --model demo scan DIR` for the words `scan`, `DIR`."""
        return shlex.join(("streamscope", *self.words(*words)))

    def words(self, *words: object) -> tuple[str, ...]:
        """What follows the name of the program."""
        common: list[object] = []
        if self.model != DEFAULT_MODEL:
            common += ["--model", self.model]
        if self.weights is not None:
            common += ["--weights", self.weights]
        if self.entry:
            common += ["--weights-entry", self.entry]
        common += self.changes.words()
        if self.cache is not None:
            common += ["--cache", self.cache]
        return tuple(str(word) for word in (*common, *words))


def default_cache() -> Path:
    """`$STREAMSCOPE_CACHE`, else `cache/` in a checkout, else the user's cache folder. Raises HomeError."""
    if os.environ.get("STREAMSCOPE_CACHE"):
        return Path(os.environ["STREAMSCOPE_CACHE"])
    checkout = Path(streamscope.__file__).parent.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / "cache").is_dir():
        return checkout / "cache"
    return user_folder("cache", "STREAMSCOPE_CACHE")


def command_line(spec: ModelSpec, cache: Path) -> CommandLine:
    """Commands about this model in this store, to be shown and pasted. The store they find unasked is not named."""
    try:
        named = cache != default_cache()
    except HomeError:
        named = True
    weights = spec.weights or spec.release or None
    return CommandLine(spec.address, weights, cache if named else None, changes=spec.changes, entry=spec.entry)


def block_words(blocks: Iterable[str]) -> tuple[str, ...]:
    """The options that name blocks."""
    return tuple(word for block in blocks for word in ("--block", block))


def null_words(nulls: Iterable[Lacking]) -> tuple[str, ...]:
    """The options of `streamscope nulls` that compute what is lacking."""
    options: dict[Lacking, tuple[str, ...]] = {
        "pairs": ("--pairs",),
        "sham": ("--shams",),
        "untrained": ("--untrained",),
        "seeds": ("--seeds", "1,2"),
        "images": ("--by-images",),
    }
    wanted = list(nulls)
    # Without images there is nothing by images to compute.
    every = options.keys() - {"images"} <= set(wanted)
    return ("--all",) if every else tuple(word for null in wanted for word in options[null])


def set_words(key: SetKey, info: ModelInfo) -> tuple[str, ...]:
    """The options that name a set of a model; none for the set that it makes unasked."""
    words: list[str] = []
    if key.protocol != DEFAULT_PROTOCOL:
        words += ["--protocol", key.protocol]
    if key.recipe.settings != key.protocol:
        words += ["--recipe", key.recipe.settings]
    if key.recipe.steps != info.recipe(key.recipe.settings).steps:
        words += ["--steps", str(key.recipe.steps)]
    if key.seed:
        words += ["--seed", str(key.seed)]
    if key.capture != "exact":
        words += ["--capture", key.capture]
    if key.recipe.plateau is not None:
        words += ["--until-converged"]
    if key.objective != "neuron":
        words += ["--objective", key.objective]
    return tuple(words)
