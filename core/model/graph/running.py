"""A whole forward pass over a network's graph, every value of which can be seen as it is.

Nothing that is shown was overwritten before: each operation of the graph gives a value of its own. Only once a value
was shown, and nothing else reads it, may the next operation write into it, as the network itself does it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from streamscope.core.model.graph.operations import arguments, is_dependent, operation, options_on, shape_of
from streamscope.core.model.graph.values import NetworkGraph

See = Callable[[fx.Node, torch.Tensor], None]
"""Is shown the value of a node, to be read at once: the next operation may overwrite it."""
_NEW = frozenset(["conv2d", "batch_norm", "add", "relu", "max_pool2d", "avg_pool2d", "linear"])
"""Whose results nothing else refers to."""


@dataclass(frozen=True)
class _Step:
    node: fx.Node
    over: tuple[fx.Node, ...]
    """Whose values nobody reads after it."""
    overwrites: bool
    """Whether it may write into its first operand."""


class GraphRunner:
    """Runs what is needed of a graph for the values of some nodes; those of `replaced` ones are given."""

    def __init__(self, graph: NetworkGraph, wanted: Collection[fx.Node], replaced: Collection[fx.Node] = ()) -> None:
        self._graph, self._wanted, self._replaced = graph, frozenset(wanted), frozenset(replaced)
        self._constants: dict[torch.device, dict[fx.Node, torch.Tensor]] = {}
        needed: set[fx.Node] = set()
        waiting = list(self._wanted)
        while waiting:
            node = waiting.pop()
            if node in needed:
                continue
            needed.add(node)
            if node not in self._replaced:
                waiting += node.all_input_nodes
        order = [node for node in graph.graph.nodes if node in needed]
        last = {source: node for node in order if node not in self._replaced for source in node.all_input_nodes}
        self._still = [node for node in order if node.op == "placeholder" and node is not graph.image]
        """The network's constants: what follows from these alone is one of them already."""
        still = set(self._still)
        given = {graph.image, *still, *self._replaced}
        self._given = [node for node in order if node in self._wanted and node in given]
        """Wanted values that no step gives."""
        self._steps = [
            _Step(
                node,
                tuple(source for source in node.all_input_nodes if last[source] is node and source not in still),
                self._overwrites(node),
            )
            for node in order
            if node not in given
        ]

    def _overwrites(self, node: fx.Node) -> bool:
        name, source = operation(node), node.args[0] if node.args else None
        if name not in ("relu", "add") or not isinstance(source, fx.Node) or not is_dependent(source):
            return False
        if name == "add" and (arguments(node).get("alpha", 1) != 1 or shape_of(source) != shape_of(node)):
            return False
        return len(source.users) == 1 and operation(source) in _NEW and source not in self._replaced

    def __call__(self, images: torch.Tensor, see: See, replaced: Mapping[fx.Node, torch.Tensor] | None = None) -> None:
        """Shows every wanted value, in the order of the network. `images` (n, 3, side, side; normalised)."""
        values: dict[fx.Node, Any] = dict(self._values(images.device))
        values[self._graph.image] = images
        values |= replaced or {}
        free = not torch.is_grad_enabled()
        for node in self._given:
            see(node, values[node])
        for step in self._steps:
            node = step.node
            if step.overwrites and free:
                value = _overwritten(node, values)
            else:
                target: Any = node.target
                value = target(
                    *fx.map_arg(node.args, values.__getitem__),
                    **fx.map_arg(options_on(images.device, node), values.__getitem__),
                )
            values[node] = value
            if node in self._wanted:
                see(node, value)
            for source in step.over:
                del values[source]

    def read(self, images: torch.Tensor, replaced: Mapping[fx.Node, torch.Tensor] | None = None) -> dict[fx.Node, Any]:
        """All wanted values of a pass, none of which shares memory with another."""
        found: dict[fx.Node, torch.Tensor] = {}

        def keep(node: fx.Node, value: torch.Tensor) -> None:
            found[node] = value.clone()

        self(images, keep, replaced)
        return found

    def _values(self, device: torch.device) -> dict[fx.Node, torch.Tensor]:
        """The constants, on a device."""
        if device not in self._constants:
            self._constants[device] = {node: self._graph.constants[node.name].to(device) for node in self._still}
        return self._constants[device]


def _overwritten(node: fx.Node, values: Mapping[fx.Node, Any]) -> torch.Tensor:
    first = values[node.args[0]]  # type: ignore[index]
    if operation(node) == "relu":
        return torch.relu_(first)
    second: Any = node.args[1]
    second = values[second] if isinstance(second, fx.Node) else second
    is_of_its_type = torch.result_type(first, second) == first.dtype
    result: torch.Tensor = first.add_(second) if is_of_its_type else first + second
    return result
