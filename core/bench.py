"""Measures streamscope against torch-lucent in one run on one machine: speed, and quality of the FZs."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import nn

from core.activations import BlockReader
from core.blocks import Target
from core.model import Network
from core.recipe import Recipe
from core.stream import branch, read_block, residual_blocks
from core.visualize import visualize

WARM_UP = 2
"""Steps of each that are run and not counted."""


@dataclass(frozen=True)
class Speed:
    """Milliseconds an image and step of one block's `block` FZ; `lucent_frozen_ms` with frozen weights.

    Lucent as its readme shows it leaves the weights' gradients on, so it also computes those.
    """

    block: str
    batch: int
    ours_ms: float
    lucent_ms: float
    lucent_frozen_ms: float

    @property
    def ratio(self) -> float:
        return self.lucent_ms / self.ours_ms

    @property
    def ratio_frozen(self) -> float:
        return self.lucent_frozen_ms / self.ours_ms

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "ratio": self.ratio, "ratio_frozen": self.ratio_frozen}


class _EnoughError(Exception):
    """Ends a run whose steps have been timed."""


def speed(network: Network, block: str, batch: int = 16, steps: int = 16) -> Speed:
    """Times one block: medians over `steps` steps of ours (a batch) and of Lucent's `render_vis` (one image)."""
    channels = list(range(min(batch, network.info.block(block).channels)))

    def ours(tick: Callable[[], None]) -> None:
        visualize(network, Target(block, "block"), channels, Recipe(), watch=lambda step, all_steps: tick())

    def lucent(tick: Callable[[], None]) -> None:
        layer = _last_bn(network, block)
        render_lucent(
            network, network.module, layer, channels[0], Recipe(), network.info.fields[f"{block}.block"].size, tick
        )

    ours_ms = _median_ms(ours, steps) / len(channels)
    network.module.requires_grad_(True)
    try:
        lucent_ms = _median_ms(lucent, steps)
    finally:
        network.module.requires_grad_(False)
    return Speed(block, len(channels), ours_ms, lucent_ms, _median_ms(lucent, steps))


def _median_ms(run: Callable[[Callable[[], None]], None], steps: int) -> float:
    times = []
    last = 0.0

    def tick() -> None:
        nonlocal last
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        if last:
            times.append(now - last)
        last = now
        if len(times) >= WARM_UP + steps:
            raise _EnoughError

    with suppress(_EnoughError):
        run(tick)
    return 1000 * float(np.median(times[WARM_UP:]))


def _last_bn(network: Network, block: str) -> str:
    module = dict(residual_blocks(network.module))[block]
    last = branch(module)[-1][1]
    return next(name for name, found in network.module.named_modules() if found is last).replace(".", "_")


def render_lucent(
    network: Network,
    model: nn.Module,
    layer: str,
    channel: int,
    recipe: Recipe,
    field_size: int,
    tick: Callable[[], None] | None = None,
) -> np.ndarray:
    """One FZ of a centre neuron by Lucent's `render_vis` with the recipe's transforms; (side, side, 3) in 0..1."""
    with _quiet():
        from lucent.optvis import objectives, param, render, transform
    from torchvision.transforms import CenterCrop, Normalize

    size, jitter = network.info.input_size, recipe.jitter_for(field_size)
    varied = [transform.random_scale(list(recipe.scales)), transform.random_rotate(list(recipe.degrees))]
    if jitter:
        before = [transform.pad(jitter, mode="reflect"), transform.jitter(jitter)]
        varied = [*before, *varied, transform.jitter(jitter // 2), CenterCrop(size)]
    varied.append(Normalize(network.info.mean, network.info.std))
    neuron = objectives.neuron(layer, channel)

    def objective(features: Callable[[str], torch.Tensor]) -> torch.Tensor:
        if tick is not None:
            tick()
        return neuron(features)

    with _quiet():
        images = render.render_vis(
            model,
            objectives.Objective(objective),
            param_f=lambda: param.image(size, sd=recipe.sd),
            optimizer=lambda parameters: torch.optim.Adam(parameters, lr=recipe.rate),
            transforms=varied,
            thresholds=(recipe.steps,),
            preprocess=False,
            progress=False,
            show_image=False,
            fixed_image_size=None if size >= 224 else 0,
        )
    return np.asarray(images[-1][0])


class Unaliased(nn.Module):
    """Shows Lucent a block tensor as it is: the network up to the block, then the tensor through `probe`.

    Lucent's own hook on the last BN sees `out` (design, section 3).
    """

    def __init__(self, network: Network, block: str) -> None:
        super().__init__()
        self.probe = nn.Identity()
        self._read = lambda x: read_block(network.module, x, block).block

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.probe(self._read(x))


@dataclass(frozen=True)
class Quality:
    """Centre activation of the stored image, ours over Lucent's, in pairs of channel and seed."""

    block: str
    steps: int
    ours: list[float]
    lucent: list[float]
    mean: float = field(init=False)
    low: float = field(init=False)
    high: float = field(init=False)
    """Mean ratio and its 95 % interval (t)."""

    def __post_init__(self) -> None:
        ratios = np.array(self.ours) / np.array(self.lucent)
        mean, error = float(ratios.mean()), float(stats.sem(ratios)) if len(ratios) > 1 else math.nan
        half = error * float(stats.t.ppf(0.975, max(1, len(ratios) - 1)))
        for name, value in (("mean", mean), ("low", mean - half), ("high", mean + half)):
            object.__setattr__(self, name, value)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def quality(
    network: Network,
    block: str,
    channels: Sequence[int],
    seeds: Sequence[int],
    steps: int,
    tick: Callable[[], None] | None = None,
) -> Quality:
    """Optimises the same channels with both and reads both stored images with the same reader."""
    recipe = Recipe(steps=steps)
    reader = BlockReader(network, block)
    size = network.info.fields[f"{block}.block"].size
    own: list[float] = []
    other: list[float] = []
    for seed in seeds:
        batch = visualize(
            network, Target(block, "block"), channels, recipe, seed, watch=lambda s, n: tick() if tick else None
        )
        own += _own_activation(reader, batch.images, channels)
        for channel in channels:
            torch.manual_seed(1000 * seed + channel)
            np.random.seed(1000 * seed + channel)
            image = render_lucent(network, Unaliased(network, block).eval(), "probe", channel, recipe, size, tick)
            other += _own_activation(reader, (image[None] * 255).astype(np.uint8), [channel])
    return Quality(block, steps, own, other)


def _own_activation(reader: BlockReader, images: np.ndarray, channels: Sequence[int]) -> list[float]:
    plain = reader.read(images)[0]
    return [float(plain[row, 1, channel]) for row, channel in enumerate(channels)]


@contextmanager
def _quiet() -> Iterator[None]:
    """Lucent's old kornia warns about deprecated torch calls at import and on every use."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
