"""`streamscope tui`: opens the app."""

from __future__ import annotations

import os
import sys

import click

from core.errors import StreamscopeError, UsageError
from core.store import Store, marks_folder
from tui.given import Given, set_options


@click.command("tui")
@click.option(
    "--graphics", metavar="MODE", default="auto", help="How images are drawn: auto, kitty, sixel, half or off."
)
@set_options
def command(given: Given, graphics: str) -> None:
    """Open the app (what `streamscope` alone does)."""
    open_app(given, graphics)


def open_app(given: Given, graphics: str) -> None:
    """Runs the app until it is quit. Raises StreamscopeError where there is no terminal to draw on."""
    from tui.graphics import CHOICES

    if graphics not in CHOICES:
        raise UsageError(f"unknown graphics mode {graphics!r}; use {', '.join(CHOICES)}")
    spec = given.spec
    _ = spec.text
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise StreamscopeError("not a terminal: the app needs one; 'streamscope --help' lists commands that do not")
    if os.environ.get("TERM", "dumb") == "dumb":
        raise StreamscopeError(
            "TERM is dumb: this terminal cannot draw the app; set TERM, for example to xterm-256color"
        )
    Store.open(given.root, create=True)
    from tui.app import AppOptions, run_app

    code = run_app(
        AppOptions(
            spec=spec,
            cache=given.root,
            marks=marks_folder(),
            graphics=graphics,
            device=given.device,
            steps=given.steps,
            seed=given.seed,
            capture=given.capture,
            images=given.images,
            debug=given.debug,
        )
    )
    if code:
        raise SystemExit(code)
