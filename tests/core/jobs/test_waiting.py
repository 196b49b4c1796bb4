"""What takes long looks like it: whoever waits says for whom, and a worker that imports for minutes is heard of."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from streamscope.core.engine.network import Network, load_network
from streamscope.core.jobs.plan import Request, Task
from streamscope.core.jobs.pulse import Pulse
from streamscope.core.jobs.worker import run_job
from streamscope.core.model.spec import ModelSpec
from streamscope.core.processes import COMMAND_LINE, module_command
from streamscope.core.store import JobSpec, Leases, Store, create_job, job_state, read_log
from streamscope.core.store.jobs.events import Event, JobProgressed, Report, WaitStarted
from tests.support.stores import python
from tests.support.waiting import wait_until

SPEC = JobSpec("demo", device="cpu", steps=6, blocks=("1.1",), tensors=("in", "block"), batch=4)
ENDS = 120
"""Seconds after which a test gives up waiting for a process."""


@pytest.fixture(scope="module")
def network() -> Network:
    return load_network(ModelSpec("demo"), "cpu")


def lease_held_elsewhere(store: Store, network: Network, task: Task, host: str) -> Path:
    """The lease of a batch as a worker on another host holds it; returns its file."""
    key = task.lease(network.info, Request.of_job(network.info, SPEC, 4).key)
    Leases(store.root, "theirs").claim(key)
    (path,) = (store.root / "leases").glob("*.json")
    data = json.loads(path.read_text())
    data["process"].update(host=host, pid=4711)
    path.write_text(json.dumps(data))
    return path


def test_whoever_waits_says_for_what_and_for_whom(network: Network, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "cache", create=True)
    job = create_job(store, SPEC)
    lease = lease_held_elsewhere(store, network, Task("fz", "1.1", "in", (4, 5, 6, 7), 1), "gpu-node-7")
    events: list[Event] = []

    def tell(event: Event) -> None:
        events.append(event)
        waits = "waiting for 1.1 in, channels 4-7, held by gpu-node-7, process 4711"
        if isinstance(event, JobProgressed) and event.report.message == waits:
            assert job_state(store, job).message == waits
            lease.unlink(missing_ok=True)

    assert run_job(store, job, tell, network) == 0
    waits = [event for event in events if isinstance(event, WaitStarted)]
    assert waits == [WaitStarted("1.1 in, channels 4-7", "gpu-node-7, process 4711")]
    assert waits[0] in [line.event for line in read_log(job)[0]]


def test_a_command_without_a_terminal_says_that_it_waits(network: Network, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "cache", create=True)
    store.register(network.info)
    lease = lease_held_elsewhere(store, network, Task("fz", "1.1", "in", (4, 5, 6, 7), 1), "gpu-node-7")
    words = [
        "compute",
        "--model",
        "demo",
        "--cache",
        store.root,
        "--protocol",
        "paper",
        "--steps",
        "6",
        "--block",
        "1.1",
        "--batch",
        "4",
    ]
    command = module_command(COMMAND_LINE, *map(str, words), "--tensor", "in,block", "--device", "cpu")
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        lease.unlink()
        assert process.wait(ENDS) == 0
    assert said == "streamscope: waiting for 1.1 in, channels 4-7, held by gpu-node-7, process 4711\n"


def test_the_heart_of_a_job_beats_while_its_worker_imports_and_loads(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "cache", create=True)
    job = create_job(store, SPEC)

    def beat() -> int:
        return (job.folder / "heartbeat.json").stat().st_mtime_ns

    with Pulse(job, "starting: importing torch", seconds=0.01) as pulse:
        first = beat()
        wait_until(lambda: beat() > first, "the next beat")
        pulse.say("loading the weights")
        told = beat()
        wait_until(lambda: beat() > told, "a beat with the new message")
        assert job_state(store, job).message == "loading the weights"
        pulse.hear(JobProgressed(Report(done=1, total=2)))
        pulse.stop()
        job.heartbeat(Report(done=1, total=2))
        assert job_state(store, job).done == 1


def test_a_worker_that_is_at_its_imports_is_heard_of_before_they_end(tmp_path: Path) -> None:
    """By other hosts, which cannot see its process: torch is imported here by nothing else."""
    store = Store.open(tmp_path / "cache", create=True)
    job = create_job(store, SPEC)
    code = """
import sys, time
from pathlib import Path
from streamscope.core.store import Store, open_job
from streamscope.core.jobs.worker import run_job

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print("importing", flush=True)
            sys.stdin.readline()

sys.meta_path.insert(0, Slow())
store = Store(Path(sys.argv[1]))
sys.exit(run_job(store, open_job(Path(sys.argv[2])), lambda event: None))
"""
    with python(code, store.root, job.folder) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "importing\n"
        state = job_state(store, job)
        assert (state.state, state.message) == ("running", "starting: importing torch")
        wait_until(lambda: (job_state(store, job).updated or 0.0) > (state.updated or 0.0), "another heartbeat")
        process.communicate("\n", timeout=ENDS)
        assert process.returncode == 0
