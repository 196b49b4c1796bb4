"""A store with made-up FZs and activations, for tests that drive the app, and for looking at it.

python -m tests.support.app_store CACHE      fills a folder with a ResNet18 of made-up numbers
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from streamscope.core.model.blocks import TENSORS, Block, Field, ModelInfo, SkipWeights, Target
from streamscope.core.model.fz import NO_FLAG, FZBatch
from streamscope.core.model.recipe import Recipe, SetKey
from streamscope.core.model.spec import ModelSpec
from streamscope.core.store import FZSet, Store

SMALL = (("1.0", 6), ("1.1", 6), ("2.0", 8), ("2.1", 8))
RESNET18 = tuple((f"{layer}.{n}", 32 * 2**layer) for layer in range(1, 5) for n in range(2))
FIELDS = {"1.0": 43, "1.1": 59, "2.0": 91, "2.1": 99, "3.0": 147, "3.1": 211, "4.0": 307, "4.1": 435}


def make_info(sizes: Sequence[tuple[str, int]] = SMALL, input_size: int = 48) -> ModelInfo:
    """A model of these (block, channels): the first of each layer but the first is a downsample block."""
    blocks = []
    for place, (name, channels) in enumerate(sizes):
        simple = name.endswith(".1") or place == 0
        blocks.append(
            Block(name, "simple" if simple else "downsample", channels, sizes[place - 1][0] if place else None)
        )
    fields = {}
    for block in blocks:
        size = FIELDS[block.name]
        start = max(0, input_size // 2 - size // 2)
        for tensor in ("in", "block", "out"):
            fields[f"{block.name}.{tensor}"] = Field(start, min(input_size, start + size), size, input_size / 2)
    weights = {
        block.name: SkipWeights(*(tuple(np.linspace(0.1, 1.0, block.channels).tolist()) for _ in range(3)))
        for block in blocks
    }
    return ModelInfo(
        name="resnet18",
        fingerprint="f37072fd" + "0" * 56,
        input_size=input_size,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        blocks=tuple(blocks),
        default_blocks=tuple(name for name, _ in sizes[1:]),
        default_recipe=Recipe(steps=2560),
        fields=fields,
        weights=weights,
    )


def open_store(root: Path, info: ModelInfo, spec: ModelSpec | None = None) -> Store:
    """A store that knows the model, so that no weights need to be loaded."""
    store = Store.open(root, create=True)
    store.register(info)
    store.remember((spec or ModelSpec("resnet18")).text, info.fingerprint)
    return store


def fill(
    store: Store, info: ModelInfo, blocks: Sequence[str], channels: Sequence[int] | None = None, steps: int = 2560
) -> FZSet:
    """Commit FZs and measures of all three tensors. Same arguments, same numbers."""
    fzset = store.set(info, SetKey(Recipe(steps=steps)), create=True)
    for name in blocks:
        count = info.block(name).channels
        chosen = list(range(count)) if channels is None else list(channels)
        for tensor in ("in", "block", "out"):
            commit_fzs(fzset, info.source(name, tensor), chosen)
        commit_measures(fzset, name, chosen)
    return fzset


def commit_fzs(fzset: FZSet, target: Target, channels: Sequence[int], retry: int = 0) -> None:
    size = fzset.info.input_size
    images = np.stack([made_up_image(f"{target}{channel}{retry}", size) for channel in channels])
    trace = np.tile(np.linspace(0, 9, 32), (len(channels), 1))
    batch = FZBatch(target, tuple(channels), images, trace[:, -1], trace, (NO_FLAG,) * len(channels))
    fzset.commit_fzs(batch, {"device": "cpu"}, retry)


def commit_measures(fzset: FZSet, block: str, channels: Sequence[int], scale: Sequence[float] | None = None) -> None:
    """Channel c mixes by `scale[c]`, or by a made-up figure: O(FZ(I)) = 2 M, O(FZ(B)) = 2."""
    count = fzset.info.block(block).channels
    random = np.random.default_rng(len(block) + count + sum(map(ord, block)))
    ratios = random.gamma(2.0, 0.7, count) if scale is None else np.asarray(scale, dtype=float)
    noise = random.normal(0, 0.6, (3, 2, 3, count))
    rows = np.asarray(channels)
    for place, tensor in enumerate(TENSORS):
        plain = np.zeros((len(rows), 3, count), dtype=np.float32)
        scaled = np.zeros_like(plain)
        own = {"in": (8.0, 0.8), "block": (0.9, 7.5), "out": (6.0, 6.0)}[tensor]
        for axis in range(2):
            plain[np.arange(len(rows)), axis, rows] = own[axis] + noise[place, 0, axis, rows]
            scaled[np.arange(len(rows)), axis, rows] = 1.5 + noise[place, 1, axis, rows]
        pre = {"in": 2.0 * ratios, "block": np.full(count, 2.0), "out": np.full(count, 9.0)}[tensor]
        plain[np.arange(len(rows)), 2, rows] = pre[rows]
        fzset.commit_measures(block, tensor, list(channels), plain, None if tensor == "out" else scaled)


def made_up_image(name: str, size: int) -> np.ndarray:
    """(size, size, 3) uint8: coloured gratings and blobs that look a little like FZs."""
    random = np.random.default_rng(sum(ord(letter) * 31**place for place, letter in enumerate(name)) % 2**32)
    y, x = np.mgrid[0:size, 0:size] / size - 0.5
    image = np.full((size, size, 3), 0.5)
    for _ in range(5):
        angle, frequency, phase = random.uniform(0, np.pi), random.uniform(3, 16), random.uniform(0, 2 * np.pi)
        wave = np.sin(2 * np.pi * frequency * (x * np.cos(angle) + y * np.sin(angle)) + phase)
        around = np.exp(-((x - random.normal(0, 0.15)) ** 2 + (y - random.normal(0, 0.15)) ** 2) / 0.06)
        image += 0.35 * (wave * around)[..., None] * random.uniform(-1, 1, 3)
    pixels: np.ndarray = np.clip(image, 0, 1) * 255
    return pixels.astype(np.uint8)


def main() -> None:
    root = Path(sys.argv[1])
    info = make_info(RESNET18, 224)
    store = open_store(root, info)
    fill(store, info, ["1.1", "2.0", "2.1"])
    fill(store, info, ["3.0"], range(96))


if __name__ == "__main__":
    main()
