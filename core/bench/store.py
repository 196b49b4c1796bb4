"""How fast the store is when it is large: a made-up one of every torchvision ResNet, and what looking at it costs.

FZs are one small picture linked again and again, so that 100,000 of them take a minute and little room; every batch has
its own record and checksums and passes `streamscope cache verify`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from streamscope.core.jobs.plan import Plan, Request
from streamscope.core.model.blocks import TENSORS, Block, Field, ModelInfo, SkipWeights, Target, Tensor
from streamscope.core.model.fz import NO_FLAG, SAMPLES, FZBatch
from streamscope.core.model.recipe import Recipe, SetKey
from streamscope.core.model.spec import ModelSpec
from streamscope.core.processes import module_command
from streamscope.core.store import FZSet, Store
from streamscope.core.store.files.checksums import SUMS, sha256, sums_text
from streamscope.core.store.layout import batch_name
from streamscope.core.store.records import RECORD
from streamscope.core.store.sets.batches import encode_fzs, encode_measures
from streamscope.core.store.usage import usage
from streamscope.core.table.frame import build_frame, summarise

LAYERS = {
    "resnet18": ((2, 2, 2, 2), 1),
    "resnet34": ((3, 4, 6, 3), 1),
    "resnet50": ((3, 4, 6, 3), 4),
    "resnext50_32x4d": ((3, 4, 6, 3), 4),
    "wide_resnet50_2": ((3, 4, 6, 3), 4),
    "resnet101": ((3, 4, 23, 3), 4),
    "resnext101_32x8d": ((3, 4, 23, 3), 4),
    "resnext101_64x4d": ((3, 4, 23, 3), 4),
    "wide_resnet101_2": ((3, 4, 23, 3), 4),
    "resnet152": ((3, 8, 36, 3), 4),
}
"""Blocks a layer, and how many times 64, 128, 256 and 512 their channels are, of torchvision's ResNets."""

WIDTH = 16
"""Channels a batch: the narrowest that a job cuts by itself, so that the batches are as many as they can be."""
SIDE = 8
"""Of the picture in px. The size of the files is not what is measured here."""


def made_up_info(name: str) -> ModelInfo:
    """The blocks of a torchvision ResNet as they are, with made-up weights, receptive fields and fingerprint."""
    layers, expansion = LAYERS[name]
    blocks: list[Block] = []
    for layer, count in enumerate(layers, 1):
        for number in range(count):
            simple = number > 0 or (layer == 1 and expansion == 1)
            previous = blocks[-1].name if blocks else None
            channels = 32 * 2**layer * expansion
            blocks.append(Block(f"{layer}.{number}", "simple" if simple else "downsample", channels, previous))
    tensors: tuple[Tensor, ...] = ("in", "block", "out")
    return ModelInfo(
        name=name,
        fingerprint=sha256(f"made up {name}".encode()),
        input_size=SIDE,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        blocks=tuple(blocks),
        default_blocks=tuple(block.name for block in blocks[1:]),
        default_recipe=Recipe(),
        fields={f"{block.name}.{tensor}": Field(0, SIDE, SIDE) for block in blocks for tensor in tensors},
        weights={b.name: SkipWeights(*(tuple(np.linspace(0.1, 1, b.channels).tolist()),) * 3) for b in blocks},
    )


