"""What version 0.2.0 stored opens, reads, verifies and goes on.

`tests/data/store-0.2.0.zip` was written by that release on the demo model: FZs of two seeds, channel FZs, measures,
curves, shams, a scan, an ablation, jobs and marks, and beside them what its commands printed.
"""

from __future__ import annotations

import csv
import io
import json
import zipfile
from pathlib import Path

import pytest

from streamscope.core.store import Store, job_states
from streamscope.tui.cli.main import main

ARCHIVE = Path(__file__).parents[2] / "data" / "store-0.2.0.zip"
DEMO = ["--model", "demo"]


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the cache, the marks and the outputs of 0.2.0."""
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(tmp_path)
    monkeypatch.setenv("STREAMSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("STREAMSCOPE_MARKS", str(tmp_path / "marks"))
    return tmp_path


def stored(root: Path) -> dict[str, bytes]:
    models = root / "cache" / "models"
    return {str(path.relative_to(models)): path.read_bytes() for path in models.rglob("*") if path.is_file()}


def test_the_table_is_the_same_to_the_last_digit(release: Path) -> None:
    out = release / "now.csv"
    assert main(["table", *DEMO, "--seed", "0", "--format", "csv", "--out", str(out)]) == 0
    before, now = (list(csv.reader(io.StringIO(path.read_text(), newline=""))) for path in (release / "table.csv", out))
    width = len(before[0])
    assert [row[:width] for row in now] == before
    # What came later is of the centred protocol, but for how the set was made.
    assert now[0][width] == "protocol"
    assert {tuple(row[width:]) for row in now[1:]} == {("paper", *[""] * (len(now[0]) - width - 1))}


@pytest.mark.parametrize("command", ["nulls", "curves"])
def test_what_follows_from_what_is_stored_is_the_same(
    command: str, release: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, *DEMO, "--block", "1.1", "--seed", "0", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    if command == "nulls":
        # Tests against nulls of the same channels came later.
        shams = [null for block in found for null in block["nulls"] if null["null"].startswith("sham")]
        tests = [null[criterion].pop("paired") for null in shams for criterion in ("meets_both", "scale_invariant")]
        assert all(0 < test["p"] <= 1 for test in tests)
    assert found == json.loads((release / f"{command}.json").read_text())


def test_marks_and_notes_are_there(release: Path) -> None:
    out = release / "now.csv"
    assert main(["marks", "export", *DEMO, str(out)]) == 0
    assert out.read_bytes() == (release / "marks.csv").read_bytes()


def test_everything_is_intact(release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "verify"]) == 0
    assert "everything is intact" in capsys.readouterr().out


def test_its_jobs_are_shown_as_they_ended(release: Path) -> None:
    states = job_states(Store.open(release / "cache"))
    assert [(state.state, state.done, state.total) for state in states] == [
        ("done", 18, 18),
        ("done", 12, 12),
        ("done", 6, 6),
        ("done", 6, 6),
    ]


def test_what_was_computed_is_not_computed_again(release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = stored(release)
    assert main(["compute", *DEMO, "--protocol", "paper", "--block", "1.1", "--channels", "0-5", "--steps", "8"]) == 0
    assert capsys.readouterr().out.startswith("nothing is missing: 18 FZs are stored and measured")
    assert {name: content for name, content in stored(release).items() if "completed" not in name} == {
        name: content for name, content in before.items() if "completed" not in name
    }


def test_a_set_goes_on_where_it_was(release: Path) -> None:
    before = stored(release)
    compute = [
        "compute",
        *DEMO,
        "--protocol",
        "paper",
        "--block",
        "1.1",
        "--channels",
        "4-7",
        "--steps",
        "8",
        "--device",
        "cpu",
    ]
    assert main(compute) == 0
    after = stored(release)
    new = {name for name in after if name not in before}
    assert {Path(name).name for name in new if name.endswith(".png")} == {"0006.png", "0007.png"}
    written_anew = {name for name, content in before.items() if after[name] != content}
    assert {Path(name).name for name in written_anew} <= {"completed.json", "model.json"}
    # A description gains the centres of receptive fields, which 0.2.0 did not note.
    (name,) = (name for name in written_anew if name.endswith("model.json"))
    described, known = json.loads(after[name]), json.loads(before[name])
    assert described.pop("sha256") != known.pop("sha256")
    assert all(field.pop("middle") >= 0 for field in described["fields"].values())
    assert described == known
    assert main(["cache", "verify"]) == 0


def test_a_centred_set_says_what_its_scan_lacks(release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    centred = ["--protocol", "centred", "--steps", "8"]
    assert main(["compute", *DEMO, *centred, "--block", "1.1", "--channels", "0", "--device", "cpu"]) == 0
    assert main(["table", *DEMO, *centred, "--block", "1.1"]) == 0
    said = capsys.readouterr().err
    assert "it lacks what robust and the mei_ columns of centred sets need; run 'streamscope --model demo scan " in said
    assert main(["table", *DEMO, "--protocol", "paper", "--seed", "0", "--block", "1.1"]) == 0
    assert "it lacks" not in capsys.readouterr().err
