"""The jobs screen: every job of the store, whoever started it, how it is doing, and what can be done about it."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from typing import ClassVar, Protocol

from rich.style import Style
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from streamscope.core.model.blocks import format_channels
from streamscope.core.model.spec import ModelSpec
from streamscope.core.store import ACTIVE, FINISHED, JobSpec, JobState, in_turn, last_words, printed
from streamscope.core.store.jobs.spec import NO_DEVICE
from streamscope.core.text import visible_lines
from streamscope.tui.table.headings import DIM
from streamscope.tui.widgets.keys_footer import KeysFooter
from streamscope.tui.widgets.status import MessageLine, bar, duration

BAR = 10
KIND = Style(bold=True)
STATE_STYLES = {
    "running": Style(color="green", bold=True),
    "stopping": Style(color="yellow"),
    "queued": Style(color="cyan"),
    "paused": Style(color="yellow"),
    "failed": Style(color="red", bold=True),
    "dead": Style(color="red", bold=True),
}
NOTHING = "No job yet. C queues one for the channels marked, filtered, visible or chosen, a block or everything."


class JobControls(Protocol):
    """What the keys do to a job, and the model that the app shows."""

    spec: ModelSpec

    def pause(self, state: JobState) -> None: ...

    def resume(self, state: JobState) -> None: ...

    def cancel(self, state: JobState) -> None: ...

    def move(self, state: JobState, by: int) -> None: ...


class JobsScreen(Screen[None]):
    """Lists what runs, then what waits in its order, then what ended, latest first."""

    CSS = """
    JobsScreen { layout: vertical; }
    JobsScreen #where { height: 1; background: $panel; padding: 0 1; }
    JobsScreen OptionList {
        height: 1fr; min-height: 4; border: none; padding: 0; background: $surface;
        text-wrap: nowrap; text-overflow: ellipsis; scrollbar-size-vertical: 1;
    }
    JobsScreen OptionList > .option-list--option { padding: 0 1; }
    JobsScreen #detail { height: 11; border-top: solid $primary 40%; padding: 0 1; background: $surface; }
    JobsScreen.-taller #detail { height: 18; }
    JobsScreen #message { height: 1; background: $panel; padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "cursor(1)", "Next job", show=False, id="jobs.down"),
        Binding("k", "cursor(-1)", "Previous job", show=False, id="jobs.up"),
        Binding("space,p", "pause", "Pause, resume", id="jobs.pause"),
        Binding("X,delete", "cancel", "Cancel", id="jobs.cancel"),
        Binding("less_than_sign", "move(-1)", "Earlier", id="jobs.earlier"),
        Binding("greater_than_sign", "move(1)", "Later", id="jobs.later"),
        Binding("C", "app.ask('compute')", "Compute", id="jobs.compute"),
        Binding("escape,q", "leave", "Back", id="jobs.leave"),
    ]

    def __init__(self, controls: JobControls, states: Sequence[JobState], free: int | None, cache: str) -> None:
        super().__init__()
        self._controls = controls
        self._states = list(states)
        self._free = free
        self._cache = cache

    def compose(self) -> ComposeResult:
        yield Static(id="where")
        yield OptionList(id="jobs")
        with VerticalScroll(id="detail", can_focus=False):
            yield Static(id="text")
        yield MessageLine(id="message")
        yield KeysFooter()

    def on_mount(self) -> None:
        self.show_jobs(self._states, self._free)

    @property
    def highlighted(self) -> JobState | None:
        """The job under the cursor."""
        option = self.query_one(OptionList).highlighted_option
        return next((state for state in self._states if option and state.job.id == option.id), None)

    def show_jobs(self, states: Sequence[JobState], free: int | None) -> None:
        """Show them as they are now; the cursor stays on its job."""
        self._states, self._free = in_order(states), free
        listed = self.query_one(OptionList)
        wanted = [(state.job.id, line(state, self.size.width - 2, self._controls.spec)) for state in self._states]
        if [option.id for option in listed.options] != [name for name, _ in wanted]:
            here = listed.highlighted_option.id if listed.highlighted_option else None
            listed.clear_options()
            listed.add_options([Option(text, id=name) for name, text in wanted])
            names = [name for name, _ in wanted]
            if names:
                listed.highlighted = names.index(here) if here in names else 0
        else:
            for name, text in wanted:
                if listed.get_option(name).prompt != text:
                    listed.replace_option_prompt(name, text)
        running = sum(state.state in ACTIVE for state in states)
        waiting = sum(state.state == "queued" for state in states)
        room = f"{free / 1e9:.1f} GB free on {self._cache}" if free is not None else self._cache
        self.query_one("#where", Static).update(
            Text(f"Jobs: {running} running, {waiting} waiting   {room}", no_wrap=True, overflow="ellipsis")
        )
        self._detail()

    def say(self, text: str) -> None:
        """Put a line at the bottom."""
        self.query_one("#message", MessageLine).say(text)

    def on_option_list_option_highlighted(self) -> None:
        self._detail()

    def on_resize(self) -> None:
        self.show_jobs(self._states, self._free)

    def _detail(self) -> None:
        state = self.highlighted
        self.query_one("#text", Static).update(detail(state) if state is not None else Text(NOTHING, style=DIM))

    def action_cursor(self, by: int) -> None:
        listed = self.query_one(OptionList)
        listed.action_cursor_down() if by > 0 else listed.action_cursor_up()

    def action_pause(self) -> None:
        state = self.highlighted
        if state is None:
            return
        if state.state == "running" or (state.state == "queued" and not self._is_stranded(state)):
            self._controls.pause(state)
        elif state.state == "stopping":
            self.say("it is stopping; wait until its worker has left it")
        elif state.state == "done":
            self.say("it is done; C queues another")
        else:
            self._controls.resume(state)

    def _is_stranded(self, state: JobState) -> bool:
        """A queued job while nothing runs: its worker was lost, so it is to be resumed rather than paused."""
        return state.state == "queued" and not any(other.state in ACTIVE for other in self._states)

    def action_cancel(self) -> None:
        state = self.highlighted
        if state is not None and state.state not in FINISHED:
            self._controls.cancel(state)

    def action_move(self, by: int) -> None:
        state = self.highlighted
        if state is not None and state.state == "queued":
            self._controls.move(state, by)
        else:
            self.say("only a job that waits has a place to change")

    def action_leave(self) -> None:
        self.dismiss()


