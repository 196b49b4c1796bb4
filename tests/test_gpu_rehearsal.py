"""The rehearsal on a GPU, as far as it goes without one: its clock, its steps, its archive, and a small one whole."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from streamscope.core.engine.network import Network, load_network
from streamscope.core.engine.transforms.placement import PatchFormat, Placement
from streamscope.core.engine.transforms.rotation import turn_by_operations
from streamscope.core.model.blocks import Target
from streamscope.core.model.recipe import PROTOCOLS, Protocol
from streamscope.core.model.spec import ModelSpec
from tests.gpu_rehearsal import arithmetic, kernels
from tests.gpu_rehearsal.archive import LONGEST_LOG, choose, restore, size_of, write_archive
from tests.gpu_rehearsal.budget import LEAST_ARCHIVE, Budget
from tests.gpu_rehearsal.packages import install, lacking, wheels_in
from tests.gpu_rehearsal.plan import FULL, STUDIED, Setting, events, json_lines, junit, pieces, steps
from tests.gpu_rehearsal.records import Records, RehearsalError
from tests.gpu_rehearsal.step import GRACE, Attempt, Step, run_step
from tests.gpu_rehearsal.summary import summary
from tests.support.waiting import wait_until


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def step(*code: str, **more: object) -> Step:
    return Step("a-step", (sys.executable, "-c", "\n".join(code)), **more)  # type: ignore[arg-type]


def test_a_step_gets_its_share_but_leaves_what_comes_later_its_own() -> None:
    clock = Clock()
    budget = Budget(100.0, clock)
    early, late = step(share=0.2, until=0.5), step()
    assert budget.limit(early) == 20
    clock.now = 40.0
    assert budget.limit(early) == 10
    last = 100 - 2 * LEAST_ARCHIVE - GRACE
    assert budget.limit(late) == last - 40
    budget.archived(6.0)
    assert budget.limit(late) == 100 - 2 * 6 - GRACE - 40


def test_a_step_is_not_begun_with_too_little_time_for_it() -> None:
    clock = Clock()
    budget = Budget(100.0, clock)
    clock.now = 44.0
    assert budget.limit(step(until=0.5, least=5.0)) == 6
    clock.now = 46.0
    assert budget.limit(step(until=0.5, least=5.0)) == 0
    clock.now = 200.0
    assert budget.limit(step()) == 0


def test_archives_on_the_way_take_little_of_the_time() -> None:
    clock = Clock()
    budget = Budget(1000.0, clock)
    assert budget.has_time_for_archive
    budget.archived(10.0)
    assert not budget.has_time_for_archive
    clock.now = 500.0
    assert budget.has_time_for_archive


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Attempt]:
    return lambda given, seconds=60.0: run_step(given, seconds, tmp_path, os.environ, lambda: False)


def test_what_a_step_said_is_kept_whether_it_ended_well_or_not(run: Callable[..., Attempt], tmp_path: Path) -> None:
    said = "print('{\"a\": 1}')"
    well = run(step(said, read=json_lines))
    assert (well.state, well.code, well.error, well.figures) == ("done", 0, "", {"rows": [{"a": 1}]})
    ill = run(step(said, "raise SystemExit('no such device')", read=json_lines))
    assert (ill.state, ill.code, ill.error, ill.figures) == ("failed", 1, "no such device", {"rows": [{"a": 1}]})
    odd = run(step("print('{')", read=lambda printed: json.loads(printed.read_text())))
    assert (odd.state, odd.code) == ("failed", 0)
    assert "cannot be read" in odd.error


def test_a_step_whose_time_is_up_ends_with_all_that_it_started(run: Callable[..., Attempt], tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time",
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])",
        "print('{\"child\": %d}' % child.pid, flush=True)",
        "time.sleep(600)",
    )
    attempt = run(step(*code, read=json_lines), 3.0)
    assert (attempt.state, attempt.code) == ("out of time", None)
    child = attempt.figures["rows"][0]["child"]

    def is_gone() -> bool:
        try:
            return "Z" in Path(f"/proc/{child}/stat").read_text().rpartition(")")[2]
        except FileNotFoundError:
            return True

    wait_until(is_gone, "the child's end")


def test_pieces_are_in_order_of_what_they_are_worth() -> None:
    names = [piece.name for piece in pieces(STUDIED)]
    assert names[0] == "centred-s0-1.1-in-block"
    assert names[6:10] == [
        "centred-s0-4.1-in-block",
        "centred-s0-all-out",
        "centred-s1-all-in-block-out",
        "paper-s0-2.1-in-block-out",
    ]
    assert len(set(names)) == len(names) == 16


def test_every_step_leaves_the_pieces_nearly_half_of_the_time(tmp_path: Path) -> None:
    plan = steps(Setting(tmp_path, "cuda", tmp_path / "weights.pth", None, FULL))
    names = [piece.name for piece in pieces(STUDIED)]
    assert [given.name for given in plan][-len(names) :] == names
    assert all(given.until <= 0.55 for given in plan[: -len(names)])
    assert {given.until for given in plan[-len(names) :]} == {0.9}


def test_figures_of_a_computation_are_added_up_from_what_it_says(tmp_path: Path) -> None:
    said = [
        {"event": "started", "missing": 8},
        {
            "event": "progress",
            "done": 0,
            "total": 8,
            "device_memory": {"cuda:0": [3e9, 1e11]},
            "counts": {"steps": 4.0},
        },
        {"event": "fz", "block": "1.1", "count": 4, "seconds": 2.0},
        {"event": "measure", "block": "1.1", "count": 4, "seconds": 0.5},
        {"event": "problem", "message": "a batch failed"},
        {"event": "progress", "done": 4, "total": 8, "rate": 50.0, "device_memory": {"cuda:0": [2e9, 1e11]}},
    ]
    printed = tmp_path / "piece.out"
    # The last line was being written when the process was killed.
    printed.write_text("".join(json.dumps(line) + "\n" for line in said) + '{"event": "pro')
    found = events(printed)
    assert (found["made"], found["stored"], found["has"], found["image_steps"]) == (4, 4, 8, 4.0)
    assert (found["image_steps_a_second"], found["fz_seconds"], found["measure_seconds"]) == (50.0, 2.0, 0.5)
    assert (found["peak_gb"], found["problems"]) == (3.0, ["a batch failed"])


def test_tests_that_failed_are_named(tmp_path: Path) -> None:
    cases = '<testcase classname="tests.a" name="b"><failure>x</failure></testcase><testcase classname="c" name="d"/>'
    suite = f'<testsuites><testsuite tests="2" failures="1" errors="0" skipped="0">{cases}</testsuite></testsuites>'
    (tmp_path / "tests.xml").write_text(suite)
    expected = {"tests": 2, "failures": 1, "errors": 0, "skipped": 0, "failed": ["tests.a.b"]}
    assert junit(tmp_path / "tests.out") == expected


def store(work: Path) -> list[Path]:
    """Three batches of 3,000 bytes, a job and something half written; the batches from old to new."""
    made = []
    for age, name in ((3, "fzs/a"), (2, "measures/a"), (1, "fzs/b")):
        folder = work / "cache" / "models" / "set" / name
        folder.mkdir(parents=True)
        for file in ("batch.json", "0000.png"):
            (folder / file).write_bytes(os.urandom(1500))
            os.utime(folder / file, (1e9 - age, 1e9 - age))
        made.append(folder)
    (work / "cache" / "models" / "set" / "set.json").write_text("{}")
    for other in ("cache/jobs/1/job.json", "cache/leases/x.json", "cache/models/set/fzs/.new/batch.json"):
        (work / other).parent.mkdir(parents=True)
        (work / other).write_text("{}")
    (work / "logs").mkdir()
    (work / "logs" / "a.out").write_text("begin" + "x" * LONGEST_LOG + "end")
    (work / "results.json").write_text("{}")
    return made


def test_an_archive_has_what_a_working_folder_is_made_of_again(tmp_path: Path) -> None:
    work = tmp_path / "work"
    batches = store(work)
    write_archive(work, tmp_path / "a.tar", choose(work, 10**9))
    kept = {path.relative_to(work): path.read_bytes() for folder in batches for path in folder.iterdir()}
    again = tmp_path / "again"
    restore(tmp_path / "a.tar", again)
    found = {path.relative_to(again): path.read_bytes() for path in again.rglob("*") if path.is_file()}
    log = found.pop(Path("logs/a.out"))
    assert len(log) == LONGEST_LOG
    assert log.endswith(b"xend")
    assert found == {**kept, Path("results.json"): b"{}", Path("cache/models/set/set.json"): b"{}"}
    assert choose(again, 10**9).folders == tuple(again / path.relative_to(work) for path in choose(work, 10**9).folders)


def test_an_archive_with_less_room_has_the_store_as_it_was_earlier(tmp_path: Path) -> None:
    batches = store(tmp_path)
    set_folder = batches[0].parents[1]
    everything = choose(tmp_path, 10**9)
    assert everything.folders == (set_folder, *batches)
    assert (everything.left_out_folders, everything.left_out_bytes) == (0, 0)
    # Of the small files a log is cut to its end.
    small = LONGEST_LOG + 2
    room = small + size_of(set_folder) + 2 * size_of(batches[0])
    less = choose(tmp_path, room)
    assert less.folders == (set_folder, *batches[:2])
    assert (less.left_out_folders, less.left_out_bytes) == (1, size_of(batches[2]))
    assert choose(tmp_path, room - 1).folders == (set_folder, batches[0])


def test_a_rehearsal_goes_on_with_the_same_options_only(tmp_path: Path) -> None:
    first = Records(tmp_path, {"device": "cpu", "weights": "demo"})
    first.begin_run(9.0, "today")
    first.add("kernels", Attempt("failed", 1.0, 1, "no compiler"))
    first.add(
        "tests", Attempt("done", 1.0, 0, figures={"tests": 3, "failures": 0, "errors": 0, "skipped": 1, "failed": []})
    )
    again = Records(tmp_path, {"device": "cpu", "weights": "demo"})
    assert again.is_done("tests")
    assert not again.is_done("kernels")
    assert again.figures("tests")["tests"] == 3
    again.begin_run(9.0, "tomorrow")
    again.add("kernels", Attempt("done", 1.0, 0))
    assert again.of_this_run("done") == ["kernels"]
    assert again.of_this_run("failed") == []
    text = summary(again, STUDIED)
    assert "| kernels | 1 | failed | 1 | no compiler |" in text
    assert "3 tests, 0 failures, 0 errors, 1 skipped" in text
    with pytest.raises(RehearsalError, match="device cpu, not cuda; give another --out"):
        Records(tmp_path, {"device": "cuda", "weights": "demo"})


def wheel(folder: Path, name: str, version: str) -> None:
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as made:
        made.writestr(f"{name}.py", f"version = '{version}'\n")
        made.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        made.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        made.writestr(f"{info}/RECORD", "")


def test_of_a_folder_of_wheels_what_the_machine_lacks_is_installed_without_a_network(tmp_path: Path) -> None:
    for name, version in (("no_such_thing", "1.9"), ("no_such_thing", "1.10"), ("torch", "99.0"), ("numpy", "0.1")):
        wheel(tmp_path, name, version)
    wanted = lacking(wheels_in(tmp_path))
    # Torch is there; whichever it is, it suits the machine's driver.
    assert wanted == ["no-such-thing==1.10"]
    install(wanted, tmp_path, tmp_path / "site")
    assert (tmp_path / "site" / "no_such_thing.py").read_text() == "version = '1.10'\n"


@pytest.fixture(scope="module")
def network() -> Network:
    return load_network(ModelSpec("demo"), "cpu")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_kernel_that_is_wrong_is_seen(network: Network, protocol: Protocol) -> None:
    def wrong(source: torch.Tensor, placement: Placement, patch: PatchFormat) -> torch.Tensor:
        return turn_by_operations(source, placement, patch) * 1.01

    rotation = kernels.rotation_of(network, Target("2.0", "block"), protocol, 3)
    right = kernels.compare(turn_by_operations, rotation, 1)
    assert (right["images"], right["difference"], right["gradient_difference"], right["close"]) == (3, 0, 0, True)
    found = kernels.compare(wrong, rotation, 1)
    assert found["difference"] == pytest.approx(0.01, rel=1e-3)
    assert found["gradient_difference"] == pytest.approx(0.01, rel=1e-3)
    assert not found["close"]


def test_both_arithmetics_are_compared_on_the_same_channels(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    # `compare` sets it, and so it is put back.
    monkeypatch.setenv("STREAMSCOPE_STEP_DTYPE", "float32")
    found = arithmetic.compare(network, "1.1", 3, 12)
    assert found["channels"] == [0, 7, 15]
    ratios = [half / whole for half, whole in zip(found["bfloat16"], found["float32"], strict=True)]
    assert found["mean"] == pytest.approx(sum(ratios) / 3)
    assert found["low"] < found["mean"] < found["high"]
    assert found["bfloat16"] != found["float32"]


def test_a_rehearsal_that_was_ended_goes_on_from_its_archive(tmp_path: Path) -> None:
    out = tmp_path / "out"
    small = ["--small", "--device", "cpu", "--out", str(out), "--only", "centred-s0-1.1,table-centred-s0"]
    command = [sys.executable, "-m", "tests.gpu_rehearsal", *small]
    log = out / "work" / "logs" / "centred-s0-1.1-in-block.out"
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first:
        wait_until(log.exists, "the first piece")
        first.send_signal(signal.SIGTERM)
        said = first.communicate(timeout=60)[0]
    assert first.returncode == 130
    assert "interrupted in centred-s0-1.1-in-block" in said.splitlines()[-1]
    for expected in ("centred-s0-1.1-in-block: done after", "centred-s0-1.1-in-block: done before"):
        shutil.rmtree(out / "work")
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stderr) == (0, "")
        assert expected in done.stdout
    with tarfile.open(out / "rehearsal.tar") as archive:
        names = archive.getnames()
    assert {"results.json", "summary.md", "tables/centred-s0.csv"} <= set(names)
    assert sum(name.endswith(".png") for name in names) == 8
    figures = json.loads((out / "work" / "results.json").read_text())["steps"]["centred-s0-1.1-in-block"][-1]["figures"]
    assert (figures["made"], figures["has"], figures["image_steps"]) == (8, 8, 32)
    assert "centred-s0: 8 FZs made in" in (out / "work" / "summary.md").read_text()
