"""What may stand where one is writing in a filter: names of columns, functions, and values that a column has."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from streamscope.core.table.columns import BY_NAME, COLUMNS

_WORDS = (
    ("and", "both conditions hold"),
    ("or", "one of the conditions holds"),
    ("not", "the condition does not hold"),
    ("in", 'one of several, such as block in ["2.1", "3.0"]'),
    ("true", ""),
    ("false", ""),
    ("missing(", "the field is empty: missing(robust)"),
    ("tagged(", 'has the tag: tagged("edge")'),
    ("abs(", "without its sign"),
)
_COMPARED = re.compile(r"""(?:(\w+)\s*(?:==|!=|(?:not\s+)?in\s*\[(?:[^\]\[]*,)?)\s*|tagged\(\s*)("?)([^"]*)$""")
_WORD = re.compile(r"[A-Za-z_]\w*$")


@dataclass(frozen=True)
class Completion:
    """One thing that may be written: `text` instead of what stands from `start` to the caret."""

    start: int
    text: str
    help: str


def complete(before: str, values: Callable[[str], Sequence[str]]) -> list[Completion]:
    """What may follow when `before` stands left of the caret, likely ones first; nothing after what needs no help.

    `values` gives the texts that a text column has.
    """
    compared = _COMPARED.search(before)
    if compared is not None:
        name = compared[1] or "tags"
        column = BY_NAME.get(name)
        if column is not None and column.kind == "text" and (compared[2] or _bare(compared[3])):
            return _values(name, values(name), compared[3], compared.start(2))
    if before.count('"') % 2:
        return []
    word = _WORD.search(before)
    if word is None:
        return []
    typed = word[0].casefold()
    options = [*((c.name, c.help) for c in COLUMNS), *_WORDS]
    first = [o for o in options if o[0].startswith(typed)]
    part = [o for o in options if o not in first and any(p.startswith(typed) for p in o[0].split("_"))]
    held = [o for o in options if o not in (*first, *part) and len(typed) > 1 and typed in o[0]]
    found = [Completion(word.start(), text, help) for text, help in (*first, *part, *held)]
    # What is whole already needs no completing, unless a longer name begins with it.
    return [] if [c.text for c in found] == [word[0]] else found


def _bare(typed: str) -> bool:
    return re.fullmatch(r"\w*", typed) is not None


def _values(name: str, known: Sequence[str], typed: str, start: int) -> list[Completion]:
    words = sorted({word for text in known for word in text.split()}) if name == "tags" else list(dict.fromkeys(known))
    found = [text for text in words if text and '"' not in text and text.casefold().startswith(typed.casefold())]
    return [Completion(start, f'"{text}"', f"{name} of some channel") for text in found]