def in_order(states: Sequence[JobState]) -> list[JobState]:
    """What runs first, then what waits in its turn, what is paused, and what ended, latest first."""
    ended = sorted((s for s in states if s.state in FINISHED), key=lambda s: s.updated or s.job.started, reverse=True)
    return [
        *(state for state in states if state.state in ACTIVE),
        *in_turn(state for state in states if state.state == "queued"),
        *in_turn(state for state in states if state.state == "paused"),
        *ended,
    ]


def line(state: JobState, width: int, own: ModelSpec) -> Text:
    """One job in a line: its state, how far, the rate, how long still, and what of; `own` is the model of the app."""
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"{state.state:<9}", STATE_STYLES.get(state.state, DIM))
    text.append(f"{state.job.spec.kind:<12}", KIND)
    text.append_text(bar(state, BAR))
    text.append(f" {f'{state.done}/{state.total}' if state.total else '':>11}")
    if state.state in ACTIVE:
        text.append(f" {rate(state):>14} {f'{duration(state.eta)} left' if state.eta is not None else '':>15}")
    text.append(f"  {what(state, own)}")
    text.truncate(width, overflow="ellipsis")
    return text


def rate(state: JobState) -> str:
    """`1,234 steps/s`."""
    if not state.rate:
        return ""
    unit = "steps" if state.unit == "image-steps" else state.unit
    return f"{state.rate:,.0f} {unit}/s" if state.rate >= 10 else f"{state.rate:.2g} {unit}/s"


def memory(state: JobState) -> str:
    """`2.10 GB of the worker   cuda:0 11.9 of 85.0 GB`: its own, then what is in use of its devices, by whomever."""
    own = [f"{state.memory / 1e9:.2f} GB of the worker"] if state.memory is not None else []
    devices = [
        f"{name} {used / 1e9:.1f} of {total / 1e9:.1f} GB" for name, (used, total) in state.device_memory.items()
    ]
    return "   ".join([*own, *devices])


