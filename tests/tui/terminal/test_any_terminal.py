"""Terminals that answer late or never, or that go; and two at once."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from streamscope.core.store import JobSpec, create_job
from streamscope.core.store.jobs.events import Report
from streamscope.tui.terminal.detection import PROBE_SECONDS
from tests.support.app_driver import small_store
from tests.support.terminal.outside import Outside, marks_written, new_kitty
from tests.support.terminal.screen import command
from tests.support.terminal.ssh import ssh_server
from tests.support.waiting import wait_until

SIZE, CELL = (110, 34), (9, 18)


def silent(_: bytes) -> bytes:
    return b""


@contextmanager
def on_terminal(
    program: list[str], answers: Callable[[bytes], bytes] | None = None, delay: float = 0.0
) -> Iterator[Outside]:
    outside = Outside(program, SIZE, answers or new_kitty(CELL), delay)
    try:
        yield outside
    finally:
        outside.close()


def is_open(outside: Outside) -> bool:
    """Whether the table is on the screen. While the status bar says something at its left, there may be no room in it
    for how many are judged."""
    lines = outside.reader.lines()
    return "row 1 of 22" in lines and "? Keys" in lines


@pytest.mark.parametrize("delay", [2.0, 4.0, None])
def test_one_that_answers_late_or_never_gets_half_blocks_and_is_told_why(tmp_path: Path, delay: float | None) -> None:
    small_store(tmp_path / "cache")
    answers = silent if delay is None else None
    with on_terminal(command(tmp_path), answers, delay or 0.0) as outside:
        said = f"half blocks: the terminal did not answer within {PROBE_SECONDS:g} s; --graphics says what it draws"
        outside.until(
            lambda: is_open(outside) and said in outside.reader.lines(), "nothing says why there are half blocks"
        )
        assert not outside.reader.images
        outside.type("j")
        outside.until(lambda: "1.1 · 1" in outside.reader.lines(), "the key did not arrive")
        outside.until(lambda: outside.answered, "answers are on their way")
        outside.until(lambda: "▀" in outside.reader.lines(), "no pictures came")
        assert outside.process.poll() is None
        assert not marks_written(tmp_path)


def test_the_screen_is_whole_after_any_number_of_resizes_while_a_job_runs(tmp_path: Path) -> None:
    store = small_store(tmp_path / "cache", ("1.1",))
    job = create_job(store, JobSpec("resnet18", blocks=("2.1",)))
    job.heartbeat(Report(done=0, total=100))
    large, tiny = (200, 60), (20, 5)
    with on_terminal(command(tmp_path, "--graphics", "half")) as outside:
        outside.resize(*large)
        outside.until(
            lambda: "? Keys" in outside.reader.lines() and "0/100" in outside.reader.lines(), "it did not open"
        )
        for place in range(40):
            outside.resize(*(large if place % 2 else tiny))
            job.heartbeat(Report(done=place + 1, total=100))
            outside.rest(0.05)
        outside.until(lambda: "40/100" in outside.reader.lines(), "the job's progress did not come")
        outside.until(lambda: "▀" in outside.reader.lines(), "the pictures did not come")
        outside.rest(1.5)
        with on_terminal(command(tmp_path, "--graphics", "half")) as fresh:
            fresh.resize(*large)
            fresh.until(
                lambda: fresh.reader.lines() == outside.reader.lines(), "another screen: " + outside.reader.lines()
            )
        outside.type("j")
        outside.until(lambda: "row 2 of" in outside.reader.lines(), "the cursor did not move")


def test_nothing_is_left_to_be_typed_into_the_shell_when_the_app_ends(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    app = shlex.join(command(tmp_path))
    # What is typed to the terminal after the app is shown by the shell's read.
    script = f"{app}; stty -echo -icanon min 0 time 10; printf 'left:[%s]\\n' \"$(head -c 40 | od -An -c)\""
    with on_terminal(["sh", "-c", script], delay=0.4) as outside:
        outside.until(lambda: is_open(outside), "the app did not open")
        outside.type("jjj")
        outside.until(lambda: "1.1 · 3" in outside.reader.lines(), "the cursor did not move")
        outside.type("jq")
        outside.until(lambda: b"left:[" in outside.heard, "the app did not end")
        assert b"left:[]" in outside.heard


def test_two_apps_that_mark_the_same_channel_agree(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    with on_terminal(command(tmp_path)) as one, on_terminal(command(tmp_path)) as two:

        def both(words: str) -> bool:
            one.step()
            two.step()
            return all(words in outside.reader.lines() for outside in (one, two))

        wait_until(partial(both, "0 of 22 judged"), "both apps to open")
        # The cursor is to stay on the channel.
        one.type("a")
        two.type("a")
        one.type("y")
        wait_until(partial(both, "1 of 22 judged"), "both to show the mark of one")
        two.type("c")
        wait_until(partial(both, "0 of 22 judged"), "both to show that the other took it back")
        one.type("y")
        two.type("n")
        wait_until(partial(both, "1 of 22 judged"), "both to show one mark")
        for outside in (one, two):
            outside.type("q")
        for outside in (one, two):
            outside.until(lambda outside=outside: outside.process.poll() is not None, "q did not quit")  # type: ignore[misc]


# -- a real SSH server -------------------------------------------------------------------------------------------------


def test_over_ssh_pictures_come_and_a_dropped_connection_ends_the_app_which_keeps_all(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    state = tmp_path / "state"
    program = [
        "env",
        f"STREAMSCOPE_STATE={state}",
        "sh",
        "-c",
        f"echo $$ > {tmp_path}/pid; exec {shlex.join(command(tmp_path))}",
    ]
    with ssh_server(tmp_path / "ssh") as server, on_terminal(server.command(program)) as outside:
        outside.until(lambda: is_open(outside), "the app did not open")
        outside.until(lambda: len(outside.reader.images) >= 3, "no pictures came")
        outside.type("jjy")
        outside.until(lambda: "1 of 22 judged" in outside.reader.lines(), "the mark did not come")
        outside.until(lambda: "row 4 of 22" in outside.reader.lines(), "the cursor did not go on")
        app = int((tmp_path / "pid").read_text())
        # As when a laptop is shut: nothing is said to the other end.
        outside.process.kill()
        wait_until(lambda: not _lives(app), "the app to end")
    assert marks_written(tmp_path)
    (session,) = state.glob("resnet18-*.json")
    assert json.loads(session.read_text())["cursor"] == ["1.1", 3]


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
