"""`streamscope table`: the channel table, on the terminal or in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from streamscope.core.errors import UsageError
from streamscope.core.export.files import table_meta, to_csv, to_json
from streamscope.core.export.note import KINDS, NOTE_COLUMNS, kind_of, to_markdown, write_channels
from streamscope.core.table.columns import COLUMNS, DEFAULT_COLUMNS, column, number_text, parse_columns
from streamscope.core.table.filter import HELP
from streamscope.core.table.frame import Frame, build_frame
from streamscope.tui.advice import worded
from streamscope.tui.cli.lines import say
from streamscope.tui.cli.options import Given, reading_options
from streamscope.tui.cli.printing import cell
from streamscope.tui.cli.selection import Selection, selection_options


@click.command(
    "table",
    epilog="\b\n"
    + HELP.replace("\n\n", "\n\n\b\n")
    + "\n\n\b\nColumns:\n"
    + "\n".join(f"  {c.name:18} {c.help}" for c in COLUMNS),
)
@click.option("--sort", metavar="COL", help="Column to sort by; empty fields come last.")
@click.option("--desc", is_flag=True, help="Largest first.")
@click.option("--top", type=click.IntRange(min=1), metavar="N", help="Only the first N rows.")
@click.option(
    "--columns",
    metavar="LIST",
    help="Columns to show, in order, separated by commas.  [default: a few on a terminal, all in csv and json]",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["table", *KINDS]),
    help="md is a Markdown table, and with --out a note with a picture of every channel; png, only with --out, is a "
    "contact sheet of their FZs.  [default: table, or as the --out FILE ends]",
)
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE", help="Write to FILE, with FILE.meta.json beside it."
)
@selection_options
@reading_options
def command(
    given: Given,
    selection: Selection,
    sort: str | None,
    desc: bool,
    top: int | None,
    columns: str | None,
    format_: str | None,
    out: Path | None,
) -> None:
    """Show the channel table: one row a channel, computed or not.

    \b
    streamscope table --block 2.1 --sort scale_metric --desc --top 10
    streamscope table --filter "0.8 < mix_ratio < 1.25 and not marked" --out tonight.csv
    streamscope table --marked --out tonight.md
    streamscope table --block 2.1 --sort scale_metric --desc --top 20 --out top.png
    """
    if sort is not None:
        column(sort)
    names = parse_columns(columns) if columns else None
    store = given.store()
    given = given.as_stored(store)
    info = given.stored_info(store)
    selection.by_range(info)
    fzset = given.stored_set(store, info)
    scan = given.stored_scan(store, fzset)
    frame = build_frame(info, fzset, selection.blocks, given.marks(info), scan)
    rows = selection.rows(frame, info)
    if sort is not None:
        order = frame.order(sort, desc)
        rows = order[np.isin(order, rows)]
    elif desc:
        raise UsageError("--desc needs --sort COL")
    rows = rows[:top]
    for problem in store.problems:
        say(f"streamscope: {worded(problem)}", err=True)

    kind = format_ or ("json" if given.as_json else _by_ending(out))
    everything = tuple(c.name for c in COLUMNS)
    if out is not None:
        if kind == "table":
            raise UsageError(f"--out writes {', '.join(KINDS)}; give --format or a FILE that ends so")
        images = scan.described if scan else None
        told: dict[str, Any] = {**selection.to_json(info), "sort": sort, "descending": desc, "top": top}
        told |= {"rows": len(rows), "images": images}
        meta = table_meta(info, fzset.key, selection.expression, **told)
        shown = names or (NOTE_COLUMNS if kind == "md" else everything)
        write_channels(kind, info, fzset, frame, rows, shown, out, meta)
        say(f"wrote {len(rows)} channels to {out}", err=True)
    elif kind == "table":
        _print(frame, rows, names or DEFAULT_COLUMNS)
    elif kind == "png":
        raise UsageError("a contact sheet goes to a file; give --out FILE.png")
    elif kind == "md":
        click.echo(to_markdown(frame, rows, names or NOTE_COLUMNS), nl=False)
    else:
        click.echo((to_csv if kind == "csv" else to_json)(frame, rows, names or everything), nl=False)


def _by_ending(out: Path | None) -> str:
    if out is None:
        return "table"
    return kind_of(out) or "csv"


def _print(frame: Frame, rows: np.ndarray, names: tuple[str, ...]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name, justify="right" if column(name).kind == "number" else "left", no_wrap=True)
    for row in frame.rows(rows, names):
        table.add_row(*(cell(number_text(value)) for value in row.values()))
    console = Console()
    if not console.is_terminal:
        # Piped into grep or less: rows must not be cut to a width that nobody sees.
        console.width = 2 + sum(max(column(n).width, 8) + 24 for n in names)
    console.print(table)
