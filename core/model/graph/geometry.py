"""Where in the image each position of a map looks, by the local path, whatever way the map is laid out.

Every value of a network's graph is given labels: the first and the last row and column of the image that each of its
positions depends on. Convolutions and pools widen them, layout operations move them as they move the values, and what
sees the whole map (attention, squeeze-and-excitation, global pools) leaves each position with its own: the label of an
attention's token is that of its query. From them follow the receptive field, the channels and the centre neuron of any
map: of channels first, of channels last, or of tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx

from streamscope.core.errors import UnreadableNetworkError
from streamscope.core.model.graph.operations import (
    POINTWISE,
    SAME_PLACE,
    arguments,
    border,
    is_dependent,
    of_one,
    operation,
    pair,
    shape_of,
    sliding,
)
from streamscope.core.model.graph.values import NetworkGraph


@dataclass(frozen=True)
class AxisLabels:
    """Of one axis of the image; each tensor broadcastable to a value's shape, infinite where nothing local is read."""

    first: torch.Tensor
    """Px of the image that is read first."""
    last: torch.Tensor
    place: torch.Tensor
    """Which row or column of the map it is: any numbers that ascend."""
    step: float
    """Px from one place to the next."""

    @property
    def tensors(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return self.first, self.last, self.place

    def mapped(self, change: Callable[[torch.Tensor], torch.Tensor]) -> AxisLabels:
        """With the same done to each tensor."""
        return AxisLabels(change(self.first), change(self.last), change(self.place), self.step)


@dataclass(frozen=True)
class Labels:
    """Of one value: where in the image each of its positions looks."""

    rows: AxisLabels
    columns: AxisLabels

    @property
    def both(self) -> tuple[AxisLabels, AxisLabels]:
        return self.rows, self.columns

    def mapped(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Labels:
        return Labels(self.rows.mapped(change), self.columns.mapped(change))

    def has_places_along(self, axis: int) -> bool:
        return any(_varies(labels.place, axis) for labels in self.both)


@dataclass(frozen=True)
class MapGeometry:
    """One map: (n, …) with `channels` along `channel_axis`, and `side` places each way."""

    channels: int
    channel_axis: int
    side: int
    stride: float
    """Px from one place to the next."""
    field: int
    """Side of the centre neuron's unclipped receptive field in px, by the local path."""
    middle: float
    """(first + last) / 2 of that field."""
    places: torch.Tensor
    """(side, side, axes): where each place lies in the axes that are neither the batch's nor the channels'."""

    @cached_property
    def centre(self) -> tuple[int, ...]:
        """Where the centre neuron lies in the axes that are neither the batch's nor the channels'."""
        return tuple(self.places[self.side // 2, self.side // 2].tolist())

    def as_map(self, values: torch.Tensor) -> torch.Tensor:
        """(n, channels, side, side) of a map of this kind (n, …)."""
        inner = values.movedim(self.channel_axis, 1)
        if self._is_grid:
            return inner
        places = self.places.to(values.device)
        return inner[_at(places)]

    def from_map(self, maps: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """The inverse of `as_map`; what has no place in the map (a class token) is that of `like` (n, …)."""
        if self._is_grid:
            return maps.movedim(1, self.channel_axis)
        inner = like.movedim(self.channel_axis, 1).clone()
        inner[_at(self.places.to(maps.device))] = maps
        return inner.movedim(1, self.channel_axis)

    @cached_property
    def _is_grid(self) -> bool:
        if self.places.shape[-1] != 2:
            return False
        rows, columns = torch.meshgrid(torch.arange(self.side), torch.arange(self.side), indexing="ij")
        return bool((self.places == torch.stack([rows, columns], dim=-1)).all())


def _at(places: torch.Tensor) -> tuple[Any, ...]:
    """The index of places (side, side, axes) in values (n, channels, …)."""
    return (slice(None), slice(None), *places.unbind(-1))


class Geometry:
    """The labels of every value of a graph that depends on the image."""

    def __init__(self, graph: NetworkGraph) -> None:
        self._graph = graph
        side = graph.side
        pixels = torch.arange(side, dtype=torch.float64)
        rows, columns = pixels.view(1, 1, side, 1), pixels.view(1, 1, 1, side)
        image = Labels(AxisLabels(rows, rows, rows, 1.0), AxisLabels(columns, columns, columns, 1.0))
        self._labels: dict[fx.Node, Any] = {graph.image: image}
        self._axes: dict[fx.Node, tuple[int, int] | None] = {}
        self._maps: dict[tuple[fx.Node, fx.Node | None], MapGeometry] = {}
        for node in graph.graph.nodes:
            if node.op == "call_function" and is_dependent(node):
                self._labels[node] = self._labels_of(node)

    def labels(self, node: fx.Node) -> Labels | None:
        """None where no position of the value looks anywhere in particular, or it is no one tensor."""
        found = self._labels.get(node)
        return found if isinstance(found, Labels) else None

    def axes(self, node: fx.Node) -> tuple[int, int] | None:
        """Which axes of a value are its rows and columns; None where these are not two axes of the image's places."""
        if node not in self._axes:
            self._axes[node] = self._axes_of(node)
        return self._axes[node]

    def _axes_of(self, node: fx.Node) -> tuple[int, int] | None:
        labels = self.labels(node)
        if labels is None:
            return None
        found = []
        for axis_labels in labels.both:
            place = axis_labels.place
            varying = [axis for axis, size in enumerate(place.shape) if size > 1]
            line = place.flatten()
            if len(varying) != 1 or not bool(torch.isfinite(line).all()) or bool((line.diff() <= 0).any()):
                return None
            found.append(varying[0])
        rows, columns = found
        shape = shape_of(node)
        return (rows, columns) if rows != columns and shape[rows] == shape[columns] else None

    def of(self, node: fx.Node, instead: fx.Node | None = None) -> MapGeometry:
        """The map that a value is; where its places look nowhere in particular, those of `instead` are its own.

        Raises UnreadableNetworkError for what is no map of channels.
        """
        if (node, instead) not in self._maps:
            self._maps[node, instead] = self._map_of(node, instead)
        return self._maps[node, instead]

    def _map_of(self, node: fx.Node, instead: fx.Node | None) -> MapGeometry:
        shape = shape_of(node)
        labels = self.labels(node)
        if labels is None and instead is not None and shape_of(instead) == shape:
            labels = self.labels(instead)
        if labels is None:
            raise UnreadableNetworkError(f"{node.name} is no map: its values belong to no place of the image")
        rows, columns = labels.rows.place, labels.columns.place
        extent = torch.broadcast_shapes(rows.shape, columns.shape)
        rows, columns = rows.expand(extent), columns.expand(extent)
        free = [axis for axis in range(1, len(shape)) if extent[axis] == 1 and shape[axis] > 1]
        if not free and shape[1] == 1:
            free = [1]
        if len(free) != 1 or extent[0] != 1:
            raise UnreadableNetworkError(f"{node.name} of shape {shape[1:]} is no map of channels")
        (channel_axis,) = free
        others = [axis for axis in range(1, len(shape)) if axis != channel_axis]
        rows, columns = (values.squeeze((0, channel_axis)) for values in (rows, columns))
        known = torch.isfinite(rows) & torch.isfinite(columns)
        above, across = rows[known].unique(), columns[known].unique()
        if not len(above) or len(above) != len(across) or int(known.sum()) != len(above) * len(across):
            raise UnreadableNetworkError(f"{node.name} of shape {shape[1:]} is no square map")
        side = len(above)
        places = torch.empty(side, side, len(others), dtype=torch.int64)
        places[torch.searchsorted(above, rows[known]), torch.searchsorted(across, columns[known])] = known.nonzero()
        centre = tuple(places[side // 2, side // 2].tolist())

        def at_centre(values: torch.Tensor) -> float:
            values = values.amax(channel_axis, keepdim=True).expand(extent).squeeze((0, channel_axis))
            return float(values[centre])

        firsts = [-at_centre(-axis_labels.first) for axis_labels in labels.both]
        lasts = [at_centre(axis_labels.last) for axis_labels in labels.both]
        return MapGeometry(
            channels=shape[channel_axis],
            channel_axis=channel_axis,
            side=side,
            stride=labels.rows.step,
            field=round(max(last - first + 1 for first, last in zip(firsts, lasts, strict=True))),
            middle=(firsts[0] + lasts[0]) / 2,
            places=places,
        )

    def _labels_of(self, node: fx.Node) -> Any:
        name = operation(node)
        inputs = [self._labels.get(found) for found in node.all_input_nodes if is_dependent(found)]
        known = [found for found in inputs if isinstance(found, Labels)]
        first = self._labels.get(node.args[0]) if node.args and isinstance(node.args[0], fx.Node) else None
        if name == "getitem":
            index: Any = node.args[1]
            return first[index] if isinstance(first, tuple) else None
        if name in ("cat", "stack"):
            return self._joined(node, name)
        if not known:
            return None
        if name in PADDINGS:
            return _padded(node, known[0])
        if name in _WINDOWS:
            return _windowed(node, known[0])
        if name in ("matmul", "bmm"):
            return _reduced_last(first) if isinstance(first, Labels) else None
        if name == "scaled_dot_product_attention":
            return _reduced_last(first) if isinstance(first, Labels) else None
        if name == "linear":
            return _reduced_last(known[0])
        if name in _REDUCTIONS:
            return self._reduced(node, known[0])
        if name in SAME_PLACE:
            return first if isinstance(first, Labels) else known[0]
        if name in POINTWISE:
            return _hull(known)
        if name in _LAYOUT and isinstance(first, Labels):
            others = [found for found in node.all_input_nodes if found is not node.args[0] and "shape" in found.meta]
            is_fixed = all(found.name in self._graph.constants for found in others)
            return self._laid_out(node, first) if is_fixed else None
        source = node.args[0]
        if isinstance(first, Labels) and isinstance(source, fx.Node) and shape_of(node) == shape_of(source):
            return first
        return None

    def _laid_out(self, node: fx.Node, labels: Labels) -> Any:
        """What a layout operation does to values, done to their labels."""
        source = node.args[0]
        assert isinstance(source, fx.Node)
        shape = of_one(source)
        positional = [self._size(argument) for argument in node.args[1:]]
        options = {key: self._size(value) for key, value in node.kwargs.items() if key != "memory_format"}
        target: Any = node.target

        def move(values: torch.Tensor) -> Any:
            return target(values.expand(shape).contiguous(), *positional, **options)

        moved = [[move(values) for values in axis_labels.tensors] for axis_labels in labels.both]
        steps = labels.rows.step, labels.columns.step
        if isinstance(moved[0][0], torch.Tensor):
            return Labels(_axis_labels(moved[0], steps[0]), _axis_labels(moved[1], steps[1]))
        count = len(moved[0][0])
        return tuple(
            Labels(*(_axis_labels([part[i] for part in parts], step) for parts, step in zip(moved, steps, strict=True)))
            for i in range(count)
        )

    def _size(self, argument: Any) -> Any:
        """An argument with sizes worked out, for a batch of one."""
        if isinstance(argument, list | tuple):
            return [self._size(part) for part in argument]
        if not isinstance(argument, fx.Node):
            return argument
        if operation(argument) in ("sym_size", "size"):
            of, axis = argument.args
            assert isinstance(of, fx.Node)
            assert isinstance(axis, int)
            return of_one(of)[axis]
        if argument.op == "call_function" and callable(argument.target) and "shape" not in argument.meta:
            target: Any = argument.target
            return target(*[self._size(part) for part in argument.args])
        return self._graph.constants[argument.name]

    def _joined(self, node: fx.Node, name: str) -> Labels | None:
        parts: Any = node.args[0]
        axis = int(arguments(node).get("dim", 0))
        nodes = [part for part in parts if isinstance(part, fx.Node)]
        known = [found for found in map(self.labels, nodes) if found is not None]
        if not known:
            return None
        if name == "stack":
            axis = axis % (len(shape_of(nodes[0])) + 1)
            return _hull(known).mapped(lambda values: values.unsqueeze(axis))
        axis = axis % len(shape_of(nodes[0]))
        if not any(labels.has_places_along(axis) for labels in known):
            return _hull(known)
        joined = []
        for image_axis in (0, 1):
            tensors = []
            for which, nowhere in enumerate((math.inf, -math.inf, math.inf)):
                parts = []
                for part in nodes:
                    labels = self.labels(part)
                    values = torch.tensor(nowhere, dtype=torch.float64)
                    values = values if labels is None else labels.both[image_axis].tensors[which]
                    parts.append(values.expand(of_one(part)))
                tensors.append(torch.cat(parts, dim=axis))
            joined.append(_axis_labels(tensors, known[0].both[image_axis].step))
        return Labels(joined[0], joined[1])

    def _reduced(self, node: fx.Node, labels: Labels) -> Labels | None:
        """None where it reduces places, which leaves nothing local."""
        source = node.args[0]
        assert isinstance(source, fx.Node)
        rank = len(shape_of(source))
        said = arguments(node).get("dim")
        said = list(range(rank)) if said is None else [said] if isinstance(said, int) else said
        dims = [int(axis) % rank for axis in said]
        if any(labels.has_places_along(axis) for axis in dims):
            return None
        kept = len(shape_of(node)) == rank
        return Labels(*(_narrowest(axis_labels, dims, kept) for axis_labels in labels.both))


_WINDOWS = {
    "conv2d",
    "conv_transpose2d",
    "max_pool2d",
    "avg_pool2d",
    "adaptive_avg_pool2d",
    "adaptive_max_pool2d",
    "upsample_nearest2d",
    "upsample_bilinear2d",
    "upsample_bicubic2d",
    "pixel_shuffle",
    "pixel_unshuffle",
}
_REDUCTIONS = {"mean", "sum", "amax", "amin", "max", "min", "var", "std", "norm", "linalg_vector_norm"}
_LAYOUT = {
    "permute",
    "transpose",
    "view",
    "reshape",
    "_unsafe_view",
    "flatten",
    "unflatten",
    "unsqueeze",
    "squeeze",
    "expand",
    "slice",
    "select",
    "split",
    "split_with_sizes",
    "chunk",
    "unbind",
    "roll",
    "flip",
    "narrow",
    "t",
    "movedim",
    "repeat",
    "index",
    "index_select",
    "tensor_split",
    "swapaxes",
    "unfold",
    "as_strided",
}


def _axis_labels(tensors: Sequence[torch.Tensor], step: float) -> AxisLabels:
    """Compressed: axes along which all labels are alike have size one. The step is that between places as they are."""
    first, last, place = tensors
    for axis in range(first.ndim):
        if not any(_varies(values, axis) for values in (first, last, place)):
            first, last, place = (values.narrow(axis, 0, 1) for values in (first, last, place))
    line = first.flatten()
    if line.numel() > 1 and max(first.shape) == line.numel():
        between = line.diff()
        if bool((between == between[0]).all()) and 0 < float(between[0]) < math.inf:
            step = float(between[0])
    return AxisLabels(first, last, place, step)


def _varies(values: torch.Tensor, axis: int) -> bool:
    return values.shape[axis] > 1 and bool((values != values.narrow(axis, 0, 1)).any())


def _narrowest(labels: AxisLabels, dims: Sequence[int], kept: bool) -> AxisLabels:
    """Over some axes that have no places of their own: from the first that any reads to the last."""
    return AxisLabels(
        labels.first.amin(list(dims), keepdim=kept),
        labels.last.amax(list(dims), keepdim=kept),
        labels.place.amin(list(dims), keepdim=kept),
        labels.step,
    )


def _hull(known: Sequence[Labels]) -> Labels:
    """From the first that any operand reads to the last, at the places of the first operand that has any."""
    rank = max(labels.rows.first.ndim for labels in known)
    found, *others = [labels for labels in known if labels.rows.first.ndim == rank]
    for other in others:
        found = Labels(
            *(
                AxisLabels(torch.minimum(one.first, two.first), torch.maximum(one.last, two.last), one.place, one.step)
                for one, two in zip(found.both, other.both, strict=True)
            )
        )
    return found


def _reduced_last(labels: Labels) -> Labels | None:
    """Of a product over the last axis: what lies along it together, at the first of its places (patches are merged so);
    nothing local where all places lie along it."""
    rank = labels.rows.place.ndim
    if labels.has_places_along(rank - 1) and not all(
        any(_varies(axis_labels.place, axis) for axis in range(rank - 1)) for axis_labels in labels.both
    ):
        return None
    return Labels(*(_narrowest(axis_labels, [-1], True) for axis_labels in labels.both))


def _padded(node: fx.Node, labels: Labels) -> Labels | None:
    """Rows and columns go on beyond the map's borders; what is added elsewhere is of no place."""
    amounts, rank = border(node), len(shape_of(node))
    padded = {rank - 1 - place // 2 for place, amount in enumerate(amounts) if amount}
    if not any(labels.has_places_along(axis) for axis in padded):
        return labels
    if padded <= {rank - 2, rank - 1}:
        found = _windowed(node, labels)
        if found is not None:
            return found
    shape = of_one(node.args[0])  # type: ignore[arg-type]
    axes = []
    for axis_labels in labels.both:
        ends = zip(axis_labels.tensors, (math.inf, -math.inf, math.inf), strict=True)
        moved = [F.pad(values.expand(shape), amounts, value=nowhere) for values, nowhere in ends]
        axes.append(_axis_labels(moved, axis_labels.step))
    return Labels(axes[0], axes[1])


def _windowed(node: fx.Node, labels: Labels) -> Labels | None:
    """Of a sliding window over the last two axes: outputs read from first to last, also where that is padding."""
    shape, out = shape_of(node.args[0]), shape_of(node)  # type: ignore[arg-type]
    if -1 in (*shape[-2:], *out[-2:]):
        return None
    if operation(node).startswith("adaptive") and (out[-1] == 1 or shape[-1] % out[-1] or shape[-2] % out[-2]):
        return None
    found = []
    for image_axis, axis in enumerate((len(shape) - 2, len(shape) - 1)):
        labelled = labels.both[image_axis]
        others = [other for other in range(len(shape)) if other != axis]
        if any(_varies(labelled.place, other) for other in others):
            return None
        line = _narrowest(labelled, others, True)
        first, last = line.first.flatten(), line.last.flatten()
        if not bool(torch.isfinite(first).all() and torch.isfinite(last).all()):
            return None
        before, after, stride = reach(node, image_axis, shape[axis], out[axis])
        at = torch.arange(out[axis], dtype=torch.float64)
        # A map that was turned over stays so: its places descend.
        places = line.place.flatten()
        sign = -1 if len(places) > 1 and bool((places.diff() < 0).all()) else 1
        size = [1] * len(shape)
        size[axis] = out[axis]
        found.append(
            AxisLabels(
                _extended(first, torch.ceil(at * stride + before), sign * labelled.step).view(size),
                _extended(last, torch.floor(at * stride + after), sign * labelled.step).view(size),
                sign * at.view(size),
                labelled.step * stride,
            )
        )
    return Labels(found[0], found[1])


def _extended(line: torch.Tensor, at: torch.Tensor, step: float) -> torch.Tensor:
    """Labels at positions, beyond the map's borders as if it went on."""
    inside = at.clamp(0, len(line) - 1)
    return line[inside.long()] + (at - inside) * step


def reach(node: fx.Node, image_axis: int, side: int, out: int) -> tuple[float, float, float]:
    """(before, after, stride): output i reads the inputs from i * stride + before to i * stride + after."""
    name, said = operation(node), arguments(node)

    def number(option: str, default: int) -> int:
        return pair(said.get(option), default)[image_axis]

    if name in ("conv2d", "max_pool2d", "avg_pool2d"):
        along = sliding(node)[image_axis]
        return -along.before, along.extent - 1 - along.before, along.stride
    if name == "conv_transpose2d":
        kernel, stride = shape_of(node.args[1])[2 + image_axis], number("stride", 1)  # type: ignore[arg-type]
        padding, dilation = number("padding", 0), number("dilation", 1)
        return (padding - dilation * (kernel - 1)) / stride, padding / stride, 1 / stride
    if name in PADDINGS:
        amounts = border(node)
        first = 2 * (1 - image_axis)
        before = amounts[first] if len(amounts) > first else 0
        return -before, -before, 1
    ratio = side / out
    if name in ("upsample_nearest2d", "pixel_shuffle"):
        return ratio - 1, 0, ratio
    if name in ("upsample_bilinear2d", "upsample_bicubic2d"):
        taps, shift = (1 if name == "upsample_bilinear2d" else 2), (ratio - 1) / 2
        return shift - taps + 1e-9, shift + taps, ratio
    # Adaptive pools, of a side that divides the map's, and what makes channels of positions.
    return 0, ratio - 1, ratio


PADDINGS = ("pad", "constant_pad_nd", "reflection_pad2d", "replication_pad2d")
