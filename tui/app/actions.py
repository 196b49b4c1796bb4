"""What is done from the keyboard about the channels shown, beyond looking: notes, tags, undo, exports, another set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from streamscope.core.model.recipe import SetKey
from streamscope.core.store import Judgement, Store, check_tag
from streamscope.core.table.frame import Frame
from streamscope.core.text import file_name
from streamscope.tui.app.job_actions import keys_to_judge
from streamscope.tui.app.window import Opener, Window
from streamscope.tui.data.marking import Judgements, Marking, label
from streamscope.tui.data.store_reader import Reading
from streamscope.tui.forms.export import Export, ExportForm
from streamscope.tui.screens.channels import ChannelsScreen
from streamscope.tui.screens.dialogs.base import Choice, Notice, Prompt
from streamscope.tui.screens.dialogs.export import ExportDialog
from streamscope.tui.table.headings import FIXED

SCOPES = (
    ("chosen", "the channels chosen in the table"),
    ("filtered", "the channels shown, in the order shown"),
    ("marked", "every channel with a mark"),
    ("keep", "channels marked keep"),
    ("reject", "channels marked reject"),
    ("unsure", "channels marked unsure"),
)
"""What can be exported."""


class MarksWindow(Window, Protocol):
    """A window that has the judgements and another set to show."""

    @property
    def judgements(self) -> Judgements: ...

    @property
    def marks_problems(self) -> tuple[str, ...]: ...

    def judge(self, change: Callable[[Marking], str]) -> None:
        """Give a mark, a tag or a note, or take one back."""

    def use_set(self, key: SetKey) -> None:
        """Show another set from now on, stored or still to be made."""


class Actions:
    """Each opens its dialog before it returns, so that the next key goes there; disk and processes wait in threads."""

    def __init__(self, window: MarksWindow, cache: Path) -> None:
        self._window = window
        self._cache = cache
        self._last_export: tuple[str, Path] | None = None
        """What was written last, and where: the next export begins there."""

    def by_name(self) -> Mapping[str, Opener]:
        """The actions by the names that bindings use."""
        return {
            "note": self._note,
            "tags": self._tags,
            "undo": lambda *_: self._window.judge(Marking.undo),
            "redo": lambda *_: self._window.judge(Marking.redo),
            "export": self._export,
            "set": self._set,
            "problems": self._problems,
        }

    def _note(self, screen: ChannelsScreen, reading: Reading) -> None:
        keys = keys_to_judge(self._window.screen, screen)
        if not keys:
            return
        before = {self._window.judgements.get(key, Judgement()).note for key in keys}
        common = before.pop() if len(before) == 1 else ""
        end = partial(_end_selection, self._window.screen)

        def answered(text: str | None) -> None:
            if text is not None and text.strip() != common:
                self._window.judge(lambda marking: marking.note(keys, text.strip()))
                end()

        hint = "leave it empty to remove the note" if len(keys) == 1 else "every one of them gets this note"
        self._window.push(Prompt(f"Note on {label(keys)}", common, hint), answered)

    def _tags(self, screen: ChannelsScreen, reading: Reading) -> None:
        keys = keys_to_judge(self._window.screen, screen)
        if not keys:
            return
        judgements = self._window.judgements
        common = set.intersection(*(set(judgements.get(key, Judgement()).tags) for key in keys))
        known = sorted({tag for judgement in judgements.values() for tag in judgement.tags})
        shared = "; other tags of theirs stay" if len(keys) > 1 else ""
        hint = f"words, separated by spaces{shared}{'; used so far: ' + ' '.join(known) if known else ''}"
        end = partial(_end_selection, self._window.screen)

        def check(text: str) -> None:
            for tag in text.split():
                check_tag(tag)

        def answered(text: str | None) -> None:
            if text is not None and set(text.split()) != common:
                add = [tag for tag in text.split() if tag not in common]
                remove = sorted(common - set(text.split()))
                self._window.judge(lambda marking: marking.tag(keys, add, remove))
                end()

        self._window.push(Prompt(f"Tags of {label(keys)}", " ".join(sorted(common)), hint, check), answered)

    def _export(self, screen: ChannelsScreen, reading: Reading) -> None:
        frame = screen.frame
        if frame is None:
            return
        chosen = screen.table.rows_chosen
        rows = {"chosen": chosen} if len(chosen) else {}
        rows |= {"filtered": screen.table.index, "marked": screen.rows_marked()}
        rows |= {mark: screen.rows_marked(mark) for mark in ("keep", "reject", "unsure")}
        scopes = [(scope, f"{len(rows[scope]):,}  {scope}: {text}") for scope, text in SCOPES if scope in rows]
        last = self._last_export[0] if self._last_export is not None else ""
        scope = last if last in rows and last != "filtered" and "chosen" not in rows else next(iter(rows))
        exports = {name: self._export_of(screen, reading, frame, name, np.asarray(of)) for name, of in rows.items()}

        def answered(form: ExportForm | None) -> None:
            if form is None:
                return
            export = exports[form.channels]

            def write() -> None:
                export.write(form, Store.open(self._cache).set(reading.info, reading.key))

            def written() -> None:
                self._last_export = form.channels, export.path(form)
                count = len(export.rows)
                self._window.notify(f"{count:,} channel{'s' * (count != 1)} written to {export.path(form)}")

            self._window.run_in_thread("Export", write, written)

        model = file_name(reading.info.name)
        self._window.push(
            ExportDialog(
                scopes,
                scope,
                lambda name: str(self._next_export(model, name)),
                lambda form: exports[form.channels].preview(form),
                lambda form: exports[form.channels].text(form),
            ),
            answered,
        )

    def _export_of(
        self, screen: ChannelsScreen, reading: Reading, frame: Frame, scope: str, rows: np.ndarray
    ) -> Export:
        arrangement = screen.arrangement
        expression = arrangement.filter.expression if arrangement.filter and scope in ("chosen", "filtered") else None
        shown = [*(heading.name for heading in FIXED), *arrangement.shown]
        return Export(reading.info, reading.key, frame, rows, scope, expression, shown)

    def _next_export(self, model: str, scope: str) -> Path:
        """The same file for the same channels as before, as when a note is brought up to date; for others one like it,
        beside it."""
        if self._last_export is None:
            return Path.cwd() / f"{model}-{scope}.csv"
        before, path = self._last_export
        return path if before == scope else path.with_name(f"{model}-{scope}{path.suffix}")

    def _set(self, screen: ChannelsScreen, reading: Reading) -> None:
        if not reading.sets:
            screen.say("no set is stored yet; C computes one")
            return
        keys = {key.folder: key for key in reading.sets}

        def answered(folder: str | None) -> None:
            if folder is not None:
                self._window.use_set(keys[folder])

        options = [(folder, str(key)) for folder, key in keys.items()]
        self._window.push(Choice("Open which set?", options, reading.key.folder), answered)

    def _problems(self, screen: ChannelsScreen, reading: Reading) -> None:
        problems = (*reading.problems, *self._window.marks_problems)
        text = "\n".join(problems) or "nothing damaged or unreadable was met"
        self._window.push(Notice("Problems", text, failed=bool(problems)))


def _end_selection(top: object) -> None:
    """The channels chosen in the table have been judged; a view over it judges its own, and they stay chosen."""
    if isinstance(top, ChannelsScreen):
        top.table.clear_selection()
