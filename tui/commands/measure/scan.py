"""`streamscope scan`: what every image of a folder does to every channel."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import click

from streamscope.core.images.folder import ImageFolder, count_deep, list_images
from streamscope.core.images.pixels import Interpretation
from streamscope.core.model.spec import ModelSpec
from streamscope.core.store import Scan, Store, recall
from streamscope.core.store.scans.patches import PATCHES
from streamscope.tui.cli.images import described_files, interpretation_options, say_files
from streamscope.tui.cli.lines import say
from streamscope.tui.cli.loading import load
from streamscope.tui.cli.options import Given, device_options, few_images
from streamscope.tui.cli.progress import duration, phase_progress

NAMED = 5
"""Unreadable images that are named one by one on a terminal; --json and the scan's images.json have all."""


@click.command("scan")
@click.argument("folder", metavar="IMAGES", type=click.Path(path_type=Path))
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="Processes that decode images.  [default: one a core, 2 to 16]",
)
@interpretation_options
@device_options
def command(given: Given, folder: Path, workers: int | None, interpretation: Interpretation) -> None:
    """Read the centre activation of every tensor of every block for every image of the folder IMAGES, in one pass.

    The same pass keeps each channel's best patches: the 9 images that excite it most anywhere in the map, and where.
    The folder is flat or has one folder a class; files that are no images are skipped and counted. Afterwards the
    table has each channel's rho, its measures by MEIs (the 9 images that excite it most) and `robust`; --images says
    which scan a reading command takes where there are several. What is finished is left alone, so a run that was killed
    goes on where it was.

    \b
    streamscope scan ~/imagenet/val
    streamscope demo-images shapes && streamscope scan shapes --model demo
    """
    given.check_writable()
    found = list_images(folder)
    spec = given.spec
    store = given.store()
    done = _finished(store, spec, folder, found, interpretation)
    if done is not None:
        _report(given, done, found, None)
        return

    from streamscope.core.reading.scan import scan_images

    network = load(spec, given.device)
    store = Store.open(given.root, create=True)
    store.register(network.info)
    store.remember(spec.text, network.info.identity, network.layout, network.warnings)
    # A polite kill ends like Ctrl-C: the lease is given back.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    started = time.monotonic()
    with phase_progress() as watch:
        scan = scan_images(network, store, folder, found.images, workers, watch, interpretation=interpretation)
    _report(given, scan, found, time.monotonic() - started)


def _finished(
    store: Store, spec: ModelSpec, folder: Path, found: ImageFolder, interpretation: Interpretation
) -> Scan | None:
    """The scan of these very images, where there is nothing left to do: found without seconds of loading weights."""
    info = recall(store, spec)
    models = store.folder(info) if info is not None else None
    if info is None or models is None:
        return None
    from streamscope.core.store.scans.draft import Draft

    draft = Draft(models, info, folder, found.images, interpretation=interpretation)
    return draft.scan() if draft.complete else None


def kept_patches(scan: Scan) -> str:
    """What was kept of the maps besides centre activations, in a line."""
    most = min(PATCHES, len(scan.images))
    patches = "best patch" if most == 1 else f"{most} best patches"
    return f"kept the {patches} of every channel of in, block and out: one of an image, from anywhere in its map"


def _report(given: Given, scan: Scan, found: ImageFolder, seconds: float | None) -> None:
    """`seconds` that it took; None when it had been done before."""
    unreadable = scan.unreadable
    shown = unreadable[:NAMED] if not given.as_json else ()
    for _, what in shown:
        say(f"streamscope: {what}", err=True)
    if len(unreadable) > len(shown) > 0:
        say(f"streamscope: and {len(unreadable) - len(shown)} more; --json names all", err=True)
    if few := few_images(len(scan.images)):
        say(f"streamscope: {few}; commands read this scan, the newest, unless --images names another", err=True)
    if given.as_json:
        described = {
            "folder": str(scan.source),
            "path": str(scan.path),
            "images": len(scan.images),
            "unreadable": [{"path": path, "problem": what} for path, what in unreadable],
            "seconds": round(seconds or 0, 2),
            "patches": min(PATCHES, len(scan.images)),
            "files": described_files(found, unreadable, scan.traits or {}),
        }
        click.echo(json.dumps(described, indent=2))
    else:
        left_out = f", {len(unreadable)} unreadable left out" if unreadable else ""
        when = "before; nothing is missing" if seconds is None else f"in {duration(seconds)}"
        say(f"scanned {len(scan.images)} images of {scan.source}{left_out} {when}")
        say(kept_patches(scan))
        say_files(found, unreadable, scan.traits or {}, scan.preparation.interpretation)
    if scan.traits is None and (count := count_deep(scan.source, found.images)):
        say(
            f"streamscope: {count} of these images have more than 8 bits a value, which the release that scanned them "
            f"took for white or black; '{given.commands('cache', 'prune', '--images', scan.source)}', then scan again",
            err=True,
        )
