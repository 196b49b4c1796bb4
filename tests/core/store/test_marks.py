"""Judgements outlive everything: two judges at once, crashes, full disks, and every cache command."""

import csv
import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from streamscope.core.errors import DiskFullError, StoreError, UsageError
from streamscope.core.model.blocks import ModelInfo
from streamscope.core.store import Judgement, Marks, Store, drop, marks_folder, prune, verify
from streamscope.core.store.marks.exchange import contradictions, read_csv
from tests.support.stores import KEY, commit, fill, python, tiny_disk, toy_info, toy_set

TOY = "ab" * 32


def marks_of(folder: Path, fingerprint: str = TOY) -> Marks:
    return Marks(folder, fingerprint, "toy")


def journals(folder: Path) -> list[Path]:
    return sorted((folder / TOY[:16]).iterdir())


def write_journal(folder: Path, name: str, *lines: dict[str, Any]) -> None:
    (folder / TOY[:16]).mkdir(exist_ok=True)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / TOY[:16] / name).write_text(text)


def test_what_was_said_is_there_for_the_next_reader(tmp_path: Path) -> None:
    marks = marks_of(tmp_path)
    marks.mark("2.1", [7, 9], "keep")
    marks.tag("2.1", [7], add=["edge", "dot"])
    marks.note("2.1", 7, "höhere\nStufe, \"so\" 'la la'")
    expected = Judgement("keep", ("dot", "edge"), "höhere\nStufe, \"so\" 'la la'")
    for reader in (marks, marks_of(tmp_path)):
        assert reader.get("2.1", 7) == expected
        assert reader.all() == {("2.1", 7): expected, ("2.1", 9): Judgement("keep")}
        assert reader.get("2.1", 8) == Judgement()


def test_everything_can_be_taken_back(tmp_path: Path) -> None:
    marks = marks_of(tmp_path)
    marks.mark("2.1", [7], "reject")
    marks.tag("2.1", [7], add=["edge"])
    marks.note("2.1", 7, "odd")
    marks.mark("2.1", [7], "")
    marks.tag("2.1", [7], remove=["edge"])
    marks.note("2.1", 7, "")
    assert marks.all() == marks_of(tmp_path).all() == {}


def test_no_other_mark_and_no_tag_of_two_words_is_taken(tmp_path: Path) -> None:
    marks = marks_of(tmp_path)
    with pytest.raises(UsageError, match=r"unknown mark 'maybe'; use keep, reject, unsure or nothing"):
        marks.mark("2.1", [7], "maybe")
    for tag in ("two words", "", "tab\there"):
        with pytest.raises(UsageError, match="a tag is one word without spaces"):
            marks.tag("2.1", [7], add=["fine", tag])
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_before_something_is_said(tmp_path: Path) -> None:
    marks = marks_of(tmp_path / "marks")
    marks.mark("2.1", [], "keep")
    marks.tag("2.1", [7])
    assert marks.all() == {}
    assert not (tmp_path / "marks").exists()


def test_two_checkpoints_share_no_mark(tmp_path: Path) -> None:
    marks_of(tmp_path).mark("2.1", [7], "keep")
    assert marks_of(tmp_path, "cd" * 32).all() == {}


def test_the_later_of_two_judges_wins_whatever_their_clocks_say(tmp_path: Path) -> None:
    ahead = {"time": 4_000_000_000_000_000, "block": "2.1", "channel": 7, "mark": "keep", "note": "from the future"}
    write_journal(tmp_path, "ahead.jsonl", ahead)
    marks = marks_of(tmp_path)
    marks.mark("2.1", [7], "reject")
    expected = Judgement("reject", (), "from the future")
    assert marks.get("2.1", 7) == marks_of(tmp_path).get("2.1", 7) == expected


def test_a_judgement_given_while_another_app_is_open_counts_as_later(tmp_path: Path) -> None:
    first, second = marks_of(tmp_path), marks_of(tmp_path)
    first.mark("2.1", [7], "keep")
    second.mark("2.1", [7], "reject")
    first.mark("2.1", [7], "unsure")
    assert second.refresh()
    assert [m.get("2.1", 7).mark for m in (first, second, marks_of(tmp_path))] == ["unsure"] * 3


