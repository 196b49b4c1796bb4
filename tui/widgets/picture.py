"""A fixed area that shows one picture with a caption, or says why there is none."""

from __future__ import annotations

from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from streamscope.core.text import short_name
from streamscope.tui.data.pictures import Subject
from streamscope.tui.terminal.drawing import Picture
from streamscope.tui.terminal.encoding import fit
from streamscope.tui.widgets.painter import Painter, PictureReply, PictureRequest

GAP = 1
"""Cells kept free between two pictures."""
WAITING = "…"


class PictureBox(Widget, can_focus=False):
    """Wants one subject at a time and shows it as soon as it is drawn. Never scrolled, never repainted unless what it
    shows has changed."""

    DEFAULT_CSS = """
    PictureBox { width: 1fr; height: 1fr; background: $surface; }
    """
    ALLOW_SELECT = False
    CAPTION_LINES: ClassVar[int] = 1
    """Lines above the picture."""

    class PictureDrawn(Message):
        """What was requested has been drawn, in another thread."""

        def __init__(self, request: PictureRequest, reply: PictureReply) -> None:
            super().__init__()
            self.request = request
            self.reply = reply

    def __init__(self, painter: Painter, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._painter = painter
        self.subject: Subject | None = None
        self._request: PictureRequest | None = None
        self.caption = ""
        self.picture: Picture | None = None
        self.message = ""

    def want(self, subject: Subject | None, after: float = 0.0, hurried: bool = False) -> None:
        """Show this from now on: at once if it is drawn already, else in `after` seconds at the earliest.

        `hurried` waits those seconds also for what is drawn: the next change is near, and pixels are slow to send.
        """
        if subject == self.subject and self._request == self._fitting_request():
            return
        self.subject = subject
        self._update(after, keep=False, hurried=hurried)

    def deliver(self, request: PictureRequest, reply: PictureReply) -> None:
        self.post_message(self.PictureDrawn(request, reply))

    def renew(self) -> None:
        self._update(0.0, keep=True)

    def on_resize(self) -> None:
        self._update(0.0, keep=True)

    def on_unmount(self) -> None:
        self._painter.leave(self)

    def on_picture_box_picture_drawn(self, event: PictureDrawn) -> None:
        event.stop()
        if event.request == self._request:
            self._show(event.reply)

    def request_for(self, subject: Subject) -> PictureRequest | None:
        """The subject as this box would show it; None while it has no room."""
        width, height = self.size
        if width <= GAP or height <= self.CAPTION_LINES:
            return None
        return PictureRequest(subject, fit((width - GAP, height - self.CAPTION_LINES), self._painter.graphics.cell))

    def _fitting_request(self) -> PictureRequest | None:
        return self.request_for(self.subject) if self.subject is not None else None

    def _update(self, after: float, keep: bool, hurried: bool = False) -> None:
        """With `keep`, what is shown stays until the new picture comes."""
        self._request = self._fitting_request()
        ready = self._painter.ready(self._request) if self._request is not None and not hurried else None
        if ready is not None:
            self._painter.request(self, None)
            self._show(ready)
            return
        self._painter.request(self, self._request, after)
        if not keep or self.subject is None:
            self._show(PictureReply("", None, WAITING if self.subject is not None else ""))

    def _show(self, reply: PictureReply) -> None:
        now = (reply.caption, reply.picture, reply.message)
        if now == (self.caption, self.picture, self.message):
            return
        self.caption, self.picture, self.message = now
        self._painter.shows(self, self.picture)
        self.refresh()

    def render_lines(self, crop: Region) -> list[Strip]:
        style = self.rich_style
        width, height = self.size
        if not width or not height:
            return []
        caption = Strip([Segment(shorten(self.caption, width - GAP).center(width), style + Style(dim=True))], width)
        captions = [caption] * self.CAPTION_LINES
        lines = [*captions, *self._body(width, height - self.CAPTION_LINES, style)][:height]
        if crop != self.size.region:
            lines = [line.crop(crop.x, crop.right) for line in lines[crop.y : crop.bottom]]
        return lines

    def _said(self, width: int) -> str:
        """Why there is no picture, in at most so many cells."""
        return shorten(self.message, width)

    def _body(self, width: int, height: int, style: Style) -> list[Strip]:
        blank = Strip.blank(width, style)
        picture = self.picture
        # Under a dialog only text is drawn: Textual tints what lies below, and pixels would shine through.
        covered = picture is not None and picture.pixels and not self.screen.is_active
        if picture is None or covered or picture.width > width or picture.height > height:
            lines = [blank] * height
            if picture is None and self.message and height:
                lines[height // 2] = Strip(
                    [Segment(self._said(width - GAP).center(width), style + Style(dim=True))], width
                )
            return lines
        left = (width - picture.width) // 2
        right = width - picture.width - left
        pads = [Segment(" " * left, style), Segment(" " * right, style)]
        # Until a picture drawn in pixels is sent, its place has the colour of what is around it.
        inside = [line.apply_style(style) if picture.pixels else line for line in picture.lines]
        body = [Strip([*pads[:1], *line, *pads[1:]], width) for line in inside]
        return body + [blank] * (height - picture.height)


def shorten(caption: str, width: int) -> str:
    """As many of its words as fit: `FZ(B) 2.1.block` says less than `FZ(B) 2.1.block 108`, but nothing else."""
    words = caption.split(" ")
    fits = [n for n in range(1, len(words) + 1) if len(" ".join(words[:n])) <= width]
    return " ".join(words[: fits[-1]]) if fits else short_name(caption, max(0, width))
