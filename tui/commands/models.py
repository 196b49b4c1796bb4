"""`streamscope models`: which models there are and what is cached of each."""

from __future__ import annotations

import json
from typing import Any

import click

from streamscope.core.model.spec import MODELS, architecture_of
from streamscope.core.store import usage
from streamscope.tui.cli.options import Given, common_options
from streamscope.tui.cli.printing import print_whole


@click.command("models")
@common_options
def command(given: Given) -> None:
    """List the models that streamscope knows, their blocks, and what is cached of each.

    The first block's input is the stem's max pool, where gradients are mostly zero, so that its FZs say little: it is
    in no default set, and computed or shown only by name, such as --block 1.0. Retries are FZs that were optimised
    again, with the next seed, for channels whose M was undefined.
    """
    store = given.store()
    used = usage(store)
    rows: list[dict[str, Any]] = []
    infos = store.models()
    for info in infos:
        sets = [u for u in used if u.info.fingerprint == info.fingerprint]
        rows.append(
            {
                "model": info.name,
                "fingerprint": info.fingerprint,
                "input_size": info.input_size,
                "blocks": {block.name: block.channels for block in info.blocks},
                "default_blocks": list(info.default_blocks),
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
        )
    for name in MODELS:
        if name not in {info.name for info in infos}:
            unknown: dict[str, Any] = {
                "fingerprint": None,
                "input_size": None,
                "blocks": {},
                "default_blocks": [],
                "sets": [],
            }
            rows.append({"model": name, **unknown})
    rows.sort(key=lambda row: (MODELS.index(architecture_of(row["model"])), row["model"]))
    if given.as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    shown = []
    for row in rows:
        blocks = "  ".join(
            f"{block} ({channels}{'' if block in row['default_blocks'] else ', only by name'})"
            for block, channels in row["blocks"].items()
        )
        stored = "\n".join(
            f"{u.counted}: {u.key}" for u in used if row["fingerprint"] and u.info.fingerprint == row["fingerprint"]
        )
        shown.append((row["model"], (row["fingerprint"] or "")[:12], blocks or "not loaded yet", stored or "nothing"))
    print_whole(("model", "fingerprint", "blocks (channels)", "stored"), shown)
