"""`streamscope compute`: optimises what is missing and measures it."""

from __future__ import annotations

import json
import re
import socket
from contextlib import suppress
from dataclasses import asdict

import click

from streamscope.core.errors import Fault, StoreError, StreamscopeError, UsageError
from streamscope.core.jobs.deciding import MOST_SEEDS, next_request, spent
from streamscope.core.jobs.plan import Request, missing, wanted_fzs
from streamscope.core.model.blocks import TENSORS, ModelInfo
from streamscope.core.model.device_names import check_devices
from streamscope.core.model.recipe import Objective
from streamscope.core.model.spec import FORMER_DEMO
from streamscope.core.store import FZSet, JobSpec, Store, stored_spec
from streamscope.core.store.jobs.events import JobEnded, Report, write_event
from streamscope.core.table.frame import build_frame, summarise
from streamscope.tui.cli.lines import say
from streamscope.tui.cli.loading import load
from streamscope.tui.cli.options import Given, objective_option, set_options
from streamscope.tui.cli.running import run_visibly
from streamscope.tui.cli.selection import Selection, selection_options

LISTENING_SECONDS = 5.0
"""How long a scheduler's host gets to take a connection."""


@click.command("compute")
@click.option(
    "--tensor",
    "tensors",
    metavar="LIST",
    default=",".join(TENSORS),
    show_default=True,
    help="Which FZs: of in, block, out. M and the scale metric need in and block.",
)
@click.option(
    "--batch",
    type=int,
    metavar="N",
    help="Channels optimised together.  [default: on a CPU 16, or 64 of small images; what fits on CUDA]",
)
@click.option(
    "--devices",
    metavar="LIST",
    help="One worker process for each: CUDA indices such as 0,1, or cpu,cpu to divide a CPU's cores.  "
    "[default: every CUDA device, where --device is auto]",
)
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Compute on the Dask cluster of this scheduler, tcp://HOST:8786 or, encrypted and authenticated by the "
    "certificates in your Dask configuration, tls://HOST:8786; its workers choose by --device too. Name only one "
    "that you trust: Dask lets whoever runs a scheduler run code here.",
)
@objective_option
@click.option(
    "--detach",
    is_flag=True,
    help="Start a job that goes on after this command and a dropped connection; the app shows and stops it.",
)
@click.option(
    "--decide",
    is_flag=True,
    help="Then go on with further seeds for channels whose verdict is undecided, until it is settled or a channel has "
    "--most-seeds.",
)
@click.option(
    "--updates",
    is_flag=True,
    help="With --decide: also where it is undecided whether a channel overwrites, mixes or skips.",
)
@click.option(
    "--most-seeds",
    type=click.IntRange(min=2),
    default=MOST_SEEDS,
    show_default=True,
    metavar="N",
    help="FZ seeds of one channel that --decide may come to.",
)
@selection_options
@set_options
def command(
    given: Given,
    selection: Selection,
    tensors: str,
    batch: int | None,
    devices: str | None,
    scheduler: str | None,
    objective: Objective,
    detach: bool,
    decide: bool,
    updates: bool,
    most_seeds: int,
) -> int:
    """Optimise the feature visualizations that are missing, and measure them.

    Without --block every block but the first is computed: the input of that one (1.0) is the stem's max pool, where
    gradients are mostly zero, so that its FZs say little. --block 1.0 computes it.

    What is stored already is left alone, so a run that was killed goes on where it was. FZ(I) and FZ(B) come first: the
    table fills before FZ(O) exists. With --json every event is a line on stdout. Channel FZs are kept in a set of their
    own and never measured.

    \b
    streamscope compute --model demo
    streamscope compute --block 2.1 --block 3.0 --steps 512
    streamscope compute --block 2.1 --channels 0-31,108 --tensor in,block
    streamscope compute --block 2.1 --decide
    streamscope compute --devices 0,1
    streamscope compute --scheduler tcp://gpu-cluster:8786
    """
    given.check_writable()
    spec = given.spec
    if batch is not None and batch < 1:
        raise UsageError(f"batch must be 1 or more, not {batch}")
    wanted = [part.strip() for part in tensors.split(",")]
    unknown = [part for part in wanted if part not in TENSORS]
    if unknown:
        raise UsageError(f"unknown tensor {unknown[0]!r}; use {', '.join(TENSORS)}")
    named = check_devices(tuple(part.strip() for part in devices.split(","))) if devices else ()
    if named and (scheduler or given.device != "auto"):
        raise UsageError(f"--devices names this machine's, so it excludes {'--scheduler' if scheduler else '--device'}")
    if scheduler:
        _check_scheduler(scheduler)
    if updates and not decide:
        raise UsageError("--updates says what --decide is to settle; write both")
    if decide:
        _check_decidable(wanted, objective, detach)
    store = given.store()
    if stored_spec(store, spec) != spec:
        say(
            f"streamscope: the FZs of {spec.name} in {store.root} are of the network of versions up to 0.2 and stay as "
            f"they are (--model {FORMER_DEMO} reads them); computing today's, which {spec.name} is from now on",
            err=True,
        )
    known = store.recall(spec.text)
    if known is not None:
        # What can be wrong, and what there is to do, is found before seconds go into importing torch.
        request = _request(given, store, known, selection, wanted, batch or 1, objective)
        fzset = store.set(known, request.key)
        complete = next(missing(known, fzset, request), None) is None
        if complete and not (decide and next_request(store, known, request, most_seeds, updates)):
            _say_complete(given, known, fzset, request)
            if decide:
                _say_decided(given, known, fzset, request)
            return 0
        spec.check_computable()
        if detach:
            # Its worker chooses the batch that suits its devices.
            return _detach(given, request.job_spec(spec, given.device, named, scheduler, batch), scheduler)

    from streamscope.core.jobs.devices import shared_batch, worker_devices
    from streamscope.core.jobs.tasks import default_batch

    # What works is elsewhere where there are several devices or a cluster: here only the network's description counts.
    places = ("cpu",) if scheduler else worker_devices(given.device, named)
    network = load(spec, places[0] if len(places) == 1 else "cpu")
    if batch is None and not scheduler:
        alone = len(places) == 1
        batch = default_batch(network.info, network.device) if alone else shared_batch(network.info, places)
    request = _request(given, given.store(), network.info, selection, wanted, batch or 1, objective)
    # A cluster's workers say which batch suits them.
    job = request.job_spec(spec, given.device, named, scheduler, batch)
    if detach:
        return _detach(given, job, scheduler)
    store = Store.open(given.root, create=True)
    fzset = store.set(network.info, request.key)
    before = fzset.signature()
    code = run_visibly(store, job, network, given.as_json, scheduler)
    while decide and code == 0 and (more := next_request(store, network.info, request, most_seeds, updates)):
        if not given.as_json:
            count = sum(len(channels) for channels in more.channels.values())
            say(f"seed {more.key.seed}: {count} channel{'s' * (count != 1)} undecided", err=True)
        job = more.job_spec(spec, given.device, named, scheduler, batch)
        code = run_visibly(store, job, network, given.as_json, scheduler)
    # What failed at once has nothing to sum up, and what went wrong is to be read last.
    if code == 0 or fzset.signature() != before:
        if not given.as_json:
            _summarise(network.info, fzset, request)
        if decide:
            fzset.mark_completed("compute")
            _say_decided(given, network.info, fzset, request)
    return code


