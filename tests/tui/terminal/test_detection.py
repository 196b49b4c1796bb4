"""The terminal is asked once what it draws, and what it answers decides."""

from __future__ import annotations

import math
import os
import pty
import select
import subprocess
import sys
import termios
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from types import SimpleNamespace

import pytest
from textual.events import Key

from streamscope.core.errors import UsageError
from streamscope.tui.terminal import detection
from streamscope.tui.terminal.detection import (
    CELL_QUERIES,
    PROBE_SECONDS,
    QUERIES,
    Terminal,
    choose,
    detect,
    parse_replies,
    probe,
)
from streamscope.tui.terminal.input import QuietParser, ReplyFilter
from streamscope.tui.terminal.tmux import Tmux, parse_tmux

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


@pytest.mark.parametrize("delay", [2.0, 4.0, math.inf])
def test_the_app_waits_half_of_three_seconds_at_most_for_a_terminal_and_then_draws_what_is_safe(
    monkeypatch: pytest.MonkeyPatch, delay: float
) -> None:
    """By a clock that only waiting for the terminal moves."""
    master, slave = pty.openpty()
    os.set_blocking(master, False)
    now, asked, answered = 100.0, b"", False

    def wait(source: list[int], _: list[int], __: list[int], seconds: float) -> tuple[list[int], list[int], list[int]]:
        nonlocal now, asked, answered
        with suppress(BlockingIOError):
            asked += os.read(master, 4096)
        due = 100.0 + delay
        if answered or due > now + seconds:
            now += seconds
            return [], [], []
        now, answered = max(now, due), True
        os.write(master, KITTY)
        return source, [], []

    monkeypatch.setattr(detection, "select", SimpleNamespace(select=wait))
    monkeypatch.setattr(detection, "time", SimpleNamespace(monotonic=lambda: now))
    with os.fdopen(slave, "r") as stdin, os.fdopen(os.dup(slave), "w") as stdout:
        monkeypatch.setattr(sys, "__stdin__", stdin)
        monkeypatch.setattr(sys, "__stdout__", stdout)
        found = detect("auto", {"TERM": "xterm-256color"})
    os.close(master)
    assert asked == QUERIES
    assert now - 100.0 == pytest.approx(PROBE_SECONDS)
    assert PROBE_SECONDS <= 1.5
    assert found.mode == "half"
    assert found.reason == "the terminal did not answer within 1.5 s; --graphics says what it draws"


def test_importing_the_app_asks_the_terminal_nothing() -> None:
    master, slave = pty.openpty()
    try:
        code = "import streamscope.tui.app.app"
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


DETECT = """
import sys
from streamscope.tui.terminal.detection import detect
g = detect({!r})
print(g.mode, *g.cell, file=sys.stderr)
"""


def test_a_process_on_a_terminal_asks_once_and_draws_as_it_answers() -> None:
    assert _opened_in({}, DETECT.format("auto")) == ("sixel 8 17", QUERIES)


def test_inside_tmux_nothing_is_asked_that_it_would_take_for_a_title() -> None:
    for inside in ({"TMUX": "/tmp/no-such-server,1,0"}, {"TERM": "screen-256color"}):
        said, heard = _opened_in(inside, DETECT.format("auto"))
        assert said.startswith("half")
        assert heard == CELL_QUERIES


OUTSIDE = "kitty(0.35.2)|xterm-kitty|256,RGB,title|{}|9|18\n"


def test_inside_tmux_the_terminal_around_it_decides_and_a_line_says_how_to_turn_pictures_on() -> None:
    plain = parse_replies(b"\x1b[?1;2c")
    environ = {"TMUX": "x"}
    on = choose("auto", plain, environ, parse_tmux(OUTSIDE.format(1)))
    assert (on.mode, on.tmux, on.cell, on.hint) == ("kitty", True, (9, 18), "")
    off = choose("auto", plain, environ, parse_tmux(OUTSIDE.format(0)))
    assert (off.mode, off.hint) == (
        "half",
        "pictures through tmux: 'tmux set -g allow-passthrough on', then start again",
    )
    asked_for = choose("kitty", plain, environ, parse_tmux(OUTSIDE.format(0)))
    assert asked_for.mode == "kitty"
    assert "allow-passthrough on" in asked_for.hint


