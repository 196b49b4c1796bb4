"""`streamscope bundle`, what opens one read only, and the way of marks there and back."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from streamscope.core.model.spec import ModelSpec
from streamscope.core.store import Judgement, Marks, Store
from streamscope.tui.cli.main import main
from tests.support.app_store import fill, make_info, open_store
from tests.support.photographs import with_centres
from tests.support.report_store import fill_everything
from tests.support.stores import REPOSITORY

HEADER = "model,fingerprint,block,channel,marked,tags,note\n"
FINGERPRINT = make_info().fingerprint
NO_TORCH = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "timm"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
from streamscope.tui.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
"""As where PyTorch is not installed: importing it raises."""
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command; bundles are unpacked into a folder that it leaves empty."""
    place = tmp_path / "unpacked"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([*map(str, arguments)])
        captured = capsys.readouterr()
        assert list(place.iterdir()) == []
        return code, captured.out, captured.err

    return call


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A small store, and marks of whoever has it."""
    info = make_info()
    fill(open_store(tmp_path / "cache", info), info, ["1.1", "2.1"])
    marks_of(tmp_path).mark("2.1", [0, 3, 5], "keep")
    marks_of(tmp_path).note("2.1", 3, "odd")
    return tmp_path / "cache"


def marks_of(tmp_path: Path, name: str = "marks") -> Marks:
    return Marks(tmp_path / name, FINGERPRINT, "resnet18")


@pytest.fixture(autouse=True)
def _marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMSCOPE_MARKS", str(tmp_path / "marks"))


def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On another person's machine: with marks of their own, and no cache."""
    monkeypatch.setenv("STREAMSCOPE_MARKS", str(tmp_path / "theirs"))
    monkeypatch.setenv("STREAMSCOPE_CACHE", str(tmp_path / "none"))


def bundle(run: Run, cache: Path, *words: object) -> Path:
    path = cache.parent / "out.zip"
    code, _, err = run("bundle", path, "--cache", cache, *(words or ("--marked",)))
    assert code == 0, err
    return path


