"""What a model's residual stream consists of, without its weights: blocks, tensors, FZ targets. Never imports torch."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np

from streamscope.core.errors import DamageError, NewerError, StreamscopeError, UsageError
from streamscope.core.model.preprocessing import (
    Changes,
    Colour,
    Interpolation,
    Preprocessing,
    former_resize,
    usual,
)
from streamscope.core.model.recipe import (
    CENTRED,
    DEFAULT_PROTOCOL,
    Capture,
    Objective,
    Protocol,
    Recipe,
    SetKey,
    jitter_for,
)
from streamscope.core.schema import MalformedError, UnknownFieldError, build

MAX_SIDE = 2**14
"""Pixels of an input's side; as `MAX_CHANNELS` and `MAX_FIELD` what no network comes near, and memory has room for."""
MAX_CHANNELS = 2**16
MAX_NAME = 200
MAX_FIELD = 2**20
_FINGERPRINT = re.compile("[0-9a-f]{64}")
_BLOCK_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
"""Blocks are names of folders too."""

Tensor = Literal["in", "block", "out"]
TENSORS: tuple[Tensor, ...] = ("in", "block", "out")
"""The tensors of a block that FZs are optimised for: what bypasses it, what it adds, and the stream after their sum."""

VERDICT_TENSORS: tuple[Tensor, ...] = ("in", "block")
"""The tensors whose FZs M and the scale criteria are read from; FZ(O) is for looking at."""

READ = ("in", "block", "pre")
"""The tensors whose centre activations are stored. `out` is what `Block.activation` makes of `pre`; measures that speak
of O take relu(pre), whichever activation follows."""


@dataclass(frozen=True)
class Block:
    """One residual block, `2.1` for torchvision's `layer2.1`."""

    name: str
    kind: Literal["simple", "downsample", "layer"]
    """A layer is one of a network that adds nothing to a stream: all of its tensors are its output."""
    channels: int
    previous: str | None
    """The block before it; None for the first, whose input is the stem's (max pool) output."""
    activation: str = "relu"
    """What the sum passes before the stream goes on; "" where the stream is the sum itself."""
    widens: bool = True
    """Whether `block` sees more of the image than `in`, by the local path: what the scale criteria presuppose."""

    @property
    def not_applicable(self) -> str:
        """Which measures are not defined of it, and why; "" where all are."""
        if self.kind == "layer":
            return "measures of the stream are not applicable: no addition was found"
        return "" if self.widens else "scale is not applicable: block sees no more of the image than in"

    @property
    def unrectified(self) -> str:
        """What is to be said beside O where no ReLU follows the sum; "" where one does, and of a layer's output."""
        if self.activation == "relu" or self.kind == "layer":
            return ""
        if not self.activation:
            return (
                "the stream has no activation after the sum: O is the sum itself, I + B; M, the criteria "
                "and curves of O rectify it as everywhere"
            )
        return (
            f"the sum passes {self.activation}, not a ReLU: O is shown before it, as I + B; M, the "
            "criteria and curves of O rectify it as everywhere"
        )


@dataclass(frozen=True, order=True)
class Target:
    """Where an FZ is optimised. A simple block's `in` is the previous block's `out`: one FZ, stored once."""

    block: str
    tensor: Tensor

    def __str__(self) -> str:
        return f"{self.block}.{self.tensor}"


@dataclass(frozen=True)
class Field:
    """The input pixels that a centre neuron reads: rows and columns `start` to `stop` - 1, within the image.

    `size` is the unclipped receptive field in pixels.
    """

    start: int
    stop: int
    size: int
    middle: float | None = None
    """(first + last) / 2 of the unclipped interval of pixels, on both axes; None where a description is older."""

    @property
    def centre(self) -> float:
        """The point that FZs are scaled about: `middle`. Raises StreamscopeError where a description is older."""
        if self.middle is None:
            raise StreamscopeError(
                "the model's description is of an earlier version and lacks the centres of its receptive fields; "
                "computing anything of the model adds them"
            )
        return self.middle


@dataclass(frozen=True)
class SkipWeights:
    """Per-channel weights of a block's last convolution and BN (Fig. 3); each a list of `channels` floats."""

    bn_weight: tuple[float, ...]
    conv_weight: tuple[float, ...]
    effective_gain: tuple[float, ...]


