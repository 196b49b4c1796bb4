"""`streamscope ablate`: accuracy across zooms with chosen channels held at their means, against matched controls."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from streamscope.core.analysis.ablation import controls_text, sets_count
from streamscope.core.errors import UsageError
from streamscope.core.images.folder import list_images
from streamscope.core.images.pixels import Interpretation
from streamscope.core.measures.ablation import RESAMPLES, ZOOMS, AblationRequest, Ratio
from streamscope.core.measures.statistics import Proportion
from streamscope.core.model.blocks import ModelInfo, format_channels
from streamscope.core.model.classes import match_classes, read_class_names
from streamscope.core.store import Store
from streamscope.core.store.ablations import Ablation, write_ablation
from streamscope.core.table.frame import build_frame
from streamscope.tui.cli.images import described_files, interpretation_options, say_files
from streamscope.tui.cli.lines import say
from streamscope.tui.cli.loading import load
from streamscope.tui.cli.options import Given, set_options
from streamscope.tui.cli.progress import count_progress
from streamscope.tui.cli.selection import Selection, selection_options


@click.command("ablate")
@click.argument("folder", metavar="IMAGES", type=click.Path(path_type=Path))
@click.option(
    "--controls",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    metavar="N",
    help="Matched control sets, at most, and as many random ones.",
)
@click.option(
    "--zooms",
    metavar="LIST",
    default=",".join(f"{zoom:g}" for zoom in ZOOMS),
    show_default=True,
    help="Zooms s from 1 to below 2: the middle int(side * (2 - s)) px, resized back. 1.5 magnifies twice.",
)
@click.option(
    "--control-seed",
    type=click.IntRange(min=0),
    metavar="N",
    default=0,
    show_default=True,
    help="Another seed draws other control sets.",
)
@click.option(
    "--classes",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Names of the classes, a line each, in the order of the network's scores.  [default: those that the weights "
    "have, else the folders in sorted order where there is one for each class]",
)
@interpretation_options
@selection_options
@set_options
def command(
    given: Given,
    selection: Selection,
    folder: Path,
    controls: int,
    zooms: str,
    control_seed: int,
    classes: Path | None,
    interpretation: Interpretation,
) -> None:
    """Classify the labelled IMAGES, one folder a class, with channels of a block ablated.

    Every value of the channels in the block's output is set to their mean activation there. Without --channels,
    --filter or --marked the scale-invariant channels are ablated. Each control set has as many other channels of the
    same block, matched one to one on the mean and the variance of their activation within 0.4 deviations,
    without looking at any accuracy. Control sets have as few channels in common as that allows; what they share is
    said. Random sets of the same size stand beside them.

    \b
    streamscope ablate photographs --block 2.1
    streamscope ablate photographs --block 2.1 --filter "update == 'mix'" --controls 20 --zooms 1,1.25,1.5
    """
    if not selection.blocks:
        raise UsageError("name a block to ablate channels of, such as --block 2.1")
    wanted = _parse_zooms(zooms)
    given.check_writable()
    found = list_images(folder)
    store = given.store()
    # Channels that are told need nothing stored.
    told = selection.channels is not None and not selection.needs_table
    given = given if told else given.as_stored(store)
    network = None
    info = given.recalled(store) if told else given.stored_info(store)
    if info is None:
        network = load(given.spec, given.device)
        info = network.info
    picked, fzset = _pick(given, selection, store, info)
    requests = [
        AblationRequest(block, channels, _selected(selection), fzset, controls, wanted, control_seed)
        for block, channels in picked.items()
    ]
    for request in requests:
        request.check(info)

    from streamscope.core.reading.ablation import ablate, check_classifier

    network = network or load(given.spec, given.device)
    count = check_classifier(network)
    names = read_class_names(classes, count) if classes is not None else network.class_names
    indices = match_classes([image.label for image in found.images], names, count)
    if names is None and not all(label.isdecimal() for label in indices):
        say(
            "streamscope: the classes are taken to be the folders in sorted order, since the weights do not say what "
            "theirs are called",
            err=True,
        )
    store = Store.open(given.root, create=True)
    store.register(network.info)
    store.remember(given.spec.text, network.info.identity, network.layout, network.warnings)
    model = store.folder(network.info)
    assert model is not None
    results = []
    for request in requests:
        with count_progress(f"ablating {request.block}", "images") as watch:
            results.append(ablate(network, folder, request, watch, interpretation, names))
        write_ablation(model, results[-1])
    if given.as_json:
        described = [
            {**result.to_json(), "files": described_files(found, result.unreadable, dict(result.traits))}
            for result in results
        ]
        click.echo(json.dumps(described, indent=2))
        return
    for result in results:
        _print(result, controls)
    last = results[-1]
    say_files(found, last.unreadable, dict(last.traits), interpretation)


def _parse_zooms(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"malformed zooms {text!r}; write for example --zooms 1,1.25,1.5") from None


def _pick(
    given: Given, selection: Selection, store: Store, info: ModelInfo
) -> tuple[Mapping[str, tuple[int, ...]], str | None]:
    """Channels of each block, and the folder name of the set that they were chosen by, if by any."""
    by_range = selection.by_range(info)
    if by_range and not selection.needs_table:
        return by_range, None
    fzset = given.stored_set(store, info)
    frame = build_frame(info, fzset, selection.blocks, given.marks(info), given.stored_scan(store, fzset))
    if by_range or selection.needs_table:
        return selection.by_block(frame, info), fzset.key.folder
    invariant = frame["scale_invariant"]
    picked = {}
    for block in dict.fromkeys(frame["block"].tolist()):
        here = frame["block"] == block
        picked[block] = tuple(frame["channel"][here & (invariant == 1)].astype(int).tolist())
        if not picked[block]:
            raise UsageError(
                f"none of the {np.isfinite(invariant[here]).sum()} measured channels of {block} is scale invariant; "
                "choose channels with --channels, --filter or --marked"
            )
    return picked, fzset.key.folder


def _selected(selection: Selection) -> str:
    parts = [f"--channels {selection.channels}"] if selection.channels is not None else []
    parts += [f"--filter {selection.expression!r}"] if selection.expression is not None else []
    parts += ["--marked"] if selection.marked else []
    return " ".join(parts) or "scale_invariant"


def _print(result: Ablation, asked: int) -> None:
    say(
        f"{result.model} {result.block}: channels {format_channels(result.channels)} ({result.selected}) at their "
        f"means; {result.images} images of {result.classes} classes in {result.folder}"
    )
    for path, reason in result.unreadable:
        say(f"streamscope: left out {path}: {reason}", err=True)
    # On a narrow terminal an interval goes below its number rather than off the edge.
    widths = {"zoom": 4, "true\nzoom": 4, "intact": 6, "ablated": 7, "controls": 13}
    widths |= {"ablated /\nintact": 13, "ablated /\ncontrols": 13}
    counted = sets_count(result)
    if counted:
        widths["as\nlow"] = 5
    table = _table(widths)
    for zoom in result.zooms:
        table.add_row(
            f"{zoom.zoom:g}",
            f"{zoom.true_zoom:.2f}",
            f"{zoom.intact.share:.3f}",
            f"{zoom.chosen.share:.3f}",
            _shares(zoom.controls),
            _ratio(zoom.chosen_to_intact),
            _ratio(zoom.chosen_to_controls),
            *([f"{zoom.controls_at_or_below}/{len(zoom.controls)}"] if counted else []),
        )
    console = Console()
    if not console.is_terminal:
        console.width = 140
    console.print(table)
    if result.random is not None:
        console.print(_random_table(result))
    if len(result.controls.sets) < asked:
        say(f"The caliper leaves too few channels for {asked} different control sets; there are fewer.")
    for sentence in controls_text(result):
        say(sentence)
    say(
        f"Ratios with 95 % intervals, {RESAMPLES} resamples of the images in pairs, the sets held fixed. As low: sets "
        "with an accuracy no higher than the ablated one."
    )


def _random_table(result: Ablation) -> Table:
    table = _table({"zoom": 4, "ablated": 7, "random sets": 13, "ablated /\nrandom": 13, "as\nlow": 5})
    for zoom in result.zooms:
        assert zoom.chosen_to_random is not None
        table.add_row(
            f"{zoom.zoom:g}",
            f"{zoom.chosen.share:.3f}",
            _shares(zoom.random),
            _ratio(zoom.chosen_to_random),
            f"{zoom.random_at_or_below}/{len(zoom.random)}",
        )
    return table


def _table(widths: Mapping[str, int]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, width in widths.items():
        table.add_column(name, justify="right", min_width=width)
    return table


def _shares(sets: Sequence[Proportion]) -> str:
    """Mean over the sets, lowest and highest accuracy."""
    shares = [found.share for found in sets]
    return f"{np.mean(shares):.3f} ({min(shares):.3f}-{max(shares):.3f})"


def _ratio(ratio: Ratio) -> str:
    return "" if np.isnan(ratio.value) else f"{ratio.value:.3f} ({ratio.low:.3f}-{ratio.high:.3f})"
