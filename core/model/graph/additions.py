"""Where a network adds a branch to its stream: found in its graph, whatever its modules are called.

An addition belongs to a residual stream where one operand bypasses what the other does. F is where both part: the
addition's immediate dominator. The operand that comes from F at less cost is the stream, the other one the branch.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from torch import fx

from streamscope.core.model.graph.operations import arguments, is_dependent, names, operation, shape_of
from streamscope.core.model.graph.values import NetworkGraph

WEIGHTED = ("conv2d", "conv1d", "linear", "scaled_dot_product_attention", "conv_transpose2d", "convolution", "addmm")
"""What a branch does at a cost: convolutions, linear layers and attentions."""
ACTIVATIONS = names(
    """
    relu relu6 hardtanh gelu silu mish elu selu celu leaky_relu prelu hardswish hardsigmoid sigmoid tanh softplus
    """
)
_SAME = ("clone", "contiguous", "to", "_to_copy", "view", "reshape", "_unsafe_view", "permute", "transpose", "flatten")
"""What changes no value: a stream passes it and stays itself."""
_ENLARGING = ("upsample", "conv_transpose", "pixel_shuffle")
_TORCHVISION = re.compile(r"layer(\d+)\.(\d+)")


@dataclass(frozen=True, eq=False)
class Addition:
    """One residual block: `stream` + `branch` = `sum`."""

    name: str
    """`2.1` of the module `layer2.1`, else the module that adds; where it adds several times, with the branch's part
    (`blocks.3.attn`), and where the same weights run several times, with the step (`V4.t2`). `add` where a network adds
    what runs in no module of its own."""
    stream: fx.Node
    """`in`"""
    branch: fx.Node
    """`block`"""
    sum: fx.Node
    """`pre`"""
    out: fx.Node
    """The stream after it: after the activation where there is one, else the sum."""
    activation: str
    """`relu`, `gelu`, …; "" where the stream goes on as the sum."""
    kind: Literal["simple", "downsample", "layer"]
    """Simple where the stream's operand is what was the stream before, or what the stream begins with; a layer of a
    network without a stream is all of `in`, `block` and `pre`."""
    previous: str | None
    """The block whose `out` the operand is, or is made from; None for the first."""


Cost = tuple[int, int, int]
"""Convolutions, linear layers and attentions; operations with weights; operations."""


def find_additions(graph: NetworkGraph) -> tuple[Addition, ...]:
    """The residual additions of a network, in stream order; none where it has no stream."""
    nodes = [node for node in graph.graph.nodes if node is graph.image or is_dependent(node)]
    dominators = _Dominators(nodes)
    found = []
    for node in nodes:
        sides = _operands(node)
        if sides is None:
            continue
        parting = dominators.immediate(node)
        costs = _costs(nodes, parting, node)
        stream, branch = sorted(sides, key=lambda side: costs[side])
        is_passed_on = _itself(stream) is _itself(parting)
        # Token mixers that only pool have no more weights than their norm.
        mixes = is_passed_on and costs[branch][:2] > (0, 0)
        # A branch of one convolution beside a shortcut of one: nothing says which of them is the stream.
        if costs[stream][0] > 1 or not (mixes or costs[stream][0] < costs[branch][0]):
            continue
        if not is_passed_on and (not _ends_all(node, parting) or _joins_sizes(stream, branch)):
            continue
        out = _activation(node)
        activation = "" if out is node else operation(out)
        found.append(Addition(_owner(node), stream, branch, node, out, activation, "downsample", None))
    return tuple(_related(_named(graph, found)))


def _operands(node: fx.Node) -> tuple[fx.Node, fx.Node] | None:
    """Of a sum of two values that depend on the image and are alike in shape."""
    if operation(node) != "add" or arguments(node).get("alpha", 1) != 1:
        return None
    one, two = node.args[:2]
    if not isinstance(one, fx.Node) or not isinstance(two, fx.Node) or one is two:
        return None
    if not is_dependent(one) or not is_dependent(two) or len(shape_of(one)) < 3 or shape_of(one) != shape_of(two):
        return None
    return one, two


class _Dominators:
    """Through which node everything on its way from the image to another one passes last."""

    def __init__(self, nodes: Sequence[fx.Node]) -> None:
        self._immediate: dict[fx.Node, fx.Node] = {nodes[0]: nodes[0]}
        self._depth = {nodes[0]: 0}
        for node in nodes[1:]:
            sources = [source for source in node.all_input_nodes if source in self._depth]
            common = sources[0] if sources else nodes[0]
            for source in sources[1:]:
                common = self._meeting(common, source)
            self._immediate[node] = common
            self._depth[node] = self._depth[common] + 1

    def immediate(self, node: fx.Node) -> fx.Node:
        return self._immediate[node]

    def _meeting(self, one: fx.Node, two: fx.Node) -> fx.Node:
        while one is not two:
            if self._depth[one] < self._depth[two]:
                one, two = two, one
            one = self._immediate[one]
        return one


def _costs(nodes: Sequence[fx.Node], parting: fx.Node, until: fx.Node) -> Mapping[fx.Node, Cost]:
    """Of each node between, what the cheapest way from where the operands part costs."""
    costs: dict[fx.Node, Cost] = {parting: (0, 0, 0)}
    begun = False
    for node in nodes:
        if node is parting:
            begun = True
        elif begun:
            ways = [costs[source] for source in node.all_input_nodes if source in costs]
            if ways:
                cheapest, own = min(ways), _own_cost(node)
                costs[node] = cheapest[0] + own[0], cheapest[1] + own[1], cheapest[2] + own[2]
        if node is until:
            break
    return costs


def _own_cost(node: fx.Node) -> Cost:
    name = operation(node)
    weights = any(not is_dependent(source) and "shape" in source.meta for source in node.all_input_nodes)
    return int(name in WEIGHTED), int(weights), int(name not in _SAME)


def _itself(node: fx.Node) -> fx.Node:
    """The value that a node only lays out in another way."""
    while operation(node) in _SAME:
        (source,) = node.args[:1]
        assert isinstance(source, fx.Node)
        node = source
    return node


def _joins_sizes(stream: fx.Node, branch: fx.Node) -> bool:
    """Whether the branch alone comes back from a smaller map, as where a feature pyramid joins its levels."""
    made = ((stream, branch), (branch, stream))
    of_stream, of_branch = (
        any(operation(node).startswith(_ENLARGING) for node in _made_of(operand, beside)) for operand, beside in made
    )
    return of_branch and not of_stream


def _owner(node: fx.Node) -> str:
    module: str = node.meta["module"]
    return module


def _is_within(node: fx.Node, owner: str) -> bool:
    module: str = node.meta["module"]
    return not owner or module == owner or module.startswith(f"{owner}.")


def _ends_all(addition: fx.Node, parting: fx.Node) -> bool:
    """Whether all that the addition's module makes of the node where the operands part, ends in the addition."""
    owner = _owner(addition)
    waiting = [user for user in parting.users if _is_within(user, owner) and is_dependent(user)]
    seen: set[fx.Node] = set()
    while waiting:
        node = waiting.pop()
        if node is addition or node in seen:
            continue
        seen.add(node)
        users = [user for user in node.users if is_dependent(user)]
        if not users or not all(_is_within(user, owner) for user in users):
            return False
        waiting += users
    return bool(seen)


