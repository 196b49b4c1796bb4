"""Light and dark: what the sixteen ANSI colours that the tables are written in look like on either ground."""

from __future__ import annotations

from rich.terminal_theme import TerminalTheme

THEMES = {"dark": "textual-dark", "light": "textual-light"}
"""Settings' names of the two that were tried on every screen; any other theme of Textual goes by its own name."""

ON_DARK = TerminalTheme(
    (18, 18, 18),
    (224, 224, 224),
    [(30, 30, 30), (255, 110, 110), (140, 210, 90), (240, 170, 70), (120, 160, 255), (225, 130, 225), (90, 205, 225)]
    + [(200, 200, 200), (140, 140, 140)],
    [(255, 140, 140), (165, 230, 120), (250, 200, 110), (150, 185, 255), (240, 160, 240), (130, 225, 240)]
    + [(255, 255, 255)],
)
ON_LIGHT = TerminalTheme(
    (224, 224, 224),
    (20, 20, 20),
    [(20, 20, 20), (176, 20, 30), (15, 98, 28), (130, 72, 0), (20, 70, 175), (120, 30, 140), (0, 95, 125)]
    + [(70, 70, 70), (84, 84, 84)],
    [(150, 10, 20), (10, 85, 20), (120, 65, 0), (10, 50, 150), (100, 15, 120), (0, 75, 100), (0, 0, 0)],
)
"""Dark enough for 4.5 : 1 against the grounds of Textual's light theme; `bright_black` is what is said softly."""
