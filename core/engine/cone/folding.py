"""A network's graph made ready for cones: frozen weights on a device, each batch norm folded into its convolution.

What the graph says is rewritten where the same is to be had for less: a batch norm after a convolution is part of its
weights, the ReLU before a max pool comes after it, and a convolution that reads the image has a quicker gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import fx, nn

from streamscope.core.engine.cone.intervals import ONE, Window
from streamscope.core.engine.cone.operations import (
    EACH,
    AveragePool,
    Axes,
    BorderPad,
    Call,
    Constant,
    ConstantPad,
    Convolution,
    Count,
    Enlarged,
    Every,
    Image,
    MaxPool,
    Operation,
    Rectified,
    Selected,
    Windows,
)
from streamscope.core.engine.stem import StemGradient
from streamscope.core.errors import UnreadableNetworkError
from streamscope.core.model.graph.operations import (
    BATCH_NORMS,
    POINTWISE,
    SAME_PLACE,
    Sliding,
    arguments,
    border,
    is_dependent,
    of_one,
    operation,
    options_on,
    shape_of,
    sliding,
)
from streamscope.core.model.preprocessing import IMAGENET_SIZE
from streamscope.core.model.stream import Stream

_OVER_PLACES = ("group_norm", "native_group_norm", "instance_norm", "normalize", "cumsum", "local_response_norm")
"""Of what leaves values in their places: they depend on other places' too."""
_PERMUTING = ("permute", "transpose", "movedim", "swapaxes", "unsqueeze", "squeeze", "t")
_ALONG_ONE = ("slice", "select", "split", "split_with_sizes", "chunk", "unbind", "narrow", "softmax", "log_softmax")
"""Along the axis `dim`: position by position where that has none."""
_REDUCING = ("mean", "sum", "amax", "amin", "norm", "linalg_vector_norm", "var", "std")
_COPYING = ("clone", "_to_copy", "add", "sub", "mul", "batch_norm")
"""Whose results nothing else refers to, and whose gradients do not need them."""


