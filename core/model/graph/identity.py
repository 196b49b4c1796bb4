"""What tells two networks apart that have the same weights: what they do with them."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
from torch import fx

from streamscope.core.model.graph.operations import arguments, operation
from streamscope.core.model.graph.values import NetworkGraph

_OF_THE_MACHINE = ("device", "pin_memory", "cudnn_enabled", "cudnn_enable")
"""Arguments that say where a network was captured, not what it does."""


def graph_text(graph: NetworkGraph) -> str:
    """The operations of a graph in their order, what each is given, and values that no state dict has, as a digest.

    Names of modules and of files do not count, nor do comments in their code, nor where it was captured.
    """
    numbers: dict[fx.Node, int] = {}
    digest = hashlib.sha256()

    def described(argument: fx.Node) -> Any:
        return f"#{numbers[argument]}"

    for node in graph.graph.nodes:
        if node.op == "output":
            continue
        numbers[node] = len(numbers)
        if node.op == "placeholder":
            said: list[Any] = ["image" if node is graph.image else "constant", list(node.meta["shape"])]
        else:
            given = fx.map_arg(_telling(node), described)
            said = [operation(node), json.loads(json.dumps(given, default=str))]
        digest.update(json.dumps(said, sort_keys=True).encode())
    for value in graph.fixed:
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return f"{len(numbers)} operations, {digest.hexdigest()[:32]}"


def _telling(node: fx.Node) -> Any:
    """What a call is given, without what is so by default: versions of torch differ in what they write down of that."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return list(node.args)
    defaults = {one.name: one.default_value for one in schema.arguments if one.has_default_value()}
    return {
        name: value
        for name, value in arguments(node).items()
        if name not in _OF_THE_MACHINE and (name not in defaults or value != defaults[name])
    }
