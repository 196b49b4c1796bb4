"""The app: wires screens, keys, the store's reader, marks and jobs. Textual is imported here and below only."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar

from rich.console import RenderableType
from textual import events, work
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.dom import DOMNode
from textual.screen import Screen
from textual.theme import BUILTIN_THEMES

from streamscope.core.errors import StoreError, StreamscopeError
from streamscope.core.model.blocks import ModelInfo
from streamscope.core.model.descriptions import architecture
from streamscope.core.model.recipe import Capture, SetKey
from streamscope.core.model.spec import ModelSpec
from streamscope.core.store import FINISHED, JobState, JobWatch, Judgement, Marks, Store, last_words
from streamscope.core.table.frame import with_marks
from streamscope.tui.advice import worded, worded_fault
from streamscope.tui.app.actions import Requests
from streamscope.tui.app.job_actions import ended
from streamscope.tui.app.keymap import Action, actions, check_keys, sections, title
from streamscope.tui.app.messages import JobsPolled, JudgementsChanged, ModelFound, StoreRead, WorkFailed
from streamscope.tui.app.session import Memory, Session, remembered, started_with
from streamscope.tui.app.settings import Allowed, Settings, read_settings, settings_path
from streamscope.tui.app.themes import ON_DARK, ON_LIGHT, THEMES
from streamscope.tui.data.job_control import Workers, describe, room_left
from streamscope.tui.data.marking import Judged, Judgements, Marking, MarkingThread
from streamscope.tui.data.pictures import Library
from streamscope.tui.data.store_reader import Reading, StoreReader, Wanted
from streamscope.tui.screens.channels import HEIGHTS, WIDTHS, ChannelsScreen
from streamscope.tui.screens.dialogs.base import DIALOG_CSS, Notice
from streamscope.tui.screens.dialogs.keys import KeysDialog
from streamscope.tui.screens.loading import LoadingScreen
from streamscope.tui.table.arrangement import Key
from streamscope.tui.terminal.graphics import CHOICES, Graphics, detect
from streamscope.tui.terminal.input import ignore_late_replies
from streamscope.tui.terminal.painter import Painter
from streamscope.tui.widgets.filter import FilterBar

POLL_SECONDS = 1.0
TEXTUAL_COMMANDS = frozenset({"Theme", "Screenshot"})


@dataclass(frozen=True)
class AppOptions:
    """What the command line says. `steps`, `seed`, `capture` and `converged` pick a stored set, `images` a scan; None
    takes what there is."""

    spec: ModelSpec
    cache: Path
    marks: Path
    graphics: str = "auto"
    device: str = "auto"
    steps: int | None = None
    seed: int | None = None
    capture: Capture | None = None
    converged: bool | None = None
    images: Path | None = None
    debug: bool = False
    settings: Settings = field(default_factory=Settings)
    state: Path | None = None
    """Where it is remembered what was shown; None remembers nothing."""


def read_app_settings() -> Settings:
    """The user's settings, checked against what this app has. Raises UsageError that names the line."""
    allowed = Allowed(frozenset({*THEMES, *BUILTIN_THEMES}), CHOICES, check_keys)
    return read_settings(settings_path(), allowed)


def run_app(options: AppOptions) -> int:
    """Open the app; its exit code. Raises StreamscopeError for what stops it from opening."""
    store = Store.open(options.cache)
    spec_text = options.spec.text
    graphics = detect(options.graphics)
    app = StreamscopeApp(options, store, graphics, spec_text)
    ignore_late_replies()
    app.run(mouse=options.settings.mouse)
    if app.jobs_running:
        jobs = "1 job goes on" if app.jobs_running == 1 else f"{app.jobs_running} jobs go on"
        print(f"streamscope: {jobs}; open the app again to see", file=sys.stderr)
    return app.return_code or 0


