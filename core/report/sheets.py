"""Contact sheets: the FZs of a few channels side by side, as a figure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from core.blocks import TENSORS, Tensor
from core.report.figures import WIDTH, new_figure
from core.report.tables import Table

TITLES: dict[Tensor, str] = {"in": "FZ(I)", "block": "FZ(B)", "out": "FZ(O)"}
ROOM = WIDTH / 6


def contact_sheet(table: Table, images: Sequence[dict[Tensor, NDArray[np.uint8] | None]]) -> Figure:
    """The FZs of each channel of a table, (h, w, 3) uint8 or None, two channels a row."""
    rows = -(-len(images) // 2)
    figure = new_figure(rows * (ROOM + 0.22) + 0.25)
    grid = figure.subplots(rows, 6, squeeze=False)
    for ax in grid.ravel():
        ax.set_axis_off()
    for number, found in enumerate(images):
        axes = grid[number // 2, 3 * (number % 2) : 3 * (number % 2) + 3]
        m, scale = table.cell(number, "mix_ratio").text, table.cell(number, "scale_metric").text
        name = f"{table.value(number, 'block')} {table.value(number, 'channel')}"
        axes[0].set_title(f"{name}  M {m}  SM {scale}", fontsize=6.5, loc="left")
        for ax, tensor in zip(axes, TENSORS, strict=True):
            image = found[tensor]
            if image is None:
                ax.text(0.5, 0.5, f"{TITLES[tensor]}\nnot computed", ha="center", va="center", fontsize=6)
            else:
                ax.imshow(image, interpolation="bicubic")
    return figure
