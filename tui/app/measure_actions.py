"""Whatever is missing is made from where it is missed: nulls, curves, scans, photographs, decisions, ablations, the
report. Each is a job like `compute`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol, runtime_checkable

from streamscope.core.errors import UsageError
from streamscope.core.images.folder import list_images
from streamscope.core.model.blocks import format_channels
from streamscope.core.report.folder import check_place
from streamscope.core.store import JobSpec, JobState, Store
from streamscope.core.text import file_name
from streamscope.tui.app.job_actions import by_block
from streamscope.tui.app.window import Opener, Window
from streamscope.tui.data.job_control import Workers
from streamscope.tui.data.store_reader import Reading
from streamscope.tui.forms.command_jobs import NULLS, CommandJobs
from streamscope.tui.screens.channels import ChannelsScreen
from streamscope.tui.screens.dialogs.base import Choice, Prompt
from streamscope.tui.screens.dialogs.folder import FolderDialog

EVERY = "all"
MENU = (
    ("compute", "FZs", "optimise the FZs that are missing, and measure them"),
    ("decide", "decide", "more seeds for channels whose verdict is undecided"),
    ("nulls", "nulls", "how often the criteria hold where they should mean nothing"),
    ("curves", "curves", "scale tuning curves of the FZs, and of MEIs"),
    ("scan", "images", "scan a folder of images: MEIs, best patches, rho, robust"),
    ("photographs", "photographs", "scale invariance in photographs, without FZs"),
    ("ablate", "ablation", "accuracy with channels held at their means"),
    ("report", "report", "a site of figures, tables and pictures, from what is stored"),
    ("export", "export", "the channels as CSV, JSON, a note or a contact sheet"),
    ("bundle", "bundle", "channels with pictures and marks in one file, to be handed on"),
)
"""What can be made: the action, its name, and what it gives."""


SCOPE_WORDS = {
    "chosen": "the channels selected in the table",
    "filtered": "the channels shown",
    "marked": "every channel with a mark",
    "keep": "channels marked keep",
}
"""What can be handed on."""


@runtime_checkable
class OverBlock(Protocol):
    """A screen that is about one block."""

    @property
    def block(self) -> str | None: ...


class MeasureWindow(Window, Protocol):
    """A window that has the jobs."""

    @property
    def jobs(self) -> Mapping[str, JobState]: ...

    def action_ask(self, name: str) -> None:
        """Do what a key does."""

    def key_of(self, name: str) -> str:
        """The key of an action, as a person would name it."""


def bundle_scopes(screen: ChannelsScreen) -> dict[str, list[str]]:
    """The options of a command that choose what each word stands for, of the words that fit."""
    chosen, arrangement = by_block(screen.table.chosen), screen.arrangement
    blocks = ["--block", arrangement.block] if arrangement.block is not None else []
    found: dict[str, list[str]] = {}
    if len(chosen) == 1:
        [(block, channels)] = chosen.items()
        found["chosen"] = ["--block", block, "--channels", format_channels(sorted(channels))]
    expression = ["--filter", arrangement.filter.expression] if arrangement.filter is not None else []
    return found | {
        "filtered": [*blocks, *expression],
        "marked": ["--marked"],
        "keep": ["--filter", 'marked == "keep"'],
    }


def check_zip(written: str) -> None:
    """Raises UsageError for a name that is none of a bundle."""
    path = Path(written.strip())
    if path.suffix.lower() != ".zip":
        raise UsageError("a bundle is a zip: let its name end in .zip")
    if not path.expanduser().parent.is_dir():
        raise UsageError(f"there is no folder {path.parent}")


class MeasureActions:
    """Each opens its dialog before it returns."""

    def __init__(self, window: MeasureWindow, store: Store, jobs: CommandJobs, workers: Workers) -> None:
        self._window = window
        self._store = store
        self._jobs = jobs
        self._workers = workers
        self._folder = Path.cwd()
        """Of images that were chosen last."""

    def by_name(self) -> Mapping[str, Opener]:
        """The actions by the names that bindings use."""
        return {
            "make": self._menu,
            "nulls": self._nulls,
            "curves": self._curves,
            "decide": self._decide,
            "scan": self._scan,
            "photographs": self._photographs,
            "ablate": self._ablate,
            "report": self._report,
            "bundle": self._bundle,
        }

    def _menu(self, screen: ChannelsScreen, reading: Reading) -> None:
        def answered(name: str | None) -> None:
            if name is not None:
                self._window.action_ask(name)

        options = [(name, f"{self._window.key_of(name):<3} {called:<12} {what}") for name, called, what in MENU]
        self._window.push(Choice("Compute or write what?", options), answered)

    def _nulls(self, screen: ChannelsScreen, reading: Reading) -> None:
        block = self._block(screen, reading)
        if block is None:
            return

        def answered(which: str | None) -> None:
            if which is not None:
                self._start(self._jobs.nulls(reading, block, which))

        options = [(w, f"{w:<10} {what}") for w, what in NULLS.items() if w != "by-images" or reading.scan is not None]
        self._window.push(Choice(f"Which nulls of {block}?", options), answered)

    def _curves(self, screen: ChannelsScreen, reading: Reading) -> None:
        self._ask_blocks(
            screen, reading, "Scale tuning curves of which blocks?", lambda b: self._jobs.curves(reading, b)
        )

    def _decide(self, screen: ChannelsScreen, reading: Reading) -> None:
        block = self._block(screen, reading)
        if block is None:
            return

        def answered(what: str | None) -> None:
            if what is not None:
                self._start(self._jobs.decide(reading, [block], what == "kinds"))

        options = [
            ("verdicts", "verdicts  until it is settled which channels are scale invariant"),
            ("kinds", "kinds     also until it is settled which overwrite, mix or skip"),
        ]
        self._window.push(Choice(f"More seeds for the undecided channels of {block}", options), answered)

    def _scan(self, screen: ChannelsScreen, reading: Reading) -> None:
        self._ask_images("Scan which images?", "flat, or one folder a class", lambda f: self._jobs.scan(reading, f))

    def _photographs(self, screen: ChannelsScreen, reading: Reading) -> None:
        if reading.scan is None:
            self._window.notify(f"no images are scanned yet; {self._window.key_of('scan')} scans a folder")
            return
        block = self._block(screen, reading)
        if block is not None:
            self._start(self._jobs.photographs(reading, block))

    def _ablate(self, screen: ChannelsScreen, reading: Reading) -> None:
        block = self._block(screen, reading)
        if block is None:
            return
        channels = by_block(screen.table.chosen).get(block, [])
        what = f"{len(channels)} chosen channel{'s' * (len(channels) != 1)}" if channels else "scale-invariant channels"
        self._ask_images(
            f"Hold the {what} of {block} at their means on which images?",
            "labelled: one folder a class",
            lambda folder: self._jobs.ablate(reading, folder, block, channels),
        )

    def _report(self, screen: ChannelsScreen, reading: Reading) -> None:
        if self._lacks_set(reading):
            return

        def describe(folder: Path) -> str:
            check_place(folder)
            return "an earlier report there is replaced" if (folder / "index.html").exists() else "makes this folder"

        def answered(folder: Path | None) -> None:
            if folder is not None:
                self._start(self._jobs.report(reading, folder))

        start = Path.cwd() / f"report-{file_name(reading.info.name)}"
        hint = "figures, tables and a site that opens from disk"
        self._window.push(FolderDialog("Write the report where?", start, hint, describe), answered)

    def _bundle(self, screen: ChannelsScreen, reading: Reading) -> None:
        if self._lacks_set(reading):
            return
        scopes = bundle_scopes(screen)

        def named(scope: str, written: str | None) -> None:
            if written is not None:
                self._start(self._jobs.bundle(reading, Path(written.strip()), scopes[scope], f"channels {scope}"))

        def answered(scope: str | None) -> None:
            if scope is not None:
                path = str(Path.cwd() / f"{file_name(reading.info.name)}-{scope}.zip")
                prompt = Prompt("Bundle in which file?", path, "it opens with --cache FILE.zip, read only", check_zip)
                self._window.push(prompt, partial(named, scope))

        options = [(scope, f"{scope:<9} {SCOPE_WORDS[scope]}") for scope in scopes]
        self._window.push(Choice("Hand on which channels?", options), answered)

    # -- asking --------------------------------------------------------------------------------------------------------

    def _ask_images(self, title: str, hint: str, job: Callable[[Path], JobSpec]) -> None:
        def describe(folder: Path) -> str:
            found = list_images(folder)
            classes = len({image.label for image in found.images if image.label})
            said = f"{len(found.images):,} image{'s' * (len(found.images) != 1)}"
            return said + (f" in {classes} folder{'s' * (classes != 1)}" if classes else "")

        def answered(folder: Path | None) -> None:
            if folder is not None:
                self._folder = folder.parent
                self._start(job(folder))

        self._window.push(FolderDialog(title, self._folder, hint, describe), answered)

    def _ask_blocks(
        self, screen: ChannelsScreen, reading: Reading, title: str, job: Callable[[Sequence[str]], JobSpec]
    ) -> None:
        block = self._block(screen, reading)
        if block is None:
            return

        def answered(which: str | None) -> None:
            if which is not None:
                self._start(job([] if which == EVERY else [which]))

        computed = [name for name, summary in reading.summaries.items() if summary.computed]
        self._window.push(
            Choice(title, [(block, block), (EVERY, f"all blocks with FZs: {' '.join(computed)}")]), answered
        )

    def _block(self, screen: ChannelsScreen, reading: Reading) -> str | None:
        """What a key that is about a block is for; None, which is said, where there is none or nothing to work on."""
        if self._lacks_set(reading):
            return None
        top = self._window.screen
        block = top.block if isinstance(top, OverBlock) else None
        block = block or (screen.table.key[0] if screen.table.key is not None else screen.arrangement.block)
        if block is None:
            self._window.notify("no channel is shown; choose a block first")
        elif not reading.summaries[block].computed:
            self._window.notify(
                f"nothing is computed of {block} yet; {self._window.key_of('compute')} computes its FZs"
            )
            return None
        return block

    def _lacks_set(self, reading: Reading) -> bool:
        if not reading.stored:
            self._window.notify(f"no FZs are stored yet; {self._window.key_of('compute')} computes them")
        return not reading.stored

    def _start(self, job: JobSpec) -> None:
        def start() -> None:
            self._jobs.spec.check_computable()
            self._workers.start(Store.open(self._store.root, create=True), job)

        def started() -> None:
            queue = [state for state in self._window.jobs.values() if state.state == "running"]
            waits = any(state.job.spec.device == job.device for state in queue)
            key = self._window.key_of("jobs")
            self._window.notify(f"{job.kind} {'waits its turn' if waits else 'starts'}; {key} shows it")

        self._window.run_in_thread(job.kind.capitalize(), start, started)
