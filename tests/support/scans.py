"""A small finished scan of made-up activations, written as a real one is: for tests of whatever reads scans."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from streamscope.core.images.folder import find_images, read_image
from streamscope.core.measures.extremes import NONE
from streamscope.core.measures.robust import MeiActivations, RobustMeasures, own_activations, robust_measures
from streamscope.core.model.blocks import ModelInfo, ranked_targets, ranked_tensor
from streamscope.core.model.recipe import PROTOCOLS, Protocol
from streamscope.core.reading.ranking import rank_and_correlate
from streamscope.core.store import Scan, Store
from streamscope.core.store.files.atomic import write_folder
from streamscope.core.store.layout import ScanFolder
from streamscope.core.store.scans.draft import Draft, Seen
from streamscope.core.store.scans.patches import PATCHES, BestPatches, encoded_patches, patches_name

CLASSES = ("disc", "ring", "square")


def draw_images(folder: Path, count: int = 24, side: int = 40, flat: bool = False) -> None:
    """Writes `count` small PNGs of noise on a colour, in three class folders or flat. Same arguments, same images."""
    for number in range(count):
        random = np.random.default_rng(number)
        image = random.integers(0, 60, (side, side, 3)) + random.integers(0, 190, 3)
        path = folder / f"{number:03}.png" if flat else folder / CLASSES[number % 3] / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.astype(np.uint8)).save(path)


def made_up_activations(info: ModelInfo, count: int, seed: int = 0) -> dict[str, np.ndarray]:
    """(count, 3, C) a block, as a residual stream has them: a simple block's `in` is the rectified `pre` before it."""
    random = np.random.default_rng(seed)
    found: dict[str, np.ndarray] = {}
    for block in info.blocks:
        in_, own = random.normal(0.3, 1, (2, count, block.channels)).astype(np.float32)
        if block.kind == "simple":
            in_ = np.maximum(in_ if block.previous is None else found[block.previous][:, 2], 0)
        found[block.name] = np.stack([in_, own, in_ + own], axis=1)
    return found


def write_scan(
    store: Store,
    info: ModelInfo,
    folder: Path,
    count: int = 24,
    activations: dict[str, np.ndarray] | None = None,
    seed: int = 0,
) -> Scan:
    """Draws images into `folder` where there are none, and stores a finished scan of them.

    Every second channel is scale invariant by its MEIs as far as criteria (3) and (4) go, beginning with 1; for centred
    sets with 0.
    """
    if not folder.is_dir():
        draw_images(folder, count)
    store.register(info)
    models = store.folder(info)
    assert models is not None
    draft = Draft(models, info, folder, find_images(folder))
    draft.create()
    values = activations or made_up_activations(info, len(draft.images), seed)
    for chunk in draft.missing():
        seen = []
        for image in (draft.images[place] for place in chunk):
            digest = read_image(folder / image.path, draft.preparation).sha256
            seen.append(Seen(image.path, image.label, digest, ""))
        draft.commit_chunk(chunk, seen, {b: v[chunk.start : chunk.stop] for b, v in values.items()})
    rank = partial(rank_and_correlate, watch=lambda done, total, what: None)
    draft.commit_result({"device": "cpu", "dtype": "float32"}, rank)
    for protocol in PROTOCOLS:
        found = {block.name: _robust(info, block.name, values, protocol) for block in info.blocks}
        draft.commit_robust(found, protocol)
    write_patches(draft.path, info, len(draft.images))
    draft.finish()
    scan = store.choose_scan(info, folder)
    assert scan is not None
    return scan


def write_patches(scan: Path, info: ModelInfo, images: int) -> None:
    """Stores made-up best patches in the scan at `scan`, of a map of five places a side; the last of 9 is missing in
    every third channel."""
    files = {}
    for seed, target in enumerate(ranked_targets(info)):
        random, channels = np.random.default_rng(seed), info.target_channels(target)
        rows = np.stack([random.permutation(max(images, PATCHES)) for _ in range(channels)], axis=1)[:PATCHES]
        rows = np.where(rows < images, rows, NONE)
        rows[-1, ::3] = NONE
        places = np.where(rows[..., None] == NONE, NONE, random.integers(0, 5, (*rows.shape, 2)))
        values = np.sort(random.normal(2, 1, rows.shape).astype(np.float32), axis=0)[::-1]
        values = np.where(rows == NONE, np.float32(np.nan), values)
        patches = BestPatches(rows, places, values, 5, max(1, info.input_size // 5))
        files[patches_name(target)] = encoded_patches(patches, scan, target)
    write_folder(ScanFolder(scan).patches, files)


def _robust(info: ModelInfo, block: str, values: dict[str, np.ndarray], protocol: Protocol) -> RobustMeasures:
    rows, excited = {}, {}
    for tensor in ("in", "block"):
        target = info.source(block, tensor)
        ranked = values[target.block][:, ("in", "block", "pre").index(ranked_tensor(target))]
        rows[tensor] = np.argsort(-ranked, axis=0, kind="stable")[:9]
        excited[tensor] = own_activations(ranked, rows[tensor])
    in_, own, pre = (values[block][:, axis] for axis in range(3))
    invariant = np.arange(own.shape[1]) % 2 == (protocol == "paper")
    larger = np.where(invariant, 0.5, -0.5).astype(np.float32)
    on_in, on_block = own_activations(own, rows["in"]), own_activations(in_, rows["block"])
    return robust_measures(
        MeiActivations(
            excited_in=excited["in"],
            excited_block=excited["block"],
            out_on_in=own_activations(pre, rows["in"]),
            out_on_block=own_activations(pre, rows["block"]),
            block_on_in=on_in,
            block_on_in_up=np.maximum(on_in, 0) + larger,
            in_on_block=on_block,
            in_on_block_down=np.maximum(on_block, 0) + larger,
        )
    )
