"""Images a second that a scan reads on this machine, files and all, and what its best patches cost."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from streamscope.core.engine.network import Network
from streamscope.core.images.folder import find_images
from streamscope.core.model.arrays import Pixels
from streamscope.core.reading.best_patches import PatchFinder
from streamscope.core.reading.scan import CentreReader, scan_images
from streamscope.core.store import Store

WIDTH, HEIGHT = 500, 375
"""Of the drawn photographs, px: the median of ImageNet's."""


def scan_rate(network: Network, count: int = 64) -> dict[str, Any]:
    """Scans `count` drawn JPEG files, decoding and the passes over scaled MEIs included; and what best patches cost."""
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(prefix="streamscope-bench-") as folder:
        images = Path(folder) / "images"
        images.mkdir()
        for number in range(count):
            Image.fromarray(_drawn(random, WIDTH, HEIGHT)).save(images / f"{number:04d}.jpg", quality=90)
        store = Store.open(Path(folder) / "cache", create=True)
        started = time.perf_counter()
        scan_images(network, store, images, find_images(images))
        seconds = time.perf_counter() - started
    patches = patch_cost(network)
    return {"images": count, "seconds": seconds, "images_a_second": count / seconds, "best_patches": patches}


def patch_cost(network: Network, rounds: int = 6) -> dict[str, float]:
    """Images a second of bare passes, without and with finding the best patches, in turn: medians and their ratio."""
    reader, finder, side = CentreReader(network), PatchFinder(network), network.info.input_size
    random = np.random.default_rng(0)
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for number in range(-1, rounds):
        images = [_drawn(random, side, side) for _ in range(reader.batch)]
        finder.next_batch(np.arange(reader.batch) + reader.batch * (number + 1))
        for patches in (False, True) if number % 2 else (True, False):
            started = time.perf_counter()
            reader.read(images, watch=finder.see if patches else None)
            # The first round warms up.
            if number >= 0:
                seconds[patches].append(time.perf_counter() - started)
    without, with_patches = (reader.batch / float(np.median(seconds[patches])) for patches in (False, True))
    return {"without": without, "with": with_patches, "ratio": with_patches / without}


def _drawn(random: np.random.Generator, width: int, height: int) -> Pixels:
    """Soft colours, (height, width, 3) uint8."""
    coarse = random.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