def what(state: JobState, own: ModelSpec) -> str:
    """The blocks, channels, steps and seed of a job, and its model where it is not `own`."""
    spec = state.job.spec
    model = "" if spec.is_of(own) else f"{model_name(spec)}  "
    if spec.command:
        return f"{model}{spec.title}  {place_of(state)}{_whose(state)}"
    blocks = " ".join(spec.blocks) or "all blocks"
    some = sum(map(len, spec.channels.values()))
    picked = f", {some} channel{'s' * (some != 1)}" if some else ""
    recipe = f"  {spec.steps} steps" if spec.steps else ""
    seed = f" seed {spec.seed}" if spec.seed else ""
    return f"{model}{blocks}{picked}{recipe}{seed}  {place_of(state)}{_whose(state)}"


def _whose(state: JobState) -> str:
    return "" if state.job.is_own else f", {state.job.user}'s"


def place_of(state: JobState) -> str:
    """What a job computes on, and where that is."""
    cluster = state.job.spec.scheduler
    if cluster:
        return f"cluster of {cluster}"
    return state.job.host if state.device == NO_DEVICE else f"{state.device} on {state.job.host}"


def model_name(spec: JobSpec) -> str:
    """A job's model, with the file of its weights where they are not the usual ones."""
    said = " ".join(spec.preprocessing.words()).replace("--", "")
    words = [spec.weights.name if spec.weights is not None else "", spec.entry, spec.release, said]
    weights = "".join(f" {word}" for word in words if word)
    return f"{spec.model or 'unknown model'}{weights}"


def detail(state: JobState) -> Text:
    """All that is known of a job."""
    spec = state.job.spec
    rows: list[tuple[str, str]] = [("job", f"{state.job.id}  {state.state}")]
    if state.message:
        rows.append(("says", state.message))
    elif state.state in ("failed", "dead"):
        rows.append(("says", last_words(state) or "its worker is gone"))
    if state.state in ACTIVE:
        left = f", {duration(state.eta)} left" if state.eta is not None else ""
        rows.append(("rate", f"{rate(state) or 'not known yet'}{left}"))
    worker = f"   process {state.worker.pid}" if state.worker is not None and state.state in ACTIVE else ""
    rows.append(("device", f"{place_of(state)}{worker}"))
    if not state.job.is_own:
        one = state.job.uid is not None
        whose = f"{state.job.user}; only they can start, stop or move it" if one else "not one user's: nobody starts it"
        rows.append(("user", whose))
    if state.state in ACTIVE and (used := memory(state)):
        rows.append(("memory", used))
    rows.append(("model", model_name(spec)))
    rows += _command_rows(state) if spec.command else _fz_rows(state)
    rows.append(("asked", time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(state.job.started))))
    if state.updated is not None:
        rows.append(("updated", time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(state.updated))))
    text = Text()
    for label, value in rows:
        text.append(f"{label:<9}", DIM).append(f"{visible_lines(value)}\n")
    if output := printed(state):
        text.append("\n").append(visible_lines(output))
    return text


def _fz_rows(state: JobState) -> list[tuple[str, str]]:
    spec = state.job.spec
    rows = [("FZs", f"{state.done} of {state.total}" if state.total else "not counted yet")]
    rows.append(("tensors", " ".join(spec.tensors) or "all"))
    for block in spec.blocks:
        channels = spec.channels.get(block)
        rows.append((f"  {block}", format_channels(channels) if channels else "all channels"))
    rows.append(("recipe", f"{spec.steps or ''} steps, seed {spec.seed}, {spec.capture}"))
    return rows


def _command_rows(state: JobState) -> list[tuple[str, str]]:
    spec = state.job.spec
    rows = [(spec.kind, spec.title)]
    if state.total:
        rows.append(("done", f"{state.done} of {state.total}{f' {state.unit}' if state.unit else ''}"))
    rows.append(("command", shlex.join(("streamscope", *spec.command))))
    return rows
