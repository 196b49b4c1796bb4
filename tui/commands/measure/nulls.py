"""`streamscope nulls`: how often the criteria hold where they should mean nothing."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any

import click
import numpy as np
from rich.table import Table

from streamscope.core.analysis.calibration import calibrate
from streamscope.core.analysis.image_verdicts import lacks_image_nulls, scan_of_same_images
from streamscope.core.analysis.null_shares import CRITERIA, NullShares
from streamscope.core.analysis.nulls import LACKING, NULL_SEEDS, Nulls, coverage, read_nulls, untrained_copies
from streamscope.core.analysis.pairs import keep_pairs
from streamscope.core.errors import StoreError, UsageError
from streamscope.core.images.folder import find_images
from streamscope.core.measures.statistics import Paired, Proportion
from streamscope.core.model.blocks import VERDICT_TENSORS, ModelInfo, pick_scaled_blocks
from streamscope.core.model.preprocessing import Changes
from streamscope.core.model.recipe import LARGEST_SEED, Protocol, SetKey
from streamscope.core.model.spec import ModelSpec, untrained_name
from streamscope.core.store import FZSet, JobSpec, Scan, Store
from streamscope.core.store.layout import SHAMS
from streamscope.core.store.scans.photographs import stored_photographs
from streamscope.core.store.scans.responses import missing_mei_responses
from streamscope.core.store.sets.curves import variant
from streamscope.core.store.sets.readings import Readings
from streamscope.core.store.sets.responses import missing_responses
from streamscope.core.table.columns import number_text
from streamscope.tui.advice import worded
from streamscope.tui.cli.lines import say
from streamscope.tui.cli.loading import load
from streamscope.tui.cli.options import Given, set_options
from streamscope.tui.cli.printing import cell, console_for, print_whole, share_text
from streamscope.tui.cli.progress import count_progress, phase_progress
from streamscope.tui.cli.running import run_visibly
from streamscope.tui.command_lines import set_words


@click.command("nulls")
@click.option("--block", "blocks", multiple=True, required=True, metavar="B", help="Block such as 2.1; repeatable.")
@click.option(
    "--pairs", is_flag=True, help="Set each channel's gains against those of all pairs, for the column q: seconds."
)
@click.option(
    "--shams", is_flag=True, help="Read the FZs mirrored, turned and shifted too: no new FZs, seconds to minutes."
)
@click.option(
    "--untrained",
    is_flag=True,
    help="Optimise the FZs of an untrained copy of the network too, with up to three stored seeds: each as compute.",
)
@click.option("--seeds", metavar="LIST", help="Optimise the FZs with these seeds too, such as 1,2: each as compute.")
@click.option(
    "--by-images",
    is_flag=True,
    help="Read the scanned images under the nulls too: MEIs as shams, and what is scanned by an untrained copy. "
    "Minutes, and a scan.",
)
@click.option(
    "--all",
    "every",
    is_flag=True,
    help="All of these: pairs, shams, the two seeds after the set's own, as many of an untrained copy, and where "
    "images were scanned, these.",
)
@click.option(
    "--calibration",
    type=click.IntRange(min=1),
    metavar="N",
    help="Nothing of this, but how often verdicts by the first 1 to N stored seeds are borne out by the others.",
)
@set_options
def command(
    given: Given,
    blocks: tuple[str, ...],
    pairs: bool,
    shams: bool,
    untrained: bool,
    seeds: str | None,
    by_images: bool,
    every: bool,
    calibration: int | None,
) -> int:
    """Show the share of channels that meet each criterion beside its share under nulls, with 95 % Wilson intervals.

    Shuffled pairs need nothing but what compute stored: the block feature of one channel with the input feature of
    another, all pairs; p is how often a pairing does as well as the real one. Nor do, in a centred set, blurring, and
    scaling the other way round. The others are shown where they are stored, and computed when asked for, as jobs that
    can be stopped and resumed: sham transforms in place of S and S-, an untrained copy (kept under its own name, such
    as resnet18-untrained-0), and FZs of other seeds, from which the table's columns seeds, stable_update and
    stable_scale_invariant follow.

    The difference is the real share less that under the null; its p is that of an exact McNemar test where a null is of
    the same FZs, of Fisher's for an untrained copy, and of 2,000 random pairings for pairs. The last column corrects it
    by Holm's method for the nulls of the block that the same criterion is tested against: blocks asked for together are
    questions of their own. Shams of other seeds are read too, for verdicts over seeds.

    Verdicts by images (mei_scale_invariant, robust, photo_invariant) are those of the scan; --images says of which.

    \b
    streamscope nulls --block 2.1
    streamscope nulls --block 2.1 --shams --seeds 1,2
    streamscope nulls --block 1.1 --untrained --steps 512
    streamscope nulls --block 2.1 --all
    streamscope nulls --block 1.1 --block 2.1 --calibration 5
    """
    spec = given.spec
    more = _parse_seeds(seeds)
    if any((pairs, shams, untrained, more, by_images, every)):
        given.check_writable()
    if untrained and spec.untrained_seed is not None:
        raise UsageError(f"{spec.name} is an untrained copy itself; use --model {spec.architecture}")
    store = given.store()
    given = given.as_stored(store)
    info = given.stored_info(store)
    picked = [block.name for block in pick_scaled_blocks(info, blocks)]
    fzset = given.stored_set(store, info)
    scan = given.stored_scan(store, fzset)
    if by_images and scan is None:
        raise StoreError(f"no images were scanned by {info.name}; run '{given.commands('scan', 'IMAGES')}' first")
    channels = {name: np.flatnonzero(Readings(fzset, [info.block(name)]).complete).tolist() for name in picked}
    for block, computed in channels.items():
        if not computed:
            how = given.commands("compute", "--block", block, *set_words(fzset.key, info))
            raise StoreError(f"no channel of {block} is computed ({fzset.key}); run '{how}' for it first")
    if calibration is not None:
        return _calibrate(given, store, fzset, picked, calibration)
    if every:
        # A copy of a copy would be the copy itself.
        pairs, shams, untrained = True, True, spec.untrained_seed is None
        by_images = scan is not None
        own = fzset.key.seed
        more = more or tuple(seed for seed in (own + 1, own + 2) if seed <= LARGEST_SEED)
    code = _compute(given, store, info, fzset, channels, shams, untrained, more)
    for block in picked if pairs else ():
        keep_pairs(fzset, block)
    if by_images and scan is not None:
        _read_images(given, store, scan, picked, fzset.key.protocol)
    found = [nulls for block in picked if (nulls := read_nulls(store, info, fzset.key, block, scan)) is not None]
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

    def lacking_shams() -> list[tuple[FZSet, str]]:
        sets = (fzset, *fzset.siblings()) if shams else ()
        return [
            (one, block)
            for one in sets
            for block in channels
            if any(missing_responses(one, SHAMS, block, on) for on in VERDICT_TENSORS)
        ]

    if not (lacking_shams() or untrained or seeds):
        return 0
    given.spec.check_computable()
    from streamscope.core.reading.shams import compute_shams

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    network = load(given.spec, given.device) if lacking_shams() or seeds else None

    def job(model: ModelSpec, key: SetKey) -> JobSpec:
        return JobSpec.of_set(model, key, channels, VERDICT_TENSORS, channels, given.device)

    jobs = [(network, job(given.spec, replace(fzset.key, seed=seed))) for seed in seeds]
    if untrained:
        copy = _untrained_copy(given.spec, info)
        jobs += [(None, job(copy, replace(fzset.key, seed=seed))) for seed in _copied_seeds(fzset, channels, seeds)]
    code = next((code for used, spec in jobs if (code := run_visibly(store, spec, used))), 0)
    for one, block in lacking_shams():
        network = network or load(given.spec, given.device)
        with count_progress(f"{block} under sham transforms, seed {one.key.seed}", "FZs") as watch:
            compute_shams(network, one, block, watch)
    if seeds and fzset.completed_at() is not None:
        # Reading commands take the set that was completed last: still the one whose nulls these are.
        fzset.mark_completed("nulls")
    return code


def _untrained_copy(spec: ModelSpec, info: ModelInfo) -> ModelSpec:
    changes = info.unusual
    if not spec.says_preprocessing and spec.weights is not None:
        # The copy does without what lies beside the weights.
        changes = Changes(size=info.input_size, mean=info.mean, std=info.std)
    return ModelSpec(untrained_name(info.name), changes=changes, code=spec.code)


def _read_images(given: Given, store: Store, scan: Scan, blocks: Sequence[str], protocol: Protocol) -> None:
    """Reads what is missing of a scan's images under the nulls: altered MEIs, and the same images by an untrained copy,
    with their patches in the blocks of which the network's own are read."""
    info, kind = scan.info, variant(protocol, in_scan=True)
    altered = [name for name in blocks if scan.has_robust(protocol) and missing_mei_responses(scan, SHAMS, name, kind)]
    if altered:
        given.spec.check_computable()
        from streamscope.core.reading.shams import compute_mei_shams

        signal.signal(signal.SIGTERM, signal.default_int_handler)
        network = load(given.spec, given.device)
        for block in altered:
            with count_progress(f"MEIs of {block} under nulls", "channels") as watch:
                compute_mei_shams(network, scan, block, protocol, watch)
    if given.spec.untrained_seed is not None:
        # A copy of a copy would be the copy itself.
        return
    copies = untrained_copies(store, info)
    lacking = [name for name in blocks if not copies or lacks_image_nulls(store, scan, copies, name, protocol)]
    if not lacking:
        return
    from streamscope.core.reading.photographs import compute_photographs
    from streamscope.core.reading.scan import scan_images

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    spec = _untrained_copy(given.spec, info)
    network = load(spec, given.device)
    store.register(network.info)
    store.remember(spec.text, network.info.identity, network.layout, network.warnings)
    images, interpretation = find_images(scan.source), scan.preparation.interpretation
    with phase_progress() as phases:
        copied = scan_images(network, store, scan.source, images, watch=phases, interpretation=interpretation)
    if scan_of_same_images(store, network.info, scan) is None:
        again = given.commands("scan", scan.source)
        raise StoreError(f"the images of {scan.source} are others than those that were scanned; run '{again}' again")
    for block in lacking:
        if stored_photographs(scan, block) is not None:
            with phase_progress() as phases:
                compute_photographs(network, store, copied, block, phases)


