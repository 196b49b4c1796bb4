"""What is known of models without their weights, from files that come with the package. Never imports torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from streamscope.core.errors import UsageError
from streamscope.core.model.blocks import Block, ModelInfo
from streamscope.core.model.spec import DEMO_MODEL, MODELS


@dataclass(frozen=True)
class Architecture:
    """What every copy of a network has, whatever its weights."""

    name: str
    input_size: int
    blocks: tuple[Block, ...]

    @property
    def default_blocks(self) -> tuple[str, ...]:
        """As `ModelInfo.default_blocks`."""
        return tuple(block.name for block in self.blocks[1:])

    def to_json(self) -> dict[str, Any]:
        """The form in the bundled file; a block's `previous` follows from their order."""
        return {"input_size": self.input_size, "blocks": [[b.name, b.kind, b.channels] for b in self.blocks]}


def bundled_description(spec: str) -> ModelInfo | None:
    """The whole description of the model that `spec` (`ModelSpec.text`) stands for, where it comes with the package.

    Only the demo's does, and only of the weights it was made from: their digest is part of the text.
    """
    if not spec.startswith(f"{DEMO_MODEL} "):
        return None
    described, info = _demo()
    return info if described == spec else None


def architecture(name: str) -> Architecture:
    """The architecture called `name`. Raises UsageError for an unknown one."""
    try:
        found = _architectures()[name]
    except KeyError:
        raise UsageError(f"unknown model {name!r}; use one of {', '.join(MODELS)}") from None
    blocks: list[Block] = []
    for block, kind, channels in found["blocks"]:
        blocks.append(Block(block, kind, channels, blocks[-1].name if blocks else None))
    return Architecture(name, found["input_size"], tuple(blocks))


def architectures_path() -> Path:
    """The bundled file of every architecture's blocks."""
    return Path(__file__).with_name("architectures.json")


@cache
def _demo() -> tuple[str, ModelInfo]:
    # Not above: it draws images too, and whatever reads a store imports this module.
    from streamscope.core.model.demo import description_path

    document = json.loads(description_path().read_text())
    return document["spec"], ModelInfo.from_json(document["model"])


@cache
def _architectures() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(architectures_path().read_text())
    return found
