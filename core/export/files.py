"""Tables as CSV and JSON files, each with a `.meta.json` beside it that says what it was made from.

Texts in CSV are written so that no spreadsheet runs them and no terminal obeys them: an apostrophe before `= + - @`
at their start (and after a semicolon, tab or line end), control characters as `\\x1b` (`core.text.csv_cell`;
`from_csv_cell` gives the text back). JSON has every text as it is, control characters as JSON's own escapes. Numbers
are numbers in both.
"""

from __future__ import annotations

import csv
import io
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from streamscope import __version__
from streamscope.core.errors import StreamscopeError, UsageError
from streamscope.core.model.blocks import ModelInfo
from streamscope.core.model.recipe import SetKey
from streamscope.core.table.columns import Value, column
from streamscope.core.table.frame import Frame
from streamscope.core.text import csv_cell, json_text

Format = Literal["csv", "json"]
FORMATS: tuple[Format, ...] = ("csv", "json")
Index = Iterable[int] | NDArray[Any]
_VERSIONED = ("torch", "torchvision", "numpy")


def to_csv(frame: Frame, index: Index, columns: Sequence[str]) -> str:
    """Rows `index` in that order, with a header; empty fields stay empty, booleans are true and false."""
    return csv_text(columns, (row.values() for row in frame.rows(index, columns)))


def csv_text(columns: Sequence[str], rows: Iterable[Iterable[Value]]) -> str:
    """A header and rows of fields as CSV: None is an empty field, booleans are true and false, texts are escaped."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_csv_field(value) for value in row] for row in rows)
    return text.getvalue()


def to_json(frame: Frame, index: Index, columns: Sequence[str]) -> str:
    """Rows `index` as a list of objects, a line each; empty fields are null."""
    encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
    lines = [json_text(encode(row)) for row in frame.rows(index, columns)]
    return "[\n" + ",\n".join(lines) + "\n]\n" if lines else "[]\n"


def table_meta(info: ModelInfo, key: SetKey | None, expression: str | None = None, **more: Any) -> dict[str, Any]:
    """What a `.meta.json` tells: versions, model, fingerprint, recipe, filter and time, and `more` of the caller's."""
    return {
        "streamscope": __version__,
        "versions": {name: found for name in _VERSIONED if (found := _version(name))},
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": info.name,
        "fingerprint": info.fingerprint,
        "preprocessing": info.full_preprocessing.to_json(),
        "recipe": key.recipe.to_json() if key else None,
        "seed": key.seed if key else None,
        "capture": key.capture if key else None,
        "filter": expression or None,
        **more,
    }


def write_table(
    frame: Frame, index: Index, columns: Sequence[str], format_: str, path: Path, meta: Mapping[str, Any]
) -> None:
    """Writes FILE and FILE.meta.json, both or neither.

    Raises UsageError for an unknown column or format or a path that cannot be a file, StreamscopeError when the disk
    refuses; what was there before is then intact.
    """
    rows = np.asarray(index if isinstance(index, np.ndarray) else list(index), dtype=np.intp)
    names = [column(name).name for name in columns]
    if format_ not in FORMATS:
        raise UsageError(f"unknown format {format_!r} for a file; use {' or '.join(FORMATS)}")
    text = (to_csv if format_ == "csv" else to_json)(frame, rows, names)
    write_with_meta(path, text, {**meta, "format": format_, "columns": names, "rows": len(rows)})


def write_with_meta(
    path: Path, content: str | bytes, meta: Mapping[str, Any], more: Mapping[str, bytes] | None = None
) -> None:
    """Writes `content` to FILE and `meta` to FILE.meta.json, all or nothing; a link is followed.

    `more` are further files by their paths from FILE's folder; the folders they are in are made.

    Raises UsageError for a path that cannot be a file, StreamscopeError when the disk refuses.
    """
    shown = path
    try:
        path = path.resolve()
    except RuntimeError as error:  # until Python 3.13, which returns the link itself
        raise UsageError(f"cannot write {shown}: its links go in a circle") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot write {str(shown)!r}: {_reason(error)}") from error
    beside = meta_path(path)
    described = json_text(json.dumps({"file": path.name, **meta}, indent=2, ensure_ascii=False) + "\n")
    further = {path.parent / name: data for name, data in (more or {}).items()}
    contents: dict[Path, str | bytes] = {**further, beside: described, path: content}
    try:
        if path.is_symlink():
            raise UsageError(f"cannot write {shown}: its links go in a circle")
        _check_place(shown, path)
        _check_place(meta_path(shown), beside)
        for place in further:
            place.parent.mkdir(parents=True, exist_ok=True)
            _check_place(place, place)
        with tempfile.TemporaryDirectory(prefix=".streamscope-", dir=path.parent) as folder:
            ready = [_prepare(Path(folder), place, content) for place, content in contents.items()]
            replace_all(Path(folder), list(zip(ready, contents, strict=True)))
    except OSError as error:
        raise StreamscopeError(f"cannot write {shown}: {_reason(error)}") from error


def meta_path(path: Path) -> Path:
    return path.parent / f"{path.name}.meta.json"


def _check_place(shown: Path, path: Path) -> None:
    if path.is_dir():
        raise UsageError(f"cannot write {shown}: it is a folder; name a file")
    if path.exists() and not path.is_file():
        raise UsageError(f"cannot write {shown}: it is not a regular file")
    if not path.parent.is_dir():
        raise UsageError(f"cannot write {shown}: there is no folder {shown.parent}; make it first")


def _prepare(folder: Path, place: Path, content: str | bytes) -> Path:
    """Everything that may fail for want of space happens here, before any file is touched."""
    ready = folder / f"new-{secrets.token_hex(8)}"
    with ready.open("wb") as file:
        # text from a terminal or a foreign journal may hold halves of characters that UTF-8 cannot say
        file.write(content if isinstance(content, bytes) else content.encode("utf-8", "backslashreplace"))
        file.flush()
        os.fsync(file.fileno())
    with suppress(FileNotFoundError):
        shutil.copymode(place, ready)
    return ready


def replace_all(folder: Path, moves: Sequence[tuple[Path, Path]]) -> None:
    """Renames each file to its place; when one cannot be, those before it get back what they had."""
    done: list[tuple[Path, Path | None]] = []
    try:
        for ready, place in moves:
            before = folder / f"old-{len(done)}"
            previous = Path(shutil.copy2(place, before)) if place.exists() else None
            os.replace(ready, place)
            done.append((place, previous))
    except BaseException:  # an interrupt must not leave one of the two either
        for place, previous in done:
            if previous:
                os.replace(previous, place)
            else:
                place.unlink()
        raise


def _csv_field(value: Value) -> str | int | float:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return csv_cell(value) if isinstance(value, str) else value


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
