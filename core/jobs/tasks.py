"""Does one task of a plan, a batch: computes it, and commits it. The same functions here and on a cluster's worker."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from streamscope.core.engine.network import Network, provenance
from streamscope.core.engine.optimiser import Optimiser, Peek
from streamscope.core.engine.visualize import visualize
from streamscope.core.jobs.plan import Request, Task, wanted_fzs
from streamscope.core.model.blocks import ModelInfo
from streamscope.core.reading.activations import BlockReader, Branch
from streamscope.core.reading.scalings import scalings
from streamscope.core.store import FZSet
from streamscope.core.store.jobs.events import BatchDone
from streamscope.core.store.sets.batches import SCALED
from streamscope.core.watch import Watch

SMALL_IMAGE = 96
"""Side in px up to which an image is small."""


@dataclass(frozen=True)
class Computed:
    """What a task gave, as the files of its batch, and the event that says so once they are stored."""

    files: dict[str, bytes]
    event: BatchDone


def check_sizes(network: Network, request: Request) -> None:
    """Raises UnreadableNetworkError where transforms show a network images of a size that it does not take.

    The paper's do, where they do not crop; torchvision's ResNets take any size.
    """
    if request.key.protocol != "paper" or not network.info.graph:
        return
    key = request.key
    for target in wanted_fzs(network.info, request):
        Optimiser(network, target, [0], key.recipe, key.seed, key.capture, key.objective, key.protocol)


def compute_task(
    network: Network,
    fzset: FZSet,
    task: Task,
    images: NDArray[np.uint8] | None = None,
    watch: Watch | None = None,
    device_free: Callable[[], None] = lambda: None,
    peek: Peek | None = None,
) -> Computed:
    """Optimises or measures; nothing is written.

    `images` (n, H, W, 3) are the FZs to measure, of a measuring task whose set is not at hand here. `device_free`
    is called when the device has done its part, before the results are encoded. `peek` is offered FZs on the way.
    """
    started = time.monotonic()
    target = fzset.target(task.block, task.tensor)
    key = fzset.key
    flagged: dict[str, int] = {}
    mean_steps: float | None = None
    if task.kind == "fz":
        seed = key.seed + task.retry
        batch = visualize(
            network, target, task.channels, key.recipe, seed, key.capture, watch, key.objective, key.protocol, peek
        )
        device_free()
        flagged = {flag: batch.flags.count(flag) for flag in set(batch.flags) if flag}
        if key.recipe.plateau is not None:
            mean_steps = sum(batch.steps) / len(batch.steps)
        files = fzset.fz_files(batch, provenance(network), task.retry)
    else:
        given = task_images(fzset, task) if images is None else images
        versions = scalings(network.info, task.block, task.tensor, key.protocol)
        # Of an FZ that is scaled or blurred, only what the other tensor says to it counts.
        other: Branch = "block" if task.tensor == "in" else "in"
        plain, *altered = BlockReader(network, task.block).read_each(given, [None, *versions.values()], other)
        device_free()
        further = dict(zip(versions, altered, strict=True))
        scaled = further.pop(SCALED, None)
        files = fzset.measure_files(task.block, task.tensor, task.channels, plain, scaled, task.retry, further)
    event = BatchDone(
        kind=task.kind,
        block=task.block,
        tensor=task.tensor,
        retry=task.retry,
        count=len(task.channels),
        channels=(task.channels[0], task.channels[-1]),
        seconds=round(time.monotonic() - started, 2),
        flagged=flagged,
        mean_steps=mean_steps,
    )
    return Computed(files, event)


def commit_task(fzset: FZSet, task: Task, files: dict[str, bytes]) -> None:
    """Stores what a task gave. Raises StoreError, DiskFullError."""
    if task.kind == "fz":
        fzset.commit_fz_files(fzset.target(task.block, task.tensor), task.channels, files, task.retry)
    else:
        fzset.commit_measure_files(task.block, task.tensor, task.channels, files, task.retry)


def task_images(fzset: FZSet, task: Task) -> NDArray[np.uint8]:
    """(n, H, W, 3): the FZs that a measuring task reads. Raises StoreError when one is missing or damaged."""
    target = fzset.target(task.block, task.tensor)
    return np.stack([fzset.fz_image(target, channel, task.retry) for channel in task.channels])


def default_batch(info: ModelInfo, device: torch.device, free: float | None = None) -> int:
    """Width of the channel ranges: on a CPU 16, or 64 of small images, where a step's fixed cost would show; on CUDA
    what fits in 70 % of the free memory (bytes; asked of the device), a power of two up to 128."""
    if device.type != "cuda":
        return 64 if info.input_size <= SMALL_IMAGE else 16
    free = torch.cuda.mem_get_info(device)[0] if free is None else free
    side = info.input_size
    # Five copies of the parameters (Adam's too) and some 40 maps of the stem's size, 64 channels each at half the side.
    image = 5 * 3 * side * (side // 2 + 1) * 2 * 4 + 40 * 64 * (side // 2) ** 2 * 4
    fitting = max(8, int(0.7 * free / image))
    return min(128, 1 << (fitting.bit_length() - 1))
