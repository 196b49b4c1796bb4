"""A bundle as a zip file: written in one step, and unpacked into a folder that is gone when it is closed.

What is unpacked was written by somebody else. Nothing is written before every name and size in the zip was looked at,
and no file outside the new folder, no link and no more bytes than its size accounts for.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from struct import error as StructError

from streamscope.core.errors import BundleError, DiskFullError, NewerError, StoreError, UsageError
from streamscope.core.files import open_regular
from streamscope.core.store.bundles.record import BUNDLE, check_format, read_bundle
from streamscope.core.store.files.atomic import discard, free_bytes, sync_folder
from streamscope.core.store.files.checksums import RECORD_LIMIT
from streamscope.core.store.files.disk_errors import read_error, writing
from streamscope.core.store.files.owner import is_dead_tag, temporary_name, this_process
from streamscope.core.store.store import Store

MAX_GROWTH = 100
"""Times its own size that a bundle may unpack to: FZs do not shrink, records shrink to a tenth."""
FREE_GROWTH = 64 * 2**20
"""Bytes that it may always unpack to: small ones shrink more."""
MAX_NAME = 1024
UNPACKED = "streamscope-bundle-"
"""How folders begin that bundles are unpacked into."""
_PIECE = 2**20
_MAGIC = b"PK"
_COMPRESSED = (".png", ".pth", ".jpg")
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    StructError,
    OverflowError,
)
"""What Python's zipfile raises for what is no zip, or one that is damaged, encrypted or packed otherwise."""


def is_zip(path: Path) -> bool:
    """Whether a file begins as every zip does, whole or not. Raises StoreError where it cannot be read."""
    try:
        with open_regular(path) as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError as error:
        raise read_error(path, error) from error


def write_archive(path: Path, files: Iterable[tuple[str, bytes]]) -> int:
    """Writes files by name into a zip, all of it or nothing, and returns its bytes; a link is followed.

    Only a bundle is replaced. Raises UsageError for a path that cannot be one, StoreError, DiskFullError, and whatever
    `files` raises.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise UsageError(f"cannot write {path}: it is a folder; name a file")
    if not target.parent.is_dir():
        raise UsageError(f"cannot write {path}: there is no folder {path.parent}; make it first")
    if os.path.lexists(target) and not _is_bundle(target):
        raise UsageError(f"cannot write {path}: there is a file already, and it is no bundle; name another")
    temporary = target.parent / temporary_name()
    with writing(path):
        try:
            with open(temporary, "xb") as raw:
                with zipfile.ZipFile(raw, "w") as archive:
                    now = max(time.localtime()[:6], (1980, 1, 1, 0, 0, 0))
                    for name, content in files:
                        entry = zipfile.ZipInfo(name, now)
                        entry.external_attr = (stat.S_IFREG | 0o644) << 16
                        packed = not name.endswith(_COMPRESSED)
                        entry.compress_type = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
                        archive.writestr(entry, content)
                raw.flush()
                os.fsync(raw.fileno())
            size = temporary.stat().st_size
            os.replace(temporary, target)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        sync_folder(target.parent)
    return size


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """The store that is in a bundle, as a folder that is there until the context ends.

    What a killed process left of its own goes as well. Raises BundleError for what is no bundle or no sound one,
    NewerError for one of a later version, DiskFullError, StoreError.
    """
    place = Path(tempfile.gettempdir())
    _remove_leftovers(place)
    folder = place / f"{UNPACKED}{this_process().tag}-{secrets.token_hex(4)}"
    try:
        with _opened(path) as (archive, entries):
            total = sum(entry.file_size for entry in entries)
            if total > free_bytes(place):
                raise DiskFullError(f"no space left to unpack {path} ({total / 1e6:,.0f} MB) in {place}", place)
            with writing(folder):
                folder.mkdir(mode=0o700)
                for parent in sorted({entry.filename.rpartition("/")[0] for entry in entries} - {""}):
                    os.makedirs(f"{folder}/{parent}", exist_ok=True)
                for entry in entries:
                    _unpack(path, archive, entry, folder)
        _check_unpacked(path, folder)
        yield folder
    finally:
        discard(folder)


def _check_unpacked(path: Path, folder: Path) -> None:
    """Whether the store of the bundle `path` is there. Raises StoreError."""
    try:
        record = read_bundle(folder)
        model = Store.open(folder).model(record.fingerprint) if record is not None else None
    except OSError as error:
        raise read_error(folder, error) from error
    except StoreError as error:
        kind = NewerError if isinstance(error, NewerError) else BundleError
        raise kind(str(error).replace(f"{folder}/", f"{path}: ").replace(str(folder), str(path))) from error
    if record is None or model is None:
        raise BundleError(f"{path} is damaged: it lacks the model that it says it is of")


def _is_bundle(path: Path) -> bool:
    try:
        with _opened(path):
            return True
    except StoreError:
        return False


@contextmanager
def _opened(path: Path) -> Iterator[tuple[zipfile.ZipFile, list[zipfile.ZipInfo]]]:
    """A bundle's zip and the files in it, all of which may be unpacked."""
    try:
        with open_regular(path) as raw:
            size = os.fstat(raw.fileno()).st_size
            with _sound(path):
                archive = zipfile.ZipFile(raw)
            with archive:
                yield archive, _checked(path, archive, size)
    except OSError as error:
        raise read_error(path, error) from error