@dataclass(frozen=True)
class ModelInfo:
    """All that the table and the app need to know of a model, so that they never load its weights."""

    name: str
    fingerprint: str
    """SHA-256, hex, of the weights alone: every parameter and BN statistic. Those of `fc` count too: no FZ depends
    on them, but what ablations measure does."""
    input_size: int
    mean: Colour
    std: Colour
    blocks: tuple[Block, ...]
    default_blocks: tuple[str, ...]
    """The blocks studied when none is named: all but the first, whose input is a max pool."""
    default_recipe: Recipe
    """How its FZs are made by the paper's settings; `recipe` gives it with other steps, and other settings."""
    fields: dict[str, Field] = field(default_factory=dict)
    """Receptive field by target, `2.1.block` -> Field."""
    weights: dict[str, SkipWeights] = field(default_factory=dict)
    """Skip weights by block name."""
    graph: str = ""
    """Which operations the weights are run in, and in what order; "" for torchvision's of that name."""
    preprocessing: str = ""
    """Input size, mean and deviation in words; "" where they are the usual ones of such a network."""
    resize: int | None = field(default=None, compare=False)
    """Shorter side in px of photographs before their middle is cut out; None for 256 px for every 224 of the input, of
    the demo for none but the input's: what all descriptions meant before they said it.

    No FZ depends on it, so it does not make another model; each scan says its own.
    """
    interpolation: Interpolation = field(default="bilinear", compare=False)
    """As `resize`."""
    wanted: Preprocessing | None = None
    """What it is shown where nothing is said, of a network whose name does not tell: timm's or one's own."""
    code: str = ""
    """SHA-256, hex, of the file of one's own network that it was described from; "" for all others. It says where that
    comes from, not what it is: sets belong to weights, graph and preprocessing."""

    @property
    def shorter_side(self) -> int:
        """Of photographs, in px, before their middle is cut out."""
        return self.resize or former_resize(self.name, self.input_size)

    @property
    def full_preprocessing(self) -> Preprocessing:
        """All that is done to a photograph."""
        return Preprocessing(self.input_size, self.shorter_side, self.interpolation, self.mean, self.std)

    @property
    def unusual(self) -> Changes:
        """What of its input's size, mean and deviation is not as usual for such a network."""
        common = self.wanted or usual(self.name)
        return Changes(
            size=None if self.input_size == common.size else self.input_size,
            mean=None if self.mean == common.mean else self.mean,
            std=None if self.std == common.std else self.std,
        )

    def showing(self, preprocessing: Preprocessing) -> ModelInfo:
        """The same model, shown photographs so; itself where that is of another input's size."""
        if preprocessing.size != self.input_size:
            return self
        resize: int | None = preprocessing.resize
        if resize == former_resize(self.name, self.input_size):
            resize = None
        return replace(self, resize=resize, interpolation=preprocessing.interpolation)

    @property
    def identity(self) -> str:
        """What sets, scans and marks belong to, 64 hex digits: weights, graph and preprocessing.

        The fingerprint alone where the other two are the defaults.
        """
        if not self.graph and not self.preprocessing:
            return self.fingerprint
        return hashlib.sha256(json.dumps([self.fingerprint, self.graph, self.preprocessing]).encode()).hexdigest()

    @property
    def identity_fields(self) -> dict[str, str]:
        """What records say of it: defaults are left out, since records are older than they."""
        more = {"graph": self.graph, "preprocessing": self.preprocessing}
        return {"fingerprint": self.fingerprint, **{name: value for name, value in more.items() if value}}

    def block(self, name: str) -> Block:
        """The block called `name`. Raises UsageError naming the blocks there are."""
        for block in self.blocks:
            if block.name == name:
                return block
        raise UsageError(f"unknown block {name!r}; {self.name} has {', '.join(b.name for b in self.blocks)}")

    def source(self, block: str, tensor: str) -> Target:
        """Where a block's tensor is computed: `in` of a simple block is the `out` of the block before.

        Raises UsageError for an unknown block or tensor.
        """
        found = self.block(block)
        if tensor not in TENSORS:
            raise UsageError(f"unknown tensor {tensor!r}; use {', '.join(TENSORS)}")
        if tensor == "in" and found.kind == "simple" and found.previous is not None:
            return Target(found.previous, "out")
        if found.kind == "layer":
            return Target(block, "out")
        return Target(block, tensor)

    def target(self, block: str, tensor: str, protocol: Protocol) -> Target:
        """The FZ target of a block's tensor: its source, where an FZ made there is made under the block's transforms.

        Raises UsageError for an unknown block or tensor.
        """
        source = self.source(block, tensor)
        shared = protocol == "paper" or self.jitter(source, protocol) == self.jitter(Target(block, "block"), protocol)
        return source if shared else replace(source, block=block, tensor="in")

    def area(self, target: Target) -> Field | None:
        """The receptive field of a target; None where a description lacks it."""
        return self.fields.get(str(self.source(target.block, target.tensor)))

    def field_of(self, target: Target) -> Field:
        """As `area`. Raises KeyError where a description lacks it."""
        return self.fields[str(self.source(target.block, target.tensor))]

    def jitter(self, target: Target, protocol: Protocol) -> int:
        """Jitter in px of a target's FZs: by its own receptive field, or, `centred`, by that of its block's `block`."""
        decides = target if protocol == "paper" else Target(target.block, "block")
        return jitter_for(self.field_of(decides).size, protocol)

    def recipe(self, settings: Protocol, steps: int | None = None, converged: bool = False) -> Recipe:
        """The recipe of a protocol's own settings, with `steps` steps if given, `converged` as `until_converged`.

        Raises UsageError for fewer steps than one.
        """
        recipe = self.default_recipe if settings == "paper" else CENTRED
        recipe = recipe if steps is None else replace(recipe, steps=steps)
        return recipe.until_converged() if converged else recipe

    def new_key(
        self,
        *,
        steps: int | None = None,
        seed: int | None = None,
        capture: Capture | None = None,
        protocol: Protocol | None = None,
        settings: Protocol | None = None,
        objective: Objective = "neuron",
        converged: bool | None = None,
    ) -> SetKey:
        """The set that a job makes which is told so much of it; arguments as those of `Store.fitting_sets`.

        The recipe has the protocol's own settings, but the paper's where it is to stop what has converged: the centred
        ones need all of their steps. Raises UsageError.
        """
        protocol = protocol or DEFAULT_PROTOCOL
        recipe = self.recipe(settings or ("paper" if converged else protocol), steps, converged or False)
        return SetKey(recipe, seed or 0, capture or "exact", objective, protocol)

    def target_channels(self, target: Target) -> int:
        return self.block(target.block).channels

    def to_json(self) -> dict[str, Any]:
        # Descriptions are older than these.
        later = {
            "graph": "",
            "preprocessing": "",
            "resize": None,
            "interpolation": "bilinear",
            "wanted": None,
            "code": "",
        }
        found = {n: value for n, value in asdict(self).items() if n not in later or value != later[n]}
        found["default_recipe"] = {**self.default_recipe.to_json(), "plateau": self.default_recipe.plateau}
        for block in found["blocks"]:
            if block["activation"] == "relu":
                del block["activation"]
            if block["widens"]:
                del block["widens"]
        for area in found["fields"].values():
            if area["middle"] is None:
                del area["middle"]
        return found

    @classmethod
    def from_json(cls, data: Any) -> ModelInfo:
        """Inverse of `to_json`. Raises DamageError where it describes no model, NewerError where it says more."""
        try:
            info = build(cls, data)
            _check(info)
        except UnknownFieldError as error:
            raise NewerError(f"model description is of a later version ({error})") from error
        except (MalformedError, UsageError) as error:
            raise DamageError(f"model description is damaged ({error})") from error
        return info


