"""A job's folder tells everybody how it is doing, whoever started it and however it ended."""

import json
import os
import re
from pathlib import Path

import pytest

from streamscope.core.errors import DiskFullError, Fault, StoreError
from streamscope.core.store import (
    Job,
    JobSpec,
    JobState,
    JobWatch,
    Store,
    create_job,
    job_state,
    job_states,
    last_words,
    open_job,
    read_log,
    remove_finished,
    request_stop,
    requeue,
)
from streamscope.core.store.files.clock import FolderClock
from streamscope.core.store.jobs.events import JobEnded, LastWord, LoggedEvent, ProblemOccurred, Report
from streamscope.core.store.usage import doubtful_jobs
from tests.support.stores import fill, python, tiny_disk

SPEC = JobSpec("resnet18", blocks=("2.1",), tensors=("in", "block"), channels={"2.1": tuple(range(32))})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path, create=True)


def only_job(store: Store) -> JobState:
    (state,) = job_states(store)
    return state


def make_older(path: Path, seconds: float) -> None:
    state = path.stat()
    os.utime(path, (state.st_atime, state.st_mtime - seconds))


def test_a_job_says_what_it_is_to_do_and_who_started_it(store: Store) -> None:
    assert job_states(store) == []
    job = create_job(store, SPEC)
    found = only_job(Store.open(store.root)).job
    assert found == job == open_job(job.folder)
    assert (found.spec, found.pid) == (SPEC, os.getpid())
    assert re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{6}", found.id)


def test_a_job_is_queued_runs_is_told_to_stop_and_stops(store: Store) -> None:
    job = create_job(store, SPEC)
    assert only_job(store).state == "queued"
    job.heartbeat(Report(done=3, total=12, rate=1.5, unit="FZs", eta=6.0, message="2.1.in"))
    state = only_job(store)
    assert (state.state, state.done, state.total, state.rate) == ("running", 3, 12, 1.5)
    assert (state.unit, state.eta, state.message) == ("FZs", 6.0, "2.1.in")
    assert state.worker is not None
    assert state.worker.pid == os.getpid()
    assert not job.stop_requested()
    request_stop(job)
    assert job.stop_requested()
    assert only_job(store).state == "stopping"
    job.finish("stopped", Fault("asked to stop"), Report(done=4, total=12))
    assert (only_job(store).state, only_job(store).done) == ("stopped", 4)


@pytest.mark.parametrize("last", ["done", "failed", "stopped"])
def test_a_last_word_holds_for_ever(store: Store, last: LastWord) -> None:
    job = create_job(store, SPEC)
    job.finish(last, Fault("so it ended"))
    make_older(job.folder / "heartbeat.json", 1000)
    assert (only_job(store).state, only_job(store).message) == (last, "so it ended")


def beat_elsewhere(job: Job, done: int, seconds: float = 0.0) -> None:
    """A heartbeat of a worker on another host, dated `seconds` ago."""
    job.heartbeat(Report(done=done, total=2))
    path = job.folder / "heartbeat.json"
    data = json.loads(path.read_text())
    data["process"].update(host="elsewhere", pid=2**30)
    path.write_text(json.dumps(data))
    make_older(path, seconds)


def test_a_worker_elsewhere_that_is_silent_for_a_minute_is_dead(store: Store) -> None:
    job = create_job(store, SPEC)
    beat_elsewhere(job, 1, seconds=50)
    assert only_job(store).state == "running"
    make_older(job.folder / "heartbeat.json", 15)
    assert only_job(Store(store.root)).state == "dead"
    beat_elsewhere(job, 2)
    assert only_job(store).state == "running"


def test_a_worker_of_this_host_is_dead_only_when_its_process_is_gone(store: Store) -> None:
    job = create_job(store, SPEC)
    job.heartbeat(Report(done=1, total=2))
    make_older(job.folder / "heartbeat.json", 3000)
    assert only_job(store).state == "running", "a loaded machine may not let it say anything"


def test_a_worker_whose_clock_is_late_is_not_dead_once_it_was_seen_to_live(store: Store) -> None:
    job = create_job(store, SPEC)
    beat_elsewhere(job, 1, seconds=600)
    assert only_job(store).state == "dead", "by the only date there is"
    beat_elsewhere(job, 2, seconds=598)
    assert only_job(store).state == "running"


