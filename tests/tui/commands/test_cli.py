"""Every command on a real store of the demo model, and every wrong input: one line, its exit code, nothing written."""

import csv
import io
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from PIL import Image

from streamscope.core.engine.network import load_network
from streamscope.core.jobs.worker import run_job
from streamscope.core.model.blocks import ModelInfo
from streamscope.core.model.descriptions import bundled_description
from streamscope.core.model.spec import ModelSpec
from streamscope.core.processes import COMMAND_LINE, module_command
from streamscope.core.store import JobSpec, Marks, Store, create_job, marks_folder, open_job
from streamscope.core.store.files.atomic import remove_folder
from streamscope.core.store.jobs.events import Report
from streamscope.core.table.columns import COLUMNS
from streamscope.tui.cli.main import COMMANDS, cli, main
from streamscope.tui.cli.progress import duration
from tests.support.app_store import commit_fzs, fill, make_info, open_store
from tests.support.command_line import Run, run_without_torch
from tests.support.jobs import ended
from tests.support.optional import present

ROOT = Path(__file__).parents[3]
CONTRACT = [
    "model",
    "fingerprint",
    "block",
    "kind",
    "channel",
    "mix_ratio",
    "update",
    "out_on_in",
    "out_on_block",
    "out_on_out",
    "in_on_in",
    "in_on_block",
    "in_on_out",
    "block_on_in",
    "block_on_block",
    "block_on_out",
    "block_on_in_up",
    "in_on_block_down",
    "block_gain",
    "input_gain",
    "scale_metric",
    "meets_mix",
    "meets_block",
    "meets_input",
    "scale_invariant",
    "robust",
    "bn_weight",
    "conv_weight",
    "rho",
    "marked",
    "tags",
    "note",
    "late_rise",
    "steps",
    "seed",
    "capture",
    "images",
    "status",
]
README = ROOT / "README.md"
GUIDE = ROOT / "docs" / "guide.md"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    root = tmp_path_factory.mktemp("cli") / "cache"
    opened = Store.open(root, create=True)
    network = load_network(ModelSpec("demo"), "cpu")
    opened.register(network.info)
    opened.remember(ModelSpec("demo").text, network.info.fingerprint)
    spec = JobSpec("demo", device="cpu", steps=4, blocks=("1.1",), channels={"1.1": tuple(range(6))})
    assert run_job(opened, create_job(opened, spec), lambda event: None, network) == 0
    return opened


