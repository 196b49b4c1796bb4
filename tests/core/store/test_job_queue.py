"""Jobs of one device go one after another, in an order that anybody may change and nobody's end loses."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest

from streamscope.core.errors import StoreError
from streamscope.core.jobs.queue_worker import work_off
from streamscope.core.store import (
    Job,
    JobSpec,
    Leases,
    Store,
    create_job,
    device_queue,
    hold,
    job_state,
    job_states,
    move,
    own_queue,
    queue_of,
    request_stop,
    requeue,
    waiting,
)
from streamscope.core.store.jobs.events import LastWord, Report
from tests.support.stores import python


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path, create=True)


def queued(store: Store, device: str = "cpu") -> Job:
    return create_job(store, JobSpec("demo", device=device), queued=True)


def order(store: Store, device: str = "cpu") -> list[str]:
    return [state.job.id for state in waiting(store, own_queue(device))]


def state_of(store: Store, job: Job) -> str:
    return job_state(store, job).state


def ends(how: LastWord, ran: list[str] | None = None) -> Callable[[Store, Job], None]:
    def run(store: Store, job: Job) -> None:
        if ran is not None:
            ran.append(job.id)
        job.finish(how)

    return run


def test_a_queued_job_waits_however_long_it_takes(store: Store) -> None:
    job = queued(store)
    made = (job.folder / "job.json").stat().st_mtime
    os.utime(job.folder / "job.json", (made - 9999, made - 9999))
    assert state_of(store, job) == "queued"


def test_jobs_go_in_the_order_they_were_queued_in_each_device_by_itself(store: Store) -> None:
    first, other, second = queued(store), queued(store, "cuda:1"), queued(store)
    assert order(store) == [first.id, second.id]
    assert order(store, "cuda:1") == [other.id]
    ran: list[str] = []
    assert work_off(store, "cpu", ends("done", ran), Event()) == 2
    assert ran == [first.id, second.id]
    assert state_of(store, other) == "queued"


def test_auto_waits_with_the_device_that_it_will_choose() -> None:
    assert device_queue("auto") in ("cpu", "cuda")
    assert device_queue("cuda:0") == device_queue("cuda") == "cuda"
    assert device_queue("cuda:1") == "cuda:1"


def test_a_job_moves_up_and_down_and_stays_there_for_others(store: Store) -> None:
    a, b, c = (queued(store) for _ in range(3))
    assert move(store, c, -1)
    assert order(store) == [a.id, c.id, b.id]
    assert move(store, c, -1)
    assert order(Store(store.root)) == [c.id, a.id, b.id]
    assert not move(store, c, -1)
    assert move(store, c, 1)
    assert move(store, c, 1)
    assert order(store) == [a.id, b.id, c.id]
    assert not move(store, c, 1)


def test_a_paused_job_lets_the_others_pass_and_keeps_its_place(store: Store) -> None:
    a, b = queued(store), queued(store)
    hold(a)
    assert (state_of(store, a), order(store)) == ("paused", [b.id])
    requeue(store, a)
    assert order(store) == [a.id, b.id]


def test_a_running_job_that_is_paused_is_left_by_its_worker_and_taken_up_again(store: Store) -> None:
    job = queued(store)
    job.heartbeat(Report(done=1, total=4))
    hold(job)
    assert job.stop_requested()
    assert state_of(store, job) == "stopping"
    with pytest.raises(StoreError, match="is stopping; wait"):
        requeue(store, job)
    job.finish("stopped", report=Report(done=2, total=4))
    assert state_of(store, job) == "paused"
    requeue(store, job)
    assert not job.stop_requested()
    assert order(store) == [job.id]


def test_a_cancelled_job_never_runs(store: Store) -> None:
    job = queued(store)
    request_stop(job)
    assert state_of(store, job) == "stopped"
    assert work_off(store, "cpu", ends("done"), Event()) == 0


@pytest.mark.parametrize("how", ["failed", "stopped"])
def test_what_failed_or_was_stopped_can_be_queued_again(store: Store, how: LastWord) -> None:
    job = create_job(store, JobSpec("demo", device="cpu"))
    job.finish(how)
    requeue(store, job)
    assert order(store) == [job.id]


def test_while_one_process_works_a_queue_off_another_leaves_at_once(store: Store) -> None:
    job = queued(store)
    holder = python(
        "import sys\nfrom pathlib import Path\nfrom streamscope.core.store import Leases\n"
        "assert Leases(Path(sys.argv[1]), 'other').claim(sys.argv[2])\nprint('held', flush=True)\nsys.stdin.read()",
        store.root,
        queue_of(job).lease,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    assert work_off(store, "cpu", ends("done"), Event()) == 0
    holder.communicate()
    assert work_off(store, "cpu", ends("done"), Event()) == 1


def test_a_job_queued_while_another_runs_is_run_after_it_by_the_same_worker(store: Store) -> None:
    queued(store)
    ran: list[str] = []

    def run(store: Store, job: Job) -> None:
        if not ran:
            queued(store)
        ends("done", ran)(store, job)

    assert work_off(store, "cpu", run, Event()) == 2
    assert Leases(store.root, "me").claim(queue_of(job_states(store)[0].job).lease)


def test_a_job_that_cannot_even_say_that_it_failed_does_not_run_for_ever(store: Store) -> None:
    queued(store)
    with pytest.raises(StoreError, match="failed to start twice"):
        work_off(store, "cpu", lambda store, job: None, Event())


def test_a_worker_that_is_told_to_end_leaves_the_rest_waiting(store: Store) -> None:
    first, second = queued(store), queued(store)
    ending = Event()

    def run(store: Store, job: Job) -> None:
        job.finish("stopped")
        ending.set()

    assert work_off(store, "cpu", run, ending) == 1
    assert (state_of(store, first), state_of(store, second)) == ("stopped", "queued")


def test_a_worker_says_what_it_computes_on_and_what_memory_it_holds(store: Store) -> None:
    job = queued(store)
    assert job_state(store, job).device == "cpu"
    job.heartbeat(Report(done=1), device="cuda:0")
    state = job_state(store, job)
    assert state.device == "cuda:0"
    assert state.memory is not None
    assert state.memory > 1e6
