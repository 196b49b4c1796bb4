"""A start that takes seconds says so at once; no other does."""

import os
import py_compile
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import click
import pytest

from streamscope.core.model.descriptions import bundled_description
from streamscope.core.model.spec import ModelSpec
from streamscope.core.processes import COMMAND_LINE, module_command
from streamscope.tui.bench.app_start import own_environment, visible, watch_start
from streamscope.tui.cli import entry
from streamscope.tui.cli.main import cli
from streamscope.tui.commands.app import command as tui_command


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    with own_environment() as environment:
        yield environment | {"STREAMSCOPE_CACHE": str(tmp_path / "cache")}


def started(environment: Mapping[str, str], *arguments: str, until: bytes | None = None) -> bytes:
    """What a start of the command wrote to its terminal, until the demo's table stood or `until` was written."""
    info = bundled_description(ModelSpec("demo").text)
    assert info is not None
    awaited = until or info.fingerprint[:12].encode()
    command = module_command(COMMAND_LINE, "--model", "demo", "--graphics", "half", *arguments)
    with closing(watch_start(command, environment)) as outputs:
        return next(written for _, written in outputs if awaited in written)


def test_the_first_start_says_that_it_compiles_before_the_first_frame_and_the_second_does_not(
    environment: dict[str, str],
) -> None:
    words = entry.COMPILING.encode()
    first = started(environment)
    assert first.startswith(b"\r\x1b[K" + words + b"\r\x1b[K\x1b[?1049h")
    assert first.index(words) < first.index(b"opening")
    second = started(environment)
    assert b"streamscope:" not in second
    assert second.startswith(b"\x1b[?1049h")


def test_where_no_bytecode_is_kept_every_start_says_that_it_loads(environment: dict[str, str]) -> None:
    for _ in range(2):
        written = started(environment | {"PYTHONDONTWRITEBYTECODE": "1"})
        assert written.startswith(b"\r\x1b[K" + entry.UNKEPT.encode() + b"\r\x1b[K\x1b[?1049h")
    assert not Path(environment["PYTHONPYCACHEPREFIX"]).exists()


def test_a_first_start_of_another_command_or_on_a_dumb_terminal_says_nothing_more(
    environment: dict[str, str],
) -> None:
    assert visible(started(environment, "models", until=b"stored")).startswith(b"modelfingerprint")
    written = started(environment | {"TERM": "dumb"}, until=b"set TERM")
    assert written.startswith(b"streamscope: TERM is dumb")


def test_on_a_terminal_that_nobody_knows_the_app_opens_and_without_a_name_it_says_what_to_set(
    environment: dict[str, str],
) -> None:
    assert b"\x1b[?1049h" in started(environment | {"TERM": "foo"})
    assert started(environment | {"TERM": ""}, until=b"set TERM").startswith(b"streamscope: TERM is not set")


@pytest.mark.parametrize(
    ("line", "opens"),
    [
        ("", True),
        ("tui", True),
        ("--model demo --json --cache=/tmp/x tui --graphics off", True),
        ("--until-converged --steps 4 --debug", True),
        ("table", False),
        ("--model demo table", False),
        ("--json table", False),
        ("--cache tui models", False),
        ("--help", False),
        ("--model demo -h", False),
        ("--version", False),
        ("tui --print-settings", False),
    ],
)
def test_it_is_told_without_parsing_whether_a_command_line_opens_the_app(line: str, opens: bool) -> None:
    assert entry.opens_app(line.split()) is opens


def test_the_options_without_a_value_are_the_command_lines() -> None:
    settings = cli.context_settings
    commands = (cli, tui_command)
    options = [option for command in commands for option in command.get_params(click.Context(command, **settings))]
    flags = {name for option in options for name in option.opts if getattr(option, "is_flag", False)}
    assert flags == entry.FLAGS | entry.ENDING


def test_bytecode_is_current_when_python_would_take_it(tmp_path: Path) -> None:
    source, bytecode = tmp_path / "module.py", tmp_path / "module.pyc"
    source.write_text("x = 1\n")
    assert not entry.is_current(bytecode, source)
    py_compile.compile(str(source), str(bytecode))
    assert entry.is_current(bytecode, source)
    os.utime(source, (1, 1))
    assert not entry.is_current(bytecode, source)
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(str(source), str(bytecode), invalidation_mode=mode)
    assert entry.is_current(bytecode, source)
    bytecode.write_bytes(b"of another Python")
    assert not entry.is_current(bytecode, source)


def test_the_module_that_is_looked_at_is_one_of_the_apps() -> None:
    assert entry.LATE.is_file()
