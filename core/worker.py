"""A process that loads a network and works: describes it, or does a job of the store. Speaks JSON lines on stdout.

python -m core.worker describe --cache DIR --model NAME [--weights FILE]
python -m core.worker run --cache DIR --job ID
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.allocator import keep_freed_memory
from core.blocks import ModelInfo
from core.errors import StreamscopeError
from core.plan import Request
from core.spec import ModelSpec
from core.store import Job, Store, open_job

if TYPE_CHECKING:
    from core.model import Network


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m core.worker", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    describing = commands.add_parser("describe")
    describing.add_argument("--model", required=True)
    describing.add_argument("--weights", type=Path)
    running = commands.add_parser("run")
    running.add_argument("--job", required=True)
    for command in (describing, running):
        command.add_argument("--cache", type=Path, required=True)
    given = parser.parse_args(arguments)
    try:
        store = Store.open(given.cache, create=True)
        if given.command == "describe":
            info = register_model(store, ModelSpec(given.model, given.weights), progress=_download_progress)
            tell({"event": "model", "fingerprint": info.fingerprint})
            return 0
        signal.signal(signal.SIGTERM, _raise_interrupt)
        return run_job(store, open_job(store.root / "jobs" / given.job), tell)
    except StreamscopeError as error:
        tell({"event": "error", "message": str(error)})
        print(error, file=sys.stderr)
        return error.exit_code


def register_model(store: Store, spec: ModelSpec, progress: Callable[[int, int], None] | None = None) -> ModelInfo:
    """Loads a model on the CPU and notes in the store what it is. Raises StreamscopeError."""
    from core.model import load_network

    network = load_network(spec, "cpu", progress)
    store.register(network.info)
    store.remember(spec.text, network.info.fingerprint)
    return network.info


def run_job(store: Store, job: Job, tell: Callable[[dict[str, Any]], None], network: Network | None = None) -> int:
    """Does a job to its end and says in its folder how it ended; 0 when all that was asked for is stored.

    `network` spares loading what the caller has loaded for this job.
    """
    from core.batch import default_batch
    from core.model import load_network
    from core.work import JobRun, JobStoppedError

    run = None
    keep_freed_memory()
    try:
        asked = job.asked
        spec = ModelSpec(asked["model"], Path(asked["weights"]) if asked.get("weights") else None)
        if network is None:
            job.heartbeat(message="loading the weights")
            network = load_network(spec, asked.get("device") or "auto", _download_progress)
        store.register(network.info)
        store.remember(spec.text, network.info.fingerprint)
        request = Request.from_json(network.info, asked, default_batch(network.info, network.device))
        run = JobRun(store, job, network, request, tell)
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
