"""The batched optimiser: every image has its own channel, its own random draws and its own parameters."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from streamscope.core.engine.cone import Cone
from streamscope.core.engine.fourier import Spectrum, from_8_bit, random_parameters, to_8_bit
from streamscope.core.engine.network import Network, objective
from streamscope.core.engine.precision import step_dtype
from streamscope.core.engine.transforms.centred import CentredTransform
from streamscope.core.engine.transforms.draws import Draws, RandomTransform
from streamscope.core.engine.transforms.lucent import LucentTransform
from streamscope.core.engine.whole_map import WholeMap
from streamscope.core.model.blocks import Target
from streamscope.core.model.fz import NEVER_POSITIVE, NO_FLAG, NO_GRADIENT, NON_FINITE, SAMPLES, Flag, FZBatch
from streamscope.core.model.recipe import Capture, Objective, Protocol, Recipe
from streamscope.core.watch import Watch

LARGEST_MAP = 32 * 2**20
"""Bytes of the largest map of the images that pass together on a CPU. glibc asks the system for anything larger anew at
every step, page by page: 3.1 `block` took 7 % longer in one pass of 16 images than in two of 8."""


def channel_generator(seed: int, target: Target, channel: int) -> np.random.Generator:
    """The generator of one FZ, from (seed, tensor, channel) alone: its draws do not depend on its batch."""
    digest = hashlib.sha256(f"{seed} {target} {channel}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))


class Optimiser:
    """Optimises the FZs of some channels of one target by a recipe; `run` does it."""

    def __init__(
        self,
        network: Network,
        target: Target,
        channels: Sequence[int],
        recipe: Recipe,
        seed: int,
        capture: Capture,
        of: Objective,
        protocol: Protocol,
        largest_map: int = LARGEST_MAP,
    ) -> None:
        info, self.device = network.info, network.device
        self.target, self.recipe, self.channels, self.seed = target, recipe, tuple(channels), seed
        self.size, self.largest_map = info.input_size, largest_map
        jitter, source = info.jitter(target, protocol), info.source(target.block, target.tensor)
        seen = (source.block, objective(source, capture))
        size, mean, std = self.size, info.mean, info.std
        cone = WholeMap if of == "channel" else Cone
        stepping = network.folded.to(step_dtype(self.device))
        self.transform: RandomTransform
        if protocol == "centred":
            about = info.field_of(target).centre
            self.transform = CentredTransform(stepping, *seen, recipe, jitter, about, size, mean, std, cone)
        else:
            self.transform = LucentTransform(stepping, *seen, recipe, jitter, size, mean, std, cone)
        still = Recipe(steps=recipe.steps, scales=(1.0,), degrees=(0,))
        self.still = LucentTransform(network.folded, *seen, still, 0, size, mean, std, cone)
        self._no_draws = cache(self.still.no_draws)
        self.spectrum = Spectrum.patch(self.size, recipe.decay, self.transform.start, self.transform.stop, self.device)
        self.whole = Spectrum.patch(self.size, recipe.decay, 0, self.size, self.device)
        self.sampled = [math.ceil((i + 1) * recipe.steps / SAMPLES) for i in range(SAMPLES)]

    @property
    def at_once(self) -> int:
        """Images that pass through the network together."""
        if self.device.type == "cuda":
            return len(self.channels)
        return max(1, self.largest_map // self.transform.cone.map_bytes)

    def run(self, watch: Watch | None, peek: Peek | None = None) -> FZBatch:
        """`peek` is offered the images after every step, to be made where somebody wants to see them."""
        steps = self.recipe.steps
        parts = [self._part(part) for part in split(self.channels, self.at_once)]
        adam = self.adam([part.parameters for part in parts])
        # Read back at the end only: the steps of a GPU are not to wait for that.
        samples: dict[int, torch.Tensor] = {}
        moved = torch.zeros(len(self.channels), dtype=torch.bool, device=self.device)
        for step in range(1, steps + 1):
            adam.zero_grad(set_to_none=True)
            patches = [self.backward(part.parameters, part.draws[step - 1], part.own) for part in parts]
            if step - 1 in self.sampled:
                # What the step before left is what this one drew: no image is drawn for its sample alone.
                samples[step - 1] = self.seen(patches, parts)
            if step in self.sampled or step == 1:
                moved |= torch.cat([has_gradient(part.parameters) for part in parts])
            for group in adam.param_groups:
                group["lr"] = self.recipe.rate_at(step)
            adam.step()
            if watch is not None:
                watch(step, steps)
            if peek is not None and step < steps:
                peek(self.channels, lambda: np.concatenate([self.images(part.parameters) for part in parts]))
        samples[steps] = torch.cat([self.activation(part.parameters, part.own) for part in parts])
        trace = torch.stack([samples[step] for step in self.sampled], dim=1).cpu().numpy()
        images = np.concatenate([self.images(part.parameters) for part in parts])
        return self.result(images, trace, moved.cpu().numpy(), (steps,) * len(self.channels))

    def adam(self, parameters: list[torch.Tensor]) -> torch.optim.Adam:
        return torch.optim.Adam(parameters, lr=self.recipe.rate, betas=self.recipe.moments, fused=True)

    def _part(self, channels: tuple[int, ...]) -> _Part:
        generators = [channel_generator(self.seed, self.target, channel) for channel in channels]
        initial = np.stack([random_parameters(self.size, self.recipe.sd, g) for g in generators])
        choices = np.stack([self.transform.choices(self.recipe.steps, g) for g in generators], axis=1)
        parameters = torch.from_numpy(initial).to(self.device).requires_grad_(True)
        return _Part(parameters, self.transform.draws(choices), self.own(channels))

    def own(self, channels: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Index of each image's own channel in activations (n, channels)."""
        return torch.arange(len(channels), device=self.device), torch.tensor(channels, device=self.device)

    def backward(self, parameters: torch.Tensor, draws: Draws, own: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Adds to the parameters' gradient that of the transformed images' negative activations.

        Returns the patch (n, 3, P, P) of the images before their transforms.
        """
        patch = self.spectrum.image(parameters)
        (-self.transform.activations(patch, draws)[own].sum()).backward()
        return patch.detach()

    @torch.no_grad()
    def activation(self, parameters: torch.Tensor, own: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """(n,): of the images as they are, without transforms."""
        return self._untransformed(self.spectrum.image(parameters), own)

    @torch.no_grad()
    def seen(self, patches: list[torch.Tensor], parts: list[_Part]) -> torch.Tensor:
        """(n,): as `activation`, of the patches of every part."""
        pairs = zip(patches, parts, strict=True)
        return torch.cat([self._untransformed(patch, part.own) for patch, part in pairs])

    def _untransformed(self, patch: torch.Tensor, own: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        inner = slice(self.still.start - self.transform.start, self.still.stop - self.transform.start)
        return self.still.activations(patch[:, :, inner, inner], self._no_draws(len(patch)))[own]

    @torch.no_grad()
    def images(self, parameters: torch.Tensor) -> np.ndarray:
        """(n, side, side, 3) uint8."""
        return np.concatenate([to_8_bit(self.whole.image(piece)) for piece in parameters.split(8)])

    def result(self, images: np.ndarray, trace: np.ndarray, moved: np.ndarray, steps: tuple[int, ...]) -> FZBatch:
        """With the activations of the stored images and what was wrong with each."""
        inner = slice(self.still.start, self.still.stop)
        found = []
        for rows in split(range(len(images)), self.at_once):
            patch = from_8_bit(images[list(rows), inner, inner]).to(self.device)
            own = self.own([self.channels[row] for row in rows])
            with torch.no_grad():
                found.append(self.still.activations(patch, self._no_draws(len(rows)))[own].cpu().numpy())
        activation = np.concatenate(found)
        flags = tuple(_flag(*row) for row in zip(moved, activation, trace, strict=True))
        return FZBatch(self.target, self.channels, images, activation, trace, flags, steps)


Peek = Callable[[tuple[int, ...], Callable[[], np.ndarray]], object]
"""Called with channels and what gives their images so far, (n, side, side, 3) uint8: that takes time, so seldom."""


@dataclass(frozen=True)
class _Part:
    """Images that pass through the network together: parameters (n, …), draws (steps, n, …)."""

    parameters: torch.Tensor
    draws: Draws
    own: tuple[torch.Tensor, torch.Tensor]


def split(items: Sequence[int], most: int) -> list[tuple[int, ...]]:
    """As few runs of at most `most` items as there can be, of nearly the same length."""
    runs, count = -(-len(items) // most), len(items)
    return [tuple(items[count * run // runs : count * (run + 1) // runs]) for run in range(runs)]


def has_gradient(parameters: torch.Tensor) -> torch.Tensor:
    """Of each image of (n, …) whether any parameter's gradient is not zero."""
    assert parameters.grad is not None
    return parameters.grad.flatten(1).abs().amax(dim=1) != 0


def _flag(moved: bool, activation: float, trace: np.ndarray) -> Flag:
    if not (np.isfinite(activation) and np.isfinite(trace).all()):
        return NON_FINITE
    if not moved:
        return NO_GRADIENT
    return NEVER_POSITIVE if activation <= 0 and trace.max() <= 0 else NO_FLAG
