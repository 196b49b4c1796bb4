"""`streamscope bench`: speed and quality against torch-lucent, on this machine, in one run."""

from __future__ import annotations

import json
from typing import Any

import click

from core.blocks import parse_channels
from tui.given import Given, common_options
from tui.progress import download_progress

STUDIED = ("1.1", "2.1", "3.1")


@click.command("bench")
@click.option(
    "--block", "blocks", multiple=True, metavar="B", help=f"Blocks to measure.  [default: {', '.join(STUDIED)}]"
)
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    help="Images that streamscope optimises together; Lucent has one.",
)
@click.option(
    "--repeats", type=click.IntRange(min=3), default=16, show_default=True, help="Steps to take the median of."
)
@click.option(
    "--quality",
    is_flag=True,
    help="Also optimise the same channels with both and compare their activations (an hour on two cores).",
)
@click.option("--channels", default="0-7", show_default=True, metavar="RANGE", help="Channels for --quality.")
@click.option("--seeds", type=click.IntRange(min=1), default=2, show_default=True, help="Seeds for --quality.")
@click.option(
    "--quality-steps", type=click.IntRange(min=1), default=512, show_default=True, help="Steps for --quality."
)
@common_options
def command(
    given: Given,
    blocks: tuple[str, ...],
    batch: int,
    repeats: int,
    quality: bool,
    channels: str,
    seeds: int,
    quality_steps: int,
) -> None:
    """Measure FZ speed against torch-lucent's render_vis, in milliseconds an image and step, and the ratio."""
    import torch

    from core import bench
    from core.allocator import keep_freed_memory
    from core.model import load_network

    with download_progress(f"downloading {given.model}") as progress:
        network = load_network(given.spec, given.device, progress)
    keep_freed_memory()
    names = blocks or STUDIED
    picked = {block: parse_channels(channels, network.info.block(block).channels) for block in names}
    found: dict[str, Any] = {
        "model": network.info.name,
        "device": str(network.device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "speed": [],
        "quality": [],
    }
    for block in names:
        speed = bench.speed(network, block, batch, repeats)
        found["speed"].append(speed.to_json())
        if not given.as_json:
            click.echo(
                f"{block} block: {speed.ours_ms:.1f} ms an image and step in a batch of {speed.batch}, "
                f"Lucent {speed.lucent_ms:.1f} ms: {speed.ratio:.1f}x "
                f"(Lucent with frozen weights {speed.lucent_frozen_ms:.1f} ms: {speed.ratio_frozen:.1f}x)"
            )
    for block in names if quality else ():
        compared = bench.quality(network, block, picked[block], range(seeds), quality_steps)
        found["quality"].append(compared.to_json())
        if not given.as_json:
            click.echo(
                f"{block} block: activation ours / Lucent's {compared.mean:.3f} "
                f"({compared.low:.3f} to {compared.high:.3f}), {len(compared.ours)} pairs of {compared.steps} steps"
            )
    if given.as_json:
        click.echo(json.dumps(found, indent=2))
