"""`streamscope nulls`: how often the criteria hold where they should mean nothing."""

from __future__ import annotations

import json
import math
import signal
from dataclasses import replace
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from streamscope.core.analysis.nulls import CRITERIA, LACKING, Nulls, read_nulls
from streamscope.core.errors import StoreError, UsageError
from streamscope.core.measures.statistics import Paired, Proportion
from streamscope.core.model.blocks import VERDICT_TENSORS, ModelInfo, pick_blocks
from streamscope.core.model.recipe import LARGEST_SEED, SetKey
from streamscope.core.model.spec import ModelSpec, untrained_name
from streamscope.core.store import FZSet, JobSpec, Store
from streamscope.core.store.layout import SHAMS
from streamscope.core.store.sets.readings import Readings
from streamscope.core.store.sets.responses import missing_responses
from streamscope.core.table.columns import number_text
from streamscope.tui.advice import worded
from streamscope.tui.cli.lines import say
from streamscope.tui.cli.loading import load
from streamscope.tui.cli.options import Given, set_options
from streamscope.tui.cli.printing import WIDTH, cell, share_text
from streamscope.tui.cli.progress import count_progress
from streamscope.tui.cli.running import run_visibly
from streamscope.tui.command_lines import set_words


@click.command("nulls")
@click.option("--block", "blocks", multiple=True, required=True, metavar="B", help="Block such as 2.1; repeatable.")
@click.option(
    "--shams", is_flag=True, help="Read the FZs mirrored, turned and shifted too: no new FZs, seconds to minutes."
)
@click.option(
    "--untrained", is_flag=True, help="Optimise the FZs of an untrained copy of the network too: as long as compute."
)
@click.option("--seeds", metavar="LIST", help="Optimise the FZs with these seeds too, such as 1,2: each as compute.")
@click.option(
    "--all",
    "every",
    is_flag=True,
    help="All of these: shams, an untrained copy, the two seeds after the set's own.",
)
@set_options
def command(given: Given, blocks: tuple[str, ...], shams: bool, untrained: bool, seeds: str | None, every: bool) -> int:
    """Show the share of channels that meet each criterion beside its share under nulls, with 95 % Wilson intervals.

    Shuffled pairs need nothing but what compute stored: the block feature of one channel with the input feature of
    another, all pairs; p is how often a pairing does as well as the real one. Nor do, in a centred set, blurring, and
    scaling the other way round. The others are shown where they are stored, and computed when asked for, as jobs that
    can be stopped and resumed: sham transforms in place of S and S-, an untrained copy (kept under its own name, such
    as resnet18-untrained-0), and FZs of other seeds, from which the table's columns seeds, stable_update and
    stable_scale_invariant follow. Where a null is of the same FZs its p is that of an exact McNemar test.

    \b
    streamscope nulls --block 2.1
    streamscope nulls --block 2.1 --shams --seeds 1,2
    streamscope nulls --block 1.1 --untrained --steps 512
    streamscope nulls --block 2.1 --all
    """
    spec = given.spec
    more = _parse_seeds(seeds)
    if untrained and spec.untrained_seed is not None:
        raise UsageError(f"{spec.name} is an untrained copy itself; use --model {spec.architecture}")
    store = given.store()
    given = given.as_stored(store)
    info = given.stored_info(store)
    picked = [block.name for block in pick_blocks(info, blocks)]
    fzset = given.stored_set(store, info)
    channels = {name: np.flatnonzero(Readings(fzset, [info.block(name)]).complete).tolist() for name in picked}
    for block, computed in channels.items():
        if not computed:
            how = given.commands("compute", "--block", block, *set_words(fzset.key, info))
            raise StoreError(f"no channel of {block} is computed ({fzset.key}); run '{how}' for it first")
    if every:
        # A copy of a copy would be the copy itself.
        shams, untrained = True, spec.untrained_seed is None
        own = fzset.key.seed
        more = more or tuple(seed for seed in (own + 1, own + 2) if seed <= LARGEST_SEED)
    code = _compute(given, store, info, fzset, channels, shams, untrained, more)
    found = [nulls for block in picked if (nulls := read_nulls(store, info, fzset.key, block)) is not None]
    for problem in store.problems:
        say(f"streamscope: {worded(problem)}", err=True)
    if given.as_json:
        click.echo(json.dumps([_json(nulls) for nulls in found], indent=2))
    else:
        for nulls in found:
            _print(nulls)
            if nulls.lacking:
                how = given.commands("nulls", "--block", nulls.block, "--all", *set_words(fzset.key, info))
                what = ", ".join(LACKING[null] for null in nulls.lacking)
                say(f"not computed of {nulls.block}: {what}; '{how}' computes all there are")
    return code


