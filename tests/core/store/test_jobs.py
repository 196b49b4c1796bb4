"""A job's folder tells everybody how it is doing, whoever started it and however it ended."""

import json
import os
import re
from pathlib import Path

import pytest

from streamscope.core.errors import DiskFullError, StoreError
from streamscope.core.store import (
    JobState,
    Store,
    create_job,
    job_state,
    job_states,
    open_job,
    read_log,
    remove_finished,
    request_stop,
)
from tests.support.stores import fill, python, tiny_disk

ASKED = {"blocks": ["2.1"], "tensors": ["in", "block"], "channels": "0-31"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path, create=True)


def only_job(store: Store) -> JobState:
    (state,) = job_states(store)
    return state


def make_older(path: Path, seconds: float) -> None:
    state = path.stat()
    os.utime(path, (state.st_atime, state.st_mtime - seconds))


def test_a_job_says_what_was_asked_and_by_whom(store: Store) -> None:
    assert job_states(store) == []
    job = create_job(store, ASKED)
    found = only_job(Store.open(store.root)).job
    assert found == job == open_job(job.folder)
    assert (found.asked, found.pid) == (ASKED, os.getpid())
    assert re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{6}", found.id)


def test_a_job_is_queued_runs_is_told_to_stop_and_stops(store: Store) -> None:
    job = create_job(store, ASKED)
    assert only_job(store).state == "queued"
    job.heartbeat(done=3, total=12, rate=1.5, unit="FZs", eta=6.0, message="2.1.in")
    state = only_job(store)
    assert (state.state, state.done, state.total, state.rate) == ("running", 3, 12, 1.5)
    assert (state.unit, state.eta, state.message) == ("FZs", 6.0, "2.1.in")
    assert state.worker is not None
    assert state.worker.pid == os.getpid()
    assert not job.stop_requested()
    request_stop(job)
    assert job.stop_requested()
    assert only_job(store).state == "stopping"
    job.finish("stopped", "asked to stop", done=4, total=12)
    assert (only_job(store).state, only_job(store).done) == ("stopped", 4)


@pytest.mark.parametrize("last", ["done", "failed", "stopped"])
def test_a_last_word_holds_for_ever(store: Store, last: str) -> None:
    job = create_job(store, ASKED)
    job.finish(last, "so it ended")  # type: ignore[arg-type]
    make_older(job.folder / "heartbeat.json", 1000)
    assert (only_job(store).state, only_job(store).message) == (last, "so it ended")


def test_a_worker_silent_for_a_minute_is_dead(store: Store) -> None:
    job = create_job(store, ASKED)
    job.heartbeat(done=1, total=2)
    make_older(job.folder / "heartbeat.json", 50)
    assert only_job(store).state == "running"
    make_older(job.folder / "heartbeat.json", 15)
    assert only_job(store).state == "dead"
    job.heartbeat(done=2, total=2)
    assert only_job(store).state == "running"


def test_a_job_that_no_worker_takes_up_is_dead_after_a_minute(store: Store) -> None:
    job = create_job(store, ASKED)
    make_older(job.folder / "job.json", 70)
    assert (only_job(store).state, only_job(store).message) == ("dead", "no worker took it up")


WORKS = """
import sys
from pathlib import Path
from streamscope.core.store import open_job
job = open_job(Path(sys.argv[1]))
job.heartbeat(done=1, total=2)
print("working", flush=True)
sys.stdin.read()
"""


def test_a_killed_workers_job_is_dead_at_once(store: Store) -> None:
    job = create_job(store, ASKED)
    worker = python(WORKS, job.folder)
    assert worker.stdout is not None
    worker.stdout.readline()
    assert only_job(store).state == "running"
    worker.kill()
    os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)
    assert only_job(store).state == "dead"
    worker.communicate()


def test_a_worker_of_another_host_is_judged_by_its_heartbeat(store: Store) -> None:
    job = create_job(store, ASKED)
    job.heartbeat(done=1)
    beat = job.folder / "heartbeat.json"
    data = json.loads(beat.read_text())
    data["process"].update(host="elsewhere", pid=2**30)
    beat.write_text(json.dumps(data))
    assert only_job(store).state == "running"
    make_older(beat, 70)
    assert only_job(store).state == "dead"


