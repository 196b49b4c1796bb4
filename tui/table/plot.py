"""Curves and histograms as text: braille dots for lines, blocks for bars."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rich.style import Style
from rich.text import Text

BARS = " ▁▂▃▄▅▆▇█"
# Bits of a braille cell's dots, by row and column.
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))


@dataclass(frozen=True)
class Line:
    """Points (K,) in the order of rising x, NaN where there is none; a later line is drawn over an earlier one."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    style: Style


def plot(lines: Sequence[Line], width: int, height: int, dim: Style) -> list[Text]:
    """Lines of text, `width` x `height` cells: an axis of y at the left with its ends, the zero line where it is in
    range. The scale of x is that of the first line's ends."""
    values = np.concatenate([line.y[np.isfinite(line.y)] for line in lines]) if lines else np.zeros(0)
    if not len(values):
        return [Text("nothing to plot", style=dim)]
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    high = high if high > low else low + 1.0
    margin = max(len(_short(low)), len(_short(high))) + 1
    columns = max(4, width - margin - 1)
    cells = np.zeros((height, columns), dtype=np.int64)
    styles: list[list[Style]] = [[dim] * columns for _ in range(height)]
    first, last = lines[0].x[0], lines[0].x[-1]
    zero = round((high - 0.0) / (high - low) * (height * 4 - 1))
    for column in range(0, columns * 2, 4):
        cells[zero // 4, column // 2] |= _DOTS[zero % 4][column % 2]
    for line in lines:
        known = np.isfinite(line.y)
        if not known.any():
            continue
        places = first + (np.arange(columns * 2) + 0.5) / (columns * 2) * (last - first)
        inside = (places >= line.x[known][0]) & (places <= line.x[known][-1])
        y = np.interp(places, line.x[known], line.y[known])
        rows = np.rint((high - y) / (high - low) * (height * 4 - 1)).astype(int)
        before: int | None = None
        for column in np.flatnonzero(inside).tolist():
            row = int(rows[column])
            # Steep parts are joined, or they would be dots far apart.
            span = range(row, row + 1) if before is None else range(min(before, row), max(before, row) + 1)
            for dot in span:
                cells[dot // 4, column // 2] |= _DOTS[dot % 4][column % 2]
                styles[dot // 4][column // 2] = line.style
            before = row
    found = []
    for row in range(height):
        label = _short(high) if row == 0 else _short(low) if row == height - 1 and low < 0 else ""
        label = "0" if not label and row == zero // 4 else label
        text = Text(f"{label:>{margin - 1}} ", style=dim, no_wrap=True).append("│", dim)
        for column in range(columns):
            dots = int(cells[row, column])
            text.append(chr(0x2800 + dots) if dots else " ", styles[row][column])
        found.append(text)
    return found


def x_axis(labels: Sequence[tuple[float, str]], first: float, last: float, width: int, margin: int) -> str:
    """Labels under a plot at their places between `first` and `last`; those that would overlap are left out."""
    columns = max(4, width - margin)
    line = [" "] * (margin + columns)
    free = 0
    for value, label in labels:
        at = margin + round((value - first) / (last - first) * (columns - 1)) - len(label) // 2
        at = max(margin, min(at, margin + columns - len(label)))
        if at >= free:
            line[at : at + len(label)] = label
            free = at + len(label) + 1
    return "".join(line)


def margin_of(lines: Sequence[Line]) -> int:
    """Cells left of the axis of a plot of these lines, the axis included."""
    values = np.concatenate([line.y[np.isfinite(line.y)] for line in lines]) if lines else np.zeros(0)
    if not len(values):
        return 1
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    return max(len(_short(low)), len(_short(high if high > low else low + 1.0))) + 2


def bars(stacks: Sequence[Sequence[int]], styles: Sequence[Style], height: int, wide: int = 1) -> list[Text]:
    """A histogram, each bin `wide` cells and a stack of counts, the first at the bottom, with a style each: the tallest
    fills `height` lines, and no bin of a count above 0 is invisible."""
    highest = max(map(sum, stacks), default=0)
    levels = [[math.ceil(n * height * 8 / highest) if highest else 0 for n in accumulate(stack)] for stack in stacks]
    found = []
    for row in range(height - 1, -1, -1):
        text = Text(no_wrap=True)
        for tops in levels:
            glyph, style = _stacked([max(0, min(8, top - row * 8)) for top in tops], styles)
            text.append(glyph * wide, style)
        found.append(text)
    return found


def _stacked(tops: Sequence[int], styles: Sequence[Style]) -> tuple[str, Style]:
    """One cell of a stack whose parts end `tops` eighths above its foot. A cell has two colours, its own and that of
    what is behind it, so one that is full shows two parts, and any other the larger."""
    sizes = [top - below for below, top in pairwise([0, *tops])]
    parts = [(size, style) for size, style in zip(sizes, styles, strict=True) if size]
    if not parts:
        return BARS[0], Style.null()
    (lowest, style), *above = parts
    if tops[-1] == 8 and above:
        return BARS[lowest], style + Style(bgcolor=max(above, key=lambda part: part[0])[1].color)
    return BARS[tops[-1]], max(parts, key=lambda part: part[0])[1]


def sparkline(values: ArrayLike, width: int) -> str:
    """Values as one line of at most `width` bars from their least to their greatest."""
    known = np.asarray(values, dtype=np.float64)
    known = known[np.isfinite(known)]
    if not len(known):
        return ""
    if len(known) > width:
        known = np.interp(np.linspace(0, len(known) - 1, width), np.arange(len(known)), known)
    low, high = float(known.min()), float(known.max())
    scale = (known - low) / (high - low) if high > low else np.full(len(known), 0.5)
    return "".join(BARS[1 + round(v * 7)] for v in scale.tolist())


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}"
