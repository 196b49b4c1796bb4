"""Does a block that overwrites a channel suppress its input feature? (arXiv 2407.05340, Fig. 4)"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streamscope.core.analysis.spectrum import blocks_of
from streamscope.core.measures.statistics import Anova, Correlation, anova, spearman
from streamscope.core.table.frame import Frame

QUANTITIES = {
    "block_on_in": "B(FZ(I)), the block's own response to the input feature",
    "rho": "Spearman rho of B against I over the images with I > 0",
}


@dataclass(frozen=True)
class Inhibition:
    """One quantity of a block's channels, by M.

    `groups` has M < 1 first, then M >= 1 (the paper's two groups): means, sizes and whether they differ.
    """

    block: str
    quantity: str
    groups: Anova
    correlation: Correlation
    """Against M."""


def inhibition(frame: Frame) -> list[Inhibition]:
    """B(FZ(I)) and rho of each block in the frame against M; rho needs a frame built with a scan, else its n is 0."""
    found = []
    for block, rows in blocks_of(frame):
        m = rows["mix_ratio"]
        for quantity in QUANTITIES:
            values = rows[quantity]
            with np.errstate(invalid="ignore"):
                groups = anova([values[m < 1], values[m >= 1]])
            found.append(Inhibition(block, quantity, groups, spearman(values, m)))
    return found
