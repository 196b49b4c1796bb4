"""Several worker processes at one job: what one leaves undone the others do."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from streamscope.core.engine.network import Network, load_network
from streamscope.core.errors import UsageError
from streamscope.core.jobs.crew import Crew, _Worker
from streamscope.core.jobs.devices import shared_batch, threads_each, worker_devices
from streamscope.core.jobs.plan import Request
from streamscope.core.jobs.worker import run_job
from streamscope.core.model.spec import ModelSpec
from streamscope.core.store import JobSpec, Store, create_job, job_state, read_log, request_stop
from streamscope.core.store.jobs.events import BatchDone, Counts, Event, JobProgressed, ProblemOccurred, Report
from streamscope.core.table.columns import Value
from streamscope.core.table.frame import build_frame
from tests.support.stores import python

SPEC = JobSpec("demo", steps=12, blocks=("1.1",), tensors=("in", "block"), batch=2)

CLAIMS = """
import sys
from dataclasses import replace
from pathlib import Path
from streamscope.core.store import Leases
assert Leases(Path(sys.argv[1]), sys.argv[2]).claim(sys.argv[2])
"""


@pytest.fixture(scope="module")
def network() -> Network:
    return load_network(ModelSpec("demo"), "cpu")


def _table(root: Path, network: Network) -> list[dict[str, Value]]:
    frame = build_frame(network.info, Store.open(root).choose_set(network.info), ["1.1"])
    return frame.rows(range(len(frame)))


def test_one_of_two_processes_is_killed_and_the_other_does_the_rest(network: Network, tmp_path: Path) -> None:
    alone, shared = Store.open(tmp_path / "alone", create=True), Store.open(tmp_path / "shared", create=True)
    assert run_job(alone, create_job(alone, replace(SPEC, device="cpu")), lambda event: None, network) == 0
    job = create_job(shared, replace(SPEC, devices=("cpu", "cpu")))
    # As one leaves it that is killed between storing a batch and giving its lease back; another job's is not ours.
    for owner in (job.id, "another job"):
        assert python(CLAIMS, shared.root, owner).wait() == 0
    victims: list[int] = []
    events: list[Event] = []

    def tell(event: Event) -> None:
        events.append(event)
        # The first that stores something holds a lease on the next batch soon, and is killed then or before.
        if isinstance(event, BatchDone) and not victims:
            leases = [path.read_text() for path in (shared.root / "leases").glob("*.json")]
            held = [json.loads(text) for text in leases if text]
            pids = [lease["process"]["pid"] for lease in held if lease["key"] not in (job.id, "another job")]
            victims.extend(pids[:1])
            for pid in victims:
                os.kill(pid, signal.SIGKILL)

    assert run_job(shared, job, tell, network) == 0
    assert victims
    problems = [event.fault.message for event in events if isinstance(event, ProblemOccurred)]
    assert len(problems) == 1
    assert "was killed by signal 9; its batches are left to the others" in problems[0]
    assert _table(shared.root, network) == _table(alone.root, network)
    state = job_state(shared, job)
    assert (state.state, state.done, state.total) == ("done", 32, 32)
    (left,) = (shared.root / "leases").glob("*.json")
    assert json.loads(left.read_text())["owner"] == "another job"
    batches = [line.event for line in read_log(job)[0] if isinstance(line.event, BatchDone)]
    assert {batch.device for batch in batches} == {"cpu"}
    done = [(batch.kind, batch.tensor, batch.channels) for batch in batches]
    assert len(done) == len(set(done))


def test_a_stopped_job_ends_every_process(network: Network, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "cache", create=True)
    job = create_job(store, replace(SPEC, steps=100_000, devices=("cpu", "cpu")))
    others = set(_children())
    workers: set[int] = set()

    def tell(event: Event) -> None:
        if isinstance(event, JobProgressed):
            workers.update(set(_children()) - others)
            if (event.report.rate or 0) > 0:
                request_stop(job)

    assert run_job(store, job, tell, network) == 1
    assert job_state(store, job).state == "stopped"
    assert workers
    assert not [pid for pid in workers if os.path.exists(f"/proc/{pid}")]
    assert not list((store.root / "leases").glob("*.json"))


def _children() -> list[int]:
    text = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return [int(pid) for pid in text.split()]


def test_devices_are_those_named_or_the_one_there_is(network: Network) -> None:
    assert worker_devices("cpu") == ("cpu",)
    assert worker_devices("auto", ["cpu", "cpu"]) == ("cpu", "cpu")
    assert shared_batch(network.info, ["cpu", "cpu"]) == 64
    assert threads_each(["cpu"] * 10_000) == 1
    with pytest.raises(UsageError, match="cuda:97"):
        worker_devices("auto", ["cpu", "97"])
    with pytest.raises(UsageError, match="unknown device 'tpu'"):
        worker_devices("auto", ["tpu"])


def test_what_is_in_use_of_each_device_is_told_for_all_of_them(network: Network, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "cache", create=True)
    job = create_job(store, SPEC)
    request = Request.of_job(network.info, SPEC, 2)
    crew = Crew(store, job, network.info, request, ["cuda:0", "cuda:1"], 1, lambda event: None)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, text=True) as process:
        crew._workers = [_Worker(device, process) for device in crew.devices]
        for worker, used in zip(crew._workers, (10, 20), strict=True):
            crew._heard(worker, JobProgressed(Report(), {worker.device: (used, 80)}, Counts()))
        crew._report()
        process.communicate("\n")
    assert job_state(store, job).device_memory == {"cuda:0": (10.0, 80.0), "cuda:1": (20.0, 80.0)}