def test_the_order_of_reading_does_not_matter(tmp_path: Path) -> None:
    early = {"time": 10, "block": "2.1", "channel": 7, "mark": "keep", "add": ["a", "b"], "note": "early"}
    late = {"time": 20, "block": "2.1", "channel": 7, "mark": "reject", "remove": ["a"], "add": ["c"]}
    write_journal(tmp_path, "z.jsonl", late)
    late_first = marks_of(tmp_path)
    write_journal(tmp_path, "a.jsonl", early)
    assert late_first.refresh()
    assert late_first.get("2.1", 7) == marks_of(tmp_path).get("2.1", 7) == Judgement("reject", ("b", "c"), "early")


def test_polling_tells_only_of_what_others_said(tmp_path: Path) -> None:
    mine, theirs = marks_of(tmp_path), marks_of(tmp_path)
    assert not mine.refresh()
    mine.mark("2.1", [7], "keep")
    assert not mine.refresh()
    theirs.mark("2.1", [8], "keep")
    assert mine.refresh()
    assert not mine.refresh()
    theirs.mark("2.1", [9], "keep")
    mine.mark("2.1", [7], "reject")
    assert mine.refresh(), "what came in while marking is news too"
    assert mine.get("2.1", 9).mark == "keep"


JUDGE = """
import sys
from pathlib import Path
from streamscope.core.store import Marks
marks = Marks(Path(sys.argv[1]), sys.argv[2])
name = sys.argv[3]
print("ready", flush=True)
sys.stdin.readline()
for channel in range(60):
    marks.tag("2.1", [channel], add=[name])
    marks.mark("2.1", [channel], "keep")
    marks.note(name, channel, f"{name} {channel}")
"""


def test_two_judges_at_once_lose_nothing(tmp_path: Path) -> None:
    names = ["ada", "bob"]
    judges = [python(JUDGE, tmp_path, TOY, name) for name in names]
    for judge in judges:
        assert judge.stdout is not None
        judge.stdout.readline()
    for judge in judges:
        assert judge.stdin is not None
        judge.stdin.write("go\n")
        judge.stdin.flush()
    watcher = marks_of(tmp_path)
    while any(judge.poll() is None for judge in judges):
        watcher.refresh()
    watcher.refresh()
    assert [judge.wait() for judge in judges] == [0, 0]
    assert watcher.all() == marks_of(tmp_path).all()
    assert watcher.problems == []
    for channel in range(60):
        assert watcher.get("2.1", channel) == Judgement("keep", ("ada", "bob"))
        for name in names:
            assert watcher.get(name, channel).note == f"{name} {channel}"


def test_a_line_torn_by_a_crash_costs_that_line_only(tmp_path: Path) -> None:
    marks = marks_of(tmp_path)
    marks.mark("2.1", [7, 8], "keep")
    (journal,) = journals(tmp_path)
    whole = journal.read_bytes()
    first = whole.index(b"\n") + 1
    for end in range(first, len(whole)):
        journal.write_bytes(whole[:end])
        reader = marks_of(tmp_path)
        assert reader.all() == {("2.1", 7): Judgement("keep")}
        assert reader.problems == []
        assert not reader.refresh()


def test_a_line_that_is_no_judgement_is_named_and_skipped(tmp_path: Path) -> None:
    good = {"time": 5, "block": "2.1", "channel": 7, "mark": "keep"}
    bad: list[dict[str, Any]] = [
        {**good, "time": "now"},
        {**good, "time": 2**60},
        {**good, "channel": 7.5},
        {**good, "mark": "maybe"},
        {**good, "add": "edge"},
        {**good, "note": None},
        {"time": 5},
    ]
    write_journal(tmp_path, "a.jsonl", *bad, good)
    with open(tmp_path / TOY[:16] / "a.jsonl", "ab") as file:
        file.write(b"\xff\xfe not json\n")
    marks = marks_of(tmp_path)
    assert marks.all() == {("2.1", 7): Judgement("keep")}
    journal = tmp_path / TOY[:16] / "a.jsonl"
    said = f"{journal} has 8 lines that are not judgements, from line 1 on; they are skipped"
    assert [str(problem) for problem in marks.problems] == [said]
    with open(journal, "ab") as file:
        file.write(b"{}\n")
    marks.refresh()
    assert [str(problem) for problem in marks.problems] == [said.replace("has 8 lines", "has 9 lines")]
    write_journal(tmp_path, "a.jsonl", good, bad[0])
    marks.refresh()
    assert [str(problem) for problem in marks.problems] == [f"{journal} line 2 is not a judgement; it is skipped"]
    journal.unlink()
    marks.refresh()
    assert (marks.all(), marks.problems) == ({}, [])