class Filler:
    """Commits made-up batches to sets without flushing them, and links what is the same in all of them."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.fzs = 0
        self._originals = Path(tempfile.mkdtemp(prefix=".tmp-made-up-", dir=store.root))
        self._written: dict[str, Path] = {}

    def close(self) -> None:
        shutil.rmtree(self._originals)

    def fill(self, info: ModelInfo, seed: int, count: int, width: int = WIDTH) -> None:
        """FZs and measures of a new set, in the order that a job makes them, until there are `count` FZs or all."""
        if count <= 0:
            return
        self.store.register(info)
        self.store.remember(ModelSpec(info.name).text, info.fingerprint)
        fzset = self.store.set(info, SetKey(info.default_recipe, seed), create=True)
        end = self.fzs + count
        for tensors in (("in", "block"), ("out",)):
            for name in info.default_blocks:
                for first in range(0, info.block(name).channels, width):
                    channels = range(first, min(first + width, info.block(name).channels))
                    for tensor in tensors:
                        if self.fzs >= end:
                            return
                        self._row(fzset, fzset.target(name, tensor), name, tensor, channels)

    def _row(self, fzset: FZSet, target: Target, block: str, tensor: Tensor, channels: Sequence[int]) -> None:
        count = len(channels)
        folder = fzset.path / "fzs" / str(target) / batch_name(channels)
        if not folder.exists():
            picture = np.tile(np.arange(SIDE, dtype=np.uint8)[:, None, None] * 30, (count, 1, SIDE, 3))
            activation = np.linspace(1, 2, count)
            trace = np.outer(activation, np.linspace(0.1, 1, SAMPLES))
            batch = FZBatch(target, tuple(channels), picture, activation, trace, (NO_FLAG,) * count)
            self._commit(folder, encode_fzs(fzset.fz_place(target, 0).header, batch, {"device": "made up"}))
            self.fzs += count
        width = fzset.info.block(block).channels
        plain = np.ones((count, 3, width), dtype=np.float32)
        scaled = None if tensor == "out" else plain
        folder = fzset.path / "measures" / block / f"on_{tensor}" / batch_name(channels)
        header = fzset.measures_place(block, tensor, 0).header
        self._commit(folder, encode_measures(header, channels, plain, scaled, width))

    def _commit(self, folder: Path, files: dict[str, bytes]) -> None:
        folder.mkdir(parents=True)
        sums = {name: sha256(content) for name, content in files.items()}
        for name, content in files.items():
            if name == RECORD:
                (folder / name).write_bytes(content)
            else:
                self._link(folder / name, sums[name], content)
        (folder / SUMS).write_bytes(sums_text(sums))

    def _link(self, path: Path, checksum: str, content: bytes) -> None:
        original = self._written.get(checksum)
        # A file system allows a file so many names only: 65,000 on ext4.
        if original is None or original.stat().st_nlink > 30_000:
            original = self._originals / f"{checksum}-{len(os.listdir(self._originals))}"
            original.write_bytes(content)
            self._written[checksum] = original
        os.link(original, path)


def fill_store(root: Path, fzs: int = 100_000) -> Store:
    """A new store of `fzs` FZs: ResNet18 with five seeds, ResNet34 with two, ResNet50 whole, a part of each other."""
    store = Store.open(root, create=True)
    filler = Filler(store)
    whole = [("resnet18", seed) for seed in range(5)] + [("resnet34", 0), ("resnet34", 1), ("resnet50", 0)]
    others = [name for name in LAYERS if name not in {name for name, _ in whole}]
    try:
        for name, seed in whole:
            filler.fill(made_up_info(name), seed, fzs - filler.fzs)
        for number, name in enumerate(others):
            filler.fill(made_up_info(name), 0, (fzs - filler.fzs) // (len(others) - number))
    finally:
        filler.close()
    return store


def measure_store(root: Path, fzs: int = 100_000) -> dict[str, Any]:
    """Seconds and megabytes that looking at a store of `fzs` FZs costs, each in a process of its own.

    Fills `root` when nothing is there. `seconds` are wall clock and `cpu_seconds` this process's own, which is what
    counts on a machine that is busy with something else; of `peak_mb` the program itself takes `imports_mb`.
    """
    filled = time.perf_counter()
    if not (root / "models").is_dir():
        fill_store(root, fzs)
    found: dict[str, Any] = {"fill_seconds": round(time.perf_counter() - filled, 1)}
    for name in MEASURES:
        command = module_command("streamscope.core.bench.store", name, str(root))
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[name] = json.loads(done.stdout)
    return found


def _open(root: Path) -> dict[str, Any]:
    store = Store.open(root)
    sets = [fzset for info in store.models() for fzset in store.sets(info)]
    return {"sets": len(sets)}


def _plan(root: Path) -> dict[str, Any]:
    """What is missing of everything, of every set."""
    store = Store.open(root)
    missing = 0
    for info in store.models():
        for fzset in store.sets(info):
            plan = Plan(info, fzset, Request.of(info, fzset.key, (), TENSORS, WIDTH))
            missing += sum(1 for _ in plan.tasks())
    return {"missing": missing}


def _plan_largest(root: Path) -> dict[str, Any]:
    """The first look at the largest set, then what an idle worker pays for each further one."""
    info, fzset = _largest(Store.open(root))
    plan = Plan(info, fzset, Request.of(info, fzset.key, (), TENSORS, WIDTH))
    missing = sum(1 for _ in plan.tasks())
    again = time.perf_counter()
    next(plan.tasks(), None)
    return {"model": info.name, "missing": missing, "look_again_seconds": round(time.perf_counter() - again, 4)}


def _cache_info(root: Path) -> dict[str, Any]:
    used = usage(Store.open(root))
    return {
        "fzs": sum(u.fzs for u in used),
        "batches": sum(u.batches for u in used),
        "bytes": sum(u.bytes for u in used),
    }


def _app_reads(root: Path) -> dict[str, Any]:
    """What the app reads before it shows its table: the model, its set, every row; of the largest set."""
    store = Store.open(root)
    info, _ = _largest(store)
    known = Store.open(root).recall(ModelSpec(info.name).text)
    assert known is not None
    frame = build_frame(known, store.choose_set(known), [block.name for block in known.blocks])
    return {"model": known.name, "rows": len(frame), "computed": sum(s.computed for s in summarise(frame).values())}


def _largest(store: Store) -> tuple[ModelInfo, FZSet]:
    """The whole set with most channels."""
    counts: dict[str, tuple[int, ModelInfo, FZSet]] = {}
    for info in store.models():
        for fzset in store.sets(info):
            folders = sum(len(os.listdir(entry)) for entry in os.scandir(fzset.path / "fzs"))
            counts[str(fzset.path)] = (folders, info, fzset)
    _, info, fzset = max(counts.values(), key=lambda count: count[0])
    return info, fzset


MEASURES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "open": _open,
    "plan": _plan,
    "plan_largest": _plan_largest,
    "cache_info": _cache_info,
    "app_reads": _app_reads,
}


def _peak_mb() -> float:
    """Most memory that this process has had since its program began; `getrusage` counts what its parent had too."""
    status = Path("/proc/self/status").read_text()
    return round(int(status.partition("VmHWM:")[2].split()[0]) / 1024, 1)


def _main(name: str, root: Path) -> None:
    before = _peak_mb()
    wall, cpu = time.perf_counter(), time.process_time()
    said = MEASURES[name](root)
    figures = {
        "seconds": round(time.perf_counter() - wall, 3),
        "cpu_seconds": round(time.process_time() - cpu, 3),
        "peak_mb": _peak_mb(),
        "imports_mb": before,
    }
    print(json.dumps({**figures, **said}))


if __name__ == "__main__":
    _main(sys.argv[1], Path(sys.argv[2]))
