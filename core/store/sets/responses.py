"""How each channel's own tensors answer to altered versions of its images, in committed batches of channels.

A batch folder holds `values.npy` (n, 4, K) float32: n channels, the tensors `READ_OUT`, K versions of the image; and
`batch.json`, which says what the versions are.
"""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamscope.core.errors import DamageError, StoreError
from streamscope.core.model.arrays import Float32Array
from streamscope.core.model.blocks import Tensor
from streamscope.core.store.files.atomic import write_folder
from streamscope.core.store.files.checksums import read_checked, read_sums
from streamscope.core.store.files.disk_errors import reason
from streamscope.core.store.files.documents import encode
from streamscope.core.store.files.listing import Problems
from streamscope.core.store.layout import ResponseKind, batch_name, response_folder
from streamscope.core.store.sets.fz_set import FZSet
from streamscope.core.store.sets.readings import Readings

RECORD = "batch.json"
VALUES = "values.npy"
SHAM_TRANSFORMS = {
    "flip": "mirrored left to right",
    "quarter turn": "turned by 90 degrees",
    "shift": "moved sideways by a quarter of the receptive field of the FZ's tensor",
}
"""What takes the place of S and S- in a sham: none changes the size of a feature. The versions of `SHAMS` batches."""

READ_OUT = ("in", "block", "pre", "out")
"""Axis 1 of the values; `out` is relu(pre)."""


@dataclass(frozen=True)
class ResponseBatch:
    """One committed batch: `values` (n, 4, K), a channel a row; `versions` names the K versions."""

    channels: tuple[int, ...]
    versions: tuple[Any, ...]
    values: Float32Array


def commit_responses(
    folder: Path,
    header: Mapping[str, Any],
    channels: Sequence[int],
    versions: Sequence[float | str],
    values: NDArray[np.floating],
) -> bool:
    """Stores `values` (n, 4, K) of n channels and K versions under `folder`; all of them or none.

    False when an intact batch of these channels is there already: it stays. Raises StoreError, DiskFullError.
    """
    if values.shape != (len(channels), len(READ_OUT), len(versions)):
        raise ValueError(f"values of {len(channels)} channels and {len(versions)} versions are not {values.shape}")
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(values, dtype=np.float32))
    record = {
        **header,
        "created": time.time(),
        "read": READ_OUT,
        "channels": [int(channel) for channel in channels],
        "versions": list(versions),
    }
    return write_folder(folder / batch_name(channels), {RECORD: encode(record), VALUES: buffer.getvalue()})


def read_responses(folder: Path, problems: Problems) -> Iterator[ResponseBatch]:
    """Every intact batch under `folder`, in order of name; a line on each damaged one goes to `problems`."""
    try:
        names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
        problems.clear(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        problems.report(folder, StoreError(f"cannot read {folder}: {reason(error)}"))
        return
    for name in names:
        path = folder / name
        try:
            batch = read_batch(path)
            problems.clear(path)
        except StoreError as error:
            problems.report(path, error)
            continue
        except OSError as error:
            problems.report(path, StoreError(f"cannot read {path}: {reason(error)}"))
            continue
        yield batch


def read_batch(path: Path) -> ResponseBatch:
    """Raises OSError, or StoreError when the batch is damaged."""
    sums = read_sums(path)
    contents = read_checked(path, RECORD, sums), read_checked(path, VALUES, sums)
    try:
        record = json.loads(contents[0])
        channels, versions = tuple(map(int, record["channels"])), tuple(record["versions"])
        values = np.load(io.BytesIO(contents[1]), allow_pickle=False)
        if values.shape != (len(channels), len(READ_OUT), len(versions)):
            raise ValueError(f"values of shape {values.shape}")
    except (ValueError, KeyError, TypeError) as error:
        raise DamageError(f"{path} is damaged ({error})") from error
    return ResponseBatch(channels, versions, values)


def stored_channels(folder: Path, problems: Problems) -> set[int]:
    """Channels that intact batches under `folder` have."""
    return {channel for batch in read_responses(folder, problems) for channel in batch.channels}


def set_responses(
    fzset: FZSet, kind: ResponseKind, block: str, on: Tensor, variant: str = ""
) -> Iterator[ResponseBatch]:
    """What is stored of a kind on a set's FZs: of each channel, the FZ that its row of the table is read from."""
    for retry, channels in _rows_by_retry(fzset, block).items():
        wanted = set(channels)
        for batch in read_responses(response_folder(fzset.base(retry), kind, block, on, variant), fzset.problems):
            rows = [row for row, channel in enumerate(batch.channels) if channel in wanted]
            if rows:
                yield ResponseBatch(tuple(batch.channels[row] for row in rows), batch.versions, batch.values[rows])


def missing_responses(
    fzset: FZSet, kind: ResponseKind, block: str, on: Tensor, variant: str = ""
) -> dict[int, list[int]]:
    """Channels, by the retry that their rows are read from, whose FZ is stored and what is of this kind is not."""
    found = {}
    for retry, channels in _rows_by_retry(fzset, block).items():
        stored = fzset.fzs(fzset.info.target(block, on), retry)
        known = stored_channels(response_folder(fzset.base(retry), kind, block, on, variant), fzset.problems)
        absent = [c for c in channels if c in stored and c not in known]
        if absent:
            found[retry] = absent
    return found


def _rows_by_retry(fzset: FZSet, block: str) -> dict[int, list[int]]:
    retries = Readings(fzset, [fzset.info.block(block)]).retries
    return {int(retry): np.flatnonzero(retries == retry).tolist() for retry in np.unique(retries)}
