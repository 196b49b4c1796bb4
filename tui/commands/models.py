"""`streamscope models`: which models there are and what is cached of each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import click

from streamscope.core.model.blocks import ModelInfo
from streamscope.core.model.descriptions import Architecture, architecture, bundled_description
from streamscope.core.model.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing, colours_text
from streamscope.core.model.spec import MODELS, ModelSpec, architecture_of
from streamscope.core.store.usage import Usage, usage
from streamscope.tui.cli.options import Given, device_options
from streamscope.tui.cli.printing import print_whole


@click.command("models")
@click.option(
    "--check",
    "folder",
    type=click.Path(path_type=Path),
    metavar="IMAGES",
    help="Show the model a folder of images instead: is it what it is taken for, and shown what it was trained on?",
)
@device_options
def command(given: Given, folder: Path | None) -> None:
    """List the models that streamscope knows, their blocks, what pictures they are shown, and what is cached of each.

    The first block's input is the stem's max pool, where gradients are mostly zero, so that its FZs say little: it is
    in no default set, and computed or shown only by name, such as --block 1.0. Retries are FZs that were optimised
    again, with the next seed, for channels whose M was undefined.

    With --check the model is loaded and shown photographs. Where they are in one folder a class, its top-1 accuracy is
    printed with its 95 % interval, and one near chance warned of. In any case what its batch norms meet is compared
    with what they met in training, which tells another mean, deviation or range of colours (not the order of colours).

    \b
    streamscope models --model resnet50 --weights mine.pth --check ~/imagenet/val
    """
    if folder is not None:
        from streamscope.tui.cli.checking import check_model

        check_model(given, folder)
        return
    store = given.store()
    used = usage(store)
    rows: list[dict[str, Any]] = []
    identities: dict[int, str] = {}
    infos = store.models()
    # Of models that can be named, what their weights want holds: an older description does not say it.
    named = {info.identity: spec for spec in _named(given) if (info := store.recall(spec.text)) is not None}
    for info in infos:
        sets = [u for u in used if u.info.identity == info.identity]
        spec = named.get(info.identity)
        rows.append(_row(info, spec.preprocessing if spec else info.full_preprocessing, info.fingerprint, sets))
        identities[id(rows[-1])] = info.identity
    stored = {info.name for info in infos if not info.preprocessing}
    unstored = [ModelSpec(name) for name in MODELS if name not in stored]
    if given.spec not in (*map(ModelSpec, MODELS), *named.values()):
        unstored.append(given.spec)
    for spec in unstored:
        # Which weights torchvision's are is not known before they are read; what they fit into is.
        bundled = bundled_description(spec.text)
        fingerprint = bundled.fingerprint if bundled is not None else None
        rows.append(_row(bundled or architecture(spec.architecture), spec.preprocessing, fingerprint))
    aliases = store.aliases()
    for row in rows:
        row["weights"] = [
            {"weights": alias.spec, "layout": alias.layout, "warnings": list(alias.warnings)}
            for alias in aliases
            if (alias.layout or alias.warnings) and alias.fingerprint == identities.get(id(row))
        ]
    order = {name: place for place, name in enumerate(MODELS)}
    rows.sort(key=lambda row: (order.get(architecture_of(row["model"]), len(order)), row["model"]))
    if given.as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    shown = []
    for row in rows:
        cached = [f"{u.counted}: {u.key}" for u in used if u.info.identity == identities.get(id(row))]
        said = [line for w in row["weights"] for line in (w["layout"], *(f"warning: {text}" for text in w["warnings"]))]
        lines = [*cached, *filter(None, said)] or "nothing"
        pictures = _pictures(row["preprocessing"])
        shown.append((row["model"], (row["fingerprint"] or "")[:12], pictures, _blocks(row), lines))
    print_whole(("model", "fingerprint", "pictures", "blocks (channels)", "stored"), shown)


def _named(given: Given) -> list[ModelSpec]:
    """Every model by its name, then the one that was given: that says more of the same weights."""
    return [*map(ModelSpec, MODELS), given.spec]


def _row(
    model: ModelInfo | Architecture,
    preprocessing: Preprocessing,
    fingerprint: str | None,
    sets: Sequence[Usage] = (),
) -> dict[str, Any]:
    return {
        "model": model.name,
        "fingerprint": fingerprint,
        "input_size": preprocessing.size,
        "preprocessing": preprocessing.to_json(),
        "blocks": {block.name: block.channels for block in model.blocks},
        "default_blocks": list(model.default_blocks),
        "sets": [
            {
                "set": str(u.key),
                "fzs": u.fzs,
                "retries": u.retries,
                "bytes": u.bytes,
                "completed": u.completed,
            }
            for u in sets
        ],
    }


def _pictures(preprocessing: dict[str, Any]) -> str:
    """`256 to 224 px bilinear`, of the demo, whose images fit, `64 px bilinear`; colours where not ImageNet's."""
    colours = (tuple(preprocessing["mean"]), tuple(preprocessing["std"]))
    unusual = "" if colours == (IMAGENET_MEAN, IMAGENET_STD) else f", {colours_text(*colours)}"
    resize, size = preprocessing["resize"], preprocessing["input_size"]
    resized = f"{resize} to {size} px" if resize != size else f"{size} px"
    return f"{resized} {preprocessing['interpolation']}{unusual}"


def _blocks(row: dict[str, Any]) -> str:
    """Each block with its channels; three and more of a layer that are alike in one, since a layer has up to 36."""

    def kind(item: tuple[str, int]) -> tuple[str, str]:
        name, channels = item
        return name.split(".")[0], f"{channels}{'' if name in row['default_blocks'] else ', only by name'}"

    parts = []
    for (_, text), alike in groupby(row["blocks"].items(), kind):
        names = [name for name, _ in alike]
        if len(names) > 2:
            parts.append(f"{names[0]} to {names[-1]} ({text} each)")
        else:
            parts += [f"{name} ({text})" for name in names]
    return "  ".join(parts)