def _request(
    given: Given,
    store: Store,
    info: ModelInfo,
    selection: Selection,
    tensors: list[str],
    batch: int,
    objective: Objective,
) -> Request:
    key = given.new_key(info, objective)
    channels = selection.by_range(info)
    if selection.needs_table:
        fzset = given.stored_set(store, info)
        scan = given.stored_scan(store, fzset)
        frame = build_frame(info, fzset, selection.blocks, given.marks(info), scan)
        channels = selection.by_block(frame, info)
        if not any(channels.values()):
            raise UsageError("no channel is selected; nothing to compute")
    return Request.of(info, key, selection.blocks, tensors, batch, channels)


def _detach(given: Given, spec: JobSpec, scheduler: str | None) -> int:
    from streamscope.tui.data.job_control import Workers

    store = Store.open(given.root, create=True)
    job = Workers().start_on_cluster(store, spec, scheduler) if scheduler else Workers().start(store, spec)
    if given.as_json:
        click.echo(json.dumps({"job": job.id, "folder": str(job.folder)}))
    else:
        say(f"started job {job.id}")
    return 0


def _say_complete(given: Given, info: ModelInfo, fzset: FZSet, request: Request) -> None:
    """Nothing is missing. The set counts as completed anew, as by a job: reading commands take the last one."""
    with suppress(StoreError):
        # In a cache that can only be read it is as complete.
        fzset.mark_completed("compute")
    count = sum(len(channels) for channels in wanted_fzs(info, request).values())
    if given.as_json:
        click.echo(write_event(JobEnded("done", Fault("nothing is missing"), Report(done=count, total=count))))
        return
    measured = " and measured" if request.key.objective == "neuron" else ""
    say(f"nothing is missing: {count} FZs are stored{measured} ({request.key})")
    _summarise(info, fzset, request)


