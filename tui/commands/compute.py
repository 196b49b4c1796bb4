"""`streamscope compute`: optimises what is missing and measures it."""

from __future__ import annotations

import json

import click

from core.blocks import TENSORS, ModelInfo
from core.errors import UsageError
from core.plan import Request, wanted_fzs
from core.recipe import Objective
from core.store import FZSet, Store
from core.table import build_frame, summarise
from tui.given import Given, objective_option, set_options
from tui.progress import download_progress
from tui.running import run_visibly
from tui.selection import Selection, selection_options


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
    help="Compute on the Dask cluster of this scheduler, tcp://HOST:8786; its workers choose by --device too.",
)
@objective_option
@click.option(
    "--detach",
    is_flag=True,
    help="Start a job that goes on after this command and a dropped connection; the app shows and stops it.",
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
) -> int:
    """Optimise the feature visualizations that are missing, and measure them.

    What is stored already is left alone, so a run that was killed goes on where it was. FZ(I) and FZ(B) come first: the
    table fills before FZ(O) exists. With --json every event is a line on stdout. Channel FZs are kept in a set of their
    own and never measured.

    \b
    streamscope compute --model demo
    streamscope compute --block 2.1 --block 3.0 --steps 512
    streamscope compute --block 2.1 --channels 0-31,108 --tensor in,block
    streamscope compute --devices 0,1
    streamscope compute --scheduler tcp://gpu-cluster:8786
    """
    spec = given.spec
    if batch is not None and batch < 1:
        raise UsageError(f"batch must be 1 or more, not {batch}")
    wanted = [part.strip() for part in tensors.split(",")]
    unknown = [part for part in wanted if part not in TENSORS]
    if unknown:
        raise UsageError(f"unknown tensor {unknown[0]!r}; use {', '.join(TENSORS)}")
    named = tuple(part.strip() for part in devices.split(",")) if devices else ()
    if named and (scheduler or given.device != "auto"):
        raise UsageError(f"--devices names this machine's, so it excludes {'--scheduler' if scheduler else '--device'}")
    known = given.store().recall(spec.text)
    if known is not None:
        # Everything that can be wrong is found before seconds go into loading the weights.
        _request(given, given.store(), known, selection, wanted, batch or 1, objective)

    from core.batch import default_batch
    from core.devices import shared_batch, worker_devices
    from core.model import load_network

    # What works is elsewhere where there are several devices or a cluster: here only the network's description counts.
    places = ("cpu",) if scheduler else worker_devices(given.device, named)
    with download_progress(f"downloading {spec.name}") as progress:
        network = load_network(spec, places[0] if len(places) == 1 else "cpu", progress)
    if batch is None and not scheduler:
        alone = len(places) == 1
        batch = default_batch(network.info, network.device) if alone else shared_batch(network.info, places)
    request = _request(given, given.store(), network.info, selection, wanted, batch or 1, objective)
    store = Store.open(given.root, create=True)
    asked = {
        "model": spec.name,
        "weights": str(spec.weights.resolve()) if spec.weights else None,
        "device": given.device,
        **({"devices": list(places)} if named else {}),
        **({"scheduler": scheduler} if scheduler else {}),
        **request.to_json(),
        # A cluster's workers say what suits them.
        "batch": batch,
    }
    if detach:
        from tui.job_control import Workers

        job = Workers().start(store, asked)
        click.echo(json.dumps({"job": job.id, "folder": str(job.folder)}) if given.as_json else f"started job {job.id}")
        return 0
    code = run_visibly(store, asked, network, given.as_json)
    if not given.as_json:
        _summarise(network.info, store.set(network.info, request.key), request)
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
        fzset, scan = given.stored_set(store, info), given.stored_scan(store, info)
        frame = build_frame(info, fzset, selection.blocks, given.marks(info), scan)
        channels = selection.by_block(frame, info)
        if not any(channels.values()):
            raise UsageError("no channel is selected; nothing to compute")
    return Request.of(info, key, selection.blocks, tensors, batch, channels)


def _summarise(info: ModelInfo, fzset: FZSet, request: Request) -> None:
    if request.key.objective == "channel":
        for target, channels in wanted_fzs(info, request).items():
            click.echo(f"{target}: {len(channels & fzset.fzs(target).keys())} of {len(channels)} channel FZs stored")
        return
    for block, summary in summarise(build_frame(info, fzset, request.blocks)).items():
        click.echo(
            f"{block}: {summary.computed} of {summary.channels} channels computed; {summary.skip} skip, "
            f"{summary.mix} mix, {summary.overwrite} overwrite, {summary.undefined} undefined; "
            f"{summary.scale_invariant} scale invariant"
        )
