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
from streamscope.core.model.networks import NETWORKS
from streamscope.core.model.preprocessing import IMAGENET_MEAN, IMAGENET_STD, UNCHANGED, Preprocessing, colours_text
from streamscope.core.model.sources.addresses import remembered_code
from streamscope.core.model.spec import MODELS, ModelSpec, architecture_of
from streamscope.core.store import recall
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
    named = {info.identity: info for spec in _named(given) if (info := recall(store, spec)) is not None}
    for info in infos:
        sets = [u for u in used if u.info.identity == info.identity]
        shown_so = named.get(info.identity, info).full_preprocessing
        rows.append(_row(info, shown_so, info.fingerprint, sets))
        identities[id(rows[-1])] = info.identity
    stored = {info.name for info in infos if not info.preprocessing or (info.wanted and info.unusual == UNCHANGED)}
    unstored = [ModelSpec(name) for name in MODELS if name not in stored]
    if given.spec not in _by_name() and recall(store, given.spec) is None:
        unstored.append(given.spec)
    for spec in unstored:
        # Which weights torchvision's are is not known before they are read; what they fit into is.
        bundled = bundled_description(spec.text)
        fingerprint = bundled.fingerprint if bundled is not None else None
        known = bundled or (architecture(spec.architecture) if spec.architecture in MODELS else spec.name)
        rows.append(_row(known, spec.preprocessing if spec.says_preprocessing else None, fingerprint))
    aliases = store.aliases()
    for row in rows:
        own = [alias.spec for alias in aliases if alias.fingerprint == identities.get(id(row))]
        if code := next(filter(None, (remembered_code(row["model"], text) for text in own)), None):
            row["code"] = str(code)
        row["weights"] = [
            {"weights": alias.spec, "layout": alias.layout, "warnings": list(alias.warnings)}
            for alias in aliases
            if (alias.layout or alias.warnings) and alias.fingerprint == identities.get(id(row))
        ]
    order = {name: place for place, name in enumerate((*MODELS, *NETWORKS))}
    rows.sort(key=lambda row: (order.get(architecture_of(row["model"]), len(order)), row["model"]))
    if given.as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    shown = []
    for row in rows:
        cached = [f"{u.counted}: {u.key}" for u in used if u.info.identity == identities.get(id(row))]
        said = [line for w in row["weights"] for line in (w["layout"], *(f"warning: {text}" for text in w["warnings"]))]
        lines = [*cached, *filter(None, said)] or ["nothing"]
        lines += [f"code: {row['code']}"] if "code" in row else []
        pictures = _pictures(row["preprocessing"]) if row["preprocessing"] else ""
        shown.append((row["model"], (row["fingerprint"] or "")[:12], pictures, _blocks(row), lines))
    print_whole(("model", "fingerprint", "pictures", "blocks (channels)", "stored"), shown)
    if others := [name for name in NETWORKS if name not in stored]:
        click.echo(f"others, whose blocks are known once they are loaded: {', '.join(others)}")


def _named(given: Given) -> list[ModelSpec]:
    """Every model by its name, then the one that was given: that says more of the same weights."""
    return [*_by_name(), given.spec]


def _by_name() -> list[ModelSpec]:
    return [ModelSpec(name) for name in (*MODELS, *NETWORKS)]


def _row(
    model: ModelInfo | Architecture | str,
    preprocessing: Preprocessing | None,
    fingerprint: str | None,
    sets: Sequence[Usage] = (),
) -> dict[str, Any]:
    """What is known of a model; of one by its name alone neither blocks nor, for None, what it is shown."""
    name, blocks, studied = (
        (model, (), ()) if isinstance(model, str) else (model.name, model.blocks, model.default_blocks)
    )
    return {
        "model": name,
        "fingerprint": fingerprint,
        "input_size": preprocessing.size if preprocessing else None,
        "preprocessing": preprocessing.to_json() if preprocessing else None,
        "blocks": {block.name: block.channels for block in blocks},
        "default_blocks": list(studied),
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


MOST_PARTS = 12
"""Of a list of blocks; those of a network without a stream are all of its layers."""


def _blocks(row: dict[str, Any]) -> str:
    """Each block with its channels; three and more of a layer that are alike in one, since a layer has up to 36."""

    def kind(item: tuple[str, int]) -> tuple[str, str]:
        name, channels = item
        return name.split(".")[0], f"{channels}{'' if name in row['default_blocks'] else ', only by name'}"

    if not row["blocks"]:
        return "known once it is loaded"
    parts = []
    for (_, text), alike in groupby(row["blocks"].items(), kind):
        names = [name for name, _ in alike]
        if len(names) > 2:
            parts.append(f"{names[0]} to {names[-1]} ({text} each)")
        else:
            parts += [f"{name} ({text})" for name in names]
    more = len(parts) - MOST_PARTS
    return "  ".join(parts if more <= 0 else [*parts[:MOST_PARTS], f"and {more} more"])
