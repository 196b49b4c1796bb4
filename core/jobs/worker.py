"""The worker process: loads a network, then describes it or does a job of the store. Prints its events as JSON lines.

It only chooses who does the job; how batches are done is in `batch_loop`, what is the same everywhere in `run`.

describe --cache DIR --model NAME [--weights FILE [--weights-entry NAME]] [--input-size N] [--resize N] […]
run --cache DIR --job ID [--scheduler ADDRESS]
join --cache DIR --job ID --device DEVICE --batch N --threads N --identity HEX     one of a crew's processes
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from streamscope.core.errors import NO_FAULT, ArchitectureError, Fault, SchedulerError, StreamscopeError
from streamscope.core.jobs.allocator import keep_freed_memory
from streamscope.core.jobs.plan import Request
from streamscope.core.jobs.priority import keep_niceness
from streamscope.core.jobs.pulse import Pulse
from streamscope.core.model.preprocessing import Changes, parse_colours
from streamscope.core.model.spec import ModelSpec
from streamscope.core.store import Job, Store, open_job
from streamscope.core.store.jobs.events import (
    DownloadProgressed,
    Event,
    JobEnded,
    LastWord,
    ModelRegistered,
    ProcessEnded,
    ProcessFailed,
    write_event,
)
from streamscope.core.store.layout import jobs_folder
from streamscope.core.watch import Watch

if TYPE_CHECKING:
    from streamscope.core.engine.network import Network
    from streamscope.core.jobs.run import Run, Tell


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m streamscope.core.jobs.worker", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    describing = commands.add_parser("describe")
    describing.add_argument("--model", required=True)
    describing.add_argument("--weights")
    describing.add_argument("--weights-entry", default="")
    for option in ("--input-size", "--resize"):
        describing.add_argument(option, type=int)
    describing.add_argument("--interpolation")
    for option in ("--mean", "--std"):
        describing.add_argument(option, type=partial(parse_colours, option=option))
    running = commands.add_parser("run")
    running.add_argument("--job", required=True)
    running.add_argument("--scheduler")
    joining = commands.add_parser("join")
    joining.add_argument("--job", required=True)
    joining.add_argument("--device", required=True)
    joining.add_argument("--batch", type=int, required=True)
    joining.add_argument("--threads", type=int, required=True)
    joining.add_argument("--identity", required=True)
    for command in (describing, running, joining):
        command.add_argument("--cache", type=Path, required=True)
    given = parser.parse_args(arguments)
    try:
        store = Store.open(given.cache, create=True)
        if given.command == "describe":
            said = Changes(given.input_size, given.resize, given.interpolation, given.mean, given.std)
            spec = ModelSpec.given(given.model, given.weights, given.weights_entry, said)
            network = register_model(store, spec, _download_progress)
            tell(ModelRegistered(network.info.identity, network.layout, network.warnings))
            return 0
        signal.signal(signal.SIGTERM, _raise_interrupt)
        if given.command == "join":
            keep_niceness()
            job = open_job(jobs_folder(store.root) / given.job)
            job.check_own("join")
            return join_job(store, job, given.device, given.batch, given.threads, given.identity)
        job = open_job(jobs_folder(store.root) / given.job)
        job.check_own("start")
        return run_job(store, job, tell, scheduler=given.scheduler)
    except StreamscopeError as error:
        tell(ProcessFailed(Fault.of(error)))
        print(error, file=sys.stderr)
        return error.exit_code


def register_model(store: Store, spec: ModelSpec, progress: Watch | None = None) -> Network:
    """Loads a model on the CPU and notes in the store what it is. Raises StreamscopeError."""
    from streamscope.core.engine.network import load_network

    network = load_network(spec, "cpu", progress)
    store.register(network.info)
    store.remember(spec.text, network.info.identity, network.layout, network.warnings)
    return network


def run_job(store: Store, job: Job, tell: Tell, network: Network | None = None, scheduler: str | None = None) -> int:
    """Does a job to its end and says in its folder how it ended; 0 when all that it requests is stored.

    `network` spares loading what the caller has loaded for this job. `scheduler` is the Dask scheduler whose cluster
    does it, as the user named it: one that stands in the job's record is not connected to.
    """
    run: Run | None = None
    keep_freed_memory()
    with Pulse(job, "starting: importing torch") as pulse:
        from streamscope.core.jobs.run import JobStoppedError

        def hear(event: Event) -> None:
            pulse.hear(event)
            tell(event)

        try:
            run = _open_run(store, job, pulse, hear, network, scheduler)
            run.run()
            state, fault = _outcome(run)
        except (JobStoppedError, KeyboardInterrupt):
            state, fault = "stopped", Fault("stopped; what is missing can be computed later")
        except StreamscopeError as error:
            state, fault = "failed", Fault.of(error)
        except Exception as error:
            pulse.stop()
            _end(job, run, tell, "failed", Fault(f"{type(error).__name__}: {error}"))
            raise
    return _end(job, run, tell, state, fault)


def _outcome(run: Run) -> tuple[LastWord, Fault]:
    if not run.problems:
        return "done", NO_FAULT
    first, more = run.problems[0], len(run.problems) - 1
    return "failed", replace(first, message=f"{first.message} (and {more} more)" if more else first.message)


def _open_run(store: Store, job: Job, pulse: Pulse, tell: Tell, network: Network | None, scheduler: str | None) -> Run:
    """Whoever does a job: the cluster of `scheduler`, else by its spec a process a device, or this process."""
    if job.spec.scheduler and scheduler is None:
        raise SchedulerError(f"the job was for a Dask cluster ({job.spec.scheduler}), and nobody has named one")
    from streamscope.core.engine.network import load_network
    from streamscope.core.jobs.batch_loop import LocalRun
    from streamscope.core.jobs.devices import shared_batch, threads_each, worker_devices
    from streamscope.core.jobs.tasks import check_sizes, default_batch

    spec = job.spec
    model = _model(job)
    devices = ("cpu",) if scheduler else worker_devices(spec.device, spec.devices)
    if network is None:
        pulse.say("loading the weights")
        network = load_network(model, devices[0] if len(devices) == 1 else "cpu", _download_progress)
    store.register(network.info)
    store.remember(model.text, network.info.identity, network.layout, network.warnings)
    check_sizes(network, Request.of_job(network.info, spec, 1))
    if scheduler:
        try:
            from streamscope.core.jobs.cluster.client import open_cluster_run
        except ModuleNotFoundError as error:
            raise StreamscopeError(
                f"a cluster needs Dask, which is not installed ({error.name}); install streamscope[cluster]"
            ) from error
        return open_cluster_run(store, job, network, scheduler, tell)
    if len(devices) > 1:
        from streamscope.core.jobs.crew import Crew

        request = Request.of_job(network.info, spec, shared_batch(network.info, devices))
        return Crew(store, job, network.info, request, devices, threads_each(devices), tell)
    request = Request.of_job(network.info, spec, default_batch(network.info, network.device))
    return LocalRun(store, job, network, request, tell)


def _model(job: Job) -> ModelSpec:
    """The model of a job. Code that is named in what somebody else wrote is never run.

    Raises ForeignJobError, and UsageError for a model that there is none of.
    """
    model = job.spec.model_spec
    if model.is_own:
        job.check_own("run the code of")
    return model


def join_job(store: Store, job: Job, device: str, batch: int, threads: int, identity: str) -> int:
    """Works on a job as one of several processes, until it is done, stopped, or whoever started us is gone.

    `identity` is that of the model as whoever started us knows it: what we load must be the same.
    """
    import torch

    from streamscope.core.engine.network import load_network
    from streamscope.core.jobs.batch_loop import LocalRun
    from streamscope.core.jobs.crew import Member
    from streamscope.core.jobs.run import JobStoppedError

    keep_freed_memory()
    torch.set_num_threads(threads)
    try:
        network = load_network(_model(job), device)
        if network.info.identity != identity:
            raise ArchitectureError(
                f"{network.info.name} is another network here than where the job was started ({identity[:12]} there, "
                f"{network.info.identity[:12]} here): its weights or its code changed, or are others each time"
            )
        if network.device.type == "cuda":
            torch.cuda.set_device(network.device)
        request = Request.of_job(network.info, replace(job.spec, batch=batch), batch)
        run = LocalRun(store, Member(job), network, request, tell)
        leave = partial(run.halt, JobStoppedError())
        threading.Thread(target=lambda: (sys.stdin.read(), leave()), daemon=True).start()
        run.run()
    except (JobStoppedError, KeyboardInterrupt):
        tell(ProcessEnded("stopped"))
        return 1
    except StreamscopeError as error:
        tell(ProcessEnded("failed", Fault.of(error)))
        return 1
    tell(ProcessEnded("done"))
    return 0


def _end(job: Job, run: Run | None, tell: Tell, state: LastWord, fault: Fault) -> int:
    report = run.tally.report(fault.message) if run is not None else None
    event = JobEnded(state, fault, report)
    job.finish(state, fault, report)
    tell(event)
    job.log(event)
    return 0 if state == "done" else 1


def tell(event: Event) -> None:
    print(write_event(event), flush=True)


def _download_progress(done: int, total: int) -> None:
    tell(DownloadProgressed(done, total))


def _raise_interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
