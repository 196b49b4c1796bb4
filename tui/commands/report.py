"""`streamscope report`: figures, tables and a site of everything that is stored of a model."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streamscope.core.errors import UsageError
from streamscope.core.model.blocks import ModelInfo
from streamscope.core.table.frame import Frame
from streamscope.tui.advice import worded
from streamscope.tui.cli.lines import say
from streamscope.tui.cli.options import Given, reading_options
from streamscope.tui.cli.selection import Selection, selection_options
from streamscope.tui.cli.steps import wording_of

if TYPE_CHECKING:
    from streamscope.core.report.material import Chosen


@click.command("report")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="Folder to write, or the file with --single; made if need be. An earlier report there is replaced.",
)
@click.option(
    "--single",
    is_flag=True,
    help="One HTML file with everything in it, to mail: pages, tables and smaller pictures.",
)
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=12,
    show_default=True,
    metavar="N",
    help="Channels in the lists of top mixes and top scale metrics.",
)
@selection_options
@reading_options
def command(given: Given, selection: Selection, out: Path, single: bool, top: int) -> None:
    """Write figures (PNG, PDF), tables (CSV) and a site that opens from disk, from what is stored.

    Nothing is optimised: parts that are not stored are said on the pages, with the command that makes them. Chosen
    channels are those shown one by one; counts, shares and figures stay those of all channels of the blocks.

    \b
    streamscope report --out report
    streamscope report --block 2.1 --images photographs --out report-2.1
    streamscope report --single --marked --out marked.html
    """
    # matplotlib takes a second to import, which no other command pays for.
    from streamscope.core.report.folder import check_place
    from streamscope.core.report.material import gather
    from streamscope.core.report.write import MAILABLE, check_file, write_report, write_single
    from streamscope.tui.cli.progress import count_progress

    if single:
        check_file(out)
    elif out.suffix.lower() in (".html", ".htm"):
        raise UsageError(f"{out} names a file: add --single for a report in one file, or name a folder")
    else:
        check_place(out)
    store = given.store()
    given = given.as_stored(store)
    info = given.stored_info(store)
    selection.by_range(info)
    fzset = given.stored_set(store, info)
    scan = given.stored_scan(store, fzset)
    wording = wording_of(given.commands, info, fzset)
    choose = partial(_chosen, selection, info)
    material = gather(store, info, fzset, selection.blocks, given.marks(info), scan, wording, choose)
    size: int | None = None
    with count_progress("writing the report", "channels") as progress:
        if single:
            written = write_single(material, out, top, progress)
            problems, size = written.problems, written.size
        else:
            problems = write_report(material, out, top, progress)
    for problem in [*store.problems, *problems[:10]]:
        say(f"streamscope: {worded(problem)}", err=True)
    if len(problems) > 10:
        say(f"streamscope: and {len(problems) - 10} more", err=True)
    if size is not None and size > MAILABLE:
        say(f"streamscope: {_too_large(size, material.shown)}", err=True)
    index = out if single else out / "index.html"
    if given.as_json:
        lines = [worded(problem) for problem in problems]
        click.echo(json.dumps({"out": str(out), "index": str(index), "bytes": size, "problems": lines}))
    else:
        count = len(material.blocks)
        length = f", {size / 1e6:.1f} MB" if size is not None else ""
        say(f"wrote {index}: {material.shown} channels of {count} block{'s' if count > 1 else ''}{length}")


def _chosen(selection: Selection, info: ModelInfo, frame: Frame) -> Chosen | None:
    """The channels that pages show one by one; None where all of them are. Raises UsageError where none is."""
    from streamscope.core.report.material import Chosen

    if not selection.narrows:
        return None
    chosen = Chosen(selection.by_block(frame, info), selection.words)
    if not len(chosen):
        raise UsageError(f"no channel of these blocks is chosen by {chosen.by}")
    return chosen


def _too_large(size: int, channels: int) -> str:
    return (
        f"{size / 1e6:.0f} MB for {channels} channels are more than most mail servers take (25 MB a message, "
        f"which a file of 18 MB comes to); choose fewer with --block, --channels, --filter or --marked"
    )
