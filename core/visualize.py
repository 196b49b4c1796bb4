"""Optimises feature visualizations: a batch of channels of one target at a time, over the cone of the centre neuron."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from core.blocks import Target
from core.channel_fz import WholeMap
from core.cone import Cone
from core.fourier import Spectrum, from_8_bit, random_parameters, to_8_bit
from core.model import Network, objective
from core.recipe import Capture, Objective, Recipe
from core.transforms import ConeTransform, Draws

SAMPLES = 32
"""How often an FZ's activation is read during its optimisation; the last sample is at the end."""

NO_GRADIENT, NON_FINITE, NEVER_POSITIVE = "no gradient", "non-finite", "never positive"

LARGEST_MAP = 32 * 2**20
"""Bytes of the largest map of the images that pass together on a CPU. glibc asks the system for anything larger anew at
every step, page by page: 3.1 `block` took 7 % longer in one pass of 16 images than in two of 8."""

Watch = Callable[[int, int], None]
"""Called with steps done and steps in all. What it raises (a stop, say) ends the optimisation."""


@dataclass(frozen=True)
class FZBatch:
    """FZs of n channels of one target."""

    target: Target
    channels: tuple[int, ...]
    images: np.ndarray
    """(n, side, side, 3) uint8: the stored images."""
    activation: np.ndarray
    """(n,) float32: centre activation of the stored image at the objective, without transforms."""
    trace: np.ndarray
    """(n, 32) float32: the same for the image as it was after each 1/32 of the steps."""
    flags: tuple[str, ...]
    """What went wrong with each: empty, `no gradient`, `non-finite` or `never positive`."""


def channel_generator(seed: int, target: Target, channel: int) -> np.random.Generator:
    """The generator of one FZ, from (seed, tensor, channel) alone: its draws do not depend on its batch."""
    digest = hashlib.sha256(f"{seed} {target} {channel}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))


def visualize(
    network: Network,
    target: Target,
    channels: Sequence[int],
    recipe: Recipe,
    seed: int = 0,
    capture: Capture = "exact",
    watch: Watch | None = None,
    of: Objective = "neuron",
) -> FZBatch:
    """Optimises one FZ a channel by `recipe` (design, section 2) and reads back the centre activation of each.

    `of` channel optimises the channel's mean over space instead, and that is what every activation then is.

    When the device runs out of memory the batch is halved and begun again; a single FZ that does not fit raises.
    """
    try:
        return _Optimiser(network, target, channels, recipe, seed, capture, of).run(watch)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error) or len(channels) == 1:
            raise
    if network.device.type == "cuda":
        torch.cuda.empty_cache()
    middle = len(channels) // 2
    halves = [
        visualize(network, target, part, recipe, seed, capture, watch, of)
        for part in (channels[:middle], channels[middle:])
    ]
    return FZBatch(
        target,
        halves[0].channels + halves[1].channels,
        images=np.concatenate([half.images for half in halves]),
        activation=np.concatenate([half.activation for half in halves]),
        trace=np.concatenate([half.trace for half in halves]),
        flags=halves[0].flags + halves[1].flags,
    )


