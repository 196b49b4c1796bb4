"""`streamscope compare`: which verdicts differ between two stored sets, and by which change."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from streamscope.core.analysis.attribution import Altered, Attribution, Move, Versions, attribute, moves_of
from streamscope.core.analysis.comparison import changed_channels, compare_sets
from streamscope.core.analysis.set_pairs import SetPair
from streamscope.core.errors import StoreError, UsageError
from streamscope.core.export.comparison import channels_csv, comparison_json, set_json
from streamscope.core.export.files import FORMATS, table_meta, write_with_meta
from streamscope.core.model.blocks import ModelInfo, format_channels
from streamscope.core.store import FZSet, Store
from streamscope.core.table.frame import Frame, build_frame
from streamscope.tui.advice import worded
from streamscope.tui.cli.comparison_tables import print_comparison
from streamscope.tui.cli.lines import say
from streamscope.tui.cli.loading import load
from streamscope.tui.cli.options import Given
from streamscope.tui.cli.progress import count_progress
from streamscope.tui.cli.selection import Selection, selection_options
from streamscope.tui.cli.two_sets import TwoSetsCommand, TwoValues, stored_pair, two_set_options
from streamscope.tui.command_lines import block_words, set_words


@click.command("compare", cls=TwoSetsCommand)
@click.option(
    "--attribute",
    "attributed",
    is_flag=True,
    help="Of two protocols, tell by which change verdicts differ, and what moving c by half a pixel does to either: "
    "reads the FZs again, no new FZs, seconds to minutes.",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["table", *FORMATS]),
    help="csv has the channels that change, json everything.  [default: table, or as the --out FILE ends]",
)
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE", help="Write to FILE, with FILE.meta.json beside it."
)
@selection_options
@two_set_options
def command(
    given: Given, two: TwoValues, selection: Selection, attributed: bool, format_: str | None, out: Path | None
) -> None:
    """Put two stored sets side by side that differ in one thing: the option that is given two values.

    For each block: M and the kinds of update in either, and how many channels go from one to another (share with 95 %
    Wilson interval, Cohen's kappa); how many meet each criterion in either, gain and lose it, and the Jaccard index of
    the channels called scale invariant; Spearman's rho of M and of the scale metric. Then the channels whose kind of
    update differs, or whether they are scale invariant. Counted are the channels that both sets have. A --filter is
    about the first set.

    --attribute goes from the paper's protocol to the centred one, one change at a time: jitter (the transforms that FZs
    are made under), recipe, centre (the point that S and S- are about) and kernel (bilinear, then Lanczos as the mean
    over half-pixel moves). Jitter and recipe are told apart where a set by the centred protocol and the paper's recipe
    is stored.

    \b
    streamscope compare --protocol paper centred --block 2.1 --attribute
    streamscope compare --seed 0 1 --protocol centred --out seeds.json
    """
    if attributed and two.differ != "protocol":
        raise UsageError("--attribute is about two protocols: --protocol paper centred")
    kind = format_ or ("json" if given.as_json else _by_ending(out))
    if out is not None and kind == "table":
        raise UsageError(f"--out writes {' or '.join(FORMATS)}; give --format or a FILE that ends so")
    store = given.store()
    given = given.as_stored(store)
    info = given.stored_info(store)
    selection.by_range(info)
    words = (*block_words(selection.blocks), *(("--channels", selection.channels) if selection.channels else ()))
    pair = stored_pair(given, two, store, info, words)
    before, after = _frames(given, store, info, pair, selection)
    changes, channels = compare_sets(before, after), changed_channels(before, after)
    attributions: list[Attribution] = []
    moves: list[Move] = []
    if attributed:
        attributions, moves = _attribute(given, store, pair, before)
    for problem in store.problems:
        say(f"streamscope: {worded(problem)}", err=True)

    if kind == "table":
        print_comparison(pair, changes, channels, attributions, moves)
        return
    if kind == "csv":
        text = channels_csv(channels, attributions)
    else:
        text = comparison_json(pair, changes, channels, attributions, moves)
    if out is None:
        click.echo(text, nl=False)
        return
    sets = {"before": set_json(pair.first.key), "after": set_json(pair.second.key)}
    told = {**selection.to_json(info), "differ": pair.differ, "sets": sets, "format": kind}
    write_with_meta(out, text, table_meta(info, None, selection.expression, **told))
    say(f"wrote {kind} of {len(before)} compared channels to {out}", err=True)


def _by_ending(out: Path | None) -> str:
    if out is None:
        return "table"
    return "json" if out.suffix == ".json" else "csv"


def _frames(given: Given, store: Store, info: ModelInfo, pair: SetPair, selection: Selection) -> tuple[Frame, Frame]:
    """The rows of either set that are selected and computed in both.

    Raises StoreError where there are none, or none of a block that was named; UsageError where none is selected.
    """
    marks, scan = (given.marks(info), given.stored_scan(store, pair.first)) if selection.needs_table else (None, None)
    frames = [build_frame(info, fzset, selection.blocks, marks, scan) for fzset in (pair.first, pair.second)]
    rows = selection.rows(frames[0], info)
    if not len(rows):
        raise UsageError("no channel is selected; nothing to compare")
    before, after = (frame.take(rows) for frame in frames)
    computed = [~np.isnan(frame["fz_seed"]) for frame in (before, after)]
    both = computed[0] & computed[1]
    blocks = dict.fromkeys(before["block"].tolist())
    absent = [block for block in blocks if not both[before["block"] == block].any()]
    if absent and (selection.blocks or len(absent) == len(blocks)):
        of_block = before["block"] == absent[0]
        channels = before["channel"][of_block].astype(np.int64)
        raise _nothing_in_common(given, info, pair, absent[0], channels, [c[of_block] for c in computed])
    return before.take(both), after.take(both)


def _nothing_in_common(
    given: Given,
    info: ModelInfo,
    pair: SetPair,
    block: str,
    channels: NDArray[np.int64],
    computed: Sequence[NDArray[np.bool_]],
) -> StoreError:
    """Says how the one set gets the channels of a block that the other has; both lack them where `computed` says so."""
    fzset, other = (pair.second, computed[0]) if computed[0].any() else (pair.first, computed[1])
    wanted = (channels[other] if other.any() else channels).tolist()
    numbers = () if len(wanted) == info.block(block).channels else ("--channels", format_channels(wanted))
    how = given.commands("compute", "--block", block, *numbers, *set_words(fzset.key, info))
    return StoreError(f"the two sets have no channel of {block} in common; run '{how}' first")


def _attribute(given: Given, store: Store, pair: SetPair, rows: Frame) -> tuple[list[Attribution], list[Move]]:
    """From the paper's set to the centred one, whichever of them is the first."""
    from streamscope.core.reading.altered import read_altered

    paper, centred = sorted((pair.first, pair.second), key=lambda fzset: fzset.key.protocol != "paper")
    network = load(given.spec, given.device)

    def read(fzset: FZSet, block: str, channels: NDArray[np.int64], versions: Versions) -> Altered:
        with count_progress(f"{block}, {fzset.key.protocol} FZs", "FZs") as watch:
            return read_altered(network, fzset, block, channels, versions, watch)

    attributions, moves = [], []
    for block in dict.fromkeys(rows["block"].tolist()):
        channels = rows["channel"][rows["block"] == block].astype(np.int64)
        attributions.append(attribute(store, paper, centred, block, channels, read))
        moves += [*moves_of(paper, block, channels, read), *moves_of(centred, block, channels, read)]
    lacking = [found for found in attributions if found.lacking is not None]
    if lacking:
        how = _between(given, paper.info, lacking)
        say(f"streamscope: jitter and recipe are attributed together; run '{how}' to tell them apart", err=True)
    return attributions, moves


def _between(given: Given, info: ModelInfo, lacking: Sequence[Attribution]) -> str:
    """The command that makes what is not stored of the set between two protocols."""
    blocks = block_words(found.block for found in lacking)
    alike = {found.channels for found in lacking}
    whole = len(alike) > 1 or len(lacking[0].channels) == info.block(lacking[0].block).channels
    numbers = () if whole else ("--channels", format_channels(lacking[0].channels))
    key = lacking[0].lacking
    return given.commands("compute", *blocks, *numbers, *(set_words(key, info) if key else ()))
