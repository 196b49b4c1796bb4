"""Images a second that a scan reads on this machine, files and all."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from streamscope.core.engine.network import Network
from streamscope.core.images.folder import find_images
from streamscope.core.reading.scan import scan_images
from streamscope.core.store import Store

WIDTH, HEIGHT = 500, 375
"""Of the drawn photographs, px: the median of ImageNet's."""


def scan_rate(network: Network, count: int = 64) -> dict[str, Any]:
    """Scans `count` drawn JPEG files, their decoding and the passes over scaled MEIs included."""
    with tempfile.TemporaryDirectory(prefix="streamscope-bench-") as folder:
        images = Path(folder) / "images"
        images.mkdir()
        random = np.random.default_rng(0)
        for number in range(count):
            coarse = random.integers(0, 256, (12, 16, 3), dtype=np.uint8)
            picture = Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
            picture.save(images / f"{number:04d}.jpg", quality=90)
        store = Store.open(Path(folder) / "cache", create=True)
        started = time.perf_counter()
        scan_images(network, store, images, find_images(images))
        seconds = time.perf_counter() - started
    return {"images": count, "seconds": seconds, "images_a_second": count / seconds}
