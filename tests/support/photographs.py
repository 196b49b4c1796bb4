"""Made-up readings of the patches that a scan kept: for tests of whatever reads what is stored of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from streamscope.core.measures.photographs import LARGER, SCALES, PatchReadings
from streamscope.core.model.blocks import ModelInfo
from streamscope.core.store import Scan
from streamscope.core.store.scans.photographs import commit_photographs, patches_to_read
from tests.support.optional import present


def with_centres(info: ModelInfo) -> ModelInfo:
    """A made-up model whose receptive fields have their centres, about which patches are scaled."""
    middle = float(info.input_size // 2)
    return replace(info, fields={name: replace(field, middle=middle) for name, field in info.fields.items()})


def made_up_readings(scan: Scan, block: str, channels: Sequence[int]) -> PatchReadings:
    """Every second channel, beginning with 0, prefers I's patches larger and B's smaller, and the others neither."""
    rows, everyone = present(patches_to_read(scan, block, channels)).rows, scan.info.block(block).channels
    random = np.random.default_rng(sum(channels))
    octaves = np.log2(SCALES)
    curves = random.normal(2, 0.05, (*rows.shape, len(SCALES), 3)).astype(np.float32)
    prefers = (np.asarray(channels) % 2 == 0)[:, None, None]
    curves[:, 0, :, :, 1] += prefers * octaves
    curves[:, 1, :, :, 0] -= prefers * octaves
    blurred = random.normal(2, 0.05, (*rows.shape, len(LARGER), 3)).astype(np.float32)
    curves[rows < 0], blurred[rows < 0] = np.nan, np.nan
    contrasts = random.normal(0, 0.1, (len(channels), 2, everyone)).astype(np.float32)
    return PatchReadings(
        channels=np.array(channels),
        curves=curves,
        blurred=blurred,
        mean=np.ones((len(channels), 3), dtype=np.float32),
        deviation=np.ones((len(channels), 3), dtype=np.float32),
        pair_contrast=contrasts,
        pair_reading=np.ones_like(contrasts),
    )


def commit_made_up(scan: Scan, block: str, channels: Sequence[int]) -> bool:
    patches = present(patches_to_read(scan, block, channels))
    return commit_photographs(scan, block, {"engine": "9.9"}, patches, made_up_readings(scan, block, channels))
