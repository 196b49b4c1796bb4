"""Text of other people's: names, notes and messages that may hold what a terminal or a page would obey."""

from __future__ import annotations

import re

_OBEYED = "\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
"""C0 and C1 controls, marks that turn the direction of writing, line separators, halves of characters."""
CONTROLS = re.compile(f"[{_OBEYED}]")
_BUT_LINES = re.compile(f"[{_OBEYED}]".replace("\x00-\x1f", "\x00-\x08\x0b-\x1f"))
_LINE_BREAKS = re.compile(r"\r\n|\r")


def visible(text: str) -> str:
    """One line in which every control character is a picture or an escape of it: `␛` for ESC, `␊` for a line feed,
    `\\x9b` for CSI, `\\u202e` for an override of direction, `\\xff` for a byte of a name that is not UTF-8."""
    return CONTROLS.sub(_shown, text)


def visible_lines(text: str) -> str:
    """As `visible`, for text of several lines: line feeds and tabs stay, other line breaks become line feeds."""
    return _BUT_LINES.sub(_shown, _LINE_BREAKS.sub("\n", text))


def _shown(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    if 0xDC80 <= code <= 0xDCFF:
        # A byte that could not be decoded, as Python keeps it in names.
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
