"""The forward pass over the cone of a centre neuron, planned from the neuron back to the image.

What an operation needs of its inputs is cropped from their values, and zeros are added only where the cone leaves the
map. An operation that sees the whole map takes all of its input, exactly, and so does everything before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from streamscope.core.engine.cone.folding import FoldedNetwork
from streamscope.core.engine.cone.intervals import (
    Bounds,
    Bounds2,
    Box,
    FramesDifferError,
    Interval,
    frame_before,
    map_interval,
    masked,
    window_inputs,
)
from streamscope.core.engine.cone.operations import Image, Operation, Part, Rectified

Read = Literal["in", "block", "pre", "aliased"]
"""What a cone ends in. `aliased` is the tensor that an uncopied hook on the last BN holds: relu(pre)."""


@dataclass
class _Step:
    """One operation as a cone computes it."""

    operation: Operation
    inputs: tuple[int, ...]
    """Which steps give its inputs."""
    parts: tuple[Part, ...]
    box: Box | None
    """What it computes; None for all of what has no rows and columns."""
    overwrites: bool = False
    is_masked: bool = False
    """Whether what lies outside the map of an image's size is zeroed."""
    over: tuple[int, ...] = ()
    """Steps whose values nobody reads after this one."""


class _Plan:
    """The steps from a patch of the image to the wanted positions of some values."""

    def __init__(
        self,
        network: FoldedNetwork,
        wanted: Mapping[Operation, Callable[[Sequence[int]], tuple[Bounds, Sequence[int]]] | None],
        sizes: Sequence[int],
    ) -> None:
        """`wanted` says of a value's sides, one for each of `sizes`, which positions and in which frame, or None for
        all of a value without rows and columns. Raises FramesDifferError."""
        self.sizes, self._device = tuple(sizes), network.device
        self._order = _ordered(wanted)
        self._shared = len(sizes) > 1
        if self._shared and not all(operation.local for operation in self._order):
            raise FramesDifferError
        self._sides = self._map_sides()
        self._plan(wanted)

    def _map_sides(self) -> dict[Operation, tuple[int, ...]]:
        if not self._shared:
            return {operation: (operation.side,) for operation in self._order}
        sides: dict[Operation, tuple[int, ...]] = {}
        for operation in self._order:
            if isinstance(operation, Image):
                sides[operation] = self.sizes
                continue
            spatial = [i for i, windows in enumerate(operation.windows) if windows is not None]
            if operation.axes is None or not spatial:
                raise FramesDifferError
            windows = operation.windows[spatial[0]]
            assert windows is not None
            if windows[0] != windows[1]:
                raise FramesDifferError
            sides[operation] = tuple(windows[0].outputs(side) for side in sides[operation.inputs[spatial[0]]])
        return sides

    def _plan(self, wanted: Mapping[Operation, Callable[[Sequence[int]], tuple[Bounds, Sequence[int]]] | None]) -> None:
        frames: dict[Operation, tuple[tuple[int, ...], tuple[int, ...]]] = {}
        needed: dict[Operation, list[Bounds2]] = {operation: [] for operation in self._order}
        boxes: dict[Operation, Box | None] = {}
        parts: dict[Operation, tuple[Part, ...]] = {}
        zero = (0,) * len(self.sizes)
        for operation, choose in wanted.items():
            if choose is not None:
                bounds, starts = choose(self._sides[operation])
                frame = tuple(starts) if self._shared else zero
                frames.setdefault(operation, (frame, frame))
                moved = starts[0] - frames[operation][0][0]
                span = bounds[0] + moved, bounds[1] + moved
                needed[operation].append((span, span))
        asked: dict[Operation, list[Bounds2 | None]] = {}
        for operation in reversed(self._order):
            box = self._box(operation, needed[operation], frames.get(operation, (zero, zero)))
            boxes[operation] = box
            found: list[Bounds2 | None] = []
            for index, source in enumerate(operation.inputs):
                if source.axes is None:
                    found.append(None)
                    continue
                bounds2 = self._bounds(operation, index, box, source, frames)
                found.append(bounds2)
                needed[source].append(bounds2)
            asked[operation] = found
        for operation in self._order:
            parts[operation] = tuple(
                Part(boxes[source], bounds2, source.axes)
                for source, bounds2 in zip(operation.inputs, asked[operation], strict=True)
            )
        self._make_steps(boxes, parts, set(wanted))

    def _box(
        self, operation: Operation, needed: Sequence[Bounds2], frame: tuple[tuple[int, ...], tuple[int, ...]]
    ) -> Box | None:
        """The hull of what is needed of a value, as far as there is any of it."""
        if operation.axes is None:
            return None
        sides = self._sides[operation]
        if operation.gives_all:
            needed = [((0, operation.side), (0, operation.side))]
        intervals = []
        for axis in (0, 1):
            first = min(bounds[axis][0] for bounds in needed)
            last = max(bounds[axis][1] for bounds in needed)
            intervals.append(map_interval((first, last), frame[axis], sides, self._device))
        if isinstance(operation, Image):
            # One interval serves both axes of the patch that transforms make.
            first, last = min(i.start for i in intervals), max(i.stop for i in intervals)
            intervals = [map_interval((first, last), frame[0], sides, self._device)] * 2
        return Box(intervals[0], intervals[1])

    def _bounds(
        self,
        operation: Operation,
        index: int,
        box: Box | None,
        source: Operation,
        frames: dict[Operation, tuple[tuple[int, ...], tuple[int, ...]]],
    ) -> Bounds2:
        """Which positions of an input an operation reads to give `box`."""
        windows = operation.windows[index]
        if not self._shared:
            whole = (0, source.side), (0, source.side)
            if box is None or windows is None:
                return whole
            wanted = tuple((interval.start, interval.stop) for interval in box.both)
            return operation.bounds(index, (wanted[0], wanted[1])) or whole
        if box is None or windows is None:
            raise FramesDifferError
        if source not in frames:
            rows, columns = (frame_before(w, interval) for w, interval in zip(windows, box.both, strict=True))
            if rows != columns:
                raise FramesDifferError
            frames[source] = rows, columns
        found = [
            window_inputs(window, interval, frame)
            for window, interval, frame in zip(windows, box.both, frames[source], strict=True)
        ]
        return found[0], found[1]

    def _make_steps(
        self,
        boxes: Mapping[Operation, Box | None],
        parts: Mapping[Operation, tuple[Part, ...]],
        wanted: set[Operation],
    ) -> None:
        places = {operation: place for place, operation in enumerate(self._order)}
        last_use = {
            source: operation for operation in self._order for source in operation.inputs if source not in wanted
        }
        users: dict[Operation, int] = dict.fromkeys(self._order, 0)
        padded: set[Operation] = set()
        for operation in self._order:
            for source, windows in zip(operation.inputs, operation.windows, strict=True):
                users[source] += 1
                if windows is not None and any(w.extent > 1 or w.before or w.after for w in windows):
                    padded.add(source)
        self.steps = []
        for operation in self._order:
            first = operation.inputs[0] if operation.inputs else None
            overwrites = (
                isinstance(operation, Rectified)
                and first is not None
                and first.fresh
                and users[first] == 1
                and first not in wanted
            )
            over = tuple(
                places[source] for source in dict.fromkeys(operation.inputs) if last_use.get(source) is operation
            )
            step = _Step(
                operation,
                tuple(places[source] for source in operation.inputs),
                parts[operation],
                boxes[operation],
                overwrites,
                self._shared and operation in padded and not isinstance(operation, Image),
                over,
            )
            self.steps.append(step)
        self._places = places
        (image,) = (operation for operation in self._order if isinstance(operation, Image))
        box = boxes[image]
        assert box is not None
        self.patch = box.rows
        self._boxes = boxes

    def box(self, operation: Operation) -> Box | None:
        return self._boxes[operation]

    @property
    def values(self) -> int:
        """Values of one image's maps that are computed."""
        return sum(step.operation.channels * step.box.places for step in self.steps if step.box is not None)

    @property
    def values_of_whole_maps(self) -> int:
        """As `values`, if every operation gave its whole map."""
        return sum(step.operation.channels * max(self._sides[step.operation]) ** 2 for step in self.steps)

    @property
    def largest_map(self) -> int:
        """Values of one image's largest map."""
        sizes = [step.operation.channels * step.box.places for step in self.steps if step.box is not None]
        return max(sizes)

    def run(self, patch: torch.Tensor, wanted: Sequence[Operation], size_index: torch.Tensor | None) -> list[Any]:
        """The wanted values, each at the positions that were planned."""
        values: list[Any] = [None] * len(self.steps)
        for place, step in enumerate(self.steps):
            operation = step.operation
            if isinstance(operation, Image):
                values[place] = patch
                continue
            inputs = [values[source] for source in step.inputs]
            if step.overwrites and isinstance(operation, Rectified):
                value = operation.overwrite(inputs, step.parts)
            else:
                value = operation.run(inputs, step.parts, step.box, len(patch))
            if step.is_masked and step.box is not None and operation.axes is not None:
                value = masked(value, step.box, operation.axes, size_index)
            values[place] = value
            for source in step.over:
                values[source] = None
        return [values[self._places[operation]] for operation in wanted]


