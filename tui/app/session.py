"""Where the user was, kept per model; which model it was; and the filters written before. None of it is work."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import platformdirs

from streamscope.core.errors import FilterError, StoreError, StreamscopeError
from streamscope.core.model.blocks import ModelInfo
from streamscope.core.model.spec import ModelSpec
from streamscope.core.store.files.atomic import make_folder, read_document, write_document
from streamscope.core.table.columns import BY_NAME
from streamscope.core.table.filter import compile_filter
from streamscope.tui.table.arrangement import Arrangement, Key
from streamscope.tui.table.headings import CHOOSABLE, DEFAULT_SHOWN

HISTORY = 100
"""Filters remembered."""


def state_folder() -> Path:
    """`$STREAMSCOPE_STATE`, else the user's state folder."""
    given = os.environ.get("STREAMSCOPE_STATE")
    return Path(given).expanduser() if given else platformdirs.user_state_path("streamscope")


@dataclass(frozen=True)
class Session:
    """What the table showed, where its cursor stood and whether a mark moves on."""

    arrangement: Arrangement = field(default_factory=Arrangement)
    cursor: Key | None = None
    advance: bool = False

    def to_json(self) -> dict[str, Any]:
        a = self.arrangement
        return {
            "block": a.block,
            "filter": a.filter.expression if a.filter else None,
            "column": a.column,
            "descending": a.descending,
            "shown": list(a.shown),
            "cursor": list(self.cursor) if self.cursor else None,
            "advance": self.advance,
        }


def session_from_json(data: dict[str, Any], info: ModelInfo) -> Session:
    """What still makes sense of it for this model and this version. Raises TypeError, KeyError or ValueError for
    what was never a session."""
    blocks = {block.name for block in info.blocks}
    shown = tuple(name for name in data["shown"] if name in CHOOSABLE)
    filter_ = None
    if data["filter"] is not None:
        with suppress(FilterError):
            filter_ = compile_filter(data["filter"])
    cursor = (str(data["cursor"][0]), int(data["cursor"][1])) if data["cursor"] else None
    return Session(
        Arrangement(
            block=data["block"] if data["block"] in blocks else None,
            filter=filter_,
            column=data["column"] if data["column"] in BY_NAME else None,
            descending=bool(data["descending"]),
            shown=shown or DEFAULT_SHOWN,
        ),
        cursor,
        bool(data["advance"]),
    )


class Memory:
    """Reads and writes what is remembered, in a folder of the user's; None remembers nothing.

    `problems` has a line for each file that could not be read or written: the app goes on without it.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self.problems: list[str] = []

    def session(self, info: ModelInfo) -> Session | None:
        data = self._read(_of_model(info))
        if data is None:
            return None
        try:
            return session_from_json(data, info)
        except (TypeError, KeyError, ValueError, IndexError, AttributeError):
            self._forgotten(_of_model(info))
            return None

    def keep_session(self, info: ModelInfo, session: Session) -> None:
        self._write(_of_model(info), session.to_json())

    def model(self) -> ModelSpec | None:
        """The model that the app was opened on last, if its weights are still there."""
        data = self._read("last.json")
        try:
            spec = ModelSpec(data["model"], Path(data["weights"]) if data["weights"] else None) if data else None
            _ = spec.text if spec else None
        except (TypeError, KeyError, StreamscopeError):
            self._forgotten("last.json")
            return None
        return spec if spec is None or spec.weights is None or spec.weights.is_file() else None

    def keep_model(self, spec: ModelSpec) -> None:
        self._write(
            "last.json", {"model": spec.name, "weights": str(spec.weights.absolute()) if spec.weights else None}
        )

    def filters(self) -> list[str]:
        """Filters written before, the latest last."""
        data = self._read("filters.json") or {"filters": []}
        found = data.get("filters")
        if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
            self._forgotten("filters.json")
            return []
        return found

    def keep_filter(self, expression: str) -> list[str]:
        """Add a filter; the same one is remembered once. Two apps may write at once: what is there is read again."""
        kept = remembered(self.filters(), expression)
        self._write("filters.json", {"filters": kept})
        return kept

    def _read(self, name: str) -> dict[str, Any] | None:
        if self._folder is None:
            return None
        try:
            return read_document(self._folder / name)
        except FileNotFoundError:
            return None
        except (OSError, StoreError):
            self._forgotten(name)
            return None

    def _forgotten(self, name: str) -> None:
        assert self._folder is not None
        self.problems.append(f"{self._folder / name} is damaged or unreadable; it is ignored and written anew")

    def _write(self, name: str, data: dict[str, Any]) -> None:
        if self._folder is None:
            return
        try:
            make_folder(self._folder)
            write_document(self._folder / name, data)
        except StoreError as error:
            if str(error) not in self.problems:
                self.problems.append(str(error))


def remembered(filters: Sequence[str], expression: str) -> list[str]:
    """The latest last, each once."""
    return [*(text for text in filters if text != expression), expression][-HISTORY:]


def _of_model(info: ModelInfo) -> str:
    return f"{info.name}-{info.fingerprint[:16]}.json"


def started_with(session: Session | None, columns: tuple[str, ...], advance: bool) -> Session:
    """The session to begin with where none is remembered: as the settings say."""
    if session is not None:
        return session
    shown = tuple(name for name in columns if name in CHOOSABLE) or DEFAULT_SHOWN
    return Session(Arrangement(shown=shown), None, advance)
