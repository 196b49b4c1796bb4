"""A process that loads a network and works: describes it, or does a job of the store. Speaks JSON lines on stdout.

describe --cache DIR --model NAME [--weights FILE]
run --cache DIR --job ID
join --cache DIR --job ID --device DEVICE --batch N --threads N     one of a crew's processes
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from streamscope.core.engine.allocator import keep_freed_memory
from streamscope.core.errors import StreamscopeError
from streamscope.core.jobs.plan import Request
from streamscope.core.jobs.priority import keep_niceness
from streamscope.core.model.blocks import ModelInfo
from streamscope.core.model.spec import ModelSpec
from streamscope.core.store import Job, Store, open_job

if TYPE_CHECKING:
    from streamscope.core.engine.network import Network
    from streamscope.core.jobs.progress import Progress
    from streamscope.core.jobs.work import Tell


class Run(Protocol):
    """Whatever does a job to its end; it raises what ends the whole job, and keeps what went wrong in one batch."""

    problems: list[str]
    progress: Progress

    def run(self) -> None: ...


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m streamscope.core.jobs.worker", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    describing = commands.add_parser("describe")
    describing.add_argument("--model", required=True)
    describing.add_argument("--weights", type=Path)
    running = commands.add_parser("run")
    running.add_argument("--job", required=True)
    joining = commands.add_parser("join")
    joining.add_argument("--job", required=True)
    joining.add_argument("--device", required=True)
    joining.add_argument("--batch", type=int, required=True)
    joining.add_argument("--threads", type=int, required=True)
    for command in (describing, running, joining):
        command.add_argument("--cache", type=Path, required=True)
    given = parser.parse_args(arguments)
    try:
        store = Store.open(given.cache, create=True)
        if given.command == "describe":
            info = register_model(store, ModelSpec(given.model, given.weights), progress=_download_progress)
            tell({"event": "model", "fingerprint": info.fingerprint})
            return 0
        signal.signal(signal.SIGTERM, _raise_interrupt)
        if given.command == "join":
            keep_niceness()
            job = open_job(store.root / "jobs" / given.job)
            return join_job(store, job, given.device, given.batch, given.threads)
        return run_job(store, open_job(store.root / "jobs" / given.job), tell)
    except StreamscopeError as error:
        tell({"event": "error", "message": str(error)})
        print(error, file=sys.stderr)
        return error.exit_code


def register_model(store: Store, spec: ModelSpec, progress: Callable[[int, int], None] | None = None) -> ModelInfo:
    """Loads a model on the CPU and notes in the store what it is. Raises StreamscopeError."""
    from streamscope.core.engine.network import load_network

    network = load_network(spec, "cpu", progress)
    store.register(network.info)
    store.remember(spec.text, network.info.fingerprint)
    return network.info


def run_job(store: Store, job: Job, tell: Callable[[dict[str, Any]], None], network: Network | None = None) -> int:
    """Does a job to its end and says in its folder how it ended; 0 when all that was asked for is stored.

    `network` spares loading what the caller has loaded for this job.
    """
    from streamscope.core.jobs.work import JobStoppedError

    run = None
    keep_freed_memory()
    try:
        run = _open_run(store, job, tell, network)
        run.run()
    except (JobStoppedError, KeyboardInterrupt):
        return _end(job, run, tell, "stopped", "stopped; what is missing can be computed later")
    except StreamscopeError as error:
        return _end(job, run, tell, "failed", str(error))
    except Exception as error:
        _end(job, run, tell, "failed", f"{type(error).__name__}: {error}")
        raise
    if run.problems:
        more = f" (and {len(run.problems) - 1} more)" if len(run.problems) > 1 else ""
        return _end(job, run, tell, "failed", run.problems[0] + more)
    return _end(job, run, tell, "done", "")


def _open_run(store: Store, job: Job, tell: Tell, network: Network | None) -> Run:
    """Whoever does a job, by what was asked for: a cluster, a process a device, or this process."""
    from streamscope.core.engine.network import load_network
    from streamscope.core.jobs.devices import shared_batch, threads_each, worker_devices
    from streamscope.core.jobs.tasks import default_batch
    from streamscope.core.jobs.work import JobRun

    asked = job.asked
    spec = spec_of(asked)
    scheduler = asked.get("scheduler")
    devices = ("cpu",) if scheduler else worker_devices(asked.get("device") or "auto", asked.get("devices") or ())
    if network is None:
        job.heartbeat(message="loading the weights")
        network = load_network(spec, devices[0] if len(devices) == 1 else "cpu", _download_progress)
    store.register(network.info)
    store.remember(spec.text, network.info.fingerprint)
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

        request = Request.from_json(network.info, asked, shared_batch(network.info, devices))
        return Crew(store, job, network.info, request, devices, threads_each(devices), tell)
    request = Request.from_json(network.info, asked, default_batch(network.info, network.device))
    return JobRun(store, job, network, request, tell)


def join_job(store: Store, job: Job, device: str, batch: int, threads: int) -> int:
    """Works on a job as one of several processes, until it is done, stopped, or whoever started us is gone."""
    import torch

    from streamscope.core.engine.network import load_network
    from streamscope.core.jobs.crew import Member
    from streamscope.core.jobs.work import JobRun, JobStoppedError

    keep_freed_memory()
    torch.set_num_threads(threads)
    try:
        network = load_network(spec_of(job.asked), device)
        if network.device.type == "cuda":
            torch.cuda.set_device(network.device)
        request = Request.from_json(network.info, {**job.asked, "batch": batch}, batch)
        run = JobRun(store, Member(job), network, request, tell)
        leave = partial(run.halt, JobStoppedError())
        threading.Thread(target=lambda: (sys.stdin.read(), leave()), daemon=True).start()
        run.run()
    except (JobStoppedError, KeyboardInterrupt):
        tell({"event": "ended", "state": "stopped", "message": ""})
        return 1
    except StreamscopeError as error:
        tell({"event": "ended", "state": "failed", "message": str(error)})
        return 1
    tell({"event": "ended", "state": "done", "message": ""})
    return 0


def spec_of(asked: Mapping[str, Any]) -> ModelSpec:
    """The model that a job is for."""
    return ModelSpec(asked["model"], Path(asked["weights"]) if asked.get("weights") else None)


def _end(job: Job, run: Any, tell: Callable[[dict[str, Any]], None], state: Any, message: str) -> int:
    report = run.progress.report(message) if run is not None and hasattr(run, "progress") else {}
    report.pop("message", None)
    event = {"event": state, "message": message, **report}
    job.finish(state, message, **report)
    tell(event)
    job.log(event)
    return 0 if state == "done" else 1


def tell(event: dict[str, Any]) -> None:
    print(json.dumps(event), flush=True)


def _download_progress(done: int, total: int) -> None:
    tell({"event": "download", "done": done, "total": total})


def _raise_interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
