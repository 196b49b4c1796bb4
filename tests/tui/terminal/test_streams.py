"""What the app sends to terminals that are not to be had here, decoded by a reader of its own; slow links; tmux."""

from __future__ import annotations

import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.support.app_driver import small_store
from tests.support.terminal.layout import Place, places
from tests.support.terminal.outside import Outside, marks_written, new_kitty
from tests.support.terminal.screen import command, needs
from tests.support.waiting import wait_until

SIZE, CELL = (110, 34), (9, 18)
EXACT = 1.0
"""Mean difference in grey levels: PNG loses nothing."""


@contextmanager
def on_kitty(folder: Path, program: list[str], delay: float = 0.0) -> Iterator[Outside]:
    outside = Outside(program, SIZE, new_kitty(CELL), delay)
    try:
        yield outside
    finally:
        outside.close()


def shows(outside: Outside, folder: Path, key: tuple[str, int]) -> bool:
    """Whether placeholders show all three FZs of the channel, pixel by pixel, where the app puts them."""
    for place in places_of(folder, key):
        drawn = outside.reader.drawn(place.y, place.x, place.rows, place.columns, CELL)
        if drawn is None or np.abs(drawn - place.repeated(CELL)).mean() > EXACT:
            return False
    return True


_known: dict[tuple[Path, tuple[str, int]], list[Place]] = {}


def places_of(folder: Path, key: tuple[str, int]) -> list[Place]:
    if (folder, key) not in _known:
        _known[folder, key] = places(folder, SIZE, CELL, key)
    return _known[folder, key]


@pytest.mark.parametrize("delay", [0.0, 0.5])
def test_a_new_kitty_is_sent_every_fz_and_placeholders_for_it_also_over_a_slow_link(
    tmp_path: Path, delay: float
) -> None:
    small_store(tmp_path / "cache")
    for channel in (0, 1):
        # Now: it takes longer than an answer may.
        places_of(tmp_path, ("1.1", channel))
    with on_kitty(tmp_path, command(tmp_path), delay) as outside:
        outside.until(lambda: shows(outside, tmp_path, ("1.1", 0)), "the FZs were not drawn")
        outside.until(lambda: outside.answered, "answers are on their way")
        outside.type("j")
        outside.until(lambda: shows(outside, tmp_path, ("1.1", 1)), "the next channel's FZs were not drawn")
        assert not marks_written(tmp_path)
        outside.type("q")
        outside.until(lambda: outside.process.poll() is not None, "q did not quit")
        assert b"\x1b_Ga=d,d=I" in outside.heard


def test_answers_that_come_too_late_are_never_typed_into_the_app(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    with on_kitty(tmp_path, command(tmp_path), delay=4.5) as outside:
        outside.until(lambda: "1.1 · 0" in outside.reader.lines(), "the app did not open")
        outside.until(lambda: outside.answered, "answers are on their way")
        outside.type("j")
        # A `?`, `c`, `q`, `[` or `/` among the keys would have left this screen.
        outside.until(lambda: "1.1 · 1" in outside.reader.lines(), "the key did not arrive")
        assert "half" in outside.reader.lines()
        assert outside.process.poll() is None
        assert not marks_written(tmp_path)


# -- tmux --------------------------------------------------------------------------------------------------------------


class Tmux:
    """A tmux server of its own."""

    def __init__(self, folder: Path) -> None:
        self.name = f"streamscope-{os.getpid()}-{secrets.token_hex(4)}"
        self._folder = folder

    def __call__(self, *arguments: str) -> str:
        environ = {key: value for key, value in os.environ.items() if key not in ("TMUX", "TMUX_PANE")}
        done = subprocess.run(
            ["tmux", "-L", self.name, "-f", "/dev/null", *arguments], capture_output=True, text=True, env=environ
        )
        return done.stdout

    def start(self, *program: str) -> None:
        self("new-session", "-d", "-x", str(SIZE[0]), "-y", str(SIZE[1]), *program)

    def screen(self) -> str:
        return self("capture-pane", "-p")


@pytest.fixture
def tmux(tmp_path: Path) -> Iterator[Tmux]:
    needs("tmux")
    small_store(tmp_path / "cache")
    server = Tmux(tmp_path)
    yield server
    server("kill-server")


def inside(folder: Path, *arguments: str) -> list[str]:
    """The app as tmux starts it: with tmux's own TERM."""
    return [part for part in command(folder, *arguments) if not part.startswith("TERM=")]


def test_without_graphics_the_app_is_used_by_keys_alone_inside_tmux(tmp_path: Path, tmux: Tmux) -> None:
    tmux.start(*inside(tmp_path, "--graphics", "off"))
    wait_until(lambda: "graphics off" in tmux.screen(), tmux.screen)
    tmux("send-keys", "j", "y")
    wait_until(lambda: "✓" in tmux.screen() and "1.1 · 1" in tmux.screen(), tmux.screen)
    tmux("send-keys", "?")
    wait_until(lambda: "Keys" in tmux.screen() and "Esc" in tmux.screen(), tmux.screen)
    tmux("send-keys", "Escape")
    wait_until(lambda: "Esc" not in tmux.screen(), tmux.screen)
    tmux("resize-window", "-x", "80", "-y", "24")
    wait_until(lambda: "1.1 · 1" in tmux.screen(), tmux.screen)
    tmux("send-keys", "q")
    wait_until(lambda: tmux("list-sessions") == "", tmux.screen)


@pytest.mark.parametrize("passthrough", ["on", "off"])
def test_inside_tmux_kitty_gets_pictures_when_passthrough_is_on_and_a_line_says_how_when_it_is_off(
    tmp_path: Path, tmux: Tmux, passthrough: str
) -> None:
    tmux.start("cat")
    tmux("set-option", "-g", "allow-passthrough", passthrough)
    tmux("set-option", "-g", "status", "off")
    with on_kitty(tmp_path, ["env", "TERM=xterm-256color", "tmux", "-L", tmux.name, "attach"]) as outside:
        outside.until(lambda: "kitty(0.35" in tmux("list-clients", "-F", "#{client_termtype}"), "tmux did not attach")
        if not tmux("display-message", "-p", "#{client_termtype}").startswith("kitty"):
            pytest.skip("this tmux does not know the terminal around it")
        tmux("respawn-pane", "-k", *inside(tmp_path))
        outside.until(lambda: "1.1 · 0" in outside.reader.lines(), "the app did not open")
        if passthrough == "off":
            outside.until(lambda: "allow-passthrough on" in outside.reader.lines(), "nothing says how")
            assert not outside.reader.images
            return
        deadline = time.monotonic() + 60
        while len(outside.reader.images) < 3 and time.monotonic() < deadline:
            outside.step()
        wanted = [place.image.shape for place in places_of(tmp_path, ("1.1", 0))]
        assert len(outside.reader.images) >= len(wanted)
        assert outside.reader.placed