def _checked(path: Path, archive: zipfile.ZipFile, size: int) -> list[zipfile.ZipInfo]:
    """Raises BundleError, NewerError."""
    names = archive.namelist()
    if BUNDLE not in names:
        raise BundleError(f"{path} is a zip, but no bundle: it has no {BUNDLE}")
    with _sound(path), archive.open(BUNDLE) as file:
        content = file.read(RECORD_LIMIT)
    check_format(path / BUNDLE, content)
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    for entry in archive.infolist():
        if what := _unfit(entry):
            raise BundleError(f"{path} is refused: {entry.filename[:80]!r} in it {what}")
    if len({name.casefold() for name in names}) != len(names):
        raise BundleError(f"{path} is refused: it has two files of one name")
    total, packed = sum(entry.file_size for entry in entries), sum(entry.compress_size for entry in entries)
    if packed > size or total > MAX_GROWTH * size + FREE_GROWTH:
        raise BundleError(f"{path} is refused: it would unpack to {total:,} bytes from {size:,}")
    return entries


def _unfit(entry: zipfile.ZipInfo) -> str:
    """Why something in a zip may not be unpacked; "" where it may."""
    name = entry.filename
    parts = name.removesuffix("/").split("/")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if name != entry.orig_filename or not name.isprintable() or len(name) > MAX_NAME:
        return "has a name that no file of a bundle has"
    if name.startswith("/") or any(part in ("", ".", "..") or "\\" in part or ":" in part for part in parts):
        return "would lie outside of its folder"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link, or no file"
    if entry.flag_bits & 1:
        return "is encrypted"
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is packed in a way that bundles are not"
    return ""


def _unpack(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path) -> None:
    """Raises OSError, BundleError."""
    with open(f"{folder}/{entry.filename}", "xb") as file, _sound(path), archive.open(entry) as source:
        # Of a file that has more than it says zipfile gives no more, and compares its checksum at the end.
        shutil.copyfileobj(source, file, _PIECE)


@contextmanager
def _sound(path: Path) -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        what = str(error) or type(error).__name__
        raise BundleError(f"{path} is damaged or cut short, and no bundle that can be opened ({what})") from error


def _remove_leftovers(place: Path) -> None:
    """Of processes that are gone: a killed one removes nothing."""
    with suppress(OSError):
        for left in place.glob(f"{UNPACKED}*"):
            tag = left.name.removeprefix(UNPACKED).rpartition("-")[0]
            if is_dead_tag(tag):
                discard(left)