def test_the_log_is_read_on_from_where_it_was(store: Store) -> None:
    job = create_job(store, ASKED)
    assert read_log(job) == ([], 0)
    job.log({"event": "batch", "channels": "0-31"})
    job.log({"event": "batch", "channels": "32-63"})
    first, offset = read_log(job)
    assert [event["channels"] for event in first] == ["0-31", "32-63"]
    assert all(event["time"] > 1e9 for event in first)
    assert read_log(job, offset) == ([], offset)
    job.log({"event": "done"})
    assert [event["event"] for event in read_log(job, offset)[0]] == ["done"]


def test_a_line_being_written_waits_and_a_torn_one_is_skipped(store: Store) -> None:
    job = create_job(store, ASKED)
    log = job.folder / "log.jsonl"
    log.write_bytes(b'{"event": "a"}\n{"event": "b')
    events, offset = read_log(job)
    assert [event["event"] for event in events] == ["a"]
    with open(log, "ab") as file:
        file.write(b'"}\n{"event": "to')
    events, offset = read_log(job, offset)
    assert [event["event"] for event in events] == ["b"]
    job.log({"event": "c"})
    assert [event["event"] for event in read_log(job, offset)[0]] == ["c"]


def test_a_heartbeat_is_never_read_half_written(store: Store) -> None:
    beats = """
import sys
from pathlib import Path
from streamscope.core.store import open_job
job = open_job(Path(sys.argv[1]))
for number in range(300):
    job.heartbeat(done=number, total=300, message="x" * (number % 500))
    if not number:
        print("working", flush=True)
job.finish("done", done=300, total=300)
"""
    job = create_job(store, ASKED)
    worker = python(beats, job.folder)
    assert worker.stdout is not None
    worker.stdout.readline()
    seen = [0]
    while worker.poll() is None:
        state = job_state(store, job)
        assert state.state in ("running", "done")
        assert state.total == 300
        seen.append(state.done)
    assert seen == sorted(seen)
    assert only_job(store).state == "done"


def test_a_full_disk_does_not_silence_a_worker(tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk", kilobytes=64) as disk:
        store = Store.open(disk, create=True)
        job = create_job(store, ASKED)
        job.heartbeat(done=1, total=9, message="working on it")
        fill(disk)
        with pytest.raises(DiskFullError, match="no space left"):
            job.log({"event": "batch"})
        job.heartbeat(done=2, total=9)
        assert (only_job(store).state, only_job(store).done) == ("running", 2)
        job.finish("failed", "no space left " * 100, done=2, total=9)
        assert (only_job(store).state, only_job(store).done) == ("failed", 2)
        assert only_job(store).message.startswith("no space left")
        assert sorted(path.name for path in job.folder.iterdir()) == ["heartbeat.json", "job.json", "log.jsonl"]


def test_a_damaged_job_hides_no_other(store: Store) -> None:
    damaged, whole = create_job(store, ASKED), create_job(store, ASKED)
    (damaged.folder / "job.json").write_text("{")
    (whole.folder / "heartbeat.json").write_text("[]")
    (store.root / "jobs" / "stray").write_text("")
    assert [state.job.id for state in job_states(store)] == [whole.id]
    assert only_job(store).state == "queued"
    with pytest.raises(StoreError, match=r"job.json is damaged"):
        open_job(damaged.folder)
    with pytest.raises(StoreError, match="no job in"):
        open_job(store.root / "jobs" / "none")


def test_only_finished_jobs_are_removed(store: Store) -> None:
    done, dead, running, queued = (create_job(store, ASKED) for _ in range(4))
    done.finish("done")
    make_older(dead.folder / "job.json", 70)
    running.heartbeat(done=1)
    finished = {done.id, dead.id}
    assert {state.job.id for state in remove_finished(store, dry_run=True)} == finished
    assert len(job_states(store)) == 4
    assert {state.job.id for state in remove_finished(store)} == finished
    assert {path.name for path in (store.root / "jobs").iterdir()} == {running.id, queued.id}


def test_a_job_that_cannot_be_written_is_one_clear_line(store: Store) -> None:
    (store.root / "jobs").write_text("a file")
    with pytest.raises(StoreError, match=r"cannot write .*jobs"):
        create_job(store, ASKED)
    assert job_states(store) == []
