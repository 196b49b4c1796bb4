"""A fixed area that shows one picture with a caption, or says why there is none."""

from __future__ import annotations

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from streamscope.tui.data.pictures import Shot
from streamscope.tui.terminal.encoding import Picture, fit
from streamscope.tui.terminal.painter import Painter, Shown, Wanted

GAP = 1
"""Cells kept free between two pictures."""
WAITING = "…"


class PictureBox(Widget, can_focus=False):
    """Wants one shot at a time and shows it as soon as it is drawn. Never scrolled, never repainted unless what it
    shows has changed."""

    DEFAULT_CSS = """
    PictureBox { width: 1fr; height: 1fr; background: $surface; }
    """
    ALLOW_SELECT = False

    class PictureDrawn(Message):
        """What was wanted has been drawn, in another thread."""

        def __init__(self, wanted: Wanted, shown: Shown) -> None:
            super().__init__()
            self.wanted = wanted
            self.shown = shown

    def __init__(self, painter: Painter, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._painter = painter
        self.shot: Shot | None = None
        self._wanted: Wanted | None = None
        self.caption = ""
        self.picture: Picture | None = None
        self.message = ""

    def want(self, shot: Shot | None, after: float = 0.0, hurried: bool = False) -> None:
        """Show this from now on: at once if it is drawn already, else in `after` seconds at the earliest.

        `hurried` waits those seconds also for what is drawn: the next change is near, and pixels are slow to send.
        """
        if shot == self.shot and self._wanted == self._fitting():
            return
        self.shot = shot
        self._ask(after, keep=False, hurried=hurried)

    def drawn(self, wanted: Wanted, shown: Shown) -> None:
        self.post_message(self.PictureDrawn(wanted, shown))

    def ask_again(self) -> None:
        self._ask(0.0, keep=True)

    def on_resize(self) -> None:
        self._ask(0.0, keep=True)

    def on_unmount(self) -> None:
        self._painter.leave(self)

    def on_picture_box_picture_drawn(self, event: PictureDrawn) -> None:
        event.stop()
        if event.wanted == self._wanted:
            self._show(event.shown)

    def fitted(self, shot: Shot) -> Wanted | None:
        """The shot as this box would show it; None while it has no room."""
        width, height = self.size
        if width <= GAP or height < 2:
            return None
        return Wanted(shot, fit((width - GAP, height - 1), self._painter.graphics.cell))

    def _fitting(self) -> Wanted | None:
        return self.fitted(self.shot) if self.shot is not None else None

    def _ask(self, after: float, keep: bool, hurried: bool = False) -> None:
        """With `keep`, what is shown stays until the new picture comes."""
        self._wanted = self._fitting()
        ready = self._painter.ready(self._wanted) if self._wanted is not None and not hurried else None
        if ready is not None:
            self._painter.ask(self, None)
            self._show(ready)
            return
        self._painter.ask(self, self._wanted, after)
        if not keep or self.shot is None:
            self._show(Shown("", None, WAITING if self.shot is not None else ""))

    def _show(self, shown: Shown) -> None:
        now = (shown.caption, shown.picture, shown.message)
        if now == (self.caption, self.picture, self.message):
            return
        if shown.picture is not None:
            self._painter.present(shown.picture)
        self.caption, self.picture, self.message = now
        self.refresh()

    def render_lines(self, crop: Region) -> list[Strip]:
        style = self.rich_style
        width, height = self.size
        if not width or not height:
            return []
        caption = Strip([Segment(shortened(self.caption, width - GAP).center(width), style + Style(dim=True))], width)
        lines = [caption, *self._body(width, height - 1, style)][:height]
        if crop != self.size.region:
            lines = [line.crop(crop.x, crop.right) for line in lines[crop.y : crop.bottom]]
        return lines

    def _body(self, width: int, height: int, style: Style) -> list[Strip]:
        blank = Strip.blank(width, style)
        picture = self.picture
        # Under a dialog only text is drawn: Textual tints what lies below, and pixels would shine through.
        covered = picture is not None and picture.pixels and not self.screen.is_active
        if picture is None or covered or picture.width > width or picture.height > height:
            lines = [blank] * height
            if picture is None and self.message and height:
                lines[height // 2] = Strip(
                    [Segment(self.message[:width].center(width), style + Style(dim=True))], width
                )
            return lines
        left = (width - picture.width) // 2
        right = width - picture.width - left
        pads = [Segment(" " * left, style), Segment(" " * right, style)]
        body = [type(line)([*pads[:1], *line, *pads[1:]], width) for line in picture.lines]
        return body + [blank] * (height - picture.height)


def shortened(caption: str, width: int) -> str:
    """As many of its words as fit: `FZ(B) 2.1.block` says less than `FZ(B) 2.1.block 108`, but nothing else."""
    words = caption.split(" ")
    fits = [n for n in range(1, len(words) + 1) if len(" ".join(words[:n])) <= width]
    return " ".join(words[: fits[-1]]) if fits else caption[: max(0, width)]
