"""`streamscope curves` and `streamscope nulls` on a real store of the demo model."""

import json
from pathlib import Path

import pytest

from streamscope.core.engine.network import load_network
from streamscope.core.jobs.worker import run_job
from streamscope.core.model.demo import write_images
from streamscope.core.model.spec import ModelSpec
from streamscope.core.store import JobSpec, Store, create_job, job_state, job_states
from streamscope.tui.cli.main import main
from tests.support.command_line import Run
from tests.support.stores import model_files


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    root = tmp_path_factory.mktemp("nulls") / "cache"
    opened = Store.open(root, create=True)
    network = load_network(ModelSpec("demo"), "cpu")
    opened.register(network.info)
    opened.remember(ModelSpec("demo").text, network.info.fingerprint)
    channels = {"1.1": tuple(range(6))}
    spec = JobSpec("demo", device="cpu", steps=4, blocks=("1.1",), tensors=("in", "block"), channels=channels)
    assert run_job(opened, create_job(opened, spec), lambda event: None, network) == 0
    return opened


@pytest.fixture
def run(store: Store, capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(store.root, capsys, ("--device", "cpu"))


def test_curves_are_computed_once_and_summarised(run: Run, store: Store) -> None:
    code, out, _ = run("curves", "--block", "1.1", "--json")
    rows = json.loads(out)
    assert code == 0
    assert [(row["block"], row["images"], row["channels"]) for row in rows] == [
        ("1.1", "FZ(in)", 6),
        ("1.1", "FZ(block)", 6),
    ]
    assert all(0 < row["invariance"] <= 1 and 0 < row["half_width_octaves"] <= 2 for row in rows)
    before = model_files(store)
    code, out, _ = run("curves")
    assert (code, model_files(store)) == (0, before)
    assert "FZ(block)" in out
    assert json.loads(run("curves", "--antialias", "--json")[1])[0]["antialias"] is True
    assert len(model_files(store)) > len(before)


def test_curves_on_meis_follow_a_scan(run: Run, tmp_path: Path) -> None:
    write_images(tmp_path / "shapes", per_class=2, seed=0)
    assert run("scan", tmp_path / "shapes", "--workers", "1")[0] == 0
    rows = json.loads(run("curves", "--block", "1.1", "--images", tmp_path / "shapes", "--json")[1])
    assert {row["images"] for row in rows} == {"FZ(in)", "FZ(block)", "MEI(in)", "MEI(block)"}
    assert all(row["channels"] > 0 for row in rows)


def test_nulls_are_computed_as_jobs_once_and_shown_beside_the_real_shares(run: Run, store: Store) -> None:
    code, out, _ = run("nulls", "--block", "1.1", "--json")
    assert code == 0
    [found] = json.loads(out)
    assert [null["null"] for null in found["nulls"]] == ["shuffled pairs"]
    assert found["nulls"][0]["meets_both"]["null"]["n"] == 6 * 5
    assert found["seeds"] is None

    assert found["lacking"] == ["sham", "untrained", "seeds", "images"]
    assert found["coverage"]["verdict"]["sham: flip"] == "not computed"
    *_, last = run("nulls", "--block", "1.1")[1].splitlines()
    lacking = "sham transforms, untrained copy, other FZ seeds, nulls of verdicts by images"
    assert last.startswith(f"not computed of 1.1: {lacking}; ")
    assert " --block 1.1 --all" in last

    already = len(job_states(store))
    everything = ("nulls", "--block", "1.1", "--all", "--seed", "0")
    code, out, err = run(*everything, "--json")
    assert (code, err) == (0, [])
    [found] = json.loads(out)
    names = [null["null"] for null in found["nulls"]]
    assert names == ["shuffled pairs", "sham: flip", "sham: quarter turn", "sham: shift", "untrained copy 0"]
    assert found["nulls"][-1]["meets_block"]["null"]["n"] == 6
    assert found["seeds"]["seeds"] in (2, 3)
    assert found["lacking"] == []
    assert not {"not computed"} & {state for states in found["coverage"].values() for state in states.values()}
    for null in found["nulls"][1:]:
        assert null["seeds"] == 3
        assert {"scale_invariant", "verdict"} <= null.keys()
    excess = found["nulls"][1]["meets_both"]["excess"]
    assert excess["low"] <= excess["difference"] <= excess["high"]
    assert excess["p"] <= excess["holm"] <= 1
    new = job_states(store)[already:]
    assert [(job.job.spec.model, job.job.spec.seed) for job in new] == [
        ("demo", 1),
        ("demo", 2),
        ("demo-untrained-0", 0),
        ("demo-untrained-0", 1),
        ("demo-untrained-0", 2),
    ]
    assert {job_state(store, job.job).state for job in new} == {"done"}

    before = [p for p in model_files(store) if p.name != "completed.json"]
    code, out, _ = run(*everything)
    assert (code, [p for p in model_files(store) if p.name != "completed.json"]) == (0, before)
    assert "untrained copy 0" in out
    assert "not computed" not in out
    told = ("nulls", "--block", "1.1", "--shams", "--untrained", "--seeds", "1,2", "--seed", "0")
    assert run(*told)[1] == out
    assert "same update with another seed" in out
    assert all(len(line) <= 100 for line in out.splitlines())

    # The columns of the table that follow, in the set that was read before, and the copy's own table.
    rows = json.loads(run("table", "--block", "1.1", "--json")[1])
    assert {row["seed"] for row in rows} == {0}
    assert {row["seeds"] for row in rows[6:]} == {None}
    assert any(row["stable_update"] is not None for row in rows[:6])
    rows = json.loads(run("table", "--block", "1.1", "--json", model="demo-untrained-0")[1])
    assert rows[0]["model"] == "demo-untrained-0"
    assert rows[0]["status"] != "missing in,block"
    listed = json.loads(run("models", "--json")[1])
    names = [row["model"] for row in listed]
    assert names.index("demo-untrained-0") == names.index("demo") + 1


def test_gains_are_set_against_pairs_by_compute_and_when_asked_for(run: Run, store: Store) -> None:
    def q() -> list[float | None]:
        return [row["q"] for row in json.loads(run("table", "--block", "1.1", "--seed", "0", "--json")[1])]

    kept = q()
    assert any(value is not None and 0 < value <= 1 for value in kept[:6])
    assert kept[6:] == [None] * len(kept[6:])
    info = store.models()[0]
    (fzset,) = [one for one in store.sets(info) if one.key.seed == 0]
    path = fzset.folder.pairs("1.1")
    path.unlink()
    assert set(q()) == {None}
    out = run("nulls", "--block", "1.1", "--seed", "0")[1]
    assert "q against pairs" in out
    assert not path.exists(), "showing writes nothing"
    assert "q against pairs" not in run("nulls", "--block", "1.1", "--seed", "0", "--pairs")[1]
    assert q() == kept


WRONG = [
    (["nulls"], 2, "Missing option '--block'"),
    (["nulls", "--block", "7.7"], 2, "unknown block '7.7'"),
    (["nulls", "--block", "2.1"], 1, "no channel of 2.1 is computed"),
    (["nulls", "--block", "1.1", "--seeds", "1,x"], 2, "malformed --seeds '1,x'; write for example 1,2"),
    (["nulls", "--block", "1.1", "--seeds", ""], 2, "malformed --seeds ''"),
    (["nulls", "--block", "1.1", "--untrained", "--model", "demo-untrained-0"], 2, "is an untrained copy itself"),
    (["nulls", "--block", "1.1", "--calibration", "5"], 1, "calibration takes 5 seeds that decide and at least 2"),
    (["nulls", "--block", "1.1", "--calibration", "0"], 2, "0 is not in the range x>=1"),
    (["nulls", "--block", "1.1", "--steps", "77"], 1, "nothing is stored of demo with steps 77"),
    (["curves", "--block", "7.7"], 2, "unknown block '7.7'"),
    (["curves", "--block", "2.1"], 1, "no FZs of 2.1 are stored"),
    (["curves", "--steps", "77"], 1, "compute --steps 77' first"),
    (["curves", "--images", "/no/such/folder"], 1, "has no finished scan"),
    (["curves", "--model", "demo-untrained-x"], 2, "unknown model 'demo-untrained-x'"),
]


@pytest.mark.parametrize(("arguments", "code", "message"), WRONG, ids=[" ".join(w[0]) for w in WRONG])
def test_a_wrong_input_is_one_clear_line_and_nothing_is_written(
    arguments: list[str], code: int, message: str, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    before = model_files(store)
    common = ["--cache", str(store.root), *([] if "--model" in arguments else ["--model", "demo"])]
    assert main([*common, *arguments]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err.splitlines()[-1]
    assert model_files(store) == before


def test_showing_what_is_stored_does_not_load_torch(run: Run) -> None:
    assert run("curves", "--seed", 0)[0] == 0
    for command in ("nulls", "curves"):
        code, out, _ = run.without_torch(command, "--block", "1.1", "--seed", 0)
        assert (code, bool(out)) == (0, True)
