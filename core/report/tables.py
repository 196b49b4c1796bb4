"""Tables of a report: written as CSV, and cited cell by cell in the pages, so that both show the same number."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from streamscope.core.export.files import csv_text, write_with_meta
from streamscope.core.table.columns import COLUMNS, Value, column, number_text
from streamscope.core.table.frame import Frame
from streamscope.core.table.numbers import shortest_decimals
from streamscope.core.text import csv_cell

Show = Literal["number", "percent"]
HEADINGS = {
    "low": "95 % from",
    "high": "to",
    "mean_below": "mean, M < 1",
    "n_below": "channels, M < 1",
    "mean_above": "mean, M ≥ 1",
    "n_above": "channels, M ≥ 1",
    "rho_p": "p of rho",
    "real_k": "really meet it",
    "real_n": "of",
    "real_share": "real share",
    "null_k": "meet it under the null",
    "null_n": "of these",
    "null_share": "share under the null",
    "null_low": "null: 95 % from",
    "null_high": "null: to",
    "real_only": "meet it only really",
    "null_only": "only under the null",
    "paired_p": "McNemar p",
    "of": "what",
    "mix_ratio": "mix ratio M",
    "scale_metric": "scale metric SM",
}
"""Of the columns whose names are no words."""


@dataclass(frozen=True)
class Field:
    """One column of a table and how its numbers are shown in a page; the CSV has them in full."""

    name: str
    help: str
    show: Show = "number"
    words: Mapping[str, str] = field(default_factory=dict)
    """What a page says for values that are names; the CSV has the names."""

    @property
    def heading(self) -> str:
        """What a page calls it; the CSV's header is its name."""
        return HEADINGS.get(self.name, self.name.replace("_", " "))


@dataclass(frozen=True)
class Cell:
    """One field as a page shows it: `text` for people, `value` as the CSV has it, `source` as `table:row:column`."""

    text: str
    value: str
    source: str


@dataclass(frozen=True)
class Table:
    """Rows of fields. `missing` says why a table has no rows, and what to do about it."""

    name: str
    title: str
    fields: tuple[Field, ...]
    rows: tuple[tuple[Value, ...], ...]
    missing: str = ""

    @property
    def columns(self) -> list[str]:
        return [described.name for described in self.fields]

    @property
    def file(self) -> str:
        return f"tables/{self.name}.csv"

    def __len__(self) -> int:
        return len(self.rows)

    def value(self, row: int, name: str) -> Value:
        return self.rows[row][self._place(name)]

    def whole_numbers(self, name: str) -> list[int]:
        """A column of whole numbers, from the rows that have one."""
        place = self._place(name)
        return [int(value) for row in self.rows if (value := row[place]) is not None]

    def cell(self, row: int, name: str) -> Cell:
        """Raises KeyError for a column that it does not have."""
        place = self._place(name)
        value = self.rows[row][place]
        described = self.fields[place]
        text = described.words.get(str(value)) or shown(value, described.show)
        return Cell(text, exact(value), f"{self.name}:{row}:{name}")

    def is_numeric(self, name: str) -> bool:
        """Whether a column has numbers in it, which are lined up to the right."""
        place = self._place(name)
        return any(isinstance(row[place], int | float) and not isinstance(row[place], bool) for row in self.rows)

    def find(self, **wanted: Value) -> int | None:
        """The first row whose fields are as wanted; None if there is none."""
        places = {self._place(name): value for name, value in wanted.items()}
        for number, row in enumerate(self.rows):
            if all(row[place] == value for place, value in places.items()):
                return number
        return None

    def of_channels(self, channels: Collection[int]) -> Table:
        """The rows of these channels, of a table that has a column of them."""
        place, wanted = self._place("channel"), set(channels)
        return replace(self, rows=tuple(row for row in self.rows if row[place] in wanted))

    def csv(self) -> str:
        return csv_text(self.columns, self.rows)

    def write(self, report: Path, meta: Mapping[str, Any]) -> None:
        """Writes the CSV and its `.meta.json` under `report`. Raises StreamscopeError."""
        path = report / self.file
        path.parent.mkdir(parents=True, exist_ok=True)
        described = {"format": "csv", "columns": self.columns, "rows": len(self), "title": self.title}
        write_with_meta(path, self.csv(), {**meta, **described})

    def _place(self, name: str) -> int:
        for place, described in enumerate(self.fields):
            if described.name == name:
                return place
        raise KeyError(f"table {self.name} has no column {name}")


def make_table(
    name: str, title: str, fields: Sequence[Field], rows: Iterable[Sequence[object]], missing: str = ""
) -> Table:
    """A table whose values are made Python's own, with None for NaN; `missing` is dropped where there are rows."""
    made = tuple(tuple(plain(value) for value in row) for row in rows)
    return Table(name, title, tuple(fields), made, "" if made else missing)


def frame_table(name: str, title: str, frame: Frame, rows: ArrayLike, columns: Sequence[str] | None = None) -> Table:
    """Rows of the channel table, with all of its columns or those named, numbers as `streamscope table` writes them."""
    names = [c.name for c in COLUMNS] if columns is None else list(columns)
    fields = tuple(Field(n, column(n).help) for n in names)
    values = tuple(tuple(row.values()) for row in frame.rows(np.asarray(rows, dtype=np.intp), names))
    return Table(name, title, fields, values)


def with_missing(table: Table, why: str) -> Table:
    """The same table; says `why` when it has no rows."""
    return table if table.rows else replace(table, missing=why)


def plain(value: object) -> Value:
    """A field as CSV and JSON have it: a Python number, None for NaN and infinity."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"no field of a table: {value!r}")


def shortest(values: ArrayLike) -> list[float | None]:
    """float32 numbers in the fewest digits that tell them apart, None for NaN: 0.1 for 0.10000000149."""
    array = np.asarray(values, dtype=np.float64)
    finite = np.isfinite(array)
    decimals = shortest_decimals(np.where(finite, array, 0))
    return [v if ok else None for v, ok in zip(decimals.tolist(), finite.tolist(), strict=True)]


def exact(value: Value) -> str:
    """As the CSV writes it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return csv_cell(value) if isinstance(value, str) else str(value)


def shown(value: Value, show: Show = "number") -> str:
    """For people; an empty field is a dash."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if show == "percent" and isinstance(value, int | float):
        return f"{100 * value:.1f} %"
    return number_text(value)
