"""What is asked of the app beyond looking: each opens a dialog, then does what was answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from core.columns import COLUMNS
from core.errors import StreamscopeError
from core.export import table_meta, write_table
from core.plan import wanted_fzs
from core.store import FINISHED, Store, check_tag, request_stop
from tui.compute_form import Form, asked, request_of
from tui.reading import Reading
from tui.screens.channels import ChannelsScreen, set_name
from tui.screens.compute import ComputeDialog
from tui.screens.dialogs import Choice, Notice, Prompt
from tui.view import Key

if TYPE_CHECKING:
    from tui.app import StreamscopeApp

EXPORTS = (
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

    def answer(self, what: str) -> None:
        """Begin what is asked for: note, tags, undo, compute, stop, export, set or problems."""
        screen, reading = self._app.channels, self._app.reading
        if screen is None or reading is None:
            return
        begin: Callable[[ChannelsScreen, Reading], None] = {
            "note": self._note,
            "tags": self._tags,
            "undo": self._undo,
            "compute": self._compute,
            "stop": self._stop,
            "export": self._export,
            "set": self._set,
            "problems": self._problems,
        }[what]
        begin(screen, reading)

    def _note(self, screen: ChannelsScreen, reading: Reading) -> None:
        key = screen.table.key
        if key is None:
            return
        before = self._app.judgement(key).note

        def answered(text: str | None) -> None:
            if text is not None and text.strip() != before:
                self._app.judge(lambda marking: marking.note(key, text.strip()))

        self._app.push_screen(Prompt(f"Note on {_named(key)}", before, "empty takes the note away"), answered)

    def _tags(self, screen: ChannelsScreen, reading: Reading) -> None:
        key = screen.table.key
        if key is None:
            return
        known = sorted({tag for judgement in self._app.judgements.values() for tag in judgement.tags})
        hint = f"words, separated by spaces{'; used so far: ' + ' '.join(known) if known else ''}"

        def check(text: str) -> None:
            for tag in text.split():
                check_tag(tag)

        def answered(text: str | None) -> None:
            if text is not None:
                self._app.judge(lambda marking: marking.tag(key, text.split()))

        before = " ".join(self._app.judgement(key).tags)
        self._app.push_screen(Prompt(f"Tags of {_named(key)}", before, hint, check), answered)

    def _undo(self, screen: ChannelsScreen, reading: Reading) -> None:
        self._app.judge(lambda marking: marking.undo())

    def _compute(self, screen: ChannelsScreen, reading: Reading) -> None:
        options = self._app.options
        scopes = {"filtered": screen.filtered, "marked": screen.channels_marked()}
        scopes |= {mark: screen.channels_marked(mark) for mark in ("keep", "reject", "unsure")}
        ask = partial(request_of, info=reading.info, capture=reading.key.capture, scopes=scopes)

        def check(form: Form) -> str:
            request = ask(form)
            count = sum(len(channels) for channels in wanted_fzs(reading.info, request).values())
            new = "" if request.key in reading.sets else f"; a new set: {set_name(request.key)}"
            return f"{count} FZs; stored ones are kept{new}"

        def answered(form: Form | None) -> None:
            if form is None:
                return
            request = ask(form)

            def start() -> None:
                self._app.job_workers.start(Store.open(options.cache, create=True), asked(request, options.spec, form))

            def started() -> None:
                screen.say("the job starts")
                self._app.use_set(request.key)

            self._do("Compute", start, started)

        form = Form(
            blocks=screen.arrangement.block or "all",
            tensors="in,block,out",
            channels="filtered" if screen.arrangement.filter else "all",
            steps=str(reading.key.recipe.steps),
            seed=str(reading.key.seed),
            device=options.device,
        )
        self._app.push_screen(ComputeDialog(f"Compute FZs of {reading.info.name}", form, check), answered)

    def _stop(self, screen: ChannelsScreen, reading: Reading) -> None:
        running = {state.job.id: state for state in self._app.jobs.values() if state.state not in FINISHED}
        if not running:
            screen.say("no job is running")
            return

        def answered(name: str | None) -> None:
            if name is not None:
                said = f"job {name} stops after what is in flight"
                self._do("Stop", partial(request_stop, running[name].job), partial(screen.say, said))

        options = [
            (name, f"{name}  {state.state}  {state.done}/{state.total}  on {state.job.host}")
            for name, state in running.items()
        ]
        self._app.push_screen(Choice("Stop which job?", options), answered)

    def _export(self, screen: ChannelsScreen, reading: Reading) -> None:
        scopes = {"filtered": screen.table.index, "marked": screen.rows_marked()}
        scopes |= {mark: screen.rows_marked(mark) for mark in ("keep", "reject", "unsure")}

        def answered(scope: str | None) -> None:
            if scope is not None:
                self._export_to(screen, reading, scope, np.asarray(scopes[scope]))

        options = [(scope, f"{len(scopes[scope]):>6}  {scope:<9} {text}") for scope, text in EXPORTS]
        self._app.push_screen(Choice("Export which channels?", options), answered)

    def _export_to(self, screen: ChannelsScreen, reading: Reading, scope: str, rows: np.ndarray) -> None:
        frame = screen.frame
        if frame is None:
            return
        expression = screen.arrangement.filter.expression if screen.arrangement.filter and scope == "filtered" else None
        meta = table_meta(reading.info, reading.key, expression, selection=scope)

        def answered(text: str | None) -> None:
            if not text or not text.strip():
                return
            path = Path(text.strip()).expanduser()
            kind = "json" if path.suffix == ".json" else "csv"
            columns = [column.name for column in COLUMNS]
            said = f"{len(rows)} channels written to {path}"
            write = partial(write_table, frame, rows, columns, kind, path, meta)
            self._do("Export", write, partial(screen.say, said))

        hint = f"{len(rows)} channels, all columns, as .csv or .json, with a .meta.json beside it"
        name = f"{reading.info.name}-{scope}.csv"
        self._app.push_screen(Prompt(f"Export {len(rows)} channels to", str(Path.cwd() / name), hint), answered)

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


def _attempt(action: Callable[[], object]) -> str | None:
    try:
        action()
    except StreamscopeError as error:
        return str(error)
    return None


def _named(key: Key) -> str:
    return f"{key[0]} · {key[1]}"
