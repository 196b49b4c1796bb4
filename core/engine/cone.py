"""The cone of a centre neuron: at each layer the interval of positions it depends on, and the forward pass over them.

Maps are square, so one interval serves both axes. Positions are counted from the start of the *unclipped* cone of their
layer. In that frame output i of a convolution reads inputs i * stride to i * stride + kernel - 1 whatever the size of
the map, so one pass can serve images that the network sees at different sizes (a random scale without a crop): only
where the map ends differs between them, and that is a mask. Zero padding is added only where the cone leaves the map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from streamscope.core.engine.stem import StemGradient, stem_convolution
from streamscope.core.errors import UsageError
from streamscope.core.model.stream import branch, residual_blocks, running_statistics, shortcut, stem

Read = Literal["in", "block", "pre", "aliased"]
"""What a cone ends in. `aliased` is the tensor that an uncopied hook on the last BN holds: relu(pre)."""


@dataclass(frozen=True)
class Window:
    """A sliding window: a convolution's or a pool's geometry. Sizes in positions of its input map."""

    kernel: int
    stride: int
    padding: int

    def outputs(self, size: int) -> int:
        """Side of the output map for an input map of side `size`."""
        return (size + 2 * self.padding - self.kernel) // self.stride + 1

    def inputs(self, start: int, stop: int) -> tuple[int, int]:
        """Interval of input positions that output positions start to stop - 1 read, unclipped."""
        return start * self.stride - self.padding, (stop - 1) * self.stride - self.padding + self.kernel


@dataclass(frozen=True)
class FoldedConv:
    """A convolution with its BN folded in: weight (out, in / groups, k, k) and bias (out,)."""

    weight: torch.Tensor
    bias: torch.Tensor
    window: Window
    dilation: int
    groups: int

    def to(self, dtype: torch.dtype) -> FoldedConv:
        return replace(self, weight=self.weight.to(dtype), bias=self.bias.to(dtype))

    def __call__(self, x: torch.Tensor, padding: int = 0) -> torch.Tensor:
        """With `padding` zeros on each side; whatever else is needed is already in `x`."""
        return F.conv2d(x, self.weight, self.bias, self.window.stride, padding, self.dilation, self.groups)


@dataclass(frozen=True)
class FoldedBlock:
    name: str
    convs: tuple[FoldedConv, ...]
    shortcut: FoldedConv | None

    def to(self, dtype: torch.dtype) -> FoldedBlock:
        shortcut = None if self.shortcut is None else self.shortcut.to(dtype)
        return replace(self, convs=tuple(conv.to(dtype) for conv in self.convs), shortcut=shortcut)


@dataclass(frozen=True)
class FoldedNetwork:
    """A ResNet ready for cones: frozen weights, each BN folded into its convolution (in float64)."""

    stem: FoldedConv
    stem_gradient: StemGradient
    pool: Window | None
    blocks: tuple[FoldedBlock, ...]

    @property
    def device(self) -> torch.device:
        return self.stem.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.stem.weight.dtype

    def map_of(self, block: str, side: int) -> tuple[int, int]:
        """Of the maps of a block's tensors, for images of `side` px: places a side, and px from one to the next.

        Raises UsageError for a block that the network does not have.
        """
        windows = [self.stem.window, *([] if self.pool is None else [self.pool])]
        for found in self.blocks:
            windows += [conv.window for conv in found.convs]
            if found.name == block:
                break
        else:
            raise UsageError(f"unknown block {block!r}; this network has {', '.join(b.name for b in self.blocks)}")
        stride = 1
        for window in windows:
            side, stride = window.outputs(side), stride * window.stride
        return side, stride

    def to(self, dtype: torch.dtype) -> FoldedNetwork:
        """The same network in `dtype`, which its maps then have too."""
        if dtype == self.dtype:
            return self
        blocks = tuple(block.to(dtype) for block in self.blocks)
        return replace(self, stem=self.stem.to(dtype), stem_gradient=self.stem_gradient.to(dtype), blocks=blocks)


def fold_network(module: nn.Module, device: torch.device | str = "cpu") -> FoldedNetwork:
    """Folds a torchvision-style ResNet in eval mode. The module itself is left alone."""
    pool = module.maxpool
    blocks = []
    for name, block in residual_blocks(module):
        convs = tuple(_fold(conv, bn, device) for conv, bn in branch(block))
        bypass = shortcut(block)
        blocks.append(FoldedBlock(name, convs, None if bypass is None else _fold(*bypass, device)))
    # torch allows a number for each direction; a ResNet has one for both.
    window = Window(pool.kernel_size, pool.stride, pool.padding) if isinstance(pool, nn.MaxPool2d) else None  # type: ignore[arg-type]
    first = _fold(*stem(module), device)
    return FoldedNetwork(first, StemGradient.of(first.weight, first.window.stride), window, tuple(blocks))


def _fold(conv: nn.Conv2d, bn: nn.BatchNorm2d, device: torch.device | str) -> FoldedConv:
    with torch.no_grad():
        mean, variance = running_statistics(bn)
        gain = bn.weight.double() / torch.sqrt(variance.double() + bn.eps)
        weight = (conv.weight.double() * gain[:, None, None, None]).float()
        bias = bn.bias.double() - mean.double() * gain
        if conv.bias is not None:
            bias = bias + conv.bias.double() * gain
    dilation = conv.dilation[0]
    window = Window(dilation * (conv.kernel_size[0] - 1) + 1, conv.stride[0], int(conv.padding[0]))
    # Channels-last is what the CPU and tensor-core convolutions are fastest in.
    weight = weight.to(device).contiguous(memory_format=torch.channels_last)
    return FoldedConv(weight, bias.float().to(device), window, dilation, conv.groups)


@dataclass(frozen=True)
class Interval:
    """The positions of one map that a cone needs.

    `start` and `stop` bound them in the frame of the unclipped cone; `starts` is where that frame begins in the map of
    each input size; `mask` (sizes, stop - start) is 1 inside the map of each size, or None where all are inside.
    """

    start: int
    stop: int
    starts: tuple[int, ...]
    mask: torch.Tensor | None

    @property
    def length(self) -> int:
        return self.stop - self.start


def map_interval(
    needed: tuple[int, int], starts: Sequence[int], sides: Sequence[int], device: torch.device
) -> Interval:
    ends = [(-first, side - first) for first, side in zip(starts, sides, strict=True)]
    start = max(needed[0], min(first for first, _ in ends))
    stop = min(needed[1], max(last for _, last in ends))
    positions = torch.arange(start, stop)
    inside = torch.stack([(positions >= first) & (positions < last) for first, last in ends])
    mask = None if bool(inside.all()) else inside.float().to(device)
    return Interval(start, stop, tuple(starts), mask)


def _fit(x: torch.Tensor, have: Interval, start: int, stop: int) -> torch.Tensor:
    """Crops or zero-pads both axes of `x`, which holds interval `have`, to positions start to stop - 1."""
    if (start, stop) == (have.start, have.stop):
        return x
    # Negative padding crops, and its gradient keeps the order of channels, as that of a slice does not.
    left, right = have.start - start, stop - have.stop
    return F.pad(x, (left, right, left, right))


def _placed(window: Window, x: torch.Tensor, have: Interval, start: int, stop: int) -> tuple[torch.Tensor, int]:
    """`x`, which holds interval `have`, for a window over positions start to stop - 1, and the padding it is to add.

    A copy of `x`, cropped or padded, only where the window cannot do the same by itself: it pads both sides alike, and
    positions too many at the end do not matter when they give no further output.
    """
    left, right = have.start - start, stop - have.stop
    outputs = (stop - start - window.kernel) // window.stride + 1
    if 0 <= left <= window.kernel // 2 and right <= left:
        own = (have.length + 2 * left - window.kernel) // window.stride + 1
        if own == outputs:
            return x, left
    return _fit(x, have, start, stop), 0


class Cone:
    """Forward pass over the cone of the centre neurons of one tensor of one block.

    `sizes` lists the sides, in px, of the images that the network may be shown; a pass says of each image which of them
    it is. The patch that the pass reads is `patch.length` px wide and begins at `origin(i)` in an image of `sizes[i]`.
    """

    def __init__(self, network: FoldedNetwork, block: str, read: Read, sizes: Sequence[int]) -> None:
        names = [b.name for b in network.blocks]
        if block not in names:
            raise UsageError(f"unknown block {block!r}; this network has {', '.join(names)}")
        self.network = network
        self.read = read
        self.sizes = tuple(sizes)
        last = names.index(block)
        self._blocks = network.blocks[: last + 1]
        sides = self._map_sides()
        outer = self._blocks[-1].shortcut if read == "in" else None
        if read == "in" and outer is None:
            self._blocks, self._final = network.blocks[:last], None
        else:
            self._final = self._blocks[-1]
            self._blocks = self._blocks[:-1]
        centre_sides = sides[last + 2] if self._final is not None else sides[last + 1]
        self._plan(sides, self._wanted(centre_sides))

    def _map_sides(self) -> list[list[int]]:
        """Map side for each input size: after the stem, after the pool, after each block."""
        stem = [self.network.stem.window.outputs(s) for s in self.sizes]
        sides = [stem, stem if self.network.pool is None else [self.network.pool.outputs(s) for s in stem]]
        for block in self._blocks:
            current = sides[-1]
            for conv in block.convs:
                current = [conv.window.outputs(s) for s in current]
            sides.append(current)
        return sides

    def _wanted(self, sides: Sequence[int]) -> Interval:
        """The positions that are read of the last map, whose side is `sides` by image size: the centre neuron."""
        return Interval(0, 1, tuple(side // 2 for side in sides), None)

    def _reading(self, last: torch.Tensor, size_index: torch.Tensor | None) -> torch.Tensor:
        """What is read of the last map's wanted positions, (n, channels) float32."""
        return last[:, :, 0, 0].float()

    def _plan(self, sides: list[list[int]], interval: Interval) -> None:
        """Walks from what is read of the last map back to the image, noting the interval needed before each layer."""
        device = self.network.device
        self._output = interval
        self._steps: list[_BlockStep] = []
        blocks = [*self._blocks, *([self._final] if self._final is not None else [])]
        for index in range(len(blocks) - 1, -1, -1):
            only_shortcut = self.read == "in" and index == len(blocks) - 1 and self._final is not None
            step = _BlockStep(blocks[index], interval, sides[index + 1], only_shortcut, device)
            self._steps.insert(0, step)
            interval = step.input
        self._pooled = interval
        if self.network.pool is not None:
            interval = _back(self.network.pool, interval, sides[0], device)
        self._stemmed = interval
        self.patch = _back(self.network.stem.window, interval, list(self.sizes), device)

    def origin(self, size_index: int = 0) -> int:
        """First row and column of the patch in an image of `sizes[size_index]`; may be negative when sizes differ."""
        return self.patch.starts[size_index] + self.patch.start

    @property
    def map_bytes(self) -> int:
        """Bytes of one image's largest map, the stem's output."""
        return 4 * len(self.network.stem.weight) * self._stemmed.length**2

    @property
    def receptive_field(self) -> int:
        """Side of the unclipped receptive field in px."""
        length = 1
        for step in reversed(self._steps):
            length = step.unclipped(length)
        for window in (self.network.pool, self.network.stem.window):
            if window is not None:
                length = (length - 1) * window.stride + window.kernel
        return length

    def __call__(self, patch: torch.Tensor, size_index: torch.Tensor | None = None) -> torch.Tensor:
        """Centre activations (n, channels) for normalised patches (n, 3, patch.length, patch.length).

        `size_index` (n,) says which of `sizes` each image was seen at; it may be left out when there is one size.
        Pixels outside an image's own map must be zero, as the network's padding is.
        """
        x = self._to_last(patch, size_index)
        if self._final is None:
            return self._reading(x, size_index)
        bypass, own = self._steps[-1](x, size_index)
        if self.read == "in":
            return self._reading(bypass, size_index)
        if self.read == "block":
            return self._reading(own, size_index)
        pre = bypass + own
        return self._reading(torch.relu(pre) if self.read == "aliased" else pre, size_index)

    def all_tensors(self, patch: torch.Tensor) -> torch.Tensor:
        """Centre activations (n, 3, channels) of `in`, `block` and `pre` in one pass; needs a cone that reads `pre`."""
        bypass, own = self._steps[-1](self._to_last(patch, None), None)
        return torch.stack([bypass, own, bypass + own], dim=1)[:, :, :, 0, 0].float()

    def _to_last(self, patch: torch.Tensor, size_index: torch.Tensor | None) -> torch.Tensor:
        window = self.network.stem.window
        x = patch.to(self.network.dtype).contiguous(memory_format=torch.channels_last)
        needed = window_inputs(window, self._stemmed)
        stem = self.network.stem
        x = _fit(x, self.patch, *needed)
        x, after = stem_convolution(x, stem.weight, stem.bias, self.network.stem_gradient), self._stemmed
        if self.network.pool is not None:
            x = masked(x, self._stemmed, size_index)
            # The pool pads with -inf, or gets zeros: after a ReLU both give the same maximum. The ReLU of the maximum
            # is the maximum of the ReLUs, of a quarter as many positions.
            x, padding = _placed(self.network.pool, x, self._stemmed, *window_inputs(self.network.pool, self._pooled))
            x = F.max_pool2d(x, self.network.pool.kernel, self.network.pool.stride, padding)
            after = self._pooled
        x = masked(torch.relu_(x), after, size_index)
        steps = self._steps[:-1] if self._final is not None else self._steps
        for step in steps:
            bypass, own = step(x, size_index)
            x = masked(torch.relu_(bypass + own), step.output, size_index)
        return x