def is_out_of_memory(error: Exception) -> bool:
    """On CUDA torch has an error of its own for that; on a CPU it is a RuntimeError like any other but for its text."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


class _Optimiser:
    def __init__(
        self,
        network: Network,
        target: Target,
        channels: Sequence[int],
        recipe: Recipe,
        seed: int,
        capture: Capture,
        of: Objective,
    ) -> None:
        info, device = network.info, network.device
        self.target, self.recipe, self.channels = target, recipe, tuple(channels)
        size, jitter = info.input_size, recipe.jitter_for(info.fields[str(target)].size)
        geometry = (network.folded, target.block, objective(target, capture))
        cone = WholeMap if of == "channel" else Cone
        self.transform = ConeTransform(*geometry, recipe, jitter, size, info.mean, info.std, cone)
        still = Recipe(steps=recipe.steps, scales=(1.0,), degrees=(0,))
        self.still = ConeTransform(*geometry, still, 0, size, info.mean, info.std, cone)
        self.spectrum = Spectrum.patch(size, recipe.decay, self.transform.start, self.transform.stop, device)
        self.whole = Spectrum.patch(size, recipe.decay, 0, size, device)
        at_once = len(self.channels) if device.type == "cuda" else max(1, LARGEST_MAP // self.transform.cone.map_bytes)
        self.parts = [
            _Part(network, target, self.channels[first : first + at_once], recipe, jitter, seed)
            for first in range(0, len(self.channels), at_once)
        ]

    def run(self, watch: Watch | None) -> FZBatch:
        steps = self.recipe.steps
        adam = torch.optim.Adam([part.parameters for part in self.parts], lr=self.recipe.rate, fused=True)
        sampled = [math.ceil((i + 1) * steps / SAMPLES) for i in range(SAMPLES)]
        trace = np.zeros((len(self.channels), SAMPLES), dtype=np.float32)
        moved = np.zeros(len(self.channels), dtype=bool)
        for step in range(1, steps + 1):
            adam.zero_grad(set_to_none=True)
            for part in self.parts:
                patch = self.spectrum.image(part.parameters)
                activation = self.transform.activations(patch, Draws.at(part.choices[:, step - 1]))[part.own]
                (-activation.sum()).backward()
            if step in sampled or step == 1:
                moved |= np.concatenate([part.has_gradient() for part in self.parts])
            adam.step()
            if step in sampled:
                now = np.concatenate([self._activation_of_parameters(part) for part in self.parts])
                trace[:, [i for i, at in enumerate(sampled) if at == step]] = now[:, None]
            if watch is not None:
                watch(step, steps)
        with torch.no_grad():
            pieces = [piece for part in self.parts for piece in part.parameters.split(8)]
            images = np.concatenate([to_8_bit(self.whole.image(piece)) for piece in pieces])
        activation_stored = self._activation_of_images(images)
        flags = tuple(_flag(*row) for row in zip(moved, activation_stored, trace, strict=True))
        return FZBatch(self.target, self.channels, images, activation_stored, trace, flags)

    @torch.no_grad()
    def _activation_of_parameters(self, part: _Part) -> np.ndarray:
        inner = slice(self.still.start - self.transform.start, self.still.stop - self.transform.start)
        patch = self.spectrum.image(part.parameters)[:, :, inner, inner]
        return self.still.activations(patch, part.no_draws)[part.own].cpu().numpy()

    @torch.no_grad()
    def _activation_of_images(self, images: np.ndarray) -> np.ndarray:
        inner = slice(self.still.start, self.still.stop)
        found, first = [], 0
        for part in self.parts:
            stored = images[first : first + len(part.parameters), inner, inner]
            patch = from_8_bit(stored).to(part.parameters.device)
            found.append(self.still.activations(patch, part.no_draws)[part.own].cpu().numpy())
            first += len(stored)
        return np.concatenate(found)


class _Part:
    """Images of a batch that pass through the network together."""

    def __init__(
        self, network: Network, target: Target, channels: tuple[int, ...], recipe: Recipe, jitter: int, seed: int
    ) -> None:
        device, size = network.device, network.info.input_size
        generators = [channel_generator(seed, target, channel) for channel in channels]
        initial = np.stack([random_parameters(size, recipe.sd, g) for g in generators])
        self.choices = np.stack([Draws.draw(recipe, jitter, recipe.steps, g) for g in generators])
        self.parameters = torch.from_numpy(initial).to(device).requires_grad_(True)
        self.own = torch.arange(len(channels), device=device), torch.tensor(channels, device=device)
        self.no_draws = Draws.at(np.zeros((len(channels), 6), dtype=np.int64))

    def has_gradient(self) -> np.ndarray:
        """Of each image whether any parameter's gradient is not zero."""
        assert self.parameters.grad is not None
        return (self.parameters.grad.abs().amax(dim=(1, 2, 3, 4)) != 0).cpu().numpy()


def _flag(moved: bool, activation: float, trace: np.ndarray) -> str:
    if not (np.isfinite(activation) and np.isfinite(trace).all()):
        return NON_FINITE
    if not moved:
        return NO_GRADIENT
    return NEVER_POSITIVE if activation <= 0 and trace.max() <= 0 else ""
