"""The app: wires screens, keys, the store's reader, marks and jobs. Textual is imported here and below only."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import ClassVar

from rich.color import ColorSystem
from rich.console import RenderableType
from rich.text import Text
from textual import events, work
from textual._compositor import ChopsUpdate, LayoutUpdate
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.dom import DOMNode
from textual.filter import LineFilter
from textual.screen import Screen
from textual.theme import BUILTIN_THEMES

from streamscope.core.errors import StreamscopeError
from streamscope.core.model.blocks import ModelInfo
from streamscope.core.model.recipe import SetKey
from streamscope.core.store import FINISHED, JobState, JobWatch, Judgement, Store, stored_text
from streamscope.core.store.jobs.growing import growing_stamp
from streamscope.core.store.layout import JobFolder
from streamscope.core.table.frame import with_marks
from streamscope.core.text import visible
from streamscope.tui.advice import worded
from streamscope.tui.app.actions import Actions
from streamscope.tui.app.job_actions import JobActions, is_at
from streamscope.tui.app.keymap import LEGEND, Action, actions, check_keys, key_of, sections_from
from streamscope.tui.app.measure_actions import MeasureActions
from streamscope.tui.app.memory import Memory, with_filter
from streamscope.tui.app.messages import JobsPolled, JudgementsChanged, StoreRead
from streamscope.tui.app.navigation import Navigation
from streamscope.tui.app.options import AppOptions
from streamscope.tui.app.settings import Allowed, Settings, read_settings, settings_path
from streamscope.tui.app.themes import ON_DARK, ON_LIGHT, THEMES
from streamscope.tui.app.window import Answer
from streamscope.tui.data.job_control import Workers, room_left
from streamscope.tui.data.marking import Judgements, JudgementsUpdate, Marking, MarkingThread, open_marks
from streamscope.tui.data.pictures import PictureLibrary
from streamscope.tui.data.store_reader import Reading, StoreReader
from streamscope.tui.forms.command_jobs import CommandJobs
from streamscope.tui.screens.channels import HEIGHTS, WIDTHS, ChannelsScreen
from streamscope.tui.screens.dialogs.base import DIALOG_CSS, Notice
from streamscope.tui.screens.dialogs.keys import KeysDialog
from streamscope.tui.screens.loading import LoadingScreen
from streamscope.tui.screens.messages import WorkFailed
from streamscope.tui.table.arrangement import Key
from streamscope.tui.table.session import Session, initial_session, pictured_only
from streamscope.tui.terminal.controls import VisibleControls
from streamscope.tui.terminal.detection import CHOICES, Graphics, detect
from streamscope.tui.terminal.driver import use_terminal
from streamscope.tui.terminal.link import Link
from streamscope.tui.terminal.tmux import through_tmux
from streamscope.tui.terminal.wire import QUICK, QUICK_TEXT, SLOW, SLOW_TEXT, Wire
from streamscope.tui.widgets.filter import FilterBar
from streamscope.tui.widgets.first_steps import card
from streamscope.tui.widgets.painter import Painter

POLL_SECONDS = 1.0
TEXTUAL_COMMANDS = frozenset({"Theme", "Screenshot"})
READING = "Reading the cache"


def read_app_settings() -> Settings:
    """The user's settings, checked against what this app has. Raises UsageError that names the line."""
    allowed = Allowed(frozenset({*THEMES, *BUILTIN_THEMES}), CHOICES, check_keys)
    return read_settings(settings_path(), allowed)


