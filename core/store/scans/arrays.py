"""Files of arrays of a scan, each of which says which scan, and what of it, it is of. Never imports torch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.numpy
from numpy.typing import NDArray

from streamscope.core.errors import DamageError, MisplacedError

ArrayOf = Callable[[str, tuple[int, ...]], NDArray[Any]]
"""An array of a file by its name, of a shape. Raises DamageError where there is no such array."""


def array_metadata(scan: Path, of: str) -> dict[str, str]:
    """What a file of arrays says of itself, which 0.2.0 only said by its name and folder."""
    # One entry: safetensors writes several in any order.
    return {"of": f"{scan.name}/{of}"}


def read_arrays(content: bytes, path: Path, scan: Path, subject: str) -> tuple[ArrayOf, bool]:
    """What gives the arrays of a file, and whether it names its scan; `subject` is what it is to be of.

    Raises DamageError, MisplacedError.
    """
    try:
        arrays = safetensors.numpy.load(content)
        said = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")]).get("__metadata__", {})
    except Exception as error:  # checksums were right: something else wrote such a file
        raise DamageError(f"{path} is damaged ({error})") from error
    name, _, of = said.get("of", f"{scan.name}/{subject}").rpartition("/")
    check_scan(path, name, scan)
    if of != subject:
        raise MisplacedError(f"{path} is of {of[:80]!r}, not {subject}")

    def get(key: str, shape: tuple[int, ...]) -> NDArray[Any]:
        if key not in arrays:
            raise DamageError(f"{path} is damaged ({key} is missing)")
        if arrays[key].shape != shape:
            raise DamageError(f"{path} is damaged ({key} has the shape {arrays[key].shape})")
        return arrays[key]

    return get, "of" in said


def check_scan(path: Path, scan: str | None, folder: Path) -> None:
    """Whether what names its scan (0.2.0's does not) is of the one in `folder`. Raises MisplacedError."""
    if scan not in (None, folder.name):
        raise MisplacedError(f"{path} is of the scan {scan[:80]!r}, not {folder.name}")
