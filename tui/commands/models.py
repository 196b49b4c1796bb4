"""`streamscope models`: which models there are and what is cached of each."""

from __future__ import annotations

import json
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from core.spec import MODELS, architecture_of
from core.store import usage
from tui.given import Given, common_options


@click.command("models")
@common_options
def command(given: Given) -> None:
    """List the models that streamscope knows, their blocks, and what is cached of each."""
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
                "sets": [{"set": str(u.key), "fzs": u.fzs, "bytes": u.bytes, "completed": u.completed} for u in sets],
            }
        )
    for name in MODELS:
        if name not in {info.name for info in infos}:
            rows.append({"model": name, "fingerprint": None, "input_size": None, "blocks": {}, "sets": []})
    rows.sort(key=lambda row: (MODELS.index(architecture_of(row["model"])), row["model"]))
    if given.as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("model", "fingerprint", "blocks (channels)", "stored"):
        table.add_column(name)
    for row in rows:
        blocks = "  ".join(f"{block} ({channels})" for block, channels in row["blocks"].items())
        stored = "\n".join(f"{s['fzs']} FZs: {s['set']}" for s in row["sets"])
        table.add_row(row["model"], (row["fingerprint"] or "")[:12], blocks or "not loaded yet", stored or "nothing")
    Console().print(table)
