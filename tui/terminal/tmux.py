"""What the tmux around this process can be asked: which terminal is outside, and whether images get through to it."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

ASK_SECONDS = 1.0
TURN_ON = "tmux set -g allow-passthrough on"
_FORMAT = "#{client_termtype}|#{client_termname}|#{client_termfeatures}|#{allow-passthrough}|#{client_cell_width}"
_FORMAT += "|#{client_cell_height}"


@dataclass(frozen=True)
class Tmux:
    """`outer` is the terminal that tmux runs in, as its XTVERSION or else its TERM says, "" when no client is attached.

    `passthrough`: programs may send it sequences of their own. `sixel`: tmux believes that it draws Sixel. `cell` is
    (width, height) of one cell in pixels, None when tmux does not know it.
    """

    outer: str = ""
    passthrough: bool = False
    sixel: bool = False
    cell: tuple[int, int] | None = None


def ask_tmux(environ: Mapping[str, str]) -> Tmux | None:
    """What the tmux of this process says; None outside of one, or where its server cannot be reached."""
    if not environ.get("TMUX"):
        return None
    pane = ["-t", environ["TMUX_PANE"]] if environ.get("TMUX_PANE") else []
    command = ["tmux", "display-message", "-p", *pane, _FORMAT]
    try:
        asked = subprocess.run(
            command, capture_output=True, text=True, timeout=ASK_SECONDS, env={**os.environ, **environ}, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_tmux(asked.stdout) if asked.returncode == 0 else None


def parse_tmux(answer: str) -> Tmux | None:
    """Reads what tmux made of the format; a variable that an older tmux does not know is empty."""
    parts = answer.strip("\n").split("|")
    if len(parts) != 6:
        return None
    kind, name, features, passthrough, width, height = parts
    cell = (int(width), int(height)) if re.fullmatch(r"[1-9]\d*", width) and re.fullmatch(r"[1-9]\d*", height) else None
    # `all` lets panes that are not in view through as well.
    return Tmux(kind or name, passthrough in ("1", "2", "on", "all"), "sixel" in features.split(","), cell)


def through_tmux(messages: str) -> str:
    """Wrap each message for tmux's passthrough (`allow-passthrough on`)."""
    parts = [part + "\x1b\\" for part in messages.split("\x1b\\") if part]
    return "".join(_wrapped(part) for part in parts)


def status_through_tmux(status: str) -> str:
    """The question for the terminal's status, for the terminal outside: tmux's own answer says nothing of the line."""
    return _wrapped(status)


def _wrapped(message: str) -> str:
    return f"\x1bPtmux;{message.replace(chr(27), chr(27) * 2)}\x1b\\"
