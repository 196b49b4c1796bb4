"""Light and dark: what the sixteen ANSI colours that the tables are written in look like on either ground."""

from __future__ import annotations

from rich.terminal_theme import TerminalTheme

THEMES = {"dark": "textual-dark", "light": "textual-light"}
"""Settings' names of the two that were tried on every screen; any other theme of Textual goes by its own name."""


def _palette(ground: str, ink: str, normal: str, bright: str) -> TerminalTheme:
    """Colours as hexadecimal words: black, red, green, yellow, blue, magenta, cyan, white, each time."""

    def rgb(text: str) -> tuple[int, int, int]:
        return int(text[:2], 16), int(text[2:4], 16), int(text[4:], 16)

    return TerminalTheme(rgb(ground), rgb(ink), [*map(rgb, normal.split())], [*map(rgb, bright.split())])


ON_DARK = _palette(
    "121212",
    "e0e0e0",
    "1e1e1e ff6e6e 8cd25a f0aa46 78a0ff e182e1 5acde1 c8c8c8",
    "8c8c8c ff8c8c a5e678 fac86e 96b9ff f0a0f0 82e1f0 ffffff",
)
ON_LIGHT = _palette(
    "e0e0e0",
    "141414",
    "141414 b0141e 0f621c 824800 1446af 781e8c 005f7d 464646",
    "545454 960a14 0a5514 784100 0a3296 640f78 004b64 000000",
)
"""Dark enough for 4.5 : 1 against the grounds of Textual's light theme; `bright_black` is what is said softly."""
