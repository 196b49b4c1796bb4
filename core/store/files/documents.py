"""JSON documents that carry their own checksum, and numbers that JSON cannot hold."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from streamscope.core.errors import DamageError
from streamscope.core.store.files.atomic import discard, make_folder, sync_folder, write_file
from streamscope.core.store.files.checksums import sha256
from streamscope.core.store.files.disk_errors import writing
from streamscope.core.store.files.owner import temporary_name

_END = b"\n}\n"
"""How `encode` ends an object that is not empty."""


def number(value: float) -> float | str | None:
    """A float as strict JSON can hold it: None for NaN, "inf", "-inf". `from_number` reads it back."""
    value = float(value)
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else str(value)


def from_number(value: float | str | None) -> float:
    return math.nan if value is None else float(value)


def encode(data: Mapping[str, Any]) -> bytes:
    return (json.dumps(data, indent=1) + "\n").encode()


def write_document(path: Path, data: Mapping[str, Any]) -> None:
    """Writes a JSON object that carries its own checksum as `sha256`. Raises ValueError for an empty one."""
    if not data:
        raise ValueError("a document must say something")
    body = encode(data)
    write_file(path, body.removesuffix(_END) + _seal(sha256(body)))


def write_described_folder(folder: Path, name: str, data: Mapping[str, Any]) -> None:
    """Makes `folder` with the document `name` in it, so that nobody finds it without; in an old one writes it anew."""
    make_folder(folder.parent)
    temporary = folder.parent / temporary_name()
    with writing(folder):
        try:
            if folder.is_dir():
                write_document(folder / name, data)
                return
            temporary.mkdir()
            write_document(temporary / name, data)
            with suppress(FileExistsError):
                os.rename(temporary, folder)
        except OSError as error:
            # ENOTEMPTY: another writer made the folder meanwhile, with the same document.
            if error.errno != errno.ENOTEMPTY:
                raise
        finally:
            discard(temporary)
        sync_folder(folder.parent)


def read_document(path: Path) -> dict[str, Any]:
    """Inverse of `write_document`. Raises OSError, or StoreError when so much as one byte was flipped."""
    content = path.read_bytes()
    try:
        data: dict[str, Any] = json.loads(content)
        stored = str(data.pop("sha256"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DamageError(f"{path} is damaged") from None
    # By its bytes, not by writing it again: a wide ResNet's description has megabytes.
    seal = _seal(stored)
    if not content.endswith(seal) or sha256(content.removesuffix(seal) + _END) != stored:
        raise DamageError(f"{path} is damaged (its checksum differs)")
    return data


def _seal(checksum: str) -> bytes:
    """The end of a document, as `encode` writes it with the checksum as its last entry."""
    return f',\n "sha256": "{checksum}"'.encode() + _END
