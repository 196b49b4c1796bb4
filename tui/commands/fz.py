"""`streamscope fz`: writes FZs as PNG files."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

import click

from streamscope.core.errors import StoreError, UsageError
from streamscope.core.model.blocks import TENSORS, Target, format_channels, pick_blocks
from streamscope.core.model.recipe import Objective
from streamscope.core.store import FZSet
from streamscope.core.table.frame import build_frame
from streamscope.tui.cli.lines import say
from streamscope.tui.cli.options import Given, objective_option, reading_options
from streamscope.tui.cli.selection import Selection, selection_options
from streamscope.tui.command_lines import block_words, set_words

FZ = tuple[Target, int]


@click.command("fz")
@click.option(
    "--tensor",
    "tensors",
    metavar="LIST",
    default=",".join(TENSORS),
    show_default=True,
    help="Which FZs: of in, block, out.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Folder to write to; made if need be."
)
@objective_option
@selection_options
@reading_options
def command(given: Given, selection: Selection, tensors: str, out: Path, objective: Objective) -> None:
    """Write stored FZs as PNG files named B_T_CHANNEL.png, for example 2.1_block_0108.png.

    Channel FZs are named 2.1_block_0108_channel.png.

    \b
    streamscope fz --block 2.1 --channels 0-31,108 --out pictures
    streamscope fz --filter "scale_invariant and scale_metric > 0.2" --tensor in,block --out pictures
    """
    store = given.store()
    given = given.as_stored(store)
    info = given.stored_info(store)
    wanted = [part.strip() for part in tensors.split(",")]
    for tensor in wanted:
        info.source(info.blocks[0].name, tensor)
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; --out takes a folder")
    fzset = given.stored_set(store, info, objective)
    # Channel FZs are not measured: what a filter asks for is said by the neuron's.
    table = fzset if objective == "neuron" or not selection.needs_table else given.stored_set(store, info)
    frame = build_frame(info, table, selection.blocks, given.marks(info), given.stored_scan(store, table))
    picked = selection.by_block(frame, info)
    sources: dict[str, FZ] = {}
    absent: list[str] = []
    ending = "" if objective == "neuron" else f"_{objective}"
    for block in pick_blocks(info, selection.blocks):
        for tensor in wanted:
            target = fzset.target(block.name, tensor)
            stored = fzset.fzs(target)
            lacking = [c for c in picked[block.name] if c not in stored]
            if lacking:
                absent.append(f"{block.name} {tensor} {format_channels(lacking)}")
            for channel in picked[block.name]:
                if channel in stored:
                    sources[f"{block.name}_{tensor}_{channel:04d}{ending}.png"] = (target, channel)
    if absent:
        more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
        lacking_of = [block for block in picked if any(line.startswith(f"{block} ") for line in absent)]
        words = (*block_words(lacking_of), *set_words(fzset.key, info))
        if selection.channels is not None:
            words += ("--channels", selection.channels)
        how = given.commands("compute", *words)
        raise StoreError(f"not computed: {'; '.join(absent[:3])}{more}; run '{how}' for them first")
    if not sources:
        raise UsageError("no channel is selected; nothing to write")
    _write(fzset, sources, out)
    if given.as_json:
        click.echo(json.dumps([str(out / name) for name in sources]))
    else:
        say(f"wrote {len(sources)} FZs to {out}")


def _write(fzset: FZSet, sources: Mapping[str, FZ], out: Path) -> None:
    """All of them or none: written beside the target first, then moved. Raises StoreError for a damaged one."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fz-", dir=out) as folder:
            for name, (target, channel) in sources.items():
                (Path(folder) / name).write_bytes(fzset.fz_png(target, channel))
            for name in sources:
                (Path(folder) / name).replace(out / name)
    except OSError as error:
        raise StoreError(f"cannot write FZs to {out}: {error.strerror or error}") from error