def _ordered(wanted: Mapping[Operation, Any]) -> list[Operation]:
    """All that the wanted values are made of, each after its inputs."""
    order: list[Operation] = []
    seen: set[Operation] = set()
    waiting: list[tuple[Operation, bool]] = [(operation, False) for operation in reversed(list(wanted))]
    while waiting:
        operation, is_ready = waiting.pop()
        if is_ready:
            order.append(operation)
        elif operation not in seen:
            seen.add(operation)
            waiting.append((operation, True))
            waiting += [(source, False) for source in reversed(operation.inputs) if source not in seen]
    return order


class Cone:
    """Forward pass over the cone of the centre neurons of one tensor of one block.

    `sizes` lists the sides, in px, of the images that the network may be shown; a pass says of each image which of them
    it is. The patch that the pass reads is `patch.length` px wide and begins at `origin(i)` in an image of `sizes[i]`.
    """

    def __init__(self, network: FoldedNetwork, block: str, read: Read, sizes: Sequence[int]) -> None:
        self.network, self.read, self.sizes = network, read, tuple(sizes)
        self._parts: list[Cone] = []
        self.patch: Interval
        try:
            self._plan_pass(network if len(self.sizes) > 1 else network.at(self.sizes[0]), block, read)
        except FramesDifferError:
            self._parts = [type(self)(network, block, read, [size]) for size in self.sizes]
            self.patch = self._joined_patch()

    def _plan_pass(self, network: FoldedNetwork, block: str, read: Read) -> None:
        addition = network.stream.addition(block)
        nodes = {"in": addition.stream, "block": addition.branch, "pre": addition.sum, "aliased": addition.sum}
        # The operands of a sum are read at no further cost.
        read_nodes = [addition.stream, addition.branch, addition.sum] if read == "pre" else [nodes[read]]
        self._geometry = network.stream.map_geometry(block)
        self._ends = [network.operation(node) for node in read_nodes]
        wanted = {operation: self._positions if operation.axes is not None else None for operation in self._ends}
        self._plan = _Plan(network, wanted, self.sizes)
        self.patch = self._plan.patch
        self._places = {end: self._place(end) for end in self._ends}

    def _positions(self, sides: Sequence[int]) -> tuple[Bounds, Sequence[int]]:
        """The positions that are read of the last map, whose side is `sides` by image size, and where they are counted
        from: the centre neuron."""
        return (0, 1), [side // 2 for side in sides]

    def _reading(self, end: Operation, last: torch.Tensor, size_index: torch.Tensor | None) -> torch.Tensor:
        """What is read of the last value's wanted positions, (n, channels) float32."""
        return last[self._places[end]].float()

    def _place(self, end: Operation) -> tuple[Any, ...]:
        """Where the centre neuron lies in what the pass computes of a value."""
        geometry, box = self._geometry, self._plan.box(end)
        centre = list(geometry.centre)
        if end.axes is not None and box is not None:
            others = [axis for axis in range(1, len(centre) + 2) if axis != geometry.channel_axis]
            for axis, interval in zip(end.axes, box.both, strict=True):
                # Counted from the centre of each size's map, or from the map's first position.
                middle = 0 if len(self.sizes) > 1 else end.side // 2
                centre[others.index(axis)] = middle - interval.start
        index: list[Any] = [slice(None), *centre]
        index.insert(geometry.channel_axis, slice(None))
        return tuple(index)

    def origin(self, size_index: int = 0) -> int:
        """First row and column of the patch in an image of `sizes[size_index]`; may be negative when sizes differ."""
        return self.patch.starts[size_index] + self.patch.start

    @property
    def map_bytes(self) -> int:
        """Bytes of one image's largest map."""
        if self._parts:
            return max(part.map_bytes for part in self._parts)
        return 4 * self._plan.largest_map

    def __call__(self, patch: torch.Tensor, size_index: torch.Tensor | None = None) -> torch.Tensor:
        """Centre activations (n, channels) for normalised patches (n, 3, patch.length, patch.length).

        `size_index` (n,) says which of `sizes` each image was seen at; it may be left out when there is one size.
        Pixels outside an image's own map must be zero, as the network's padding is.
        """
        if self._parts:
            return self._by_size(patch, size_index)
        end = self._ends[-1]
        (value,) = self._run(patch, [end], size_index)
        return self._reading(end, torch.relu(value) if self.read == "aliased" else value, size_index)

    def all_tensors(self, patch: torch.Tensor) -> torch.Tensor:
        """Centre activations (n, 3, channels) of `in`, `block` and `pre` in one pass; needs a cone that reads `pre`."""
        values = self._run(patch, self._ends, None)
        read = [self._reading(end, value, None) for end, value in zip(self._ends, values, strict=True)]
        return torch.stack(read, dim=1)

    def _run(
        self, patch: torch.Tensor, ends: Sequence[Operation], size_index: torch.Tensor | None
    ) -> list[torch.Tensor]:
        x = patch.to(self.network.dtype).contiguous(memory_format=torch.channels_last)
        return self._plan.run(x, ends, size_index)

    def _joined_patch(self) -> Interval:
        """The patch of a pass for each size: as long as the longest, each where that size's begins."""
        length = max(part.patch.length for part in self._parts)
        starts = tuple(part.origin() for part in self._parts)
        if all(part.patch.length == length for part in self._parts):
            return Interval(0, length, starts)
        positions = torch.arange(length)
        inside = torch.stack([positions < part.patch.length for part in self._parts])
        return Interval(0, length, starts, inside.float().to(self.network.device))

    def _by_size(self, patch: torch.Tensor, size_index: torch.Tensor | None) -> torch.Tensor:
        assert size_index is not None
        found: dict[int, torch.Tensor] = {}
        for index, part in enumerate(self._parts):
            rows = (size_index == index).nonzero()[:, 0]
            if len(rows):
                length = part.patch.length
                read = part(patch[rows, :, :length, :length])
                found |= dict(zip(rows.tolist(), read, strict=True))
        return torch.stack([found[row] for row in range(len(patch))])

    @property
    def share(self) -> float:
        """Values that the pass computes, as a share of those that the same operations have in the whole maps."""
        parts = self._parts or [self]
        own = sum(part._plan.values for part in parts)
        return own / sum(part._plan.values_of_whole_maps for part in parts)
