"""What is asked about jobs: compute, more steps, another seed, stop; and whether they go on when the app is quit."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from threading import Lock
from typing import Protocol, runtime_checkable

from streamscope.core.errors import UsageError
from streamscope.core.jobs.estimate import seconds_for
from streamscope.core.jobs.plan import Request, missing_fzs, wanted_fzs
from streamscope.core.model.blocks import TENSORS, ModelInfo
from streamscope.core.model.recipe import SetKey
from streamscope.core.model.spec import ModelSpec
from streamscope.core.store import (
    ACTIVE,
    FINISHED,
    Job,
    JobSpec,
    JobState,
    Store,
    hold,
    last_words,
    move,
    queue_of,
    request_stop,
    requeue,
)
from streamscope.core.store.files.owner import this_process
from streamscope.tui.advice import worded_fault
from streamscope.tui.app.window import Opener, Window
from streamscope.tui.data.job_control import Workers
from streamscope.tui.data.store_reader import Reading, set_name
from streamscope.tui.forms.compute import ComputeForm, request_of
from streamscope.tui.screens.channels import ChannelsScreen
from streamscope.tui.screens.dialogs.base import Choice, Notice
from streamscope.tui.screens.dialogs.compute import ComputeDialog
from streamscope.tui.screens.jobs import what
from streamscope.tui.table.arrangement import Key, channels_by_block
from streamscope.tui.widgets.status import duration

KEEP, STOP = "keep", "stop"
LONG_SECONDS = 30.0
"""After which somebody may be looking elsewhere."""


@runtime_checkable
class OverTable(Protocol):
    """A screen over the table that says which channels its keys are for."""

    def marked_keys(self) -> list[Key]: ...

    def computed_keys(self) -> list[Key]: ...


def keys_to_judge(top: object, screen: ChannelsScreen) -> list[Key]:
    """The channels that a note or tags go to: those of the screen on top, else those that keys act on in the table."""
    return top.marked_keys() if isinstance(top, OverTable) else screen.table.targets


class JobsWindow(Window, Protocol):
    """A window that has the jobs and another set to show, and can be closed."""

    @property
    def jobs(self) -> Mapping[str, JobState]: ...

    def use_set(self, key: SetKey) -> None:
        """Show another set from now on, stored or still to be made."""

    def tell_end(self, message: str) -> None:
        """Tell of the end of a long job, as the settings want it told."""

    def exit(self) -> None:
        """Close the app."""


class JobActions:
    """Each opens its dialog before it returns; `spec` is the model that the app shows."""

    def __init__(self, window: JobsWindow, store: Store, spec: ModelSpec, device: str, workers: Workers) -> None:
        self._window = window
        self._store = store
        self.spec = spec
        self._device = device
        self._workers = workers

    def by_name(self) -> Mapping[str, Opener]:
        """The actions by the names that bindings use."""
        return {
            "compute": self.compute,
            "more_steps": self.more_steps,
            "another_seed": self.another_seed,
            "stop": self.stop,
        }

    def report_ends(
        self, before: Mapping[str, JobState], states: Sequence[JobState], screen: ChannelsScreen, shown: Reading | None
    ) -> None:
        """Tell of each job that was under way `before`, or that this app began, and has ended."""
        for state in states:
            was = before.get(state.job.id)
            followed = was.state not in FINISHED if was is not None else state.job in self._workers
            if not followed or state.state not in FINISHED:
                continue
            if (state.updated or time.time()) - state.job.started >= LONG_SECONDS:
                self._window.tell_end(f"{what_kind(state.job.spec)} {state.state}")
            if state.state in ("failed", "dead"):
                reason = worded_fault(state.fault) or last_words(state) or "its worker is gone"
                self._window.push(Notice(f"{what_kind(state.job.spec)} {state.state}", reason, failed=True))
            else:
                screen.say(end_message(state, shown.key, shown.info, self.spec) if shown else f"job {state.state}")

    # -- computing -----------------------------------------------------------------------------------------------------

    def compute(self, screen: ChannelsScreen, reading: Reading) -> None:
        """What is missing, of the block shown or of what the filter keeps."""
        self._ask(screen, reading, self._form(screen, reading))

    def more_steps(self, screen: ChannelsScreen, reading: Reading) -> None:
        """The chosen channels with twice the steps: FZs of a set of their own."""
        steps = str(2 * reading.key.recipe.steps)
        self._ask_chosen(screen, reading, steps=steps)

    def another_seed(self, screen: ChannelsScreen, reading: Reading) -> None:
        """The chosen channels with the first seed that no set has yet."""
        alike = [key.seed for key in reading.sets if replace(key, seed=reading.key.seed) == reading.key]
        seed = next(n for n in range(len(alike) + 2) if n not in alike and n != reading.key.seed)
        self._ask_chosen(screen, reading, seed=str(seed))

    def estimate(self, reading: Reading) -> tuple[int, float | None]:
        """How many FZs of the blocks that are computed unasked are missing, and how many seconds they take, None where
        that is not known. Looks at the disk."""
        info, store = reading.info, Store(self._store.root)
        request = Request.of(info, reading.key, info.default_blocks, TENSORS, 1)
        absent = missing_fzs(info, store.set(info, request.key), request)
        seconds = seconds_for(store, self.spec, info, request, absent, self._device)
        return sum(map(len, absent.values())), seconds

    def _form(self, screen: ChannelsScreen, reading: Reading) -> ComputeForm:
        return ComputeForm(
            blocks=screen.arrangement.block or "all",
            tensors="in,block,out",
            channels="filtered" if screen.arrangement.filter else "all",
            steps=str(reading.key.recipe.steps),
            seed=str(reading.key.seed),
            device=self._device,
        )

    def _ask_chosen(self, screen: ChannelsScreen, reading: Reading, **changes: str) -> None:
        """The form for the channels chosen in the table, or shown by the view over it."""
        top = self._window.screen
        keys = top.computed_keys() if isinstance(top, OverTable) else screen.table.targets
        form = replace(self._form(screen, reading), blocks=",".join(by_block(keys)) or "all", channels="chosen")
        self._ask(screen, reading, replace(form, **changes), keys)

    def _ask(
        self, screen: ChannelsScreen, reading: Reading, form: ComputeForm, chosen: Sequence[Key] | None = None
    ) -> None:
        words = scopes(screen, screen.table.targets if chosen is None else chosen)
        ask = partial(request_of, info=reading.info, shown=reading.key, scopes=words)

        def check(form: ComputeForm) -> str:
            request = ask(form)
            count = sum(len(channels) for channels in wanted_fzs(reading.info, request).values())
            return f"{count} FZs; stored ones are kept{_new_set(request, reading)}"

        store, one_at_a_time = Store(self._store.root), Lock()

        def count(form: ComputeForm) -> str:
            request = ask(form)
            with one_at_a_time:
                absent = missing_fzs(reading.info, store.set(reading.info, request.key), request)
                seconds = seconds_for(store, self.spec, reading.info, request, absent, form.device.strip())
            missing, wanted = (sum(map(len, fzs.values())) for fzs in (absent, wanted_fzs(reading.info, request)))
            if not missing:
                return f"nothing is missing: all {wanted} FZs are stored"
            takes = f"about {duration(seconds)}" if seconds is not None else "how long is known after the first batch"
            return f"{missing} of {wanted} FZs are missing: {takes}{_new_set(request, reading)}"

        def answered(form: ComputeForm | None) -> None:
            if form is None:
                return
            request = ask(form)
            other = request.key not in reading.sets

            def start() -> None:
                self.spec.check_computable()
                self._workers.start(Store.open(self._store.root, create=True), form.job_spec(request, self.spec))

            def started() -> None:
                waits = any(state.state == "running" for state in self._window.jobs.values())
                said = "the job waits its turn; J shows it" if waits else "the job starts; J shows it"
                # What is looked at stays in view, unless nothing of it is stored.
                stays = other and reading.stored
                self._say(f"{said}; o opens its set, {set_name(request.key)}" if stays else said)
                if not stays:
                    self._window.use_set(request.key)

            self._window.run_in_thread("Compute", start, started)

        self._window.push(ComputeDialog(f"Compute FZs of {reading.info.name}", form, check, count), answered)

    # -- jobs under way ------------------------------------------------------------------------------------------------

    def stop(self, screen: ChannelsScreen, reading: Reading) -> None:
        """One of those that are not finished."""
        going = [state for state in self._window.jobs.values() if state.state not in FINISHED]
        left = {state.job.id: state for state in going if state.job.is_own}
        if not left:
            users = ", ".join(sorted({state.job.user for state in going}))
            screen.say(f"no job of yours is running; others' are: {users}" if going else "no job is running")
            return

        def answered(name: str | None) -> None:
            if name is not None:
                self.cancel(left[name])

        options = [
            (
                name,
                f"{state.state:<9} {f'{state.done}/{state.total}' if state.total else '':>9}  {what(state, self.spec)}",
            )
            for name, state in left.items()
        ]
        self._window.push(Choice("Stop which job?", options), answered)

    def cancel(self, state: JobState) -> None:
        """For good; what it has stored stays."""
        said = "stops after the current batch" if state.state in ("running", "stopping") else "is cancelled"
        self._window.run_in_thread(
            "Stop", partial(request_stop, state.job), partial(self._say, f"job {state.job.id} {said}")
        )

    def pause(self, state: JobState) -> None:
        """Until it is resumed; a running one after what is in flight."""
        self._window.run_in_thread("Pause", partial(hold, state.job), partial(self._say, f"job {state.job.id} pauses"))

    def resume(self, state: JobState) -> None:
        """Put it back into its queue, and see that somebody works that off."""
        store = self._store

        def again() -> None:
            if state.state != "queued":
                requeue(store, state.job)
            self._workers.see_to(store, state.job)

        runs = any(other.state in ACTIVE and queue_of(other.job) == queue_of(state.job) for other in self._states())
        said = "is back in the queue" + ("; the running job goes first" if runs else "")
        self._window.run_in_thread("Resume", again, partial(self._say, f"job {state.job.id} {said}"))

    def move(self, state: JobState, by: int) -> None:
        """Earlier (`by` < 0) or later in its queue."""
        self._window.run_in_thread("Move", partial(move, self._store, state.job, by), lambda: None)

    def _states(self) -> Sequence[JobState]:
        return list(self._window.jobs.values())

    def _say(self, text: str) -> None:
        self._window.notify(text)

    # -- quitting ------------------------------------------------------------------------------------------------------

    def quit(self) -> None:
        """At once when no job depends on the answer, else ask whether they go on."""
        mine = jobs_left_running(list(self._window.jobs.values()))
        if not mine:
            self._window.exit()
            return

        def answered(choice: str | None) -> None:
            if choice == KEEP:
                self._window.exit()
            elif choice == STOP:
                self._window.run_in_thread("Stop", partial(_stop_all, [state.job for state in mine]), self._window.exit)

        one = len(mine) == 1
        count = f"{len(mine)} job{'s' * (not one)}"
        options = [
            (KEEP, f"keep   leave {count} running; open the app again to see {'it' if one else 'them'}"),
            (STOP, f"stop   {count} after the current batch; what is stored is kept"),
        ]
        self._window.push(Choice("Quit: keep the jobs running?", options, KEEP), answered)


def end_message(state: JobState, shown: SetKey, info: ModelInfo, own: ModelSpec) -> str:
    """What is said of a job that ended while the set `shown` is looked at."""
    if state.job.spec.command:
        return f"{what_kind(state.job.spec)} {state.state}{f': {state.message}' if state.message else ''}"
    said = f"job {state.state}" if state.state != "stopped" else "job stopped; what is missing can be computed later"
    if state.state != "done" or not state.job.spec.is_of(own):
        return said
    try:
        key = Request.of_job(info, state.job.spec, 1).key
    except UsageError:
        return said
    return said if key == shown or key.objective != "neuron" else f"{said}; o opens its set, {set_name(key)}"


def is_at(state: JobState, info: ModelInfo, key: SetKey) -> bool:
    """Whether a job under way optimises FZs of this set."""
    spec = state.job.spec
    if state.state not in ACTIVE or spec.command or spec.model != info.name:
        return False
    try:
        return Request.of_job(info, spec, 1).key == key
    except UsageError:
        return False


def what_kind(spec: JobSpec) -> str:
    """`nulls, 2.1: shams`, `job` of one that computes FZs."""
    return f"{spec.kind}, {spec.title}" if spec.command else "job"


def _new_set(request: Request, reading: Reading) -> str:
    return "" if request.key in reading.sets else f"; a new set: {set_name(request.key)}"


def jobs_left_running(states: Sequence[JobState]) -> list[JobState]:
    """This user's queued and running jobs of this machine that no command waits for: those put into a queue."""
    here = this_process().host
    own = [s for s in states if s.job.is_own and s.job.host == here]
    return [s for s in own if s.state in ("queued", "running") and s.place is not None]


def scopes(screen: ChannelsScreen, chosen: Sequence[Key]) -> Mapping[str, Mapping[str, Sequence[int]]]:
    """The channels that each word of the compute dialog stands for, by block."""
    marks = {mark: screen.channels_marked(mark) for mark in ("keep", "reject", "unsure")}
    table = screen.table
    top = int(table.scroll_offset.y)
    seen = table.index[top : top + max(1, table.size.height - 1)]
    visible = channels_by_block(screen.frame, seen) if screen.frame is not None else {}
    return {**marks, "marked": screen.channels_marked(), "filtered": screen.filtered} | {
        "visible": visible,
        "chosen": by_block(chosen),
    }


def by_block(keys: Sequence[Key]) -> dict[str, list[int]]:
    """Channels of each block, in the order given."""
    found: dict[str, list[int]] = {}
    for block, channel in keys:
        found.setdefault(block, []).append(channel)
    return found


def _stop_all(jobs: Sequence[Job]) -> None:
    for job in jobs:
        request_stop(job)
