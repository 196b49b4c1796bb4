"""`streamscope marks`: what goes to colleagues and comes from them."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from streamscope.core.store import Judgement, Marks, Store
from streamscope.tui.cli.main import main
from tests.support.stores import toy_info

ARCHIVE = Path(__file__).parents[2] / "data" / "store-0.2.0.zip"
HEADER = "model,fingerprint,block,channel,marked,tags,note\n"
TOY, OTHER, UNSEEN = "ab" * 32, "cd" * 32, "ef" * 32
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command on a store that knows two toy models; no weights can be loaded or downloaded."""
    monkeypatch.setenv("STREAMSCOPE_MARKS", str(tmp_path / "marks"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "no weights"))
    store = Store.open(tmp_path / "cache", create=True)
    store.register(toy_info())
    store.register(toy_info("other", OTHER))

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([*map(str, arguments), "--cache", str(tmp_path / "cache")])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def marks_of(tmp_path: Path, fingerprint: str) -> dict[tuple[str, int], Judgement]:
    return Marks(tmp_path / "marks", fingerprint).all()


def write_rows(path: Path, *rows: str) -> Path:
    path.write_text(HEADER + "".join(f"{row}\n" for row in rows))
    return path


def test_rows_go_to_the_marks_of_their_weights_and_unknown_ones_are_counted_apart(run: Run, tmp_path: Path) -> None:
    rows = (f"toy,{TOY},2.0,5,keep,,", f"other,{OTHER},1.1,0,reject,,", f"new,{UNSEEN},9.9,9,keep,,later")
    file = write_rows(tmp_path / "a.csv", *rows)
    code, out, err = run("marks", "import", file)
    assert (code, err) == (0, "")
    assert out == f"read 3 judgements from {file}, 1 of them for models that this store does not know\n"
    assert marks_of(tmp_path, TOY) == {("2.0", 5): Judgement("keep")}
    assert marks_of(tmp_path, OTHER) == {("1.1", 0): Judgement("reject")}
    assert marks_of(tmp_path, UNSEEN) == {("9.9", 9): Judgement("keep", (), "later")}
    code, out, _ = run("marks", "import", file, "--json")
    counts = {"channels": 3, "unknown_models": 1, "other_models": 0, "repeated": 0}
    assert (code, json.loads(out)) == (0, {"file": str(file), **counts, "disagreements": [], "imported": True})


@pytest.mark.parametrize("place", ["2.0", "02. Jan"])
def test_a_spreadsheets_date_for_a_block_is_refused_and_nothing_is_imported(
    run: Run, tmp_path: Path, place: str
) -> None:
    file = write_rows(tmp_path / "a.csv", f"other,{OTHER},1.1,0,keep,,", f"toy,{TOY},{place},7,keep,,")
    code, out, err = run("marks", "import", file)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "line 3: unknown " in err
    assert ("2.0 of toy has 0-5" if place == "2.0" else "toy has 1.0, 1.1, 2.0") in err
    assert not (tmp_path / "marks").exists()


def test_a_named_model_takes_its_own_rows_only(run: Run, tmp_path: Path) -> None:
    rows = (f"resnet18,{UNSEEN},2.1,9,keep,,", f"toy,{TOY},2.0,5,keep,,")
    file = write_rows(tmp_path / "a.csv", *rows)
    for words in (("marks", "import", file, "--model", "resnet18"), ("--model", "resnet18", "marks", "import", file)):
        code, out, err = run(*words)
        assert (code, err) == (0, "")
        apart = ", 1 of them for models that this store does not know"
        assert out == f"read 1 judgements from {file}{apart}; left 1 of other models\n"
    assert marks_of(tmp_path, TOY) == {}
    assert marks_of(tmp_path, UNSEEN) == {("2.1", 9): Judgement("keep")}


def test_rows_that_contradict_each_other_are_told(run: Run, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "a.csv", f"toy,{TOY},2.0,5,keep,,", f"toy,{TOY},2.0,5,reject,,")
    code, out, err = run("marks", "import", file)
    assert (code, out) == (0, f"read 1 judgements from {file}\n")
    assert err == f"streamscope: 1 channels are judged twice in {file}; the last row holds\n"
    assert marks_of(tmp_path, TOY) == {("2.0", 5): Judgement("reject")}


def test_a_file_of_0_2_0_is_read(run: Run, tmp_path: Path) -> None:
    with zipfile.ZipFile(ARCHIVE) as archive:
        (tmp_path / "old.csv").write_bytes(archive.read("marks.csv"))
        # Only a store of that version knows the network that its demo was.
        archive.extractall(tmp_path, [name for name in archive.namelist() if name.startswith("cache/")])
    code, _, err = run("marks", "import", tmp_path / "old.csv")
    assert (code, err) == (0, "")
    assert run("marks", "export", "--model", "demo-0.2", tmp_path / "new.csv")[0] == 0
    assert (tmp_path / "new.csv").read_bytes() == (tmp_path / "old.csv").read_bytes()


def test_no_message_has_a_control_character(run: Run, tmp_path: Path) -> None:
    hostile = "\x1b]0;x\x07\x9b2J\n\u202e"
    rows = (f"toy,{TOY},{hostile.strip()!s},5,keep,,".replace("\n", ""), f"toy,{TOY},2.0,5,\x1b[31m,,")
    for number, row in enumerate(rows):
        code, out, err = run("marks", "import", write_rows(tmp_path / f"a{number}\x1b[1m.csv", row))
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert not set(err) & set("\x1b\x07\x9b\u202e")
