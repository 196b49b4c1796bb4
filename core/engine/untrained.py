"""A network as it is before training: what share of channels passes the criteria by architecture alone?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from streamscope.core.engine.fourier import colour_correlation, frequency_scale
from streamscope.core.engine.normalisation import Normalisation
from streamscope.core.errors import ArchitectureError

IMAGES = 16
"""Made-up images that the batch norms are set by: at the last block of a ResNet18 still 784 positions a channel."""
SPREAD = 1.0
"""Deviation of the images before the sigmoid; their pixels then have one of 0.21."""


def untrained(
    build: Callable[[], nn.Module], seed: int, size: int, mean: tuple[float, ...], std: tuple[float, ...]
) -> nn.Module:
    """What `build` makes (its own initialisation, drawn with `seed`) in eval mode, its batch norms calibrated.

    A fresh batch norm has mean 0 and variance 1 stored, and in eval mode does nothing. That network is one nobody runs:
    while it trains, batch norms use each batch's own statistics. Without them every residual sum doubles the variance,
    and each channel gets a fixed offset that its variation over images cannot reach: in ResNet18's `block` tensors the
    offsets' deviation is 1.4 times that of the images in 1.0 and 3.4 times in 4.1, where 29 % of the channels are never
    positive, and verdicts would be those of the offsets. So the stored statistics are those of one batch of images:
    noise with the colours and the 1/f spectrum of photographs, of this seed too.

    Layers that normalise each image by itself need nothing of the kind, and everything but batch norms is as in eval
    mode, so that nothing is dropped at random.

    The pass is in float64 and the statistics are kept to 8 bits, so that rounding, which differs with the number of
    threads, changes neither them nor the fingerprint.
    """
    module = _drawn(build, seed)
    norms = [
        layer
        for layer in module.modules()
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d) and layer.running_mean is not None
    ]
    if not norms:
        return module.eval()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = None  # the statistics of all batches so far, that is of the one
    # A deviation as float32 has it: fingerprints of stored copies follow from it.
    normalise = Normalisation(torch.tensor(mean, dtype=torch.float64), torch.tensor(std).double())
    pixels = torch.from_numpy(photograph_like(IMAGES, size, seed))
    with torch.no_grad():
        module.double().eval()
        for norm in norms:
            norm.train()
        try:
            module(normalise(pixels))
        except RuntimeError as error:
            text = str(error).partition("\n")[0]
            raise ArchitectureError(
                f"its batch norms cannot be set: it does not run in double precision ({text})"
            ) from error
        module.float().eval()
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            for statistic in (norm.running_mean, norm.running_var):
                assert statistic is not None
                statistic.copy_(statistic.bfloat16())
    return module


def check_drawn(build: Callable[[], nn.Module], name: str) -> None:
    """That a network's own code draws its weights, so that there is one before training. Raises ArchitectureError."""
    first, second = _drawn(build, 0).state_dict(), _drawn(build, 1).state_dict()
    if all(torch.equal(value, second[key]) for key, value in first.items()):
        raise ArchitectureError(
            f"{name} has the same weights whatever they are drawn with: there is no untrained copy of it"
        )


def _drawn(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def photograph_like(count: int, size: int, seed: int) -> np.ndarray:
    """Images (count, 3, size, size) float64 in 0..1 of normal noise, 1/f in frequency, coloured as Lucent's FZs are."""
    draws = np.random.default_rng(seed).standard_normal((count, 3, size, size // 2 + 1, 2))
    decorrelated = np.fft.irfft2((draws[..., 0] + 1j * draws[..., 1]) * frequency_scale(size, 1.0), s=(size, size))
    images = np.einsum("ij,njhw->nihw", colour_correlation(), decorrelated)
    return np.asarray(1 / (1 + np.exp(-images * (SPREAD / images.std()))))
