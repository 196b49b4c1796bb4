"""What a network computes, operation by operation: its graph, captured by torch.export.

The graph is functional: an operation that overwrites its input in the network gives a value of its own here, and
whoever read the overwritten one reads that. So every value can be read at any time, which hooks on modules cannot
promise.
"""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from typing import Any

import torch
from torch import fx, nn
from torch._dynamo.exc import UserError, UserErrorType
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from torch.utils import _pytree as pytree

from streamscope.core.errors import UnreadableNetworkError
from streamscope.core.model.graph.batches import COUNTS, OTHER_VALUE, for_any_batch
from streamscope.core.model.graph.operations import arguments, names, operation
from streamscope.core.model.graph.running import GraphRunner
from streamscope.core.model.graph.values import NetworkGraph

TOLERANCE = 1e-5
"""Of the largest value of an output: how far the graph's may be from the network's own."""
_APART = 1e-2
"""Likewise: how far what an image alone gives may be from what it gives beside others, where rounding differs."""
_CHECKED = 5
"""Images of the comparison: another number than the network is captured with."""
_WITHOUT_DATA = frozenset(
    ["sym_size", "size", "new_zeros", "new_ones", "new_full", "new_empty", "zeros_like", "ones_like", "full_like"]
)
"""Whose results have the shape of what they are given, and nothing of its values."""
_MAYBE_VIEWS = names("getitem dropout feature_dropout alpha_dropout broadcast_tensors meshgrid")
"""Whose results may share memory with what they are given, though their schemas do not say so."""
_NOTHING = names("dropout feature_dropout alpha_dropout alias lift_fresh_copy detach")
"""What changes no value, but for dropouts that are told to."""


def capture(module: nn.Module, side: int) -> NetworkGraph:
    """The graph of a network in eval mode for images of `side` px; the module is left as it is.

    Raises UnreadableNetworkError where it cannot be told, or where the graph computes something else than the module.
    """
    with torch.no_grad():
        try:
            with _quiet():
                graph = _captured(module, side)
        except UnreadableNetworkError:
            raise
        except Exception as error:
            raise _refused(module, error, side) from error
        _check(module, graph)
    return graph


def _captured(module: nn.Module, side: int) -> NetworkGraph:
    for is_decomposed in (False, True):
        graph = _graph_of(module, _export(module, side, is_decomposed), side)
        if graph is not None:
            return graph
    raise UnreadableNetworkError(
        "the network overwrites values that it reads again by another name, in a way that cannot be told apart"
    )


def _export(module: nn.Module, side: int, is_decomposed: bool) -> ExportedProgram:
    """Decomposed, nothing is overwritten; it takes several times as long."""

    def export(count: int, batch: torch.export.Dim | None) -> ExportedProgram:
        images = torch.zeros(count, 3, side, side, **_kind(module))
        program = torch.export.export(module, (images,), dynamic_shapes=({0: batch},) if batch else None, strict=False)
        return program.run_decompositions({}) if is_decomposed else program

    try:
        return export(COUNTS[0], torch.export.Dim("n", min=1))
    except UserError as error:
        if error.error_type != UserErrorType.CONSTRAINT_VIOLATION:
            raise
    one = export(COUNTS[0], None)
    try:
        is_alike = for_any_batch(one.graph, export(COUNTS[1], None).graph)
    except Exception:
        is_alike = False
    if not is_alike:
        raise UnreadableNetworkError(
            "the network does other operations for another number of images, or takes no other"
        )
    return one


def _kind(module: nn.Module) -> dict[str, Any]:
    """Device and type of the images that a network takes."""
    reference = next((value for value in module.parameters() if value.is_floating_point()), torch.zeros(0))
    return {"device": reference.device, "dtype": reference.dtype}


