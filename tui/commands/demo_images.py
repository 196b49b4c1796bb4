"""`streamscope demo-images`: draws the demo model's labelled image set."""

from __future__ import annotations

import json
from pathlib import Path

import click

from streamscope.core.model.demo import CLASSES, write_images
from streamscope.tui.cli.lines import say
from streamscope.tui.cli.options import Given, common_options


@click.command("demo-images")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--per-class", type=click.IntRange(min=1), default=50, show_default=True, help="Images of each class.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Another seed draws other images."
)
@common_options
def command(given: Given, folder: Path, per_class: int, seed: int) -> None:
    """Draw the demo model's labelled images into FOLDER, one folder a class."""
    count = write_images(folder, per_class, seed)
    if given.as_json:
        click.echo(json.dumps({"folder": str(folder), "images": count, "classes": list(CLASSES)}))
    else:
        say(f"drew {count} images of {len(CLASSES)} classes in {folder}")
