"""`streamscope bench`: what streamscope does on this machine, against torch-lucent in the same run."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streamscope.core.errors import UsageError
from streamscope.core.model.blocks import Target, parse_channels
from streamscope.core.model.recipe import PROTOCOLS
from streamscope.tui.cli.lines import say
from streamscope.tui.cli.loading import load
from streamscope.tui.cli.options import Given, device_options
from streamscope.tui.cli.progress import count_progress

if TYPE_CHECKING:
    from streamscope.core.engine.network import Network

STUDIED = ("1.1", "2.1", "3.1")
PARTS = {
    "speed": "FZs against torch-lucent in the same run",
    "shares": "where an image-step's time goes",
    "tensors": "every FZ target of the studied blocks, and what a whole set takes, by each protocol",
    "scan": "images a second of a scan",
    "quality": "the same channels optimised by both (an hour on two cores)",
    "workers": "throughput against worker processes, on the demo model",
    "store": "a made-up store of 100,000 FZs",
    "app": "key to repaint in the app while a job computes, and its start",
    "wire": "what the app sends over slow lines, and how far the screen is behind the keys (half an hour)",
}

HELP = f"""Measure what streamscope does on this machine: FZ speed against torch-lucent's render_vis, and more.

FZ speed is in milliseconds an image and step. Ours is as many batches at once as `compute` has here, Lucent's
one image; both take turns in rounds, and the figures are medians over them. The parts:

\b
{chr(10).join(f"{name:<8} {what}" for name, what in PARTS.items())}

