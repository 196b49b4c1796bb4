"""JSON documents that carry their own checksum, and numbers that JSON cannot hold."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from streamscope.core.errors import DamageError, NewerError, UsageError
from streamscope.core.files import read_regular
from streamscope.core.schema import MalformedError, UnknownFieldError, build, parse_object
from streamscope.core.store.files.atomic import discard, make_folder, sync_folder, write_file
from streamscope.core.store.files.checksums import sha256
from streamscope.core.store.files.disk_errors import writing
from streamscope.core.store.files.owner import temporary_name

DOCUMENT_LIMIT = 64 * 2**20
"""Bytes that a document may have; the description of a ResNet152 has four million."""
T = TypeVar("T")
_END = b"\n}\n"
"""How `encode` ends an object that is not empty."""


def number(value: float) -> float | str | None:
    """A float as strict JSON can hold it: None for NaN, "inf", "-inf". `from_number` reads it back."""
    value = float(value)
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else str(value)


def from_number(value: float | str | None) -> float:
    """Inverse of `number`. Raises MalformedError for anything else."""
    if type(value) is float and math.isfinite(value):
        return value
    if value is None:
        return math.nan
    if value in ("inf", "-inf"):
        return float(value)
    if type(value) is int and abs(value) < 2**1000:
        return float(value)
    raise MalformedError("a number is none that is written")


def encode(data: Mapping[str, Any]) -> bytes:
    return (json.dumps(data, indent=1) + "\n").encode()


def write_document(path: Path, data: Mapping[str, Any]) -> None:
    """Writes a JSON object that carries its own checksum as `sha256`. Raises ValueError for an empty one."""
    write_file(path, document_bytes(data))


def document_bytes(data: Mapping[str, Any]) -> bytes:
    """What `write_document` writes. Raises ValueError for an empty object."""
    if not data:
        raise ValueError("a document must say something")
    body = encode(data)
    return body.removesuffix(_END) + _seal(sha256(body))


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


def read_document(path: Path, follow: bool = False, limit: int = DOCUMENT_LIMIT) -> dict[str, Any]:
    """Inverse of `write_document`; a link is read only with `follow`.

    Raises OSError, or DamageError when so much as one byte was flipped.
    """
    content = read_regular(path, follow, limit)
    try:
        data = parse_object(content)
        stored = str(data.pop("sha256"))
    except (MalformedError, KeyError):
        raise DamageError(f"{path} is damaged") from None
    # By its bytes, not by writing it again: a wide ResNet's description has megabytes.
    seal = _seal(stored)
    if not content.endswith(seal) or sha256(content.removesuffix(seal) + _END) != stored:
        raise DamageError(f"{path} is damaged (its checksum differs)")
    return data


def read_record(path: Path, cls: type[T]) -> T:
    """A document as the dataclass that it describes. Raises OSError, DamageError, NewerError."""
    data = read_document(path)
    with malformed(path):
        return build(cls, data)


def stored_path(text: str) -> Path:
    """A path that a record names. Raises MalformedError for what no system call takes."""
    try:
        if b"\0" in os.fsencode(text):
            raise ValueError
    except ValueError:
        raise MalformedError("a path is none") from None
    return Path(text)


@contextmanager
def malformed(path: Path) -> Iterator[None]:
    """Turns what is wrong with a record's content into one clear line about `path`: DamageError or NewerError."""
    try:
        yield
    except UnknownFieldError as error:
        raise NewerError(f"{path} was written by a later version ({error})") from error
    except (MalformedError, UsageError) as error:
        raise DamageError(f"{path} is damaged ({error})") from error


def _seal(checksum: str) -> bytes:
    """The end of a document, as `encode` writes it with the checksum as its last entry."""
    return f',\n "sha256": "{checksum}"'.encode() + _END
