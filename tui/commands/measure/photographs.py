"""`streamscope photographs`: scale invariance in photographs, without an FZ."""

from __future__ import annotations

import json
import math
import signal
from dataclasses import asdict
from typing import Any

import click
from rich.table import Table

from streamscope.core.analysis.photographs import FzAgreement, OneWay, PhotographSummary, summarise_photographs
from streamscope.core.errors import StoreError
from streamscope.core.measures.photographs import FEWEST_MATES, Exceedance
from streamscope.core.model.blocks import ModelInfo, pick_scaled_blocks
from streamscope.core.store import Scan, Store
from streamscope.core.store.scans.photographs import missing_photographs, stored_photographs
from streamscope.core.table.column_values import column_values
from streamscope.core.table.columns import number_text
from streamscope.tui.advice import worded
from streamscope.tui.cli.lines import say
from streamscope.tui.cli.loading import load
from streamscope.tui.cli.options import Given, set_options
from streamscope.tui.cli.printing import cell, console_for, counted
from streamscope.tui.cli.progress import phase_progress

ROWS = {
    "all other channels (pairs)": "pairs",
    f"of those with {FEWEST_MATES} mates": "of_mated",
    "their mates": "mates",
    "more than blurred patches": "beyond_blur",
}
"""Of the table of a block: fields of `OneWay`."""
BY_FZS = {"scale_invariant": "scale invariant by FZs", "verdict": "verdict over the FZ seeds"}


@click.command("photographs")
@click.option(
    "--block",
    "blocks",
    multiple=True,
    metavar="B",
    help="Block such as 2.1; may be repeated.  [default: every block but the first]",
)
@set_options
def command(given: Given, blocks: tuple[str, ...]) -> None:
    """Test scale invariance on photographs: does B prefer I's best patches larger, and I prefer B's smaller?

    `scan` keeps each channel's best patches anywhere in its images. Here each is brought to the centre and shown at
    half to twice its size, in sixths of an octave, and every channel of the block is read. A preference is the mean
    reading at scales above 1 less that at scales below 1, in deviations of the channel's centre activation. It
    stands beside that of all other channels on the same patches (pairs), and of those that answer them as strongly
    at scale 1 (mates). Only what is missing is computed, and no FZ is needed; the table has the columns photo_…

    Shares are those of channels that exceed 95 % of their pairs, or mates, with what chance gives and p of as many,
    channels taken as independent. Where FZs are stored it is said how far their verdicts agree.

    \b
    streamscope photographs --block 2.1
    streamscope photographs --model resnet18-untrained-0 --block 2.1 --json
    """
    store = given.store()
    given = given.as_stored(store)
    info = given.recalled(store)
    if info is None:
        how = given.commands("scan", given.images or "IMAGES")
        raise StoreError(f"no images were scanned by {given.spec.name} in {store.root}; run '{how}' first")
    picked = [block.name for block in pick_scaled_blocks(info, blocks)]
    scan = _scan(given, store, info)
    _compute(given, store, scan, picked)
    found = [_summary(given, store, info, scan, block) for block in picked]
    for problem in store.problems:
        say(f"streamscope: {worded(problem)}", err=True)
    if given.as_json:
        click.echo(json.dumps([_json(summary) for summary in found], indent=2))
        return
    for summary in found:
        _print(summary)


def _scan(given: Given, store: Store, info: ModelInfo) -> Scan:
    """The scan whose patches are read. Raises StoreError."""
    scan = store.choose_scan(info, given.images)
    if scan is None:
        which = f"{given.images} has" if given.images is not None else "there is"
        how = given.commands("scan", given.images or "IMAGES")
        raise StoreError(f"{which} no finished scan by {info.name} in {store.root}; run '{how}' first")
    if not scan.has_patches:
        given.spec.check_computable()
        how = given.commands("scan", scan.source)
        raise StoreError(f"the scan of {scan.source} is of an earlier release and kept no patches; run '{how}' again")
    if given.images is None and len({other.source for other in store.scans(info)}) > 1:
        say(f"streamscope: reading the scan of {scan.source}", err=True)
    return scan


def _compute(given: Given, store: Store, scan: Scan, blocks: list[str]) -> None:
    lacking = [block for block in blocks if missing_photographs(scan, block)]
    if not lacking:
        # Nothing to read: torch takes seconds to import.
        return
    if given.bundle is not None and all(stored_photographs(scan, block) for block in blocks):
        # What came with it is shown, and no more can be read.
        return
    given.check_writable()
    given.spec.check_computable()
    from streamscope.core.reading.photographs import compute_photographs

    # A polite kill ends like Ctrl-C: the lease is given back.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    network = load(given.spec, given.device)
    for block in lacking:
        with phase_progress() as watch:
            compute_photographs(network, store, scan, block, watch)


def _summary(given: Given, store: Store, info: ModelInfo, scan: Scan, block: str) -> PhotographSummary:
    stored = stored_photographs(scan, block)
    if stored is None:
        raise StoreError(
            f"what was read of the photographs of {block} cannot be used; '{given.commands('cache')} verify'"
        )
    fzset = store.choose_set(info, **given.told)
    columns = None if fzset is None else column_values(info, fzset, [info.block(block)])
    return summarise_photographs(block, stored, columns)


def _json(summary: PhotographSummary) -> dict[str, Any]:
    found = asdict(summary)
    for name, agreement in summary.fz.items():
        found["fz"][name] |= {"n": agreement.n, "kappa": agreement.kappa}
    plain: dict[str, Any] = _without_nan(found)
    return plain


def _without_nan(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {name: _without_nan(one) for name, one in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def _print(summary: PhotographSummary) -> None:
    heading = f"block {summary.block}: {counted(summary.channels, 'channel')}, {counted(summary.images, 'image')}"
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in (heading, "B: I's patches larger", "I: B's patches smaller", "both"):
        table.add_column(column)

    def row(name: str, larger: str, smaller: str, both: str = "") -> None:
        table.add_row(*map(cell, (f"  {name}", larger, smaller, both)))

    larger, smaller = summary.larger, summary.smaller
    table.add_row(cell("preference, in deviations", "bold"))
    row("mean (95 % over images)", _mean_text(larger), _mean_text(smaller))
    for name, field in ROWS.items():
        row(name, number_text(getattr(larger, field)), number_text(getattr(smaller, field)))
    table.add_row(cell("channels that exceed (chance; p)", "bold"))
    row("95 % of their pairs", *map(_exceedance, (larger.against_pairs, smaller.against_pairs, summary.both_pairs)))
    row("95 % of their mates", *map(_exceedance, (larger.against_mates, smaller.against_mates, summary.both_mates)))
    row("pairs, and 0 by the interval", "", "", f"{summary.invariant} of {summary.channels}")
    row("and more than blurred", "", "", f"{summary.beyond_blur} of {summary.channels}")
    console_for(table).print(table)
    for name, agreement in summary.fz.items():
        say(f"  {BY_FZS[name]}: {_agreement(agreement)}")


def _mean_text(way: OneWay) -> str:
    return f"{number_text(way.mean)} ({number_text(way.low)} to {number_text(way.high)})"


def _exceedance(found: Exceedance) -> str:
    if not found.n:
        return "of none"
    return f"{found.k} of {found.n} ({found.expected:.1f}; p {number_text(found.p)})"


def _agreement(found: FzAgreement) -> str:
    return (
        f"{found.both} both, {found.fz_only} by FZs only, {found.photo_only} by photographs only, {found.neither} "
        f"neither; kappa {number_text(found.kappa)}, AUC {number_text(found.auc)}"
    )
