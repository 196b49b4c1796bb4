"""The settings file: what it may say, and errors that name the line."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from streamscope.core.errors import UsageError
from streamscope.tui.app.app import read_app_settings
from streamscope.tui.app.keymap import actions, check_keys, example
from streamscope.tui.app.settings import Settings, settings_path


def settings_of(text: str) -> Settings:
    settings_path().write_text(text)
    return read_app_settings()


def test_without_a_file_everything_is_as_by_default() -> None:
    assert read_app_settings() == Settings()


def test_settings_and_keys_are_read() -> None:
    found = settings_of(
        'theme = "light"\nadvance = true\ncolumns = ["rho", "mix_ratio"]\n[keys]\n"mark.keep" = "f2,x"\nlook = "X"\n'
    )
    assert (found.theme, found.advance, found.columns) == ("light", True, ("rho", "mix_ratio"))
    assert found.keys == {"mark.keep": "f2,x", "look": "X"}


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ('theme = "dark"\nadvance = 1\n', 2, "advance must be true or false, not 1"),
        ('theme = "drak"\n', 1, "did you mean dark?"),
        ("mouse = true\nmaus = true\n", 2, "unknown setting 'maus'; did you mean mouse?"),
        ('\n\ngraphics = "iterm"\n', 3, "unknown graphics mode"),
        ('columns = ["mix_ratoi"]\n', 1, "did you mean mix_ratio"),
        ('theme = "dark\n', 1, "Illegal character"),
        ('[keys]\n# a comment\n"mark.keep" = "n"\n', 3, "'n' is the key of mark.reject (Reject) too"),
        ('[keys]\nmark.keep = "j"\n', 2, "'j' is the key of table.down (Next channel) too"),
        ('[keys]\n"mark.kep" = "y"\n', 2, "unknown action 'mark.kep'"),
        ('[keys]\nundo = "hyper+z"\n', 2, "'hyper+z' is no key"),
        ("[keys]\nundo = 3\n", 2, "the key of undo must be text"),
    ],
)
def test_an_error_names_the_file_and_the_line(text: str, line: int, reason: str) -> None:
    with pytest.raises(UsageError) as raised:
        settings_of(text)
    assert str(raised.value).startswith(f"{settings_path()} line {line}: ")
    assert reason in str(raised.value)


def test_two_actions_may_change_keys_with_each_other() -> None:
    assert check_keys({"mark.keep": "n", "mark.reject": "y"}) is None


def test_the_printed_settings_are_what_holds_without_them_and_have_every_action() -> None:
    assert settings_of(example()) == Settings()
    uncommented = example().replace('\n# "', '\n"')
    keys = settings_of(uncommented).keys
    assert set(keys) == {action.id for action in actions({})}


UNREADABLE: dict[str, Callable[[Path], object]] = {
    "folder": Path.mkdir,
    "pipe": lambda path: os.mkfifo(path),
    "device": lambda path: path.symlink_to("/dev/zero"),
    "enormous": lambda path: path.write_bytes(b"#" * 2**21),
    "no text": lambda path: path.write_bytes(b"\xff\xfe\x00"),
    "brackets": lambda path: path.write_text("columns = " + "[" * 100_000),
    "names in names": lambda path: path.write_text("[keys]\n" + "a." * 5000 + 'a = "x"'),
    "digits": lambda path: path.write_text("theme = " + "9" * 5000),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_unreadable_settings_are_one_clear_line(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "settings"
    UNREADABLE[kind](path)
    monkeypatch.setenv("STREAMSCOPE_CONFIG", str(path))
    with pytest.raises(UsageError, match="cannot read the settings") as raised:
        read_app_settings()
    assert len(str(raised.value)) < 300


def test_whoever_has_no_home_and_whoever_names_none_has_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMSCOPE_CONFIG", os.devnull)
    assert read_app_settings() == Settings()
