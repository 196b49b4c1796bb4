"""`streamscope cache`: what is stored, whether it is intact, and dropping what is not wanted. Never touches marks."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict

import click

from streamscope.core.errors import UsageError
from streamscope.core.model.blocks import ModelInfo
from streamscope.core.model.recipe import Objective
from streamscope.core.store import JobState, Removed, Store, drop, free_bytes, prune, scan_usage, verify
from streamscope.core.store.usage import doubtful_jobs, usage
from streamscope.tui.advice import worded
from streamscope.tui.cli.lines import say
from streamscope.tui.cli.options import Given, common_options, objective_option, reading_options
from streamscope.tui.cli.printing import counted, print_whole


@click.group("cache")
def command() -> None:
    """See, check and tidy the store of FZs and measures. Marks and notes are kept elsewhere and never touched."""


@command.command("info")
@common_options
def info_command(given: Given) -> None:
    """Say where the store is and how much room each set and each scan takes; of a bundle also who made it."""
    store = given.store()
    bundle = store.bundle
    used, scans = usage(store), scan_usage(store)
    free = free_bytes(store.root)
    if given.as_json:
        sets = [
            {
                "model": u.info.name,
                "fingerprint": u.info.fingerprint,
                "preprocessing": u.info.preprocessing or None,
                "set": u.path.name,
                "path": str(u.path),
                "fzs": u.fzs,
                "retries": u.retries,
                "bytes": u.bytes,
                "completed": u.completed,
            }
            for u in used
        ]
        scanned = [
            {
                "model": s.info.name,
                "fingerprint": s.info.fingerprint,
                "preprocessing": s.info.preprocessing or None,
                "scan": s.path.name,
                "path": str(s.path),
                "folder": s.source,
                "images": s.images,
                "preparation": s.preparation,
                "bytes": s.bytes,
                "finished": s.finished,
            }
            for s in scans
        ]
        held_in = {"root": str(given.place), "free_bytes": free, "sets": sets, "scans": scanned}
        click.echo(json.dumps({**held_in, **({"bundle": asdict(bundle)} if bundle else {})}, indent=2))
    else:
        size = sum(u.bytes for u in used) + sum(s.bytes for s in scans)
        held = counted(len(used), "set") + (f" and {counted(len(scans), 'scan')}" if scans else "")
        say(f"{given.place}: {size / 1e6:,.1f} MB in {held}, {free / 1e9:,.1f} GB free")
        if bundle is not None:
            channels = "; ".join(f"{block} {ranges}" for block, ranges in bundle.channels.items())
            marks = "with" if bundle.marks else "without"
            say(f"bundled {_when(bundle.created)} by {bundle.sender}, {marks} marks; FZs of {channels}")
        if used:
            rows = [
                (*_model(u.info), u.path.name, str(u.fzs), str(u.retries), f"{u.bytes / 1e6:,.1f}", _when(u.completed))
                for u in used
            ]
            print_whole(("model", "fingerprint", "set", "FZs", "retries", "MB", "completed"), rows)
        if scans:
            scanned_rows = [
                (*_model(s.info), s.source, str(s.images), f"{s.bytes / 1e6:,.1f}", _when(s.finished)) for s in scans
            ]
            print_whole(("model", "fingerprint", "scan of", "images", "MB", "finished"), scanned_rows)
    for problem in store.problems:
        say(f"streamscope: {worded(problem)}", err=True)


def _model(info: ModelInfo) -> tuple[str, str]:
    return f"{info.name}{f', {info.preprocessing}' if info.preprocessing else ''}", info.fingerprint[:12]


def _when(finished: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(finished)) if finished else "not yet"


@command.command("verify")
@click.option(
    "--drop", "dropping", is_flag=True, help="Remove what is damaged, so that compute or scan makes it again."
)
@common_options
def verify_command(given: Given, dropping: bool) -> int:
    """Read every byte of the store, compare it with its checksums and with where it lies; exit code 1 when something is
    damaged or cannot be read. What cannot be read is never removed: it may be somebody else's, and intact. Nor is a
    model's folder that was renamed: it is said what to call it."""
    if dropping:
        given.check_writable()
    store = given.store()
    found = list(verify(store))
    damaged = [problem for problem in found if problem.removes is not None]
    unknown = [problem for problem in found if problem.removes is None]
    if not given.as_json:
        for problem in found:
            say(str(problem))
    removed = list(dict.fromkeys(path for problem in damaged for path in drop(problem))) if dropping else []
    if given.as_json:
        listed = {
            name: [{"path": str(p.path), "what": p.what} for p in problems]
            for name, problems in (("damaged", damaged), ("unreadable", unknown))
        }
        click.echo(json.dumps({**listed, "removed": [str(path) for path in removed]}, indent=2))
        return 1 if unknown or (damaged and not dropping) else 0
    if removed:
        say(f"removed {counted(len(removed), 'damaged part')}; the same 'compute' or 'scan' makes them again")
    elif damaged:
        what = f"{counted(len(damaged), 'problem')}; 'streamscope cache verify --drop' removes what is damaged"
        say(what, err=True)
    if unknown:
        what = f"{counted(len(unknown), 'part')} may be intact, unread or under a wrong name; nothing of it is removed"
        say(what, err=True)
    if not found:
        say("everything is intact")
    return 1 if unknown or (damaged and not dropping) else 0