class StreamscopeApp(App[None]):
    """Holds the reading, the judgements and the jobs; screens show them and ask for changes."""

    TITLE = "streamscope"
    CSS = DIALOG_CSS
    HORIZONTAL_BREAKPOINTS = WIDTHS
    VERTICAL_BREAKPOINTS = HEIGHTS
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("question_mark", "show_keys", "Keys", id="keys"),
        Binding("q", "quit", "Quit", id="quit"),
    ]

    def __init__(self, options: AppOptions, store: Store, graphics: Graphics, spec_text: str) -> None:
        super().__init__()
        self.ansi_theme_dark, self.ansi_theme_light = ON_DARK, ON_LIGHT
        self.theme = THEMES.get(options.settings.theme, options.settings.theme)
        self.set_keymap(dict(options.settings.keys))
        self.memory = Memory(options.state)
        self._kept: Session | None = None
        self.options = options
        self.store = store
        self.graphics = graphics
        self.painter = Painter(graphics, self._write_to_terminal)
        self.spec_text = spec_text
        self.info: ModelInfo | None = None
        self.reading: Reading | None = None
        self.judgements: Judgements = {}
        self.jobs: dict[str, JobState] = {}
        self.marks_problems: tuple[str, ...] = ()
        self.job_workers = Workers()
        self.requests = Requests(self)
        self.marking: MarkingThread | None = None
        self._reader: StoreReader | None = None
        self._watch = JobWatch(store)
        self._polling = False
        self._failure = ""

    @property
    def jobs_running(self) -> int:
        return sum(state.state not in FINISHED for state in self.jobs.values())

    @property
    def channels(self) -> ChannelsScreen | None:
        """The main screen, once the model is known and until the app closes, when its widgets go one by one."""
        if not self.is_running:
            return None
        return next((screen for screen in self.screen_stack if isinstance(screen, ChannelsScreen)), None)

    @property
    def _background_screens(self) -> list[Screen[object]]:
        """Textual counts what lies below a full screen as seen, and repaints all of the top whenever that changes: with
        a job under way every picture would be sent again each second (1 MB for three large Sixels)."""
        return super()._background_screens if self.screen.is_modal else []

    def on_mount(self) -> None:
        self.push_screen(LoadingScreen(f"opening {self.options.cache} …"))
        # Something stands on the screen before the store is opened, however slow its disk.
        self.call_after_refresh(self._recall)

    def exit(self, result: None = None, return_code: int = 0, message: RenderableType | None = None) -> None:
        screen = self.channels
        if screen is not None and screen.frame is not None:
            self.memory.keep_session(screen.info, screen.session)
        super().exit(result, return_code, message)

    def on_unmount(self) -> None:
        self.painter.close()
        if self.marking is not None:
            self.marking.close()

    def _write_to_terminal(self, sequence: str) -> None:
        """Through Textual's writer, so that it lands between frames and not within one."""
        if sequence and self._driver is not None:
            self._driver.write(sequence)

    # -- the model -----------------------------------------------------------------------------------------------------

    @work(thread=True, group="model")
    def _recall(self) -> None:
        info = self.store.recall(self.spec_text)
        if info is None:
            self.call_from_thread(self._describe)
            return
        try:
            # A bundled description is kept as if the weights had been read; of a stored one nothing is written.
            self.store.register(info)
            self.store.remember(self.spec_text, info.fingerprint)
        except StoreError as error:
            self.call_from_thread(self._say_stuck, error)
            return
        self._read_first(info)

    def _read_first(self, info: ModelInfo) -> None:
        """Read the store before the table is shown: it is drawn once, and not empty first. In a thread."""
        options = self.options
        wanted = Wanted(options.steps, options.seed, options.capture, options.images, options.converged)
        reader = StoreReader(options.cache, info, wanted)
        try:
            self.post_message(ModelFound(reader, reader.read()))
        except StreamscopeError as error:
            self.post_message(ModelFound(reader, None))
            self._failed_to_read(error)

    def _failed_to_read(self, error: StreamscopeError) -> None:
        """Said once, or a dialog would come back every second."""
        if str(error) != self._failure:
            self._failure = str(error)
            self.post_message(WorkFailed("Reading the cache", worded(error)))

    @work(group="model")
    async def _describe(self) -> None:
        screen = self.screen
        assert isinstance(screen, LoadingScreen)
        spec = self.options.spec
        blocks = architecture(spec.architecture).blocks
        channels = sum(block.channels for block in blocks)
        what = f"{len(blocks)} blocks of {channels:,} channels in all"
        screen.say(f"reading the weights of {spec.weights or spec.name}: {what} …")

        def downloading(done: int, total: int) -> None:
            share = f"{100 * done // total}% of {total / 1e6:.0f} MB" if total else f"{done / 1e6:.0f} MB"
            screen.say(f"downloading the weights of {spec.name}: {share}")

        try:
            fingerprint = await describe(self.options.cache, spec, downloading)
            info = Store(self.options.cache).model(fingerprint)
            if info is None:
                raise StreamscopeError(f"the model was read but is not in the cache {self.options.cache}")
        except StreamscopeError as error:
            self._say_stuck(error)
            return
        self.run_worker(partial(self._read_first, info), group="model", thread=True)

    def _say_stuck(self, error: StreamscopeError) -> None:
        """On the loading screen, where nothing else can be done."""
        assert isinstance(self.screen, LoadingScreen)
        self.screen.say(f"{worded(error)}\n\nq quits", failed=True)

    async def on_model_found(self, event: ModelFound) -> None:
        self._reader, options = event.reader, self.options
        info = self.info = event.reader.info
        self.marking = MarkingThread(partial(Marks, options.marks, info.fingerprint, info.name), self._judged)
        self._kept = started_with(self.memory.session(info), options.settings.columns, options.settings.advance)
        self.memory.keep_model(options.spec)
        screen = ChannelsScreen(info, self.painter, _short(options.cache), options.device, self._kept)
        # Until its widgets are there it can show nothing of what the first poll finds.
        with self.batch_update():
            await self.switch_screen(screen)
            if event.reading is not None:
                self.on_store_read(StoreRead(event.reading))
        self._begin(screen)
        self.set_interval(POLL_SECONDS, self._poll)

    def _begin(self, screen: ChannelsScreen) -> None:
        screen.filter_bar.history = self.memory.filters()
        for problem in self.memory.problems:
            screen.say(problem)
        self._poll()

    # -- polling -------------------------------------------------------------------------------------------------------

    def _poll(self) -> None:
        if self._polling or self._reader is None:
            return
        self._polling = True
        self._read(self._reader)
        self._remember()
        if self.marking is not None:
            self.marking.poll()

    def _remember(self) -> None:
        """Keep what is shown, where it changed: a dropped line must not lose the place."""
        screen = self.channels
        if screen is not None and screen.frame is not None and screen.session != self._kept:
            self._kept = screen.session
            self._keep(screen.info, self._kept)

    @work(thread=True, group="memory")
    def _keep(self, info: ModelInfo, session: Session) -> None:
        self.memory.keep_session(info, session)

    def on_filter_bar_filter_kept(self, event: FilterBar.FilterKept) -> None:
        screen = self.channels
        if screen is not None and event.expression not in screen.filter_bar.history[-1:]:
            screen.filter_bar.history = remembered(screen.filter_bar.history, event.expression)
            self.run_worker(partial(self.memory.keep_filter, event.expression), group="memory", thread=True)

    @work(thread=True, group="poll")
    def _read(self, reader: StoreReader) -> None:
        try:
            states = self._watch.poll()
            self.job_workers.reap(self.store, states)
            self.post_message(JobsPolled(states, room_left(self.options.cache)))
            reading = reader.read()
            if reading is not None:
                self.post_message(StoreRead(reading))
            self._failure = ""
        except StreamscopeError as error:
            self._failed_to_read(error)
        finally:
            self._polling = False

    def use_set(self, key: SetKey) -> None:
        """Show another set from now on, stored or still to be made."""
        if self._reader is not None:
            self._reader.use(key)
            self._poll()

    def on_store_read(self, event: StoreRead) -> None:
        before, self.reading = self.reading, event.reading
        screen = self.channels
        if screen is None:
            return
        if before is None or before.key != event.reading.key:
            self.painter.use(Library(self.options.cache, event.reading.info, event.reading.key, self.options.images))
        else:
            self.painter.look_again()
        screen.show_reading(event.reading, with_marks(event.reading.frame, self.judgements))
        self.requests.views.follow()

    def on_jobs_polled(self, event: JobsPolled) -> None:
        before, self.jobs = self.jobs, {state.job.id: state for state in event.jobs}
        screen = self.channels
        if screen is None:
            return
        screen.show_jobs(event.jobs)
        self.requests.views.follow_jobs(event.jobs, event.free)
        for state in event.jobs:
            was = before.get(state.job.id)
            followed = was.state not in FINISHED if was is not None else state.job in self.job_workers
            if not followed or state.state not in FINISHED:
                continue
            if state.state in ("failed", "dead"):
                self.push_screen(
                    Notice(
                        f"Job {state.job.id} {state.state}",
                        worded_fault(state.fault) or last_words(state) or "its worker is gone",
                        failed=True,
                    )
                )
            else:
                shown = self.reading
                screen.say(ended(state, shown.key, shown.info, self.options.spec) if shown else f"job {state.state}")

    def notify(self, message: str, **_: object) -> None:
        """In the status bar: a toast over a picture drawn in pixels leaves a hole in it."""
        text = message.replace("\n", " ")
        if not self.requests.views.say(text) and self.channels is not None:
            self.channels.say(text)

    def on_work_failed(self, event: WorkFailed) -> None:
        self.show_error(event.title, event.error)

    def show_error(self, title: str, error: str) -> None:
        """In a dialog; not again while it shows the same."""
        if not (isinstance(self.screen, Notice) and self.screen.text == error):
            self.push_screen(Notice(title, error, failed=True))

    # -- judgements ----------------------------------------------------------------------------------------------------

    def judgement(self, key: Key) -> Judgement:
        """What is said of a channel."""
        return self.judgements.get(key, Judgement())

    def _judged(self, judged: Judged) -> None:
        self.post_message(JudgementsChanged(judged))

    def on_judgements_changed(self, event: JudgementsChanged) -> None:
        judged = event.judged
        if judged.failed:
            self.show_error("Marks", judged.said)
            return
        self.judgements, self.marks_problems = judged.judgements, judged.problems
        screen = self.channels
        if screen is None:
            return
        if judged.said:
            self.notify(judged.said)
        if self.reading is not None:
            screen.show_frame(with_marks(self.reading.frame, self.judgements), len(self.marks_problems))
            self.requests.views.follow()

    def judge(self, change: Callable[[Marking], str]) -> None:
        """Give a mark, a tag or a note, or take one back."""
        if self.marking is not None:
            self.marking.change(change)

    def on_channels_screen_mark_given(self, event: ChannelsScreen.MarkGiven) -> None:
        self.judge(lambda marking: marking.mark(event.keys, event.mark))

    # -- keys ----------------------------------------------------------------------------------------------------------

    async def action_quit(self) -> None:
        self.requests.jobs.quit()

    def action_help_quit(self) -> None:
        """Ctrl-C ends other programs, so it says what ends this one."""
        quit = next(action for action in actions(self.options.settings.keys) if action.id == "quit")
        self.notify(f"{quit.shown} quits")

    def action_ask(self, what: str) -> None:
        self.requests.answer(what)

    def on_key(self, event: events.Key) -> None:
        """Keys typed before a dialog or the filter line had opened come back from where the focus was: on a slow line
        several arrive at once. They are text for what is open now, and no commands."""
        target = self.screen.focused or self.screen
        if event.is_printable and target.check_consume_key(event.key, event.character):
            event.prevent_default()
            target.post_message(events.Key(event.key, event.character))

    def action_show_keys(self) -> None:
        nodes = (self.screen, *self.screen.query("*"))
        here = {title(cls.__name__) for node in nodes for cls in type(node).__mro__}
        found = sections(self.options.settings.keys)
        self.push_screen(KeysDialog(sorted(found, key=lambda part: part[0] not in here)))

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        yield from (command for command in super().get_system_commands(screen) if command.title in TEXTUAL_COMMANDS)
        bound: dict[str, list[tuple[str, DOMNode]]] = {}
        for key, (node, binding, enabled, _) in screen.active_bindings.items():
            if enabled and binding.id and binding.description:
                bound.setdefault(binding.id, []).append((key, node))
        for action in actions(self.options.settings.keys):
            if action.id in bound:
                node = bound[action.id][0][1]
                yield SystemCommand(action.description, f"key {action.shown}", partial(self._act, action, node))

    async def _act(self, action: Action, node: DOMNode) -> None:
        """What the key of an action does, whatever has the focus."""
        await self.run_action(action.does, node)


def _short(path: Path) -> str:
    """A path with the home folder as ~."""
    try:
        return f"~/{path.absolute().relative_to(Path.home())}"
    except (ValueError, RuntimeError):
        return str(path)
