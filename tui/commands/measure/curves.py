"""`streamscope curves`: scale tuning curves of FZs and MEIs."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from streamscope.core.errors import StoreError
from streamscope.core.measures.tuning import half_width_octaves, invariance
from streamscope.core.model.blocks import VERDICT_TENSORS, ModelInfo, pick_blocks
from streamscope.core.store import FZSet
from streamscope.core.store.sets.curves import curves_of, missing_curves, missing_mei_curves
from streamscope.core.table.columns import number_text
from streamscope.tui.advice import worded
from streamscope.tui.cli.lines import say
from streamscope.tui.cli.loading import load
from streamscope.tui.cli.options import Given, set_options
from streamscope.tui.cli.printing import cell
from streamscope.tui.cli.progress import count_progress
from streamscope.tui.command_lines import block_words, set_words

if TYPE_CHECKING:
    from streamscope.core.store.scans.scan import Scan


@click.command("curves")
@click.option(
    "--block",
    "blocks",
    multiple=True,
    metavar="B",
    help="Block such as 2.1; may be repeated.  [default: every block with stored FZs but the first]",
)
@click.option(
    "--antialias",
    is_flag=True,
    help="Resize with antialiasing; such curves are kept apart. S- of the paper's protocol is without, and the centred "
    "one always with.",
)
@set_options
def command(given: Given, blocks: tuple[str, ...], antialias: bool) -> None:
    """Read every channel while its FZs, and its MEIs where images were scanned, are shown at half to twice their size.

    Curves of in, block, pre and out over 17 scales (equal steps of log2, 1 among them; in the paper's protocol each the
    nearest that whole pixels allow), kept with the FZs or the scan. Only what is missing is computed, never an FZ.
    Invariance is the mean of the rectified curve over its maximum, the half-width how many octaves of scale reach half
    of that maximum: here the medians over channels of `out`.

    \b
    streamscope curves --block 2.1
    streamscope curves --model demo --json
    """
    store = given.store()
    given = given.as_stored(store)
    info = given.stored_info(store)
    fzset = given.stored_set(store, info)
    scan = given.stored_scan(store, fzset)
    picked = [block.name for block in pick_blocks(info, blocks)]
    present = [name for name in picked if any(fzset.fzs(fzset.target(name, on)) for on in VERDICT_TENSORS)]
    absent = [name for name in picked if name not in present]
    if (blocks and absent) or not present:
        how = given.commands("compute", *block_words(absent), *set_words(fzset.key, info))
        raise StoreError(f"no FZs of {', '.join(absent)} are stored ({fzset.key}); run '{how}' first")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    _compute(given, info, fzset, scan, present, antialias)
    rows = [row for name in present for row in _summary(info, fzset, scan, name, antialias)]
    for problem in store.problems:
        say(f"streamscope: {worded(problem)}", err=True)
    if given.as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in rows[0]:
        table.add_column(column.replace("_", " "), justify="right" if column in ("channels", *_MEDIANS) else "left")
    for row in rows:
        table.add_row(*(cell(number_text(value)) for value in row.values()))
    Console().print(table)


def _compute(
    given: Given, info: ModelInfo, fzset: FZSet, scan: Scan | None, blocks: list[str], antialias: bool
) -> None:
    lacking = [
        block
        for block in blocks
        if missing_curves(fzset, block, antialias)
        or (scan is not None and missing_mei_curves(scan, block, antialias, fzset.key.protocol))
    ]
    if not lacking:
        # Nothing to read: torch takes seconds to import.
        return
    if given.bundle is not None and any(curves_of(fzset, block, antialias) for block in blocks):
        # What came with it is shown, and no more can be read.
        return
    given.check_writable()
    from streamscope.core.reading.tuning import compute_curves, compute_mei_curves

    network = load(given.spec, given.device)
    for block in lacking:
        with count_progress(f"{block} FZs", "FZs") as watch:
            compute_curves(network, fzset, block, antialias, watch)
        if scan is not None:
            with count_progress(f"{block} MEIs", "channels") as watch:
                compute_mei_curves(network, scan, block, antialias, watch, protocol=fzset.key.protocol)


_MEDIANS = ("invariance", "half_width_octaves")


def _summary(info: ModelInfo, fzset: FZSet, scan: Scan | None, block: str, antialias: bool) -> list[dict[str, Any]]:
    rows = []
    for images, source in (("FZ", fzset), ("MEI", scan)):
        curves = None if source is None else curves_of(source, block, antialias, fzset.key.protocol)
        if curves is None:
            continue
        for on in VERDICT_TENSORS:
            out = curves.values["out", on]
            known = ~np.isnan(out).any(axis=1)
            medians = invariance(out), half_width_octaves(curves.scales, out)
            rows.append(
                {
                    "block": block,
                    "images": f"{images}({on})",
                    "channels": int(known.sum()),
                    **{name: _median(values) for name, values in zip(_MEDIANS, medians, strict=True)},
                    "antialias": curves.antialias,
                }
            )
    return rows


def _median(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else None
