"""What is asked of the app beyond looking: each opens a dialog, then does what was answered."""

from __future__ import annotations

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
from tui.job_control import start_job
from tui.messages import WorkFailed
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
    """Answers `ChannelsScreen.Asked`. Disk and processes are touched in threads."""

    def __init__(self, app: StreamscopeApp) -> None:
        self._app = app

    def answer(self, what: str) -> None:
        """Start the dialog that `what` names."""
        screen = self._app.channels
        if screen is None or self._app.reading is None:
            return
        flow = {
            "note": self._note,
            "tags": self._tags,
            "undo": self._undo,
            "compute": self._compute,
            "stop": self._stop,
            "export": self._export,
            "set": self._set,
            "problems": self._problems,
        }[what]
        self._app.run_worker(flow(screen), group="dialog", exclusive=True)

    async def _note(self, screen: ChannelsScreen) -> None:
        key = screen.table.key
        if key is None or self._app.marking is None:
            return
        before = self._app.judgement(key).note
        text = await self._app.push_screen_wait(Prompt(f"Note on {_named(key)}", before, "empty takes the note away"))
        if text is not None and text.strip() != before:
            self._app.marking.change(lambda marking: marking.note(key, text.strip()))

    async def _tags(self, screen: ChannelsScreen) -> None:
        key = screen.table.key
        if key is None or self._app.marking is None:
            return
        before = " ".join(self._app.judgement(key).tags)
        known = sorted({tag for judgement in self._app.judgements.values() for tag in judgement.tags})
        hint = f"words, separated by spaces{'; used so far: ' + ' '.join(known) if known else ''}"

        def check(text: str) -> None:
            for tag in text.split():
                check_tag(tag)

        text = await self._app.push_screen_wait(Prompt(f"Tags of {_named(key)}", before, hint, check))
        if text is not None:
            self._app.marking.change(lambda marking: marking.tag(key, text.split()))

    async def _undo(self, screen: ChannelsScreen) -> None:
        if self._app.marking is not None:
            self._app.marking.change(lambda marking: marking.undo())

    async def _compute(self, screen: ChannelsScreen) -> None:
        app, reading = self._app, self._app.reading
        if reading is None:
            return
        scopes = {"filtered": screen.filtered, "marked": screen.channels_marked()}
        scopes |= {mark: screen.channels_marked(mark) for mark in ("keep", "reject", "unsure")}
        capture = reading.key.capture
        ask = partial(request_of, info=reading.info, capture=capture, scopes=scopes)

        def check(form: Form) -> str:
            request = ask(form)
            count = sum(len(channels) for channels in wanted_fzs(reading.info, request).values())
            new = "" if request.key in reading.sets else f"; makes a new set, {set_name(request.key)}"
            return f"{count} FZs, of which only those not stored are computed{new}"

        form = Form(
            blocks=screen.arrangement.block or "all",
            tensors="in,block,out",
            channels="filtered" if screen.arrangement.filter else "all",
            steps=str(reading.key.recipe.steps),
            seed=str(reading.key.seed),
            device=app.options.device,
        )
        answer = await app.push_screen_wait(ComputeDialog(f"Compute FZs of {reading.info.name}", form, check))
        if answer is None:
            return

        request = ask(answer)

        def start() -> None:
            start_job(Store.open(app.options.cache, create=True), asked(request, app.options.spec, answer))

        screen.say("starting …")
        if await self._done("Compute", start):
            screen.say("the job starts")
            app.use_set(request.key)

    async def _stop(self, screen: ChannelsScreen) -> None:
        running = [state for state in self._app.jobs.values() if state.state not in FINISHED]
        if not running:
            screen.say("no job is running")
            return
        options = [
            (state.job.id, f"{state.job.id}  {state.state}  {state.done}/{state.total}  on {state.job.host}")
            for state in running
        ]
        chosen = await self._app.push_screen_wait(Choice("Stop which job?", options))
        job = next((state.job for state in running if state.job.id == chosen), None)
        if job is not None and await self._done("Stop", partial(request_stop, job)):
            screen.say(f"job {job.id} stops after what is in flight")

    async def _export(self, screen: ChannelsScreen) -> None:
        app, reading, frame = self._app, self._app.reading, screen.frame
        if reading is None or frame is None:
            return
        scopes = {"filtered": screen.table.index, "marked": screen.rows_marked()}
        scopes |= {mark: screen.rows_marked(mark) for mark in ("keep", "reject", "unsure")}
        options = [(scope, f"{len(scopes[scope]):>6}  {scope:<9} {text}") for scope, text in EXPORTS]
        scope = await app.push_screen_wait(Choice("Export which channels?", options))
        if scope is None:
            return
        rows = np.asarray(scopes[scope])
        name = f"{reading.info.name}-{scope}.csv"
        hint = f"{len(rows)} channels, all columns; .csv or .json; {name}.meta.json says what they were made from"
        path_text = await app.push_screen_wait(Prompt(f"Export {len(rows)} channels to", str(Path.cwd() / name), hint))
        if not path_text:
            return
        path = Path(path_text.strip()).expanduser()
        expression = screen.arrangement.filter.expression if screen.arrangement.filter and scope == "filtered" else None
        meta = table_meta(reading.info, reading.key, expression, selection=scope)
        kind = "json" if path.suffix == ".json" else "csv"
        columns = [column.name for column in COLUMNS]
        if await self._done("Export", partial(write_table, frame, rows, columns, kind, path, meta)):
            screen.say(f"{len(rows)} channels written to {path}")

    async def _set(self, screen: ChannelsScreen) -> None:
        reading = self._app.reading
        if reading is None:
            return
        if not reading.sets:
            screen.say("no set is stored yet; C computes one")
            return
        options = [(key.folder, f"{set_name(key):<28} {key}") for key in reading.sets]
        chosen = await self._app.push_screen_wait(Choice("Open which set?", options, reading.key.folder))
        for key in reading.sets:
            if key.folder == chosen:
                self._app.use_set(key)

    async def _problems(self, screen: ChannelsScreen) -> None:
        reading = self._app.reading
        if reading is None:
            return
        text = "\n".join(reading.problems) or "nothing damaged or unreadable was met"
        await self._app.push_screen_wait(Notice("Problems in the cache", text, failed=bool(reading.problems)))

    async def _done(self, title: str, action: Callable[[], object]) -> bool:
        """Run `action` in a thread; False when it failed, which is then shown."""
        worker = self._app.run_worker(partial(_attempt, action), thread=True, group="disk")
        error = await worker.wait()
        if error is not None:
            self._app.post_message(WorkFailed(title, error))
        return error is None


def _attempt(action: Callable[[], object]) -> str | None:
    try:
        action()
    except StreamscopeError as error:
        return str(error)
    return None


def _named(key: Key) -> str:
    return f"{key[0]} · {key[1]}"
