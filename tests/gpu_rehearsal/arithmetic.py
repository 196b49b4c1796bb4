"""FZs whose steps are in bfloat16 against those in float32, by what their stored images excite; a JSON line a block."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from streamscope.core.bench.quality import mean_ratio
from streamscope.core.engine.network import Network, load_network
from streamscope.core.engine.precision import OVERRIDE
from streamscope.core.engine.visualize import visualize
from streamscope.core.model.blocks import Target
from streamscope.core.model.recipe import DEFAULT_PROTOCOL
from streamscope.core.model.spec import ModelSpec


def compare(network: Network, block: str, count: int, steps: int | None) -> dict[str, Any]:
    """Centre activations of the stored images of channels spread over a block, as ratios with their interval."""
    target = Target(block, "block")
    channels = np.linspace(0, network.info.target_channels(target) - 1, count).astype(int).tolist()
    recipe = network.info.recipe(DEFAULT_PROTOCOL, steps)
    activations, seconds = [], []
    for dtype in ("float32", "bfloat16"):
        os.environ[OVERRIDE] = dtype
        began = time.perf_counter()
        batch = visualize(network, target, channels, recipe, protocol=DEFAULT_PROTOCOL)
        seconds.append(time.perf_counter() - began)
        activations.append(batch.activation.tolist())
    mean, low, high = mean_ratio(activations[1], activations[0])
    return {
        "block": block,
        "steps": recipe.steps,
        "channels": channels,
        "float32": activations[0],
        "bfloat16": activations[1],
        "mean": mean,
        "low": low,
        "high": high,
        "float32_seconds": seconds[0],
        "bfloat16_seconds": seconds[1],
    }


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--device", required=True)
    parser.add_argument("--blocks", nargs="+", required=True)
    parser.add_argument("--channels", type=int, required=True)
    parser.add_argument("--steps", type=int)
    given = parser.parse_args()
    network = load_network(ModelSpec("resnet18", given.weights) if given.weights else ModelSpec("demo"), given.device)
    for block in given.blocks:
        print(json.dumps(compare(network, block, given.channels, given.steps)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
