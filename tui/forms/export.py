"""What an export from the app writes: the channels, the format by the file's ending, the columns. Knows no widget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from rich.text import Text

from streamscope.core.errors import UsageError
from streamscope.core.export.files import meta_path, table_meta, to_csv, to_json
from streamscope.core.export.note import KINDS, NOTE_COLUMNS, pictures_folder, to_markdown, write_channels
from streamscope.core.export.sheet import check_count, sheet_size
from streamscope.core.model.blocks import ModelInfo
from streamscope.core.model.recipe import SetKey
from streamscope.core.store import FZSet
from streamscope.core.table.columns import COLUMNS, parse_columns
from streamscope.core.table.frame import Frame
from streamscope.tui.table.headings import DIM

SUFFIXES = tuple(f".{kind}" for kind in KINDS)
PREVIEWED = 4
"""Lines of a file shown before it is written."""


@dataclass(frozen=True)
class ExportForm:
    """The export dialog as written."""

    path: str
    columns: str = "all"
    channels: str = "filtered"
    """Which channels: one of the scopes that there are."""


@dataclass(frozen=True)
class Export:
    """Rows of a frame to be written as one thing."""

    info: ModelInfo
    key: SetKey
    frame: Frame
    rows: np.ndarray
    scope: str
    expression: str | None
    shown: Sequence[str]
    """The columns of the table, the fixed ones among them."""

    def path(self, form: ExportForm) -> Path:
        """Raises UsageError for no path, or an ending that is no format."""
        if not form.path.strip():
            raise UsageError("write the name of a file, such as tonight.csv")
        path = Path(form.path.strip()).expanduser()
        if path.suffix.lower() not in SUFFIXES:
            raise UsageError(
                f"the file's ending chooses the format: {', '.join(SUFFIXES)}, not {path.suffix or 'none'!r}"
            )
        return path

    def columns(self, form: ExportForm) -> tuple[str, ...]:
        """Raises UsageError for an unknown column."""
        word = form.columns.strip()
        if word in ("all", ""):
            return NOTE_COLUMNS if self.path(form).suffix.lower() == ".md" else tuple(c.name for c in COLUMNS)
        return tuple(self.shown) if word == "shown" else parse_columns(word)

    def text(self, form: ExportForm, rows: np.ndarray | None = None) -> str:
        """What can be copied: the table as the format has it, "" for pictures."""
        write = {".csv": to_csv, ".json": to_json, ".md": to_markdown}.get(self.path(form).suffix.lower())
        return "" if write is None else write(self.frame, self.rows if rows is None else rows, self.columns(form))

    def preview(self, form: ExportForm) -> Text:
        """What would be written, and its first lines. Raises UsageError."""
        path, kind = self.path(form), self.path(form).suffix.lower()
        names = self.columns(form)
        if kind in (".md", ".png"):
            check_count(len(self.rows))
        if not path.parent.is_dir():
            raise UsageError(f"there is no folder {path.parent}; make it first")
        counted = f"{len(self.rows)} channel{'s' * (len(self.rows) != 1)}"
        lines = [f"{counted}, {len(names)} columns" if kind != ".png" else f"{counted}, FZ(I), FZ(B), FZ(O) of each"]
        if kind == ".png":
            width, height = sheet_size(len(self.rows))
            lines[0] += f", {width} x {height} pixels"
        if kind in (".md", ".png") and self._without_fz:
            lines.append(f"{self._without_fz} of them have no FZ yet, which the picture says")
        files = [path.name, meta_path(path).name, *([f"{pictures_folder(path)}/"] if kind == ".md" else [])]
        written = "writes" if not path.exists() else "REPLACES"
        text = Text("\n".join(lines) + "\n", no_wrap=True, overflow="ellipsis")
        text.append(f"{written} {', '.join(files)} in {path.parent}\n")
        first = self.text(form, self.rows[: PREVIEWED - 1]).splitlines()[: PREVIEWED + 1]
        return text.append("\n".join(first), DIM)

    @cached_property
    def _without_fz(self) -> int:
        return int(np.count_nonzero(np.isnan(self.frame.columns["fz_seed"][self.rows])))

    def write(self, form: ExportForm, fzset: FZSet) -> None:
        """Raises StreamscopeError; then nothing was written."""
        path, kind, names = self.path(form), self.path(form).suffix.lower(), self.columns(form)
        meta: dict[str, Any] = table_meta(self.info, self.key, self.expression, selection=self.scope)
        write_channels(kind[1:], self.info, fzset, self.frame, self.rows, names, path, meta)