def _check(info: ModelInfo) -> None:
    """Raises MalformedError where a description contradicts itself, or names what cannot be part of a path."""
    if not _FINGERPRINT.fullmatch(info.fingerprint):
        raise MalformedError("the fingerprint is no SHA-256")
    if not info.name or not info.name.isprintable() or len(info.name) > MAX_NAME:
        raise MalformedError(f"a name that is none ({info.name[:40]!r})")
    if not 0 < info.input_size <= MAX_SIDE:
        raise MalformedError(f"an input of {info.input_size} px")
    if info.resize is not None and not info.input_size <= info.resize <= MAX_SIDE:
        raise MalformedError(f"photographs resized to {info.resize} px")
    if info.code and not _FINGERPRINT.fullmatch(info.code):
        raise MalformedError("the code's digest is no SHA-256")
    if not all(deviation > 0 for deviation in info.std):
        raise MalformedError("a deviation that is not positive")
    names: list[str] = []
    for block in info.blocks:
        if not _BLOCK_NAME.fullmatch(block.name) or block.name in names:
            raise MalformedError(f"a block called {block.name[:40]!r}")
        if not 0 < block.channels <= MAX_CHANNELS:
            raise MalformedError(f"block {block.name} of {block.channels} channels")
        if block.previous is not None and block.previous not in names:
            raise MalformedError(f"block {block.name} comes after {block.previous[:40]!r}")
        names.append(block.name)
    if not names or not set(info.default_blocks) <= set(names):
        raise MalformedError("blocks that are not there")
    channels = {block.name: block.channels for block in info.blocks}
    for name, weights in info.weights.items():
        if name not in channels or any(len(values) != channels[name] for values in vars(weights).values()):
            raise MalformedError(f"weights of block {name[:40]!r} that are not one a channel")
    for target, area in info.fields.items():
        if not 0 <= area.start < area.stop <= info.input_size or not 0 < area.size <= MAX_FIELD:
            raise MalformedError(f"a receptive field of {target[:40]!r} that is none")
        if area.middle is not None and not 0 <= area.middle < info.input_size:
            raise MalformedError(f"a receptive field of {target[:40]!r} about a point outside the image")


