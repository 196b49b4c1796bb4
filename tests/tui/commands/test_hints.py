"""Commands that errors and reports name: they can be pasted, and are about the same model, store and set."""

from __future__ import annotations

import shlex
from pathlib import Path

import click
import pytest

from streamscope.core.model.recipe import DEFAULT_PROTOCOL, Protocol, SetKey
from streamscope.core.model.spec import ModelSpec
from streamscope.core.store import Store
from streamscope.tui.cli.main import cli, main
from streamscope.tui.cli.options import SET_NAMES, Given
from streamscope.tui.command_lines import CommandLine, block_words, command_line, default_cache, set_words
from streamscope.tui.data.job_control import describe_command
from tests.support.app_store import fill, make_info, open_store
from tests.support.command_line import run_without_torch


def test_a_command_names_what_is_not_found_unasked() -> None:
    assert CommandLine()("scan", "DIR") == "streamscope scan DIR"
    assert CommandLine("demo").words("scan", "DIR") == ("--model", "demo", "scan", "DIR")
    line = CommandLine("demo", Path("my weights.pth"), Path("/store"))("compute", *block_words(["1.0", "2.1"]))
    assert shlex.split(line) == [
        *("streamscope", "--model", "demo", "--weights", "my weights.pth", "--cache", "/store"),
        *("compute", "--block", "1.0", "--block", "2.1"),
    ]


def test_the_store_that_is_found_unasked_is_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMSCOPE_CACHE", "/elsewhere")
    assert command_line(ModelSpec("demo"), default_cache())("curves") == "streamscope --model demo curves"
    assert "--cache /other" in command_line(ModelSpec("demo"), Path("/other"))("curves")


def test_which_weights_of_a_file_or_of_torchvisions_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMSCOPE_CACHE", "/elsewhere")
    for spec, words in (
        (ModelSpec("demo", Path("w.pth"), entry="teacher"), "--model demo --weights w.pth --weights-entry teacher"),
        (ModelSpec("resnet50", release="IMAGENET1K_V1"), "--model resnet50 --weights IMAGENET1K_V1"),
    ):
        assert command_line(spec, default_cache())("curves") == f"streamscope {words} curves"
        assert shlex.join(describe_command(Path("/c"), spec)).endswith(f"describe --cache /c {words}")


@pytest.mark.parametrize(("protocol", "settings"), [("centred", "centred"), ("centred", "paper"), ("paper", "paper")])
def test_the_words_for_a_set_make_that_set(protocol: Protocol, settings: Protocol) -> None:
    info = make_info()
    own = SetKey(info.recipe(settings), protocol=protocol)
    assert (set_words(own, info) == ()) is (protocol == settings == DEFAULT_PROTOCOL)
    converged = settings == "paper"
    for key in (own, SetKey(info.recipe(settings, 7, converged), 3, "lucent", "channel", protocol)):
        words = list(set_words(key, info))
        with cli.make_context("streamscope", [], resilient_parsing=True) as above:
            command = cli.get_command(above, "compute")
            assert command is not None
            parsed = command.make_context("compute", words, parent=click.Context(cli)).params
        given = Given(**{name: parsed[name] for name in SET_NAMES})
        assert given.new_key(info, parsed["objective"]) == key


@pytest.fixture
def resnet_store(tmp_path: Path) -> Store:
    info = make_info()
    store = open_store(tmp_path / "cache", info)
    fill(store, info, ["1.1"])
    return store


READING = [["table"], ["fz", "--out", "x"], ["report", "--out", "x"], ["curves"], ["nulls", "--block", "1.1"]]


@pytest.mark.parametrize("command", READING, ids=lambda words: words[0])
def test_a_reading_command_neither_loads_nor_fetches_a_model_of_which_nothing_is_stored(
    command: list[str], resnet_store: Store
) -> None:
    result = run_without_torch(*command, "--model", "resnet50", "--cache", str(resnet_store.root))
    assert result.returncode == 1
    assert f"nothing is stored of resnet50 in {resnet_store.root}; run 'streamscope --model resnet50" in result.stderr
    assert "Stored: resnet18 (--model resnet18)" in result.stderr


def test_weights_of_a_stored_model_that_are_not_the_default_are_to_be_named(
    resnet_store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for alias in (resnet_store.root / "aliases").iterdir():
        alias.unlink()
    assert main(["table", "--cache", str(resnet_store.root)]) == 1
    assert "Stored: resnet18 (--model resnet18 --input-size 48 with its --weights FILE)" in capsys.readouterr().err
    (info,) = resnet_store.models()
    resnet_store.remember(ModelSpec("resnet18", release="IMAGENET1K_V1").text, info.identity)
    assert main(["table", "--cache", str(resnet_store.root)]) == 1
    assert "Stored: resnet18 (--model resnet18 --weights IMAGENET1K_V1)" in capsys.readouterr().err
