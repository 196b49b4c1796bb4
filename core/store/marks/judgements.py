"""What can be said of a channel."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from streamscope.core.errors import UsageError

Mark = Literal["keep", "reject", "unsure", ""]
MARKS: tuple[Mark, ...] = ("keep", "reject", "unsure", "")
"""What a channel can be marked; "" takes the mark away."""


@dataclass(frozen=True)
class Judgement:
    """What was said of one channel; `tags` are in alphabetical order."""

    mark: str = ""
    tags: tuple[str, ...] = ()
    note: str = ""


def check_mark(mark: str) -> None:
    """Raises UsageError when there is no such mark."""
    if mark not in MARKS:
        raise UsageError(f"unknown mark {mark!r}; use keep, reject, unsure or nothing")


def check_tag(tag: str) -> None:
    """Raises UsageError when `tag` is not one word: tags are shown and written separated by spaces."""
    if not tag or re.search(r"\s", tag):
        raise UsageError(f"a tag is one word without spaces, not {tag!r}")
