"""Speed of FZs: milliseconds an image and step, against torch-lucent in the same run, and where the time goes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from streamscope.core.bench.lucent import check_lucent_device, last_bn, render_lucent
from streamscope.core.engine.fourier import Spectrum
from streamscope.core.engine.network import Network, objective
from streamscope.core.engine.optimiser import channel_generator
from streamscope.core.engine.precision import step_dtype
from streamscope.core.engine.transforms.lucent import LucentTransform
from streamscope.core.engine.visualize import visualize
from streamscope.core.jobs.batch_loop import batches_at_once
from streamscope.core.model.blocks import TENSORS, Target
from streamscope.core.model.recipe import Protocol, Recipe

WARM_UP = 2
"""Steps of each run that are not counted."""


@dataclass(frozen=True)
class Timing:
    """Milliseconds an image and step: the median over rounds, and the quickest and slowest round."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, rounds: Sequence[float]) -> Timing:
        return cls(float(np.median(rounds)), min(rounds), max(rounds))


@dataclass(frozen=True)
class Speed:
    """One block's `block` FZ by both, in rounds that take turns.

    Ours is `lanes` batches at once, as `compute` works. Lucent as its readme shows it leaves the weights' gradients on,
    so it also computes those; `lucent_frozen` is without them.
    """

    block: str
    batch: int
    lanes: int
    ours: Timing
    lucent: Timing
    lucent_frozen: Timing

    @property
    def ratio(self) -> float:
        return self.lucent.median / self.ours.median

    @property
    def ratio_frozen(self) -> float:
        return self.lucent_frozen.median / self.ours.median

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "ratio": self.ratio, "ratio_frozen": self.ratio_frozen}


class _EnoughError(Exception):
    """Ends a run whose steps have been timed."""


def speed(network: Network, block: str, batch: int, rounds: int, steps: int) -> Speed:
    """Times one block: `rounds` rounds of `steps` steps of ours, of Lucent's `render_vis` as it is, and frozen."""
    check_lucent_device(network.device)
    target = Target(block, "block")
    size = network.info.fields[str(target)].size
    layer = last_bn(network, block)
    ours: list[float] = []
    lucents: list[float] = []
    frozen: list[float] = []

    def lucent(tick: Callable[[], None]) -> None:
        render_lucent(network, network.module, layer, 0, Recipe(), size, tick)

    for _ in range(rounds):
        ours.append(own_ms(network, target, batch, steps))
        network.module.requires_grad_(True)
        try:
            lucents.append(_median_ms(lucent, network.device, steps))
        finally:
            network.module.requires_grad_(False)
        frozen.append(_median_ms(lucent, network.device, steps))
    lanes = batches_at_once(network.device)
    batch = min(batch, network.info.target_channels(target))
    return Speed(block, batch, lanes, Timing.of(ours), Timing.of(lucents), Timing.of(frozen))


def own_ms(network: Network, target: Target, batch: int, steps: int, protocol: Protocol = "paper") -> float:
    """Milliseconds an image and step of ours, by a protocol's recipe.

    As many batches at once as `compute` has, the same channels in each.
    """
    recipe = network.info.recipe(protocol)
    channels = range(min(batch, network.info.target_channels(target)))
    lanes = batches_at_once(network.device)

    def run(tick: Callable[[], None]) -> None:
        visualize(network, target, channels, recipe, watch=lambda step, all_steps: tick(), protocol=protocol)

    return float(np.mean(step_times(run, lanes, network.device, steps))) / (len(channels) * lanes)