def _copied_seeds(fzset: FZSet, blocks: Iterable[str], seeds: Sequence[int]) -> list[int]:
    """Those of an untrained copy: the set's own, and others that the network has of these blocks, or will have."""
    info = fzset.info
    stored = [
        one.key.seed
        for one in fzset.siblings()
        if any(Readings(one, [info.block(block)]).complete.any() for block in blocks)
    ]
    return list(dict.fromkeys([fzset.key.seed, *seeds, *stored]))[:NULL_SEEDS]


def _calibrate(given: Given, store: Store, fzset: FZSet, blocks: Sequence[str], deciding: int) -> int:
    found = calibrate(fzset, blocks, deciding)
    for problem in store.problems:
        say(f"streamscope: {worded(problem)}", err=True)
    if given.as_json:
        click.echo(json.dumps(_without_nan(asdict(found)), indent=2))
        return 0
    first, rest = (f"{seeds[0]}-{seeds[-1]}" for seeds in (found.deciding, found.held_out))
    say(
        f"{found.every.n // len(found.deciding)} channels of {', '.join(found.blocks)}, of which {found.invariant} are "
        f"scale invariant by most of the seeds {rest}; verdicts by the seeds {first}"
    )
    by = [(f"{count} seed{'s' * (count > 1)}", one) for count, one in found.by_seeds.items()]
    by.append(("together", found.every))
    rows = [
        (
            count,
            *(f"{b.n}: {b.mean:.2f}, {b.share:.2f}" if b.n else "-" for b in one.bins),
            f"{one.error:.3f}",
            f"{one.brier:.3f}",
        )
        for count, one in by
    ]
    bins = [f"{b.low:g}-{b.high:g}" for b in found.every.bins]
    say("verdicts by probability: how many, their mean probability, the share that is true")
    print_whole(("by", *bins, "error", "Brier"), rows)
    spent = found.spending
    decided = spent.yes + spent.no
    right = f"{spent.right / decided:.1%} of those right" if decided else "none decided"
    say(
        f"a seed at a time until decided, at most {len(found.deciding)}: {spent.yes} yes, {spent.no} no, "
        f"{spent.undecided} undecided, {right}, for {spent.share:.1%} of the image-steps of all these seeds"
    )
    return 0


