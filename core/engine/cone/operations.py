"""What a cone is made of: operations that give some positions of a map, from some of those of their inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx

from streamscope.core.engine.cone.intervals import ONE, Bounds, Bounds2, Box, Window, fit, placed
from streamscope.core.engine.stem import StemGradient, stem_convolution

Axes = tuple[int, int]
"""Which axes of a value are its rows and its columns."""
Windows = tuple[Window, Window]
"""Of rows and of columns."""
EACH: Windows = (ONE, ONE)
MINUS_INFINITY = float("-inf")


@dataclass(eq=False)
class Operation:
    """One value of a network. `inputs` are the operations that it is made of."""

    name: str
    inputs: tuple[Operation, ...]
    axes: Axes | None
    """None of what has no rows and columns, such as tokens: all of it is computed, or nothing."""
    side: int
    """Of the map along `axes`, for the size of image that the graph is of; 0 without."""
    channels: int
    """Values at each place; 0 without `axes`."""
    windows: tuple[Windows | None, ...]
    """By input, which of its positions an output reads; None for all of it."""

    fresh = False
    """Whether nothing else refers to its result, so that a ReLU may overwrite it."""
    local = True
    """Whether it is the same at every size of the image, so that one pass can serve several."""
    gives_all = False
    """Whether it gives its whole map, whatever is wanted of it."""

    def bounds(self, index: int, wanted: Bounds2) -> Bounds2 | None:
        """Positions of an input that the wanted ones read, of one size of images; None for all. May lie outside."""
        windows = self.windows[index]
        if windows is None:
            return None
        rows, columns = (
            (start * window.stride - window.before, (stop - 1) * window.stride - window.before + window.extent)
            for window, (start, stop) in zip(windows, wanted, strict=True)
        )
        return rows, columns

    def run(self, values: Sequence[Any], parts: Sequence[Part], out: Box | None, count: int) -> Any:
        """The result at the positions `out` of `count` images, of the inputs' values at theirs."""
        raise NotImplementedError


@dataclass(frozen=True)
class Part:
    """Of an input: the positions that its value holds, those that are wanted of it, and its axes; None for whole."""

    have: Box | None
    wanted: Bounds2 | None
    axes: Axes | None

    def cut(self, value: torch.Tensor, beyond: float = 0.0) -> torch.Tensor:
        if self.have is None or self.wanted is None or self.axes is None:
            return value
        return fit(value, self.have, self.axes, self.wanted, beyond)


class Image(Operation):
    """The normalised image."""


@dataclass(eq=False)
class Count(Operation):
    """How many images pass, or how many of something each has: networks say it to operations that change a layout."""

    each: int

    def run(self, values: Sequence[Any], parts: Sequence[Part], out: Box | None, count: int) -> Any:
        return count * self.each


@dataclass(eq=False)
class Convolution(Operation):
    weight: torch.Tensor
    bias: torch.Tensor | None
    dilation: tuple[int, int]
    groups: int
    gradient: StemGradient | None
    """Of one that reads the image: a quicker way to its input's gradient."""

    fresh = True

    def run(self, values: Sequence[Any], parts: Sequence[Part], out: Box | None, count: int) -> torch.Tensor:
        (x,), (part,), windows = values, parts, self.windows[0]
        assert part.have is not None
        assert part.wanted is not None
        assert windows is not None
        if self.gradient is not None:
            assert self.bias is not None
            x = part.cut(x)
            return stem_convolution(x, self.weight, self.bias, self.gradient)
        x, padding = placed(windows, x, part.have, part.wanted)
        strides = windows[0].stride, windows[1].stride
        return F.conv2d(x, self.weight, self.bias, strides, padding, self.dilation, self.groups)


@dataclass(eq=False)
class MaxPool(Operation):
    kernel: tuple[int, int]
    dilation: tuple[int, int]
    rectified: bool
    """Whether a ReLU follows: zeros are as good as minus infinity beyond the map then."""

    fresh = True

    @property
    def local(self) -> bool:  # type: ignore[override]
        return self.rectified

    def run(self, values: Sequence[Any], parts: Sequence[Part], out: Box | None, count: int) -> torch.Tensor:
        (x,), (part,), windows = values, parts, self.windows[0]
        assert part.have is not None
        assert part.wanted is not None
        assert windows is not None
        x, padding = placed(windows, x, part.have, part.wanted, 0.0 if self.rectified else MINUS_INFINITY)
        return F.max_pool2d(x, self.kernel, (windows[0].stride, windows[1].stride), padding, self.dilation)


