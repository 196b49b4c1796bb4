"""What the table showed, to be shown again."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from streamscope.core.errors import FilterError
from streamscope.core.model.blocks import ModelInfo
from streamscope.core.schema import build_known
from streamscope.core.table.columns import BY_NAME
from streamscope.core.table.filter import compile_filter
from streamscope.tui.table.arrangement import Arrangement, Key
from streamscope.tui.table.headings import CHOOSABLE, DEFAULT_SHOWN

PREVIEW_LEAST, PREVIEW_MOST = 20, 80
"""Percent of the screen that the preview may take."""


@dataclass(frozen=True)
class Session:
    """What the table showed, where its cursor stood and whether a mark moves on."""

    arrangement: Arrangement = field(default_factory=Arrangement)
    cursor: Key | None = None
    advance: bool = False
    preview: int | None = None
    """Percent of the screen that the preview takes; None for as much as it takes by itself."""

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
            "preview": self.preview,
        }


@dataclass(frozen=True)
class _Record:
    """A session as it is kept."""

    block: str | None
    filter: str | None
    column: str | None
    descending: bool
    shown: tuple[str, ...]
    cursor: tuple[str, int] | None
    advance: bool
    preview: int | None = None


def session_from_json(data: dict[str, Any], info: ModelInfo) -> Session:
    """What still makes sense of it for this model and this version. Raises MalformedError for what was never a
    session."""
    kept = build_known(_Record, data)
    blocks = {block.name for block in info.blocks}
    shown = tuple(name for name in kept.shown if name in CHOOSABLE)
    filter_ = None
    if kept.filter is not None:
        with suppress(FilterError):
            filter_ = compile_filter(kept.filter)
    return Session(
        Arrangement(
            block=kept.block if kept.block in blocks else None,
            filter=filter_,
            column=kept.column if kept.column in BY_NAME else None,
            descending=kept.descending,
            shown=shown or DEFAULT_SHOWN,
        ),
        kept.cursor,
        kept.advance,
        kept.preview if kept.preview is not None and PREVIEW_LEAST <= kept.preview <= PREVIEW_MOST else None,
    )


def initial_session(session: Session | None, columns: tuple[str, ...], advance: bool) -> Session:
    """The session to begin with where none is remembered: as the settings say."""
    if session is not None:
        return session
    shown = tuple(name for name in columns if name in CHOOSABLE) or DEFAULT_SHOWN
    return Session(Arrangement(shown=shown), None, advance)


def pictured_only(session: Session, info: ModelInfo) -> Session:
    """The same with a filter for channels whose FZs are there, as a bundle has them; of layers nothing is told by
    it."""
    if all(block.kind == "layer" for block in info.blocks):
        return session
    arrangement = replace(session.arrangement, filter=compile_filter("not missing(late_rise)"))
    return replace(session, arrangement=arrangement)
