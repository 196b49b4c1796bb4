"""Jobs on a real store: what they leave behind, killed and resumed, two at once, stopped, on a full disk."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from streamscope.core.engine.network import Network, load_network
from streamscope.core.engine.visualize import visualize
from streamscope.core.errors import DiskFullError
from streamscope.core.jobs.batch_loop import LocalRun, cuda_memory, lane_count
from streamscope.core.jobs.plan import Request, Task, step_cost
from streamscope.core.jobs.progress import Tally, image_cost
from streamscope.core.jobs.run import Tell, check_space, describe
from streamscope.core.jobs.worker import run_job
from streamscope.core.model.blocks import Target
from streamscope.core.model.recipe import Recipe, SetKey
from streamscope.core.model.spec import ModelSpec
from streamscope.core.processes import COMMAND_LINE, WORKER, module_command
from streamscope.core.store import JobSpec, Store, create_job, job_state, request_stop
from streamscope.core.store.jobs.events import (
    BatchDone,
    DeviceMemory,
    Event,
    JobEnded,
    JobProgressed,
    ProblemOccurred,
    Report,
)
from streamscope.core.store.jobs.growing import find_growing, write_growing
from streamscope.core.store.jobs.job import Job
from streamscope.core.store.layout import JobFolder
from streamscope.core.table.columns import Value
from streamscope.core.table.frame import build_frame
from tests.support.optional import present
from tests.support.stores import tiny_disk

ROOT = Path(__file__).parents[3]
SPEC = JobSpec("demo", device="cpu", steps=6, blocks=("1.1",), tensors=("in", "block", "out"), batch=4)
ENDS = 120
"""Seconds after which a test gives up waiting for a process."""


@pytest.fixture(scope="module")
def network() -> Network:
    return load_network(ModelSpec("demo"), "cpu")


def _run(root: Path, network: Network, tell: Tell = lambda event: None, **changes: Any) -> tuple[int, Store, Job]:
    store = Store.open(root, create=True)
    job = create_job(store, replace(SPEC, **changes))
    return run_job(store, job, tell, network), store, job


def _batches(events: Iterable[Event]) -> list[BatchDone]:
    return [event for event in events if isinstance(event, BatchDone)]


def _table(root: Path, network: Network) -> list[dict[str, Value]]:
    store = Store.open(root)
    fzset = present(store.choose_set(network.info))
    frame = build_frame(network.info, fzset, ["1.1"])
    return frame.rows(range(len(frame)))


@pytest.fixture(scope="module")
def uninterrupted(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole") / "cache"
    assert _run(root, network)[0] == 0
    return root


def test_a_job_computes_and_measures_all_that_it_requests(uninterrupted: Path, network: Network) -> None:
    rows = _table(uninterrupted, network)
    assert {row["status"] for row in rows} <= {"ok"} | {
        r["status"] for r in rows if str(r["status"]).startswith("undefined")
    }
    assert all(row["out_on_out"] is not None and row["block_on_in_up"] is not None for row in rows)
    assert not list((uninterrupted / "leases").glob("*.json"))
    assert present(Store.open(uninterrupted).choose_set(network.info)).completed_at()


def test_a_job_that_finds_everything_stored_does_nothing(uninterrupted: Path, network: Network) -> None:
    events: list[Event] = []
    code, _, _ = _run(uninterrupted, network, events.append)
    assert code == 0
    assert not _batches(events)


def _files(root: Path) -> dict[Path, bytes]:
    """Committed FZs. A killed process may leave a batch that it was writing, which no reader looks at."""
    pngs = [p for p in (root / "models").rglob("*.png") if not p.parent.name.startswith(".tmp-")]
    return {p.relative_to(root): p.read_bytes() for p in pngs}


@pytest.mark.parametrize("kills", [1, 3])
def test_a_job_killed_at_any_moment_and_started_again_gives_the_same_table(
    kills: int, uninterrupted: Path, network: Network, tmp_path: Path
) -> None:
    root = tmp_path / "cache"
    command = module_command(COMMAND_LINE, "compute", "--model", "demo", "--cache", str(root), "--device", "cpu")
    command += ["--block", "1.1", "--protocol", "paper", "--steps", "6", "--batch", "4", "--json"]
    for kill in range(kills):
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        done = 0
        for line in process.stdout:
            done += json.loads(line)["event"] in ("fz", "measure")
            if done > kill:
                break
        os.kill(process.pid, signal.SIGKILL)
        process.wait(ENDS)
        process.stdout.close()
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=ENDS, check=True)
    assert json.loads(finished.stdout.splitlines()[-1])["event"] == "done"
    assert _table(root, network) == _table(uninterrupted, network)
    assert _files(root) == _files(uninterrupted)


def test_two_jobs_at_once_share_the_work_and_do_none_of_it_twice(
    uninterrupted: Path, network: Network, tmp_path: Path
) -> None:
    root = tmp_path / "cache"
    events: list[list[Event]] = [[], []]
    codes = []
    threads = [
        threading.Thread(target=lambda own=own: codes.append(_run(root, network, own.append)[0])) for own in events
    ]
    Store.open(root, create=True)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(ENDS)
    assert codes == [0, 0]
    done = [(batch.kind, batch.tensor, batch.retry, batch.channels) for own in events for batch in _batches(own)]
    assert len(done) == len(set(done))
    # What the other has made is there too.
    for own in events:
        last = own[-1]
        assert isinstance(last, JobEnded)
        assert last.report is not None
        assert (last.state, last.report.done, last.report.share) == ("done", 48, 1.0)
    assert _table(root, network) == _table(uninterrupted, network)


def test_a_job_that_is_asked_to_stop_ends_and_gives_its_leases_back(network: Network, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "cache", create=True)
    job = create_job(store, SPEC)

    def tell(event: Event) -> None:
        if isinstance(event, BatchDone):
            request_stop(job)

    assert run_job(store, job, tell, network) == 1
    assert job_state(store, job).state == "stopped"
    assert not list((store.root / "leases").glob("*.json"))
    assert _run(store.root, network)[0] == 0


def test_a_truncated_png_is_one_clear_line_and_the_rest_goes_on(network: Network, tmp_path: Path) -> None:
    _, store, _ = _run(tmp_path / "cache", network, tensors=("in",))
    fzset = present(store.choose_set(network.info))
    record = fzset.fzs(network.info.source("1.1", "in"))[2]
    record.path.write_bytes(record.path.read_bytes()[:200])
    measures = next((store.root / "models").rglob("measures/1.1/on_in"))
    damaged = next(p for p in measures.iterdir() if p.name.startswith("0000-0003"))
    for file in damaged.iterdir():
        file.unlink()
    damaged.rmdir()
    events: list[Event] = []
    code, _, job = _run(tmp_path / "cache", network, events.append)
    problems = [event.fault.message for event in events if isinstance(event, ProblemOccurred)]
    assert code == 1
    assert any("0002.png is damaged" in line for line in problems)
    assert job_state(store, job).state == "failed"
    rows = _table(store.root, network)
    assert rows[4]["status"] != "missing in"
    assert rows[0]["status"] == "missing in"


def test_too_little_disk_is_said_before_anything_is_computed(network: Network, tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk", kilobytes=200) as disk:
        events: list[Event] = []
        code, store, job = _run(disk / "cache", network, events.append)
        assert code == 1
        assert "FZs need about" in job_state(store, job).message
        assert not _batches(events)
        key = SetKey(Recipe(steps=6))
        request = Request.of(network.info, key, ["1.1"], ["in"], 4)
        with pytest.raises(DiskFullError, match=r"MB free$"):
            check_space(store, store.set(network.info, key), request)


def test_progress_counts_what_was_there_and_ends_at_the_total(network: Network, tmp_path: Path) -> None:
    _run(tmp_path / "cache", network, tensors=("in",))
    reports: list[Report] = []
    _run(tmp_path / "cache", network, lambda e: reports.append(e.report) if isinstance(e, JobProgressed) else None)
    assert reports[0].done == 16
    assert reports[-1].total == 48
    shares = [present(report.share) for report in reports]
    assert shares == sorted(shares)


def test_work_done_again_for_undefined_rows_counts_and_makes_the_rest_take_no_longer(network: Network) -> None:
    tally = Tally(total=8, present=0, cost=8 * 10 * step_cost(network.info, network.info.source("1.1", "in")))
    first, again = (Task("fz", "1.1", "in", (0, 1, 2, 3), 0, retry) for retry in (0, 1))
    tally.finished(first, network.info, 10)
    tally.started = time.monotonic() - 100
    assert tally.report("").eta == pytest.approx(100, rel=0.01)
    tally.started -= 100
    tally.began(again, network.info, 10)
    assert tally.report("").share == 0.5
    assert tally.report("", again=image_cost(again, network.info) * 10).eta == pytest.approx(100, rel=0.01)
    tally.finished(again, network.info, 10)
    report = tally.report("")
    assert report.done == 4
    assert report.share == pytest.approx(80 / 120)
    assert report.eta == pytest.approx(100, rel=0.01)
    assert describe(again) == "1.1 in, channels 0-3, try 2 where M was undefined"
    assert describe(first) == "1.1 in, channels 0-3"


def test_an_unknown_model_in_a_job_is_its_last_word(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "cache", create=True)
    job = create_job(store, replace(SPEC, model="resnet99"))
    assert run_job(store, job, lambda event: None) == 1
    assert job_state(store, job).state == "failed"
    assert "unknown model 'resnet99'" in job_state(store, job).message


def test_the_worker_process_describes_a_model_and_runs_a_job(tmp_path: Path) -> None:
    root = str(tmp_path / "cache")
    base = module_command(WORKER)
    described = subprocess.run(
        [*base, "describe", "--cache", root, "--model", "demo"], cwd=ROOT, capture_output=True, text=True, timeout=ENDS
    )
    event = json.loads(described.stdout)
    store = Store.open(Path(root))
    assert present(store.recall(ModelSpec("demo").text)).fingerprint == event["fingerprint"]
    job = create_job(store, replace(SPEC, tensors=("block",), channels={"1.1": (0, 1)}))
    ran = subprocess.run(
        [*base, "run", "--cache", root, "--job", job.id], cwd=ROOT, capture_output=True, text=True, timeout=ENDS
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout.splitlines()[-1])["event"] == "done"


def test_every_stored_fz_says_what_made_it(uninterrupted: Path, network: Network) -> None:
    fzset = present(Store.open(uninterrupted).choose_set(network.info))
    records = fzset.fzs(network.info.source("1.1", "block"))
    assert {(r.device, r.dtype, r.seed) for r in records.values()} == {("cpu", "float32", 0)}
    assert all(np.isfinite(r.activation) for r in records.values())


def test_several_batches_at_once_give_the_table_of_one_at_a_time(
    uninterrupted: Path, network: Network, tmp_path: Path
) -> None:
    torch.set_num_threads(3)
    try:
        assert lane_count(network.device) == 3
        assert _run(tmp_path / "cache", network)[0] == 0
    finally:
        torch.set_num_threads(1)
    assert _files(tmp_path / "cache") == _files(uninterrupted)


def test_the_memory_in_use_of_a_cuda_device_is_in_the_heartbeat(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OnCuda(LocalRun):
        def device_memory(self) -> DeviceMemory:
            return cuda_memory(torch.device("cuda:1"))

    store = Store.open(tmp_path / "store", create=True)
    job = create_job(store, SPEC)
    request = Request.of_job(network.info, SPEC, 4)
    LocalRun(store, job, network, request, lambda event: None).say_or_stop("on the CPU", force=True)
    assert "device_memory" not in json.loads((job.folder / "heartbeat.json").read_text())
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (60_000, 80_000))
    OnCuda(store, job, network, request, lambda event: None).say_or_stop("on CUDA", force=True)
    assert job_state(store, job).device_memory == {"cuda:1": (20_000.0, 80_000.0)}


def test_fzs_offered_on_the_way_are_those_under_way_and_change_nothing(network: Network) -> None:
    target, recipe = Target("1.1", "block"), Recipe(steps=6)
    plain = visualize(network, target, range(3), recipe, protocol="centred")
    looks: list[np.ndarray] = []
    watched = visualize(
        network, target, range(3), recipe, protocol="centred", peek=lambda channels, images: looks.append(images())
    )
    assert np.array_equal(plain.images, watched.images)
    assert np.array_equal(plain.trace, watched.trace)
    # After every step but the last, whose images are stored.
    assert len(looks) == 5
    assert looks[-1].shape == plain.images.shape
    away = [np.abs(look.astype(int) - plain.images).mean() for look in looks]
    assert away[0] > away[-1] > 0


def test_a_job_shows_its_fzs_on_the_way_and_leaves_none_of_them(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamscope.core.jobs.batch_loop.LOOK_SECONDS", 0.0)
    written: list[tuple[Target, tuple[int, ...]]] = []

    def note(job: JobFolder, target: Target, channels: Sequence[int], images: np.ndarray) -> None:
        write_growing(job, target, channels, images)
        written.append((target, tuple(channels)))
        assert find_growing([job], target, channels[0]) is not None

    monkeypatch.setattr("streamscope.core.jobs.batch_loop.write_growing", note)
    code, _, job = _run(tmp_path / "cache", network, tensors=("in",))
    assert code == 0
    assert {channels for _, channels in written} >= {(0, 1, 2, 3), (12, 13, 14, 15)}
    assert not list(job.files.growing.iterdir())
