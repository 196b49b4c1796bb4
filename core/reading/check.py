"""Whether a network is what it is taken for: its accuracy on labelled images, and what its batch norms meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import fx, nn

from streamscope.core.engine.fourier import from_8_bit
from streamscope.core.engine.network import Network
from streamscope.core.engine.normalisation import Normalisation
from streamscope.core.errors import AmbiguousValuesError, ImageError
from streamscope.core.images.decoding import Decoders, default_workers
from streamscope.core.images.folder import ImagePath, Preparation
from streamscope.core.images.pixels import AS_TRAINED, Interpretation
from streamscope.core.measures.batch_norms import BETTER, LayerFit, are_folded, distance, first_fits, layer_fit
from streamscope.core.measures.statistics import Proportion, proportion_interval
from streamscope.core.model.arrays import Float64Array, Pixels
from streamscope.core.model.graph.operations import BATCH_NORMS, operation
from streamscope.core.model.graph.running import GraphRunner
from streamscope.core.model.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Changes
from streamscope.core.watch import Watch

BATCH = 32
TRIED = 64
"""Images that other preprocessings are tried on: the first layer's 64 channels have 12,544 positions in each."""
NEAR_CHANCE = 2.0
"""An interval of accuracy that reaches down to so many times chance is near it."""

_PLAIN, _LESS_HALF = (0.0, 0.0, 0.0), (0.5, 0.5, 0.5)
_OF_255 = (1 / 255, 1 / 255, 1 / 255)
COLOURS: Mapping[str, Changes] = {
    "ImageNet's mean and deviation": Changes(mean=IMAGENET_MEAN, std=IMAGENET_STD),
    "values from 0 to 1 as they are": Changes(mean=_PLAIN, std=(1.0, 1.0, 1.0)),
    "values from -1 to 1": Changes(mean=_LESS_HALF, std=_LESS_HALF),
    "values from 0 to 255 as they are": Changes(mean=_PLAIN, std=_OF_255),
    "values from 0 to 255 less ImageNet's mean": Changes(mean=IMAGENET_MEAN, std=_OF_255),
}
"""What networks are commonly trained on, tried where a network's own does not fit."""


@dataclass(frozen=True)
class Check:
    """What was found. `layers` are in the order of their running, empty where batch norms say nothing."""

    images: int
    unreadable: tuple[tuple[str, str], ...]
    """Path, what was wrong."""
    accuracy: Proportion | None
    """Top-1; None without labels."""
    classes: int
    """That the network tells apart; 0 without a classifier."""
    layers: tuple[LayerFit, ...]
    better: str = ""
    """Of `COLOURS`, what fits the first layer much better than what the network is shown; "" where nothing does."""

    @property
    def near_chance(self) -> bool:
        return self.accuracy is not None and self.accuracy.low <= NEAR_CHANCE / self.classes


def check_network(
    network: Network,
    folder: Path,
    images: Sequence[ImagePath],
    classes: Mapping[str, int] | None = None,
    interpretation: Interpretation = AS_TRAINED,
    watch: Watch | None = None,
) -> Check:
    """Shows a network images of a folder. `classes` has the index of each of their labels, None for no labels.

    Raises ImageError when none can be read.
    """
    moments, folded = _moments(network.module)
    normalise = Normalisation.of(network.info, network.device)
    unreadable: list[tuple[str, str]] = []
    some: list[Pixels] = []
    waiting: list[tuple[Pixels, int]] = []
    right = done = 0
    hooks = [module.register_forward_pre_hook(moment.add) for module, moment in moments]
    try:
        with Decoders(Preparation.of(network.info, interpretation), default_workers()) as decoders:
            for image, found in zip(images, decoders.read(folder / i.path for i in images), strict=True):
                done += 1
                if found.pixels is None:
                    unreadable.append((image.path, found.problem))
                else:
                    waiting.append((found.pixels, classes[image.label] if classes is not None else -1))
                    some += [found.pixels] if len(some) < TRIED else []
                if len(waiting) == BATCH or (waiting and done == len(images)):
                    right += _right(network, normalise, waiting)
                    waiting.clear()
                if watch is not None:
                    watch(done, len(images))
    finally:
        for hook in hooks:
            hook.remove()
    read = len(images) - len(unreadable)
    if not read:
        problem = unreadable[0][1]
        kind = AmbiguousValuesError if AmbiguousValuesError.is_meant_by(problem) else ImageError
        raise kind(f"none of the {len(images)} images in {folder} can be read ({problem})")
    layers = () if folded else tuple(moment.fit() for _, moment in moments)
    return Check(
        images=read,
        unreadable=tuple(unreadable),
        accuracy=None if classes is None else Proportion(right, read, *proportion_interval(right, read)),
        classes=network.classes or 0,
        layers=layers,
        better=_better(network, layers[0], some) if layers and not first_fits(layers[0]) else "",
    )


