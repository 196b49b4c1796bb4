"""Quality of the FZs against torch-lucent's: centre activations of the stored images, in pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from scipy import stats

from streamscope.core.bench.lucent import Unaliased, check_lucent_device, render_lucent
from streamscope.core.engine.network import Network
from streamscope.core.engine.visualize import visualize
from streamscope.core.model.blocks import Target
from streamscope.core.model.recipe import Recipe
from streamscope.core.reading.activations import BlockReader
from streamscope.core.watch import Watch


def mean_ratio(first: Sequence[float], second: Sequence[float], seeds: int = 1) -> tuple[float, float, float]:
    """Mean of the first over the second, by seed, then by channel, and the ends of its 95 % interval (t).

    Channels are what is independent: seeds of one are averaged first. Of one channel there is no interval: NaN.
    """
    ratios = (np.array(first) / np.array(second)).reshape(seeds, -1).mean(axis=0)
    mean, error = float(ratios.mean()), float(stats.sem(ratios)) if len(ratios) > 1 else math.nan
    half = error * float(stats.t.ppf(0.975, max(1, len(ratios) - 1)))
    return mean, mean - half, mean + half


@dataclass(frozen=True)
class Quality:
    """Centre activation of the stored image, ours over Lucent's, in pairs of channel and seed."""

    block: str
    steps: int
    seeds: int
    ours: list[float]
    """By seed, then by channel."""
    lucent: list[float]
    mean: float = field(init=False)
    low: float = field(init=False)
    high: float = field(init=False)
    """As `mean_ratio` gives them."""

    def __post_init__(self) -> None:
        for name, value in zip(("mean", "low", "high"), mean_ratio(self.ours, self.lucent, self.seeds), strict=True):
            object.__setattr__(self, name, value)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def quality(
    network: Network,
    block: str,
    channels: Sequence[int],
    seeds: Sequence[int],
    steps: int,
    watch: Watch | None = None,
) -> Quality:
    """Optimises the same channels with both and reads both stored images with the same reader.

    `watch` is told image-steps done and in all, both engines' together.
    """
    check_lucent_device(network.device)
    recipe = Recipe(steps=steps)
    reader = BlockReader(network, block)
    size = network.info.fields[f"{block}.block"].size
    total = 2 * len(seeds) * len(channels) * steps
    done = 0

    def count(images: int) -> None:
        nonlocal done
        done += images
        if watch is not None:
            watch(done, total)

    own: list[float] = []
    other: list[float] = []
    for seed in seeds:
        target = Target(block, "block")
        batch = visualize(network, target, channels, recipe, seed, watch=lambda step, steps: count(len(channels)))
        own += _own_activation(reader, batch.images, channels)
        for channel in channels:
            torch.manual_seed(1000 * seed + channel)
            np.random.seed(1000 * seed + channel)
            model = Unaliased(network, block).eval()
            image = render_lucent(network, model, "probe", channel, recipe, size, lambda: count(1))
            other += _own_activation(reader, (image[None] * 255).astype(np.uint8), [channel])
    return Quality(block, steps, len(seeds), own, other)


def _own_activation(reader: BlockReader, images: np.ndarray, channels: Sequence[int]) -> list[float]:
    plain = reader.read(images)
    return [float(plain[row, 1, channel]) for row, channel in enumerate(channels)]
