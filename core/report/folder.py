"""A report's folder: made beside its place and renamed, so that nobody finds half of one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from streamscope.core.errors import StoreError, UsageError
from streamscope.core.store.files.atomic import discard
from streamscope.core.store.files.disk_errors import writing
from streamscope.core.store.files.documents import read_document, write_document

MARKER = "report.json"
"""Says that a folder is a report, and which files are the report's own."""
MADE_BY = "streamscope report"


@contextmanager
def report_folder(out: Path, described: Mapping[str, Any]) -> Iterator[Path]:
    """A folder to write a report to; becomes `out` when the block ends without an error, else nothing is left of it.

    `described` goes into its marker. A report that is at `out` already is replaced; an empty folder too. Raises
    UsageError for anything else that is there, StoreError when the disk refuses.
    """
    # A link's target is replaced, not the link.
    place = Path(os.path.realpath(out))
    check_place(out)
    with writing(out):
        place.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=".streamscope-report-", dir=place.parent))
    try:
        new = beside / "new"
        with writing(out):
            new.mkdir()
        yield new
        write_document(new / MARKER, {"made_by": MADE_BY, **described, "files": _files(new)})
        # The user may have put something there meanwhile.
        check_place(out)
        with writing(out):
            if place.is_dir():
                os.rename(place, beside / "old")
            try:
                os.rename(new, place)
            except OSError:
                if (beside / "old").is_dir():
                    os.rename(beside / "old", place)
                raise
    finally:
        discard(beside)


def check_place(out: Path) -> None:
    """Raises UsageError unless a report can be written to `out` without harming anything that is not a report's."""
    if not os.path.lexists(out):
        return
    if not out.is_dir():
        raise UsageError(f"{out} is not a folder; a report takes one that is new, empty or an earlier report")
    try:
        present = set(_files(out))
        if not present:
            return
        marker = read_document(out / MARKER, follow=True)
        if marker.get("made_by") != MADE_BY:
            raise StoreError(MARKER)
    except (OSError, StoreError):
        raise UsageError(
            f"{out} holds files that aren't a streamscope report; a report takes a folder that is new, empty or an "
            "earlier report"
        ) from None
    foreign = sorted(present - {MARKER, *marker.get("files", ())})
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise UsageError(
            f"{out} is an earlier report, but {foreign[0]}{more} in it is not the report's own; move it elsewhere first"
        )


def _files(folder: Path) -> list[str]:
    """Every file below, as a relative path with slashes, sorted."""
    found = []
    for path, _, names in os.walk(folder):
        inside = Path(path).relative_to(folder)
        found += [(inside / name).as_posix() for name in names]
    return sorted(found)
