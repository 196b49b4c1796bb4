"""What a set says of itself: its key, and when its last job was done."""

from __future__ import annotations

from pathlib import Path

from streamscope.core.errors import MisplacedError, NewerError
from streamscope.core.model.blocks import ModelInfo
from streamscope.core.model.recipe import PROTOCOLS, SetKey
from streamscope.core.store.files.documents import malformed, read_record
from streamscope.core.store.layout import SetFolder
from streamscope.core.store.records import CompletedRecord, SetRecord, check_identity, checked_time


def read_key(path: Path, info: ModelInfo) -> SetKey:
    """What a set's folder says it holds. Raises OSError, or StoreError when it is damaged or of another model."""
    document = SetFolder(path).document
    record = read_record(document, SetRecord)
    if record.protocol not in PROTOCOLS:
        raise NewerError(f"{document} was written by a later version (protocol {record.protocol[:40]!r})")
    with malformed(document):
        key = record.key
    if key.folder != path.name:
        raise MisplacedError(f"{document} describes another set ({key.folder})")
    check_identity(document, record.identity_fields, record.model, info)
    checked_time(document, record.created)
    return key


def read_completed(folder: SetFolder) -> CompletedRecord:
    """When the last job of a set was done. Raises OSError, StoreError."""
    record = read_record(folder.completed, CompletedRecord)
    if record.set not in (None, folder.path.name):
        raise MisplacedError(f"{folder.completed} is of another set ({record.set[:80]!r})")
    checked_time(folder.completed, record.time)
    return record