def window_inputs(window: Window, output: Interval) -> tuple[int, int]:
    """Input positions, in the input's own frame, that the positions of `output` read."""
    return output.start * window.stride, (output.stop - 1) * window.stride + window.kernel


def masked(x: torch.Tensor, interval: Interval, size_index: torch.Tensor | None) -> torch.Tensor:
    """Zeroes what lies outside the map of each image's size."""
    if interval.mask is None:
        return x
    inside = interval.mask[0].expand(x.shape[0], -1) if size_index is None else interval.mask[size_index]
    return x * (inside[:, None, :, None] * inside[:, None, None, :]).to(x.dtype)


def _back(window: Window, output: Interval, sides: Sequence[int], device: torch.device) -> Interval:
    starts = [window.inputs(start, start + 1)[0] for start in output.starts]
    return map_interval(window_inputs(window, output), starts, sides, device)


class _BlockStep:
    """One residual block over its cone: from the positions `input` to (bypass, own) at the positions `output`."""

    def __init__(
        self, block: FoldedBlock, output: Interval, sides: Sequence[int], only_shortcut: bool, device: torch.device
    ) -> None:
        self.block, self.output = block, output
        self._convs = () if only_shortcut else block.convs
        maps = [list(sides)]
        for conv in self._convs:
            maps.append([conv.window.outputs(side) for side in maps[-1]])
        # Intervals before each convolution, found from the last to the first.
        chain = [output]
        for conv, before in zip(reversed(self._convs), reversed(maps[:-1]), strict=True):
            chain.insert(0, _back(conv.window, chain[0], before, device))
        self._chain = chain
        bypass = block.shortcut.window if block.shortcut is not None else Window(1, 1, 0)
        first = bypass.inputs(output.starts[0], output.starts[0] + 1)[0]
        shortcut = _back(bypass, output, sides, device)
        if not self._convs:
            self.input, self._offset = shortcut, 0
            return
        own = chain[0]
        self._offset = first - own.starts[0]
        start = min(own.start, shortcut.start + self._offset)
        stop = max(own.stop, shortcut.stop + self._offset)
        self.input = map_interval((start, stop), own.starts, sides, device)

    def unclipped(self, length: int) -> int:
        bypass = () if self.block.shortcut is None else (self.block.shortcut,)
        for conv in reversed(self._convs or bypass):
            length = (length - 1) * conv.window.stride + conv.window.kernel
        return length

    def __call__(self, x: torch.Tensor, size_index: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        window = self.block.shortcut.window if self.block.shortcut is not None else Window(1, 1, 0)
        start, stop = window_inputs(window, self.output)
        place = start + self._offset, stop + self._offset
        if self.block.shortcut is None:
            bypass = _fit(x, self.input, *place)
        else:
            bypass = self.block.shortcut(*_placed(window, x, self.input, *place))
        own, have = x, self.input
        for index, conv in enumerate(self._convs):
            after = self._chain[index + 1]
            own = conv(*_placed(conv.window, own, have, *window_inputs(conv.window, after)))
            if index < len(self._convs) - 1:
                own = masked(torch.relu_(own), after, size_index)
            have = after
        return bypass, own
