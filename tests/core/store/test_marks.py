"""Judgements outlive everything: two judges at once, crashes, full disks, and every cache command."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from streamscope.core.errors import DiskFullError, StoreError, UsageError
from streamscope.core.store import Judgement, Marks, Store, drop, marks_folder, prune, verify
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
    assert len(marks.problems) == 8
    assert str(marks.problems[0]) == f"{tmp_path / TOY[:16] / 'a.jsonl'} line 1 is not a judgement; it is skipped"
    marks.refresh()
    assert len(marks.problems) == 8


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


def test_marks_go_to_a_colleague_and_back_as_csv(tmp_path: Path) -> None:
    marks = marks_of(tmp_path / "a")
    marks.mark("2.1", [7], "keep")
    marks.tag("2.1", [7], add=["edge", "dot"])
    marks.note("2.0", 3, 'a "quoted", odd\nnote\rwith ü')
    marks.mark("2.0", [4], "keep")
    marks.mark("2.0", [4], "")
    assert marks.export_csv(tmp_path / "marks.csv") == 2
    with open(tmp_path / "marks.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["model", "fingerprint", "block", "channel", "marked", "tags", "note"],
        ["toy", TOY, "2.0", "3", "", "", 'a "quoted", odd\nnote\rwith ü'],
        ["toy", TOY, "2.1", "7", "keep", "dot edge", ""],
    ]
    theirs = marks_of(tmp_path / "b")
    assert theirs.import_csv(tmp_path / "marks.csv") == 2
    assert theirs.all() == marks_of(tmp_path / "b").all() == marks.all()


HEADER = "model,fingerprint,block,channel,marked,tags,note\n"


def test_an_import_adds_to_what_is_known_and_an_empty_field_says_nothing(tmp_path: Path) -> None:
    marks = marks_of(tmp_path / "marks")
    marks.mark("2.1", [7], "keep")
    marks.tag("2.1", [7], add=["mine"])
    marks.note("2.1", 7, "my note")
    path = tmp_path / "theirs.csv"
    path.write_text("\ufeff" + HEADER + f"toy,{TOY},2.1,7,,theirs,\ntoy,{TOY},2.1,8,reject,,why\n\n", encoding="utf-8")
    assert marks.import_csv(path) == 2
    assert marks.get("2.1", 7) == Judgement("keep", ("mine", "theirs"), "my note")
    assert marks.get("2.1", 8) == Judgement("reject", (), "why")


GOOD = f"toy,{TOY},2.1,7,keep,,\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER + GOOD + f"toy,{TOY},2.1,x,keep,,\n", "line 3: the channel is 'x', not a number"),
        (HEADER + GOOD + f"toy,{TOY},2.1,-1,keep,,\n", "line 3: the channel is '-1', not a number"),
        (HEADER + GOOD + f"toy,{TOY},2.1,8,maybe,,\n", "line 3: unknown mark 'maybe'"),
        (HEADER + GOOD + f"toy,{TOY},,8,keep,,\n", "line 3: the block is empty"),
        (HEADER + GOOD + f"toy,{TOY},2.1,8,keep\n", "line 3: has 5 fields, not 7"),
        (HEADER + GOOD + f'toy,{TOY},2.1,8,keep,,"two\nlines"\ntoy,{TOY},2.1\n', "line 5: has 3 fields, not 7"),
        (HEADER + GOOD + f'toy,{TOY},2.1,8,keep,,"open\n', "line 3: unexpected end of data"),
        (
            HEADER + GOOD + f"odd,{'cd' * 32},2.1,8,keep,,\n",
            f"line 3: is of the model odd {'cd' * 6}, these marks are ",
        ),
        ("block,channel\n", "line 1: the column model is missing"),
        ("", "line 1: the column model is missing"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_imported(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    marks = marks_of(tmp_path / "marks")
    with pytest.raises(StoreError) as caught:
        marks.import_csv(path)
    assert str(caught.value).startswith(f"{path} {message}")
    assert str(caught.value).endswith("; nothing was imported")
    assert marks.all() == {}
    assert not (tmp_path / "marks").exists()


def test_a_foreign_fingerprint_names_both(tmp_path: Path) -> None:
    path = tmp_path / "foreign.csv"
    path.write_text(HEADER + f"odd,{'cd' * 32},2.1,8,keep,,\n")
    with pytest.raises(StoreError, match=rf"odd {'cd' * 6}, these marks are of toy {'ab' * 6}"):
        marks_of(tmp_path / "marks").import_csv(path)


def test_a_file_that_is_not_there_or_not_text_is_one_clear_line(tmp_path: Path) -> None:
    marks = marks_of(tmp_path / "marks")
    with pytest.raises(StoreError, match=r"cannot read .*none.csv: No such file or directory"):
        marks.import_csv(tmp_path / "none.csv")
    (tmp_path / "binary.csv").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(StoreError, match=r"binary.csv is not UTF-8 text"):
        marks.import_csv(tmp_path / "binary.csv")
    with pytest.raises(StoreError, match="cannot write"):
        marks.export_csv(tmp_path / "no folder" / "marks.csv")
