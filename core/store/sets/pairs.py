"""A block's gains among those of pairs, as they are kept: derived from its measures, which take long to read.

A document a block, in the set's folder under `pairs`. It says of which measures it was derived: once they are others it
is of no use, and is made again (`streamscope.core.analysis.pairs`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from streamscope.core.errors import DamageError, MisplacedError
from streamscope.core.measures.pairs import POINTS, PairNull
from streamscope.core.model.arrays import Float64Array
from streamscope.core.model.blocks import ModelInfo
from streamscope.core.store.files.atomic import make_folder
from streamscope.core.store.files.documents import read_record, write_document
from streamscope.core.store.layout import SetFolder
from streamscope.core.store.records import check_identity, checked_time

DIGITS = 6
"""Of the gains of pairs that are kept."""


@dataclass(frozen=True)
class Pairs:
    """What is kept of a block."""

    block: str
    measures: str
    """Of which measures it was derived: `Readings.digest`."""
    pairs: int
    channels: tuple[int, ...]
    """Those whose gains are both known."""
    reached: tuple[int, ...]
    """How many pairs have a statistic at least as large as each of them."""
    block_gains: tuple[float, ...]
    input_gains: tuple[float, ...]
    """Of pairs, thinned and in order as those of `streamscope.core.measures.pairs.PairNull`."""


@dataclass(frozen=True)
class _Record:
    """`pairs/2.1.json`; `set` is the set's folder's name, the others as in `Pairs`."""

    model: str
    fingerprint: str
    set: str
    block: str
    measures: str
    pairs: int
    channels: tuple[int, ...]
    reached: tuple[int, ...]
    block_gains: tuple[float, ...]
    input_gains: tuple[float, ...]
    created: float
    graph: str = ""
    preprocessing: str = ""


def write_pairs(folder: SetFolder, info: ModelInfo, block: str, measures: str, null: PairNull) -> None:
    """Keeps `null`, of all channels of a block and derived from `measures`. Raises StoreError, DiskFullError."""
    channels = np.flatnonzero(~np.isnan(null.reached))
    make_folder(folder.all_pairs)
    write_document(
        folder.pairs(block),
        {
            "model": info.name,
            **info.identity_fields,
            "set": folder.path.name,
            "block": block,
            "measures": measures,
            "pairs": null.pairs,
            "channels": channels.tolist(),
            "reached": null.reached[channels].astype(int).tolist(),
            "block_gains": _shortened(null.block_gain),
            "input_gains": _shortened(null.input_gain),
            "created": time.time(),
        },
    )


def read_pairs(path: Path, info: ModelInfo) -> Pairs:
    """Raises OSError, or StoreError when it is damaged, or of another model, set or block than its place says."""
    record = read_record(path, _Record)
    said = {"fingerprint": record.fingerprint, "graph": record.graph, "preprocessing": record.preprocessing}
    check_identity(path, said, record.model, info)
    checked_time(path, record.created)
    name, fzset = f"{record.block}.json", path.parent.parent.name
    if (record.set, name) != (fzset, path.name):
        raise MisplacedError(f"{path} is of another set or block ({record.set[:80]!r}, {record.block[:40]!r})")
    counts = {block.name: block.channels for block in info.blocks}
    channels, known = record.channels, len(record.channels)
    wrong = [
        any(not 0 <= channel < counts.get(record.block, 0) for channel in channels),
        list(channels) != sorted(set(channels)),
        any(not 0 <= count <= record.pairs for count in record.reached) or known != len(record.reached),
        len(record.block_gains) != len(record.input_gains) or len(record.block_gains) != min(record.pairs, POINTS),
    ]
    if any(wrong):
        raise DamageError(f"{path} is damaged (its parts do not fit)")
    return Pairs(
        record.block,
        record.measures,
        record.pairs,
        channels,
        record.reached,
        record.block_gains,
        record.input_gains,
    )


def _shortened(gains: Float64Array) -> list[float]:
    return [float(f"{gain:.{DIGITS}g}") for gain in gains.tolist()]