def _check_decidable(tensors: list[str], objective: Objective, detach: bool) -> None:
    """Raises UsageError where --decide has nothing to decide by, or nobody to wait for what it finds."""
    if objective == "channel":
        raise UsageError("--decide is about verdicts, which channel FZs do not have; leave out one of the two")
    if not {"in", "block"} <= set(tensors):
        raise UsageError(f"--decide needs FZ(I) and FZ(B): name in and block with --tensor, not {','.join(tensors)}")
    if detach:
        raise UsageError("--decide chooses channels by what it has found, so it cannot run detached; use tmux or nohup")


def _say_decided(given: Given, info: ModelInfo, fzset: FZSet, request: Request) -> None:
    found = spent(info, fzset, request)
    if given.as_json:
        click.echo(json.dumps({"event": "decided", **asdict(found)}))
        return
    say(
        f"of {found.channels} channels {found.yes} are scale invariant, {found.no} are not and {found.undecided} are "
        f"undecided, by {found.seeds:.2f} seeds a channel ({found.seeds / 5:.0%} of five for every channel)"
    )


def _check_scheduler(address: str) -> None:
    """Whether anybody listens at an address, before the network is loaded for it. Raises StreamscopeError.

    What is no address of a host and port is left to Dask to judge.
    """
    found = re.fullmatch(r"(?:tcp|tls)://(\[[0-9a-fA-F:]+\]|[^:/]+):(\d{1,5})", address)
    if found is None:
        return
    try:
        socket.create_connection((found[1].strip("[]"), int(found[2])), LISTENING_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise StreamscopeError(
            f"no Dask scheduler answers at {address} ({getattr(error, 'strerror', None) or error}); "
            "start one with 'dask scheduler'"
        ) from error


def _summarise(info: ModelInfo, fzset: FZSet, request: Request) -> None:
    if request.key.objective == "channel":
        for target, channels in wanted_fzs(info, request).items():
            say(f"{target}: {len(channels & fzset.fzs(target).keys())} of {len(channels)} channel FZs stored")
        return
    for block, summary in summarise(build_frame(info, fzset, request.blocks)).items():
        if not summary.has_stream:
            say(
                f"{block}: FZs of {summary.computed} of {summary.channels} channels; {info.block(block).not_applicable}"
            )
            continue
        say(
            f"{block}: {summary.computed} of {summary.channels} channels computed; {summary.skip} skip, "
            f"{summary.mix} mix, {summary.overwrite} overwrite, {summary.undefined} undefined; "
            f"{summary.scale_invariant} scale invariant"
        )