def test_a_backup_put_back_is_what_counts(tmp_path: Path) -> None:
    marks = marks_of(tmp_path)
    marks.mark("2.1", [7], "keep")
    (journal,) = journals(tmp_path)
    backup = journal.read_bytes()
    marks.mark("2.1", [7, 8], "reject")
    journal.write_bytes(backup)
    assert marks.refresh()
    assert marks.all() == {("2.1", 7): Judgement("keep")}
    marks.mark("2.1", [9], "keep")
    assert marks_of(tmp_path).all() == marks.all() == {("2.1", 7): Judgement("keep"), ("2.1", 9): Judgement("keep")}


def test_a_full_disk_takes_a_judgement_whole_or_not_at_all(tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk", kilobytes=64) as disk:
        marks = marks_of(disk)
        marks.mark("2.1", [7], "keep")
        filling = fill(disk)
        with pytest.raises(DiskFullError, match="no space left"):
            marks.mark("2.1", range(200), "reject")
        assert marks.all() == marks_of(disk).all() == {("2.1", 7): Judgement("keep")}
        filling.unlink()
        marks.mark("2.1", [8], "keep")
        assert list(marks_of(disk).all()) == [("2.1", 7), ("2.1", 8)]


def test_marks_that_cannot_be_read_or_written_are_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / TOY[:16]).write_text("a file")
    marks = marks_of(tmp_path)
    assert marks.all() == {}
    assert len(marks.problems) == 1
    assert "cannot read the marks in" in str(marks.problems[0])
    with pytest.raises(StoreError, match="cannot write"):
        marks.mark("2.1", [7], "keep")
    assert marks.all() == {}