def _activation(addition: fx.Node) -> fx.Node:
    """The activation after a sum where nothing else reads it and the same module does it; else the sum itself.

    A network whose blocks begin with an activation would lend the next block's."""
    users = list(addition.users)
    if len(users) == 1 and operation(users[0]) in ACTIVATIONS and _is_within(users[0], _owner(addition)):
        return users[0]
    return addition


def _named(graph: NetworkGraph, additions: Sequence[Addition]) -> list[Addition]:
    """With names that differ."""
    several = Counter(addition.name for addition in additions)
    named = []
    for addition in additions:
        owner = addition.name
        parts = _parts(addition) if several[owner] > 1 or not owner else []
        steps = {tuple(_parts(other)) for other in additions if other.name == owner} if parts else set()
        # The same parts again and again: not several branches but one that runs at several steps.
        if parts and (len(steps) > 1 or not owner):
            owner = f"{owner}.{parts[0]}" if owner else parts[0]
        owner = owner or "add"
        named.append(
            replace(addition, name=_TORCHVISION.sub(r"\1.\2", owner) if _TORCHVISION.fullmatch(owner) else owner)
        )
    again = Counter(addition.name for addition in named)
    count: Counter[str] = Counter()
    result = []
    for addition in named:
        name = addition.name
        if again[name] > 1:
            addition = replace(addition, name=f"{name}.t{count[name]}")
            count[name] += 1
        result.append(addition)
    return result


def _parts(addition: Addition) -> list[str]:
    """The parts of the module that adds which the branch runs through, the one with most weighted operations first; of
    a branch without such, the one with most operations."""
    owner = _owner(addition.sum)
    weighted: Counter[str] = Counter()
    others: Counter[str] = Counter()
    for node in _made_of(addition.branch, addition.stream):
        module: str = node.meta["module"]
        if module != owner and _is_within(node, owner):
            part = module.removeprefix(f"{owner}.") if owner else module
            (weighted if operation(node) in WEIGHTED else others)[part.split(".")[0]] += 1
    return [part for part, _ in sorted((weighted or others).items(), key=lambda item: -item[1])]


def _made_of(operand: fx.Node, beside: fx.Node) -> Iterator[fx.Node]:
    """The nodes that an operand of a sum is made of, down to what the one beside it is made of too."""
    shared = {beside, *_ancestors(beside)}
    seen: set[fx.Node] = set()
    waiting = [operand]
    while waiting:
        node = waiting.pop()
        if node in seen or node in shared:
            continue
        seen.add(node)
        yield node
        waiting += [source for source in node.all_input_nodes if is_dependent(source)]


def _ancestors(node: fx.Node) -> set[fx.Node]:
    seen: set[fx.Node] = set()
    waiting = [node]
    while waiting:
        for source in waiting.pop().all_input_nodes:
            if source not in seen and is_dependent(source):
                seen.add(source)
                waiting.append(source)
    return seen


def _related(additions: Sequence[Addition]) -> Iterator[Addition]:
    """With their kinds, and the blocks before them."""
    outs: dict[fx.Node, str] = {}
    for addition in additions:
        source = _itself(addition.stream)
        if source in outs:
            yield replace(addition, kind="simple", previous=outs[source])
        else:
            begins = source in _ancestors(addition.branch)
            before = _ancestors(source)
            made_from = [name for node, name in outs.items() if node in before]
            previous = made_from[-1] if made_from and not begins else None
            yield replace(addition, kind="simple" if begins else "downsample", previous=previous)
        outs[addition.out] = addition.name
