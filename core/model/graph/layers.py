"""The named layers of a network without a residual stream: what FZs and MEIs are of there."""

from __future__ import annotations

from torch import fx

from streamscope.core.errors import UnreadableNetworkError
from streamscope.core.model.graph.additions import ACTIVATIONS, Addition
from streamscope.core.model.graph.geometry import Geometry
from streamscope.core.model.graph.operations import is_dependent, operation, shape_of
from streamscope.core.model.graph.values import NetworkGraph


def find_layers(graph: NetworkGraph, geometry: Geometry) -> tuple[Addition, ...]:
    """Each module whose output is a map of channels, in the order of their running, by its qualified name.

    An activation is read before it, where its gradient is; what several modules give is the innermost's.
    """
    outputs: dict[str, fx.Node] = {}
    for node in graph.graph.nodes:
        if node.op == "call_function" and is_dependent(node) and "shape" in node.meta:
            outputs[node.meta["module"]] = node
    found: list[Addition] = []
    for name, node in outputs.items():
        is_activation = operation(node) in ACTIVATIONS
        before = node.args[0] if is_activation else node
        if not name or len(shape_of(node)) < 3 or not isinstance(before, fx.Node) or not is_dependent(before):
            continue
        try:
            geometry.of(before)
        except UnreadableNetworkError:
            continue
        activation = operation(node) if is_activation else ""
        found.append(Addition(name, before, before, before, node, activation, "layer", None))
    return tuple(found)


def stages(layers: tuple[Addition, ...], geometry: Geometry) -> tuple[str, ...]:
    """The last layer before each change of the map's side: those that are studied when none is named."""
    sides = [geometry.of(layer.sum).side for layer in layers]
    return tuple(
        layer.name
        for layer, side, following in zip(layers, sides, [*sides[1:], 0], strict=True)
        if side != following and side > 1
    )