def run_app(options: AppOptions) -> int:
    """Open the app; its exit code. Raises StreamscopeError for what stops it from opening."""
    store = Store.open(options.cache)
    spec_text = stored_text(store, options.spec)
    graphics = detect(options.graphics)
    app = StreamscopeApp(options, store, graphics, spec_text)
    use_terminal(app)
    app.run(mouse=options.settings.mouse)
    if app.jobs_running:
        several = app.jobs_running > 1
        jobs = f"{app.jobs_running} jobs are still running" if several else "1 job is still running"
        print(f"streamscope: {jobs}; open the app again to see {'them' if several else 'it'}", file=sys.stderr)
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
        Binding("m", "ask('make')", "Make: everything that can be computed or written", show=False, id="make"),
        Binding("D", "ask('decide')", "Decide: more seeds where the verdict is undecided", show=False, id="decide"),
        Binding("N", "ask('nulls')", "Compute nulls", show=False, id="nulls"),
        Binding("T", "ask('curves')", "Compute tuning curves", show=False, id="curves"),
        Binding("M", "ask('scan')", "Scan a folder of images, for MEIs", show=False, id="scan"),
        Binding("P", "ask('photographs')", "Measure scale invariance in photographs", show=False, id="photographs"),
        Binding("K", "ask('ablate')", "Ablate channels", show=False, id="ablate"),
        Binding("R", "ask('report')", "Write a report", show=False, id="report"),
        Binding("B", "ask('bundle')", "Bundle channels in one file, to hand them on", show=False, id="bundle"),
        Binding("ctrl+z", "suspend_process", "Suspend; fg in the shell continues", show=False, id="suspend"),
    ]

    def __init__(
        self, options: AppOptions, store: Store, graphics: Graphics, spec_text: str, workers: Workers | None = None
    ) -> None:
        super().__init__()
        self.ansi_theme_dark, self.ansi_theme_light = ON_DARK, ON_LIGHT
        self.theme = THEMES.get(options.settings.theme, options.settings.theme)
        self.set_keymap(dict(options.settings.keys))
        self.memory = Memory(options.state)
        self._remembered: Session | None = None
        self.options = options
        self.store = store
        self.graphics = graphics
        self.wire = Wire(
            Link(asks=graphics.status != ""),
            self._write_to_terminal,
            self._pump_later,
            self._tell_line,
            graphics.status,
            bounds=(SLOW, QUICK) if graphics.mode in ("sixel", "kitty") else (SLOW_TEXT, QUICK_TEXT),
        )
        self.painter = Painter(graphics, lambda: self.wire.is_slow, self.pump_from_thread)
        self._pump_timer: asyncio.TimerHandle | None = None
        self._visible_controls = VisibleControls()
        self.spec_text = spec_text
        self.info: ModelInfo | None = None
        self.reading: Reading | None = None
        self.judgements: Judgements = {}
        self.jobs: dict[str, JobState] = {}
        self.marks_problems: tuple[str, ...] = ()
        self.job_workers = workers or Workers()
        self._job_actions = JobActions(self, store, options.spec, options.device, self.job_workers)
        self._navigation = Navigation(self, options.cache, options.images, self._job_actions)
        made = CommandJobs(options.spec, options.device, options.images)
        starting = {
            **self._job_actions.by_name(),
            **MeasureActions(self, store, made, self.job_workers).by_name(),
        }
        self._refused = starting.keys() - {"make"} if options.bundle is not None else frozenset()
        """What would start jobs where there can be none."""
        self._openers = {
            **self._navigation.by_name(),
            **starting,
            **Actions(self, options.cache).by_name(),
        }
        self.marking: MarkingThread | None = None
        self._reader: StoreReader | None = None
        self._watch = JobWatch(store)
        self._polling = False
        self._failure = ""
        self._library: PictureLibrary | None = None
        self._growing: tuple[object, ...] = ()
        """The jobs whose FZs are seen growing, and the stamp of what they showed last."""

    def get_line_filters(self) -> Sequence[LineFilter]:
        return [*super().get_line_filters(), self._visible_controls]

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
        # Whoever started the app may have put off collecting until something is painted.
        self.call_after_refresh(gc.enable)
        self.app_resume_signal.subscribe(self, self._repaint)
        options = self.options
        self.push_screen(
            LoadingScreen(options.cache, options.cache_label, options.spec, self.spec_text, options.set_choice)
        )

    def _repaint(self, _: App[object]) -> None:
        """After a shell had the terminal nothing of what was drawn is there any more."""
        self.refresh(layout=True)

    def exit(self, result: None = None, return_code: int = 0, message: RenderableType | None = None) -> None:
        screen = self.channels
        if screen is not None and screen.frame is not None:
            self.memory.keep_session(screen.info, screen.session)
        super().exit(result, return_code, message)

    def on_unmount(self) -> None:
        self.painter.close()
        if self.marking is not None:
            self.marking.close()

    # -- the line to the terminal --------------------------------------------------------------------------------------

    def _display(self, screen: Screen[object], renderable: RenderableType | None) -> None:
        """Textual would write each frame whole and at once, however slow the line is."""
        silent = self._batch_count or self.is_headless or not self._running or self._closed
        if silent or not isinstance(renderable, (LayoutUpdate, ChopsUpdate)):
            super()._display(screen, renderable)
            return
        self.wire.synchronised = self._sync_available
        cursor = self.screen.outer_size.clamp_offset(self.cursor_position)
        colours = self.console._color_system or ColorSystem.TRUECOLOR
        # Of what was drawn: the app may know of a change of its size that the screen has not followed yet.
        size = screen._compositor.size
        self.wire.show(renderable, (size.width, size.height), (cursor.x, cursor.y), colours)
        self.post_display_hook()

    def _write_to_terminal(self, sequence: str) -> None:
        """Through Textual's writer, so that it lands between what it writes by itself and not within."""
        if self._driver is not None:
            self._driver.write(sequence)
            self._driver.flush()

    def _pump(self) -> None:
        try:
            self.wire.pump()
        except Exception as error:
            # The loop would only log it, and the screen stand still.
            self._handle_exception(error)

    def _pump_later(self, seconds: float) -> None:
        """Not later than was said before."""
        loop = asyncio.get_running_loop()
        if self._pump_timer is not None and not self._pump_timer.cancelled():
            if loop.time() < self._pump_timer.when() <= loop.time() + seconds:
                return
            self._pump_timer.cancel()
        self._pump_timer = loop.call_later(seconds, self._pump)

    def pump_from_thread(self) -> None:
        """Something has changed that may be sent now: the terminal has answered, or a picture is drawn better."""
        loop = self._loop
        with suppress(RuntimeError):
            # The loop is closed when the app has ended.
            if loop is not None:
                loop.call_soon_threadsafe(self._pump)

    def on_resize(self) -> None:
        """What a terminal does with its cells when its size changes is its own affair; it may have changed there and
        back since Textual looked."""
        self.wire.forget_screen()
        self.call_after_refresh(self._pump)

    def _tell_line(self) -> None:
        self.painter.follow_line()
        screen = self.channels
        if screen is not None:
            screen.show_line("slow line: pictures held back" if self.wire.holds_back else "")

    # -- the model -----------------------------------------------------------------------------------------------------

    async def on_loading_screen_model_found(self, event: LoadingScreen.ModelFound) -> None:
        self._reader, self._failure, options = event.reader, event.failure, self.options
        info = self.info = event.reader.info
        self.marking = MarkingThread(
            partial(open_marks, options.marks, info, self.store.given_marks), self._update_judgements
        )
        remembered = self.memory.session(info)
        session = initial_session(remembered, options.settings.columns, options.settings.advance)
        if options.bundle is not None and remembered is None:
            session = pictured_only(session, info)
        self._remembered = session
        self.memory.keep_model(options.spec)
        device = options.device if options.bundle is None else "read only"
        screen = ChannelsScreen(info, self.painter, options.cache_label, device, session)
        # Until its widgets are there it can show nothing of what the first poll finds.
        with self.batch_update():
            await self.switch_screen(screen)
            if event.reading is not None:
                self.on_store_read(StoreRead(event.reading))
        screen.filter_bar.history = self.memory.filters()
        for problem in self.memory.problems:
            screen.say(problem)
        for remark in event.remarks:
            screen.say(remark)
        if options.marks is None:
            screen.say("marks are not kept: no place for them is known", failed=True)
        if event.failure:
            self.show_error(READING, event.failure)
        self._poll()
        self.set_interval(POLL_SECONDS, self._poll)

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
        if screen is not None and screen.frame is not None and screen.session != self._remembered:
            self._remembered = screen.session
            self._keep(screen.info, self._remembered)

    @work(thread=True, group="memory")
    def _keep(self, info: ModelInfo, session: Session) -> None:
        self.memory.keep_session(info, session)

    def on_filter_bar_filter_kept(self, event: FilterBar.FilterKept) -> None:
        screen = self.channels
        if screen is not None and event.expression not in screen.filter_bar.history[-1:]:
            screen.filter_bar.history = with_filter(screen.filter_bar.history, event.expression)
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
            # Said once, or a dialog would come back every second.
            if worded(error) != self._failure:
                self._failure = worded(error)
                self.post_message(WorkFailed(READING, self._failure))
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
            library = PictureLibrary(self.options.cache, event.reading.info, event.reading.key, self.options.images)
            self._library = library
            self._growing = ()
            self.painter.use(library)
        else:
            self.painter.refresh()
        screen.show_reading(event.reading, with_marks(event.reading.frame, self.judgements))
        self._show_first_steps()
        self._navigation.follow()

    def _show_first_steps(self) -> None:
        reading = self.reading
        if reading is not None and not reading.stored:
            self._estimate(reading, any(state.state not in FINISHED for state in self.jobs.values()))

    @work(thread=True, exclusive=True, group="first steps")
    def _estimate(self, reading: Reading, is_computing: bool) -> None:
        count, seconds = self._job_actions.estimate(reading)
        text = card(reading, self.key_of, count, seconds, is_computing)
        self.call_from_thread(self._first_steps_known, reading, text)

    def _first_steps_known(self, reading: Reading, text: Text) -> None:
        screen = self.channels
        if screen is not None and self.reading is reading:
            screen.show_first_steps(text)

    def on_jobs_polled(self, event: JobsPolled) -> None:
        # What a command has others do is said by the job that the command is.
        states = [state for state in event.jobs if not state.job.spec.part_of]
        before, self.jobs = self.jobs, {state.job.id: state for state in states}
        screen = self.channels
        if screen is None:
            return
        self._follow_growing(states)
        screen.show_jobs(states)
        if {name: state.state for name, state in before.items()} != {s.job.id: s.state for s in states}:
            self._show_first_steps()
        self._navigation.follow_jobs(states, event.free)
        self._job_actions.report_ends(before, states, screen, self.reading)

    def _follow_growing(self, states: Sequence[JobState]) -> None:
        """Show FZs as far as the jobs at the set that is shown have come."""
        reading, library = self.reading, self._library
        if reading is None or library is None:
            return
        jobs = [JobFolder(state.job.folder) for state in states if is_at(state, reading.info, reading.key)]
        now = (*jobs, growing_stamp(jobs)) if jobs else ()
        if now != self._growing:
            self._growing = now
            library.follow(jobs)
            self.painter.refresh()

    # -- judgements ----------------------------------------------------------------------------------------------------

    def judgement(self, key: Key) -> Judgement:
        """The mark, tags and note of a channel."""
        return self.judgements.get(key, Judgement())

    def judge(self, change: Callable[[Marking], str]) -> None:
        """Give a mark, a tag or a note, or take one back."""
        if self.marking is not None:
            self.marking.change(change)

    def _update_judgements(self, update: JudgementsUpdate) -> None:
        self.post_message(JudgementsChanged(update))

    def on_judgements_changed(self, event: JudgementsChanged) -> None:
        update = event.update
        if update.failed:
            self.show_error("Marks", update.message)
            return
        self.judgements, self.marks_problems = update.judgements, update.problems
        screen = self.channels
        if screen is None:
            return
        if update.message:
            self.notify(update.message)
        if self.reading is not None:
            screen.show_frame(with_marks(self.reading.frame, self.judgements), len(self.marks_problems))
            self._navigation.follow()

    def on_channels_screen_mark_given(self, event: ChannelsScreen.MarkGiven) -> None:
        self.judge(lambda marking: marking.mark(event.keys, event.mark))

    # -- what actions use ----------------------------------------------------------------------------------------------

    def push(self, screen: Screen[Answer], then: Callable[[Answer | None], None] | None = None) -> None:
        """Put a screen on top; `then` gets its answer."""
        self.push_screen(screen, then)

    def notify(self, message: str, **_: object) -> None:
        """In the status bar: a toast over a picture drawn in pixels leaves a hole in it."""
        text = message.replace("\n", " ")
        if not self._navigation.say(text) and self.channels is not None:
            self.channels.say(text)

    def tell_end(self, message: str) -> None:
        """A long job has ended: as the settings want it told, beside the line that says so."""
        when_done = self.options.settings.when_done
        if when_done == "bell":
            self._write_to_terminal("\a")
        elif when_done == "notify":
            sequence = f"\x1b]9;streamscope: {visible(message)}\x1b\\"
            self._write_to_terminal(through_tmux(sequence) if self.graphics.tmux else sequence)

    def run_in_thread(self, title: str, action: Callable[[], object], done: Callable[[], object]) -> None:
        """Run `action` in a thread, then `done` on the event loop. A StreamscopeError is shown under `title`."""

        async def run() -> None:
            try:
                await asyncio.to_thread(action)
            except StreamscopeError as error:
                self.show_error(title, worded(error))
            else:
                done()

        self.run_worker(run(), group="disk")

    def on_work_failed(self, event: WorkFailed) -> None:
        self.show_error(event.title, event.error)

    def show_error(self, title: str, error: str) -> None:
        """In a dialog; not again while it shows the same."""
        if not (isinstance(self.screen, Notice) and self.screen.text == error):
            self.push_screen(Notice(title, error, failed=True))

    # -- keys ----------------------------------------------------------------------------------------------------------

    async def action_quit(self) -> None:
        self._job_actions.quit()

    def action_help_quit(self) -> None:
        """Ctrl-C ends other programs, so it says what ends this one."""
        quit = next(action for action in actions(self.options.settings.keys) if action.id == "quit")
        self.notify(f"{quit.shown} quits")

    def key_of(self, name: str) -> str:
        """The key of an action, as a person would name it."""
        return key_of(name, self.options.settings.keys)

    def action_ask(self, name: str) -> None:
        screen, reading = self.channels, self.reading
        if screen is None or reading is None:
            return
        if name in self._refused:
            self.notify("a bundle is read only: no job can be started in it")
            return
        self._openers[name](screen, reading)

    def on_key(self, event: events.Key) -> None:
        """Keys typed before a dialog or the filter line had opened come back from where the focus was: on a slow line
        several arrive at once. They are text for what is open now, and no commands."""
        target = self.screen.focused or self.screen
        if event.is_printable and target.check_consume_key(event.key, event.character):
            event.prevent_default()
            target.post_message(events.Key(event.key, event.character))

    def action_show_keys(self) -> None:
        self.push_screen(KeysDialog(sections_from(self.screen, self.options.settings.keys), LEGEND))

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
