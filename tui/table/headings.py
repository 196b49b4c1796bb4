"""How the frame's columns look in the table: short headings in the paper's notation, widths, number formats."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from rich.style import Style

from streamscope.core.measures.criteria import MIX_MAX
from streamscope.core.table.columns import BY_NAME, COLUMNS

MARK_GLYPHS = {"keep": "✓", "reject": "✗", "unsure": "?"}
MARK_STYLES = {
    "keep": Style(color="green", bold=True),
    "reject": Style(color="red", bold=True),
    "unsure": Style(color="yellow", bold=True),
}
UPDATE_STYLES = {
    "skip": Style(color="cyan"),
    "mix": Style(color="green"),
    "overwrite": Style(color="yellow"),
}
DIM = Style(color="bright_black")
"""Colours by their ANSI names only: `streamscope.tui.app.themes` says what they are on light and on dark ground."""
PASSED = Style(color="green")
FAILED = Style(color="red")
EMPTY = "·"
PLAIN = Style.null()


@dataclass(frozen=True)
class Heading:
    """`name` is the frame's column; `label` what the header says; `width` in cells; `places` after the point."""

    name: str
    label: str
    width: int
    places: int = 2
    left: bool = False


FIXED = (Heading("marked", "", 1, left=True), Heading("block", "block", 5, left=True), Heading("channel", "ch", 4, 0))
"""Always at the left, however far the others are scrolled."""

_LABELLED = (
    Heading("mix_ratio", "M", 5),
    Heading("update", "update", 9, left=True),
    Heading("scale_metric", "SM", 6),
    Heading("scale_invariant", "SI", 3),
    Heading("out_on_in", "O(I)", 6),
    Heading("out_on_block", "O(B)", 6),
    Heading("in_on_in", "I(I)", 6),
    Heading("block_on_block", "B(B)", 6),
    Heading("block_on_in", "B(I)", 6),
    Heading("in_on_block", "I(B)", 6),
    Heading("block_on_in_up", "B(S·I)", 6),
    Heading("in_on_block_down", "I(S⁻B)", 6),
    Heading("block_gain", "gain B", 6),
    Heading("input_gain", "gain I", 6),
    Heading("meets_mix", "c2", 3),
    Heading("meets_block", "c3", 3),
    Heading("meets_input", "c4", 3),
    Heading("out_on_out", "O(O)", 6),
    Heading("in_on_out", "I(O)", 6),
    Heading("block_on_out", "B(O)", 6),
    Heading("robust", "rob", 3),
    Heading("rho", "rho", 5),
    Heading("bn_weight", "|γ|", 6, 3),
    Heading("conv_weight", "|w|", 7, 4),
    Heading("late_rise", "late", 5),
    Heading("tags", "tags", 14, left=True),
    Heading("note", "note", 24, left=True),
    Heading("fz_seed", "seed", 4, 0),
    Heading("status", "status", 28, left=True),
    Heading("kind", "kind", 10, left=True),
)
_SHORT = {heading.name: heading for heading in (*FIXED, *_LABELLED)}


def _spelled(name: str) -> Heading:
    """A heading for a column that has no short one."""
    described = BY_NAME[name]
    text = described.kind == "text"
    width = max(len(name) + 1, min(described.values, 24)) if not text else max(len(name) + 1, described.values)
    return Heading(name, name, width, 0 if described.whole else 2, left=text)


HEADINGS = {c.name: _SHORT.get(c.name) or _spelled(c.name) for c in COLUMNS}
SCROLLED = _LABELLED
"""Columns shown unless others are chosen, in order."""
DEFAULT_SHOWN = tuple(heading.name for heading in SCROLLED)
CHOOSABLE = tuple(name for name in HEADINGS if name not in {heading.name for heading in FIXED})
"""All that can be shown beside the fixed ones, in the order of the contract."""


def number(value: float | None, places: int = 2) -> str:
    """A figure in few cells: `3.14`, `1234`, `·` for none."""
    if value is None or math.isnan(value):
        return EMPTY
    if abs(value) >= 1000:
        places = 0
    text = f"{value:.{places}f}"
    return text[1:] if text.startswith("-") and not text.strip("-0.") else text


def figure(name: str, value: float | None, places: int = 2) -> str:
    """A column's figure; an M that was cut off says so."""
    return f"≥{MIX_MAX:g}" if name in CUT_OFF and value == MIX_MAX else number(value, places)


def cell(name: str, value: Any, places: int = 2) -> tuple[str, Style]:
    """Text and style of a frame's value (float, bool 1/0/NaN, or text) in the table."""
    if name == "marked":
        return MARK_GLYPHS.get(value, " "), MARK_STYLES.get(value, PLAIN)
    if isinstance(value, str):
        return value, UPDATE_STYLES.get(value, PLAIN) if name == "update" else PLAIN
    if value is None or math.isnan(value):
        return EMPTY, DIM
    if name in TICKED:
        return ("✓", PASSED) if value else ("✗", DIM)
    return figure(name, float(value), places), PLAIN


CUT_OFF = frozenset({"mix_ratio", "mei_mix_ratio"})
"""Columns of an M, which is `MIX_MAX` at most."""
TICKED = frozenset(c.name for c in COLUMNS if c.kind == "bool")
