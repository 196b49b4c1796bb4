"""Control characters are shown in whatever the app draws, and pictures stay what they are."""

from __future__ import annotations

from rich.segment import ControlType, Segment
from rich.style import Style
from textual.color import Color
from textual.strip import Strip

from streamscope.tui.terminal.controls import VisibleControls

BLACK = Color(0, 0, 0)


def test_a_line_keeps_its_width_and_its_styles() -> None:
    bold = Style(bold=True)
    line = Strip([Segment("a\x1b[1mb", bold), Segment("  ")])
    shown = line.apply_filter(VisibleControls(), BLACK)
    assert shown.text == "a␛[1mb "
    assert shown.cell_length == line.cell_length == sum(part.cell_length for part in shown)
    assert next(iter(shown)).style == bold


def test_a_line_without_any_is_the_same_and_control_segments_are_not_looked_at() -> None:
    segments = [Segment("plain é 名")]
    assert VisibleControls().apply(segments, BLACK) is segments
    control = Segment("\x1bPq\x1b\\", None, [(ControlType.CURSOR_FORWARD, 0)])
    assert VisibleControls().apply([control], BLACK) == [control]
