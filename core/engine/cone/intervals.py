"""Intervals of a map's positions, along one axis and along both, and the windows that slide over them.

Where a cone serves images that the network sees at several sizes, positions are counted from the start of the
*unclipped* cone of their map. In that frame output i of a window reads inputs i * stride to i * stride + extent - 1
whatever the size of the map, so that one pass can serve them all: only where the map ends differs, and that is a mask.
For one size the frame begins where the map does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class Window:
    """A sliding window along one axis: a convolution's or a pool's geometry, in positions of its input map."""

    extent: int
    """From the first to the last position that it reads."""
    stride: int = 1
    before: int = 0
    """Padding before the first position."""
    after: int = 0

    def outputs(self, size: int) -> int:
        """Side of the output map for an input map of side `size`."""
        return (size + self.before + self.after - self.extent) // self.stride + 1


ONE = Window(1)
"""Output i reads input i."""


@dataclass(frozen=True)
class Interval:
    """Positions start to stop - 1 of one axis, in the frame that begins at `starts` in the map of each input size.

    `mask` (sizes, stop - start) is 1 inside the map of each size, or None where all are inside.
    """

    start: int
    stop: int
    starts: tuple[int, ...]
    mask: torch.Tensor | None = None

    @property
    def length(self) -> int:
        return self.stop - self.start


def map_interval(
    needed: tuple[int, int], starts: Sequence[int], sides: Sequence[int], device: torch.device
) -> Interval:
    """What there is of needed positions in maps of `sides`, by input size."""
    ends = [(-first, side - first) for first, side in zip(starts, sides, strict=True)]
    start = max(needed[0], min(first for first, _ in ends))
    stop = min(needed[1], max(last for _, last in ends))
    positions = torch.arange(start, stop)
    inside = torch.stack([(positions >= first) & (positions < last) for first, last in ends])
    mask = None if bool(inside.all()) else inside.float().to(device)
    return Interval(start, stop, tuple(starts), mask)


@dataclass(frozen=True)
class Box:
    """Positions of a map: those of an interval of rows and one of columns."""

    rows: Interval
    columns: Interval

    @property
    def both(self) -> tuple[Interval, Interval]:
        return self.rows, self.columns

    @property
    def places(self) -> int:
        return self.rows.length * self.columns.length


Bounds = tuple[int, int]
"""First position and the one after the last."""
Bounds2 = tuple[Bounds, Bounds]
"""Of rows and of columns."""


def fit(x: torch.Tensor, have: Box, axes: tuple[int, int], wanted: Bounds2, value: float = 0.0) -> torch.Tensor:
    """Crops `x`, whose `axes` hold `have`, to the wanted positions, with `value` where it has none of them."""
    amounts = [0] * (2 * x.ndim)
    for axis, interval, (start, stop) in zip(axes, have.both, wanted, strict=True):
        place = 2 * (x.ndim - 1 - axis)
        amounts[place : place + 2] = interval.start - start, stop - interval.stop
    if not any(amounts):
        return x
    while not (amounts[-1] or amounts[-2]):
        del amounts[-2:]
    # Negative padding crops, and its gradient keeps the order of channels, as that of a slice does not.
    return F.pad(x, amounts, value=value)


def placed(
    windows: tuple[Window, Window], x: torch.Tensor, have: Box, wanted: Bounds2, value: float = 0.0
) -> tuple[torch.Tensor, tuple[int, int]]:
    """`x` (n, channels, rows, columns), which holds `have`, for windows over the wanted positions, and the padding that
    they are to add to rows and columns.

    A copy of `x`, cropped or padded, only where the windows cannot do the same by themselves: they pad both sides
    alike, and positions too many at the end do not matter when they give no further output.
    """
    paddings, bounds = [], []
    for window, interval, (start, stop) in zip(windows, have.both, wanted, strict=True):
        left, right = interval.start - start, stop - interval.stop
        outputs = (stop - start - window.extent) // window.stride + 1
        own = (interval.length + 2 * left - window.extent) // window.stride + 1
        by_itself = 0 <= left <= window.extent // 2 and right <= left and own == outputs
        paddings.append(left if by_itself else 0)
        bounds.append((interval.start, interval.stop) if by_itself else (start, stop))
    return fit(x, have, (2, 3), (bounds[0], bounds[1]), value), (paddings[0], paddings[1])


def masked(x: torch.Tensor, box: Box, axes: tuple[int, int], size_index: torch.Tensor | None) -> torch.Tensor:
    """Zeroes what lies outside the map of each image's size."""
    rows, columns = box.both
    if rows.mask is None and columns.mask is None:
        return x
    sides = []
    for axis, interval in zip(axes, (rows, columns), strict=True):
        mask = interval.mask
        if mask is None:
            mask = x.new_ones(len(interval.starts), interval.length)
        inside = mask[0].expand(x.shape[0], -1) if size_index is None else mask[size_index]
        shape = [1] * x.ndim
        shape[0], shape[axis] = inside.shape
        sides.append(inside.view(shape))
    return x * (sides[0] * sides[1]).to(x.dtype)


def window_inputs(window: Window, output: Interval, starts: Sequence[int]) -> Bounds:
    """Positions, in the frame that begins at `starts` in the input's maps, that those of `output` read.

    Raises FramesDifferError where they are others in the map of one size than in that of another.
    """
    shifts = {first * window.stride - window.before - start for first, start in zip(output.starts, starts, strict=True)}
    if len(shifts) > 1:
        raise FramesDifferError
    (shift,) = shifts
    return output.start * window.stride + shift, (output.stop - 1) * window.stride + window.extent + shift


def frame_before(window: Window, output: Interval) -> tuple[int, ...]:
    """Where the frame begins, in the input's map of each size, in which output i reads from input i * stride."""
    return tuple(first * window.stride - window.before for first in output.starts)


class FramesDifferError(Exception):
    """One pass cannot serve images of several sizes: what meets in one map lies apart by other amounts in each."""
