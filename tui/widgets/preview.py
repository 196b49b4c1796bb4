"""The preview of the highlighted channel: three pictures of it side by side, and its figures."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.cells import cell_len
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Container, Horizontal, VerticalScroll
from textual.widgets import Static

from streamscope.core.model.blocks import TENSORS
from streamscope.core.table.retries import retry_of
from streamscope.tui.data.pictures import PICTURE_KINDS, PictureKind, Subject, kind_after
from streamscope.tui.table.channel_text import ChannelValues, describe
from streamscope.tui.terminal.detection import current_cell_size
from streamscope.tui.terminal.encoding import fit
from streamscope.tui.widgets.painter import Painter
from streamscope.tui.widgets.picture import GAP, PictureBox

DEBOUNCE = 0.05
"""Seconds of rest before pictures are drawn: held keys repeat every 0.03 s."""
LATER = 0.25
"""The same of the second row of pictures, which nobody waits for."""
MUCH_LATER = 0.5
"""The same over a slow line, where they would stand in the way of the next channel's."""
FIGURES_WIDTH = 30
FIGURES_LINES = 15
"""Kept for the figures where a second row of pictures stands below them."""


class Preview(Container):
    """Figures change with the cursor at once, pictures too where they are drawn already, else as soon as they are."""

    DEFAULT_CSS = """
    Preview { layout: horizontal; background: $surface; }
    Preview #pictures { width: 1fr; height: 1fr; }
    Preview #figures { width: 1fr; height: 1fr; padding: 0 0 0 1; background: $surface; scrollbar-size-vertical: 1; }
    Preview #figures Static { width: 1fr; }
    Preview #more { display: none; }
    Preview.stacked { layout: vertical; }
    Preview.stacked #figures { padding: 1 0 0 0; }
    """

    def __init__(self, painter: Painter, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.painter = painter
        self.whole = False
        self.kind: PictureKind = "fzs"
        self._row: ChannelValues | None = None
        self._neighbours: Sequence[ChannelValues] = ()
        self._moved = 0.0
        self._lines = 0
        """Of the figures shown."""
        self._arranged = False
        """Until there is room and it is shared out nothing is shown: it would be laid out anew at once."""

    def compose(self) -> ComposeResult:
        with Horizontal(id="pictures"):
            for tensor in TENSORS:
                yield PictureBox(self.painter, id=f"fz-{tensor}")
        with VerticalScroll(id="figures", can_focus=False):
            yield Static(id="text")
        with Horizontal(id="more"):
            for tensor in TENSORS:
                yield PictureBox(self.painter, id=f"more-{tensor}")

    def show_channel(self, row: ChannelValues | None, neighbours: Sequence[ChannelValues] = ()) -> None:
        """Show a channel's figures and pictures; its neighbours' pictures are drawn ahead, in their order."""
        self._row, self._neighbours = row, neighbours
        self._describe()
        now = time.monotonic()
        # Sixels are sent whole every time, which a held key must not wait for; over a slow line for no picture.
        costly = self.painter.graphics.mode == "sixel" or self.painter.slow()
        hurried = costly and now - self._moved < 2 * DEBOUNCE
        self._moved = now
        self._want(hurried)

    def show_whole(self, whole: bool) -> None:
        """Whole images, or what the centre neuron sees of them."""
        self.whole = whole
        self._want()

    def show_kind(self, kind: PictureKind) -> None:
        """Other pictures of the same channel."""
        self.kind = kind
        self._want()

    def next_kind(self) -> str:
        """Show the next kind of picture; what it is."""
        self.show_kind(kind_after(self.kind))
        return PICTURE_KINDS[self.kind]

    def on_resize(self) -> None:
        if not self.app.is_headless:
            self.painter.follow_font(current_cell_size())
        self._arrange()
        # Neighbours drawn ahead for the room there was are of no use now.
        self.call_after_refresh(self._show_arranged)

    def _show_arranged(self) -> None:
        self._arranged = True
        self._describe()
        self._want()

    def on_show(self) -> None:
        self._want()

    def resume(self) -> None:
        """The screen over this one has gone."""
        self._want()

    def _covered(self) -> bool:
        """Whether another full screen lies over this one, which draws pictures of its own."""
        top = self.app.screen
        return top is not self.screen and not top.is_modal

    def _arrange(self) -> None:
        """Give the pictures the room they fill: full width above the figures, or full height beside them."""
        pictures, more = self.query_one("#pictures"), self.query_one("#more")
        width, height = self.size
        cell = self.painter.graphics.cell
        if self.has_class("stacked"):
            rows = fit((max(1, width // 3 - GAP), max(1, height * 3 // 5)), cell)[1]
            pictures.styles.width, pictures.styles.height = "1fr", rows + 1
            more.styles.height = rows + 1
            more.display = height >= 2 * (rows + 1) + FIGURES_LINES
            self.query_one("#figures").styles.height = FIGURES_LINES if more.display else "1fr"
        else:
            columns = fit((max(1, (width - FIGURES_WIDTH) // 3 - GAP), max(1, height - 1)), cell)[0]
            pictures.styles.width, pictures.styles.height = (columns + GAP) * 3, "1fr"
            more.display = False
            self.query_one("#figures").styles.height = "1fr"

    def _describe(self) -> None:
        width = self.size.width if self.has_class("stacked") else FIGURES_WIDTH - 2
        text = describe(self._row, width) if self._row and self._arranged else Text()
        lines = sum(max(1, -(-cell_len(line) // max(1, width))) for line in text.plain.split("\n"))
        # To be laid out anew the whole screen is painted, which a held key must not wait for.
        self.query_one("#text", Static).update(text, layout=lines != self._lines)
        self._lines = lines

    def _want(self, hurried: bool = False) -> None:
        if not self.display or self._covered() or not self._arranged:
            return
        boxes = [self.query_one(f"#fz-{tensor}", PictureBox) for tensor in TENSORS]
        for box, subject in zip(boxes, subjects(self._row, self.kind, self.whole), strict=True):
            box.want(subject, DEBOUNCE, hurried)
        others = (
            subjects(self._row, kind_after(self.kind), self.whole) if self.query_one("#more").display else [None] * 3
        )
        later = MUCH_LATER if self.painter.slow() else LATER
        for tensor, subject in zip(TENSORS, others, strict=True):
            # Also what is drawn already: of pixels a held key has enough to send.
            self.query_one(f"#more-{tensor}", PictureBox).want(subject, later, hurried=True)
        ahead = [
            box.request_for(subject)
            for row in self._neighbours
            for box, subject in zip(boxes, subjects(row, self.kind, self.whole), strict=True)
            if subject is not None
        ]
        self.painter.prepare([request for request in ahead if request is not None])


def subjects(row: ChannelValues | None, kind: PictureKind, whole: bool) -> list[Subject | None]:
    """The three of a channel, one a tensor."""
    if row is None:
        return [None] * len(TENSORS)
    key = (str(row["block"]), int(str(row["channel"])))
    return [Subject(kind, key, tensor, retry_of(row), whole) for tensor in TENSORS]