def test_no_cache_command_touches_marks(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    fzset = toy_set(root)
    commit(fzset)
    marks_of(root / "marks").mark("1.0", [0], "keep")
    before = {path: path.read_bytes() for path in journals(root / "marks")}
    store = Store.open(root)
    next(iter(fzset.path.rglob("0000.png"))).write_bytes(b"")
    for problem in list(verify(store)):
        drop(problem)
    prune(store, model=toy_info(), set=KEY)
    prune(store, model=toy_info())
    assert {path: path.read_bytes() for path in journals(root / "marks")} == before
    assert marks_of(root / "marks").get("1.0", 0).mark == "keep"


def test_the_place_of_marks_is_the_users_own_or_the_given_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("STREAMSCOPE_MARKS", raising=False)
    assert marks_folder() == tmp_path / "data" / "streamscope" / "marks"
    monkeypatch.setenv("STREAMSCOPE_MARKS", str(tmp_path / "mine"))
    assert marks_folder() == tmp_path / "mine"


def imported(marks: Marks, path: Path, *models: ModelInfo) -> int:
    return marks.take_over(read_csv(path, models))


def test_marks_go_to_a_colleague_and_back_as_csv(tmp_path: Path) -> None:
    marks = marks_of(tmp_path / "a")
    marks.mark("2.1", [7], "keep")
    marks.tag("2.1", [7], add=["edge", "dot"])
    marks.note("2.0", 3, 'a "quoted", odd\nnote with ü')
    marks.mark("2.0", [4], "keep")
    marks.mark("2.0", [4], "")
    assert marks.export_csv(tmp_path / "marks.csv") == 2
    with open(tmp_path / "marks.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["model", "fingerprint", "block", "channel", "marked", "tags", "note"],
        ["toy", TOY, "2.0", "3", "", "", 'a "quoted", odd\nnote with ü'],
        ["toy", TOY, "2.1", "7", "keep", "dot edge", ""],
    ]
    theirs = marks_of(tmp_path / "b")
    assert imported(theirs, tmp_path / "marks.csv") == 2
    assert theirs.all() == marks_of(tmp_path / "b").all() == marks.all()


def test_no_spreadsheet_runs_what_was_noted_and_no_terminal_obeys_it(tmp_path: Path) -> None:
    marks = marks_of(tmp_path / "a")
    marks.note("2.1", 7, "=cmd|' /C calc'!A0\x1b]0;title\x07")
    marks.tag("2.1", [7], add=["-edge", "@x"])
    marks.export_csv(tmp_path / "marks.csv")
    with open(tmp_path / "marks.csv", newline="", encoding="utf-8") as file:
        *_, row = csv.reader(file)
    assert row[5:] == ["'-edge @x", "'=cmd|' /C calc'!A0\\x1b]0;title\\x07"]


def test_export_import_and_export_give_the_same_bytes_whatever_was_noted(tmp_path: Path) -> None:
    draw = random.Random(0)
    parts = [
        "'",
        "=",
        "+",
        "-",
        "@",
        "\\",
        "x1b",
        "\x1b",
        "\x9b",
        "\x00",
        "\u202e",
        "\udcff",
        "\r",
        "\n",
        "\t",
        ";",
        ",",
        '"',
        "é",
    ]
    marks = marks_of(tmp_path / "a")
    notes = [
        "'=",
        "''=1",
        "=1",
        "\t",
        " spaces ",
        *("".join(draw.choices(parts, k=draw.randrange(1, 12))) for _ in range(2000)),
    ]
    marks.say(("2.1", channel, {"note": note}) for channel, note in enumerate(notes))
    tags = ["".join(draw.choices([p for p in parts if not p.isspace()], k=3)) for _ in range(50)]
    marks.tag("2.1", [0], add=tags)
    marks.export_csv(tmp_path / "first.csv")
    theirs = marks_of(tmp_path / "b")
    assert imported(theirs, tmp_path / "first.csv") == len(notes)
    theirs.export_csv(tmp_path / "second.csv")
    assert (tmp_path / "first.csv").read_bytes() == (tmp_path / "second.csv").read_bytes()
    assert theirs.all() == marks.all()


HEADER = "model,fingerprint,block,channel,marked,tags,note\n"


def test_an_import_adds_to_what_is_known_and_an_empty_field_says_nothing(tmp_path: Path) -> None:
    marks = marks_of(tmp_path / "marks")
    marks.mark("2.1", [7], "keep")
    marks.tag("2.1", [7], add=["mine"])
    marks.note("2.1", 7, "my note")
    path = tmp_path / "theirs.csv"
    path.write_text(HEADER + f"toy,{TOY},2.1,7,,theirs,\ntoy,{TOY},2.1,8,reject,,why\ntoy,{TOY},2.1,9,,,\n")
    assert imported(marks, path) == 2
    assert marks.get("2.1", 7) == Judgement("keep", ("mine", "theirs"), "my note")
    assert marks.get("2.1", 8) == Judgement("reject", (), "why")


SAVED = {
    "with a byte-order mark": HEADER + "toy,TOY,2.0,5,keep,a b,why\n",
    "by semicolons": HEADER.replace(",", ";") + "toy;TOY;2.0;5;keep;a b;why\n;;;;;;\n",
    "by tabs": HEADER.replace(",", "\t") + "toy\tTOY\t2.0\t5\tkeep\ta b\twhy\n",
    "with empty rows": HEADER + "\n,,,,,,\ntoy,TOY,2.0,5,keep,a b,why\n , ,,,,,\n",
    "with a float for a channel": HEADER + "toy,TOY,2.0,5.0,keep,a b,why\n",
    "with a decimal comma": HEADER.replace(",", ";") + 'toy;TOY;2.0;"5,0";keep;a b;why\n',
    "with spaces": HEADER.replace(",", " , ") + "toy , TOY , 2.0 , 5 ,keep ,a b,why\n",
    "with capitals": HEADER + f"toy,{TOY.upper()},2.0,5,keep,a b,why\n",
    "with another column": "who," + HEADER + "me,toy,TOY,2.0,5,keep,a b,why\n",
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("name", SAVED)
def test_what_spreadsheets_save_is_read(tmp_path: Path, name: str, encoding: str) -> None:
    path = tmp_path / "marks.csv"
    path.write_text(SAVED[name].replace("TOY", TOY).replace("\n", "\r\n"), encoding=encoding, newline="")
    marks = marks_of(tmp_path / "marks")
    assert imported(marks, path, toy_info()) == 1
    assert marks.all() == {("2.0", 5): Judgement("keep", ("a", "b"), "why")}


def test_of_two_rows_of_a_channel_the_last_holds_and_tags_are_put_together(tmp_path: Path) -> None:
    path = tmp_path / "marks.csv"
    lines = ["2.0,5,keep,a,why", "2.0,5,reject,b,", "2.0,4,keep,,", "2.0,4,keep,,", "2.0,3,keep,,", "2.0,3,,,note"]
    path.write_text(HEADER + "".join(f"toy,{TOY},{line}\n" for line in lines))
    rows = read_csv(path, [toy_info()])
    assert contradictions(rows) == 1
    marks = marks_of(tmp_path / "marks")
    assert marks.take_over(rows) == 3
    assert marks.get("2.0", 5) == Judgement("reject", ("a", "b"), "why")
    assert marks.get("2.0", 3) == Judgement("keep", (), "note")


GOOD = f"toy,{TOY},2.0,3,keep,,\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER + GOOD + f"toy,{TOY},2.0,x,keep,,\n", "line 3: the channel is 'x', not a number"),
        (HEADER + GOOD + f"toy,{TOY},2.0,-1,keep,,\n", "line 3: the channel is '-1', not a number"),
        (HEADER + GOOD + f"toy,{TOY},2.0,2.5,keep,,\n", "line 3: the channel is '2.5', not a number"),
        (HEADER + GOOD + f"toy,{TOY},2.0,٣,keep,,\n", "line 3: the channel is '٣', not a number"),
        (HEADER + GOOD + f"toy,{TOY},2.0,6,keep,,\n", "line 3: unknown channel 6; block 2.0 of toy has 0-5"),
        (HEADER + GOOD + f"toy,{TOY},02. Jan,1,keep,,\n", "line 3: unknown block '02. Jan'; toy has 1.0, 1.1, 2.0"),
        (HEADER + GOOD + f"toy,{TOY},2.0,2,maybe,,\n", "line 3: unknown mark 'maybe'"),
        (HEADER + GOOD + f"toy,{TOY},,2,keep,,\n", "line 3: the block is empty"),
        (HEADER + GOOD + "toy,../../../etc,2.0,2,keep,,\n", "line 3: the fingerprint is '../../../etc', not 64"),
        (HEADER + GOOD + f"toy,{TOY},2.0,2,keep\n", "line 3: has 5 fields, not 7"),
        (HEADER + GOOD + f'toy,{TOY},2.0,2,keep,,"two\nlines"\ntoy,{TOY},2.0\n', "line 5: has 3 fields, not 7"),
        (HEADER + GOOD + f'toy,{TOY},2.0,2,keep,,"open\n', "line 3: unexpected end of data"),
        (
            HEADER + GOOD + f"resnet18,{'cd' * 32},02. Jan,8,keep,,\n",
            "line 3: unknown block '02. Jan'; resnet18 has 1.0",
        ),
        (HEADER + GOOD + f"resnet18-untrained-3,{'cd' * 32},2.1,999,keep,,\n", "line 3: unknown channel 999"),
        ("block,channel\n", "line 1: the column model is missing"),
        ("", "line 1: the column model is missing"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_imported(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    marks = marks_of(tmp_path / "marks")
    with pytest.raises(StoreError) as caught:
        imported(marks, path, toy_info())
    assert str(caught.value).startswith(f"{path} {message}")
    assert str(caught.value).endswith("; nothing was imported")
    assert marks.all() == {}
    assert not (tmp_path / "marks").exists()


def test_marks_take_no_rows_of_another_model(tmp_path: Path) -> None:
    path = tmp_path / "foreign.csv"
    path.write_text(HEADER + GOOD + f"odd,{'cd' * 32},2.1,8,keep,,\n")
    with pytest.raises(UsageError, match="these marks are of toy"):
        imported(marks_of(tmp_path / "marks"), path)
    assert not (tmp_path / "marks").exists()


def test_a_file_that_is_not_there_or_not_text_is_one_clear_line(tmp_path: Path) -> None:
    marks = marks_of(tmp_path / "marks")
    with pytest.raises(StoreError, match=r"cannot read .*none.csv: No such file or directory"):
        imported(marks, tmp_path / "none.csv")
    (tmp_path / "binary.csv").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(StoreError, match=r"binary.csv is not UTF-8 text"):
        imported(marks, tmp_path / "binary.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(StoreError, match=r"cannot read .*pipe.csv: is not a regular file"):
        imported(marks, tmp_path / "pipe.csv")
    with pytest.raises(StoreError, match="cannot write"):
        marks.export_csv(tmp_path / "no folder" / "marks.csv")