def _refused(module: nn.Module, error: Exception, side: int) -> UnreadableNetworkError:
    if "data-dependent" in str(error):
        return UnreadableNetworkError(
            "the network's operations cannot be told: which of them it does, or with which numbers, depends on what is "
            "on the images"
        )
    try:
        module(torch.zeros(COUNTS[0], 3, side, side, **_kind(module)))
    except Exception as own:
        return UnreadableNetworkError(
            f"the network takes no images of {side} px, a batch (n, 3, {side}, {side}): {_first_line(own)}"
        )
    return UnreadableNetworkError(
        f"the network's operations cannot be told: torch.export cannot follow them ({_first_line(error)})"
    )


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return re.sub(r"\s+", " ", text)[:300]


def _graph_of(module: nn.Module, program: ExportedProgram, side: int) -> NetworkGraph | None:
    """None where an operation overwrites what is read again by another name."""
    graph = program.graph_module.graph
    constants: dict[str, torch.Tensor] = {}
    state: dict[str, str] = {}
    image, fixed = None, []
    kept_in_state = set(module.state_dict())
    for given in program.graph_signature.input_specs:
        if given.kind == InputKind.USER_INPUT:
            image = given.arg.name
        elif given.kind == InputKind.PARAMETER:
            constants[given.arg.name] = module.get_parameter(str(given.target))
            state[given.arg.name] = str(given.target)
        elif given.kind == InputKind.BUFFER:
            constants[given.arg.name] = module.get_buffer(str(given.target))
            state[given.arg.name] = str(given.target)
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
        elif node.op == "call_function" and any(source.op == "get_attr" for source in node.all_input_nodes):
            raise UnreadableNetworkError(
                f"the network runs a part of itself in a way of its own, which is not read ({name}: autocast, "
                "gradients switched on, or a loop that torch.export keeps)"
            )
        elif node.op not in ("placeholder", "call_function", "get_attr", "output"):
            raise UnreadableNetworkError(f"the network has a part that is not read ({node.op} {node.target})")
    _refuse_state(graph, state)
    images = next(node for node in graph.nodes if node.op == "placeholder" and node.name == image)
    _undo_decompositions(graph)
    _spell_sizes(graph)
    _annotate(graph, images)
    _refuse_batch_statistics(graph)
    _keep_outputs(graph, program)
    _fold_constants(graph, constants, images)
    if not _make_functional(graph):
        return None
    for node in list(graph.nodes):
        if _does_nothing(node):
            (source,) = node.args[:1]
            assert isinstance(source, fx.Node)
            node.replace_all_uses_with(source)
            graph.erase_node(node)
    graph.eliminate_dead_code()
    for node in list(graph.nodes):
        if node.op == "placeholder" and not node.users and node is not images:
            graph.erase_node(node)
    named = {node.name for node in graph.nodes}
    kept = {name: value for name, value in constants.items() if name in named}
    found = tuple(_output(graph).args[0])  # type: ignore[arg-type]
    return NetworkGraph(graph, kept, images, side, found, tuple(fixed))


def _output(graph: fx.Graph) -> fx.Node:
    (output,) = graph.find_nodes(op="output")
    assert isinstance(output, fx.Node)
    return output


def _keep_outputs(graph: fx.Graph, program: ExportedProgram) -> None:
    """What the network gives, without what is given back because it was overwritten, and without what is no tensor."""
    output = _output(graph)
    specs = zip(program.graph_signature.output_specs, pytree.tree_leaves(output.args), strict=True)
    kept = [value for spec, value in specs if spec.kind == OutputKind.USER_OUTPUT and isinstance(value, fx.Node)]
    output.args = (tuple(node for node in kept if "shape" in node.meta),)


def _refuse_state(graph: fx.Graph, state: Mapping[str, str]) -> None:
    """Raises UnreadableNetworkError where a network overwrites what belongs to it.

    `state`: names of its parameters and buffers, by placeholder.
    """
    roots: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        source = node.args[0] if node.args and isinstance(node.args[0], fx.Node) else None
        if source is None:
            continue
        if _may_share(node):
            roots[node] = roots.get(source, source)
        root = roots.get(source, source)
        if _is_mutable(node) and root.op == "placeholder" and root.name in state:
            raise UnreadableNetworkError(
                f"the network changes its own {state[root.name]} when it runs: what it gives depends on what it was "
                "given before"
            )


