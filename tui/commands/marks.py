"""`streamscope marks`: marks, tags and notes as CSV, to share with a colleague."""

from __future__ import annotations

import json
from pathlib import Path

import click

from streamscope.tui.cli.options import Given, common_options


@click.group("marks")
def command() -> None:
    """Export and import your marks, tags and notes of a model."""


@command.command("export")
@click.argument("file", type=click.Path(path_type=Path))
@common_options
def export_command(given: Given, file: Path) -> None:
    """Write the marks, tags and notes of the model to the CSV FILE."""
    info = given.info(given.store())
    count = given.marks(info).export_csv(file)
    click.echo(
        json.dumps({"file": str(file), "channels": count}) if given.as_json else f"wrote {count} judgements to {file}"
    )


@command.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@common_options
def import_command(given: Given, file: Path) -> None:
    """Take over the marks, tags and notes of the CSV FILE; all of them, or none when a line is wrong.

    They must be of the same weights (fingerprint). For a channel that both judged, the import is the later word.
    """
    info = given.info(given.store())
    count = given.marks(info).import_csv(file)
    click.echo(
        json.dumps({"file": str(file), "channels": count}) if given.as_json else f"read {count} judgements from {file}"
    )
