"""A fixed area that shows one picture with a caption, or says why there is none."""

from __future__ import annotations

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from tui.picture import Picture


class PictureBox(Widget, can_focus=False):
    """Lines of a ready picture under a caption. Never scrolled, never repainted unless what it shows has changed."""

    DEFAULT_CSS = """
    PictureBox { width: 1fr; height: 1fr; background: $surface; }
    """
    ALLOW_SELECT = False

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.caption = ""
        self.picture: Picture | None = None
        self.message = ""

    @property
    def room(self) -> tuple[int, int]:
        """Cells (columns, rows) that a picture may take."""
        return self.size.width, max(0, self.size.height - 1)

    def show(self, caption: str, picture: Picture | None, message: str = "") -> None:
        """Show a picture, or `message` in its place. A picture that does not fit any more is left out."""
        if (caption, picture, message) == (self.caption, self.picture, self.message):
            return
        self.caption, self.picture, self.message = caption, picture, message
        self.refresh()

    def render_lines(self, crop: Region) -> list[Strip]:
        style = self.rich_style
        width, height = self.size
        if not width or not height:
            return []
        caption = Strip([Segment(self.caption[:width].center(width), style + Style(dim=True))], width)
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