\b
streamscope bench --weights resnet18.pth --out before.json
streamscope bench --parts store,app,workers --model demo
streamscope bench --compare before.json after.json
"""


@click.command("bench", help=HELP)
@click.option(
    "--block", "blocks", multiple=True, metavar="B", help=f"Blocks to measure.  [default: {', '.join(STUDIED)}]"
)
@click.option("--batch", type=click.IntRange(min=1), help="Images of one batch of ours.  [default: as `compute`]")
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Rounds; both take turns.")
@click.option("--steps", type=click.IntRange(min=1), default=6, show_default=True, help="Steps of a round that count.")
@click.option(
    "--parts",
    metavar="LIST",
    default="speed,shares",
    show_default=True,
    help="What to measure, with commas between: see above.",
)
@click.option("--channels", default="0-7", show_default=True, metavar="RANGE", help="Channels for quality.")
@click.option("--seeds", type=click.IntRange(min=1), default=2, show_default=True, help="Seeds for quality.")
@click.option("--quality-steps", type=click.IntRange(min=1), default=512, show_default=True, help="Steps for quality.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Write the results to FILE as JSON.")
@click.option(
    "--compare",
    nargs=2,
    type=click.Path(path_type=Path),
    metavar="A B",
    help="Measure nothing; show what changed between two files that --out wrote.",
)
@device_options
def command(
    given: Given,
    blocks: tuple[str, ...],
    batch: int | None,
    rounds: int,
    steps: int,
    parts: str,
    channels: str,
    seeds: int,
    quality_steps: int,
    out: Path | None,
    compare: tuple[Path, Path] | None,
) -> None:
    if compare:
        _compare(*compare, given.as_json)
        return
    if out is not None and not out.absolute().parent.is_dir():
        raise UsageError(f"{out.absolute().parent} is not a folder; --out takes a FILE in one that exists")
    wanted = [part.strip() for part in parts.split(",")]
    unknown = [part for part in wanted if part not in PARTS]
    if unknown:
        raise UsageError(f"unknown part {unknown[0]!r}; use {', '.join(PARTS)}")
    from streamscope.core.bench import quality as quality_of
    from streamscope.core.bench import results, speed
    from streamscope.core.jobs.allocator import keep_freed_memory
    from streamscope.core.jobs.tasks import default_batch

    network = load(given.spec, given.device)
    keep_freed_memory()
    batch = batch or default_batch(network.info, network.device)
    names = blocks or STUDIED
    picked = {block: parse_channels(channels, network.info.block(block).channels) for block in names}
    found: dict[str, Any] = {"machine": results.header(network)}

    def tell(line: str) -> None:
        if not given.as_json:
            click.echo(line)

    machine = found["machine"]
    gpu = f" ({machine['gpu']})" if machine["gpu"] else ""
    tell(f"{machine['cpu']}, {machine['cores']} cores, device {machine['device']}{gpu}; torch {machine['torch']}")
    for block in names if "speed" in wanted else ():
        measured = speed.speed(network, block, batch, rounds, steps)
        found.setdefault("speed", []).append(measured.to_json())
        tell(
            f"{block} block: {_timing(measured.ours)} ms an image and step in {measured.lanes} batches of "
            f"{measured.batch}, Lucent {_timing(measured.lucent)} ms: {measured.ratio:.1f}x "
            f"(with frozen weights {_timing(measured.lucent_frozen)} ms: {measured.ratio_frozen:.1f}x)"
        )
    for block in names if "shares" in wanted else ():
        shares = speed.shares(network, Target(block, "block"), batch, steps)
        found.setdefault("shares", []).append({"block": block, **shares})
        tell(f"{block} block: " + ", ".join(f"{part} {share:.0%}" for part, share in shares.items()))
    for protocol in PROTOCOLS if "tensors" in wanted else ():
        tensors = speed.every_tensor(network, batch, steps, protocol)
        hours = speed.whole_set_hours(network, tensors, protocol)
        found.setdefault("tensors", {})[protocol] = tensors
        found.setdefault("whole_set_hours", {})[protocol] = hours
        for target, values in tensors.items():
            rate = f"{values['image_steps_a_second']:,.0f} a second"
            tell(f"{target} by {protocol}: {values['ms']:.2f} ms an image and step, {rate}")
        tell(f"every FZ of the studied blocks by {protocol}: {hours:.1f} hours")
    for block in names if "quality" in wanted else ():
        with count_progress(f"{block} block by both", "image-steps") as watch:
            compared = quality_of.quality(network, block, picked[block], range(seeds), quality_steps, watch)
        found.setdefault("quality", []).append(compared.to_json())
        tell(
            f"{block} block: activation ours / Lucent's {compared.mean:.3f} "
            f"({compared.low:.3f} to {compared.high:.3f}), {len(compared.ours)} pairs of {compared.steps} steps"
        )
    for part in wanted:
        if part in ("scan", "workers", "store", "app", "wire"):
            found[part] = _measure(part, network, given.device)
            tell(f"{part}: {json.dumps(found[part], indent=2)}")
    found["peak_bytes"] = results.peak_bytes(network.device)
    if out is not None:
        out.write_text(json.dumps(found, indent=2) + "\n")
        say(f"wrote {out}", err=True)
    if given.as_json:
        click.echo(json.dumps(found, indent=2))


def _measure(part: str, network: Network, device: str) -> Any:
    """What is not about FZs of the network itself; each imports what it needs."""
    if part == "scan":
        from streamscope.core.bench.scan import scan_rate

        return scan_rate(network)
    if part == "workers":
        from streamscope.core.bench.workers import measure_workers

        return measure_workers(device="cpu" if network.device.type == "cpu" else str(network.device))
    if part == "app":
        from streamscope.tui.bench.latency import app_latencies

        return app_latencies(device=device)
    if part == "wire":
        from streamscope.tui.bench.wire import wire

        return wire()
    from streamscope.core.bench.store import measure_store

    with tempfile.TemporaryDirectory(prefix="streamscope-bench-") as folder:
        return measure_store(Path(folder))


def _timing(timing: Any) -> str:
    return f"{timing.median:.1f} ({timing.low:.1f}-{timing.high:.1f})"


def _compare(before: Path, after: Path, as_json: bool) -> None:
    from streamscope.core.bench import results

    documents = results.read_results(before), results.read_results(after)
    changes = results.compare(*documents)
    if as_json:
        rows = [{"name": c.name, "before": c.before, "after": c.after, "ratio": c.ratio} for c in changes]
        click.echo(json.dumps({"changes": rows, "machine": results.differing_machine(*documents)}, indent=2))
        return
    for line in results.differing_machine(*documents):
        say(f"measured on another {line}")
    width = max((len(c.name) for c in changes), default=0)
    for change in changes:
        ratio = "" if change.ratio is None else f"  x{change.ratio:.2f}"
        say(f"{change.name:{width}}  {change.before:10.4g}  {change.after:10.4g}{ratio}")
