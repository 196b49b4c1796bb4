"""Commands do what they can where something is missing that is usually there, or say in one line what to set."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from streamscope.core.processes import COMMAND_LINE, module_command
from streamscope.core.store import Store
from tests.support.app_driver import small_store
from tests.support.app_store import make_info
from tests.support.stores import tiny_disk

ENDS = 120
NOBODY = 54321
"""A uid that no machine has a name for."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("surroundings") / "cache"
    small_store(root)
    return root


def run(
    cache: Path, *words: str, redirect: str = "", environ: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    command = module_command(COMMAND_LINE, "--cache", str(cache), *words)
    return subprocess.run(
        ["sh", "-c", f'"$@" {redirect}', "sh", *command],
        capture_output=True,
        text=True,
        timeout=ENDS,
        env=environ if environ is not None else {**os.environ, "STREAMSCOPE_MARKS": str(cache.parent / "marks")},
    )


READING = [("table", "--block", "1.1"), ("cache", "info"), ("models",), ("--help",), ("table", "--help")]


@pytest.mark.parametrize("words", READING)
def test_what_is_closed_is_done_without(cache: Path, words: tuple[str, ...]) -> None:
    whole = run(cache, *words)
    assert (whole.returncode, whole.stderr) == (0, "")
    for redirect in ("<&-", "2>&-", "<&- 2>&-", "2>/dev/full"):
        ended = run(cache, *words, redirect=redirect)
        assert (ended.returncode, ended.stderr) == (0, "")
        # What is free changes while others write to the disk.
        assert re.sub(r"[\d.]+ GB free", "", ended.stdout) == re.sub(r"[\d.]+ GB free", "", whole.stdout)
    ended = run(cache, *words, redirect=">&-")
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("words", READING)
def test_an_output_that_is_full_is_one_line(cache: Path, words: tuple[str, ...]) -> None:
    ended = run(cache, *words, redirect=">/dev/full")
    assert ended.returncode == 1
    assert ended.stderr == "streamscope: cannot write the output: No space left on device\n"


def test_an_error_that_cannot_be_said_is_still_an_exit_code(cache: Path) -> None:
    assert run(cache, "table", "--block", "9.9", redirect="2>/dev/full").returncode == 2
    assert run(cache, "table", "--block", "9.9", redirect="2>&-").returncode == 2
    assert run(cache, "tui", redirect="<&- >&- 2>&-").returncode == 1


def test_files_of_ours_never_get_the_number_of_a_closed_stream(cache: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ended = run(cache, "fz", "--block", "1.1", "--channels", "0", "--out", str(out), redirect="<&- >&- 2>&-")
    assert ended.returncode == 0
    assert {path.read_bytes()[:4] for path in out.glob("*.png")} == {b"\x89PNG"}


@pytest.fixture
def nameless() -> dict[str, str]:
    """No variable, and a user without an entry in the password file, as a container may start a command."""
    if os.geteuid() != 0:
        pytest.skip("only root can act as a user without a name")
    return {"PATH": os.environ["PATH"]}


def test_without_a_home_it_is_said_what_to_set(nameless: dict[str, str], cache: Path) -> None:
    # In this process: the interpreter itself may be out of others' reach.
    code = """
import os, sys
from streamscope.tui.cli.main import main
import streamscope.tui.app.memory, streamscope.tui.app.settings, streamscope.tui.commands.table, streamscope.tui.advice
import streamscope.tui.commands.cache, streamscope.tui.commands.app
os.setuid(int(sys.argv[1]))
from streamscope.core.store import marks_folder
print(streamscope.tui.app.memory.state_folder(), streamscope.tui.app.settings.settings_path())
from streamscope.core.errors import HomeError
from streamscope.tui.advice import worded
try:
    marks_folder()
except HomeError as error:
    print(worded(error))
"""
    command = [*module_command("x")[:2], "-c", code, str(NOBODY)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=ENDS, env=nameless)
    assert ended.stderr == ""
    assert ended.stdout.splitlines() == [
        "None /dev/null",
        f"no home folder is known of uid {NOBODY}; set HOME, or STREAMSCOPE_MARKS",
    ]


NOWHERE = {"STREAMSCOPE_MARKS": "~nobody-of-that-name/marks"}
"""As where no home is known: there is no such folder."""


@pytest.mark.parametrize(
    "words",
    [
        ("table", "--block", "1.1"),
        ("table", "--block", "1.1", "--filter", "not marked", "--format", "csv"),
        ("fz", "--block", "1.1", "--channels", "0", "--out", "OUT"),
        ("report", "--block", "1.1", "--out", "OUT"),
    ],
)
def test_what_only_reads_marks_goes_on_without_them_where_they_have_no_place(
    cache: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    words = tuple(word.replace("OUT", str(tmp_path / "out")) for word in words)
    whole = run(cache, *words)
    ended = run(cache, *words, environ={**os.environ, **NOWHERE})
    assert (ended.returncode, ended.stdout) == (0, whole.stdout)
    assert ended.stderr.startswith("streamscope: marks are not read: no home folder is known of ")
    assert ended.stderr.endswith("; set HOME, or STREAMSCOPE_MARKS\n" + whole.stderr)


@pytest.mark.parametrize("words", ["export", "import"])
def test_what_is_about_marks_refuses_in_one_line_where_they_have_no_place(
    cache: Path, tmp_path: Path, words: str
) -> None:
    marks = tmp_path / "marks.csv"
    row = f"resnet18,{make_info().fingerprint},1.1,0,keep,,\n"
    marks.write_text("model,fingerprint,block,channel,marked,tags,note\n" + row)
    ended = run(cache, "marks", words, str(marks), environ={**os.environ, **NOWHERE})
    assert ended.returncode == 1
    assert re.fullmatch(r"streamscope: no home folder is known of \S+; set HOME, or STREAMSCOPE_MARKS\n", ended.stderr)


def test_marks_that_cannot_be_read_are_said(cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "marks" / make_info().identity[:16]
    folder.mkdir(parents=True)
    (folder / "host-1-ab.jsonl").write_text("torn\n")
    marks = {**os.environ, "STREAMSCOPE_MARKS": str(tmp_path / "marks")}
    ended = run(cache, "table", "--block", "1.1", environ=marks)
    assert ended.returncode == 0
    assert ended.stderr == f"streamscope: {folder / 'host-1-ab.jsonl'} line 1 is not a judgement; it is skipped\n"


def test_a_cache_that_can_only_be_read_is_read(cache: Path, tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk", kilobytes=20_000) as disk:
        subprocess.run(["cp", "-r", str(cache), str(disk / "cache")], check=True)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        for words in [*READING, ("cache", "verify"), ("cache", "prune", "--dry-run")]:
            ended = run(disk / "cache", *words)
            assert (ended.returncode, ended.stderr) == (0, ""), words
        for words in [("fz", "--block", "1.1", "--out"), ("report", "--block", "1.1", "--out")]:
            ended = run(disk / "cache", *words, str(tmp_path / words[0]))
            assert (ended.returncode, ended.stderr) == (0, ""), words
        assert Store.open(disk / "cache", create=True).models()


LONG = "9" * 4301


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["table", "--block", "1.1", "--channels", LONG], "is out of range; this block has channels 0-"),
        (["table", "--block", "1.1", "--channels", f"0-{LONG}"], "is out of range; this block has channels 0-"),
        (["table", "--block", "1.1", "--channels", "@FILE"], "is out of range; this block has channels 0-"),
        (["table", "--steps", LONG], "is not a valid integer"),
        (["table", "--seed", LONG], "is not a valid integer"),
        (["table", "--top", LONG], "is not a valid integer"),
        (["compute", "--steps", "9" * 400], "steps must be 1,000,000,000 or fewer"),
        (["compute", "--seed", "9" * 400], "seed must be "),
        (["nulls", "--block", "1.1", "--seeds", LONG], "a seed of --seeds must be "),
    ],
)
def test_a_number_beyond_all_bounds_is_one_line_as_any_other_typo(
    cache: Path, tmp_path: Path, words: list[str], line: str
) -> None:
    (tmp_path / "channels").write_text(f"0-1\n{LONG}\n")
    ended = run(cache, *(word.replace("@FILE", f"@{tmp_path / 'channels'}") for word in words))
    assert ended.returncode == 2
    assert line in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert len(ended.stderr) < 300


def test_leading_zeros_are_no_size(cache: Path) -> None:
    ended = run(cache, "table", "--block", "1.1", "--channels", "0" * 5000 + "1", "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    for expression in (f"mix_ratio > {LONG}", f"channel < {LONG}", f"mix_ratio > -{LONG}.5e{LONG}"):
        ended = run(cache, "table", "--block", "1.1", "--filter", expression, "--json")
        assert "unexpected" not in ended.stderr


@pytest.mark.parametrize("redirect", ["</dev/null", "<&-"])
def test_a_question_that_nobody_answers_is_a_no_and_one_line_says_what_to_type(cache: Path, redirect: str) -> None:
    before = sorted(cache.rglob("*"))
    ended = run(cache, "cache", "prune", "--all-sets", redirect=redirect)
    assert ended.returncode == 2
    last = ended.stderr.splitlines()[-1]
    assert last == "streamscope: nobody answered, so nothing was removed; --yes does not ask"
    assert sorted(cache.rglob("*")) == before
