"""Checksums of a committed folder's files, as `sha256sum` writes them, and what differs from them."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

from streamscope.core.errors import DamageError, StoreError
from streamscope.core.store.files.disk_errors import reason

SUMS = "SHA256SUMS"
EXTRA = "does not belong here"
_PIECE = 2**20
"""Bytes that are read at once; a record has a few thousand."""
_SUM_LINE = re.compile(r"^([0-9a-f]{64})  ([^/\n]+)$", re.MULTILINE)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def file_sha256(path: Path) -> str:
    """Of a file of any size, in little memory. Raises OSError."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sums_text(sums: Mapping[str, str]) -> bytes:
    """What `sha256sum` prints for the files, in order of name."""
    return "".join(f"{sums[name]}  {name}\n" for name in sorted(sums)).encode()


def read_sums(folder: Path) -> dict[str, str]:
    """Checksums by file name. Raises OSError, or StoreError when the file is malformed."""
    # Joined as text: with thousands of batches to read, joining paths took as long as parsing what is in them.
    text = _read(f"{folder}/{SUMS}").decode(errors="replace")
    sums = {name: checksum for checksum, name in _SUM_LINE.findall(text)}
    if len(sums) != text.count("\n") or not text.endswith("\n"):
        raise DamageError(f"{folder / SUMS} is damaged")
    return sums


def read_checked(folder: Path, name: str, sums: Mapping[str, str]) -> bytes:
    """One file of a committed folder. Raises OSError, or StoreError when it is not what was written."""
    content = _read(f"{folder}/{name}")
    if sums.get(name) != sha256(content):
        raise DamageError(f"{folder / name} is damaged (its checksum differs)")
    return content


def folder_damage(folder: Path) -> list[tuple[Path, str]]:
    """All that is wrong with a committed folder: (path, what). Reads every byte; empty when it is intact."""
    if not folder.is_dir():
        return [(folder, "is a dangling link" if folder.is_symlink() else "is a file where a folder should be")]
    try:
        sums = read_sums(folder)
        # A file that is deleted while open lives on as .nfs… until it is closed.
        present = {entry.name for entry in os.scandir(folder) if not entry.name.startswith(".nfs")} - {SUMS}
    except StoreError:
        return [(folder / SUMS, "is malformed")]
    except OSError as error:
        return [(folder / SUMS, "is missing" if isinstance(error, FileNotFoundError) else reason(error))]
    damage = [(folder / name, "is missing") for name in sorted(sums.keys() - present)]
    damage += [(folder / name, EXTRA) for name in sorted(present - sums.keys())]
    for name in sorted(present & sums.keys()):
        try:
            if file_sha256(folder / name) != sums[name]:
                damage.append((folder / name, "differs from its checksum"))
        except OSError as error:
            damage.append((folder / name, reason(error)))
    if not damage and (folder / SUMS).read_bytes() != sums_text(sums):
        damage.append((folder / SUMS, "is malformed"))
    return damage


def _read(path: str) -> bytes:
    # Not `open`: its file object costs more than reading a record does.
    handle = os.open(path, os.O_RDONLY)
    try:
        pieces = []
        while piece := os.read(handle, _PIECE):
            pieces.append(piece)
        return b"".join(pieces)
    finally:
        os.close(handle)
