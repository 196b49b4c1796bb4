"""What is asked of the app beyond looking: each opens a dialog, then does what was answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from streamscope.core.errors import StreamscopeError
from streamscope.core.store import Store, check_tag
from streamscope.tui.advice import worded
from streamscope.tui.app.job_actions import JobRequests, judged_keys
from streamscope.tui.app.navigation import Views
from streamscope.tui.data.marking import named
from streamscope.tui.data.store_reader import Reading
from streamscope.tui.forms.export import Export, ExportForm
from streamscope.tui.screens.channels import ChannelsScreen
from streamscope.tui.screens.dialogs.base import Choice, Notice, Prompt
from streamscope.tui.screens.dialogs.export import ExportDialog
from streamscope.tui.table.headings import FIXED

if TYPE_CHECKING:
    from streamscope.tui.app.app import StreamscopeApp

EXPORTS = (
    ("chosen", "the channels chosen in the table"),
    ("filtered", "the channels shown, in the order shown"),
    ("marked", "every channel with a mark"),
    ("keep", "channels marked keep"),
    ("reject", "channels marked reject"),
    ("unsure", "channels marked unsure"),
)


class Requests:
    """Each opens its dialog before it returns, so that the next key goes there; disk and processes wait in threads."""

    def __init__(self, app: StreamscopeApp) -> None:
        self._app = app
        self.jobs = JobRequests(app, self._do)
        self.views = Views(app)
        self._exported: tuple[str, Path] | None = None
        """What was written last, and where: the next export begins there."""

    def answer(self, what: str) -> None:
        """Begin what is asked for; the names are those of the bindings."""
        screen, reading = self._app.channels, self._app.reading
        if screen is None or reading is None:
            return
        openers: dict[str, Callable[[ChannelsScreen, Reading], None]] = {
            **self.views.openers(),
            "note": self._note,
            "tags": self._tags,
            "undo": lambda *_: self._app.judge(lambda marking: marking.undo()),
            "redo": lambda *_: self._app.judge(lambda marking: marking.redo()),
            "compute": self.jobs.compute,
            "more_steps": self.jobs.more_steps,
            "another_seed": self.jobs.another_seed,
            "stop": self.jobs.stop,
            "export": self._export,
            "set": self._set,
            "problems": self._problems,
        }
        openers[what](screen, reading)

    def _note(self, screen: ChannelsScreen, reading: Reading) -> None:
        top = self._app.screen
        keys = judged_keys(top, screen)
        if not keys:
            return
        before = {self._app.judgement(key).note for key in keys}
        common = before.pop() if len(before) == 1 else ""

        def answered(text: str | None) -> None:
            if text is not None and text.strip() != common:
                self._app.judge(lambda marking: marking.note(keys, text.strip()))
                _let_go(top)

        hint = "empty takes the note away" if len(keys) == 1 else "every one of them gets this note"
        self._app.push_screen(Prompt(f"Note on {named(keys)}", common, hint), answered)

    def _tags(self, screen: ChannelsScreen, reading: Reading) -> None:
        top = self._app.screen
        keys = judged_keys(top, screen)
        if not keys:
            return
        common = set.intersection(*(set(self._app.judgement(key).tags) for key in keys))
        known = sorted({tag for judgement in self._app.judgements.values() for tag in judgement.tags})
        shared = "; other tags of theirs stay" if len(keys) > 1 else ""
        hint = f"words, separated by spaces{shared}{'; used so far: ' + ' '.join(known) if known else ''}"

        def check(text: str) -> None:
            for tag in text.split():
                check_tag(tag)

        def answered(text: str | None) -> None:
            if text is not None and set(text.split()) != common:
                add = [tag for tag in text.split() if tag not in common]
                remove = sorted(common - set(text.split()))
                self._app.judge(lambda marking: marking.tag(keys, add, remove))
                _let_go(top)

        self._app.push_screen(Prompt(f"Tags of {named(keys)}", " ".join(sorted(common)), hint, check), answered)

    def _export(self, screen: ChannelsScreen, reading: Reading) -> None:
        chosen = screen.table.rows_chosen
        scopes = {"chosen": chosen} if len(chosen) else {}
        scopes |= {"filtered": screen.table.index, "marked": screen.rows_marked()}
        scopes |= {mark: screen.rows_marked(mark) for mark in ("keep", "reject", "unsure")}

        def answered(scope: str | None) -> None:
            if scope is not None:
                self._export_to(screen, reading, scope, np.asarray(scopes[scope]))

        options = [(scope, f"{len(scopes[scope]):>6}  {scope:<9} {text}") for scope, text in EXPORTS if scope in scopes]
        self._app.push_screen(Choice("Export which channels?", options), answered)

    def _export_to(self, screen: ChannelsScreen, reading: Reading, scope: str, rows: np.ndarray) -> None:
        frame, arrangement = screen.frame, screen.arrangement
        if frame is None:
            return
        expression = arrangement.filter.expression if arrangement.filter and scope in ("chosen", "filtered") else None
        shown = [*(heading.name for heading in FIXED), *arrangement.shown]
        export = Export(reading, frame, rows, scope, expression, shown)

        count = f"{len(rows)} channel{'s' * (len(rows) != 1)}"

        def answered(form: ExportForm | None) -> None:
            if form is None:
                return

            def write() -> None:
                export.write(form, Store.open(self._app.options.cache).set(reading.info, reading.key))

            def written() -> None:
                self._exported = scope, export.path(form)
                self._app.notify(f"{count} written to {export.path(form)}")

            self._do("Export", write, written)

        form = ExportForm(str(self._next_export(reading.info.name, scope)))
        title = f"Export {count}: {scope}"
        self._app.push_screen(ExportDialog(title, form, export.preview, export.text), answered)

    def _next_export(self, model: str, scope: str) -> Path:
        """The same file for the same channels as before, as when a note is brought up to date; for others one like it,
        beside it."""
        if self._exported is None:
            return Path.cwd() / f"{model}-{scope}.csv"
        before, path = self._exported
        return path if before == scope else path.with_name(f"{model}-{scope}{path.suffix}")

    def _set(self, screen: ChannelsScreen, reading: Reading) -> None:
        if not reading.sets:
            screen.say("no set is stored yet; C computes one")
            return
        keys = {key.folder: key for key in reading.sets}

        def answered(folder: str | None) -> None:
            if folder is not None:
                self._app.use_set(keys[folder])

        options = [(folder, str(key)) for folder, key in keys.items()]
        self._app.push_screen(Choice("Open which set?", options, reading.key.folder), answered)

    def _problems(self, screen: ChannelsScreen, reading: Reading) -> None:
        problems = (*reading.problems, *self._app.marks_problems)
        text = "\n".join(problems) or "nothing damaged or unreadable was met"
        self._app.push_screen(Notice("Problems", text, failed=bool(problems)))

    def _do(self, title: str, action: Callable[[], object], done: Callable[[], object]) -> None:
        """Run `action` in a thread, then `done`; an error is shown."""

        async def work() -> None:
            error = await asyncio.to_thread(_attempt, action)
            if error is None:
                done()
            else:
                self._app.show_error(title, error)

        self._app.run_worker(work(), group="disk")


def _let_go(top: object) -> None:
    """The choice in the table has been judged, where no view over it said what was."""
    if isinstance(top, ChannelsScreen):
        top.table.let_go()


def _attempt(action: Callable[[], object]) -> str | None:
    try:
        action()
    except StreamscopeError as error:
        return worded(error)
    return None
