"""What a job is to do. Written into its folder by whoever starts it, read back by its worker and by who shows it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streamscope.core.model.blocks import MAX_CHANNELS
from streamscope.core.model.preprocessing import UNCHANGED, Changes
from streamscope.core.model.recipe import UNSAID_PROTOCOL, Recipe, SetKey
from streamscope.core.model.spec import ModelSpec, canonical_path
from streamscope.core.schema import MalformedError, build_known, whole_number
from streamscope.core.store.files.documents import stored_path

COMMAND = "command"
"""The objective of a job that is a command. Earlier versions have none of that name and refuse the job."""
NO_DEVICE = "none"
"""The device of commands that only read: they do not wait for what computes."""


@dataclass(frozen=True)
class JobSpec:
    """The FZs that a job computes, of which model, and on what.

    It is as it was written, by this version or another: what it names may not exist, captures and objectives too.
    `core.jobs.plan.Request` is the same checked against the network. What is empty or None leaves the choice to the
    worker.
    """

    model: str
    weights: Path | None = None
    """A file or folder of weights, by its canonical path whatever it was given as; None for the model's own."""
    preprocessing: Changes = UNCHANGED
    """What was said of the model's preprocessing."""
    entry: str = ""
    """Which weights of a file that has several; "" where one set of them fits."""
    release: str = ""
    """The name of torchvision's weights, where they are not its default."""
    code: Path | None = None
    """The file of one's own network, by its canonical path. It is run for whoever wrote the job, and nobody else."""
    code_sha256: str = ""
    """What that file held when the job was made: nothing else is run for it; "" for what it holds by then."""
    device: str = "auto"
    devices: tuple[str, ...] = ()
    """One worker process for each; empty for a single one on `device`."""
    scheduler: str | None = None
    """Address of the Dask scheduler whose cluster computes. For people to read: nobody connects to what a record
    names, since whoever may write to a store may put one there."""
    recipe: Recipe | None = None
    """None for the model's default recipe, with `steps` where they are given."""
    steps: int | None = None
    seed: int = 0
    capture: str = "exact"
    objective: str = "neuron"
    protocol: str = UNSAID_PROTOCOL
    blocks: tuple[str, ...] = ()
    tensors: tuple[str, ...] = ()
    channels: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """By block, where not all of its channels are meant."""
    batch: int | None = None
    """Width of the fixed channel ranges."""
    command: tuple[str, ...] = ()
    """The words of the streamscope command that the job is, its name first; () for a job that optimises FZs."""
    title: str = ""
    """What such a command is for, for people: `shams and pairs of 2.1`."""
    part_of: str = ""
    """The job whose command had this one done; "" for one of its own."""

    def __post_init__(self) -> None:
        if self.weights is not None:
            object.__setattr__(self, "weights", canonical_path(self.weights))
        if self.code is not None:
            # Not through links: what a file is called is the network's name, and its folder has what it imports.
            object.__setattr__(self, "code", Path(os.path.abspath(self.code)))

    @classmethod
    def of_set(
        cls,
        model: ModelSpec,
        key: SetKey,
        blocks: Iterable[str],
        tensors: Iterable[str],
        channels: Mapping[str, Iterable[int]],
        device: str = "auto",
        devices: Iterable[str] = (),
        scheduler: str | None = None,
        batch: int | None = None,
    ) -> JobSpec:
        """A job that adds to one set of FZs."""
        return cls(
            model=model.name,
            weights=model.weights,
            preprocessing=model.changes,
            entry=model.entry,
            release=model.release,
            code=model.code,
            code_sha256=model.code_sha256,
            device=device,
            devices=tuple(devices),
            scheduler=scheduler,
            recipe=key.recipe,
            steps=key.recipe.steps,
            seed=key.seed,
            capture=key.capture,
            objective=key.objective,
            protocol=key.protocol,
            blocks=tuple(blocks),
            tensors=tuple(tensors),
            channels={block: tuple(numbers) for block, numbers in channels.items()},
            batch=batch,
        )

    @classmethod
    def of_command(
        cls, model: ModelSpec, command: Iterable[str], title: str, device: str, blocks: Iterable[str] = ()
    ) -> JobSpec:
        """A job that is a command about a model. `device` says in whose queue it waits: NO_DEVICE in that of commands
        that only read."""
        return cls(
            model=model.name,
            weights=model.weights,
            preprocessing=model.changes,
            entry=model.entry,
            release=model.release,
            code=model.code,
            code_sha256=model.code_sha256,
            device=device,
            objective=COMMAND,
            blocks=tuple(blocks),
            command=tuple(command),
            title=title,
        )

    @property
    def kind(self) -> str:
        """What is made: `FZs`, `decide`, or the name of the command."""
        if not self.command:
            return "FZs"
        return "decide" if "--decide" in self.command else self.command[0]

    @property
    def model_spec(self) -> ModelSpec:
        """Raises UsageError for a model that there is none of."""
        return ModelSpec(
            self.model, self.weights, self.preprocessing, self.entry, self.release, self.code, self.code_sha256
        )

    def is_of(self, model: ModelSpec) -> bool:
        """Whether it is about this model, by whichever path to the weights either was given."""
        weights = canonical_path(model.weights) if model.weights is not None else None
        code = Path(os.path.abspath(model.code)) if model.code is not None else None
        other = model.name, weights, model.changes, model.entry, model.release, code
        return (self.model, self.weights, self.preprocessing, self.entry, self.release, self.code) == other

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "weights": str(self.weights) if self.weights is not None else None,
            # Jobs are older than these, and than protocols.
            **({} if self.preprocessing == UNCHANGED else {"preprocessing": self.preprocessing.to_json()}),
            **({"entry": self.entry} if self.entry else {}),
            **({"release": self.release} if self.release else {}),
            **({"code": str(self.code)} if self.code is not None else {}),
            **({"code_sha256": self.code_sha256} if self.code_sha256 else {}),
            "device": self.device,
            "devices": list(self.devices),
            "scheduler": self.scheduler,
            "recipe": self.recipe.to_json() if self.recipe is not None else None,
            "steps": self.steps,
            "seed": self.seed,
            "capture": self.capture,
            "objective": self.objective,
            **({} if self.protocol == UNSAID_PROTOCOL else {"protocol": self.protocol}),
            "blocks": list(self.blocks),
            "tensors": list(self.tensors),
            "batch": self.batch,
            "channels": {block: list(numbers) for block, numbers in self.channels.items()},
            **({"command": list(self.command), "title": self.title} if self.command else {}),
            **({"part_of": self.part_of} if self.part_of else {}),
        }

    @classmethod
    def from_json(cls, data: Any) -> JobSpec:
        """Every key may be missing or null. Raises MalformedError, UnknownFieldError for a later version's recipe,
        UsageError."""
        if not isinstance(data, dict):
            raise MalformedError("a job is described by an object")
        record = build_known(_Record, {name: value for name, value in data.items() if value is not None})
        weights = stored_path(record.weights) if record.weights else None
        code = stored_path(record.code) if record.code else None
        return cls(**{**vars(record), "weights": weights, "code": code})


@dataclass(frozen=True)
class _Record:
    """A `JobSpec` as it is written."""

    model: str = ""
    weights: str = ""
    preprocessing: Changes = UNCHANGED
    entry: str = ""
    release: str = ""
    code: str = ""
    code_sha256: str = ""
    device: str = "auto"
    devices: tuple[str, ...] = ()
    scheduler: str | None = None
    recipe: Recipe | None = None
    steps: int | None = None
    seed: int = 0
    capture: str = "exact"
    objective: str = "neuron"
    protocol: str = UNSAID_PROTOCOL
    blocks: tuple[str, ...] = ()
    tensors: tuple[str, ...] = ()
    channels: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    batch: int | None = None
    command: tuple[str, ...] = ()
    title: str = ""
    part_of: str = ""

    def __post_init__(self) -> None:
        for channels in self.channels.values():
            for channel in channels:
                whole_number(channel, 0, MAX_CHANNELS - 1)