_STEP = re.compile(r"(?P<module>(?:.+\.)?)t(?P<step>0|[1-9][0-9]*)")
"""`V4.t2`, or `t2` of the network itself: how blocks are called whose weights run several times."""


def steps_of(info: ModelInfo, block: str) -> tuple[str, ...]:
    """The blocks that are steps of the same module, in order; the block alone where its weights run once.

    Steps are counted from 0 without a gap and have the same channels: a channel is one feature all along. Raises
    UsageError for an unknown block.
    """
    channels, match = info.block(block).channels, _STEP.fullmatch(block)
    if match is None:
        return (block,)
    steps = {}
    for other in info.blocks:
        also = _STEP.fullmatch(other.name)
        if also is not None and also["module"] == match["module"] and other.channels == channels:
            steps[int(also["step"])] = other.name
    return tuple(steps[n] for n in range(len(steps))) if set(steps) == set(range(len(steps))) else (block,)


def blocks_of_stream(info: ModelInfo, block: str) -> tuple[str, ...]:
    """The blocks that carry the same stream as a block, in order: those that identity shortcuts join, with the one that
    begins it. A channel is the same channel in all of them. Raises UsageError for an unknown block.
    """
    first = info.block(block)
    while first.kind == "simple" and first.previous is not None:
        first = info.block(first.previous)
    names = [first.name]
    for other in info.blocks:
        # A block is described after the one before it.
        if other.kind == "simple" and other.previous in names:
            names.append(other.name)
    return tuple(names)


def ranked_tensor(target: Target) -> str:
    """What the MEIs of a target are ranked by: its tensor, `out` before the activation."""
    return "pre" if target.tensor == "out" else target.tensor


def ranked_targets(info: ModelInfo) -> list[Target]:
    """Every target that MEIs are kept of, each once."""
    every = [info.source(block.name, tensor) for block in info.blocks for tensor in TENSORS]
    return list(dict.fromkeys(every))


def parse_channels(text: str, count: int) -> list[int]:
    """Channels of a selection such as `0-31,108`, sorted and unique.

    Raises UsageError when the text is malformed or a channel is not below `count`.
    """
    channels: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        if not match:
            raise UsageError(f"malformed channel range {part.strip()!r} in {text!r}; write for example 0-31,108")
        first = _whole_number(match[1])
        last = _whole_number(match[2]) if match[2] else first
        if last < first:
            raise UsageError(f"channel range {part.strip()!r} runs backwards; write {last}-{first}")
        if last >= count:
            raise UsageError(f"channel {last} is out of range; this block has channels 0-{count - 1}")
        channels.update(range(first, last + 1))
    return sorted(channels)


def _whole_number(digits: str) -> int:
    """Of digits of any count, which Python converts up to a few thousand of; what is beyond all channels stays so."""
    significant = digits.lstrip("0")
    return int(significant[:18] or "0")


def format_channels(channels: Iterable[int]) -> str:
    """Shortest selection that `parse_channels` reads back: [0, 1, 2, 7] -> `0-2,7`."""
    ordered = np.unique(np.fromiter(channels, dtype=np.int64))
    if not len(ordered):
        return ""
    runs = np.split(ordered, np.flatnonzero(np.diff(ordered) > 1) + 1)
    return ",".join(f"{r[0]}" if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in runs)


def pick_scaled_blocks(info: ModelInfo, names: Sequence[str]) -> list[Block]:
    """As `pick_blocks`, those of which the scale criteria are defined. Raises UsageError where they are of none."""
    picked = pick_blocks(info, names)
    scaled = [block for block in picked if not block.not_applicable]
    if not scaled:
        raise UsageError(f"{picked[0].name}: {picked[0].not_applicable}")
    return scaled


def pick_blocks(info: ModelInfo, names: Sequence[str]) -> list[Block]:
    """The blocks called `names`, in stream order; the default set when none is named. Raises UsageError."""
    wanted = {info.block(n).name for n in names} or set(info.default_blocks)
    return [b for b in info.blocks if b.name in wanted]