@torch.inference_mode()
def _right(network: Network, normalise: Normalisation, waiting: Sequence[tuple[Pixels, int]]) -> int:
    pixels = from_8_bit(np.stack([pixels for pixels, _ in waiting])).to(network.device)
    scores = network.module(normalise(pixels))
    expected = torch.tensor([label for _, label in waiting], device=network.device)
    return int((scores.argmax(dim=1) == expected).sum()) if scores.ndim == 2 else 0


class _Moments:
    """Mean and variance over images and positions of what a batch norm is given, channel by channel, in float64."""

    def __init__(self, name: str, running: tuple[Float64Array, Float64Array]) -> None:
        self._name, self._running = name, running
        self._count = 0
        self._sum = self._squares = np.zeros(len(running[0]))

    def add(self, _: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        values = inputs[0].detach().double()
        self._count += values.numel() // values.shape[1]
        self._sum = self._sum + values.sum(dim=(0, 2, 3)).cpu().numpy()
        self._squares = self._squares + values.square().sum(dim=(0, 2, 3)).cpu().numpy()

    def fit(self) -> LayerFit:
        mean = self._sum / self._count
        return layer_fit(self._name, mean, self._squares / self._count - mean**2, self._running)


def _moments(module: nn.Module) -> tuple[list[tuple[nn.BatchNorm2d, _Moments]], bool]:
    """One for each batch norm that keeps statistics, the stem's first; and whether these say nothing."""
    norms = [(name, norm) for name, norm in module.named_modules() if isinstance(norm, nn.BatchNorm2d)]
    kept = [(name, norm, _running(norm)) for name, norm in norms]
    return [(norm, _Moments(name, running)) for name, norm, running in kept], are_folded([r for *_, r in kept])


def _running(norm: nn.BatchNorm2d) -> tuple[Float64Array, Float64Array]:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return norm.running_mean.double().cpu().numpy(), norm.running_var.double().cpu().numpy()


@torch.inference_mode()
def _better(network: Network, now: LayerFit, images: Sequence[Pixels]) -> str:
    """Of `COLOURS`, what the first layer fits best, where it fits well and much better than what it is shown."""
    graph = network.stream.graph
    first = next((node for node in graph.graph.nodes if operation(node) in BATCH_NORMS), None)
    if first is None:
        return ""
    norm = network.module.get_submodule(first.meta["module"])
    before = first.args[0]
    if not isinstance(norm, nn.BatchNorm2d) or not isinstance(before, fx.Node):
        return ""
    run = GraphRunner(graph, (before,))
    pixels = from_8_bit(np.stack(images)).to(network.device)
    found: dict[str, LayerFit] = {}
    for what, colours in COLOURS.items():
        mean, std = (torch.tensor(values, device=network.device) for values in (colours.mean, colours.std))
        moments = _Moments("", _running(norm))
        for part in Normalisation(mean, std)(pixels).split(BATCH):
            moments.add(norm, (run.read(part)[before],))
        found[what] = moments.fit()
    best = min(found, key=lambda what: distance(found[what]))
    return best if first_fits(found[best]) and distance(found[best]) < BETTER * distance(now) else ""