def _parse_seeds(text: str | None) -> tuple[int, ...]:
    parts = [] if text is None else [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise UsageError(f"malformed --seeds {text!r}; write for example 1,2")
    if any(len(part.lstrip("0")) > len(str(LARGEST_SEED)) for part in parts):
        raise UsageError(f"a seed of --seeds must be {LARGEST_SEED} or less")
    return tuple(dict.fromkeys(int(part.lstrip("0") or "0") for part in parts))


def _compute(
    given: Given,
    store: Store,
    info: ModelInfo,
    fzset: FZSet,
    channels: dict[str, list[int]],
    shams: bool,
    untrained: bool,
    seeds: tuple[int, ...],
) -> int:
    """Does what was asked for and is missing, for the channels that the set has; returns the first exit code not 0."""
    lacking = [b for b in channels if shams and any(missing_responses(fzset, SHAMS, b, on) for on in VERDICT_TENSORS)]
    if not (lacking or untrained or seeds):
        return 0
    given.spec.check_computable()
    from streamscope.core.reading.shams import compute_shams

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    network = None
    if lacking or seeds:
        network = load(given.spec, given.device)
    for block in lacking:
        with count_progress(f"{block} under sham transforms", "FZs") as watch:
            assert network is not None
            compute_shams(network, fzset, block, watch)

    def job(model: ModelSpec, key: SetKey) -> JobSpec:
        return JobSpec.of_set(model, key, channels, VERDICT_TENSORS, channels, given.device)

    jobs = [(network, job(given.spec, replace(fzset.key, seed=seed))) for seed in seeds]
    if untrained:
        jobs.append((None, job(ModelSpec(untrained_name(info.name), changes=info.unusual), fzset.key)))
    code = next((code for used, spec in jobs if (code := run_visibly(store, spec, used))), 0)
    if seeds and fzset.completed_at() is not None:
        # Reading commands take the set that was completed last: still the one whose nulls these are.
        fzset.mark_completed("nulls")
    return code


def _json(nulls: Nulls) -> dict[str, Any]:
    seeds = nulls.seeds
    return {
        "block": nulls.block,
        "lacking": list(nulls.lacking),
        "real": {name: _share_json(share) for name, share in nulls.real.items()},
        "nulls": [
            {
                "null": null.null,
                **{
                    name: {
                        "real": _share_json(null.real[name]),
                        "null": _share_json(share),
                        **({"p": null.p[name]} if name in null.p else {}),
                        **({"paired": _paired_json(null.paired[name])} if name in null.paired else {}),
                    }
                    for name, share in null.shares.items()
                },
            }
            for null in nulls.nulls
        ],
        "seeds": None
        if seeds is None
        else {
            "seeds": seeds.seeds,
            "same_update": _share_json(seeds.same_update),
            "holds_again": _share_json(seeds.holds_again),
            "appears": _share_json(seeds.appears),
        },
    }


def _share_json(share: Proportion) -> dict[str, Any]:
    values = {"share": share.share, "low": share.low, "high": share.high}
    return {"k": share.k, "n": share.n, **{name: value if share.n else None for name, value in values.items()}}


def _paired_json(paired: Paired) -> dict[str, Any]:
    p = None if math.isnan(paired.p) else paired.p
    return {"real_only": paired.first_only, "null_only": paired.second_only, "p": p}


def _print(nulls: Nulls) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in (f"block {nulls.block}", "real share", "share under the null", "p"):
        table.add_column(column, no_wrap=True)
    for null in nulls.nulls:
        table.add_row(cell(null.null, "bold"))
        for name in (n for n in CRITERIA if n in null.shares):
            shares = share_text(null.real[name]), share_text(null.shares[name])
            p = null.paired[name].p if name in null.paired else null.p.get(name)
            table.add_row(f"  {CRITERIA[name]}", *shares, number_text(p))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    console.print(table)
    if nulls.seeds is not None:
        seeds = nulls.seeds
        console.print(f"[bold]{seeds.seeds} seeds[/bold]")
        console.print(f"  same update with another seed         {share_text(seeds.same_update)}")
        console.print(f"  scale invariant, and with another too {share_text(seeds.holds_again)}")
        console.print(f"  not scale invariant, but with another {share_text(seeds.appears)}")