@dataclass(eq=False)
class AveragePool(Operation):
    kernel: tuple[int, int]
    counts: tuple[tuple[float, ...], tuple[float, ...]] | None
    """By position of the whole output, how many rows and columns count; None where it is always the whole window."""
    divisor: int | None

    fresh = True

    @property
    def local(self) -> bool:  # type: ignore[override]
        return self.counts is None

    def run(self, values: Sequence[Any], parts: Sequence[Part], out: Box | None, count: int) -> torch.Tensor:
        (x,), (part,), windows = values, parts, self.windows[0]
        assert part.have is not None
        assert part.wanted is not None
        assert windows is not None
        strides = windows[0].stride, windows[1].stride
        x = F.avg_pool2d(part.cut(x), self.kernel, strides, divisor_override=self.divisor)
        if self.counts is None:
            return x
        assert out is not None
        rows, columns = (
            x.new_tensor([size / number for number in counts[interval.start : interval.stop]])
            for size, counts, interval in zip(self.kernel, self.counts, out.both, strict=True)
        )
        return x * (rows[:, None] * columns)


@dataclass(eq=False)
class ConstantPad(Operation):
    value: float

    @property
    def local(self) -> bool:  # type: ignore[override]
        return False

    def run(self, values: Sequence[Any], parts: Sequence[Part], out: Box | None, count: int) -> torch.Tensor:
        x: torch.Tensor = values[0]
        return parts[0].cut(x, self.value)


@dataclass(eq=False)
class BorderPad(Operation):
    """Padding by what is in the map: reflected about its border positions, or these repeated."""

    before: tuple[int, int]
    inner: int
    """Side of the input's map."""
    reflects: bool

    local = False

    def bounds(self, index: int, wanted: Bounds2) -> Bounds2:
        rows, columns = (
            self._bounds(range(start - before, stop - before))
            for (start, stop), before in zip(wanted, self.before, strict=True)
        )
        return rows, columns

    def _bounds(self, positions: range) -> Bounds:
        read = [self._inside(position) for position in positions]
        return min(read), max(read) + 1

    def _inside(self, position: int) -> int:
        last = self.inner - 1
        if self.reflects:
            return last - abs(last - abs(position))
        return min(max(position, 0), last)

    def run(self, values: Sequence[Any], parts: Sequence[Part], out: Box | None, count: int) -> torch.Tensor:
        (part,) = parts
        x: torch.Tensor = values[0]
        assert out is not None
        assert part.have is not None
        assert self.axes is not None
        for axis, interval, before, have in zip(self.axes, out.both, self.before, part.have.both, strict=True):
            read = [self._inside(p - before) - have.start for p in range(interval.start, interval.stop)]
            x = _taken(x, axis, read)
        return x


def _taken(x: torch.Tensor, axis: int, places: Sequence[int]) -> torch.Tensor:
    """`x` at some places of an axis, in runs: the gradient of torch's own indexing is summed in any order on CUDA."""
    runs: list[tuple[int, int, int]] = []
    for place in places:
        if runs:
            first, length, step = runs[-1]
            last = first + (length - 1) * step
            if place - last in ((step,) if length > 1 else (1, -1)):
                runs[-1] = first, length + 1, place - last
                continue
        runs.append((place, 1, 1))
    parts = [
        x.narrow(axis, first, length) if step == 1 else x.narrow(axis, first - length + 1, length).flip(axis)
        for first, length, step in runs
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=axis)


@dataclass(eq=False)
class Every(Operation):
    """Positions first, first + step, … of one or both axes."""

    def run(self, values: Sequence[Any], parts: Sequence[Part], out: Box | None, count: int) -> torch.Tensor:
        (x,), (part,), windows = values, parts, self.windows[0]
        assert windows is not None
        assert self.axes is not None
        x = part.cut(x)
        for axis, window in zip(self.axes, windows, strict=True):
            if window.stride > 1:
                index = [slice(None)] * x.ndim
                index[axis] = slice(None, None, window.stride)
                x = x[tuple(index)]
        result: torch.Tensor = x
        return result


