"""What is shown until the model is known; finds out what it is, and reads the store for the first time."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Middle
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Static

from streamscope.core.errors import StoreError, StreamscopeError
from streamscope.core.model.blocks import ModelInfo
from streamscope.core.model.descriptions import architecture
from streamscope.core.model.spec import MODELS, ModelSpec
from streamscope.core.store import Store
from streamscope.tui.advice import worded
from streamscope.tui.data.job_control import describe
from streamscope.tui.data.store_reader import Reading, SetChoice, StoreReader


class LoadingScreen(Screen[None]):
    """One line in the middle. `label` names the cache to people, `spec_text` is what the store knows the model by,
    `choice` the set to open."""

    CSS = """
    LoadingScreen Middle { width: 1fr; }
    LoadingScreen Static { width: 1fr; text-align: center; padding: 0 4; }
    LoadingScreen .failed { color: $error; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "app.quit", "Quit", show=False)]

    class ModelFound(Message):
        """The model's description is known, and what the store has of it was read; None where that failed, and why.

        `remarks` are lines about its weights, where those were read just now.
        """

        def __init__(
            self, reader: StoreReader, reading: Reading | None, failure: str = "", remarks: tuple[str, ...] = ()
        ) -> None:
            super().__init__()
            self.remarks = remarks
            self.reader = reader
            self.reading = reading
            self.failure = failure

    def __init__(self, cache: Path, label: str, spec: ModelSpec, spec_text: str, choice: SetChoice) -> None:
        super().__init__()
        self.text = f"opening {label} …"
        self._cache = cache
        self._spec = spec
        self._spec_text = spec_text
        self._choice = choice

    def compose(self) -> ComposeResult:
        with Middle():
            yield Static(Text(self.text, justify="center"), id="what")

    def on_mount(self) -> None:
        # Something stands on the screen before the store is opened, however slow its disk.
        self.call_after_refresh(self._recall)

    def say(self, text: str, failed: bool = False) -> None:
        self.text = text
        what = self.query_one("#what", Static)
        what.set_class(failed, "failed")
        what.update(Text(text, justify="center"))

    @work(thread=True, group="model")
    def _recall(self) -> None:
        store = Store(self._cache)
        info = store.recall(self._spec_text)
        if info is None:
            self.app.call_from_thread(self._describe)
            return
        if store.bundle is not None:
            self._read(info)
            return
        try:
            # A bundled description is kept as if the weights had been read; of a stored one nothing is written.
            store.register(info)
            store.remember(self._spec_text, info.identity)
        except StoreError as error:
            self.app.call_from_thread(self._say_stuck, error)
            return
        # What cannot be added to is said, like what its weights say against it.
        gone = f"{self._spec.missing}: what is stored can be read, and nothing more can be computed"
        self._read(self._spec.showing(info), (gone,) if self._spec.missing else ())

    def _read(self, info: ModelInfo, remarks: tuple[str, ...] = ()) -> None:
        """Read the store before the table is shown: it is drawn once, and not empty first. In a thread."""
        reader = StoreReader(self._cache, info, self._choice)
        try:
            found = self.ModelFound(reader, reader.read(), remarks=remarks)
        except StreamscopeError as error:
            found = self.ModelFound(reader, None, worded(error), remarks)
        self.post_message(found)

    @work(group="model")
    async def _describe(self) -> None:
        spec = self._spec
        what = ""
        if spec.architecture in MODELS:
            blocks = architecture(spec.architecture).blocks
            channels = sum(block.channels for block in blocks)
            what = f": {len(blocks)} blocks of {channels:,} channels in all"
        self.say(f"reading the weights of {spec.weights or spec.name}{what} …")

        def report_download(done: int, total: int) -> None:
            share = f"{100 * done // total}% of {total / 1e6:.0f} MB" if total else f"{done / 1e6:.0f} MB"
            self.say(f"downloading the weights of {spec.name}: {share}")

        try:
            described = await describe(self._cache, spec, report_download)
            info = Store(self._cache).model(described.fingerprint)
            if info is None:
                raise StreamscopeError(f"the model was read but is not in the cache {self._cache}")
            info = spec.showing(info)
        except StreamscopeError as error:
            self._say_stuck(error)
            return
        warnings = tuple(f"warning: {warning}" for warning in described.warnings)
        remarks = (described.layout, *warnings) if described.layout else warnings
        self.run_worker(partial(self._read, info, remarks), group="model", thread=True)

    def _say_stuck(self, error: StreamscopeError) -> None:
        """Nothing else can be done."""
        self.say(f"{worded(error)}\n\nq quits", failed=True)
