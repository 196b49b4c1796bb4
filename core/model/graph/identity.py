"""What tells two networks apart that have the same weights: what they do with them."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
from torch import fx

from streamscope.core.model.graph.operations import operation
from streamscope.core.model.graph.values import NetworkGraph


def graph_text(graph: NetworkGraph) -> str:
    """The operations of a graph in their order, what each is given, and values that no state dict has, as a digest.

    Names of modules and of files do not count, nor do comments in their code.
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
            arguments = fx.map_arg((node.args, dict(node.kwargs)), described)
            said = [operation(node), json.loads(json.dumps(arguments, default=str))]
        digest.update(json.dumps(said, sort_keys=True).encode())
    for value in graph.fixed:
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return f"{len(numbers)} operations, {digest.hexdigest()[:32]}"
