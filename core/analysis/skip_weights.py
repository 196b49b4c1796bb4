"""Do a block's last weights say how much it adds? Skip weights against the mix ratio (arXiv 2407.05340, Fig. 3)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from streamscope.core.analysis.spectrum import blocks_of
from streamscope.core.measures.statistics import Correlation, spearman
from streamscope.core.model.blocks import ModelInfo
from streamscope.core.table.frame import Frame

WEIGHTS = {
    "bn_weight": "|gamma| of the last BN",
    "conv_weight": "mean |w| of the last convolution",
    "effective_gain": "|gamma| / sqrt(running_var + eps) * mean |w|",
}
"""Column of the table and what it is. Folding a BN into its convolution changes the first two, never the third."""


@dataclass(frozen=True)
class SkipWeightCorrelation:
    """Spearman's rho of one weight against M over a block's channels whose M is defined."""

    block: str
    weight: str
    correlation: Correlation


def skip_weight_correlations(info: ModelInfo, frame: Frame) -> list[SkipWeightCorrelation]:
    """Three a block of the frame, for the simple blocks other than the model's last, as in the paper.

    A correlation that is undefined has NaNs and a `reason`: in a checkpoint with folded batch norms every |gamma| is 1.
    """
    studied = {b.name for b in info.blocks[:-1] if b.kind == "simple"}
    return [
        SkipWeightCorrelation(block, weight, _correlation(rows, weight))
        for block, rows in blocks_of(frame)
        if block in studied
        for weight in WEIGHTS
    ]


def _correlation(rows: Frame, weight: str) -> Correlation:
    found = spearman(rows[weight], rows["mix_ratio"])
    values = rows[weight]
    if found.reason and len(values) and not np.isnan(values).any() and np.ptp(values) == 0:
        folded = "; are the batch norms folded?" if weight == "bn_weight" and values[0] == 1 else ""
        return replace(found, reason=f"every {WEIGHTS[weight]} is {values[0]:.6g}{folded}")
    return found
