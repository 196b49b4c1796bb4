"""A terminal that vanishes ends the app, which keeps what it had; one that is taken away for a while gets it back."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.app_driver import small_store
from tests.support.terminal.outside import Outside, new_kitty
from tests.support.terminal.screen import command
from tests.support.waiting import wait_until

SIZE = (110, 34)


@contextmanager
def on_terminal(program: list[str]) -> Iterator[Outside]:
    outside = Outside(program, SIZE, new_kitty((9, 18)))
    try:
        yield outside
    finally:
        outside.close()


def is_open(outside: Outside) -> bool:
    """Whether the table is on the screen."""
    lines = outside.reader.lines()
    return "22 judged" in lines and "? Keys" in lines


def test_the_app_saves_and_ends_when_its_terminal_vanishes_without_a_word(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    words = shlex.join(command(tmp_path))
    with on_terminal(["sh", "-c", f"trap '' HUP; STREAMSCOPE_STATE={tmp_path / 'state'} exec {words}"]) as outside:
        outside.until(lambda: is_open(outside), "the app did not open")
        outside.type("jjj")
        outside.until(lambda: "row 4 of 22" in outside.reader.lines(), "the cursor did not move")
        outside.vanish()
        wait_until(lambda: outside.process.poll() is not None, "the app to end")
        assert outside.process.returncode == 0
    (session,) = tmp_path.glob("state/resnet18-*.json")
    assert json.loads(session.read_text())["cursor"] == ["1.1", 3]


def test_sighup_ends_the_app_as_q_does(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    words = shlex.join(command(tmp_path))
    with on_terminal(["sh", "-c", f"STREAMSCOPE_STATE={tmp_path / 'state'} exec {words}"]) as outside:
        outside.until(lambda: is_open(outside), "the app did not open")
        outside.type("j")
        outside.until(lambda: "row 2 of 22" in outside.reader.lines(), "the cursor did not move")
        os.kill(outside.process.pid, signal.SIGHUP)
        outside.until(lambda: outside.process.poll() is not None, "the app did not end")
        assert outside.process.returncode == 0
    (session,) = tmp_path.glob("state/resnet18-*.json")
    assert json.loads(session.read_text())["cursor"] == ["1.1", 1]


@pytest.mark.parametrize("stop", [signal.SIGTSTP, signal.SIGSTOP])
def test_after_a_stop_that_nobody_typed_the_screen_is_painted_again(tmp_path: Path, stop: signal.Signals) -> None:
    small_store(tmp_path / "cache")
    with on_terminal(command(tmp_path)) as outside:
        outside.until(lambda: is_open(outside), "the app did not open")
        os.kill(outside.process.pid, stop)
        outside.until(lambda: _state(outside.process.pid) == "T", "the app did not stop")
        outside.rest(0.2)
        outside.reader.text.clear()
        os.kill(outside.process.pid, signal.SIGCONT)
        outside.until(lambda: is_open(outside), "the app did not paint itself again")
        outside.type("j")
        outside.until(lambda: "row 2 of 22" in outside.reader.lines(), "the key did not arrive")
        outside.type("jj")
        outside.until(lambda: "row 4 of 22" in outside.reader.lines(), "a key was read by two")


def _state(process: int) -> str:
    """The letter of Linux for what a process does."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][0]


@pytest.mark.skipif(shutil.which("bash") is None or shutil.which("setsid") is None, reason="no shell with job control")
def test_ctrl_z_stops_the_app_and_fg_shows_it_again(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    with on_terminal(["setsid", "-c", "-w", "bash", "--norc", "--noprofile", "-i"]) as outside:
        outside.type(f"PS1='ready> '; {shlex.join(command(tmp_path))}\n")
        outside.until(lambda: is_open(outside), "the app did not open")
        outside.type("\x1a")
        outside.until(lambda: b"Stopped" in outside.heard, "the shell did not say that it stopped")
        before = len(outside.heard)
        outside.type("echo still $((40 + 2))\n")
        outside.until(lambda: b"still 42" in outside.heard[before:], "the shell did not answer")
        outside.reader.text.clear()
        outside.type("fg\n")
        outside.until(lambda: is_open(outside), "the app did not paint itself again")
        before = len(outside.heard)
        outside.type("q")
        outside.until(lambda: b"ready> " in outside.heard[before:], "the app did not give the terminal back")
        outside.type("exit 7\n")
        outside.until(lambda: outside.process.poll() is not None, "the shell did not end")
        assert outside.process.returncode == 7
