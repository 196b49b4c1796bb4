"""Tables of commands: whole in a pipe, folded on a terminal, fields of several lines."""

from __future__ import annotations

import pytest
from rich.table import Table

from streamscope.tui.cli.printing import WIDTH, console_for, print_whole

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


def test_no_number_is_cut_where_a_table_is_wider_than_the_screen(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def printed() -> str:
        table = Table(box=None, pad_edge=False)
        for name in ("block 3.1: 256 channels", "both", "p"):
            table.add_column(name)
        table.add_row("x" * WIDTH, "23 of 256 (0.7; p 5.6e-27)", "0.012345678901234567890")
        console_for(table).print(table)
        return capsys.readouterr().out

    assert "23 of 256 (0.7; p 5.6e-27)  0.012345678901234567890" in printed()
    for name, value in {"FORCE_COLOR": "1", "TERM": "dumb", "COLUMNS": "40"}.items():
        monkeypatch.setenv(name, value)
    out = printed()
    assert "…" not in out
    assert "5.6e-27)" in out
