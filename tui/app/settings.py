"""The user's settings: one TOML file, checked line by line before the app opens."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from streamscope.core.errors import HomeError, UsageError
from streamscope.core.files import read_regular
from streamscope.core.store.files.users import expanded, user_folder
from streamscope.core.table.columns import column, either

FILE_LIMIT = 2**20
"""Bytes that the file may have."""
EXAMPLE = """\
# Settings of streamscope's app. Every line may be left out; what stands here is what holds without it.
theme = "dark"        # dark, light, or a theme of Textual such as "nord"
graphics = "auto"     # auto, kitty, sixel, half or off; --graphics overrules it
advance = true        # go on to the next channel after a mark, and after space
mouse = true
when_done = "line"    # a job of half a minute or more that ends: line says so, bell rings too, notify sends OSC 9
# columns = ["mix_ratio", "update", "scale_metric"]   # shown at first, after mark, block and channel

[keys]                # action = "key", or several: "j,down"
"""

WHEN_DONE = ("line", "bell", "notify")
"""How the end of a long job is told."""


@dataclass(frozen=True)
class Settings:
    """`columns` empty stands for those the table has by itself; `keys` by action, only where they were changed."""

    theme: str = "dark"
    graphics: str = "auto"
    advance: bool = True
    mouse: bool = True
    when_done: str = "line"
    columns: tuple[str, ...] = ()
    keys: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Allowed:
    """What settings may say beyond their form: names that only the app knows. `check_keys` raises ValueError with
    (action, reason)."""

    themes: frozenset[str]
    graphics: tuple[str, ...]
    check_keys: Callable[[Mapping[str, str]], tuple[str, str] | None]
    """Given keys by action, the first action that is wrong and why, None when all will do."""


def settings_path() -> Path:
    """`$STREAMSCOPE_CONFIG`, else `config.toml` in the user's configuration folder."""
    given = os.environ.get("STREAMSCOPE_CONFIG")
    if given:
        return expanded(given, "STREAMSCOPE_CONFIG")
    try:
        return user_folder("config", "STREAMSCOPE_CONFIG") / "config.toml"
    except HomeError:
        # Who has no folder for settings has no settings.
        return Path(os.devnull)


def read_settings(path: Path, allowed: Allowed) -> Settings:
    """Settings of a file; those by default when there is none. Raises UsageError that names the line."""
    if path == Path(os.devnull):
        return Settings()
    try:
        text = read_regular(path, limit=FILE_LIMIT).decode()
    except FileNotFoundError:
        return Settings()
    except (OSError, UnicodeDecodeError) as error:
        what = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"cannot read the settings in {path}: {what}") from error
    return parse_settings(text, path, allowed)


def parse_settings(text: str, path: Path, allowed: Allowed) -> Settings:
    """As `read_settings`, of the file's text."""
    try:
        data = tomllib.loads(text)
        keys = _flat(data["keys"]) if isinstance(data.get("keys"), dict) else {}
    except tomllib.TOMLDecodeError as error:
        place = re.search(r" \(at (?:line (\d+)|end of document).*\)$", str(error))
        line = place[1] if place and place[1] else str(text.count("\n") + 1)
        raise UsageError(f"{path} line {line}: {str(error)[: place.start() if place else None]}") from None
    except (ValueError, RecursionError) as error:
        # Numbers of thousands of digits, brackets in brackets in brackets.
        what = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise UsageError(f"cannot read the settings in {path}: {what}") from None

    def wrong(name: str, reason: str, section: str = "") -> NoReturn:
        raise UsageError(f"{path} line {_line_of(text, name, section)}: {reason}")

    known: dict[str, type] = {
        "theme": str,
        "graphics": str,
        "advance": bool,
        "mouse": bool,
        "when_done": str,
        "columns": list,
        "keys": dict,
    }
    for name, value in data.items():
        if name not in known:
            wrong(name, f"unknown setting {name!r}; {_near(name, known)}")
        if not isinstance(value, known[name]):
            wrong(name, f"{name} must be {_WORDS[known[name]]}, not {_shown(value)}")
    if "theme" in data and data["theme"] not in allowed.themes:
        wrong("theme", f"unknown theme {data['theme']!r}; {_near(data['theme'], allowed.themes)}")
    if "graphics" in data and data["graphics"] not in allowed.graphics:
        wrong("graphics", f"unknown graphics mode {data['graphics']!r}; use {', '.join(allowed.graphics)}")
    if data.get("when_done", "line") not in WHEN_DONE:
        wrong("when_done", f"unknown way {data['when_done']!r} to tell of the end of a job; use {', '.join(WHEN_DONE)}")
    columns = data.get("columns", [])
    try:
        names = tuple(column(str(name)).name for name in columns)
    except UsageError as error:
        wrong("columns", str(error))
    for name in names:
        if names.count(name) > 1:
            wrong("columns", f"column {name!r} is named twice")
    for action, value in keys.items():
        if not isinstance(value, str) or not value.strip():
            wrong(action, f'the key of {action} must be text such as "x" or "ctrl+x", not {_shown(value)}', "keys")
    found = allowed.check_keys(keys)
    if found is not None:
        wrong(found[0], found[1], "keys")
    return Settings(**{**data, "columns": names, "keys": keys})


def _flat(keys: Mapping[str, Any]) -> dict[str, Any]:
    """`mark.keep = "y"` without quotes round the name is a table within a table to TOML."""
    found: dict[str, Any] = {}
    for name, value in keys.items():
        inner = _flat(value) if isinstance(value, dict) else {"": value}
        found |= {f"{name}.{rest}" if rest else name: text for rest, text in inner.items()}
    return found


_WORDS: dict[type, str] = {
    str: "text in quotes",
    bool: "true or false",
    list: 'a list such as ["mix_ratio"]',
    dict: "a section [keys]",
}


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _near(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, list(known), cutoff=0.6)
    return f"did you mean {either(near)}?" if near else f"there are {', '.join(sorted(known))}"


def _line_of(text: str, name: str, section: str) -> int:
    """Where `name` is set. `[keys]` may hold `mark.keep = "y"` with or without quotes round the name."""
    here = ""
    wanted = re.compile(rf"""\s*(?:{re.escape(section)}\s*\.\s*)?["']?{re.escape(name)}["']?\s*(=|\.)""")
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[\s*([^\]]+?)\s*\]", line):
            here = header[1]
            if here == name and not section:
                return number
        elif wanted.match(line) and here in (section, ""):
            return number
    return 1
