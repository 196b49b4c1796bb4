"""The last look at what the app draws: no text of other people's reaches the terminal as something it obeys."""

from __future__ import annotations

from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

from streamscope.core.text import CONTROLS, visible


class VisibleControls(LineFilter):
    """Shows control characters in every line of every widget, in the line's own width."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        if not any(CONTROLS.search(part.text) for part in segments if not part.control):
            return segments
        width = sum(part.cell_length for part in segments)
        shown = [part if part.control else Segment(visible(part.text), part.style) for part in segments]
        return Segment.adjust_line_length(shown, width)
