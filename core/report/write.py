"""Writing a report to disk: a folder, or one file that can be mailed."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamscope.core.errors import StreamscopeError, UsageError
from streamscope.core.report.folder import report_folder
from streamscope.core.report.material import Material
from streamscope.core.report.site import TOP, Progress, Site
from streamscope.core.store.files.atomic import write_file
from streamscope.core.store.files.disk_errors import writing

MADE_BY = b'<meta name="generator" content="streamscope report">'
"""What says near its start that a file is a report."""
MAILABLE = 18_000_000
"""Bytes of a file that most mail servers take: they refuse messages of more than 25 MB, and mail makes a file 37 %
longer."""


@dataclass(frozen=True)
class Single:
    """A report written as one file."""

    size: int
    """In bytes."""
    problems: list[StreamscopeError]
    """What could not be read."""


def write_report(
    material: Material, out: Path, top: int = TOP, progress: Progress | None = None
) -> list[StreamscopeError]:
    """Writes a report to the folder `out`, whole or not at all; returns what could not be read.

    Raises UsageError where `out` is something else than a report, StreamscopeError when the disk refuses.
    """
    described: dict[str, Any] = {
        "model": material.info.name,
        "fingerprint": material.info.fingerprint,
        "set": material.fzset.key.folder,
        "blocks": [block.name for block in material.blocks],
        "images": material.data_set,
        "time": material.time,
    }
    if material.chosen is not None:
        described["chosen"] = material.chosen.by
    with report_folder(out, described) as folder:
        return Site(material, folder, top, progress).write()


def write_single(material: Material, out: Path, top: int = TOP, progress: Progress | None = None) -> Single:
    """Writes a report to the file `out`, whole or not at all: pages, pictures, tables and scripts are all in it.

    Raises as `write_report`, and UsageError for more pictures than a browser opens from one file.
    """
    check_file(out)
    with tempfile.TemporaryDirectory(prefix="streamscope-report-") as folder:
        site = Site(material, Path(folder), top, progress, single=True)
        problems = site.write()
        content = site.one_file()
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    write_file(out, content, durable=False)
    return Single(len(content), problems)


def check_file(out: Path) -> None:
    """Raises UsageError unless a report can be written to `out` without harming anything that is not one."""
    if out.is_dir():
        raise UsageError(f"{out} is a folder; a report in one file takes a file, such as {out / 'report.html'}")
    if out.exists():
        with writing(out), out.open("rb") as file:
            if MADE_BY not in file.read(2000):
                raise UsageError(f"{out} is not a streamscope report and stays; name another file")
