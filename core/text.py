"""Text of other people's: names, notes and messages that may hold what a terminal or a page would obey."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

_OBEYED = "\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
"""C0 and C1 controls, marks that turn the direction of writing, line separators, halves of characters."""
CONTROLS = re.compile(f"[{_OBEYED}]")
_BUT_LINES = re.compile(f"[{_OBEYED}]".replace("\x00-\x1f", "\x00-\x08\x0b-\x1f"))
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_LINE_BREAKS = re.compile(r"\r\n|\r")


def visible(text: str) -> str:
    """One line in which every control character is a picture or an escape of it: `␛` for ESC, `␊` for a line feed,
    `\\x9b` for CSI, `\\u202e` for an override of direction, `\\xff` for a byte of a name that is not UTF-8."""
    return CONTROLS.sub(_shown, text)


def file_name(text: str) -> str:
    """What a file or folder may be called after something that people named: letters, digits, dots and dashes of it."""
    return _UNSAFE.sub("-", text).strip(".-") or "model"


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


# What a spreadsheet takes for a formula where a field begins: there, and after what some take for the end of a field.
_FORMULA = re.compile(r"(?:^|(?<=[;\t\n]))(?='*[=+\-@＝＋－＠\t])")
_QUOTED_FORMULA = re.compile(r"(?:^|(?<=[;\t\n]))'(?='*[=+\-@＝＋－＠\t])")
_ESCAPED = r"x(?:[01][0-9a-f]|7f|[89][0-9a-f])|u(?:061c|200[ef]|202[89a-e]|206[6-9]|d[89a-f][0-9a-f]{2})"
_TO_ESCAPE = re.compile(rf"(\\*)(?:([{_OBEYED}])|({_ESCAPED}))".replace("\x00-\x1f", "\x00-\x08\x0b-\x1f"))
_ESCAPE = re.compile(rf"(\\+)({_ESCAPED})")


@lru_cache(maxsize=4096)
def csv_cell(text: str) -> str:
    """A text as a CSV file has it, so that neither a spreadsheet runs it nor a terminal obeys it; `from_csv_cell` is
    the inverse.

    Where a formula would begin (`= + - @` or a tab, at the start or after a line feed, tab or semicolon) stands an
    apostrophe before it, and one more where there are some. Control characters but tab and line feed become `\\x1b`
    or `\\u202e`; backslashes before such a one, or before what looks like one, are doubled.
    """
    return _FORMULA.sub("'", _TO_ESCAPE.sub(_escape, text))


def from_csv_cell(text: str) -> str:
    """The text that `csv_cell` was given. What it changes nothing of is read as it is."""
    return _ESCAPE.sub(_unescape, _QUOTED_FORMULA.sub("", text))


def _escape(match: re.Match[str]) -> str:
    slashes, control, lookalike = match.groups()
    if lookalike is not None:
        return 2 * slashes + lookalike
    code = ord(control)
    return 2 * slashes + (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def _unescape(match: re.Match[str]) -> str:
    slashes, code = match.groups()
    kept = "\\" * (len(slashes) // 2)
    return kept + (chr(int(code[1:], 16)) if len(slashes) % 2 else code)


def json_text(text: str) -> str:
    """JSON with the control characters in it as escapes, which every reader takes for the same."""
    return CONTROLS.sub(lambda match: match[0] if match[0] in "\n\t\r" else f"\\u{ord(match[0]):04x}", text)


def short_names(names: Sequence[str], width: int) -> dict[str, str]:
    """By name, what stands for it in `width` characters where some are longer, so that what differs stays visible.

    What all of them begin with goes first, then words lose their ends, numbers never. Where that is not enough, or
    would make two alike, each is shortened by itself as `short_name` does.
    """
    if all(len(name) <= width for name in names):
        return {name: name for name in names}
    low, high = min(names), max(names)
    same = next((n for n, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), 0)
    start = max(low.rfind(mark, 0, same) for mark in "._") + 1
    rest = {name: f"…{name[start:]}" if start else name for name in names}
    for most in range(max(map(len, rest.values())), 0, -1):
        cut = {name: re.sub(rf"([A-Za-z]{{{most}}})[A-Za-z]+", r"\1", text) for name, text in rest.items()}
        if max(map(len, cut.values())) <= width and len(set(cut.values())) == len(set(names)):
            return cut
    return {name: short_name(name, width) for name in names}


def short_name(name: str, width: int) -> str:
    """A name in `width` characters: words lose their ends, the first ones first, numbers never.

    Where that is not enough it loses its middle.
    """
    parts = re.split(r"([A-Za-z]+)", name)
    for place in range(1, len(parts), 2):
        more = sum(map(len, parts)) - width
        if more > 0:
            parts[place] = parts[place][: max(1, len(parts[place]) - more)]
    text = "".join(parts)
    if len(text) <= width:
        return text
    head = max(0, width - 1) // 3
    return f"{text[:head]}…{text[len(text) - max(0, width - 1 - head) :]}"
