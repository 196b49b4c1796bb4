"""`streamscope marks`: marks, tags and notes as CSV, to share with a colleague."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from streamscope.core.model.blocks import ModelInfo
from streamscope.core.model.spec import DEMO_MODEL, ModelSpec
from streamscope.core.store import Marks, Store, marks_folder
from streamscope.core.store.marks.exchange import ImportRow, by_fingerprint, contradictions, read_csv
from streamscope.tui.advice import worded
from streamscope.tui.cli.lines import say
from streamscope.tui.cli.options import PREPROCESSING_NAMES, Given, common_options


@click.group("marks")
def command() -> None:
    """Export and import your marks, tags and notes of a model."""


@command.command("export")
@click.argument("file", type=click.Path(path_type=Path))
@common_options
def export_command(given: Given, file: Path) -> None:
    """Write the marks, tags and notes of the model to the CSV FILE.

    A text that a spreadsheet would run (it begins with =, +, - or @) has an apostrophe before it, a control character
    is written as \\x1b; importing undoes both.
    """
    store = given.store()
    info = given.as_stored(store).info(store)
    marks = Marks(marks_folder(), info.identity, info.name)
    count = marks.export_csv(file)
    for problem in marks.problems:
        say(f"streamscope: {worded(problem)}", err=True)
    if given.as_json:
        click.echo(json.dumps({"file": str(file), "channels": count}))
    else:
        say(f"wrote {count} judgements to {file}")


@command.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@common_options
def import_command(given: Given, file: Path) -> None:
    """Take over the marks, tags and notes of the CSV FILE; all of them, or none when a line is wrong.

    Each row is of the weights whose fingerprint it has, and goes to their marks; --model or --weights takes the rows of
    one model only. A block or channel that its model does not have is wrong. For a channel that both judged, the
    import is the later word; of two rows of one channel the later one holds.
    """
    store = given.store()
    models = _models(store)
    rows = read_csv(file, models)
    taken = _of_model(given, store, rows) if _names_model() else rows
    known = {info.fingerprint: info for info in models}
    channels = unknown = 0
    for fingerprint, own in by_fingerprint(taken).items():
        name = known[fingerprint].name if fingerprint in known else own[0].model
        count = Marks(marks_folder(), fingerprint, name).take_over(own)
        channels += count
        unknown += count * (fingerprint not in known)
    others, contradicting = len({row.key for row in rows} - {row.key for row in taken}), contradictions(taken)
    if given.as_json:
        counts = {"channels": channels, "unknown_models": unknown, "other_models": others, "repeated": contradicting}
        click.echo(json.dumps({"file": str(file), **counts}))
        return
    if contradicting:
        say(f"streamscope: {contradicting} channels are judged twice in {file}; the last row holds", err=True)
    apart = f", {unknown} of them for models that this store does not know" if unknown else ""
    left = f"; left {others} of other models" if others else ""
    say(f"read {channels} judgements from {file}{apart}{left}")


def _models(store: Store) -> list[ModelInfo]:
    """Models whose blocks are known here without their weights."""
    demo = store.recall(ModelSpec(DEMO_MODEL).text)
    return [*store.models(), *([demo] if demo is not None else [])]


def _names_model() -> bool:
    """Whether a model was named on the command line, here or before the command."""
    context: click.Context | None = click.get_current_context()
    while context is not None:
        if any(context.params.get(name) is not None for name in ("model", "weights", *PREPROCESSING_NAMES)):
            return True
        context = context.parent
    return False


def _of_model(given: Given, store: Store, rows: Sequence[ImportRow]) -> list[ImportRow]:
    """Rows of the model that was named. Of one that only its weights could tell, by their fingerprint, rows by name:
    reading marks downloads nothing."""
    spec = given.spec
    info = given.recalled(store)
    if info is None and not spec.is_downloaded:
        info = given.info(store)
    if info is None:
        return [row for row in rows if row.model == spec.name]
    return [row for row in rows if row.fingerprint == info.identity]