def step_times(
    run: Callable[[Callable[[], None]], None], lanes: int, device: torch.device, steps: int
) -> Sequence[float]:
    """Milliseconds of a step in each of `lanes` threads that share torch's own and are timed at the same time.

    `run` is called in every lane, with what to call after each step. Raises what the first lane that failed raised.
    """
    threads = torch.get_num_threads()
    times: list[float] = []
    failed: list[BaseException] = []
    together = threading.Barrier(lanes)

    def lane() -> None:
        torch.set_num_threads(max(1, threads // lanes))
        try:
            times.append(_median_ms(run, device, steps, together.wait))
        except BaseException as error:
            # The other lanes would wait for this one for ever.
            together.abort()
            failed.append(error)

    workers = [threading.Thread(target=lane) for _ in range(lanes)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    torch.set_num_threads(threads)
    if failed:
        raise next((error for error in failed if not isinstance(error, threading.BrokenBarrierError)), failed[0])
    return times


def every_tensor(network: Network, batch: int, steps: int, protocol: Protocol) -> dict[str, dict[str, float]]:
    """Of every FZ target of the studied blocks: ms an image and step, image-steps a second and its channels."""
    info = network.info
    targets = {info.target(block, tensor, protocol): None for block in info.default_blocks for tensor in TENSORS}
    found = {}
    for target in targets:
        ms = own_ms(network, target, batch, steps, protocol)
        found[str(target)] = {"ms": ms, "image_steps_a_second": 1000 / ms, "channels": info.target_channels(target)}
    return found


def whole_set_hours(network: Network, tensors: dict[str, dict[str, float]], protocol: Protocol) -> float:
    """Hours that every FZ of the studied blocks would take at the speeds of `every_tensor`, by a protocol's recipe."""
    steps = network.info.recipe(protocol).steps
    return sum(t["channels"] * steps * t["ms"] for t in tensors.values()) / 3.6e6


def shares(network: Network, target: Target, batch: int, steps: int) -> dict[str, float]:
    """Share of an image-step's time in the inverse DFT, the resampling, the convolutions and Adam, 0 to 1."""
    info, device, recipe = network.info, network.device, Recipe()
    jitter = info.jitter(target, "paper")
    read = objective(target)
    folded = network.folded.to(step_dtype(device))
    transform = LucentTransform(folded, target.block, read, recipe, jitter, info.input_size, info.mean, info.std)
    spectrum = Spectrum.patch(info.input_size, recipe.decay, transform.start, transform.stop, device)
    generator = channel_generator(0, target, 0)
    half = info.input_size // 2 + 1
    parameters = (0.01 * torch.randn(batch, 3, half, info.input_size, 2, device=device)).requires_grad_(True)
    adam = torch.optim.Adam([parameters], lr=recipe.rate, fused=True)
    rows = torch.arange(batch, device=device)
    spent = dict.fromkeys(("dft", "resampling", "convolution", "optimiser"), 0.0)
    last = 0.0

    def clock(part: str) -> None:
        nonlocal last
        _synchronise(device)
        now = time.perf_counter()
        spent[part] += now - last
        last = now

    choices = [transform.choices(WARM_UP + steps, generator) for _ in range(batch)]
    draws = transform.draws(np.stack(choices, axis=1))
    for step in range(WARM_UP + steps):
        if step == WARM_UP:
            spent = dict.fromkeys(spent, 0.0)
        adam.zero_grad(set_to_none=True)
        _synchronise(device)
        last = time.perf_counter()
        patch = spectrum.image(parameters)
        clock("dft")
        patch_leaf = patch.detach().requires_grad_(True)
        shown = transform(patch_leaf, draws[step])
        clock("resampling")
        shown_leaf = shown.detach().requires_grad_(True)
        activation = transform.cone(shown_leaf, draws[step].size)
        (-activation[rows, rows % activation.shape[1]].sum()).backward()
        clock("convolution")
        shown.backward(shown_leaf.grad)
        clock("resampling")
        patch.backward(patch_leaf.grad)
        clock("dft")
        adam.step()
        clock("optimiser")
    total = sum(spent.values())
    return {part: seconds / total for part, seconds in spent.items()}


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _median_ms(
    run: Callable[[Callable[[], None]], None],
    device: torch.device,
    steps: int,
    start: Callable[[], object] | None = None,
) -> float:
    """Median time of a step, on CUDA the mean; `start` is called before the first that counts.

    A GPU is waited for before the first and after the last of them only: `compute` does not wait for it either.
    """
    times: list[float] = []
    last = 0.0
    seen = 0

    def tick() -> None:
        nonlocal last, seen
        seen += 1
        if seen in (WARM_UP, WARM_UP + steps):
            _synchronise(device)
        if seen == WARM_UP and start is not None:
            start()
        now = time.perf_counter()
        if seen > WARM_UP:
            times.append(now - last)
        last = time.perf_counter() if seen == WARM_UP else now
        if len(times) >= steps:
            raise _EnoughError

    with suppress(_EnoughError):
        run(tick)
    return 1000 * float(np.mean(times) if device.type == "cuda" else np.median(times))