def test_a_dead_worker_whose_clock_was_ahead_is_dead_once_it_was_seen_silent_for_a_minute(store: Store) -> None:
    job = create_job(store, SPEC)
    beat_elsewhere(job, 1, seconds=-900)
    seconds = [0.0]
    store.clock = FolderClock(store.root, lambda: seconds[0])
    assert only_job(store).state == "running"
    seconds[0] = 61.0
    assert only_job(store).state == "dead"
    requeue(store, job)
    assert only_job(store).state == "queued"


@pytest.mark.parametrize("ahead", [900, 9_000_000])
def test_a_job_whose_clock_is_ahead_is_removed_by_no_single_look(store: Store, ahead: float) -> None:
    job = create_job(store, SPEC)
    beat_elsewhere(job, 1, seconds=-ahead)
    seconds = [0.0]
    store.clock = FolderClock(store.root, lambda: seconds[0])
    assert [state.job.id for state in doubtful_jobs(store)] == [job.id]
    assert remove_finished(store) == []
    seconds[0] = 61.0
    assert doubtful_jobs(store) == []
    assert [state.job.id for state in remove_finished(store)] == [job.id]


@pytest.mark.parametrize("seconds", [-30, 0, 600])
def test_a_job_whose_clock_is_not_ahead_is_in_no_doubt(store: Store, seconds: float) -> None:
    beat_elsewhere(create_job(store, SPEC), 1, seconds=seconds)
    assert doubtful_jobs(store) == []


def test_a_date_beyond_all_clocks_is_none(store: Store) -> None:
    job = create_job(store, SPEC)
    beat_elsewhere(job, 1, seconds=-9_000_000)
    assert only_job(store).state == "dead"


def test_a_job_that_no_worker_takes_up_is_dead_after_a_minute(store: Store) -> None:
    job = create_job(store, SPEC)
    make_older(job.folder / "job.json", 70)
    assert (only_job(store).state, only_job(store).message) == ("dead", "no worker took it up")


WORKS = """
import sys
from pathlib import Path
from streamscope.core.store import open_job
from streamscope.core.store.jobs.events import Report
job = open_job(Path(sys.argv[1]))
job.heartbeat(Report(done=1, total=2))
print("working", flush=True)
sys.stdin.read()
"""


def test_a_killed_workers_job_is_dead_at_once(store: Store) -> None:
    job = create_job(store, SPEC)
    worker = python(WORKS, job.folder)
    assert worker.stdout is not None
    worker.stdout.readline()
    assert only_job(store).state == "running"
    worker.kill()
    os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)
    assert only_job(store).state == "dead"
    worker.communicate()


def test_a_worker_of_another_host_is_judged_by_its_heartbeat(store: Store) -> None:
    job = create_job(store, SPEC)
    beat_elsewhere(job, 1)
    assert only_job(store).state == "running"
    make_older(job.folder / "heartbeat.json", 70)
    assert only_job(Store(store.root)).state == "dead"


def test_the_log_is_read_on_from_where_it_was(store: Store) -> None:
    job = create_job(store, SPEC)
    assert read_log(job) == ([], 0)
    job.log(ProblemOccurred(Fault("first")))
    job.log(ProblemOccurred(Fault("second")))
    first, offset = read_log(job)
    assert [line.event for line in first] == [ProblemOccurred(Fault("first")), ProblemOccurred(Fault("second"))]
    assert all(line.time > 1e9 for line in first)
    assert read_log(job, offset) == ([], offset)
    job.log(JobEnded("done"))
    assert [line.event for line in read_log(job, offset)[0]] == [JobEnded("done")]


def test_a_line_being_written_waits_and_a_torn_one_is_skipped(store: Store) -> None:
    job = create_job(store, SPEC)
    log = job.folder / "log.jsonl"
    line = b'{"time": 1.5, "event": "problem", "message": "%s"}\n'
    half = (line % b"b")[:20]
    log.write_bytes(line % b"a" + half)
    events, offset = read_log(job)
    assert events == [LoggedEvent(1.5, ProblemOccurred(Fault("a")))]
    with open(log, "ab") as file:
        file.write((line % b"b")[20:] + half)
    events, offset = read_log(job, offset)
    assert events == [LoggedEvent(1.5, ProblemOccurred(Fault("b")))]
    job.log(ProblemOccurred(Fault("c")))
    assert [line.event for line in read_log(job, offset)[0]] == [ProblemOccurred(Fault("c"))]


