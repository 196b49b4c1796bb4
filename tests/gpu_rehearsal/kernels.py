"""The fused kernels against torch's own operations, on a device and on the maps of real steps; a JSON line each.

Both do the same with the same map: `difference` is the largest of the patch's numbers (float32) over the largest of
them, `gradient_difference` that of the gradient's, and milliseconds are of both passes over a batch, in the dtype of
the device's steps.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from streamscope.core.engine.network import Network, load_network
from streamscope.core.engine.optimiser import Optimiser
from streamscope.core.engine.precision import step_dtype
from streamscope.core.engine.transforms.centred import CentredTransform
from streamscope.core.engine.transforms.lucent import LucentTransform
from streamscope.core.engine.transforms.placement import PatchFormat, Placement
from streamscope.core.engine.transforms.rotation import TurnFunction, check_function, turn_by_operations
from streamscope.core.model.blocks import Target
from streamscope.core.model.recipe import PROTOCOLS, Protocol
from streamscope.core.model.spec import ModelSpec
from tests.support.traffic import size_of

WARM_UP = 2
CLOSE = 1e-4
"""Difference up to which the kernels count as right."""
Rotation = tuple[torch.Tensor, Placement, PatchFormat]
"""What a rotation is given."""


def rotation_of(network: Network, target: Target, protocol: Protocol, images: int) -> Rotation:
    """What the rotation of an optimisation's first step is given, of a batch of so many images."""
    recipe = network.info.recipe(protocol, steps=2)
    channels = [number % network.info.target_channels(target) for number in range(images)]
    optimiser = Optimiser(network, target, channels, recipe, 0, "exact", "neuron", protocol)
    part, transform = optimiser._part(optimiser.channels), optimiser.transform
    assert isinstance(transform, CentredTransform | LucentTransform)
    seen: list[Rotation] = []

    def note(source: torch.Tensor, placement: Placement, patch: PatchFormat) -> torch.Tensor:
        seen.append((source.detach(), placement, patch))
        return turn_by_operations(source, placement, patch)

    transform._turn.use(note)
    with torch.no_grad():
        transform(optimiser.spectrum.image(part.parameters), part.draws[0])
    return seen[0]


def compare(kernel: TurnFunction, rotation: Rotation, repeats: int) -> dict[str, Any]:
    """Differences of a kernel from torch's own operations, and the time of each."""
    source, placement, patch = rotation
    exact = replace(patch, dtype=torch.float32)
    generator = torch.Generator(source.device).manual_seed(0)
    shape = len(source), 3, patch.side, patch.side
    weight = torch.randn(shape, generator=generator, device=source.device)
    found = []
    for way in (turn_by_operations, kernel):
        leaf = source.clone().requires_grad_(True)
        turned = way(leaf, placement, exact)
        (gradient,) = torch.autograd.grad(turned, leaf, weight)
        found.append((turned.detach(), gradient))
    differences = [difference(got, expected) for expected, got in zip(*found, strict=True)]
    weight = weight.to(patch.dtype)
    milliseconds = [timed(way, source, placement, patch, weight, repeats) for way in (turn_by_operations, kernel)]
    # Each pass reads one of the two and writes the other.
    moved = 2 * (size_of(source) + size_of(weight))
    return {
        "images": len(source),
        "source_side": source.shape[-1],
        "side": patch.side,
        "difference": differences[0],
        "gradient_difference": differences[1],
        "operations_ms": milliseconds[0],
        "kernel_ms": milliseconds[1],
        "kernel_gb_a_second": moved / 1e6 / milliseconds[1],
        "close": bool(max(differences) < CLOSE),
    }


def difference(got: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest one over the largest number; NaN where there is one."""
    return float((got - expected).abs().max() / expected.abs().max())


def timed(
    way: TurnFunction,
    source: torch.Tensor,
    placement: Placement,
    patch: PatchFormat,
    weight: torch.Tensor,
    repeats: int,
) -> float:
    """Milliseconds of a rotation and its gradient: the median of some, on CUDA after two that do not count."""
    leaf = source.clone().requires_grad_(True)

    def once() -> None:
        torch.autograd.grad(way(leaf, placement, patch), leaf, weight)

    first = WARM_UP if source.device.type == "cuda" else 0
    return float(np.median([milliseconds(once, source.device) for _ in range(first + repeats)][first:]))


def milliseconds(run: Callable[[], None], device: torch.device) -> float:
    if device.type != "cuda":
        began = time.perf_counter()
        run()
        return 1000 * (time.perf_counter() - began)
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    run()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--device", required=True)
    parser.add_argument("--blocks", nargs="+", required=True)
    parser.add_argument("--images", type=int, required=True)
    parser.add_argument("--repeats", type=int, required=True)
    given = parser.parse_args()
    network = load_network(ModelSpec("resnet18", given.weights) if given.weights else ModelSpec("demo"), given.device)
    # Not by the engine's own `fused_function`, which goes on without them: here it is to be seen why.
    from streamscope.core.engine.transforms.fused_rotation import FusedTurn

    kernel: TurnFunction = FusedTurn.apply
    check_function(kernel, network.device)
    right = True
    for block in given.blocks:
        for protocol in PROTOCOLS:
            row = compare(kernel, rotation_of(network, Target(block, "block"), protocol, given.images), given.repeats)
            right = right and row["close"]
            dtype = str(step_dtype(network.device)).removeprefix("torch.")
            print(json.dumps({"block": block, "protocol": protocol, "dtype": dtype, **row}), flush=True)
    if not right:
        print(f"a kernel differs from torch's own operations by more than {CLOSE:g}", file=sys.stderr)
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
