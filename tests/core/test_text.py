"""Text of other people's is shown, not obeyed, and comes back from CSV as it was."""

from __future__ import annotations

import csv
import io
import json
import random

import pytest

from streamscope.core.text import CONTROLS, csv_cell, from_csv_cell, json_text, visible, visible_lines

PARTS = [
    "\\",
    "x1b",
    "u202e",
    "'",
    "=",
    "+",
    "-",
    "@",
    "＝",
    "\x1b",
    "\x07",
    "\x9b",
    "\x00",
    "\x7f",
    "\u202e",
    "\udcff",
]
PARTS += ["\r", "\n", "\t", ";", ",", '"', " ", "a", "é", "\u2028"]
OBEYED = "\x00\x07\x08\x0b\r\x1b\x7f\x85\x9b\x9d\u200f\u202e\u2066\u2028\ud800\udcff"


def texts(count: int) -> list[str]:
    draw = random.Random(0)
    return ["".join(draw.choices(PARTS, k=draw.randrange(12))) for _ in range(count)]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 名前 'quoted' = 1", "plain é 名前 'quoted' = 1"),
        ("\x1b[31mred\x07", "␛[31mred␇"),
        ("two\nlines\r\n", "two␊lines␍␊"),
        ("\x9b2J \x7f", "\\x9b2J ␡"),
        ("gnp.\u202efdp", "gnp.\\u202efdp"),
        ("bad\udcff.png", "bad\\xff.png"),
    ],
)
def test_control_characters_are_pictures_or_escapes(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_text_of_several_lines_keeps_them() -> None:
    assert visible_lines("a\r\nb\rc\td\x1b") == "a\nb\nc\td␛"


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("2.1", "2.1"),
        ("a-b = c", "a-b = c"),
        ("'tis", "'tis"),
        ("C:\\new", "C:\\new"),
        ("=1+1", "'=1+1"),
        ("+49", "'+49"),
        ("-x", "'-x"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t'=1"),
        ("\r=1", "\\x0d=1"),
        ("'=1", "''=1"),
        ("one\n=two;=three", "one\n'=two;'=three"),
        ("\x1b[1m", "\\x1b[1m"),
        ("\\x1b", "\\\\x1b"),
        ("\\\x1b", "\\\\\\x1b"),
    ],
)
def test_a_csv_cell_neither_runs_nor_is_obeyed(text: str, cell: str) -> None:
    assert csv_cell(text) == cell
    assert from_csv_cell(cell) == text


def test_every_text_comes_back_from_a_csv_file() -> None:
    for text in texts(20_000):
        cell = csv_cell(text)
        file = io.StringIO(newline="")
        csv.writer(file).writerow([cell, "end"])
        assert next(csv.reader(io.StringIO(file.getvalue(), newline="")))[0] == cell
        assert from_csv_cell(cell) == text
        assert csv_cell(from_csv_cell(cell)) == cell
        assert not CONTROLS.search(cell.replace("\n", "").replace("\t", ""))
        assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))


def test_json_has_control_characters_as_escapes_of_the_same_text() -> None:
    for text in texts(2_000):
        escaped = json_text(json.dumps({"note": text}, ensure_ascii=False))
        assert json.loads(escaped) == {"note": text}
        assert not CONTROLS.search(escaped)


def test_everything_that_a_terminal_obeys_is_known() -> None:
    assert all(CONTROLS.fullmatch(character) for character in OBEYED)
    assert not CONTROLS.search("é\u00a0名\U0001f600\u0301")