def test_marked_channels_are_bundled_and_opened_elsewhere(
    run: Run, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = run("bundle", tmp_path / "out.zip", "--cache", cache, "--marked")
    size = (tmp_path / "out.zip").stat().st_size
    wrote = f"wrote 3 channels, 9 FZs and 3 judgements to {tmp_path / 'out.zip'} ({size / 1e6:,.1f} MB)\n"
    assert (code, out, err) == (0, wrote, "")
    elsewhere(tmp_path, monkeypatch)
    columns = "block,channel,mix_ratio,marked,note"
    code, there, _ = run("table", "--block", "2.1", "--cache", cache, "--columns", columns, "--format", "csv")
    code, here, err = run("--cache", tmp_path / "out.zip", "table", "--marked", "--columns", columns, "--format", "csv")
    assert (code, err) == (0, "")
    by_channel = {row.split(",")[1]: row.split(",") for row in there.splitlines()}
    rows = [row.split(",") for row in here.splitlines()]
    assert [row[1] for row in rows] == ["channel", "0", "3", "5"]
    assert all(row[2] == by_channel[row[1]][2] for row in rows)
    assert [row[3:] for row in rows[1:]] == [["keep", ""], ["keep", "odd"], ["keep", ""]]
    code, out, _ = run(
        "table", "--cache", tmp_path / "out.zip", "--filter", "not missing(late_rise)", "--format", "csv"
    )
    assert [row.split(",")[4] for row in out.splitlines()[1:]] == ["0", "3", "5"]
    code, _, err = run("fz", "--cache", tmp_path / "out.zip", "--marked", "--out", tmp_path / "pictures")
    assert (code, err) == (0, "")
    assert len(list((tmp_path / "pictures").iterdir())) == 9


def test_on_a_terminal_it_is_said_while_a_bundle_is_unpacked(
    run: Run, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bundle(run, cache)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert run("table", "--cache", path)[2] == "\r\x1b[Kstreamscope: unpacking out.zip …\r\x1b[K"


@pytest.mark.parametrize(
    "words",
    [
        ("--block", "2.1", "--channels", "0-2"),
        ("--filter", "channel < 2"),
        ("--block", "1.1", "--filter", "channel==5"),
    ],
)
def test_channels_are_chosen_as_everywhere(run: Run, cache: Path, words: tuple[str, ...]) -> None:
    path = bundle(run, cache, *words)
    with zipfile.ZipFile(path) as zipped:
        record = json.loads(zipped.read("bundle.json"))
    expected = {
        "--block": {"2.1": "0-2"} if "--channels" in words else {"1.1": "5"},
        "--filter": {"1.1": "0-1", "2.0": "0-1", "2.1": "0-1"},
    }
    assert record["channels"] == expected[words[0]]
    code, out, _ = run("bundle", path, "--cache", cache, "--json", *words)
    found = json.loads(out)
    assert (code, found["channels"], found["file"]) == (
        0,
        sum(map(channels_in, record["channels"].values())),
        str(path),
    )


def channels_in(text: str) -> int:
    first, _, last = text.partition("-")
    return int(last or first) - int(first) + 1


def test_who_made_it_is_said(run: Run, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = bundle(run, cache)
    code, out, err = run("cache", "info", "--cache", path)
    assert (code, err) == (0, "")
    assert out.startswith(f"{path}: ")
    (line,) = [line for line in out.splitlines() if line.startswith("bundled 20")]
    assert line.endswith(f" on {socket.gethostname()}, with marks; FZs of 2.1 0,3,5")
    code, out, _ = run("cache", "info", "--json", "--cache", path)
    assert json.loads(out)["bundle"]["channels"] == {"2.1": "0,3,5"}


def test_a_store_of_0_2_0_is_bundled_as_any_other(run: Run, tmp_path: Path) -> None:
    with zipfile.ZipFile(Path(__file__).parents[2] / "data" / "store-0.2.0.zip") as archive:
        archive.extractall(tmp_path, [name for name in archive.namelist() if name.startswith("cache/")])
    words = ("--block", "1.1", "--channels", "0,2", "--format", "csv")
    there = run("table", "--model", "demo", "--cache", tmp_path / "cache", *words)
    made = run("bundle", tmp_path / "out.zip", "--model", "demo", "--cache", tmp_path / "cache", *words[:4])
    here = run("table", "--cache", tmp_path / "out.zip", *words)
    assert (there[0], made[0]) == (0, 0)
    assert here == there
    assert len(here[1].splitlines()) == 3
    assert run("cache", "verify", "--cache", tmp_path / "out.zip")[:2] == (0, "everything is intact\n")


def test_a_blind_bundle_tells_nothing_of_what_was_judged(
    run: Run, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bundle(run, cache, "--blind", "--marked", "--filter", "marked == 'keep'")
    with zipfile.ZipFile(path) as zipped:
        content = b"".join(zipped.read(name) for name in zipped.namelist() if not name.startswith("models/"))
        assert not [name for name in zipped.namelist() if name.startswith("marks")]
    assert b"keep" not in content
    assert b"odd" not in content
    elsewhere(tmp_path, monkeypatch)
    code, out, _ = run("table", "--cache", path, "--marked", "--format", "csv")
    assert (code, len(out.splitlines())) == (0, 1)


def test_weights_and_code_that_are_not_here_are_not_needed(
    run: Run, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sender knew the model by a file of weights."""
    info = make_info()
    weights = tmp_path / "mine.pth"
    weights.write_bytes(b"weights")
    store = Store.open(tmp_path / "other", create=True)
    store.register(info)
    store.remember(ModelSpec("resnet18", weights).text, info.identity)
    fill(store, info, ["2.1"])
    path = bundle(run, tmp_path / "other", "--weights", weights, "--block", "2.1", "--channels", "1")
    weights.unlink()
    elsewhere(tmp_path, monkeypatch)
    for words in (("table",), ("table", "--model", "resnet18"), ("cache", "info"), ("cache", "verify"), ("models",)):
        code, _, err = run(*words, "--cache", path)
        assert (code, err) == (0, ""), words
    # Another model is not taken for it.
    code, _, err = run("table", "--model", "resnet50", "--cache", path)
    assert code == 1
    assert f"nothing is stored of resnet50 in {path}" in err
    assert "compute" not in err


@pytest.mark.parametrize(
    "words",
    [
        ("compute", "--block", "2.1"),
        ("scan", "."),
        ("curves", "--block", "2.1"),
        ("nulls", "--block", "2.1", "--shams"),
        ("nulls", "--block", "2.1", "--pairs"),
        ("ablate", ".", "--block", "2.1"),
        ("cache", "prune", "--yes"),
        ("cache", "verify", "--drop"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_what_computes_or_removes_says_that_a_bundle_is_read_only(
    run: Run, cache: Path, words: tuple[str, ...]
) -> None:
    path = bundle(run, cache)
    before = path.read_bytes()
    code, out, err = run(*words, "--cache", path)
    said = f"streamscope: {path} is a bundle, which is read only; name a cache of your own with --cache DIR\n"
    assert (code, out, err) == (1, "", said)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PK\x03\x04 and no more", "is damaged or cut short"),
        (b"no zip", "is a file, not a folder"),
        (None, "is a zip, but no bundle"),
    ],
    ids=["cut", "other", "foreign"],
)
def test_what_is_no_bundle_is_refused_in_one_line(run: Run, tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "some.zip"
    if content is None:
        with zipfile.ZipFile(path, "w") as zipped:
            zipped.writestr("a", b"b")
    else:
        path.write_bytes(content)
    for words in (("table",), ("marks", "export", tmp_path / "mine.csv"), ("cache", "info")):
        code, out, err = run(*words, "--cache", path)
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert said in err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["some.zip", "unpacked"]


def test_a_bundle_that_is_not_there_is_no_empty_cache(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "none.zip"
    for words in (("table",), ("compute",), ()):
        assert run(*words, "--cache", path) == (1, "", f"streamscope: no such file: {path}\n")
    assert not path.exists()


def test_a_name_that_is_no_zip_and_a_file_that_is_no_bundle_are_left_alone(run: Run, cache: Path) -> None:
    assert run("bundle", cache.parent / "out", "--marked", "--cache", cache)[0] == 2
    mine = cache.parent / "mine.zip"
    mine.write_bytes(b"years of work")
    code, _, err = run("bundle", mine, "--marked", "--cache", cache)
    assert (code, mine.read_bytes()) == (2, b"years of work")
    assert "it is no bundle" in err


def test_an_unzipped_bundle_is_one_too(run: Run, cache: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(bundle(run, cache)) as zipped:
        zipped.extractall(tmp_path / "folder")
    before = sorted((tmp_path / "folder").rglob("*"))
    assert run("table", "--cache", tmp_path / "folder")[0] == 0
    assert "is read only" in run("compute", "--cache", tmp_path / "folder")[2]
    assert sorted((tmp_path / "folder").rglob("*")) == before


def test_judgements_go_there_and_come_back_with_what_differs(
    run: Run, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bundle(run, cache)
    elsewhere(tmp_path, monkeypatch)
    mine = tmp_path / "mine.csv"
    # Nothing was said here: what came with the bundle is not exported as if it were.
    assert run("--cache", path, "marks", "export", mine)[1] == f"wrote 0 judgements to {mine}\n"
    theirs = marks_of(tmp_path, "theirs")
    theirs.mark("2.1", [0], "keep")
    theirs.mark("2.1", [3], "reject")
    theirs.note("2.1", 3, "no, =plain")
    theirs.tag("2.1", [5], add=["edge"])
    assert run("--cache", path, "marks", "export", mine)[1] == f"wrote 3 judgements to {mine}\n"

    monkeypatch.setenv("STREAMSCOPE_MARKS", str(tmp_path / "marks"))
    before = marks_of(tmp_path).all()
    code, out, err = run("marks", "import", mine, "--cache", cache, "--dry-run")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == f"would read 3 judgements from {mine}"
    assert out.splitlines()[1] == "2 judgements of yours and of mine.csv differ; those of mine.csv would stand:"
    assert marks_of(tmp_path).all() == before

    code, out, _ = run("marks", "import", mine, "--cache", cache, "--keep", "mine")
    lines = [line.split() for line in out.splitlines()]
    assert out.splitlines()[1] == "2 judgements of yours and of mine.csv differ; yours stand:"
    assert lines[3:] == [["2.1", "3", "mark", "keep", "reject"], ["2.1", "3", "note", "odd", "no,", "=plain"]]
    assert marks_of(tmp_path).all() == {**before, ("2.1", 5): Judgement("keep", ("edge",))}

    code, out, _ = run("marks", "import", mine, "--cache", cache, "--json")
    said = [(d["channel"], d["part"], d["mine"], d["theirs"], d["kept"]) for d in json.loads(out)["disagreements"]]
    assert said == [(3, "mark", "keep", "reject", "theirs"), (3, "note", "odd", "no, =plain", "theirs")]
    assert marks_of(tmp_path).get("2.1", 3) == Judgement("reject", (), "no, =plain")
    # Once more: nothing differs.
    assert run("marks", "import", mine, "--cache", cache)[1] == f"read 3 judgements from {mine}\n"


def write_marks(path: Path, marks: dict[int, str], fingerprint: str = FINGERPRINT) -> Path:
    rows = [f"resnet18,{fingerprint},2.1,{channel},{mark},,\n" for channel, mark in marks.items()]
    path.write_text(HEADER + "".join(rows))
    return path


def test_agreement_is_of_your_marks_and_a_files(run: Run, cache: Path, tmp_path: Path) -> None:
    marks_of(tmp_path).mark("2.1", [1, 2], "reject")
    file = write_marks(tmp_path / "ben.csv", {0: "keep", 3: "unsure", 5: "reject", 1: "reject", 7: "keep"})
    code, out, err = run("marks", "agreement", file, "--cache", cache)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == (
        "resnet18 f37072fd0000: 4 channels marked by you and by ben.csv; only you marked 1 more, only ben.csv 1 more"
    )
    # 2 of 4 agree; by chance (3 * 1 + 0 * 1 + 1 * 2) / 16 = 5/16: kappa (8 - 5) / 11.
    assert lines[1].startswith("Cohen's kappa 0.27 (95 % interval ")
    assert lines[1].endswith("); the same mark for 50.0 %")
    assert [line.split()[-3:] for line in lines[3:6]] == [["1", "1", "1"], ["0", "0", "0"], ["0", "0", "1"]]
    assert [line.split() for line in lines[7:]] == [["2.1", "5", "keep", "reject"], ["2.1", "3", "keep", "unsure"]]


def test_agreement_of_two_files_is_machine_readable(run: Run, cache: Path, tmp_path: Path) -> None:
    ada = write_marks(tmp_path / "ada.csv", {0: "keep", 1: "reject", 2: "unsure"})
    ben = write_marks(tmp_path / "ben.csv", {0: "keep", 1: "reject", 2: "reject"})
    write_marks(tmp_path / "other.csv", {0: "keep"}, "cd" * 32)
    ben.write_text(ben.read_text() + (tmp_path / "other.csv").read_text().removeprefix(HEADER))
    code, out, _ = run("marks", "agreement", ada, ben, "--json", "--cache", cache)
    (found,) = json.loads(out)
    assert (code, found["judges"], found["n"], found["fingerprint"]) == (0, ["ada.csv", "ben.csv"], 3, FINGERPRINT)
    # 2 of 3 agree; by chance (1 + 0 + 2) / 9.
    assert found["kappa"] == pytest.approx((2 / 3 - 1 / 3) / (1 - 1 / 3))
    assert found["table"] == [[1, 0, 0], [0, 0, 1], [0, 0, 1]]
    assert found["differences"] == [{"block": "2.1", "channel": 2, "first": "unsure", "second": "reject"}]
    code, out, _ = run("marks", "agreement", ada, ada, "--json", "--cache", cache)
    (found,) = json.loads(out)
    assert (found["kappa"], found["low"], found["reason"]) == (1, None, "both say the same throughout")


def test_agreement_about_nothing_is_said_to_be(run: Run, cache: Path, tmp_path: Path) -> None:
    file = write_marks(tmp_path / "ben.csv", {7: "keep"})
    code, out, err = run("marks", "agreement", file, "--cache", cache)
    assert (code, out) == (1, "")
    assert err == "streamscope: no channel is marked both by you and in ben.csv\n"
    assert run("marks", "agreement", file, file, file, "--cache", cache)[0] == 2


def test_a_bundle_is_read_where_pytorch_is_not_installed(tmp_path: Path) -> None:
    info = with_centres(make_info())
    fill_everything(tmp_path / "cache", info, tmp_path / "images")
    path = tmp_path / "out.zip"
    lines: list[tuple[object, ...]] = [
        ("bundle", path, "--block", "1.1", "--channels", "0-3", "--cache", tmp_path / "cache"),
        ("table", "--block", "1.1", "--cache", path),
        ("table", "--block", "1.1", "--channels", "0-3", "--out", tmp_path / "sheet.png", "--cache", path),
        ("fz", "--block", "1.1", "--channels", "1", "--out", tmp_path / "pictures", "--cache", path),
        ("nulls", "--block", "1.1", "--cache", path),
        ("curves", "--block", "1.1", "--cache", path),
        ("evidence", "--block", "1.1", "--cache", path),
        ("cache", "info", "--cache", path),
        ("cache", "verify", "--cache", path),
        ("models", "--cache", path),
        ("report", "--out", tmp_path / "report", "--block", "1.1", "--cache", path),
        ("marks", "export", tmp_path / "mine.csv", "--cache", path),
    ]
    for words in lines:
        command = [sys.executable, "-c", NO_TORCH, *map(str, words)]
        result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
        assert result.returncode == 0, (words, result.stderr)
        assert "damaged" not in result.stderr, words
