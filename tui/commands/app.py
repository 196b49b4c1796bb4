"""`streamscope tui`: opens the app."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

import click

from streamscope.core.errors import HomeError, StreamscopeError, UsageError
from streamscope.core.store import Store, marks_folder, recall, stored_spec
from streamscope.tui.app.memory import Memory, state_folder
from streamscope.tui.cli.options import Given, model_named, set_options


@click.command("tui")
@click.option("--graphics", metavar="MODE", help="How images are drawn: auto, kitty, sixel, half or off.")
@click.option("--print-settings", is_flag=True, help="Print a settings file with every setting and every key; no app.")
@set_options
def command(given: Given, graphics: str | None, print_settings: bool) -> None:
    """Open the app (what `streamscope` alone does).

    It opens where you were: without --model on the model you looked at last. Settings, keys among them, are read from
    $STREAMSCOPE_CONFIG, else from config.toml in your configuration folder (~/.config/streamscope on Linux).

    \b
    mkdir -p ~/.config/streamscope
    streamscope tui --print-settings > ~/.config/streamscope/config.toml
    """
    if print_settings:
        import streamscope.tui.app.app  # noqa: F401, whose screens the keys belong to
        from streamscope.tui.app.keymap import example

        click.echo(example(), nl=False)
        return
    open_app(given, graphics)


def open_app(given: Given, graphics: str | None) -> None:
    """Runs the app until it is quit. Raises StreamscopeError where there is no terminal to draw on."""
    from streamscope.tui.terminal.detection import CHOICES

    if graphics is not None and graphics not in CHOICES:
        raise UsageError(f"unknown graphics mode {graphics!r}; use {', '.join(CHOICES)}")
    memory = Memory(state_folder())
    spec = given.spec if model_named() or given.bundle is not None else memory.model() or given.spec
    if not spec.missing:
        _ = spec.text
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise StreamscopeError("not a terminal: the app needs one; 'streamscope --help' lists commands that do not")
    if (term := os.environ.get("TERM", "")) in ("", "dumb"):
        what = "is dumb: this terminal cannot draw the app" if term else "is not set: nothing is known of this terminal"
        raise StreamscopeError(f"TERM {what}; set TERM, for example to xterm-256color")
    store = Store.open(given.root, create=given.bundle is None)
    spec = stored_spec(store, spec)
    if recall(store, spec) is None:
        spec.check_computable()
    # The app collects again once something is painted.
    gc.disable()
    from streamscope.tui.app.app import read_app_settings, run_app
    from streamscope.tui.app.options import AppOptions

    settings = read_app_settings()
    code = run_app(
        AppOptions(
            spec=spec,
            cache=given.root,
            bundle=given.bundle,
            marks=_marks_place(),
            graphics=graphics or settings.graphics,
            device=given.device,
            steps=given.steps,
            seed=given.seed,
            capture=given.capture,
            protocol=given.protocol,
            recipe=given.recipe,
            converged=given.until_converged,
            images=given.images,
            debug=given.debug,
            settings=settings,
            state=_state_place(given),
        )
    )
    if code:
        raise SystemExit(code)


def _marks_place() -> Path | None:
    try:
        return marks_folder()
    except HomeError:
        return None


def _state_place(given: Given) -> Path | None:
    """Of bundles apart: the next start without one is about the model before, where one was in it."""
    folder = state_folder()
    return folder / "bundles" if folder is not None and given.bundle is not None else folder