def test_a_heartbeat_is_never_read_half_written(store: Store) -> None:
    beats = """
import sys
from pathlib import Path
from streamscope.core.store import open_job
from streamscope.core.store.jobs.events import Report
job = open_job(Path(sys.argv[1]))
for number in range(300):
    job.heartbeat(Report(done=number, total=300, message="x" * (number % 500)))
    if not number:
        print("working", flush=True)
job.finish("done", report=Report(done=300, total=300))
"""
    job = create_job(store, SPEC)
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
        job = create_job(store, SPEC)
        job.heartbeat(Report(done=1, total=9, message="working on it"))
        fill(disk)
        with pytest.raises(DiskFullError, match="no space left"):
            job.log(ProblemOccurred(Fault("in vain")))
        job.heartbeat(Report(done=2, total=9))
        assert (only_job(store).state, only_job(store).done) == ("running", 2)
        job.finish("failed", Fault("no space left " * 100), Report(done=2, total=9))
        assert (only_job(store).state, only_job(store).done) == ("failed", 2)
        assert only_job(store).message.startswith("no space left")
        assert sorted(path.name for path in job.folder.iterdir()) == ["heartbeat.json", "job.json", "log.jsonl"]


def test_a_damaged_job_hides_no_other(store: Store) -> None:
    damaged, whole = create_job(store, SPEC), create_job(store, SPEC)
    (damaged.folder / "job.json").write_text("{")
    (whole.folder / "heartbeat.json").write_text("[]")
    (store.root / "jobs" / "stray").write_text("")
    assert [state.job.id for state in job_states(store)] == [whole.id]
    assert only_job(store).state == "queued"
    with pytest.raises(StoreError, match=r"job.json is damaged"):
        open_job(damaged.folder)
    with pytest.raises(StoreError, match="no job in"):
        open_job(store.root / "jobs" / "none")


@pytest.mark.parametrize("name", ["heartbeat.json", "place"])
@pytest.mark.parametrize(
    "content",
    ["[]", "", "nan", "inf", '{"time": NaN}', '{"time": 1e300}', '{"done": "x"}', "[" * 200_000, " " * 2**20, "\0"],
    ids=range(10),
)
def test_a_heartbeat_or_a_place_that_is_none_is_said(store: Store, name: str, content: str) -> None:
    job = create_job(store, SPEC, queued=True)
    whole = (job.folder / "place").read_bytes()
    watch = JobWatch(store)
    (job.folder / name).write_text(content)
    for states in (job_states(store), watch.poll()):
        assert [(state.state, state.place is None) for state in states] == [("queued", name == "place")]
        (problem,) = store.job_problems.errors()
        assert str(job.folder / name) in str(problem)
        assert "\n" not in str(problem)
    assert store.problems == [], "no other job depends on it"
    (job.folder / name).unlink()
    (job.folder / "place").write_bytes(whole)
    assert (only_job(store).place, store.job_problems.errors()) == (float(whole), [])


def test_a_log_of_any_size_is_read_line_by_line(store: Store) -> None:
    job = create_job(store, SPEC)
    job.log(ProblemOccurred(Fault("first")))
    with open(job.folder / "log.jsonl", "ab") as file:
        file.truncate(file.tell() + 2**25)
        file.write(b"\n" + b"[" * 200_000 + b'\n{"event": "done", "message": "", "time": NaN}\n')
    job.log(ProblemOccurred(Fault("second")))
    events, offset = read_log(job)
    assert [line.event for line in events] == [ProblemOccurred(Fault("first")), ProblemOccurred(Fault("second"))]
    assert offset == (job.folder / "log.jsonl").stat().st_size


def test_the_last_words_are_at_the_end_of_whatever_a_process_printed(store: Store) -> None:
    job = create_job(store, SPEC)
    with open(job.errors, "wb") as file:
        file.truncate(2**40)
        file.seek(2**40)
        file.write(b"\nthe end\n")
    assert last_words(only_job(store)) == "the end"


def test_only_finished_jobs_are_removed(store: Store) -> None:
    done, dead, running, queued = (create_job(store, SPEC) for _ in range(4))
    done.finish("done")
    make_older(dead.folder / "job.json", 70)
    running.heartbeat(Report(done=1))
    finished = {done.id, dead.id}
    assert {state.job.id for state in remove_finished(store, dry_run=True)} == finished
    assert len(job_states(store)) == 4
    assert {state.job.id for state in remove_finished(store)} == finished
    assert {path.name for path in (store.root / "jobs").iterdir()} == {running.id, queued.id}


def test_a_job_that_cannot_be_written_is_one_clear_line(store: Store) -> None:
    (store.root / "jobs").write_text("a file")
    with pytest.raises(StoreError, match=r"cannot write .*jobs"):
        create_job(store, SPEC)
    assert job_states(store) == []
