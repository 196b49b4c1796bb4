"""What to do about an error, in commands that can be typed: the library says only what was wrong."""

from __future__ import annotations

from pathlib import Path

from streamscope.core.errors import (
    AmbiguousValuesError,
    CacheError,
    ChoiceError,
    ClassNamesError,
    DamageError,
    DiskFullError,
    DownloadError,
    Fault,
    HomeError,
    MisfitError,
    ReadOnlyError,
    SchedulerError,
    StreamscopeError,
)
from streamscope.core.store import marks_folder
from streamscope.core.store.scans.scan import ChangedImageError
from streamscope.core.store.sets.fz_set import MissingFZError
from streamscope.tui.command_lines import CommandLine, set_words

STORE_FILE = "store.json"
"""What every cache has."""

BY_KIND = {
    AmbiguousValuesError.kind: "say what is black and what is white with --value-range LOW,HIGH",
    ChoiceError.kind: "choose one with --weights-entry NAME",
    ClassNamesError.kind: "or pass their names with --classes FILE",
    CacheError.kind: "use --cache DIR with another one",
    ReadOnlyError.kind: "name a cache of your own with --cache DIR",
    DamageError.kind: "run 'streamscope cache verify'",
    HomeError.kind: "set HOME, or {place}",
    DownloadError.kind: "download {place} elsewhere, pass it with --weights, or try --model demo",
    SchedulerError.kind: "start it by the command, 'streamscope compute --scheduler ADDRESS': what is stored is kept",
    MisfitError.kind: "name its architecture with --model",
}


def worded(error: StreamscopeError) -> str:
    """One line: what was wrong, and what to do."""
    match error:
        case MissingFZError(info=info, key=key, target=target):
            words = ("--block", target.block, *set_words(key, info))
            return f"{error}; run '{CommandLine(info.name)('compute', *words)}'"
        case ChangedImageError(info=info, source=source):
            return f"{error}; run '{CommandLine(info.name)('scan', source)}' again"
    return worded_fault(Fault.of(error))


def worded_fault(fault: Fault) -> str:
    """The same of what a job recorded, or another process said."""
    if fault.kind == DiskFullError.kind:
        return f"{fault.message}; {_room(fault.place)}"
    if fault.kind not in BY_KIND:
        return fault.message
    return f"{fault.message}; {BY_KIND[fault.kind].format(place=fault.place)}"


def _room(place: str) -> str:
    """How to get room where a disk is full: pruning the cache frees none on another one."""
    folders = [Path(place), *Path(place).parents] if place else []
    try:
        marks = marks_folder()
    except HomeError:
        marks = None
    if marks in folders:
        return (
            "free some on the disk of your marks, or set STREAMSCOPE_MARKS to a folder on another one with a copy of "
            "them; what was marked before is kept"
        )
    if not place or any((folder / STORE_FILE).exists() for folder in folders):
        return (
            "free some ('streamscope cache prune') or use --cache DIR on another disk, then run the same command "
            "again: what was finished is kept"
        )
    return "free some on that disk, or name a place on another one"
