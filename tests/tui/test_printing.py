"""Tables of commands: whole in a pipe, folded on a terminal, fields of several lines."""

from __future__ import annotations

import pytest

from streamscope.tui.cli.printing import print_whole

ROWS = [("resnet18", ["18 FZs: seed 0", "6 FZs: \x1b[2J\nseed 1"]), ("demo", "nothing")]


def test_in_a_pipe_a_row_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_whole(("model", "stored"), ROWS)
    out = capsys.readouterr().out.splitlines()
    assert [line.rstrip() for line in out] == [
        "model     stored",
        "resnet18  18 FZs: seed 0; 6 FZs: ␛[2J␊seed 1",
        "demo      nothing",
    ]


def test_on_a_terminal_each_line_of_a_field_has_its_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"FORCE_COLOR": "1", "TERM": "dumb", "COLUMNS": "60"}.items():
        monkeypatch.setenv(name, value)
    print_whole(("model", "stored"), ROWS)
    out = capsys.readouterr().out.splitlines()
    assert [line.rstrip() for line in out[1:]] == [
        "resnet18  18 FZs: seed 0",
        "          6 FZs: ␛[2J␊seed 1",
        "demo      nothing",
    ]
