"""What a network computes, operation by operation: its graph, captured by torch.export.

The graph is functional: an operation that overwrites its input in the network gives a value of its own here, and
whoever read the overwritten one reads that. So every value can be read at any time, which hooks on modules cannot
promise.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx, nn
from torch.export.graph_signature import InputKind

from streamscope.core.errors import UnreadableNetworkError
from streamscope.core.model.graph.operations import arguments, names, operation
from streamscope.core.model.graph.running import GraphRunner
from streamscope.core.model.graph.values import NetworkGraph

TOLERANCE = 1e-5
"""Of the largest value of an output: how far the graph's may be from the network's own."""
_CHECKED = 3
"""Images of the comparison: another number than the network is captured with."""
_EXPORTED = 2
_WITHOUT_DATA = frozenset(
    ["sym_size", "size", "new_zeros", "new_ones", "new_full", "new_empty", "zeros_like", "ones_like", "full_like"]
)
"""Whose results have the shape of what they are given, and nothing of its values."""
_VIEWS = names(
    """
    view reshape flatten unflatten permute transpose t slice select split split_with_sizes chunk unbind squeeze
    unsqueeze expand expand_as narrow alias detach getitem movedim swapaxes contiguous _unsafe_view view_as diagonal
    unfold as_strided
    """
)
"""Whose results may share memory with what they are given."""
_NOTHING = frozenset(["dropout", "feature_dropout", "alias", "lift_fresh_copy", "detach"])
"""What changes no value, but for dropouts that are told to."""


def capture(module: nn.Module, side: int) -> NetworkGraph:
    """The graph of a network in eval mode for images of `side` px; the module is left as it is.

    Raises UnreadableNetworkError where it cannot be told, or where the graph computes something else than the module.
    """
    reference = next(module.parameters(), torch.zeros(0))
    images = torch.zeros(_EXPORTED, 3, side, side, device=reference.device, dtype=reference.dtype)
    batch = torch.export.Dim("n", min=1)
    with _quiet(), torch.no_grad():
        try:
            program = torch.export.export(module, (images,), dynamic_shapes=({0: batch},), strict=False)
            graph = _graph_of(module, program, side)
            if graph is None:
                program = torch.export.export(module, (images,), dynamic_shapes=({0: batch},), strict=False)
                graph = _graph_of(module, program.run_decompositions({}), side)
        except UnreadableNetworkError:
            raise
        except Exception as error:
            raise _refused(error, side) from error
        if graph is None:
            raise UnreadableNetworkError(
                "the network overwrites values that are read again later, in a way that cannot be told apart"
            )
    _check(module, graph)
    return graph


def _refused(error: Exception, side: int) -> UnreadableNetworkError:
    if "DataDependent" in type(error).__name__:
        return UnreadableNetworkError(
            "the network's operations cannot be told: which of them it does depends on what is on the images"
        )
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = re.sub(r"\s+", " ", f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__)
    return UnreadableNetworkError(
        f"the network's operations cannot be told for batches of images (n, 3, {side}, {side}): {reason[:300]}"
    )


def _graph_of(module: nn.Module, program: torch.export.ExportedProgram, side: int) -> NetworkGraph | None:
    """None where an operation overwrites what is read again by another name."""
    graph = program.graph_module.graph
    constants: dict[str, torch.Tensor] = {}
    image, fixed = None, []
    kept_in_state = set(module.state_dict())
    for given in program.graph_signature.input_specs:
        if given.kind == InputKind.USER_INPUT:
            image = given.arg.name
        elif given.kind == InputKind.PARAMETER:
            constants[given.arg.name] = module.get_parameter(str(given.target))
        elif given.kind == InputKind.BUFFER:
            constants[given.arg.name] = module.get_buffer(str(given.target))
            if str(given.target) not in kept_in_state:
                fixed.append(constants[given.arg.name])
        elif given.kind == InputKind.CONSTANT_TENSOR:
            constants[given.arg.name] = program.constants[str(given.target)]
            fixed.append(constants[given.arg.name])
        else:
            raise UnreadableNetworkError(f"the network has an input of a kind that is not read ({given.kind})")
    for node in list(graph.nodes):
        name = operation(node)
        if node.op == "call_function" and ("assert" in name or name.startswith("sym_constrain")):
            graph.erase_node(node)
        elif node.op not in ("placeholder", "call_function", "output"):
            raise UnreadableNetworkError(f"the network has a part that is not read ({node.op} {node.target})")
    images = next(node for node in graph.nodes if node.op == "placeholder" and node.name == image)
    _undo_decompositions(graph)
    _annotate(graph, images)
    _fold_constants(graph, constants, images)
    if not _make_functional(graph):
        return None
    for node in list(graph.nodes):
        if (
            operation(node) in _NOTHING
            and isinstance(node.args[0], fx.Node)
            and arguments(node).get("train") is not True
        ):
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    graph.eliminate_dead_code()
    for node in list(graph.nodes):
        if node.op == "placeholder" and not node.users and node is not images:
            graph.erase_node(node)
    named = {node.name for node in graph.nodes}
    kept = {name: value for name, value in constants.items() if name in named}
    output = next(node for node in graph.nodes if node.op == "output")
    found = [node for node in torch.utils._pytree.tree_leaves(output.args) if isinstance(node, fx.Node)]
    return NetworkGraph(graph, kept, images, side, tuple(found), tuple(fixed))


def _undo_decompositions(graph: fx.Graph) -> None:
    """Replaces norms and pools that give several values, of which one is read, by those that give that one."""
    aten = torch.ops.aten
    for node in list(graph.nodes):
        name, given = operation(node), list(node.args)
        users = list(node.users)
        if not users or any(operation(user) != "getitem" or user.args[1] != 0 for user in users):
            continue
        target: Any
        if name == "_native_batch_norm_legit_no_training":
            target, given = aten.batch_norm.default, [*given[:5], False, *given[5:], False]
        elif name == "native_layer_norm":
            target = aten.layer_norm.default
        elif name == "native_group_norm":
            x, weight, bias, _, _, _, groups, eps = given
            target, given = aten.group_norm.default, [x, groups, weight, bias, eps]
        elif name == "max_pool2d_with_indices":
            target = aten.max_pool2d.default
        else:
            continue
        node.target, node.args = target, tuple(given)
        node.meta["val"] = users[0].meta["val"]
        for user in users:
            user.replace_all_uses_with(node)
            graph.erase_node(user)


def _annotate(graph: fx.Graph, image: fx.Node) -> None:
    """Says of each node what depends on the image, its shape, and the module that it runs in."""
    for node in graph.nodes:
        name = operation(node)
        node.meta["depends"] = node is image or (
            node.op == "call_function"
            and name not in _WITHOUT_DATA
            and any(source.meta["depends"] for source in node.all_input_nodes)
        )
        value = node.meta.get("val")
        if isinstance(value, torch.Tensor):
            node.meta["shape"] = tuple(size if isinstance(size, int) else -1 for size in value.shape)
            # Batches may be one with other axes: of 12 heads and n images.
            node.meta["shape of one"] = tuple(
                size if isinstance(size, int) else int(size.node.hint) // _EXPORTED for size in value.shape
            )
        stack = node.meta.get("nn_module_stack") or {}
        path, call = "", 0
        if stack:
            key, (path, _) = list(stack.items())[-1]
            repeated = re.search(r"@(\d+)$", key)
            call = int(repeated[1]) if repeated else 0
        node.meta["module"], node.meta["call"] = re.sub(r"@\d+", "", path), call


def _fold_constants(graph: fx.Graph, constants: dict[str, torch.Tensor], image: fx.Node) -> None:
    """Replaces what depends neither on the image nor on how many there are by its value.

    What it does in place is done, on copies, as the network does it.
    """
    values: dict[fx.Node, Any] = {}
    for node in list(graph.nodes):
        if node.op == "placeholder" and node is not image:
            values[node] = constants[node.name]
        elif node.op == "call_function" and not node.meta["depends"]:
            sources = node.all_input_nodes
            if operation(node).startswith(("new_", "zeros_like", "ones_like", "full_like")):
                if -1 in node.meta["shape"]:
                    continue
                (like,) = sources
                device = next(iter(constants.values()), torch.empty(0)).device
                sizes = [max(size, 1) for size in like.meta["shape"]]
                values[like] = torch.empty(sizes, dtype=like.meta["val"].dtype, device=device)
            elif operation(node) in ("sym_size", "size") or any(source not in values for source in sources):
                continue
            target: Any = node.target
            if _is_mutable(node):
                for source in sources:
                    if source.op == "placeholder":
                        values[source] = values[source].clone()
            values[node] = target(
                *fx.map_arg(node.args, values.__getitem__), **fx.map_arg(dict(node.kwargs), values.__getitem__)
            )
            for source in sources:
                if source.meta["depends"]:
                    del values[source]
    for node in list(graph.nodes):
        if node.op != "call_function" or node not in values:
            continue
        if all(user in values for user in node.users) and node.users:
            continue
        value = values[node]
        if isinstance(value, torch.Tensor):
            with graph.inserting_after(image):
                constant = graph.placeholder(f"{node.name}_constant")
            shape = tuple(value.shape)
            constant.meta = {"depends": False, "shape": shape, "shape of one": shape}
            constant.meta |= {"module": node.meta["module"], "call": 0}
            constants[constant.name] = value.detach().clone()
            node.replace_all_uses_with(constant, delete_user_cb=lambda user: user not in values)
        elif isinstance(value, int | float | bool):
            for user in list(node.users):
                _replace_argument(user, node, value)
    for node in reversed(list(graph.nodes)):
        if node.op == "call_function" and node in values and not node.users:
            graph.erase_node(node)


def _replace_argument(user: fx.Node, node: fx.Node, value: float) -> None:
    def replaced(argument: fx.Node) -> Any:
        return value if argument is node else argument

    user.args, user.kwargs = fx.map_arg(user.args, replaced), fx.map_arg(dict(user.kwargs), replaced)


def _is_mutable(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and schema.is_mutable


def _make_functional(graph: fx.Graph) -> bool:
    """Replaces operations that overwrite their input; False where the input is read again as part of another value."""
    places = {node: place for place, node in enumerate(graph.nodes)}
    roots: dict[fx.Node, fx.Node] = {}
    for node in list(graph.nodes):
        source = node.args[0] if node.args and isinstance(node.args[0], fx.Node) else None
        if source is not None and (operation(node) in _VIEWS or operation(node) in _NOTHING):
            roots[node] = roots.get(source, source)
        if not _is_mutable(node):
            continue
        if source is None or (not node.meta["depends"] and source.meta["depends"]):
            return False
        root = roots.get(source, source)
        for other in places:
            shares = other is not source and roots.get(other, other) is root and places[other] < places[node]
            if shares and any(places.get(user, -1) > places[node] for user in other.users):
                return False
        packet = getattr(torch.ops.aten, operation(node).removesuffix("_"), None)
        overload = getattr(packet, node.target._overloadname, None)
        if overload is None:
            return False
        node.target = overload
        for user in list(source.users):
            if places.get(user, -1) > places[node]:
                user.replace_input_with(source, node)
    return True


def _check(module: nn.Module, graph: NetworkGraph) -> None:
    """Raises UnreadableNetworkError where the graph's outputs are not the module's."""
    reference = next(module.parameters(), torch.zeros(0))
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(_CHECKED, 3, graph.side, graph.side, generator=generator).to(reference)
    with torch.no_grad():
        own = [value for value in torch.utils._pytree.tree_leaves(module(images)) if isinstance(value, torch.Tensor)]
        found = GraphRunner(graph, graph.outputs).read(images)
    for ours, theirs in zip((found[node] for node in graph.outputs), own, strict=True):
        limit = TOLERANCE * float(theirs.abs().max())
        if ours.shape != theirs.shape or not float((ours - theirs).abs().max()) <= limit:
            raise UnreadableNetworkError(
                "the network does not do the same twice: its operations as they were captured give something else than "
                "it does (is there chance in it, or does what it does depend on what is on the images?)"
            )


@contextmanager
def _quiet() -> Iterator[None]:
    """torch.export says a lot on its way."""
    logger = logging.getLogger("torch")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)
