"""Remembers where the user was, per model; which model it was; and the filters written before. None of it is work."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamscope.core.errors import HomeError, StoreError, StreamscopeError
from streamscope.core.model.blocks import ModelInfo
from streamscope.core.model.preprocessing import UNCHANGED, Changes
from streamscope.core.model.spec import ModelSpec
from streamscope.core.schema import MalformedError, build_known
from streamscope.core.store.files.atomic import make_folder
from streamscope.core.store.files.documents import read_document, stored_path, write_document
from streamscope.core.store.files.users import expanded, user_folder
from streamscope.core.text import file_name
from streamscope.tui.table.session import Session, session_from_json

HISTORY = 100
"""Filters remembered."""
FILE_LIMIT = 2**20
"""Bytes that a file of what is remembered may have."""


def state_folder() -> Path | None:
    """`$STREAMSCOPE_STATE`, else the user's state folder; None, which remembers nothing, where no home is known."""
    given = os.environ.get("STREAMSCOPE_STATE")
    if given:
        return expanded(given, "STREAMSCOPE_STATE")
    try:
        return user_folder("state", "STREAMSCOPE_STATE")
    except HomeError:
        return None


@dataclass(frozen=True)
class _Last:
    """`last.json`."""

    model: str
    weights: str | None
    preprocessing: Changes = UNCHANGED
    entry: str = ""
    release: str = ""
    code: str | None = None


@dataclass(frozen=True)
class _Filters:
    """`filters.json`."""

    filters: tuple[str, ...]


class Memory:
    """Reads and writes what is remembered, in a folder of the user's; None remembers nothing.

    `problems` has a line for each file that could not be read or written: the app goes on without it.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self.problems: list[str] = []

    def session(self, info: ModelInfo) -> Session | None:
        data = self._read(_session_file(info))
        if data is None:
            return None
        try:
            return session_from_json(data, info)
        except MalformedError:
            self._report_damage(_session_file(info))
            return None

    def keep_session(self, info: ModelInfo, session: Session) -> None:
        self._write(_session_file(info), session.to_json())

    def model(self) -> ModelSpec | None:
        """The model that the app was opened on last, if its weights are still there."""
        data = self._read("last.json")
        if data is None:
            return None
        try:
            last = build_known(_Last, data)
            weights = stored_path(last.weights) if last.weights else None
            code = stored_path(last.code) if last.code else None
            spec = ModelSpec(last.model, weights, last.preprocessing, last.entry, last.release, code)
            if spec.missing:
                return None
            _ = spec.text
        except (MalformedError, StreamscopeError):
            self._report_damage("last.json")
            return None
        return spec

    def keep_model(self, spec: ModelSpec) -> None:
        weights = str(spec.weights.absolute()) if spec.weights else None
        said = {"preprocessing": spec.changes.to_json(), "entry": spec.entry, "release": spec.release}
        said["code"] = str(spec.code.absolute()) if spec.code else ""
        more = {name: value for name, value in said.items() if value}
        self._write("last.json", {"model": spec.name, "weights": weights, **more})

    def filters(self) -> list[str]:
        """Filters written before, the latest last."""
        data = self._read("filters.json")
        if data is None:
            return []
        try:
            return list(build_known(_Filters, data).filters)
        except MalformedError:
            self._report_damage("filters.json")
            return []

    def keep_filter(self, expression: str) -> list[str]:
        """Add a filter; the same one is remembered once. Two apps may write at once: what is there is read again."""
        kept = with_filter(self.filters(), expression)
        self._write("filters.json", {"filters": kept})
        return kept

    def _read(self, name: str) -> dict[str, Any] | None:
        if self._folder is None:
            return None
        try:
            return read_document(self._folder / name, follow=True, limit=FILE_LIMIT)
        except FileNotFoundError:
            return None
        except (OSError, StoreError):
            self._report_damage(name)
            return None

    def _report_damage(self, name: str) -> None:
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


def with_filter(filters: Sequence[str], expression: str) -> list[str]:
    """The filters with one more, the latest last, each once."""
    return [*(text for text in filters if text != expression), expression][-HISTORY:]


def _session_file(info: ModelInfo) -> str:
    return f"{file_name(info.name)}-{info.identity[:16]}.json"
