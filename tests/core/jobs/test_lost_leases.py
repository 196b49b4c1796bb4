"""A lease is kept while its work takes long, and what another took over is left to it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event as Flag

import pytest

from streamscope.core.engine.network import Network, load_network
from streamscope.core.jobs.batch_loop import LocalRun
from streamscope.core.jobs.plan import Request, Task
from streamscope.core.jobs.queue_worker import work_off
from streamscope.core.jobs.run import LeaseLostError
from streamscope.core.jobs.worker import run_job
from streamscope.core.model.spec import ModelSpec
from streamscope.core.store import Job, JobSpec, Leases, Store, create_job, kept, own_queue, waiting
from streamscope.core.store.jobs.events import BatchDone, BatchLost, Event, WaitStarted, decode_event, encode_event
from tests.support.leases import KEEPER, lease_file, lease_files, make_old, take_over
from tests.support.optional import present
from tests.support.waiting import wait_until

SPEC = JobSpec("demo", device="cpu", steps=8, blocks=("1.1",), tensors=("in", "block"), batch=8)


@pytest.fixture(scope="module")
def network() -> Network:
    return load_network(ModelSpec("demo"), "cpu")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "cache", create=True)


def test_leases_are_renewed_for_as_long_as_they_are_kept_and_given_back_then(store: Store) -> None:
    leases = Leases(store.root, "ours")
    assert leases.claim("batch")
    (path,) = lease_files(store)
    beats: list[float] = []
    with kept(leases, 0.01, lambda: beats.append(time.monotonic())):
        old = make_old(path)
        wait_until(lambda: path.stat().st_mtime > old + 40, "a renewal")
        wait_until(lambda: len(beats) > 1, "two beats")
        take_over(path)
        wait_until(lambda: not leases.held, "the loss to be noticed")
    assert lease_files(store) == [path], "what is another's is not given back"


class TakenOverMidway(LocalRun):
    """Another takes the first batch over after its third step."""

    taken = ""

    def stepped(self, task: Task, step: int, steps: int) -> None:
        super().stepped(task, step, steps)
        with self.changed:
            if step == 3 and not self.taken:
                self.taken = task.lease(self.info, self.request.key)
                take_over(lease_file(self.store, self.taken))
                self.leases.renew()


def test_a_batch_that_another_took_over_is_left_to_it_and_the_rest_goes_on(network: Network, store: Store) -> None:
    events: list[Event] = []

    def tell(event: Event) -> None:
        events.append(event)
        if isinstance(event, WaitStarted):
            lease_file(store, run.taken).unlink()

    run = TakenOverMidway(store, create_job(store, SPEC), network, Request.of_job(network.info, SPEC, 8), tell)
    run.run()
    (lost,) = [event for event in events if isinstance(event, BatchLost)]
    assert str(lost) == f"{lost.batch}: taken over by {KEEPER}, and left to it"
    done = [event for event in events if isinstance(event, BatchDone)]
    names = [f"{e.block} {e.tensor}, channels {e.channels[0]}-{e.channels[1]}" for e in done if e.kind == "fz"]
    # In its turn it would have been the first; it was done once its holder was gone, after all else.
    assert (names[0] != lost.batch, names.count(lost.batch), run.problems) == (True, 1, [])
    assert decode_event(encode_event(lost)) == lost


def under_way(network: Network, store: Store, spec: JobSpec = SPEC) -> tuple[LocalRun, Task, list[Event]]:
    """A run, a task that it claimed, and what it says."""
    events: list[Event] = []
    job = create_job(store, spec)
    run = LocalRun(store, job, network, Request.of_job(network.info, spec, 8), events.append)
    run.begin()
    return run, present(run.claim()[0]), events


def test_what_was_computed_of_a_lost_batch_is_not_stored_over_the_others(network: Network, store: Store) -> None:
    run, task, events = under_way(network, store)
    (path,) = lease_files(store)
    take_over(path)
    run.leases.renew()
    run.commit(task, {}, BatchDone("fz", "1.1", "in", 0, 8, (0, 7), 1.0))
    assert events[-1] == BatchLost("1.1 in, channels 0-7", KEEPER)
    assert run.is_missing(task)
    assert not run.problems


def test_a_lease_that_was_only_removed_is_taken_again(network: Network, store: Store) -> None:
    run, task, _ = under_way(network, store)
    (path,) = lease_files(store)
    path.unlink()
    run.leases.renew()
    assert not run.leases.held
    run.check_lease(task)
    assert lease_files(store) == [path]


def test_a_batch_that_another_did_meanwhile_is_not_done_again(network: Network, store: Store) -> None:
    short = replace(SPEC, steps=4, tensors=("in",))
    run, task, _ = under_way(network, store, short)
    run.leases.release_all()
    assert run_job(store, create_job(store, short), lambda event: None, network) == 0
    with pytest.raises(LeaseLostError, match="another has done it meanwhile"):
        run.check_lease(task)


def test_what_takes_long_without_a_step_keeps_its_lease_and_its_heartbeat(network: Network, store: Store) -> None:
    watched: list[str] = []

    class SlowToMeasure(LocalRun):
        def _compute(self, task: Task, device_free: Callable[[], None]) -> object:  # type: ignore[override]  # as it is
            if task.kind == "measure" and not watched:
                watched.append(task.tensor)
                heartbeat = self.job.heartbeat_at()  # type: ignore[attr-defined]  # a job
                paths = lease_files(self.store)
                old = {path: make_old(path) for path in paths}
                wait_until(lambda: all(p.stat().st_mtime > old[p] + 40 for p in paths if p.exists()), "a renewal")
                wait_until(lambda: self.job.heartbeat_at() != heartbeat, "a heartbeat")  # type: ignore[attr-defined]
            return super()._compute(task, device_free)

    short = replace(SPEC, steps=2, tensors=("in",))
    job = create_job(store, short)
    SlowToMeasure(store, job, network, Request.of_job(network.info, short, 16), lambda event: None).run()
    assert watched == ["in"]


def test_a_queue_worker_whose_queue_was_taken_over_ends_after_its_job(store: Store) -> None:
    jobs = [create_job(store, SPEC, queued=True) for _ in range(2)]
    other = Leases(store.root, "another worker")
    queue = own_queue("cpu")
    ran: list[str] = []

    def run(store: Store, job: Job) -> None:
        ran.append(job.id)
        (path,) = lease_files(store)
        path.unlink()
        assert other.claim(queue.lease)
        job.finish("done")

    assert work_off(store, "cpu", run, Flag()) == 1
    assert ran == [jobs[0].id]
    assert [state.job.id for state in waiting(store, queue)] == [jobs[1].id]
    assert other.held == {queue.lease}
    assert lease_files(store), "it is not given back by who lost it"