@dataclass(eq=False)
class Enlarged(Operation):
    """Each position repeated `factor` times along both axes: the nearest neighbour's enlargement."""

    factor: tuple[int, int]

    fresh = True
    local = False

    def bounds(self, index: int, wanted: Bounds2) -> Bounds2:
        rows, columns = (
            (start // factor, (stop - 1) // factor + 1)
            for (start, stop), factor in zip(wanted, self.factor, strict=True)
        )
        return rows, columns

    def run(self, values: Sequence[Any], parts: Sequence[Part], out: Box | None, count: int) -> torch.Tensor:
        (part,) = parts
        x = part.cut(values[0])
        assert out is not None
        assert part.wanted is not None
        n, channels, rows, columns = x.shape
        down, right = self.factor
        x = x[:, :, :, None, :, None].expand(n, channels, rows, down, columns, right)
        x = x.reshape(n, channels, rows * down, columns * right)
        for axis, interval, (start, _), factor in zip((2, 3), out.both, part.wanted, self.factor, strict=True):
            x = x.narrow(axis, interval.start - start * factor, interval.length)
        result: torch.Tensor = x
        return result


class Rectified(Operation):
    """The ReLU."""

    fresh = False

    def run(self, values: Sequence[Any], parts: Sequence[Part], out: Box | None, count: int) -> torch.Tensor:
        return torch.relu(parts[0].cut(values[0]))

    def overwrite(self, values: Sequence[Any], parts: Sequence[Part]) -> torch.Tensor:
        """As `run`, in the input's place, which nobody else reads."""
        return torch.relu_(parts[0].cut(values[0]))


@dataclass(eq=False)
class Call(Operation):
    """Any other operation of ATen, as it stands in the graph: position by position where `windows` say so."""

    target: Any
    arguments: tuple[Any, ...]
    options: Mapping[str, Any]
    slots: Mapping[fx.Node, int]
    """Which input stands where."""
    constants: Mapping[fx.Node, torch.Tensor]
    covering: Mapping[fx.Node, torch.Tensor] = field(default_factory=dict)
    """Constants that have a value for every position."""
    everywhere: bool = False
    """Whether it is the same at every size of the image."""
    in_order: bool = False
    """Whether values are laid out channel by channel first: the CPU's group norm of channels that come last squares
    before it subtracts the mean, and is ten times as far off."""
    is_new: bool = False

    @property
    def local(self) -> bool:  # type: ignore[override]
        return self.everywhere and not self.covering

    @property
    def gives_all(self) -> bool:  # type: ignore[override]
        return not self.everywhere

    @property
    def fresh(self) -> bool:  # type: ignore[override]
        return self.is_new

    def run(self, values: Sequence[Any], parts: Sequence[Part], out: Box | None, count: int) -> Any:
        inputs = [
            part.cut(value) if isinstance(value, torch.Tensor) else value
            for value, part in zip(values, parts, strict=True)
        ]
        if self.in_order:
            inputs = [value.contiguous() if isinstance(value, torch.Tensor) else value for value in inputs]

        def filled(node: fx.Node) -> Any:
            if node in self.slots:
                return inputs[self.slots[node]]
            if node in self.covering:
                return self._cut(self.covering[node], out)
            return self.constants[node]

        arguments: Any = fx.map_arg(self.arguments, filled)
        return self.target(*arguments, **fx.map_arg(dict(self.options), filled))

    def _cut(self, constant: torch.Tensor, out: Box | None) -> torch.Tensor:
        if out is None or self.axes is None:
            return constant
        rank = self.rank
        for axis, interval in zip(self.axes, out.both, strict=True):
            place = axis - rank + constant.ndim
            if place >= 0 and constant.shape[place] > 1:
                constant = constant.narrow(place, interval.start, interval.length)
        return constant

    rank: int = 4
    """Axes of the result."""


@dataclass(eq=False)
class Selected(Operation):
    """One of the values of an operation that gives several."""

    index: int

    @property
    def gives_all(self) -> bool:  # type: ignore[override]
        return self.windows[0] is None

    def run(self, values: Sequence[Any], parts: Sequence[Part], out: Box | None, count: int) -> torch.Tensor:
        chosen: torch.Tensor = parts[0].cut(values[0][self.index])
        return chosen


@dataclass(eq=False)
class Constant(Operation):
    value: torch.Tensor

    def run(self, values: Sequence[Any], parts: Sequence[Part], out: Box | None, count: int) -> torch.Tensor:
        return self.value
