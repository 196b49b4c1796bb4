"""From what was written in the compute dialog to a request; the same checks as the command line's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from streamscope.core.errors import UsageError
from streamscope.core.jobs.plan import Request
from streamscope.core.model.blocks import TENSORS, ModelInfo, parse_channels, pick_blocks
from streamscope.core.model.recipe import SetKey
from streamscope.core.model.spec import ModelSpec
from streamscope.core.store import JobSpec

SCOPES = ("all", "marked", "keep", "reject", "unsure", "filtered", "visible", "chosen")
"""Words for channels; anything else is ranges such as 0-31,108."""


@dataclass(frozen=True)
class ComputeForm:
    """The compute dialog as written."""

    blocks: str
    tensors: str
    channels: str
    steps: str
    seed: str
    device: str = "auto"

    def job_spec(self, request: Request, model: ModelSpec) -> JobSpec:
        """The job that does `request`, which came of this form; its worker chooses the batch."""
        return request.job_spec(model, self.device.strip() or "auto")


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


def key_of(form: ComputeForm, shown: SetKey) -> SetKey:
    """The set that the form's job would add to: that which is shown, but for steps and seed. Raises UsageError."""
    recipe = replace(shown.recipe, steps=whole_number(form.steps, "steps"))
    return replace(shown, recipe=recipe, seed=whole_number(form.seed, "seed"))


def request_of(
    form: ComputeForm, info: ModelInfo, shown: SetKey, scopes: Mapping[str, Mapping[str, Sequence[int]]]
) -> Request:
    """What the form requests beside the set `shown`; `scopes` gives the channels by block that each word stands for.

    Raises UsageError.
    """
    blocks = parse_blocks(form.blocks, info)
    tensors = parse_tensors(form.tensors)
    word = form.channels.strip().casefold() or "all"
    channels: Mapping[str, Sequence[int]] = {}
    if word in SCOPES[1:]:
        channels = {block: scopes[word][block] for block in blocks if scopes[word].get(block)}
        if not channels:
            raise UsageError(f"no channel of {', '.join(blocks)} is {word}")
        blocks = list(channels)
    elif word != "all":
        channels = {block: parse_channels(form.channels, info.block(block).channels) for block in blocks}
    return Request.of(info, key_of(form, shown), blocks, tensors, 1, channels)
