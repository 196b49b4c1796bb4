"""In a cache that several people write to, a job is its user's: others look at it, and never run it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import pytest

from streamscope.core.errors import Fault, ForeignJobError, StoreError
from streamscope.core.jobs import worker
from streamscope.core.jobs.queue_worker import work_off
from streamscope.core.store import (
    Job,
    JobSpec,
    Leases,
    Store,
    create_job,
    hold,
    job_states,
    move,
    open_job,
    own_queue,
    queue_of,
    remove_finished,
    request_stop,
    requeue,
    waiting,
)
from streamscope.core.store.jobs.events import ProblemOccurred, Report
from streamscope.tui.data.job_control import Workers
from tests.support.stores import OTHER, another_user, shared_folder

SPEC = JobSpec("demo", device="cpu")


@pytest.fixture
def store() -> Iterator[Store]:
    """A cache as a group has it: everybody may write to it and to its folders."""
    with shared_folder() as root:
        store = Store.open(root, create=True)
        for name in ("jobs", "leases"):
            (root / name).mkdir()
            (root / name).chmod(0o777)
        yield store


def queued_by_another(store: Store) -> Job:
    with another_user():
        return create_job(store, SPEC, queued=True)


def test_a_job_of_another_user_is_shown_with_whose_it_is(store: Store) -> None:
    theirs = queued_by_another(store)
    (state,) = job_states(store)
    assert (state.job, state.state) == (theirs, "queued")
    assert (state.job.uid, state.job.is_own) == (OTHER, False)
    assert state.job.user == "nobody"
    with another_user():
        assert state.job.is_own


def test_a_queue_runs_only_the_jobs_of_its_own_user(store: Store) -> None:
    theirs, mine = queued_by_another(store), create_job(store, SPEC, queued=True)
    ran: list[str] = []

    def run(store: Store, job: Job) -> None:
        ran.append(job.id)
        job.finish("done")

    assert work_off(store, "cpu", run, Event()) == 1
    assert ran == [mine.id]
    assert queue_of(theirs) != queue_of(mine)
    with another_user():
        assert [state.job.id for state in waiting(store, own_queue("cpu"))] == [theirs.id]
        assert work_off(store, "cpu", run, Event()) == 1
    assert ran == [mine.id, theirs.id]


def test_a_queue_of_another_user_keeps_nobody_waiting(store: Store) -> None:
    queued_by_another(store)
    with another_user():
        assert Leases(store.root, "their worker").claim(own_queue("cpu").lease)
    create_job(store, SPEC, queued=True)
    assert work_off(store, "cpu", lambda store, job: job.finish("done"), Event()) == 1


ACTS: dict[str, Callable[[Store, Job], object]] = {
    "stop": lambda store, job: request_stop(job),
    "pause": lambda store, job: hold(job),
    "move": lambda store, job: move(store, job, -1),
    "start": requeue,
}


@pytest.mark.parametrize("act", ACTS)
def test_nobody_else_may_do_anything_to_a_job(store: Store, act: str) -> None:
    theirs = queued_by_another(store)
    before = sorted(path.name for path in theirs.folder.iterdir())
    with pytest.raises(ForeignJobError, match=rf"job {theirs.id} is nobody's; only nobody can {act} it"):
        ACTS[act](store, theirs)
    with pytest.raises(ForeignJobError):
        Workers(["false"]).see_to(store, theirs)
    assert sorted(path.name for path in theirs.folder.iterdir()) == before


def test_a_worker_does_not_take_up_anothers_job(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    theirs = queued_by_another(store)
    assert worker.main(["run", "--cache", str(store.root), "--job", theirs.id]) == 1
    assert "only nobody can start it" in capsys.readouterr().err


def test_jobs_of_others_that_ended_are_not_removed(store: Store) -> None:
    theirs, mine = queued_by_another(store), create_job(store, SPEC)
    mine.finish("done")
    with another_user():
        theirs.finish("done")
    assert [state.job.id for state in remove_finished(store)] == [mine.id]
    assert theirs.folder.is_dir()


def test_a_record_that_somebody_else_put_into_ones_own_folder_is_nobodys_job(store: Store) -> None:
    mine = create_job(store, SPEC, queued=True)
    mine.folder.chmod(0o777)
    with another_user():
        content = (mine.folder / "job.json").read_bytes()
        (mine.folder / "job.json").unlink()
        (mine.folder / "job.json").write_bytes(content)
    assert open_job(mine.folder).uid is None
    assert work_off(store, "cpu", lambda store, job: job.finish("done"), Event()) == 0
    with pytest.raises(ForeignJobError, match="belongs to nobody: its folder and its record are not one user's"):
        requeue(store, open_job(mine.folder))


def test_ones_own_record_in_somebody_elses_folder_is_nobodys_job(store: Store) -> None:
    theirs = queued_by_another(store)
    content = (theirs.folder / "job.json").read_bytes()
    (theirs.folder / "job.json").unlink()
    (theirs.folder / "job.json").write_bytes(content)
    assert open_job(theirs.folder).uid is None


def test_a_link_is_no_job(store: Store, tmp_path: Path) -> None:
    mine = create_job(store, SPEC, queued=True)
    elsewhere = tmp_path / "elsewhere"
    shutil.move(mine.folder, elsewhere)
    mine.folder.symlink_to(elsewhere)
    with pytest.raises(StoreError, match="no job in"):
        open_job(mine.folder)
    mine.folder.unlink()
    shutil.move(elsewhere, mine.folder)
    os.rename(mine.folder / "job.json", tmp_path / "job.json")
    (mine.folder / "job.json").symlink_to(tmp_path / "job.json")
    with pytest.raises(StoreError, match="no job in"):
        open_job(mine.folder)
    assert job_states(store) == []


def test_what_a_worker_writes_never_follows_a_link(store: Store, tmp_path: Path) -> None:
    mine = create_job(store, SPEC)
    for name in ("log.jsonl", "stderr.txt", "stop"):
        (mine.folder / name).symlink_to(tmp_path / name)
    with pytest.raises(StoreError):
        mine.log(ProblemOccurred(Fault("in vain")))
    with pytest.raises(StoreError):
        mine.open_errors()
    with pytest.raises(StoreError):
        request_stop(mine)
    assert list(tmp_path.iterdir()) == []


def test_pipes_in_a_jobs_folder_keep_nobody_waiting(store: Store) -> None:
    mine = create_job(store, SPEC, queued=True)
    for name in ("heartbeat.json", "stderr.txt", "log.jsonl"):
        os.mkfifo(mine.folder / name)
    (state,) = job_states(store)
    assert state.state == "queued"
    (mine.folder / "job.json").unlink()
    os.mkfifo(mine.folder / "job.json")
    assert job_states(store) == []


@pytest.mark.parametrize("umask", [0o000, 0o002, 0o022, 0o077])
def test_nobody_else_can_write_into_a_job_and_whoever_may_read_the_cache_can_look(store: Store, umask: int) -> None:
    before = os.umask(umask)
    try:
        job = create_job(store, SPEC, queued=True)
        job.heartbeat(Report(done=1))
    finally:
        os.umask(before)
    assert job.folder.stat().st_mode & 0o777 == 0o755 & ~umask
    assert (job.folder / "job.json").stat().st_mode & 0o777 == 0o644 & ~umask


def test_what_is_stored_has_the_modes_of_the_umask_and_the_group_of_the_folder(store: Store) -> None:
    (store.root / "jobs").chmod(0o2777)
    if os.geteuid() == 0:
        os.chown(store.root / "jobs", -1, OTHER)
        (store.root / "jobs").chmod(0o2777)
    before = os.umask(0o002)
    try:
        job = create_job(store, SPEC)
        job.heartbeat(Report(done=1))
        assert Leases(store.root, "me").claim("batch")
    finally:
        os.umask(before)
    (lease,) = (store.root / "leases").iterdir()
    assert lease.stat().st_mode & 0o777 == 0o664
    assert json.loads(lease.read_text())["key"] == "batch"
    assert job.folder.stat().st_gid == (store.root / "jobs").stat().st_gid