def test_sixel_inside_tmux_needs_a_tmux_that_draws_it_on_a_terminal_that_does() -> None:
    draws, plain = parse_replies(b"\x1b[?1;2;4c"), parse_replies(b"\x1b[?1;2c")
    xterm = parse_tmux("XTerm(379)|xterm-256color|256,sixel|0||\n")
    other = parse_tmux("foo(1)|xterm-256color|256|1||\n")
    assert choose("auto", draws, {"TMUX": "x"}, xterm).mode == "sixel"
    assert choose("auto", plain, {"TMUX": "x"}, xterm).mode == "half"
    assert choose("auto", draws, {"TMUX": "x"}, other).mode == "half"


def test_an_old_kitty_around_tmux_falls_back_too() -> None:
    old = parse_tmux("kitty(0.26.5)|xterm-kitty|256|1|9|18\n")
    chosen = choose("auto", parse_replies(b"\x1b[?1;2c"), {"TMUX": "x"}, old)
    assert (chosen.mode, chosen.reason) == ("half", "kitty(0.26.5) is older than 0.28")


def test_what_an_older_tmux_does_not_know_is_no_passthrough() -> None:
    assert parse_tmux("|xterm||||") == Tmux("xterm", False, False, None)
    assert parse_tmux("unknown format") is None


def all_at(filter: ReplyFilter, *pieces: str) -> str:
    return "".join(filter.feed(piece, 0.0) for piece in pieces)


@pytest.mark.parametrize("replies", [KITTY, OLD_KITTY, XTERM_SIXEL, WEZTERM, b"\x1bP>|slow(1)\x07\x1b[?6c"])
def test_late_answers_are_no_keys_whole_or_in_pieces_of_any_size(replies: bytes) -> None:
    text = replies.decode()
    assert all_at(ReplyFilter(), f"j{text}k") == "jk"
    for size in (1, 2, 5):
        pieces = [text[start : start + size] for start in range(0, len(text), size)]
        assert all_at(ReplyFilter(), "j", *pieces, "k") == "jk"


def test_keys_pass_and_the_escape_key_is_held_back_for_a_moment_only() -> None:
    typed = ReplyFilter()
    assert typed.feed("\x1b[A\x1b[1;5Bq\x1b[<0;3;4M", 0.0) == "\x1b[A\x1b[1;5Bq\x1b[<0;3;4M"
    assert typed.feed("\x1b", 1.0) == ""
    assert typed.overdue(1.05) == ""
    assert typed.overdue(1.2) == "\x1b"
    assert typed.feed("j", 1.3) == "j"


def test_an_answer_that_never_ends_is_dropped_and_keys_work_again() -> None:
    typed = ReplyFilter()
    assert typed.feed("\x1bP>|XTe", 0.0) == ""
    assert typed.overdue(1.0) == ""
    assert typed.overdue(4.0) == ""
    assert typed.feed("j", 5.0) == "j"


def test_late_answers_come_to_the_app_as_nothing_and_keys_among_them_as_keys() -> None:
    parser = QuietParser()
    events = [
        event for piece in ("\x1bP>|XTerm(3", "79)\x1b\\j\x1b[?63;1;4", ";22c", "k") for event in parser.feed(piece)
    ]
    assert [event.key for event in events if isinstance(event, Key)] == ["j", "k"]


def test_a_mode_asked_for_by_name_needs_the_cell_size_only() -> None:
    assert _opened_in({"TMUX": "/tmp/x,1,0"}, DETECT.format("sixel")) == ("sixel 8 17", b"\x1b[16t\x1b[c")
    assert _opened_in({}, DETECT.format("off")) == ("off 10 20", b"")


@pytest.mark.parametrize(
    ("environ", "few"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "linux"}, True),
        ({"TERM": "xterm-256color"}, False),
        ({"TERM": "xterm", "COLORTERM": "truecolor"}, False),
    ],
)
def test_a_terminal_of_few_colours_is_told_how_to_show_more(environ: dict[str, str], few: bool) -> None:
    assert detect("half", environ).hint.startswith("only 16 colours: TERM=xterm-256color") is few
