"""One graph for any number of images, of a network that torch.export captures for fixed numbers alone.

Code that makes a plain number of a batch's size (`int(x.shape[0])`) makes it a constant of the graph. Captures for two
numbers of images show which constants those are: they are in the same ratio.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

COUNTS = (2, 3)
"""Images that networks are captured with."""
OTHER_VALUE = "value in the other capture"
"""In a node's `meta`, what `val` is there."""


def for_any_batch(graph: fx.Graph, other: fx.Graph) -> bool:
    """Makes the graph of `COUNTS[0]` images, with the help of that of `COUNTS[1]`, one of any number of them.

    False where the two differ in more than sizes.
    """
    nodes, others = list(graph.nodes), list(other.nodes)
    if len(nodes) != len(others):
        return False
    pairs = dict(zip(nodes, others, strict=True))
    for node, counterpart in pairs.items():
        if node.op != counterpart.op or (node.op == "call_function" and node.target != counterpart.target):
            return False
        node.meta[OTHER_VALUE] = counterpart.meta.get("val")
    growing = [node for node in nodes if node.op == "placeholder" and _shape(node, "val") != _shape(node, OTHER_VALUE)]
    if len(growing) != 1:
        return False
    sizes = _Sizes(graph, growing[0], next(node for node in nodes if node.op != "placeholder"))
    for node, counterpart in pairs.items():
        leaves, structure = pytree.tree_flatten((node.args, dict(node.kwargs)))
        theirs, other_structure = pytree.tree_flatten((counterpart.args, dict(counterpart.kwargs)))
        if structure != other_structure:
            return False
        found = []
        for leaf, their in zip(leaves, theirs, strict=True):
            if isinstance(leaf, fx.Node):
                if pairs[leaf] is not their:
                    return False
                found.append(leaf)
            elif type(leaf) is int and leaf != their:
                if type(their) is not int or leaf * COUNTS[1] != their * COUNTS[0]:
                    return False
                found.append(sizes.times(leaf // COUNTS[0]))
            elif leaf == their:
                found.append(leaf)
            else:
                return False
        node.args, node.kwargs = pytree.tree_unflatten(found, structure)
    return True


def _shape(node: fx.Node, which: str) -> tuple[int, ...]:
    value = node.meta.get(which)
    return tuple(value.shape) if isinstance(value, torch.Tensor) else ()


class _Sizes:
    """Multiples of the number of images, as nodes of the graph, before all that may ask for them."""

    def __init__(self, graph: fx.Graph, image: fx.Node, first: fx.Node) -> None:
        self._graph, self._image, self._first = graph, image, first
        self._found: dict[int, fx.Node] = {}

    def times(self, factor: int) -> fx.Node:
        if factor not in self._found:
            target: Any = torch.ops.aten.sym_size.int if factor == 1 else operator.mul
            arguments = (self._image, 0) if factor == 1 else (self.times(1), factor)
            with self._graph.inserting_before(self._first):
                self._found[factor] = self._graph.call_function(target, arguments)
        return self._found[factor]
