"""Contact sheets: the FZs of a few channels side by side, as a figure."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from streamscope.core.model.arrays import Pixels
from streamscope.core.model.blocks import TENSORS, Tensor
from streamscope.core.report.figures import WIDTH, new_figure
from streamscope.core.report.tables import Table
from streamscope.core.text import short_name

TITLES: dict[Tensor, str] = {"in": "FZ(I)", "block": "FZ(B)", "out": "FZ(O)"}
NAME = 28
"""Characters of a block's name at most."""
SIDE = WIDTH / 6.4
"""Inches of a picture."""
GAP, TITLE = 0.06, 0.28
"""Between pictures, and above them for the channel's name, as shares of a side."""


def contact_sheet(table: Table, images: Sequence[dict[Tensor, Pixels | None]]) -> Figure:
    """The FZs of each channel of a table, (h, w, 3) uint8 or None, two channels a row; y runs downwards."""
    rows = -(-len(images) // 2)
    height = rows * (1 + TITLE + GAP)
    figure = new_figure(height * SIDE + 0.3)
    ax = figure.subplots()
    ax.set_axis_off()
    for number, found in enumerate(images):
        left = 3.3 * (number % 2)
        top = (number // 2) * (1 + TITLE + GAP) + TITLE
        m, scale = table.cell(number, "mix_ratio").text, table.cell(number, "scale_metric").text
        name = f"{short_name(str(table.value(number, 'block')), NAME)} {table.value(number, 'channel')}"
        ax.text(left, top - 0.05, f"{name}   M {m}   SM {scale}", fontsize=7)
        for place, tensor in enumerate(TENSORS):
            x, image = left + place * (1 + GAP), found[tensor]
            if image is None:
                ax.text(x + 0.5, top + 0.5, f"{TITLES[tensor]}\nnot computed", ha="center", va="center", fontsize=6)
            else:
                ax.imshow(image, extent=(x, x + 1, top + 1, top), interpolation="bicubic")
    ax.set_xlim(0, 3.3 + 3 + 2 * GAP)
    ax.set_ylim(height, 0)
    return figure
