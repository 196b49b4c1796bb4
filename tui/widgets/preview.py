"""The preview of the highlighted channel: FZ(I), FZ(B), FZ(O) side by side and its figures."""

from __future__ import annotations

from dataclasses import replace

from textual import work
from textual.app import ComposeResult
from textual.containers import Container, Horizontal, VerticalScroll
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Static
from textual.worker import get_current_worker

from core.blocks import TENSORS, Tensor
from tui.graphics import Graphics, current_cell_size
from tui.picture import PictureCache, adopt_cell_size, fit
from tui.triptych import Request, Shown, Triptychs
from tui.view import Key
from tui.widgets.details import Row, describe
from tui.widgets.picture import PictureBox

DEBOUNCE = 0.05
"""Seconds of rest before pictures are drawn: held keys repeat every 0.03 s."""
FIGURES_WIDTH = 30
GAP = 1


class Preview(Container):
    """Figures change with the cursor at once, pictures as soon as they are drawn in a thread."""

    DEFAULT_CSS = """
    Preview { layout: horizontal; background: $surface; }
    Preview #pictures { width: 1fr; height: 1fr; }
    Preview #figures { width: 1fr; height: 1fr; padding: 0 0 0 1; background: $surface; scrollbar-size-vertical: 1; }
    Preview #figures Static { width: 1fr; }
    Preview.stacked { layout: vertical; }
    Preview.stacked #figures { padding: 1 0 0 0; }
    """

    class PictureDrawn(Message):
        """One of the three was drawn in its thread."""

        def __init__(self, request: Request, tensor: Tensor, shown: Shown) -> None:
            super().__init__()
            self.request = request
            self.tensor = tensor
            self.shown = shown

    def __init__(self, graphics: Graphics, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.graphics = graphics
        self.cache = PictureCache()
        self.whole = False
        self.triptychs: Triptychs | None = None
        self._row: Row | None = None
        self._timer: Timer | None = None
        self._asked: Request | None = None
        self._held: set[str] = set()
        """Teardowns of the pictures that the terminal keeps for us."""

    def compose(self) -> ComposeResult:
        with Horizontal(id="pictures"):
            for tensor in TENSORS:
                yield PictureBox(id=f"fz-{tensor}")
        with VerticalScroll(id="figures", can_focus=False):
            yield Static(id="text")

    def use(self, triptychs: Triptychs) -> None:
        """Draw from another set from now on."""
        self.triptychs = triptychs

    def show_channel(self, row: Row | None, pictures: bool = True) -> None:
        """Show a channel's figures now and, unless only they changed, its pictures soon."""
        self._row = row
        self._describe()
        if pictures:
            self._schedule()

    def show_whole(self, whole: bool) -> None:
        """Whole images, or what the centre neuron sees of them."""
        self.whole = whole
        self._schedule()

    def on_resize(self) -> None:
        self._follow_font()
        self._arrange()
        self._describe()
        self.call_after_refresh(self._schedule)

    def on_show(self) -> None:
        self._schedule()

    def _follow_font(self) -> None:
        cell = None if self.app.is_headless else current_cell_size()
        if cell is not None and cell != self.graphics.cell:
            self.graphics = replace(self.graphics, cell=cell)
            adopt_cell_size(cell)
            self.cache.clear()

    def _arrange(self) -> None:
        """Give the pictures the room they fill: full width above the figures, or full height beside them."""
        pictures = self.query_one("#pictures")
        width, height = self.size
        if self.has_class("stacked"):
            rows = fit((max(1, width // 3 - GAP), max(1, height * 3 // 5)), self.graphics.cell)[1]
            pictures.styles.width, pictures.styles.height = "1fr", rows + 1
        else:
            columns = fit((max(1, (width - FIGURES_WIDTH) // 3 - GAP), max(1, height - 1)), self.graphics.cell)[0]
            pictures.styles.width, pictures.styles.height = (columns + GAP) * 3, "1fr"

    def _describe(self) -> None:
        width = self.size.width if self.has_class("stacked") else FIGURES_WIDTH - 2
        text = self.query_one("#text", Static)
        text.update(describe(self._row, width) if self._row else "")

    def _schedule(self) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(DEBOUNCE, self._request)

    def _request(self) -> None:
        if self._row is None or self.triptychs is None:
            self._asked = None
            for box in self.query(PictureBox):
                box.show("", None)
            return
        columns, rows = self.query_one("#fz-in", PictureBox).room
        if columns <= GAP or rows < 1 or not self.display:
            return
        seed, used = self._row.get("seed"), self._row.get("fz_seed")
        retry = int(used) - int(seed) if isinstance(used, int) and isinstance(seed, int) else 0
        key: Key = (str(self._row["block"]), int(str(self._row["channel"])))
        self._asked = Request(key, retry, self.whole, (columns - GAP, rows), self.graphics)
        self._draw(self.triptychs, self._asked)

    @work(thread=True, exclusive=True, group="preview")
    def _draw(self, triptychs: Triptychs, request: Request) -> None:
        worker = get_current_worker()
        for tensor, shown in triptychs.draw(request):
            if worker.is_cancelled:
                return
            self.post_message(self.PictureDrawn(request, tensor, shown))

    def on_preview_picture_drawn(self, event: PictureDrawn) -> None:
        event.stop()
        if event.request != self._asked:
            return
        shown = event.shown
        if shown.picture is not None and shown.picture.setup and shown.picture.teardown not in self._held:
            self._held.add(shown.picture.teardown)
            self._write(shown.picture.setup)
        self.query_one(f"#fz-{event.tensor}", PictureBox).show(shown.caption, shown.picture, shown.message)
        for retired in self.cache.take_retired():
            self._held.discard(retired.teardown)
            self._write(retired.teardown)

    def on_unmount(self) -> None:
        for teardown in self._held:
            self._write(teardown)

    def _write(self, sequence: str) -> None:
        """To the terminal through Textual's writer, so that it lands between frames and not within one."""
        driver = self.app._driver
        if sequence and driver is not None:
            driver.write(sequence)
