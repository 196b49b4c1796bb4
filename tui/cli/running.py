"""Does a job in this process, for a command that waits for it: draws its bar, tells what went wrong."""

from __future__ import annotations

import signal
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from streamscope.core.store import JobSpec, Store, create_job
from streamscope.core.store.jobs.events import Event, JobEnded, ProblemOccurred, write_event
from streamscope.tui.advice import worded_fault
from streamscope.tui.cli.as_job import job_name
from streamscope.tui.cli.lines import say
from streamscope.tui.cli.progress import job_progress

if TYPE_CHECKING:
    from streamscope.core.engine.network import Network


def run_visibly(
    store: Store, spec: JobSpec, network: Network | None, as_json: bool = False, scheduler: str | None = None
) -> int:
    """Creates a job of the store and does it to its end; returns its exit code.

    Problems become lines on stderr; with `as_json` every event is a line on stdout. `network` spares loading what the
    caller has loaded for this job; `scheduler` is the Dask scheduler that the user named. Raises StoreError when the
    job cannot be created.
    """
    from streamscope.core.jobs.worker import run_job

    job = create_job(store, replace(spec, part_of=job_name()))
    # A polite kill ends like Ctrl-C: leases are given back and the job says that it was stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    problems: list[str] = []
    with job_progress() as draw:

        def tell(event: Event) -> None:
            draw(event)
            match event:
                case ProblemOccurred(fault) | JobEnded("failed" | "stopped", fault):
                    problems.append(worded_fault(fault))
            if as_json:
                click.echo(write_event(event))

        code = run_job(store, job, tell, network, scheduler)
    for line in dict.fromkeys(problems):
        say(f"streamscope: {line}", err=True)
    return code
