"""Whether a network is shown what it was trained on: batch norms keep the mean and the variance of what they met.

A network that is shown values of another range, or colours that are not normalised as in training, has other means and
variances from its first batch norm on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from streamscope.core.model.arrays import Float64Array

FIRST_RATIO, FIRST_SHIFT = 2.0, 0.25
"""A first layer's variances may be so many times those of training, or so much less, and its means so many deviations
off. With ResNet18's convolutions, statistics of 200 training crops and 100 other photographs: 1.05 and 0.04; of 10
photographs up to 1/1.32 and 0.08; values from -1 to 1 in place of ImageNet's constants 1/4.4, from 0 to 1 1/17 and
0.26, normalised twice 22, from 0 to 255 3,900 and 55. (Constants as near as CLIP's are let pass, 1/1.36, as is blue
before red: photographs have nearly as much of the one as of the other.)"""
LATER_RATIO, LATER_SHIFT = 1.35, 0.15
"""The same of the median layer: 1.05 and 0.03; of 10 photographs up to 1.11 and 0.08."""
BETTER = 0.5
"""Another preprocessing fits better when its first layer is off by less than this share of what it is now."""


@dataclass(frozen=True)
class LayerFit:
    """How far a layer's inputs are off what its batch norm met in training, in the median over its channels."""

    name: str
    shift: float
    """|mean - running mean| in running deviations."""
    ratio: float
    """Variance over running variance."""

    @property
    def factor(self) -> float:
        """The ratio or its inverse, whichever is above 1."""
        return max(self.ratio, 1 / self.ratio) if self.ratio > 0 else np.inf


def layer_fit(name: str, mean: Float64Array, variance: Float64Array, of: tuple[Float64Array, Float64Array]) -> LayerFit:
    """All (channels,); `of` are the running mean and variance. Channels that never varied in training are left out."""
    running_mean, running_variance = of
    alive = running_variance > 0
    if not alive.any():
        return LayerFit(name, np.nan, np.nan)
    shift = np.abs(mean - running_mean)[alive] / np.sqrt(running_variance[alive])
    return LayerFit(name, float(np.median(shift)), float(np.median(variance[alive] / running_variance[alive])))


def distance(fit: LayerFit) -> float:
    """One number for how far a layer is off: 0 where it is not."""
    return float(np.hypot(fit.shift, np.log(fit.factor)))


def first_fits(fit: LayerFit) -> bool:
    return fit.factor <= FIRST_RATIO and fit.shift <= FIRST_SHIFT


def later_fit(layers: Sequence[LayerFit]) -> bool:
    return typical_factor(layers) <= LATER_RATIO and typical_shift(layers) <= LATER_SHIFT


def typical_factor(layers: Sequence[LayerFit]) -> float:
    """Of the median layer."""
    return float(np.median([layer.factor for layer in layers]))


def typical_shift(layers: Sequence[LayerFit]) -> float:
    """Of the median layer."""
    return float(np.median([layer.shift for layer in layers]))


def are_folded(running: Sequence[tuple[Float64Array, Float64Array]]) -> bool:
    """Whether (mean, variance) of all layers are those of batch norms that do nothing: folded into convolutions, or
    never trained. Then they say nothing of training."""
    return all(not mean.any() and np.allclose(variance, 1, atol=1e-4) for mean, variance in running)
