"""Optimises feature visualizations: a batch of channels of one target at a time, over the cone of the centre neuron."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from streamscope.core.engine.converging import ConvergingOptimiser
from streamscope.core.engine.network import Network
from streamscope.core.engine.optimiser import Optimiser, Peek
from streamscope.core.model.blocks import Target
from streamscope.core.model.fz import FZBatch
from streamscope.core.model.recipe import UNSAID_PROTOCOL, Capture, Objective, Protocol, Recipe
from streamscope.core.watch import Watch

NO_MEMORY = ("can't allocate memory", "out of memory", "ALLOC_FAILED", "unable to find an engine")


def visualize(
    network: Network,
    target: Target,
    channels: Sequence[int],
    recipe: Recipe,
    seed: int = 0,
    capture: Capture = "exact",
    watch: Watch | None = None,
    of: Objective = "neuron",
    protocol: Protocol = UNSAID_PROTOCOL,
    peek: Peek | None = None,
) -> FZBatch:
    """Optimises one FZ a channel by `recipe`, under a protocol's transforms, and reads back its centre activation.

    A recipe that has a `plateau` stops each image when it has converged. `of` channel optimises the channel's mean over
    space instead, and that is what every activation then is.

    `peek` is offered the images on the way, as `Optimiser.run` does.

    When the device runs out of memory the batch is halved and begun again; a single FZ that does not fit raises.
    """
    try:
        kind = Optimiser if recipe.plateau is None else ConvergingOptimiser
        return kind(network, target, channels, recipe, seed, capture, of, protocol).run(watch, peek)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error) or len(channels) == 1:
            raise
    if network.device.type == "cuda":
        torch.cuda.empty_cache()
    middle = len(channels) // 2
    halves = [
        visualize(network, target, part, recipe, seed, capture, watch, of, protocol, peek)
        for part in (channels[:middle], channels[middle:])
    ]
    return FZBatch(
        target,
        halves[0].channels + halves[1].channels,
        images=np.concatenate([half.images for half in halves]),
        activation=np.concatenate([half.activation for half in halves]),
        trace=np.concatenate([half.trace for half in halves]),
        flags=halves[0].flags + halves[1].flags,
        steps=halves[0].steps + halves[1].steps,
    )


def is_out_of_memory(error: Exception) -> bool:
    """Torch has an error of its own for that; its CPU allocator and the libraries of CUDA have words only.

    cuDNN finds no engine when none of those it has gets the memory it wants; where that is not why, halving ends in the
    same error.
    """
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(words in str(error) for words in NO_MEMORY)