@dataclass(eq=False)
class FoldedNetwork:
    """The operations of a network for images of one size, on one device, in one dtype."""

    stream: Stream
    device: torch.device
    dtype: torch.dtype
    stream_for: Callable[[int], Stream]
    """The same for images of another size. Raises UnreadableNetworkError where the network takes none of that size."""
    _operations: dict[fx.Node, Operation] = field(default_factory=dict)
    _tensors: dict[fx.Node, torch.Tensor] = field(default_factory=dict)
    _others: dict[tuple[int, torch.dtype], FoldedNetwork] = field(default_factory=dict)

    def to(self, dtype: torch.dtype) -> FoldedNetwork:
        """The same network in `dtype`, which its maps then have too."""
        return self._other(self.stream.graph.side, dtype)

    def at(self, side: int) -> FoldedNetwork:
        """The same network for images of `side` px. Raises UnreadableNetworkError where it takes none of that size."""
        return self._other(side, self.dtype)

    def _other(self, side: int, dtype: torch.dtype) -> FoldedNetwork:
        self._others.setdefault((self.stream.graph.side, self.dtype), self)
        if (side, dtype) not in self._others:
            streams = {size: found.stream for (size, _), found in self._others.items()}
            stream = streams[side] if side in streams else self._stream_for(side)
            self._others[side, dtype] = FoldedNetwork(stream, self.device, dtype, self.stream_for, _others=self._others)
        return self._others[side, dtype]

    def _stream_for(self, side: int) -> Stream:
        try:
            return self.stream_for(side)
        except UnreadableNetworkError as error:
            own = self.stream.graph.side
            raise UnreadableNetworkError(
                f"the network takes images of {own} px and none of {side} px, which the paper's transforms show it; "
                f"under protocol centred it sees {own} px alone"
            ) from error

    def operation(self, node: fx.Node) -> Operation:
        """What computes the value of a node, and all that it needs before."""
        waiting = [node]
        while waiting:
            current = waiting[-1]
            if current in self._operations:
                waiting.pop()
                continue
            missing = [found for found in self._sources(current) if found not in self._operations]
            if missing:
                waiting += missing
                continue
            self._operations[current] = self._make(current)
            waiting.pop()
        return self._operations[node]

    def _sources(self, node: fx.Node) -> list[fx.Node]:
        """The nodes that the operation of a node is made of: those before what is folded into it."""
        if node is self.stream.graph.image or self._is_constant(node):
            return []
        folded = self._folded_into(node)
        if folded is not None:
            return [_argument(folded)]
        return [found for found in node.all_input_nodes if not self._is_constant(found)]

    def _folded_into(self, node: fx.Node) -> fx.Node | None:
        """What a node's operation does too: of a batch norm the convolution before it, of a max pool the ReLU, where
        nothing else reads it and both are maps of rows and columns."""
        folded = _foldable(node)
        axes = self.stream.geometry.axes
        if folded is None or not axes(node) == axes(folded) == axes(_argument(folded)) == (2, 3):
            return None
        return folded

    def _is_constant(self, node: fx.Node) -> bool:
        """Whether its value is the same whatever passes; what follows from such values is one in the graph already."""
        return node.op == "placeholder" and node is not self.stream.graph.image

    def _tensor(self, node: fx.Node) -> torch.Tensor:
        """The value of a constant node, on the device and in the dtype."""
        if node not in self._tensors:
            made = self.stream.graph.constants[node.name]
            dtype = self.dtype if made.is_floating_point() else made.dtype
            self._tensors[node] = made.detach().to(self.device, dtype)
        return self._tensors[node]

    def _make(self, node: fx.Node) -> Operation:
        name = operation(node)
        if node is self.stream.graph.image:
            return Image(node.name, (), (2, 3), self.stream.graph.side, 3, ())
        if self._is_constant(node):
            return Constant(node.name, (), None, 0, 0, (), self._tensor(node))
        if name in ("sym_size", "size"):
            of, axis = node.args
            assert isinstance(of, fx.Node)
            assert isinstance(axis, int)
            if shape_of(of)[axis] == -1:
                return Count(node.name, (), None, 0, 0, (), of_one(of)[axis])
        if name in BATCH_NORMS:
            convolution = self._folded_into(node)
            if convolution is not None:
                return self._convolution(node, convolution, node)
        axes = self.stream.geometry.axes(node) if is_dependent(node) else None
        source = node.args[0] if node.args and isinstance(node.args[0], fx.Node) else None
        flat = source is not None and is_dependent(source) and self.stream.geometry.axes(source) == (2, 3) == axes
        makers: Mapping[str, Callable[[fx.Node], Operation | None]] = {
            "max_pool2d": self._max_pool,
            "avg_pool2d": self._average_pool,
            "pad": self._pad,
            "constant_pad_nd": self._pad,
            "reflection_pad2d": self._pad,
            "replication_pad2d": self._pad,
            "upsample_nearest2d": self._enlarged,
        }
        if flat and name == "conv2d":
            return self._convolution(node, node, None)
        if flat and name in makers:
            made = makers[name](node)
            if made is not None:
                return made
        if name == "getitem":
            of, index = node.args
            assert isinstance(of, fx.Node)
            assert isinstance(index, int)
            # Only where every value has the axes that the one has, which its own operation saw to.
            chosen = self._operations[of]
            windows = EACH if axes is not None and chosen.axes == axes else None
            return Selected(
                node.name, (chosen,), axes, self._side(node, axes), self._channels(node, axes), (windows,), index
            )
        if name == "relu" and source is not None and axes is not None and self.stream.geometry.axes(source) == axes:
            before = self._operations[source]
            return Rectified(node.name, (before,), axes, before.side, before.channels, (EACH,))
        if name == "slice" and axes is not None and source is not None:
            made = self._every(node, source, axes)
            if made is not None:
                return made
        return self._call(node, name, axes)

    def _side(self, node: fx.Node, axes: Axes | None) -> int:
        return 0 if axes is None else shape_of(node)[axes[0]]

    def _channels(self, node: fx.Node, axes: Axes | None) -> int:
        if axes is None or "shape" not in node.meta:
            return 0
        count = 1
        for axis, size in enumerate(shape_of(node)):
            if axis > 0 and axis not in axes:
                count *= size
        return count

    def _convolution(self, node: fx.Node, convolution: fx.Node, norm: fx.Node | None) -> Operation:
        said, constants = arguments(convolution), self.stream.graph.constants
        weight = constants[said["weight"].name]
        bias = None if said.get("bias") is None else constants[said["bias"].name]
        if norm is not None:
            weight, bias = self._normed(weight, bias, norm)
        along = sliding(convolution)
        rows, columns = windows = _windows(along)
        dilation = along[0].dilation, along[1].dilation
        groups = int(said.get("groups", 1))
        # Channels-last is what the CPU and tensor-core convolutions are fastest in.
        weight = weight.detach().to(self.device, self.dtype).contiguous(memory_format=torch.channels_last)
        bias = None if bias is None else bias.detach().to(self.device, self.dtype)
        source = convolution.args[0]
        reads_image = source is self.stream.graph.image
        quick = reads_image and rows == columns and rows.stride > 1 and groups == 1 and dilation == (1, 1)
        gradient = StemGradient.of(weight, rows.stride) if quick else None
        if gradient is not None and bias is None:
            bias = weight.new_zeros(len(weight))
        assert isinstance(source, fx.Node)
        side = shape_of(convolution)[2]
        return Convolution(
            node.name,
            (self._operations[source],),
            (2, 3),
            side,
            len(weight),
            (windows,),
            weight,
            bias,
            dilation,
            groups,
            gradient,
        )

    @torch.no_grad()
    def _normed(
        self, weight: torch.Tensor, bias: torch.Tensor | None, norm: fx.Node
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """A convolution's weight and bias with a batch norm's after it, worked out in float64."""
        said = arguments(norm)
        constants = self.stream.graph.constants
        gamma, beta, mean, variance = (
            None if said.get(name) is None else constants[said[name].name].double()
            for name in ("weight", "bias", "running_mean", "running_var")
        )
        assert mean is not None
        assert variance is not None
        gain = (1 if gamma is None else gamma) / torch.sqrt(variance + said["eps"])
        shift = (0 if beta is None else beta) - mean * gain
        if bias is not None:
            shift = shift + bias.double() * gain
        return (weight.double() * gain[:, None, None, None]).float(), shift.float()

    def _max_pool(self, node: fx.Node) -> Operation | None:
        said, source = arguments(node), node.args[0]
        assert isinstance(source, fx.Node)
        if said.get("ceil_mode", False):
            return None
        rows, columns = along = sliding(node)
        kernel, dilation = (rows.taps, columns.taps), (rows.dilation, columns.dilation)
        # The ReLU of the maximum is the maximum of the ReLUs, of a fraction of as many positions.
        folded = self._folded_into(node)
        before = self._operations[source if folded is None else _argument(folded)]
        side, channels = shape_of(node)[2], shape_of(node)[1]
        pool = MaxPool(
            node.name, (before,), (2, 3), side, channels, (_windows(along),), kernel, dilation, folded is not None
        )
        if folded is None:
            return pool
        return Rectified(node.name, (pool,), (2, 3), side, channels, (EACH,))

    def _average_pool(self, node: fx.Node) -> Operation | None:
        said, source = arguments(node), node.args[0]
        assert isinstance(source, fx.Node)
        along = sliding(node)
        shape, out = shape_of(source), shape_of(node)
        counted = bool(said.get("count_include_pad", True))
        divisor = said.get("divisor_override")
        counts = []
        for axis, window in enumerate(along):
            side, pad = shape[2 + axis], window.before
            first, last = (-pad, side + pad) if counted else (0, side)
            starts = [i * window.stride - pad for i in range(out[2 + axis])]
            counts.append(tuple(float(min(s + window.taps, last) - max(s, first)) for s in starts))
        whole = divisor is not None or all(
            number == window.taps for window, numbers in zip(along, counts, strict=True) for number in numbers
        )
        return AveragePool(
            node.name,
            (self._operations[source],),
            (2, 3),
            out[2],
            out[1],
            (_windows(along),),
            (along[0].taps, along[1].taps),
            None if whole else (counts[0], counts[1]),
            divisor,
        )

    def _pad(self, node: fx.Node) -> Operation | None:
        said, source, amounts = arguments(node), node.args[0], border(node)
        assert isinstance(source, fx.Node)
        if any(amounts[4:]) or len(amounts) < 4:
            return None
        columns, rows = (amounts[0], amounts[1]), (amounts[2], amounts[3])
        mode = said.get("mode", "constant") if operation(node) == "pad" else operation(node)
        before, side, channels = self._operations[source], shape_of(node)[2], shape_of(node)[1]
        if mode in ("constant", "constant_pad_nd"):
            value = said.get("value")
            windows = Window(1, 1, rows[0], rows[1]), Window(1, 1, columns[0], columns[1])
            return ConstantPad(
                node.name, (before,), (2, 3), side, channels, (windows,), 0.0 if value is None else float(value)
            )
        if mode not in ("reflect", "reflection_pad2d", "replicate", "replication_pad2d") or min(rows + columns) < 0:
            return None
        reflects = mode.startswith("reflect")
        return BorderPad(
            node.name, (before,), (2, 3), side, channels, (EACH,), (rows[0], columns[0]), shape_of(source)[2], reflects
        )

    def _enlarged(self, node: fx.Node) -> Operation | None:
        source = node.args[0]
        assert isinstance(source, fx.Node)
        shape, out = shape_of(source), shape_of(node)
        if out[2] % shape[2] or out[3] % shape[3]:
            return None
        factor = out[2] // shape[2], out[3] // shape[3]
        return Enlarged(node.name, (self._operations[source],), (2, 3), out[2], out[1], (EACH,), factor)

    def _every(self, node: fx.Node, source: fx.Node, axes: Axes) -> Operation | None:
        """Of a slice along rows or columns; None along another axis."""
        said = arguments(node)
        shape = shape_of(source)
        axis = int(said.get("dim", 0)) % len(shape)
        before = self.stream.geometry.axes(source)
        if before != axes or axis not in axes:
            return None
        start, step, size = said.get("start"), int(said.get("step", 1)), shape[axis]
        first = 0 if start is None else int(start)
        first = max(0, first + size if first < 0 else first)
        windows = [ONE, ONE]
        windows[axes.index(axis)] = Window(1, step, -first)
        operation = self._operations[source]
        return Every(
            node.name, (operation,), axes, shape_of(node)[axis], operation.channels, ((windows[0], windows[1]),)
        )

    def _call(self, node: fx.Node, name: str, axes: Axes | None) -> Operation:
        slots: dict[fx.Node, int] = {}
        inputs: list[Operation] = []
        windows: list[Windows | None] = []
        constants: dict[fx.Node, torch.Tensor] = {}
        covering: dict[fx.Node, torch.Tensor] = {}
        if axes is None:
            axes = self._tuple_axes(node, name)
        by_place = axes is not None and self._is_by_place(node, name, axes)
        shape = node.meta.get("shape", ())
        for found in node.all_input_nodes:
            if self._is_constant(found):
                value = self._tensor(found)
                # A PReLU's weights belong to channels, whichever axes they are.
                broadcasts = name in POINTWISE and name != "prelu"
                if by_place and axes is not None and broadcasts and _covers(value, shape, axes):
                    covering[found] = value
                else:
                    constants[found] = value
                continue
            slots[found] = len(inputs)
            inputs.append(self._operations[found])
            windows.append(EACH if by_place and inputs[-1].axes is not None else None)
        return Call(
            node.name,
            tuple(inputs),
            axes,
            self._side(node, axes) if shape else (inputs[0].side if by_place else 0),
            self._channels(node, axes),
            tuple(windows),
            target=node.target,
            arguments=node.args,
            options=options_on(self.device, node),
            slots=slots,
            constants=constants,
            covering=covering,
            everywhere=by_place,
            in_order=name in ("group_norm", "native_group_norm"),
            is_new=name in _COPYING,
            rank=len(shape) or 4,
        )

    def _tuple_axes(self, node: fx.Node, name: str) -> Axes | None:
        """Of an operation that gives several values: the axes of them all."""
        if name not in ("split", "split_with_sizes", "chunk", "unbind") or not is_dependent(node):
            return None
        found = {self.stream.geometry.axes(user) for user in node.users if operation(user) == "getitem"}
        return found.pop() if len(found) == 1 else None

    def _is_by_place(self, node: fx.Node, name: str, axes: Axes) -> bool:
        """Whether each position of the result follows from those of the inputs that lie there."""
        dependent = [found for found in node.all_input_nodes if is_dependent(found)]
        source = node.args[0]
        before = self.stream.geometry.axes(source) if isinstance(source, fx.Node) and is_dependent(source) else None
        if name == "prelu":
            return before == axes and 1 not in axes
        if name in POINTWISE:
            rank = len(shape_of(node))
            return all(self._lies_under(found, axes, rank) for found in dependent) and any(
                self._operations[found].axes is not None for found in dependent
            )
        if name in ("cat", "stack"):
            axis = int(arguments(node).get("dim", 0)) % len(shape_of(node))
            geometry, made = self.stream.geometry, self._operations
            alike = all(geometry.axes(found) == axes and made[found].axes == axes for found in dependent)
            return name == "cat" and alike and axis not in axes and len(dependent) == len(node.all_input_nodes)
        if before is None or not isinstance(source, fx.Node) or self._operations[source].axes != before:
            return False
        rank = len(shape_of(source))
        said = arguments(node)
        if name in SAME_PLACE:
            if name in _OVER_PLACES or before != axes:
                return False
            if name in ("layer_norm", "native_layer_norm", "rms_norm"):
                return max(before) < rank - len(said["normalized_shape"])
            if "softmax" in name:
                return int(said["dim"]) % rank not in before
            return 1 not in before
        if name == "linear":
            return rank - 1 not in before and axes == before
        if name in _PERMUTING:
            return name != "squeeze" or "dim" in said
        if name in _ALONG_ONE:
            return int(said.get("dim", 0)) % rank not in before
        if name in _REDUCING:
            dims = said.get("dim")
            dims = [dims] if isinstance(dims, int) else dims
            return dims is not None and not {int(axis) % rank for axis in dims} & set(before)
        if name in ("pad", "constant_pad_nd"):
            amounts = border(node)
            padded = {rank - 1 - place // 2 for place, amount in enumerate(amounts) if amount}
            return said.get("mode", "constant") == "constant" and not padded & set(before)
        return False

    def _lies_under(self, node: fx.Node, axes: Axes, rank: int) -> bool:
        """Whether an operand has the result's rows and columns, or one value for all of them."""
        found = self._operations[node]
        if "shape" not in node.meta:
            return True
        shape = shape_of(node)
        shifted = [axis - rank + len(shape) for axis in axes]
        if found.axes is not None:
            return list(found.axes) == shifted
        return all(axis < 0 or shape[axis] == 1 for axis in shifted)


def fold_network(module: nn.Module, device: torch.device | str = "cpu", side: int = IMAGENET_SIZE) -> FoldedNetwork:
    """Folds a network in eval mode that is shown images of `side` px. The module itself is left alone.

    Raises UnreadableNetworkError for one whose operations cannot be told.
    """
    of_side = partial(Stream.of, module)
    return FoldedNetwork(of_side(side), torch.device(device), torch.float32, of_side)


def _windows(along: tuple[Sliding, Sliding]) -> Windows:
    rows, columns = (Window(one.extent, one.stride, one.before, one.after) for one in along)
    return rows, columns


def _covers(value: Any, shape: tuple[int, ...], axes: Axes) -> bool:
    """Whether a constant has a size of its own along rows or columns of a result."""
    if not isinstance(value, torch.Tensor):
        return False
    places = [axis - len(shape) + value.ndim for axis in axes]
    return any(place >= 0 and value.shape[place] > 1 for place in places)


def _foldable(node: fx.Node) -> fx.Node | None:
    """The convolution before a batch norm, the ReLU before a max pool, where nothing else reads it."""
    name = operation(node)
    wanted = "conv2d" if name in BATCH_NORMS else "relu" if name == "max_pool2d" else None
    if wanted is None:
        return None
    before = _argument(node)
    alone = len(before.users) == 1 and operation(before) == wanted and is_dependent(before)
    if wanted == "relu" and arguments(node).get("ceil_mode", False):
        return None
    return before if alone else None


def _argument(node: fx.Node) -> fx.Node:
    first = node.args[0]
    assert isinstance(first, fx.Node)
    return first
