"""Checksums of a committed folder's files, as `sha256sum` writes them, and what differs from them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from streamscope.core.errors import DamageError, StoreError
from streamscope.core.files import open_regular, read_regular
from streamscope.core.store.files.disk_errors import is_unreadable, reason

SUMS = "SHA256SUMS"
EXTRA = "does not belong here"
MISSING = "is missing"
DIFFERS = "differs from its checksum"
RECORD_LIMIT = 16 * 2**20
"""Bytes that a batch's record or list of checksums may have; those of 2,048 channels have less than one million."""
ARRAY_LIMIT = 2**30
"""Bytes that a picture or the arrays of a batch may have."""
_DIGITS = 64
"""Of a checksum."""


class Damage(NamedTuple):
    """What is wrong with a committed folder: `path` is where. Of what is `unreadable` it is not known."""

    path: Path
    what: str
    unreadable: bool = False

    @classmethod
    def of(cls, path: Path, error: OSError) -> Damage:
        what = MISSING if isinstance(error, FileNotFoundError) else reason(error)
        return cls(path, what if not is_unreadable(error) else f"cannot be read: {what}", is_unreadable(error))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def file_sha256(path: Path, limit: int | None = None) -> str:
    """Of a stored file of any size up to `limit`, in little memory. Raises OSError."""
    with open_regular(path, follow=False, limit=limit) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sums_text(sums: Mapping[str, str]) -> bytes:
    """What `sha256sum` prints for the files, in order of name."""
    return "".join(f"{sums[name]}  {name}\n" for name in sorted(sums)).encode()


def read_sums(folder: Path) -> dict[str, str]:
    """Checksums by file name. Raises OSError, or StoreError when the file is malformed."""
    # Joined as text: with thousands of batches to read, joining paths took as long as parsing what is in them.
    text = read_regular(f"{folder}/{SUMS}", follow=False, limit=RECORD_LIMIT).decode(errors="replace")
    *lines, rest = text.split("\n")
    sums = {line[_DIGITS + 2 :]: line[:_DIGITS] for line in lines}
    # By slices: a regular expression took half of the time of reading the file.
    digits = "".join(sums.values())
    between = "".join([line[_DIGITS : _DIGITS + 2] for line in lines])
    if (
        rest
        or "/" in text
        or "" in sums
        or len(sums) != len(lines)
        or between != "  " * len(lines)
        or len(digits) != _DIGITS * len(lines)
        or digits.encode().translate(None, b"0123456789abcdef")
    ):
        raise DamageError(f"{folder / SUMS} is damaged")
    return sums


def read_checked(folder: Path, name: str, sums: Mapping[str, str], limit: int = ARRAY_LIMIT) -> bytes:
    """One file of a committed folder. Raises OSError, or StoreError when it is not what was written."""
    # No link is followed: whoever hands on what is stored must not hand on what somebody has elsewhere.
    content = read_regular(f"{folder}/{name}", follow=False, limit=limit)
    if sums.get(name) != sha256(content):
        raise DamageError(f"{folder / name} is damaged (its checksum differs)")
    return content


def folder_damage(folder: Path) -> list[Damage]:
    """All that is wrong with a committed folder. Reads every byte; empty when it is intact."""
    if not os.path.isdir(folder):
        try:
            folder.stat()
        except OSError as error:
            if is_unreadable(error):
                return [Damage.of(folder, error)]
        return [Damage(folder, "is a dangling link" if folder.is_symlink() else "is a file where a folder should be")]
    try:
        sums = read_sums(folder)
        # A file that is deleted while open lives on as .nfs… until it is closed.
        present = {entry.name for entry in os.scandir(folder) if not entry.name.startswith(".nfs")} - {SUMS}
    except StoreError:
        return [Damage(folder / SUMS, "is malformed")]
    except OSError as error:
        return [Damage.of(folder / SUMS, error)]
    damage = [Damage(folder / name, MISSING) for name in sorted(sums.keys() - present)]
    damage += [Damage(folder / name, EXTRA) for name in sorted(present - sums.keys())]
    for name in sorted(present & sums.keys()):
        try:
            # Only the activations of a scan may have any size: to hash an enormous record would take hours.
            limit = None if name.endswith(".npy") else ARRAY_LIMIT
            if file_sha256(folder / name, limit) != sums[name]:
                damage.append(Damage(folder / name, DIFFERS))
        except OSError as error:
            damage.append(Damage.of(folder / name, error))
    if not damage and read_regular(folder / SUMS, follow=False, limit=RECORD_LIMIT) != sums_text(sums):
        damage.append(Damage(folder / SUMS, "is malformed"))
    return damage