@pytest.fixture
def run(store: Store, capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(store.root, capsys)


def _info(store: Store) -> ModelInfo:
    return store.models()[0]


def _snapshot(folder: Path) -> dict[Path, int]:
    return {p: p.stat().st_mtime_ns for p in Path(folder).rglob("*") if "jobs" not in p.parts}


def test_table_as_csv_has_the_columns_of_the_contract_first(run: Run) -> None:
    code, out, _ = run("table", "--block", "1.1", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0
    assert list(rows[0])[: len(CONTRACT)] == CONTRACT
    assert len(rows) == 16
    assert rows[0]["model"] == "demo"
    assert rows[0]["steps"] == "4"
    assert rows[7]["status"] == "missing in,block"
    assert rows[7]["mix_ratio"] == ""
    assert rows[0]["robust"] == rows[0]["rho"] == rows[0]["images"] == ""


def test_table_as_json_says_the_same_with_nulls(run: Run) -> None:
    _, text, _ = run("table", "--block", "1.1", "--json")
    rows = json.loads(text)
    assert rows[7]["mix_ratio"] is None
    assert isinstance(rows[0]["out_on_in"], float)
    assert [row["channel"] for row in rows] == list(range(16))


def test_table_sorts_filters_and_picks_columns(run: Run) -> None:
    _, out, _ = run("table", "--block", "1.1", "--sort", "block_on_block", "--desc", "--top", 3, "--format", "csv")
    values = [float(row["block_on_block"]) for row in csv.DictReader(io.StringIO(out))]
    assert len(values) == 3
    assert values == sorted(values, reverse=True)
    _, out, _ = run(
        "table",
        "--block",
        "1.1",
        "--filter",
        "channel >= 2 and status == 'ok'",
        "--columns",
        "channel",
        "--format",
        "csv",
    )
    assert set(out.split()[1:]) <= {"2", "3", "4", "5"}
    _, out, _ = run("table", "--block", "1.1", "--channels", "1,3-4", "--columns", "channel,block", "--format", "csv")
    assert out == "channel,block\n1,1.1\n3,1.1\n4,1.1\n"


def test_table_for_people_fits_80_columns_and_is_not_cut_in_a_pipe(run: Run) -> None:
    code, out, _ = run("table", "--block", "1.1")
    lines = out.splitlines()
    assert code == 0
    assert len(lines) == 17
    assert "mix_ratio" in lines[0]
    assert "missing in,block" in out


def test_table_out_writes_the_file_and_its_meta(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "tonight.csv"
    code, out, err = run("table", "--block", "1.1", "--filter", "channel < 3", "--out", path)
    meta = json.loads((tmp_path / "tonight.csv.meta.json").read_text())
    assert (code, out) == (0, "")
    assert err == [f"wrote 3 channels to {path}"]
    assert len(path.read_text().splitlines()) == 4
    assert meta["filter"] == "channel < 3"
    assert meta["recipe"]["steps"] == 4
    assert meta["model"] == "demo"


def test_the_meta_of_an_export_says_how_its_rows_were_chosen(run: Run, tmp_path: Path) -> None:
    (tmp_path / "channels.txt").write_text("0-1\n5\n")
    path = tmp_path / "top.json"
    picked = ("--block", "1.1", "--channels", f"@{tmp_path / 'channels.txt'}", "--sort", "scale_metric", "--desc")
    assert run("table", *picked, "--top", 2, "--out", path)[0] == 0
    meta = json.loads((tmp_path / "top.json.meta.json").read_text())
    told = {name: meta[name] for name in ("blocks", "channels", "filter", "marked", "sort", "descending", "top")}
    assert told == {
        "blocks": ["1.1"],
        "channels": {"1.1": "0-1,5"},
        "filter": None,
        "marked": False,
        "sort": "scale_metric",
        "descending": True,
        "top": 2,
    }
    assert run("table", "--marked", "--out", path)[0] == 0
    meta = json.loads((tmp_path / "top.json.meta.json").read_text())
    assert (meta["marked"], meta["channels"], meta["top"], meta["blocks"][0]) == (True, None, None, "1.1")


def test_channels_can_come_from_a_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "channels.txt").write_text("0-1\n5\n")
    _, out, _ = run(
        "table",
        "--block",
        "1.1",
        "--channels",
        f"@{tmp_path / 'channels.txt'}",
        "--columns",
        "channel",
        "--format",
        "csv",
    )
    assert out.split() == ["channel", "0", "1", "5"]


def test_marked_selects_what_was_marked(run: Run, store: Store) -> None:
    info = _info(store)
    Marks(marks_folder(), info.fingerprint, info.name).mark("1.1", [2, 4], "keep")
    _, out, _ = run("table", "--block", "1.1", "--marked", "--columns", "channel,marked", "--format", "csv")
    assert out == "channel,marked\n2,keep\n4,keep\n"


def test_marks_go_out_and_come_back(run: Run, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = _info(store)
    mine = Marks(marks_folder(), info.fingerprint, info.name)
    mine.mark("1.1", [3], "reject")
    mine.note("1.1", 3, "grey, again")
    assert run("marks", "export", tmp_path / "marks.csv")[0] == 0
    monkeypatch.setenv("STREAMSCOPE_MARKS", str(tmp_path / "colleague"))
    code, out, _ = run("marks", "import", tmp_path / "marks.csv")
    assert (code, out.split()[:2]) == (0, ["read", "1"])
    found = Marks(marks_folder(), info.fingerprint, info.name).get("1.1", 3)
    assert (found.mark, found.note) == ("reject", "grey, again")


def test_fz_writes_pngs_by_block_tensor_and_channel(run: Run, tmp_path: Path) -> None:
    code, _, _ = run(
        "fz", "--block", "1.1", "--tensor", "in,block", "--channels", "0,5", "--out", tmp_path / "new" / "fzs"
    )
    names = sorted(p.name for p in (tmp_path / "new" / "fzs").iterdir())
    assert code == 0
    assert names == ["1.1_block_0000.png", "1.1_block_0005.png", "1.1_in_0000.png", "1.1_in_0005.png"]
    assert Image.open(tmp_path / "new" / "fzs" / names[0]).size == (64, 64)


def test_fz_that_are_not_computed_are_named_and_nothing_is_written(run: Run, tmp_path: Path) -> None:
    code, _, err = run("fz", "--block", "1.1", "--channels", "4-8", "--out", tmp_path / "fzs")
    assert code == 1
    assert "1.1 in 6-8" in err[0]
    assert not (tmp_path / "fzs").exists()


def test_models_lists_what_is_known_and_stored(run: Run) -> None:
    rows = json.loads(run("models", "--json")[1])
    demo = next(row for row in rows if row["model"] == "demo")
    assert demo["blocks"]["1.1"] == 16
    assert demo["sets"][0]["fzs"] == 18
    assert any(row["model"] == "resnet152" for row in rows)
    assert "18 FZs" in run("models")[1]


def test_models_lists_blocks_before_any_weights_were_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(tmp_path / "cache", capsys)
    code, out, _ = run.without_torch("models", "--json", model=None)
    assert code == 0
    rows = {row["model"]: row for row in json.loads(out)}
    assert (rows["resnet50"]["fingerprint"], rows["resnet50"]["input_size"]) == (None, 224)
    assert rows["resnet50"]["blocks"]["4.2"] == 2048
    assert "1.0" not in rows["resnet50"]["default_blocks"]
    assert rows["demo"]["fingerprint"] == present(bundled_description(ModelSpec("demo").text)).fingerprint
    code, out, _ = run.without_torch("models", model=None)
    assert code == 0
    (line,) = [line for line in out.splitlines() if line.startswith("resnet152 ")]
    assert "1.0 (256, only by name)  1.1 (256)  1.2 (256)  2.0 to 2.7 (512 each)  3.0 to 3.35 (1024 each)  " in line
    assert not (tmp_path / "cache").exists()


def test_what_the_demo_has_not_is_said_on_an_empty_store_without_loading_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(tmp_path / "cache", capsys)
    for command in ("table", "compute"):
        code, _, err = run.without_torch(command, "--block", "9.9")
        assert code == 2
        assert "unknown block '9.9'; demo has 1.0, 1.1" in err[0]
    code, _, err = run.without_torch("table")
    assert code == 1
    assert "nothing is stored of demo in" in err[0]


def test_cache_info_and_verify_on_an_intact_store(run: Run) -> None:
    found = json.loads(run("cache", "info", "--json")[1])
    assert found["sets"][0]["fzs"] == 18
    assert run("cache", "verify")[:2] == (0, "everything is intact\n")
    assert "18" in run("cache", "info")[1]


def test_cache_verify_finds_a_flipped_byte_and_drop_lets_compute_make_it_again(run: Run, store: Store) -> None:
    png = next((store.root / "models").rglob("1.1.block/*/0003.png"))
    intact = png.read_bytes()
    flipped = bytearray(intact)
    flipped[len(flipped) // 2] ^= 1
    png.write_bytes(flipped)
    code, out, _ = run("cache", "verify")
    assert code == 1
    assert "0003.png" in out
    assert run("cache", "verify", "--drop")[0] == 0
    assert not png.exists()
    assert (
        run("compute", "--block", "1.1", "--channels", "0-5", "--protocol", "paper", "--steps", 4, "--device", "cpu")[0]
        == 0
    )
    assert png.read_bytes() == intact


def test_cache_prune_says_of_which_job_it_cannot_tell_whether_it_runs(run: Run, store: Store) -> None:
    job = create_job(store, JobSpec("demo"))
    job.heartbeat(Report(done=1, total=2))
    path = job.folder / "heartbeat.json"
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, "process": {**data["process"], "host": "node-7", "pid": 4711}}))
    ahead = path.stat().st_mtime + 9000
    os.utime(path, (ahead, ahead))
    code, _, err = run("cache", "prune", "--dry-run")
    assert (code, job.folder.exists()) == (0, True)
    assert err == [
        f"streamscope: job {job.id} (node-7, process 4711) is not removed: cannot tell whether it runs, for its "
        "heartbeat is dated ahead; the app's list of jobs can, a minute after it is opened"
    ]
    remove_folder(job.folder)


def test_cache_prune_asks_for_one_set_and_leaves_marks_alone(run: Run, store: Store) -> None:
    code, _, err = run("cache", "prune", "--steps", 999, "--yes")
    assert code == 2
    assert "must name one set" in err[0]
    assert "would remove" in run("cache", "prune", "--steps", 4, "--dry-run")[1]
    assert run("cache", "verify")[0] == 0


def test_cache_verify_says_what_to_call_a_renamed_model_folder_and_drops_nothing_of_it(run: Run, store: Store) -> None:
    (model,) = (store.root / "models").iterdir()
    renamed = model.rename(model.with_name("before"))
    try:
        code, out, err = run("cache", "verify", "--drop")
    finally:
        renamed.rename(model)
    assert (code, err) == (1, ["1 part may be intact, unread or under a wrong name; nothing of it is removed"])
    assert out.startswith(f"{renamed} is of demo ")
    assert out.endswith(f"; rename it to {model.name}, and it is read again\n")
    assert run("cache", "verify")[0] == 0


def test_compute_says_what_it_found_and_reports_json_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["compute", "--model", "demo", "--cache", str(tmp_path / "cache"), "--block", "1.1", "--steps", "4"]
    assert main([*arguments, "--channels", "7", "--tensor", "in,block", "--device", "cpu"]) == 0
    assert capsys.readouterr().out.startswith("1.1: 1 of 16 channels computed; ")
    assert main([*arguments, "--channels", "8", "--tensor", "in", "--device", "cpu", "--json"]) == 0
    events = [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()]
    assert events[0] in ("progress", "started")
    assert events[-1] == "done"


def test_compute_goes_on_with_seeds_for_what_is_undecided(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = ["--model", "demo", "--cache", str(tmp_path / "cache"), "--block", "2.1"]
    arguments = ["compute", *cache, "--steps", "8", "--channels", "0-15", "--tensor", "in,block", "--device", "cpu"]
    arguments += ["--decide", "--most-seeds", "3"]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    *_, last = out.splitlines()
    found = re.fullmatch(
        r"of (\d+) channels (\d+) are scale invariant, (\d+) are not and (\d+) are undecided, by (\d\.\d\d) seeds a "
        r"channel \(\d+% of five for every channel\)",
        last,
    )
    assert found is not None, last
    count, yes, no, undecided = map(int, found.groups()[:4])
    assert yes + no + undecided == count
    spent = [re.fullmatch(r"seed ([12]): (\d+) channels? undecided", line) for line in err.splitlines()]
    further = {int(line[1]): int(line[2]) for line in spent if line}
    assert further[1] >= further.get(2, 0) >= undecided

    # The set that was asked for is read, not that of the last seed; and nothing is left to do.
    assert main(["table", *cache, "--channels", "0-15", "--columns", "seed,seeds,verdict", "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["seed"] for row in rows} == {0}
    seeds = [row["seeds"] for row in rows if row["verdict"]]
    assert sum(seeds) == count + sum(further.values())
    assert float(found[5]) == pytest.approx(sum(seeds) / count, abs=0.01)
    assert [row["verdict"] for row in rows].count("undecided") == undecided
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["undecided"] == undecided


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--objective", "channel"), "which channel FZs do not have"),
        (("--tensor", "in,out"), "name in and block with --tensor, not in,out"),
        (("--detach",), "cannot run detached"),
    ],
)
def test_what_cannot_be_decided_is_refused_before_anything_is_loaded(
    options: tuple[str, ...], message: str, run: Run, store: Store
) -> None:
    code, _, err = run.without_torch("compute", "--block", "1.1", "--decide", *options)
    assert code == 2
    assert message in err[0]


STORED = ("compute", "--block", "1.1", "--channels", "0-5", "--steps", 4, "--protocol", "paper")


def test_names_are_whole_in_a_pipe_and_retries_are_counted_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    info = make_info()
    opened = open_store(tmp_path / "cache", info)
    fzset = fill(opened, info, ["1.1"])
    commit_fzs(fzset, info.source("1.1", "in"), [0, 1], retry=1)
    assert main(["cache", "info", "--cache", str(opened.root)]) == 0
    first, _, row = capsys.readouterr().out.splitlines()
    assert " in 1 set, " in first
    assert row.split()[2:5] == [fzset.path.name, "18", "2"]
    assert main(["models", "--cache", str(opened.root)]) == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("resnet18 ")]
    assert "1.0 (6, only by name)  1.1 (6)" in row
    assert row.endswith(f"18 FZs and 2 retries: {fzset.key}")


def test_compute_says_at_once_that_nothing_is_missing(run: Run, store: Store) -> None:
    fzset = present(store.choose_set(_info(store)))
    before = present(fzset.completed_at())
    jobs = list((store.root / "jobs").iterdir())
    code, out, _ = run.without_torch(*STORED)
    lines = out.splitlines()
    assert code == 0
    assert lines[0].startswith("nothing is missing: 18 FZs are stored and measured (demo recipe, 4 steps")
    assert lines[1].startswith("1.1: 6 of 16 channels computed; ")
    assert present(fzset.completed_at()) > before
    event = json.loads(run.without_torch(*STORED, "--json")[1])
    assert (event["event"], event["done"], event["total"]) == ("done", 18, 18)
    assert run.without_torch(*STORED, "--detach")[1].startswith("nothing is missing")
    assert list((store.root / "jobs").iterdir()) == jobs


def test_a_scheduler_that_is_not_there_is_said_at_once_and_last(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    code, out, err = run.without_torch("compute", "--block", "2.1", "--scheduler", f"tcp://127.0.0.1:{port}")
    assert (code, out) == (1, "")
    assert len(err) == 1
    assert f"no Dask scheduler answers at tcp://127.0.0.1:{port} (Connection refused)" in err[0]


def test_a_job_is_detached_without_loading_the_network_goes_on_by_itself_and_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(tmp_path / "cache", capsys)
    chosen = ("--block", "1.1", "--channels", "7", "--tensor", "in", "--steps", 4, "--devices", "cpu")
    code, out, _ = run.without_torch("compute", *chosen, "--detach", "--json")
    assert code == 0
    job, store = open_job(Path(json.loads(out)["folder"])), Store.open(tmp_path / "cache")
    assert (job.spec.blocks, job.spec.batch, job.spec.devices) == (("1.1",), None, ("cpu",))
    assert ended(store, job.folder).state == "done"
    info = _info(store)
    assert list(present(store.choose_set(info)).fzs(info.source("1.1", "in"))) == [7]


def test_common_options_may_stand_before_the_command(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", "demo", "--cache", str(store.root), "table", "--block", "1.1", "--format", "csv"]) == 0
    assert capsys.readouterr().out.startswith("model,fingerprint,block")


def test_demo_images_are_drawn_into_a_folder_a_class(run: Run, tmp_path: Path) -> None:
    found = json.loads(run("demo-images", tmp_path / "images", "--per-class", 2, "--json")[1])
    folders = sorted(p.name for p in (tmp_path / "images").iterdir())
    assert folders == sorted(found["classes"])
    assert found["images"] == 2 * len(folders) == len(list((tmp_path / "images").rglob("*.png")))


WRONG = [
    (["table", "--model", "resnet19"], 2, "unknown model 'resnet19'; use one of resnet18"),
    (["table", "--block", "7.7"], 2, "unknown block '7.7'; demo has 1.0"),
    (["compute", "--tensor", "middle"], 2, "unknown tensor 'middle'; use in, block, out"),
    (
        ["compute", "--block", "1.1", "--channels", "0-99"],
        2,
        "channel 99 is out of range; this block has channels 0-15",
    ),
    (["compute", "--block", "1.1", "--channels", "5-"], 2, "malformed channel range '5-'"),
    (["compute", "--block", "1.1", "--channels", "9-3"], 2, "write 3-9"),
    (["compute", "--channels", "1"], 2, "--channels needs --block"),
    (["compute", "--block", "1.1", "--channels", "@nowhere.txt"], 2, "cannot read nowhere.txt"),
    (["compute", "--block", "1.1", "--channels", "@/"], 2, "is a directory"),
    (["compute", "--steps", "0"], 2, "steps must be 1 or more, not 0"),
    (["compute", "--steps", "-5"], 2, "steps must be 1 or more, not -5"),
    (["compute", "--steps", "many"], 2, "'many' is not a valid integer"),
    (["compute", "--seed", "-1"], 2, "seed must be 0 or more"),
    (["compute", "--batch", "0"], 2, "batch must be 1 or more"),
    (["compute", "--device", "tpu"], 2, "unknown device 'tpu'"),
    (["compute", "--device", "cuda:77"], 2, "use cpu"),
    (["compute", "--devices", "cpu,97"], 2, "device 'cuda:97' is not there"),
    (["compute", "--devices", "0", "--device", "cpu"], 2, "so it excludes --device"),
    (["compute", "--devices", "0", "--scheduler", "tcp://there:8786"], 2, "so it excludes --scheduler"),
    (["table", "--filter", "mix_ratio >"], 2, "filter: something is missing at the end: 'mix_ratio >'"),
    (["table", "--filter", "mix_ration > 1"], 2, "did you mean mix_ratio"),
    (["table", "--filter", "__import__('os').system('true')"], 2, "filter:"),
    (["table", "--sort", "mixratio"], 2, "did you mean mix_ratio"),
    (["table", "--desc"], 2, "--desc needs --sort"),
    (["table", "--columns", "channel,,block"], 2, "empty column name"),
    (["table", "--seed", "77"], 1, "compute --seed 77' first"),
    (["table", "--out", "/"], 2, "cannot write /"),
    (["table", "--out", "/no/such/place.csv"], 2, "there is no folder"),
    (["fz", "--block", "1.1"], 2, "Missing option '--out'"),
    (["fz", "--block", "1.1", "--out", str(README)], 2, "is a file"),
    (["marks", "import", "/no/such.csv"], 1, "/no/such.csv"),
    (["demo-images", str(README)], 2, "README.md"),
    (["table", "--weights", "/no/such.pth"], 1, "no such file: /no/such.pth"),
    (["table", "--weights", "/"], 1, "is a directory"),
    (["table", "--device", "gpu"], 2, "unknown device 'gpu'; use auto, cpu, cuda or cuda:N"),
    (["nonsense"], 2, "No such command 'nonsense'"),
    (["tabel"], 2, "No such command 'tabel' (did you mean 'table'?)"),
    (["table", "--nonsense"], 2, "No such option"),
    (["tui"], 1, "not a terminal"),
    ([], 1, "not a terminal"),
    (["--graphics", "braille"], 2, "unknown graphics mode 'braille'"),
]


@pytest.mark.parametrize(("arguments", "exit_code", "message"), WRONG, ids=[" ".join(w[0]) or "alone" for w in WRONG])
def test_a_wrong_input_is_one_clear_line_its_exit_code_and_nothing_written(
    arguments: list[str],
    exit_code: int,
    message: str,
    store: Store,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    common = ["--cache", str(store.root)] + ([] if "--model" in arguments else ["--model", "demo"])
    before = _snapshot(store.root)
    code = main([*common, *arguments])
    captured = capsys.readouterr()
    assert (code, captured.out) == (exit_code, "")
    assert len(captured.err.splitlines()) == 1
    assert message in captured.err
    assert captured.err.startswith("streamscope: ")
    assert _snapshot(store.root) == before
    assert not list(tmp_path.iterdir())


def test_a_cache_that_is_a_file_or_cannot_be_made_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "cache", Path("/proc/nowhere")):
        assert main(["compute", "--model", "demo", "--device", "cpu", "--cache", str(place)]) == 1
        err = capsys.readouterr().err
        assert len(err.splitlines()) == 1
        assert str(place) in err


def test_a_store_of_another_version_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "store.json").write_text('{"format": 99}')
    assert main(["table", "--model", "demo", "--cache", str(tmp_path)]) == 1
    assert "format 99" in capsys.readouterr().err


def test_a_damaged_checkpoint_leaves_no_cache_behind(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "bad.pth").write_bytes(b"nonsense")
    assert main(["compute", "--weights", str(tmp_path / "bad.pth"), "--cache", str(tmp_path / "cache")]) == 1
    assert "is not a checkpoint" in capsys.readouterr().err
    assert not (tmp_path / "cache").exists()


def test_debug_shows_the_traceback() -> None:
    command = module_command(COMMAND_LINE, "table", "--model", "demo", "--block", "9.9", "--debug")
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode != 0
    assert "Traceback" in result.stderr


def test_a_reader_of_a_pipe_that_goes_away_is_no_error(store: Store) -> None:
    command = f"{sys.executable} -m {COMMAND_LINE} table --model demo --cache {store.root} --format csv | head -1"
    result = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.stdout.startswith("model,")
    assert result.stderr == ""


def test_a_terminal_that_is_dumb_is_one_line(store: Store) -> None:
    import pty

    parent, child = pty.openpty()
    command = module_command(COMMAND_LINE, "--model", "demo", "--cache", str(store.root))
    environment = {**os.environ, "TERM": "dumb"}
    result = subprocess.run(
        command, cwd=ROOT, stdin=child, stdout=child, stderr=subprocess.PIPE, text=True, env=environment, timeout=120
    )
    os.close(parent)
    os.close(child)
    assert result.returncode == 1
    assert result.stderr.startswith("streamscope: TERM is dumb")


def test_reading_commands_do_not_load_torch(run: Run) -> None:
    for command in (("table",), ("models",), ("cache", "info")):
        code, _, err = run.without_torch(*command, model="demo" if command == ("table",) else None)
        assert code == 0, err
    assert run_without_torch("--help").returncode == 0


def _commands() -> Iterator[tuple[str, click.Command]]:
    for name in COMMANDS:
        command = present(cli.get_command(click.Context(cli), name))
        yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {sub}", found) for sub, found in command.commands.items())


@pytest.mark.parametrize(("name", "command"), list(_commands()), ids=[n for n, _ in _commands()])
def test_every_command_and_option_has_help_and_is_in_the_guide(name: str, command: click.Command) -> None:
    assert command.help
    assert all(option.help for option in command.params if isinstance(option, click.Option))
    assert f"streamscope {name}" in GUIDE.read_text()


def test_every_column_is_in_the_help_of_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table", "--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {c.name}" in out for c in COLUMNS)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (42.4, "42s"), (190, "3m10s"), (7500, "2h05m"), (273600, "3d04h")]
)
def test_lengths_of_time_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_set_that_is_not_stored_is_named_as_it_was_asked_for(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = ["--steps", "1", "--seed", "1", "--until-converged"]
    assert main(["table", "--model", "demo", "--cache", str(tmp_path), *asked]) == 1
    assert "with steps 1, seed 1, until converged in" in capfd.readouterr().err
