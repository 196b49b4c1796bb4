"""Lines for people on stdout and stderr. Rich, which takes time to import, is for tables only (`printing`)."""

from __future__ import annotations

import click

from streamscope.core.text import visible


def say(line: str, *, err: bool = False) -> None:
    """Prints one line; what a terminal would obey in it, line breaks included, is shown instead."""
    click.echo(visible(line), err=err)
