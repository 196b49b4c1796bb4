"""`streamscope marks`: marks, tags and notes as CSV, to share with a colleague, and how far two people agree."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from streamscope.core.analysis.judges import VERDICTS, Channel, JudgesCompared, compare_judges
from streamscope.core.errors import StoreError, UsageError
from streamscope.core.model.blocks import ModelInfo
from streamscope.core.model.spec import DEMO_MODEL, ModelSpec
from streamscope.core.store import Marks, Store, marks_folder
from streamscope.core.store.marks.exchange import (
    Disagreement,
    ImportRow,
    Side,
    by_fingerprint,
    contradictions,
    disagreements,
    read_csv,
)
from streamscope.core.text import visible
from streamscope.tui.advice import worded
from streamscope.tui.cli.lines import say
from streamscope.tui.cli.options import Given, common_options, model_named
from streamscope.tui.cli.printing import counted, print_whole

YOU = "you"


@click.group("marks")
def command() -> None:
    """Export, import and compare marks, tags and notes of a model."""


@command.command("export")
@click.argument("file", type=click.Path(path_type=Path))
@common_options
def export_command(given: Given, file: Path) -> None:
    """Write the marks, tags and notes of the model to the CSV FILE.

    A text that a spreadsheet would run (it begins with =, +, - or @) has an apostrophe before it, a control character
    is written as \\x1b; importing undoes both.

    Over a bundle (--cache OUT.zip) these are your own: what came with it is its sender's and stays out, but for marks
    that you gave again.
    """
    store = given.store()
    info = given.as_stored(store).info(store)
    marks = Marks(marks_folder(), info.identity, info.name, store.given_marks)
    count = marks.export_csv(file)
    for problem in marks.problems:
        say(f"streamscope: {worded(problem)}", err=True)
    if given.as_json:
        click.echo(json.dumps({"file": str(file), "channels": count}))
    else:
        say(f"wrote {count} judgements to {file}")


@command.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--keep",
    type=click.Choice(["theirs", "mine"]),
    default="theirs",
    show_default=True,
    help="Whose mark and note stand where FILE says otherwise than you.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be imported, and where FILE says otherwise.")
@common_options
def import_command(given: Given, file: Path, keep: Side, dry_run: bool) -> None:
    """Take over the marks, tags and notes of the CSV FILE; all of them, or none when a line is wrong.

    Each row is of the weights whose fingerprint it has, and goes to their marks; --model or --weights takes the rows of
    one model only. A block or channel that its model does not have is wrong. For a channel that both judged, the
    import is the later word unless --keep says otherwise: what each said and what stands is printed. Of two rows of one
    channel the later one holds. Tags are added to those there are.
    """
    store = given.store()
    models = _models(store)
    rows = read_csv(file, models)
    taken = _of_model(given, store, rows) if model_named() else rows
    known = {info.fingerprint: info for info in models}
    channels = unknown = 0
    differing: list[Disagreement] = []
    for fingerprint, own in by_fingerprint(taken).items():
        name = known[fingerprint].name if fingerprint in known else own[0].model
        marks = Marks(marks_folder(), fingerprint, name, store.given_marks)
        differing += disagreements(own, marks.all())
        count = len({row.key for row in own}) if dry_run else marks.take_over(own, keep)
        channels += count
        unknown += count * (fingerprint not in known)
    others, contradicting = len({row.key for row in rows} - {row.key for row in taken}), contradictions(taken)
    if given.as_json:
        counts = {"channels": channels, "unknown_models": unknown, "other_models": others, "repeated": contradicting}
        differences = [_difference_json(one, keep) for one in differing]
        more = {"disagreements": differences, "imported": not dry_run}
        click.echo(json.dumps({"file": str(file), **counts, **more}))
        return
    if contradicting:
        say(f"streamscope: {contradicting} channels are judged twice in {file}; the last row holds", err=True)
    apart = f", {unknown} of them for models that this store does not know" if unknown else ""
    left = f"; left {others} of other models" if others else ""
    say(f"{'would read' if dry_run else 'read'} {channels} judgements from {file}{apart}{left}")
    if differing:
        _print_disagreements(differing, file, keep, dry_run)


@command.command("agreement")
@click.argument("files", metavar="FILE.csv [FILE2.csv]", nargs=-1, required=True, type=click.Path(path_type=Path))
@common_options
def agreement_command(given: Given, files: Sequence[Path]) -> None:
    """Say how far two people agree: your marks and those of FILE.csv, or those of two files.

    Counted are channels that both marked keep, unsure or reject: Cohen's kappa with its 95 % interval (the large-sample
    error of Fleiss, Cohen and Everitt, 1969), a table of one's marks by the other's, and the channels that they
    disagree on, keep against reject first. The files are those of 'streamscope marks export'. Compare before you
    import: afterwards your marks are partly theirs. A judge who has seen the other's marks agrees more than by
    judging; 'streamscope bundle --blind' hands channels on without.

    \b
    streamscope marks agreement colleague.csv
    streamscope marks agreement ada.csv ben.csv --json
    """
    if len(files) > 2:
        raise UsageError("agreement is of two: name one file, to be compared with your marks, or two")
    store = given.store()
    models = _models(store)
    told = [_by_model(_of_model(given, store, rows) if model_named() else rows) for rows in _read(files, models)]
    names = {row.fingerprint: row.model for of_file in told for rows in of_file.values() for row in rows}
    labels = (YOU, files[0].name) if len(files) == 1 else _labels(files[0], files[1])
    found: dict[str, JudgesCompared] = {}
    for fingerprint in told[-1]:
        if len(files) == 1:
            marks = Marks(marks_folder(), fingerprint, names[fingerprint], store.given_marks)
            first = {key: judgement.mark for key, judgement in marks.own().items()}
            for problem in marks.problems:
                say(f"streamscope: {worded(problem)}", err=True)
        elif fingerprint in told[0]:
            first = _marks_of(told[0][fingerprint])
        else:
            continue
        found[fingerprint] = compare_judges(first, _marks_of(told[-1][fingerprint]))
    if not any(one.agreement.n for one in found.values()):
        raise StoreError(f"no channel is marked both by {labels[0]} and in {labels[1]}")
    if given.as_json:
        listed = [_agreement_json(names[f], f, labels, compared) for f, compared in found.items()]
        click.echo(json.dumps(listed, indent=2))
        return
    for fingerprint, compared in found.items():
        _print_agreement(f"{names[fingerprint]} {fingerprint[:12]}", labels, compared)


def _read(files: Sequence[Path], models: Sequence[ModelInfo]) -> list[list[ImportRow]]:
    return [read_csv(file, models) for file in files]


def _by_model(rows: Sequence[ImportRow]) -> Mapping[str, list[ImportRow]]:
    return by_fingerprint(row for row in rows if row.mark)


def _marks_of(rows: Sequence[ImportRow]) -> dict[Channel, str]:
    """By channel; of two rows of one channel the last holds, as it does when they are imported."""
    return {(row.block, row.channel): row.mark for row in rows}


def _labels(first: Path, second: Path) -> tuple[str, str]:
    same = first.name == second.name
    return (str(first), str(second)) if same else (first.name, second.name)


def _print_agreement(model: str, labels: tuple[str, str], compared: JudgesCompared) -> None:
    first, second = labels
    found = compared.agreement
    alone = f"only {first} marked {compared.first_only} more, only {second} {compared.second_only} more"
    say(f"{model}: {counted(found.n, 'channel')} marked by {first} and by {second}; {alone}")
    if not found.n:
        return
    interval = f"no interval: {found.reason}" if found.reason else f"95 % interval {found.low:.2f} to {found.high:.2f}"
    kappa = "kappa is not defined" if math.isnan(found.kappa) else f"Cohen's kappa {found.kappa:.2f}"
    say(f"{kappa} ({interval}); the same mark for {100 * found.share:.1f} %")
    rows = [(f"{first}: {mark}", *map(str, row)) for mark, row in zip(VERDICTS, compared.table, strict=True)]
    print_whole(("", *(f"{second}: {mark}" for mark in VERDICTS)), rows)
    if compared.differences:
        listed = [(d.block, str(d.channel), d.first, d.second) for d in compared.differences]
        print_whole(("block", "channel", first, second), listed)


def _agreement_json(model: str, fingerprint: str, labels: tuple[str, str], compared: JudgesCompared) -> dict[str, Any]:
    numbers = {name: None if value != value else value for name, value in asdict(compared.agreement).items()}
    return {
        "model": model,
        "fingerprint": fingerprint,
        "judges": list(labels),
        **numbers,
        "verdicts": list(VERDICTS),
        "table": [list(row) for row in compared.table],
        "first_only": compared.first_only,
        "second_only": compared.second_only,
        "differences": [asdict(one) for one in compared.differences],
    }


def _print_disagreements(differing: Sequence[Disagreement], file: Path, keep: Side, dry_run: bool) -> None:
    whose = "yours" if keep == "mine" else f"those of {file.name}"
    stand = "would stand" if dry_run else "stand"
    say(f"{counted(len(differing), 'judgement')} of yours and of {file.name} differ; {whose} {stand}:")
    listed = [(one.key[1], str(one.key[2]), one.part, visible(one.mine), visible(one.theirs)) for one in differing]
    print_whole(("block", "channel", "", YOU, file.name), listed)


def _difference_json(one: Disagreement, keep: Side) -> dict[str, Any]:
    fingerprint, block, channel = one.key
    said = {"part": one.part, "mine": one.mine, "theirs": one.theirs}
    return {"fingerprint": fingerprint, "block": block, "channel": channel, **said, "kept": keep}


def _models(store: Store) -> list[ModelInfo]:
    """Models whose blocks are known here without their weights."""
    demo = store.recall(ModelSpec(DEMO_MODEL).text)
    return [*store.models(), *([demo] if demo is not None else [])]


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
