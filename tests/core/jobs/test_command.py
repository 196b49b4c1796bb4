"""A job that is a command of streamscope's: what becomes of it is what the command says and how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from streamscope.core.jobs.command import run_command
from streamscope.core.model.spec import ModelSpec
from streamscope.core.processes import JOB, QUEUE_WORKER, module_command
from streamscope.core.store import (
    Job,
    JobSpec,
    JobState,
    Store,
    create_job,
    job_state,
    open_job,
    printed,
    request_stop,
)
from streamscope.core.store.jobs.events import JobProgressed, Report, write_event
from streamscope.core.store.jobs.spec import COMMAND, NO_DEVICE
from tests.support.app_store import fill, make_info, open_store
from tests.support.waiting import wait_until

HALF = write_event(JobProgressed(Report(3, 6, 0.5, 1.5, "FZs", 2.0, "2.1 under shams")))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "cache", create=True)


def job_of(store: Store, *words: str, device: str = "cpu") -> Job:
    return create_job(store, JobSpec.of_command(ModelSpec("resnet18"), words, "a title", device), queued=True)


def python(text: str) -> Callable[[Job, Store], subprocess.Popen[bytes]]:
    """Runs a few lines of Python in place of the command, as a command is run."""

    def launch(job: Job, store: Store) -> subprocess.Popen[bytes]:
        with job.open_errors() as errors:
            return subprocess.Popen(
                [sys.executable, "-u", "-c", text],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, JOB: job.id},
            )

    return launch


def ended(store: Store, job: Job, text: str) -> JobState:
    run_command(store, job, python(text))
    return job_state(store, job)


def test_what_a_command_prints_is_kept_and_its_last_line_is_what_became_of_it(store: Store) -> None:
    job = job_of(store, "nulls")
    state = ended(store, job, f"print({HALF!r}); print('first'); print('of 16 channels 3')")
    assert (state.state, state.message, state.done, state.total) == ("done", "of 16 channels 3", 6, 6)
    assert printed(state) == "first\nof 16 channels 3"


def test_one_that_fails_says_its_last_error_line(store: Store) -> None:
    text = "import sys; print('streamscope: there are no images in /x', file=sys.stderr); sys.exit(2)"
    state = ended(store, job_of(store, "scan", "/x"), text)
    assert (state.state, state.message) == ("failed", "there are no images in /x")


def test_one_that_says_nothing_fails_with_its_exit_code(store: Store) -> None:
    state = ended(store, job_of(store, "scan", "/x"), "import os; os._exit(3)")
    assert (state.state, state.message) == ("failed", "it ended with exit code 3")


def test_how_far_it_is_shows_while_it_runs_and_a_stop_ends_it(store: Store) -> None:
    job = job_of(store, "scan", "/x")
    text = f"import time\nprint({HALF!r}, flush=True)\ntime.sleep(600)"
    worker = threading.Thread(target=run_command, args=(store, job, python(text)))
    worker.start()
    try:
        wait_until(lambda: job_state(store, job).done == 3, "three FZs")
        state = job_state(store, job)
        assert (state.state, state.total, state.rate, state.eta) == ("running", 6, 1.5, 2.0)
        assert (state.unit, state.message) == ("FZs", "2.1 under shams")
        request_stop(job)
    finally:
        request_stop(job)
        worker.join(60)
    assert job_state(store, job).state == "stopped"


def test_a_command_ends_when_whoever_runs_it_is_gone(store: Store) -> None:
    """The command line itself, reading a pipe that never ends."""
    command = [sys.executable, "-c", "from streamscope.tui.cli.as_job import end_with_input\n"]
    command[-1] += "import time\nend_with_input()\nprint('waits', flush=True)\ntime.sleep(600)"
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        assert process.stdout.readline() == b"waits\n"
        process.stdin.close()
        assert process.wait(60) < 0


def test_the_queue_runs_a_command_of_the_command_line_without_torch(tmp_path: Path) -> None:
    info = make_info()
    store = open_store(tmp_path / "cache", info)
    fill(store, info, ["2.1"])
    out = tmp_path / "table.csv"
    job = job_of(store, "table", "--block", "2.1", "--out", str(out), device=NO_DEVICE)
    worker = module_command(QUEUE_WORKER, "--cache", str(store.root), "--device", NO_DEVICE)
    subprocess.run(worker, check=True, timeout=120)
    state = job_state(store, job)
    assert (state.state, out.is_file()) == ("done", True), state.message


def test_its_record_reads_back_and_earlier_versions_are_kept_from_running_it(store: Store) -> None:
    job = job_of(store, "nulls", "--block", "2.1")
    again = open_job(job.folder)
    assert again.spec == job.spec
    assert (again.spec.kind, again.spec.title) == ("nulls", "a title")
    # They know no objective of that name; without it they would compute every block.
    written = json.loads(job.files.record.read_text())["asked"]
    assert written["objective"] == COMMAND


def test_jobs_of_fzs_are_written_as_before(store: Store) -> None:
    spec = JobSpec("resnet18", blocks=("2.1",), steps=64)
    assert {"command", "title", "part_of"}.isdisjoint(spec.to_json())
    assert spec.kind == "FZs"


def test_code_that_has_changed_since_is_not_run(store: Store, tmp_path: Path) -> None:
    code = tmp_path / "net.py"
    code.write_text("def make(): ...\n")
    model = ModelSpec.given(f"{code}:make")
    job = create_job(store, JobSpec.of_command(model, ["curves"], "all blocks", "cpu"), queued=True)
    code.write_text("def make(): raise SystemExit\n")
    started = time.time()
    assert run_command(store, job, python("raise SystemExit(0)")) == 1
    state = job_state(store, job)
    assert state.state == "failed"
    assert "has changed since" in state.message
    assert time.time() - started < 30
