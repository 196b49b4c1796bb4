"""`streamscope bundle`: channels in one file, to be handed on and opened read only."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from streamscope.core.errors import UsageError
from streamscope.core.export.bundle import write_bundle
from streamscope.core.export.files import table_meta
from streamscope.core.table.frame import build_frame
from streamscope.tui.advice import worded
from streamscope.tui.cli.lines import say
from streamscope.tui.cli.options import Given, reading_options
from streamscope.tui.cli.printing import counted
from streamscope.tui.cli.progress import count_progress
from streamscope.tui.cli.selection import Selection, selection_options


@click.command("bundle")
@click.argument("file", metavar="OUT.zip", type=click.Path(path_type=Path))
@click.option(
    "--blind",
    is_flag=True,
    help="Leave your marks, tags and notes out: whoever is to judge for themselves must not see yours.",
)
@selection_options
@reading_options
def command(given: Given, selection: Selection, file: Path, blind: bool) -> None:
    """Hand channels on: their table, FZs, marks, notes and tags in one file, OUT.zip.

    It opens read only wherever streamscope is, without the weights, the network's code or PyTorch: --cache OUT.zip, in
    the app and in every command that reads. What is judged over it is kept with the marks of whoever judges, and
    'streamscope marks' exports, imports and compares that.

    The table has every column of these channels' blocks, verdicts over seeds and numbers from images included. FZs are
    those of the chosen channels and of the set that a reading command takes; photographs are not in it.

    \b
    streamscope bundle tonight.zip --marked
    streamscope bundle invariant.zip --block 2.1 --filter scale_invariant --blind
    streamscope --cache tonight.zip
    streamscope --cache tonight.zip marks export mine.csv
    """
    if file.suffix.lower() != ".zip":
        raise UsageError(f"a bundle is a zip: name it {file.name}.zip")
    store = given.store()
    given = given.as_stored(store)
    info = given.stored_info(store)
    selection.by_range(info)
    fzset = given.stored_set(store, info)
    scan = given.stored_scan(store, fzset)
    marks = given.marks(info)
    frame = build_frame(info, fzset, selection.blocks, marks, scan)
    rows = selection.rows(frame, info)
    # Of a blind bundle nothing may tell what was judged: not the table, nor which channels of which mark it has.
    shown = build_frame(info, fzset, selection.blocks, None, scan) if blind else frame
    told: dict[str, Any] = selection.to_json(info) if not blind else {}
    meta = table_meta(info, fzset.key, None if blind else selection.expression, **told)
    meta |= {"images": scan.described if scan else None}
    with count_progress("bundling", "FZs") as watch:
        written = write_bundle(
            file,
            store,
            fzset,
            shown,
            rows,
            meta,
            scan=scan,
            marks=None if blind else marks,
            watch=watch or (lambda done, total: None),
        )
    for problem in store.problems:
        say(f"streamscope: {worded(problem)}", err=True)
    if given.as_json:
        click.echo(json.dumps({"file": str(file), **asdict(written)}))
        return
    judged = "no judgements" if blind else counted(written.judgements, "judgement")
    what = f"{counted(written.channels, 'channel')}, {counted(written.fzs, 'FZ')} and {judged}"
    say(f"wrote {what} to {file} ({written.bytes / 1e6:,.1f} MB)")