@command.command("prune")
@click.option("--all-sets", is_flag=True, help="Every set and scan of the --model (or of the weights in --weights).")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@objective_option
@reading_options
def prune_command(given: Given, all_sets: bool, dry_run: bool, yes: bool, objective: Objective) -> None:
    """Remove leftovers of killed processes and finished jobs; with --steps, --seed, --capture or --objective channel
    also the one set that they name, with --images the model's scans of that folder, with --all-sets all sets and scans
    of the model."""
    given.check_writable()
    store = given.store()
    given = given.as_stored(store)
    model: ModelInfo | None = None
    key = None
    if all_sets:
        model = given.stored_info(store)
    elif objective == "channel" or any(value is not None for value in given.told.values()):
        model = given.stored_info(store)
        fitting = [s.key for s in store.fitting_sets(model, objective=objective, **given.told)]
        if len(fitting) != 1:
            names = "; ".join(str(k) for k in fitting) or "none"
            raise UsageError(f"--steps, --seed and --capture must name one set of {model.name}; they fit: {names}")
        key = fitting[0]
    if given.images is not None:
        if all_sets:
            raise UsageError("--all-sets removes all scans too; leave --images out")
        model = model or given.stored_info(store)
        if not any(s.source == os.path.abspath(given.images) for s in scan_usage(store)):
            raise UsageError(f"{given.images} was never scanned; 'streamscope cache info' names what was")
    planned = prune(store, model=model, set=key, images=given.images, dry_run=True)
    for problem in store.job_problems.errors():
        say(f"streamscope: {worded(problem)}", err=True)
    for state in doubtful_jobs(store):
        say(
            f"streamscope: job {state.job.id}{_where(state)} is not removed: cannot tell whether it runs, for its "
            "heartbeat is dated ahead; the app's list of jobs can, a minute after it is opened",
            err=True,
        )
    if given.as_json and (dry_run or not planned):
        _as_json(planned)
    elif not given.as_json:
        for item in planned:
            say(f"{'would remove' if dry_run else 'removing'} {item.what} {item.path} ({item.bytes / 1e6:,.1f} MB)")
        if not planned:
            say("nothing to remove")
    if dry_run or not planned:
        return
    if not yes and model is not None and not _confirmed():
        say("nothing was removed", err=True)
        return
    removed = prune(Store.open(given.root), model=model, set=key, images=given.images)
    if given.as_json:
        _as_json(removed)
    else:
        say(f"removed {sum(item.bytes for item in removed) / 1e6:,.1f} MB")


def _confirmed() -> bool:
    """Asks on the terminal. Raises UsageError where nobody can answer."""
    try:
        return click.confirm("Remove these?", err=True)
    except click.Abort as end:
        # Ctrl-C, or the end of what could be read. Either way the line of the question is still open.
        click.echo(err=True)
        if isinstance(end.__context__, EOFError):
            raise UsageError("nobody answered, so nothing was removed; --yes does not ask") from end
        raise


def _where(state: JobState) -> str:
    return f" ({state.worker})" if state.worker is not None else ""


def _as_json(items: Sequence[Removed]) -> None:
    click.echo(json.dumps([{"path": str(i.path), "what": i.what, "bytes": i.bytes} for i in items], indent=2))
