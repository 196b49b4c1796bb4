"""Pictures as real terminals draw them: looked at on a screenshot, where the app says that it puts them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from streamscope.tui.table.arrangement import Key
from tests.support.app_driver import small_store
from tests.support.terminal.layout import Place, places
from tests.support.terminal.screen import Display, command, display, needs
from tests.support.waiting import wait_until

XTERM = ["xterm", "-ti", "vt340", "-fa", "DejaVu Sans Mono", "-fs", "10", "-geometry", "120x40+0+0"]
XTERM += ["-xrm", "XTerm*decTerminalID: vt340", "-xrm", "XTerm*sixelScrolling: true"]
XTERM += ["-xrm", "XTerm*numColorRegisters: 256", "-e"]
XTERM_BORDER = 2
"""Pixels that xterm leaves free around its cells."""
KITTY = ["kitty", "-o", "font_family=DejaVu Sans Mono", "-o", "font_size=10", "-o", "remember_window_size=no"]
KITTY += ["-o", "initial_window_width=120c", "-o", "initial_window_height=40c", "-o", "update_check_interval=0"]
KITTY += ["-o", "confirm_os_window_close=0", "-o", "placement_strategy=top-left"]
CLOSE = 12.0
"""Mean difference in grey levels of a picture drawn in Sixel, of 256 dithered colours; another FZ differs by 20."""
COARSE = 12.0
"""The same of half blocks, each pixel of which is half a cell."""


@pytest.fixture
def on_display(tmp_path: Path) -> Iterator[tuple[Display, ExitStack]]:
    needs("Xvfb", "xdotool", "import")
    small_store(tmp_path / "cache")
    with display(tmp_path) as found:
        yield found


class Looker:
    """Compares a terminal's screen with the pictures that should be there."""

    def __init__(self, folder: Path, screen: Display, border: int, half: bool) -> None:
        self._folder, self._screen, self._border, self._half = folder, screen, border, half
        self._known: dict[tuple[tuple[int, int], Key], list[Place]] = {}
        self.cell = (0, 0)

    def measure(self, columns: int, rows: int) -> None:
        """Takes the cell's size from the window, which has so many cells."""
        width, height = self._screen.size()
        self.cell = ((width - 2 * self._border) // columns, (height - 2 * self._border) // rows)

    def differences(self, size: tuple[int, int], key: Key) -> list[float]:
        """Mean difference of each of the three pictures from what the screen shows."""
        if (size, key) not in self._known:
            self._known[size, key] = places(self._folder, size, self.cell, key)
        picture = self._screen.picture()
        return [self._difference(place, picture) for place in self._known[size, key]]

    def _difference(self, place: Place, picture: np.ndarray) -> float:
        wanted, seen = place.pixels(self.cell), place.on(picture, self.cell, self._border)
        if wanted.shape != seen.shape:
            return 255.0
        if self._half:
            halves = (place.columns, place.rows * 2)
            wanted, seen = (
                np.asarray(Image.fromarray(part.astype(np.uint8)).resize(halves, Image.Resampling.BOX), dtype=float)
                for part in (wanted, seen)
            )
        return float(np.abs(wanted - seen).mean())

    def wait(self, size: tuple[int, int], key: Key, within: float, what: str) -> None:
        """Until all three pictures stand there."""
        last: list[float] = []

        def there() -> bool:
            last[:] = self.differences(size, key)
            return max(last) <= within

        wait_until(there, lambda: f"{what}: the pictures differ by {last}; see {self._screen.keep('failed.png')}")


def test_xterm_draws_the_fzs_in_sixel_and_again_after_a_dialog_a_fast_run_and_a_resize(
    tmp_path: Path, on_display: tuple[Display, ExitStack]
) -> None:
    needs("xterm")
    screen, stack = on_display
    screen.open([*XTERM, *command(tmp_path)], stack)
    look = Looker(tmp_path, screen, XTERM_BORDER, half=False)
    look.measure(120, 40)
    size = (120, 40)
    look.wait(size, ("1.1", 0), CLOSE, "at first")
    assert min(look.differences(size, ("1.1", 3))) > 1.4 * CLOSE, "another channel's FZs would have passed"
    screen.key("question")
    wait_until(lambda: max(look.differences(size, ("1.1", 0))) > CLOSE, "the dialog to cover the pictures")
    screen.key("Escape")
    look.wait(size, ("1.1", 0), CLOSE, "after a dialog")
    screen.key(*["j"] * 13, "k")
    look.wait(size, ("2.0", 6), CLOSE, "after a fast run")
    width, height = 2 * XTERM_BORDER + 100 * look.cell[0], 2 * XTERM_BORDER + 34 * look.cell[1]
    screen.resize(width, height)
    look.wait((100, 34), ("2.0", 6), CLOSE, "after a resize")


def test_kitty_without_placeholders_gets_half_blocks(tmp_path: Path, on_display: tuple[Display, ExitStack]) -> None:
    needs("kitty")
    screen, stack = on_display
    screen.open([*KITTY, *command(tmp_path)], stack)
    look = Looker(tmp_path, screen, 0, half=True)
    look.measure(120, 40)
    look.wait((120, 40), ("1.1", 0), COARSE, "in kitty")
    screen.key("j")
    look.wait((120, 40), ("1.1", 1), COARSE, "after a key")
