"""What a bundle says of itself: `bundle.json` beside a store's `store.json`. A folder that has it is a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamscope.core.errors import DamageError, NewerError
from streamscope.core.files import read_regular
from streamscope.core.schema import build, parse_object
from streamscope.core.store.files.checksums import RECORD_LIMIT
from streamscope.core.store.files.documents import malformed, read_document
from streamscope.core.store.records import FormatRecord, checked_time

BUNDLE = "bundle.json"
BUNDLE_FORMAT = 1
MARKS = "marks"
"""The folder of a bundle that its marks are in, as journals."""


@dataclass(frozen=True)
class BundleRecord:
    """`bundle.json`."""

    format: int
    by: str
    """Which version wrote it."""
    created: float
    """Seconds since 1970."""
    sender: str
    """Who made it, on which machine."""
    model: str
    fingerprint: str
    """The model's identity."""
    set: str
    """The name of the folder of the set whose FZs are in it."""
    channels: Mapping[str, str]
    """By block, such as `0-31,108`."""
    marks: bool
    """Whether the sender's marks, tags and notes are in it."""

    @property
    def alias(self) -> str:
        """What its model is known by in it, whichever name or file of weights the sender knew it by."""
        return f"bundled {self.fingerprint}"


def read_bundle(root: Path) -> BundleRecord | None:
    """What the folder `root` says it is a bundle of; None for any other. Raises OSError, DamageError, NewerError."""
    path = root / BUNDLE
    try:
        content = read_regular(path, follow=False, limit=RECORD_LIMIT)
    except (FileNotFoundError, NotADirectoryError):
        return None
    check_format(path, content)
    data = read_document(path, limit=RECORD_LIMIT)
    with malformed(path):
        record = build(BundleRecord, data)
    checked_time(path, record.created)
    return record


def check_format(path: Path, content: bytes) -> None:
    """Raises DamageError for a record that is none, NewerError for one of a later version, whatever else it says."""
    with malformed(path):
        data: Mapping[str, Any] = parse_object(content)
        found = build(FormatRecord, {"format": data.get("format")}).format
    if found > BUNDLE_FORMAT:
        raise NewerError(
            f"{path} was written by a later version (bundle format {found}; this one reads {BUNDLE_FORMAT})"
        )
    if found < 1:
        raise DamageError(f"{path} is damaged (bundle format {found})")
