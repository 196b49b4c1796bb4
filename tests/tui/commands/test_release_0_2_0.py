"""What version 0.2.0 stored opens, reads and verifies. Its demo was another network, so that nothing is added to it.

`tests/data/store-0.2.0.zip` was written by that release on the demo model: FZs of two seeds, channel FZs, measures,
curves, shams, a scan, an ablation, jobs and marks, and beside them what its commands printed.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from streamscope.core.errors import StoreError, WeightsError
from streamscope.core.model.blocks import ModelInfo
from streamscope.core.model.demo import write_images
from streamscope.core.model.descriptions import bundled_description
from streamscope.core.model.spec import ModelSpec
from streamscope.core.store import Store, job_states, stored_spec
from streamscope.core.store.store import model_folder_name
from streamscope.core.table.columns import OVER_SEEDS
from streamscope.tui.cli.main import main
from tests.support.app_driver import dialog_text, idle_workers, opened, options, screen_text, until

ARCHIVE = Path(__file__).parents[2] / "data" / "store-0.2.0.zip"
DEMO = ["--model", "demo"]
FORMER = ["--model", "demo-0.2"]


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the cache, the marks and the outputs of 0.2.0."""
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(tmp_path)
    monkeypatch.setenv("STREAMSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("STREAMSCOPE_MARKS", str(tmp_path / "marks"))
    return tmp_path


def bundled() -> ModelInfo:
    """Today's demo."""
    info = bundled_description(ModelSpec("demo").text)
    assert info is not None
    return info


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
    later = [number for number in range(width, len(now[0])) if now[0][number] not in OVER_SEEDS]
    assert {tuple(row[number] for number in later) for row in now[1:]} == {("paper", *[""] * (len(later) - 1))}


@pytest.mark.parametrize("command", ["nulls", "curves"])
def test_what_follows_from_what_is_stored_is_the_same(
    command: str, release: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, *DEMO, "--block", "1.1", "--seed", "0", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    if command == "nulls":
        # Tests against nulls came later, nulls of verdicts over seeds and by images, and what is not computed.
        assert [block.pop("lacking") for block in found] == [["pairs", "sham", "untrained", "images"]]
        assert all(block.pop("coverage") for block in found)
        for block in found:
            for later in ("verdict", "beyond_blur", "mei_scale_invariant", "robust", "photo_invariant"):
                del block["real"][later]
            for null in block["nulls"]:
                assert null.pop("seeds") == 1
                null.pop("verdict", None)
                for share in (value for value in null.values() if isinstance(value, dict)):
                    share.pop("paired", None)
                    excess = share.pop("excess", None)
                    assert excess is None or 0 < excess["p"] <= excess["holm"] <= 1
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
    wanted = ["--protocol", "paper", "--block", "1.1", "--channels", "0-5", "--steps", "8"]
    assert main(["compute", *FORMER, *wanted]) == 0
    assert capsys.readouterr().out.startswith("nothing is missing: 18 FZs are stored and measured")
    assert {name: content for name, content in stored(release).items() if "completed" not in name} == {
        name: content for name, content in before.items() if "completed" not in name
    }


@pytest.mark.parametrize(
    "command",
    [
        ["compute", *FORMER, "--protocol", "paper", "--block", "1.1", "--channels", "4-7", "--steps", "8"],
        ["compute", *FORMER, "--block", "2.0", "--detach"],
        ["nulls", *DEMO, "--block", "1.1", "--seed", "0", "--untrained"],
        ["nulls", *DEMO, "--block", "1.1", "--seed", "0", "--seeds", "7"],
        ["nulls", *DEMO, "--block", "1.1", "--seed", "0", "--by-images"],
        ["curves", *DEMO, "--block", "1.1", "--seed", "0", "--antialias"],
        ["photographs", *DEMO, "--block", "1.1"],
    ],
)
def test_nothing_is_added_to_it_and_one_line_says_why(
    command: list[str], release: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = stored(release)
    assert main(command) == WeightsError.exit_code
    (line,) = capsys.readouterr().err.splitlines()
    assert "whose weights are gone: what is stored of it can be read but not added to" in line
    assert stored(release) == before
    assert main(["cache", "verify"]) == 0


def test_a_centred_set_says_what_a_scan_of_that_version_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = [*DEMO, "--cache", str(tmp_path / "cache")]
    write_images(tmp_path / "shapes", 1, 5)
    for protocol in ("centred", "paper"):
        asked = ["--protocol", protocol, "--steps", "2", "--block", "1.1", "--channels", "0", "--device", "cpu"]
        assert main(["compute", *here, *asked]) == 0
    assert main(["scan", str(tmp_path / "shapes"), *here, "--device", "cpu"]) == 0
    # 0.2.0 had no centred protocol to read MEIs by.
    (centred,) = (tmp_path / "cache").glob("models/*/scans/*/robust-centred")
    shutil.rmtree(centred)
    capsys.readouterr()
    assert main(["table", *here, "--protocol", "centred", "--block", "1.1"]) == 0
    said = capsys.readouterr().err
    assert "it lacks what robust and the mei_ columns of centred sets need; run 'streamscope --model demo " in said
    assert main(["table", *here, "--protocol", "paper", "--block", "1.1"]) == 0
    assert "it lacks" not in capsys.readouterr().err


def test_todays_demo_is_computed_beside_it(release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = stored(release)
    wanted = ["--protocol", "paper", "--block", "1.1", "--channels", "4,5", "--steps", "8", "--device", "cpu"]
    assert main(["compute", *DEMO, *wanted]) == 0
    assert "are of the network of versions up to 0.2 and stay as they are" in capsys.readouterr().err
    after = stored(release)
    assert {name: after[name] for name in before} == before
    assert {Path(name).parts[0] for name in after if name not in before} == {model_folder_name(bundled())}
    assert main(["table", *DEMO, "--json"]) == 0
    assert {row["channel"] for row in json.loads(capsys.readouterr().out) if row["status"] == "ok"} == {4, 5}
    assert main(["table", *FORMER, "--seed", "0", "--json"]) == 0
    assert {row["channel"] for row in json.loads(capsys.readouterr().out) if row["status"] == "ok"} == set(range(6))
    # It is said once: from then on the store has both.
    assert main(["compute", *DEMO, *wanted]) == 0
    assert capsys.readouterr().err == ""


def test_a_store_without_it_says_that_nothing_is_stored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table", *FORMER, "--cache", str(tmp_path / "new")]) == StoreError.exit_code
    error = capsys.readouterr().err
    assert "nothing is stored of demo-0.2" in error
    assert "compute" not in error


def test_a_description_of_that_version_gains_the_centres_of_receptive_fields(tmp_path: Path) -> None:
    store, info = Store.open(tmp_path, create=True), bundled()
    old = replace(info, fields={name: replace(field, middle=None) for name, field in info.fields.items()})
    store.register(old)
    wanted = ["--block", "1.1", "--channels", "0", "--steps", "2", "--protocol", "paper", "--device", "cpu"]
    assert main(["compute", *DEMO, "--cache", str(tmp_path), *wanted]) == 0
    assert Store.open(tmp_path).model(info.identity) == info
    assert main(["cache", "verify", "--cache", str(tmp_path)]) == 0


async def test_the_app_shows_it_and_computes_nothing_of_it(release: Path) -> None:
    spec = stored_spec(Store.open(release / "cache"), ModelSpec("demo"))
    assert spec == ModelSpec("demo-0.2")
    async with opened(options(release, spec=spec), workers=idle_workers()) as (app, pilot):
        assert app.info is not None
        assert app.reading is not None
        assert app.info.fingerprint.startswith("cdc463c0fb9f")
        assert app.reading.stored
        before = len(job_states(app.store))
        await pilot.press("C")
        await until(pilot, lambda: "FZs are missing" in screen_text(app))
        await pilot.press("enter")
        await until(pilot, lambda: "whose weights are gone" in dialog_text(app))
        assert len(job_states(app.store)) == before
