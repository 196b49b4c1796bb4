"""Stops each image when its activation has converged and begins the next channel's in its place."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
import torch

from streamscope.core.engine.fourier import random_parameters
from streamscope.core.engine.optimiser import Optimiser, Peek, channel_generator, has_gradient, split
from streamscope.core.engine.transforms.draws import Draws
from streamscope.core.model.fz import SAMPLES, FZBatch
from streamscope.core.watch import Watch

TURNS = 4
"""Channels of a batch that one place of it is for: the more there are, the later places begin to stand empty."""
FEWEST_SAMPLES = SAMPLES // 4
"""An image takes at least a quarter of the recipe's steps, and eight: activations can halt early and rise again."""
LATE = 0.25
"""Share of the steps so far over which the rise is looked at."""


@dataclass(eq=False)
class _Image:
    """One image on its way: its place in the batch, its parameters (1, …), its draws (steps, 1, …)."""

    row: int
    channel: int
    parameters: torch.Tensor
    draws: Draws
    age: int = 0
    moved: torch.Tensor | None = None
    """Whether it had a gradient, on its device: a GPU is not to be waited for."""
    samples: list[float] = field(default_factory=list)


class ConvergingOptimiser(Optimiser):
    """As `Optimiser`, with a quarter of the channels under way at once and images that end one by one.

    Every image has the draws that it has in a whole run, so that it is the same image until it stops.
    """

    def run(self, watch: Watch | None, peek: Peek | None = None) -> FZBatch:
        """Images come and go one by one here, so `peek` is offered none."""
        count, steps = len(self.channels), self.recipe.steps
        waiting = deque(enumerate(self.channels))
        places = -(-count // TURNS)
        active = [self._begin(*waiting.popleft()) for _ in range(places)]
        # Adam keeps the steps of every tensor by itself, so that an image may join at any time.
        adam = self.adam([image.parameters for image in active])
        ended: list[_Image] = []
        parts = self._parts(active)
        told = 0
        while active:
            adam.zero_grad(set_to_none=True)
            for part, own in parts:
                self.backward(torch.cat([image.parameters for image in part]), _next_draws(part), own)
            for image in active:
                if image.age == 0 or image.age + 1 in self.sampled:
                    moves = has_gradient(image.parameters)
                    image.moved = moves if image.moved is None else image.moved | moves
            adam.step()
            for image in active:
                image.age += 1
            self._sample([image for image in active if image.age in self.sampled])
            ending = [image for image in active if self._has_ended(image)]
            if ending:
                for image in ending:
                    del adam.state[image.parameters]
                    place = active.index(image)
                    active[place : place + 1] = [self._begin(*waiting.popleft())] if waiting else []
                ended += ending
                adam.param_groups[0]["params"] = [image.parameters for image in active]
                parts = self._parts(active)
            done = len(ended) * steps + sum(image.age for image in active)
            while watch is not None and told < done // count:
                told += 1
                watch(told, steps)
        ended.sort(key=lambda image: image.row)
        images = np.concatenate([self.images(image.parameters) for image in ended])
        trace = np.stack([_stretched(image.samples) for image in ended])
        moved = np.array([bool(image.moved) for image in ended])
        return self.result(images, trace, moved, tuple(image.age for image in ended))

    def _begin(self, row: int, channel: int) -> _Image:
        generator = channel_generator(self.seed, self.target, channel)
        initial = random_parameters(self.size, self.recipe.sd, generator)[None]
        choices = self.transform.choices(self.recipe.steps, generator)[:, None]
        parameters = torch.from_numpy(initial).to(self.device).requires_grad_(True)
        return _Image(row, channel, parameters, self.transform.draws(choices))

    def _parts(self, images: list[_Image]) -> list[tuple[list[_Image], tuple[torch.Tensor, torch.Tensor]]]:
        """The images that pass through the network together, and the indices of their own channels."""
        parts = [[images[row] for row in rows] for rows in split(range(len(images)), self.at_once)]
        return [(part, self.own([image.channel for image in part])) for part in parts]

    def _sample(self, images: list[_Image]) -> None:
        for part, own in self._parts(images):
            parameters = torch.cat([image.parameters for image in part]).detach()
            found = self.activation(parameters, own).cpu().numpy()
            for image, value in zip(part, found, strict=True):
                image.samples.append(float(value))

    def _has_ended(self, image: _Image) -> bool:
        if image.age >= self.recipe.steps:
            return True
        if image.age not in self.sampled or len(image.samples) < FEWEST_SAMPLES:
            return False
        assert self.recipe.plateau is not None
        return has_converged(image.samples, self.recipe.plateau)


def has_converged(samples: list[float], plateau: float) -> bool:
    """Whether an activation, sampled at equal distances, rose by less than the share `plateau` of itself over the last
    quarter of the samples. What is not positive has not converged."""
    now, before = samples[-1], samples[round(len(samples) * (1 - LATE)) - 1]
    return now > 0 and now - before < plateau * now


def _next_draws(images: list[_Image]) -> Draws:
    return Draws.joined([image.draws[image.age] for image in images])


def _stretched(samples: list[float]) -> np.ndarray:
    """(32,): the samples as if taken after each 1/32 of the steps of the image itself."""
    wanted = (np.arange(SAMPLES) + 1) / SAMPLES
    had = (np.arange(len(samples)) + 1) / len(samples)
    return np.interp(wanted, had, samples).astype(np.float32)
