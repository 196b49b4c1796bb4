"""How each channel's own tensors answer to altered versions of its images, in committed batches of channels.

A batch folder holds `values.npy` (n, 4, K) float32: n channels, the tensors `READ_OUT`, K versions of the image; and
`batch.json`, which says what the versions are.
"""

from __future__ import annotations

import io
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamscope.core.errors import DamageError, StoreError
from streamscope.core.model.arrays import Float32Array
from streamscope.core.model.blocks import Tensor
from streamscope.core.schema import MalformedError
from streamscope.core.store.files.atomic import write_folder
from streamscope.core.store.files.checksums import RECORD_LIMIT, read_checked, read_sums
from streamscope.core.store.files.disk_errors import read_error
from streamscope.core.store.files.documents import encode
from streamscope.core.store.files.listing import Problems
from streamscope.core.store.layout import SHAMS, ResponseKind, batch_name, response_folder
from streamscope.core.store.records import RECORD, Place
from streamscope.core.store.sets.batches import FURTHER
from streamscope.core.store.sets.fz_set import FZSet
from streamscope.core.store.sets.readings import Readings

VALUES = "values.npy"
SHAM_TRANSFORMS = {
    "flip": "mirrored left to right",
    "quarter turn": "turned by 90 degrees",
    "shift": "moved sideways by a quarter of the receptive field of the FZ's tensor",
}
"""What takes the place of S and S- in a sham: none changes the size of a feature. The versions of `SHAMS` batches."""
ALTERATIONS = (*SHAM_TRANSFORMS, *FURTHER)
"""All that may. Of a set's FZs the further ones are among its measures; a scan has them as versions of its `SHAMS`."""
READ_OUT = ("in", "block", "pre", "out")
"""Axis 1 of the values; `out` is relu(pre), whichever activation follows the sum."""


@dataclass(frozen=True)
class ResponseBatch:
    """One committed batch: `values` (n, 4, K), a channel a row; `versions` names the K versions."""

    channels: tuple[int, ...]
    versions: tuple[Any, ...]
    values: Float32Array
    path: Path


def commit_responses(
    folder: Path,
    place: Place,
    provenance: Mapping[str, Any],
    channels: Sequence[int],
    versions: Sequence[float | str],
    values: NDArray[np.floating],
) -> bool:
    """Stores `values` (n, 4, K) of n channels and K versions under `folder`; all of them or none.

    `provenance` is of `RESPONSES_OWN`. False when an intact batch of these channels is there already: it stays. Raises
    StoreError, DiskFullError.
    """
    if values.shape != (len(channels), len(READ_OUT), len(versions)):
        raise ValueError(f"values of {len(channels)} channels and {len(versions)} versions are not {values.shape}")
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(values, dtype=np.float32))
    record = {
        **place.header,
        **provenance,
        "created": time.time(),
        "read": READ_OUT,
        "channels": [int(channel) for channel in channels],
        "versions": list(versions),
    }
    files = {RECORD: encode(record), VALUES: buffer.getvalue()}
    return write_folder(folder / batch_name(channels), files, lambda path: read_batch(path, place))


def read_responses(folder: Path, place: Place, problems: Problems) -> Iterator[ResponseBatch]:
    """Every intact batch under `folder`, in order of name; a line on each that is damaged or of another place goes to
    `problems`."""
    try:
        names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
        problems.clear(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        problems.report(folder, read_error(folder, error))
        return
    for name in names:
        path = folder / name
        try:
            batch = read_batch(path, place)
            problems.clear(path)
        except StoreError as error:
            problems.report(path, error)
            continue
        except OSError as error:
            problems.report(path, read_error(path, error))
            continue
        yield batch


def read_batch(path: Path, place: Place) -> ResponseBatch:
    """Raises OSError, or StoreError when the batch is damaged or is not what belongs at `place`."""
    sums = read_sums(path)
    record = place.read(path, read_checked(path, RECORD, sums, RECORD_LIMIT))
    content = read_checked(path, VALUES, sums)
    try:
        channels, versions = tuple(record["channels"]), tuple(record["versions"])
        _check_versions(place.header["kind"], versions)
        if record["read"] != list(READ_OUT):
            raise MalformedError("other tensors are read")
        values = np.load(io.BytesIO(content), allow_pickle=False)
        if values.shape != (len(channels), len(READ_OUT), len(versions)) or values.dtype != np.float32:
            raise MalformedError(f"values of shape {values.shape}")
    except (ValueError, KeyError, TypeError, EOFError, SyntaxError, MemoryError) as error:
        raise DamageError(f"{path} is damaged ({error})") from error
    place.check_channels(path, channels)
    return ResponseBatch(channels, versions, values, path)


def _check_versions(kind: str, versions: tuple[Any, ...]) -> None:
    """Scales of curves ascend; shams are of `ALTERATIONS`. Raises MalformedError."""
    if kind == SHAMS:
        if set(map(type, versions)) != {str} or not set(versions) <= set(ALTERATIONS):
            raise MalformedError("shams that are none")
    elif not versions or not set(map(type, versions)) <= {int, float}:
        raise MalformedError("scales that are no numbers")
    elif not all(0 < one < other < math.inf for one, other in pairwise((*versions, 1e9))):
        raise MalformedError("scales that do not ascend")


def stored_channels(folder: Path, place: Place, problems: Problems) -> set[int]:
    """Channels that intact batches under `folder` have."""
    return {channel for batch in read_responses(folder, place, problems) for channel in batch.channels}


def set_responses(
    fzset: FZSet, kind: ResponseKind, block: str, on: Tensor, variant: str = ""
) -> Iterator[ResponseBatch]:
    """What is stored of a kind on a set's FZs: of each channel, the FZ that its row of the table is read from."""
    for retry, channels in _rows_by_retry(fzset, block).items():
        wanted = set(channels)
        place = fzset.responses_place(kind, block, on, variant, retry)
        folder = response_folder(fzset.base(retry), kind, block, on, variant)
        for batch in read_responses(folder, place, fzset.problems):
            rows = [row for row, channel in enumerate(batch.channels) if channel in wanted]
            if rows:
                kept = tuple(batch.channels[row] for row in rows)
                yield ResponseBatch(kept, batch.versions, batch.values[rows], batch.path)


def missing_responses(
    fzset: FZSet, kind: ResponseKind, block: str, on: Tensor, variant: str = ""
) -> dict[int, list[int]]:
    """Channels, by the retry that their rows are read from, whose FZ is stored and what is of this kind is not."""
    found = {}
    for retry, channels in _rows_by_retry(fzset, block).items():
        stored = fzset.fzs(fzset.target(block, on), retry)
        place = fzset.responses_place(kind, block, on, variant, retry)
        known = stored_channels(response_folder(fzset.base(retry), kind, block, on, variant), place, fzset.problems)
        absent = [c for c in channels if c in stored and c not in known]
        if absent:
            found[retry] = absent
    return found


def _rows_by_retry(fzset: FZSet, block: str) -> dict[int, list[int]]:
    retries = Readings(fzset, [fzset.info.block(block)]).retries
    return {int(retry): np.flatnonzero(retries == retry).tolist() for retry in np.unique(retries)}
