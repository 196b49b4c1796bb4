"""`streamscope report`: figures, tables and a site of everything that is stored of a model."""

from __future__ import annotations

import json
from pathlib import Path

import click

from streamscope.tui.advice import worded
from streamscope.tui.cli.lines import say
from streamscope.tui.cli.options import Given, reading_options
from streamscope.tui.cli.steps import wording_of


@click.command("report")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="Folder to write; made if need be. An earlier report there is replaced.",
)
@click.option(
    "--block",
    "blocks",
    multiple=True,
    metavar="B",
    help="Block such as 2.1; may be repeated.  [default: all but the first]",
)
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=12,
    show_default=True,
    metavar="N",
    help="Channels in the lists of top mixes and top scale metrics.",
)
@reading_options
def command(given: Given, out: Path, blocks: tuple[str, ...], top: int) -> None:
    """Write figures (PNG, PDF), tables (CSV) and a site that opens from disk, from what is stored.

    Nothing is optimised: parts that are not stored are said on the pages, with the command that makes them.

    \b
    streamscope report --out report
    streamscope report --block 2.1 --images photographs --out report-2.1
    """
    # matplotlib takes a second to import, which no other command pays for.
    from streamscope.core.report.folder import check_place
    from streamscope.core.report.material import gather
    from streamscope.core.report.site import write_report
    from streamscope.tui.cli.progress import count_progress

    check_place(out)
    store = given.store()
    given = given.as_stored(store)
    info = given.stored_info(store)
    for block in blocks:
        info.block(block)
    fzset = given.stored_set(store, info)
    scan = given.stored_scan(store, fzset)
    material = gather(store, info, fzset, blocks, given.marks(info), scan, wording_of(given.commands, info, fzset))
    with count_progress("writing the report", "channels") as progress:
        problems = write_report(material, out, top, progress)
    for problem in [*store.problems, *problems[:10]]:
        say(f"streamscope: {worded(problem)}", err=True)
    if len(problems) > 10:
        say(f"streamscope: and {len(problems) - 10} more", err=True)
    if given.as_json:
        lines = [worded(problem) for problem in problems]
        click.echo(json.dumps({"out": str(out), "index": str(out / "index.html"), "problems": lines}))
    else:
        count = len(material.blocks)
        said = f"{len(material.frame)} channels of {count} block{'s' if count > 1 else ''}"
        say(f"wrote {out / 'index.html'}: {said}")
