"""A Markdown note of channels: a table, then each channel with its picture, figures and what was said of it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from streamscope.core.export.files import FORMATS, Index, write_table, write_with_meta
from streamscope.core.export.sheet import Pictured, check_count, pictured, png, strip, write_sheet
from streamscope.core.model.blocks import ModelInfo
from streamscope.core.store import FZSet
from streamscope.core.table.columns import Value, column, number_text
from streamscope.core.table.frame import Frame
from streamscope.core.text import visible, visible_lines

NOTE_COLUMNS = ("block", "channel", "mix_ratio", "update", "scale_metric", "scale_invariant", "marked", "tags", "note")
KINDS = (*FORMATS, "md", "png")
"""Every format of an export, as the ending of its file: tables, a Markdown note, a contact sheet."""
PICTURE_SIDE = 224


def to_markdown(frame: Frame, index: Index, columns: Sequence[str]) -> str:
    """Rows as a Markdown table: figures at the right, empty fields empty."""
    lines = [_line(columns), _line(["---:" if column(name).kind == "number" else "---" for name in columns])]
    lines += [_line([_cell(value) for value in row.values()]) for row in frame.rows(index, columns)]
    return "\n".join(lines) + "\n"


def note_text(title: str, table: str, channels: Sequence[Pictured], pictures: Mapping[str, str]) -> str:
    """The whole note; `pictures` gives the path of each channel's picture by its name."""
    parts = [f"# {title}\n", table]
    for channel in channels:
        row = channel.row
        verdict = [str(row["update"] or "")] + ["scale invariant"] * bool(row["scale_invariant"])
        heading = ", ".join(word for word in verdict if word)
        parts.append(f"## {channel.name}{f' ({heading})' if heading else ''}\n")
        parts.append(f"![FZ(I), FZ(B) and FZ(O) of {channel.name}]({pictures[channel.name]})\n")
        parts.append(f"{_figures(row)}\n")
        said = " ".join(str(row[name]) for name in ("marked", "tags") if row[name])
        if said:
            parts.append(f"{_escaped(said)}\n")
        if row["note"]:
            parts.append("\n".join(f"> {line}" for line in _escaped(str(row["note"])).split("\n")) + "\n")
    return "\n".join(parts)


def write_note(
    info: ModelInfo,
    fzset: FZSet,
    frame: Frame,
    index: Index,
    columns: Sequence[str],
    path: Path,
    meta: Mapping[str, Any],
    advance: Callable[[int], object] = lambda done: None,
) -> None:
    """The note as FILE, its pictures in a folder FILE-pictures beside it, and FILE.meta.json: all or none.

    Raises UsageError for no channels or too many, StoreError for a damaged FZ, and as `write_with_meta` does.
    """
    rows = [int(row) for row in index]
    check_count(len(rows))
    folder = pictures_folder(path)
    channels, files, names = [], {}, {}
    for done, row in enumerate(rows, 1):
        channel = pictured(info, fzset, frame, row)
        name = f"{folder}/{channel.row['block']}_{int(str(channel.row['channel'])):04d}.png"
        files[name], names[channel.name] = png(strip(channel.fzs, PICTURE_SIDE)), quote(os.fsencode(name))
        channels.append(Pictured(channel.row, {}))
        advance(done)
    filter_ = f", filter {_code(meta['filter'])}" if meta.get("filter") else ""
    model = _escaped(info.name)
    title = f"{model}: {len(rows)} channel{'s' * (len(rows) != 1)}"
    about = f"{model} `{info.fingerprint[:12]}`, {fzset.key}{filter_}; {meta['time']}\n"
    table = f"{about}\n{to_markdown(frame, rows, columns)}"
    text = note_text(title, table, channels, names)
    write_with_meta(path, text, {**meta, "format": "md", "columns": list(columns), "rows": len(rows)}, files)


def write_channels(
    kind: str,
    info: ModelInfo,
    fzset: FZSet,
    frame: Frame,
    index: Index,
    columns: Sequence[str],
    path: Path,
    meta: Mapping[str, Any],
) -> None:
    """Rows of a frame as a file of any of `KINDS`. Raises as the one that writes it does."""
    if kind == "png":
        write_sheet(info, fzset, frame, index, path, meta)
    elif kind == "md":
        write_note(info, fzset, frame, index, columns, path, meta)
    else:
        write_table(frame, index, columns, kind, path, meta)


def kind_of(path: Path) -> str | None:
    """The kind that a file's ending stands for, None when it is none of `KINDS`."""
    ending = path.suffix.lower().removeprefix(".")
    return ending if ending in KINDS else None


def pictures_folder(path: Path) -> str:
    """The name of the folder that a note's pictures stand in, beside it."""
    return f"{path.stem}-pictures"


def _figures(row: Mapping[str, Value]) -> str:
    shown = (("M", "mix_ratio"), ("SM", "scale_metric"), ("block gain", "block_gain"), ("input gain", "input_gain"))
    figures = [f"{label} {number_text(row[name])}" for label, name in shown if row[name] is not None]
    criteria = [f"({n}) {'holds' if row[name] else 'fails'}" for n, name in _CRITERIA if row[name] is not None]
    return "; ".join([", ".join(figures) or "not measured", *([f"criteria {', '.join(criteria)}"] if criteria else [])])


_CRITERIA = ((2, "meets_mix"), (3, "meets_block"), (4, "meets_input"))


def _line(fields: Sequence[str]) -> str:
    return f"| {' | '.join(fields)} |"


def _cell(value: Value) -> str:
    return _escaped(number_text(value))


def _escaped(text: str) -> str:
    """Text that Markdown takes as it is, control characters shown."""
    return re.sub(r"([\\`*_\[\]<>|#&])", r"\\\1", visible_lines(text))


def _code(text: str) -> str:
    """Text as code within a line: in more backticks than it has itself."""
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    pad = " " if "`" in text else ""
    return f"{fence}{pad}{visible(text)}{pad}{fence}"
