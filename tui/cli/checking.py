"""What `streamscope models --check IMAGES` does and says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streamscope.core.errors import ClassNamesError
from streamscope.core.images.folder import Preparation, list_images
from streamscope.core.measures.batch_norms import (
    FIRST_RATIO,
    FIRST_SHIFT,
    LATER_RATIO,
    LATER_SHIFT,
    first_fits,
    later_fit,
    typical_factor,
    typical_shift,
)
from streamscope.core.model.classes import match_classes
from streamscope.tui.cli.lines import say
from streamscope.tui.cli.loading import load
from streamscope.tui.cli.options import Given
from streamscope.tui.cli.progress import count_progress

if TYPE_CHECKING:
    from streamscope.core.engine.network import Network
    from streamscope.core.reading.check import Check

NAMED = 5
"""Unreadable images that are named one by one."""
ENOUGH = 30
"""Images below which statistics of batch norms are those of few pictures more than of preprocessing."""


def check_model(given: Given, folder: Path) -> None:
    """Shows the model the images, and prints what is found; what is amiss is said on stderr."""
    found = list_images(folder)
    from streamscope.core.reading.check import COLOURS, check_network

    network = load(given.spec, given.device)
    labels = {image.label for image in found.images}
    classes = None
    if labels != {""} and network.classes is not None:
        try:
            classes = match_classes(labels, network.class_names, network.classes)
        except ClassNamesError as error:
            say(f"streamscope: accuracy is not measured: {error}", err=True)
    with count_progress(f"checking {network.info.name}", "images") as watch:
        check = check_network(network, folder, found.images, classes, watch=watch)
    colours = COLOURS[check.better].words() if check.better else ()
    warnings = _warnings(network, check, colours)
    if given.as_json:
        click.echo(json.dumps(_json(network, folder, check, colours, warnings), indent=2))
    else:
        _print(network, folder, check)
    for path, what in check.unreadable[:NAMED]:
        say(f"streamscope: left out {path}: {what}", err=True)
    if len(check.unreadable) > NAMED:
        say(f"streamscope: and {len(check.unreadable) - NAMED} more; --json names all", err=True)
    for warning in warnings:
        say(f"streamscope: warning: {warning}", err=True)


def _print(network: Network, folder: Path, check: Check) -> None:
    info = network.info
    say(f"{info.name} {info.fingerprint[:12]}, {check.images} images of {folder}: {Preparation.of(info)}")
    if check.accuracy is not None:
        share = check.accuracy
        say(
            f"top-1 accuracy {share.share:.3f} ({share.low:.3f}-{share.high:.3f}): {share.k} of {share.n} images, "
            f"{check.classes} classes"
        )
    if check.layers:
        first = check.layers[0]
        say(
            f"what batch norms meet, against training: {first.name} variances {first.ratio:.3g} times, means "
            f"{first.shift:.3g} deviations off; the median of {len(check.layers)} layers a factor of "
            f"{typical_factor(check.layers):.3g}, {typical_shift(check.layers):.3g} deviations off"
        )
    else:
        say("the batch norms keep no statistics of training (folded into convolutions, or untrained): not compared")


def _warnings(network: Network, check: Check, colours: tuple[str, ...]) -> list[str]:
    found = []
    if check.near_chance:
        found.append(
            f"accuracy is near chance (1 of {check.classes}): the classes are in another order than taken here, the "
            "images of other classes, or the network or its preprocessing is another"
        )
    if not check.layers:
        return found
    few = f", though {check.images} images say little" if check.images < ENOUGH else ""
    first = check.layers[0]
    if not first_fits(first):
        line = (
            f"{first.name} meets other values than in training{few} (usual: variances within a factor of "
            f"{FIRST_RATIO:g}, means within {FIRST_SHIFT:g} deviations): mean, deviation or range of the colours differ"
        )
        if check.better:
            line += f"; {check.better} fit: {' '.join(colours)}"
        found.append(line)
    elif not later_fit(check.layers):
        found.append(
            f"later layers meet other values than in training{few} (usual: a factor of {LATER_RATIO:g}, "
            f"{LATER_SHIFT:g} deviations), the first does not: the pictures are of another kind or size than those of "
            f"training (shown at {network.info.input_size} px), or the network is another in between"
        )
    return found


def _json(
    network: Network, folder: Path, check: Check, colours: tuple[str, ...], warnings: list[str]
) -> dict[str, Any]:
    accuracy = check.accuracy
    share = None
    if accuracy is not None:
        share = {"right": accuracy.k, "n": accuracy.n, "accuracy": accuracy.share}
        share |= {"low": accuracy.low, "high": accuracy.high, "classes": check.classes}
    return {
        "model": network.info.name,
        "fingerprint": network.info.fingerprint,
        "preprocessing": network.info.full_preprocessing.to_json(),
        "folder": str(folder),
        "images": check.images,
        "unreadable": [{"path": path, "problem": what} for path, what in check.unreadable],
        "accuracy": share,
        "layers": [{"name": fit.name, "shift": fit.shift, "ratio": fit.ratio} for fit in check.layers],
        "better": {"what": check.better, "options": list(colours)} if check.better else None,
        "warnings": warnings,
    }