def _refuse_batch_statistics(graph: fx.Graph) -> None:
    """Raises UnreadableNetworkError where images are normalised together; so may weights be, or groups of channels."""
    for node in graph.nodes:
        if operation(node) != "batch_norm" or not node.meta["depends"] or not arguments(node).get("training"):
            continue
        if node.meta["shape"][0] == -1:
            raise UnreadableNetworkError(
                f"the network normalises by the statistics of the batch ({node.meta['module'] or 'batch_norm'}): what "
                "it gives for an image depends on the others"
            )


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
        node.meta |= {key: users[0].meta[key] for key in ("val", OTHER_VALUE) if key in users[0].meta}
        for user in users:
            user.replace_all_uses_with(node)
            graph.erase_node(user)


def _spell_sizes(graph: fx.Graph) -> None:
    """Replaces operations that are given a tensor for its shape or type alone by those that are given the shape or
    type; what a device is asked for stays on its own."""
    aten = torch.ops.aten
    spelt: dict[str, Any] = {
        "view_as": aten.view.default,
        "reshape_as": aten.reshape.default,
        "expand_as": aten.expand.default,
    }
    for node in list(graph.nodes):
        if operation(node) in ("to", "type_as"):
            node.target, node.args, node.kwargs = aten.to.dtype, (node.args[0], node.meta["val"].dtype), {}
        if operation(node) not in spelt:
            continue
        source, like = node.args
        assert isinstance(like, fx.Node)
        sizes: list[Any] = list(node.meta["val"].shape)
        with graph.inserting_before(node):
            for axis, grows in enumerate(_growing(node)):
                if grows:
                    sizes[axis] = graph.call_function(aten.sym_size.int, (like, axis))
        node.target, node.args = spelt[operation(node)], (source, sizes)


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
            sizes = list(zip(value.shape, _growing(node), strict=True))
            node.meta["shape"] = tuple(-1 if grows else size for size, grows in sizes)
            # Batches may be one with other axes: of 12 heads and n images.
            node.meta["shape of one"] = tuple(_hint(size) // COUNTS[0] if grows else size for size, grows in sizes)
        stack = node.meta.get("nn_module_stack") or {}
        path, call = "", 0
        if stack:
            key, (path, _) = list(stack.items())[-1]
            repeated = re.search(r"@(\d+)$", key)
            call = int(repeated[1]) if repeated else 0
        node.meta["module"], node.meta["call"] = re.sub(r"@\d+", "", path), call


def _growing(node: fx.Node) -> list[bool]:
    """Of each axis of a tensor, whether its size grows with the number of images."""
    value, other = node.meta["val"], node.meta.get(OTHER_VALUE)
    if other is None:
        return [not isinstance(size, int) for size in value.shape]
    return [size != second for size, second in zip(value.shape, other.shape, strict=True)]


def _hint(size: int | torch.SymInt) -> int:
    """A size in the capture itself."""
    hint = size if isinstance(size, int) else size.node.hint
    assert isinstance(hint, int)
    return hint


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


def _may_share(node: fx.Node) -> bool:
    """Whether its result may be another name of what it is given."""
    schema = getattr(node.target, "_schema", None)
    if operation(node) in _MAYBE_VIEWS:
        return True
    return schema is not None and not schema.is_mutable and any(value.alias_info for value in schema.returns)


def _make_functional(graph: fx.Graph) -> bool:
    """Replaces operations that overwrite their input; False where the input is read again as part of another value."""
    places = {node: place for place, node in enumerate(graph.nodes)}
    roots: dict[fx.Node, fx.Node] = {}
    for node in list(graph.nodes):
        source = node.args[0] if node.args and isinstance(node.args[0], fx.Node) else None
        if source is not None and _may_share(node):
            roots[node] = roots.get(source, source)
        if not _is_mutable(node):
            continue
        functional = _functional(node)
        if functional is None or source is None or (not node.meta["depends"] and source.meta["depends"]):
            return False
        root = roots.get(source, source)
        for other in places:
            shares = other is not source and roots.get(other, other) is root and places[other] < places[node]
            if shares and any(places.get(user, -1) > places[node] for user in other.users):
                return False
        node.target = functional
        for user in list(source.users):
            if places.get(user, -1) > places[node]:
                user.replace_input_with(source, node)
    return True


def _does_nothing(node: fx.Node) -> bool:
    """Whether its value is that of its first input."""
    if operation(node) in _NOTHING:
        return isinstance(node.args[0], fx.Node) and arguments(node).get("train") is not True
    source = node.args[0] if node.args else None
    if not isinstance(source, fx.Node) or not _are_of_one_type(node, source):
        return False
    if operation(node) == "to":
        return True
    neutral = {"add": 0, "sub": 0, "mul": 1, "div": 1}.get(operation(node))
    return len(node.args) == 2 and not node.kwargs and isinstance(node.args[1], int | float) and node.args[1] == neutral


def _are_of_one_type(one: fx.Node, other: fx.Node) -> bool:
    values = one.meta.get("val"), other.meta.get("val")
    first, second = (value.dtype if isinstance(value, torch.Tensor) else None for value in values)
    return first is not None and first == second


def _functional(node: fx.Node) -> Any:
    """The same operation that overwrites nothing; None where it overwrites more than its first input."""
    schema: Any = node.target._schema  # type: ignore[union-attr]
    written = [place for place, given in enumerate(schema.arguments) if given.alias_info and given.alias_info.is_write]
    packet = getattr(torch.ops.aten, operation(node).removesuffix("_"), None)
    overload = getattr(packet, schema.overload_name or "default", None)
    return overload if written == [0] and overload is not None and not overload._schema.is_mutable else None


def _check(module: nn.Module, graph: NetworkGraph) -> None:
    """Raises UnreadableNetworkError where the graph's outputs are not the module's, or an image's depend on others."""
    generator = torch.Generator().manual_seed(0)
    kind = _kind(module)
    images = torch.randn(_CHECKED, 3, graph.side, graph.side, generator=generator).to(**kind)
    own = _tensors(module(images.clone()))
    if not all(bool(torch.isfinite(values).all()) for values in own):
        raise UnreadableNetworkError("the network gives values for random images that are no finite numbers")
    runner = GraphRunner(graph, graph.outputs)
    found, alone = (runner.read(part) for part in (images, images[:1]))
    if len(own) != len(graph.outputs) or not all(
        _is_close(found[node], theirs, TOLERANCE) for node, theirs in zip(graph.outputs, own, strict=True)
    ):
        again = _tensors(module(images.clone()))
        if not all(_is_close(one, two, TOLERANCE) for one, two in zip(again, own, strict=True)):
            raise UnreadableNetworkError(
                "the network gives something else each time that it runs; is there chance in it?"
            )
        raise UnreadableNetworkError("the network gives other values than what torch.export captures of it")
    for node, theirs in zip(graph.outputs, own, strict=True):
        if len(theirs) == _CHECKED and not _is_close(alone[node], theirs[:1], _APART):
            raise UnreadableNetworkError(
                "the network gives something else for an image beside other images than for it alone"
            )


def _tensors(output: Any) -> list[torch.Tensor]:
    return [value for value in pytree.tree_leaves(output) if isinstance(value, torch.Tensor)]


def _is_close(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float) -> bool:
    if ours.shape != theirs.shape:
        return False
    if not theirs.numel():
        return True
    limit = tolerance * float(theirs.double().abs().max())
    return float((ours.double() - theirs.double()).abs().max()) <= limit


@contextmanager
def _quiet() -> Iterator[None]:
    """torch.export says a lot on its way, and prints what it has of a graph when it fails."""
    logger = logging.getLogger("torch")
    level = logger.level
    with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)