def _without_nan(value: Any) -> Any:
    """As JSON can hold it."""
    if isinstance(value, dict):
        return {name: _without_nan(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(part) for part in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _json(nulls: Nulls) -> dict[str, Any]:
    seeds = nulls.seeds
    return {
        "block": nulls.block,
        "lacking": list(nulls.lacking),
        "coverage": coverage(nulls),
        "real": {name: _share_json(share) for name, share in nulls.real.items()},
        "nulls": [
            {
                "null": null.null,
                "seeds": null.seeds,
                **{
                    name: {
                        "real": _share_json(null.real[name]),
                        "null": _share_json(share),
                        **({"p": null.p[name]} if name in null.p else {}),
                        **({"paired": _paired_json(null.paired[name])} if name in null.paired else {}),
                        **({"excess": _excess_json(nulls, null, name)} if name in null.excess else {}),
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


def _excess_json(nulls: Nulls, null: NullShares, criterion: str) -> dict[str, Any]:
    found: dict[str, Any] = _without_nan(asdict(null.excess[criterion]))
    return {**found, "holm": _without_nan(nulls.holm[null.null, criterion])}


def _print(nulls: Nulls) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in (f"block {nulls.block}", "real, %", "under the null, %", "difference", "p", "Holm p"):
        table.add_column(column)
    for null in nulls.nulls:
        table.add_row(cell(null.null, "bold"))
        for name in (n for n in CRITERIA if n in null.shares):
            shares = _percent(null.real[name]), _percent(null.shares[name])
            label = f"yes over {null.seeds} seeds" if name == "verdict" and null.seeds > 1 else CRITERIA[name]
            found = null.excess.get(name)
            if found is None:
                table.add_row(f"  {label}", *shares, "", number_text(null.p.get(name)), "")
                continue
            difference = f"{100 * found.difference:+.0f} ({100 * found.low:.0f} to {100 * found.high:.0f})"
            tests = number_text(found.p), number_text(nulls.holm[null.null, name])
            table.add_row(f"  {label}", *shares, difference, *tests)
    console = console_for(table)
    console.print(table)
    if nulls.seeds is not None:
        seeds = nulls.seeds
        console.print(f"[bold]{seeds.seeds} seeds[/bold]")
        console.print(f"  same update with another seed         {share_text(seeds.same_update)}")
        console.print(f"  scale invariant, and with another too {share_text(seeds.holds_again)}")
        console.print(f"  not scale invariant, but with another {share_text(seeds.appears)}")
    for why, columns in _uncovered(nulls).items():
        console.print(f"no null of {'; '.join(columns)}: {why}")


def _percent(share: Proportion) -> str:
    """`20.3 (14-28) of 128`: a share, its interval and what it is of."""
    if not share.n:
        return "of none"
    return f"{100 * share.share:.1f} ({100 * share.low:.0f}-{100 * share.high:.0f}) of {share.n}"


def _uncovered(nulls: Nulls) -> dict[str, list[str]]:
    """By why there can be no null: of which columns by which nulls."""
    found: dict[str, list[str]] = {}
    for column, states in coverage(nulls).items():
        by_why: dict[str, list[str]] = {}
        for null, state in states.items():
            if state not in ("computed", "not computed"):
                by_why.setdefault(state, []).append(null)
        for why, names in by_why.items():
            of = column if len(names) == len(states) else f"{column} by {', '.join(names)}"
            found.setdefault(why, []).append(of)
    return found
