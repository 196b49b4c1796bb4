"""Detects how the terminal draws images: asked once, before the app starts. Draws nothing, and imports no Textual."""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import sys
import termios
import time
import tty
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, cast

from rich.console import Console

from streamscope.core.errors import UsageError
from streamscope.tui.terminal.tmux import TURN_ON, Tmux, ask_tmux, status_through_tmux

Mode = Literal["kitty", "sixel", "half", "off"]
CHOICES = ("auto", "kitty", "sixel", "half", "off")

STATUS = "\x1b[5n"
"""Asks the terminal for its status (DSR), which it answers (`CSI 0 n`) once it has done all before it."""
KITTY_PLACEHOLDERS = (0, 28)
"""Unicode placeholders came with kitty 0.28; 0.26.5 answers the graphics query and then draws a field of boxes."""
FALLBACK_CELL = (10, 20)
PROBE_SECONDS = 1.5
"""Of the three that anybody waits for the app. What comes later is kept from it by `streamscope.tui.terminal.input`."""

# DA1 comes last: every terminal answers it, so its answer says that the others have been answered or never will be.
QUERIES = b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\" + b"\x1b[>q" + b"\x1b[16t" + b"\x1b[c"
CELL_QUERIES = b"\x1b[16t" + b"\x1b[c"

_DEVICE = re.compile(rb"\x1b\[\?([\d;]*)c")
_VERSION = re.compile(rb"\x1bP>\|(.*?)(?:\x1b\\|\x07)", re.DOTALL)
_CELL = re.compile(rb"\x1b\[6;(\d+);(\d+)t")
_KITTY = re.compile(rb"\x1b_Gi=31;OK\x1b\\")


@dataclass(frozen=True)
class Terminal:
    """What a terminal said about itself; `cell` is (width, height) of one cell in pixels, None when it did not say."""

    answered: bool = False
    name: str = ""
    """Its XTVERSION answer, `kitty(0.32.2)` or `XTerm(379)`."""
    kitty: bool = False
    sixel: bool = False
    cell: tuple[int, int] | None = None


@dataclass(frozen=True)
class Graphics:
    """The way images are drawn, the cell size they are drawn for, and why it was chosen (shown in the status bar)."""

    mode: Mode
    cell: tuple[int, int] = FALLBACK_CELL
    reason: str = ""
    tmux: bool = False
    hint: str = ""
    """One line on how to get pictures, where they could be had."""
    status: str = STATUS
    """What asks the terminal for its status; "" where another program stands between that would answer for it."""


def parse_replies(replies: bytes) -> Terminal:
    """What the bytes a terminal sent in answer to `QUERIES` say; unknown bytes (typed keys) are passed over."""
    device = _DEVICE.search(replies)
    version = _VERSION.search(replies)
    cell = _CELL.search(replies)
    size = (int(cell[2]), int(cell[1])) if cell else None
    return Terminal(
        answered=device is not None,
        name=version[1].decode("ascii", "replace").strip() if version else "",
        kitty=_KITTY.search(replies) is not None,
        sixel=device is not None and b"4" in device[1].split(b";"),
        cell=size if size and min(size) > 0 else None,
    )


def probe(source: int, sink: int, timeout: float = PROBE_SECONDS, queries: bytes = QUERIES) -> Terminal:
    """Ask the terminal behind the file descriptors what it draws; waits `timeout` seconds at most.

    What was typed meanwhile is dropped, so that no late reply reaches the app as keys.
    """
    before = termios.tcgetattr(source)
    replies = b""
    try:
        tty.setcbreak(source, termios.TCSANOW)
        os.write(sink, queries)
        ends = time.monotonic() + timeout
        while not _DEVICE.search(replies) and (left := ends - time.monotonic()) > 0:
            readable, _, _ = select.select([source], [], [], left)
            if readable:
                chunk = os.read(source, 4096)
                if not chunk:
                    break
                replies += chunk
    finally:
        termios.tcsetattr(source, termios.TCSAFLUSH, before)
    return parse_replies(replies)


def kernel_cell_size(descriptor: int) -> tuple[int, int] | None:
    """Cell size by the terminal's window size in pixels (TIOCGWINSZ); None where the kernel does not know it."""
    try:
        packed = fcntl.ioctl(descriptor, termios.TIOCGWINSZ, b"\0" * 8)
    except OSError:
        return None
    rows, columns, width, height = struct.unpack("HHHH", packed)
    if not (rows and columns and width // columns and height // rows):
        return None
    return width // columns, height // rows


def current_cell_size() -> tuple[int, int] | None:
    """As `kernel_cell_size`, of this process's terminal; it changes with the font."""
    stdout = sys.__stdout__
    return kernel_cell_size(stdout.fileno()) if stdout is not None and stdout.isatty() else None


def has_placeholders(name: str) -> bool:
    """Whether a terminal of this name and version places images by Unicode placeholders, the only way that survives a
    redraw of the screen."""
    version = re.match(r"kitty\((\d+)\.(\d+)", name)
    if version:
        return (int(version[1]), int(version[2])) >= KITTY_PLACEHOLDERS
    return name.lower().startswith("ghostty")


def choose(requested: str, terminal: Terminal, environ: Mapping[str, str], tmux: Tmux | None = None) -> Graphics:
    """The mode to draw in. A mode asked for by name is taken at its word; `auto` picks what is known to work.

    Inside tmux `terminal` is what tmux itself answered. Raises UsageError for a mode that does not exist.
    """
    if requested not in CHOICES:
        raise UsageError(f"unknown graphics mode {requested!r}; use {', '.join(CHOICES)}")
    inside = _multiplexed(environ) or terminal.name.startswith("tmux")
    cell = terminal.cell or (tmux.cell if tmux else None) or FALLBACK_CELL

    def chosen(mode: Mode, reason: str, hint: str = "") -> Graphics:
        return Graphics(mode, cell, reason, inside, hint, _status(environ, tmux))

    if requested != "auto":
        off = inside and requested == "kitty" and tmux is not None and not tmux.passthrough
        hint = f"tmux keeps the pictures back; turn them on by '{TURN_ON}'" if off else ""
        # One of CHOICES, and not auto.
        return chosen(cast(Mode, requested), "asked for", hint)
    if inside:
        return _inside_tmux(terminal, tmux, chosen)
    if terminal.kitty and has_placeholders(terminal.name):
        return chosen("kitty", terminal.name)
    if terminal.sixel:
        return chosen("sixel", terminal.name or "the terminal says so")
    if terminal.name.startswith("kitty"):
        return chosen("half", f"{terminal.name} is older than 0.28")
    if not terminal.answered:
        return chosen("half", f"the terminal did not answer within {PROBE_SECONDS:g} s; --graphics says what it draws")
    return chosen("half", f"{terminal.name or 'the terminal'} has no image protocol")


def _inside_tmux(terminal: Terminal, tmux: Tmux | None, chosen: Callable[..., Graphics]) -> Graphics:
    """Kitty's placeholders are text to tmux and its images pass through it; Sixel tmux has to draw itself (3.4 on)."""
    if tmux is None:
        return chosen("half", "inside tmux or screen; --graphics kitty or sixel if yours passes images on")
    if has_placeholders(tmux.outer):
        if tmux.passthrough:
            return chosen("kitty", f"{tmux.outer} through tmux")
        hint = f"pictures through tmux: '{TURN_ON}', then start again"
        return chosen("half", "tmux passes no images on", hint)
    if terminal.sixel and tmux.sixel:
        return chosen("sixel", f"{tmux.outer} through tmux")
    if tmux.outer.startswith("kitty("):
        return chosen("half", f"{tmux.outer} is older than 0.28")
    if tmux.sixel:
        return chosen("half", "this tmux draws no Sixel", "a tmux of 3.4 or newer built with Sixel would draw pictures")
    return chosen("half", f"{tmux.outer or 'the terminal outside tmux'} has no image protocol that tmux passes on")


def _status(environ: Mapping[str, str], tmux: Tmux | None) -> str:
    """How to ask the terminal that the user sees for its status: a tmux or screen on this machine answers by itself, at
    once, however slow the line from here on is."""
    if environ.get("TMUX"):
        return status_through_tmux(STATUS) if tmux is not None and tmux.passthrough else ""
    return "" if environ.get("STY") else STATUS


def _multiplexed(environ: Mapping[str, str]) -> bool:
    return bool(environ.get("TMUX")) or environ.get("TERM", "").startswith(("screen", "tmux"))


def detect(requested: str, environ: Mapping[str, str] | None = None) -> Graphics:
    """Ask this process's terminal, if there is one and it matters, and choose. Call before the app takes it over."""
    environ = os.environ if environ is None else environ
    found = _detected(requested, environ)
    return found if found.hint else replace(found, hint=colour_hint(environ))


def colour_hint(environ: Mapping[str, str]) -> str:
    """How to get more colours on terminals with few colours; Textual goes by the same."""
    system = Console(force_terminal=True, _environ=environ).color_system
    return (
        "" if system in ("256", "truecolor") else "only 16 colours: TERM=xterm-256color shows more, if yours has them"
    )


def _detected(requested: str, environ: Mapping[str, str]) -> Graphics:
    known = current_cell_size()
    chosen = choose(requested, Terminal(cell=known), environ)
    stdin, stdout = sys.__stdin__, sys.__stdout__
    if stdin is None or stdout is None or not (stdin.isatty() and stdout.isatty()):
        return chosen
    tmux = ask_tmux(environ)
    multiplexed = _multiplexed(environ)
    if requested == "auto":
        # A multiplexer answers for itself, and takes the kitty query for the title of its window.
        queries = CELL_QUERIES if multiplexed else QUERIES
    elif chosen.mode in ("half", "off") or known or (tmux is not None and tmux.cell):
        return choose(requested, Terminal(cell=known), environ, tmux)
    else:
        queries = CELL_QUERIES
    stdout.flush()
    found = probe(stdin.fileno(), stdout.fileno(), queries=queries)
    return choose(requested, replace(found, cell=known or found.cell), environ, tmux)
