"""The terminal is asked once what it draws, and what it answers decides."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import termios
from collections.abc import Callable
from threading import Thread

import pytest

from core.errors import UsageError
from tui.graphics import QUERIES, Terminal, choose, parse_replies, probe

KITTY = b"\x1b_Gi=31;OK\x1b\\\x1bP>|kitty(0.32.2)\x1b\\\x1b[6;18;9t\x1b[?62;c"
OLD_KITTY = b"\x1b_Gi=31;OK\x1b\\\x1bP>|kitty(0.26.5)\x1b\\\x1b[?62;c"
XTERM_SIXEL = b"\x1bP>|XTerm(379)\x1b\\\x1b[6;17;8t\x1b[?63;1;2;4;6;9;15;22c"
WEZTERM = b"\x1b_Gi=31;OK\x1b\\\x1bP>|WezTerm 20240203\x1b\\\x1b[?65;4;6;18;22c"
TMUX = b"\x1bP>|tmux 3.4\x1b\\\x1b[?1;2;4c"


def test_answers_are_read_whatever_their_order_and_what_was_typed_between() -> None:
    terminal = parse_replies(b"jj\x1b[6;17;8tq\x1bP>|XTerm(379)\x1b\\k\x1b[?63;1;4;22c")
    assert terminal == Terminal(answered=True, name="XTerm(379)", sixel=True, cell=(8, 17))


def test_attribute_4_means_sixel_and_14_or_42_do_not() -> None:
    assert parse_replies(b"\x1b[?62;4c").sixel
    assert parse_replies(b"\x1b[?4c").sixel
    assert not parse_replies(b"\x1b[?62;14;42c").sixel


def test_a_cell_size_of_zero_counts_as_none() -> None:
    assert parse_replies(b"\x1b[6;0;0t\x1b[?62c").cell is None


def test_an_error_for_the_kitty_query_means_no_kitty() -> None:
    assert not parse_replies(b"\x1b_Gi=31;EINVAL:no\x1b\\\x1b[?62c").kitty


@pytest.mark.parametrize(
    ("replies", "environ", "mode"),
    [
        (KITTY, {}, "kitty"),
        (OLD_KITTY, {}, "half"),
        (XTERM_SIXEL, {}, "sixel"),
        (WEZTERM, {}, "sixel"),
        (KITTY, {"TMUX": "/tmp/tmux-0/default,1,0"}, "half"),
        (TMUX, {}, "half"),
        (b"\x1b[?6c", {}, "half"),
        (b"", {}, "half"),
        (b"\x1b_Gi=31;OK\x1b\\\x1bP>|ghostty 1.1.0\x1b\\\x1b[?62;22c", {}, "kitty"),
    ],
)
def test_auto_takes_what_is_known_to_work(replies: bytes, environ: dict[str, str], mode: str) -> None:
    assert choose("auto", parse_replies(replies), environ).mode == mode


def test_the_reason_names_the_version_that_is_too_old() -> None:
    assert choose("auto", parse_replies(OLD_KITTY), {}).reason == "kitty(0.26.5) is older than 0.28"


def test_a_mode_asked_for_is_taken_at_its_word_also_inside_tmux() -> None:
    chosen = choose("sixel", Terminal(), {"TMUX": "x"})
    assert (chosen.mode, chosen.tmux) == ("sixel", True)


def test_an_unknown_mode_is_a_usage_error_that_lists_the_modes() -> None:
    with pytest.raises(UsageError, match="'iterm'; use auto, kitty, sixel, half, off"):
        choose("iterm", Terminal(), {})


def _answering(master: int, answers: Callable[[bytes], bytes]) -> Thread:
    """A terminal: reads until the last query and writes what `answers` gives for all of them."""

    def serve() -> None:
        heard = b""
        while QUERIES not in heard and select.select([master], [], [], 10)[0]:
            heard += os.read(master, 4096)
        os.write(master, answers(heard))

    thread = Thread(target=serve)
    thread.start()
    return thread


def test_the_probe_reads_the_answers_and_leaves_the_terminal_as_it_was() -> None:
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    serving = _answering(master, lambda heard: XTERM_SIXEL if QUERIES in heard else b"")
    try:
        terminal = probe(slave, slave, timeout=10)
        serving.join()
        assert (terminal.sixel, terminal.name, terminal.cell) == (True, "XTerm(379)", (8, 17))
        assert termios.tcgetattr(slave) == before
    finally:
        os.close(master)
        os.close(slave)


def test_a_terminal_that_never_answers_is_given_up_and_what_it_says_late_is_dropped() -> None:
    master, slave = pty.openpty()
    serving = _answering(master, lambda heard: b"\x1bP>|slow(1)\x1b\\")
    try:
        terminal = probe(slave, slave, timeout=0.3)
        serving.join()
        assert terminal.answered is False
        assert select.select([slave], [], [], 0)[0] == []
    finally:
        os.close(master)
        os.close(slave)


def test_importing_the_app_asks_the_terminal_nothing() -> None:
    master, slave = pty.openpty()
    try:
        code = "import tui.app"
        done = subprocess.run(
            [sys.executable, "-c", code], stdin=slave, stdout=slave, stderr=subprocess.PIPE, timeout=60
        )
        assert done.returncode == 0, done.stderr.decode()
        assert select.select([master], [], [], 0)[0] == []
    finally:
        os.close(master)
        os.close(slave)


def _opened_in(environ: dict[str, str], code: str, answers: bytes = XTERM_SIXEL) -> tuple[str, bytes]:
    """What a process on a terminal prints to stderr, and what it asked the terminal."""
    master, slave = pty.openpty()
    heard = b""
    try:
        whole = {**{k: v for k, v in os.environ.items() if k not in ("TMUX", "TERM")}, "TERM": "xterm", **environ}
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=slave, stdout=slave, stderr=subprocess.PIPE, env=whole
        )
        assert process.stderr is not None
        answered = False
        while not select.select([process.stderr], [], [], 0)[0]:
            if select.select([master], [], [], 0.05)[0]:
                heard += os.read(master, 4096)
            if not answered and heard.endswith(b"\x1b[c"):
                os.write(master, answers)
                answered = True
        said = process.stderr.read().decode().strip()
        process.wait(timeout=60)
        process.stderr.close()
        return said, heard
    finally:
        os.close(master)
        os.close(slave)


DETECT = "import sys; from tui.graphics import detect; g = detect({!r}); print(g.mode, *g.cell, file=sys.stderr)"


def test_a_process_on_a_terminal_asks_once_and_draws_as_it_answers() -> None:
    assert _opened_in({}, DETECT.format("auto")) == ("sixel 8 17", QUERIES)


def test_inside_tmux_nothing_is_asked() -> None:
    assert _opened_in({"TMUX": "/tmp/x,1,0"}, DETECT.format("auto")) == ("half 10 20", b"")
    assert _opened_in({"TERM": "screen-256color"}, DETECT.format("auto")) == ("half 10 20", b"")


def test_a_mode_asked_for_by_name_needs_the_cell_size_only() -> None:
    assert _opened_in({"TMUX": "/tmp/x,1,0"}, DETECT.format("sixel")) == ("sixel 8 17", b"\x1b[16t\x1b[c")
    assert _opened_in({}, DETECT.format("off")) == ("off 10 20", b"")
