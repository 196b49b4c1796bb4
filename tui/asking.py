"""From what was written in the compute dialog to what a job is asked for; the same checks as the command line's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.blocks import TENSORS, ModelInfo, format_channels, parse_channels, pick_blocks
from core.errors import UsageError
from core.recipe import Capture, Recipe, SetKey
from core.spec import ModelSpec

SCOPES = ("all", "marked", "keep", "reject", "unsure", "filtered")
"""Words for channels; anything else is ranges such as 0-31,108."""


@dataclass(frozen=True)
class Form:
    """The compute dialog as written."""

    blocks: str
    tensors: str
    channels: str
    steps: str
    seed: str
    device: str = "auto"


def whole_number(text: str, name: str) -> int:
    """Raises UsageError naming what was meant."""
    try:
        return int(text.strip())
    except ValueError:
        raise UsageError(f"{name} must be a whole number, not {text.strip()!r}") from None


def parse_tensors(text: str) -> list[str]:
    """Tensors of `in,block`, in their order. Raises UsageError for an unknown one, or none."""
    named = [part for part in re.split(r"[\s,]+", text) if part]
    for name in named:
        if name not in TENSORS:
            raise UsageError(f"unknown tensor {name!r}; use {', '.join(TENSORS)}")
    if not named:
        raise UsageError(f"name at least one tensor: {', '.join(TENSORS)}")
    return [tensor for tensor in TENSORS if tensor in named]


def parse_blocks(text: str, info: ModelInfo) -> list[str]:
    """Blocks by name, `all` for every one studied. Raises UsageError."""
    named = [part for part in re.split(r"[\s,]+", text) if part]
    if not named or named == ["all"]:
        return list(info.default_blocks)
    return [block.name for block in pick_blocks(info, named)]


def key_of(form: Form, capture: Capture) -> SetKey:
    """The set that the form's job would add to. Raises UsageError."""
    return SetKey(Recipe(steps=whole_number(form.steps, "steps")), whole_number(form.seed, "seed"), capture)


def asked(
    form: Form, info: ModelInfo, spec: ModelSpec, capture: Capture, scopes: Mapping[str, Mapping[str, Sequence[int]]]
) -> list[dict[str, Any]]:
    """What to ask of jobs: one, or one a block where the channels differ from block to block.

    `scopes` gives the channels by block that each word stands for. Raises UsageError.
    """
    blocks = parse_blocks(form.blocks, info)
    key = key_of(form, capture)
    shared = {
        "model": spec.name,
        "weights": str(spec.weights) if spec.weights else None,
        "tensors": parse_tensors(form.tensors),
        "steps": key.recipe.steps,
        "seed": key.seed,
        "capture": key.capture,
        "device": form.device.strip() or "auto",
        "batch": None,
    }
    word = form.channels.strip().casefold() or "all"
    if word == "all":
        return [{**shared, "blocks": blocks, "channels": None}]
    if word not in SCOPES:
        fewest = min(info.block(block).channels for block in blocks)
        channels = format_channels(parse_channels(form.channels, fewest))
        return [{**shared, "blocks": blocks, "channels": channels}]
    chosen = {block: scopes[word][block] for block in blocks if scopes[word].get(block)}
    if not chosen:
        raise UsageError(f"no channel of {', '.join(blocks)} is {word}")
    return [{**shared, "blocks": [block], "channels": format_channels(channels)} for block, channels in chosen.items()]


def count_fzs(asks: Sequence[Mapping[str, Any]], info: ModelInfo) -> int:
    """How many different FZs that is: FZ(I) of a simple block is FZ(O) of the one before."""
    wanted: set[tuple[str, int]] = set()
    for ask in asks:
        for block in ask["blocks"]:
            count = info.block(block).channels
            channels = parse_channels(ask["channels"], count) if ask["channels"] else range(count)
            for tensor in ask["tensors"]:
                target = str(info.target(block, tensor))
                wanted.update((target, channel) for channel in channels)
    return len(wanted)
