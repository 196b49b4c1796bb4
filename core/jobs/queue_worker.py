"""A process that works off the queue of one device, job after job, and ends when nothing waits any more.

python -m streamscope.core.jobs.queue_worker --cache DIR --device DEVICE

One is started with every job that is put into the queue: while another works the queue off, it ends at once.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Event

from streamscope.core.errors import Fault, StoreError, StreamscopeError
from streamscope.core.jobs.command import run_command
from streamscope.core.jobs.priority import give_way
from streamscope.core.store import FINISHED, Job, Leases, Store, device_queue, job_state, kept, own_queue, waiting
from streamscope.core.store.jobs.events import Report
from streamscope.core.store.jobs.spec import NO_DEVICE


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m streamscope.core.jobs.queue_worker", description=__doc__)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--device", default="auto")
    given = parser.parse_args(arguments)
    ending = Event()

    def end(*_: object) -> None:
        ending.set()
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)
    if device_queue(given.device) in ("cpu", NO_DEVICE):
        # Whoever queued it goes on working at this machine, often in the very app that shows how far it is.
        give_way()
    try:
        work_off(Store.open(given.cache, create=True), given.device, _run, ending)
    except KeyboardInterrupt:
        return 1
    except StreamscopeError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def work_off(store: Store, device: str, run: Callable[[Store, Job], object], ending: Event) -> int:
    """Runs the queued jobs of a device in turn until none waits or `ending` is set; how many it ran.

    Only those of this user: in a shared store others' wait for workers of their own. Runs none when another live
    process works this queue off, and no more when one took it over. Raises StoreError.
    """
    queue = own_queue(device)
    leases = Leases(store.root, f"queue worker {os.getpid()}")
    done = 0
    last: Job | None = None
    # A job that is queued just before the lease is given back would wait for ever, so the queue is looked at again.
    while waiting(store, queue) and not ending.is_set() and leases.claim_or_watch(queue.lease, ending.wait):
        with kept(leases):
            # Claimed again before every job: another may have taken the queue over.
            while (jobs := waiting(store, queue)) and not ending.is_set() and leases.claim(queue.lease):
                job = jobs[0].job
                if job == last:
                    raise StoreError(f"job {job.id} failed to start twice; see {job.errors}")
                run(store, job)
                last = job if job_state(store, job).state == "queued" else None
                done += 1
    return done


def _run(store: Store, job: Job) -> None:
    """Does one job; what this process writes about what went wrong lands in the job's own folder from now on."""
    with job.open_errors() as errors:
        os.dup2(errors.fileno(), sys.stderr.fileno())
    try:
        if job.spec.command:
            run_command(store, job)
            return
        job.heartbeat(Report(message="starting: importing torch"))
        # It takes seconds: a process that finds the queue taken ends before that.
        from streamscope.core.jobs.worker import run_job

        run_job(store, job, lambda event: None)
    except KeyboardInterrupt:
        raise
    except Exception as error:
        # It is said in the job's folder; the next job may do better.
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        if job_state(store, job).state not in FINISHED:
            job.finish("failed", Fault(f"{type(error).__name__}: {error}"))


if __name__ == "__main__":
    sys.exit(main())
