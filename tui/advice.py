"""What to do about an error, in commands that can be typed: the library says only what was wrong."""

from __future__ import annotations

from streamscope.core.errors import (
    CacheError,
    DamageError,
    DiskFullError,
    DownloadError,
    MisfitError,
    StreamscopeError,
)
from streamscope.core.store.scans.scan import ChangedImageError
from streamscope.core.store.sets.fz_set import MissingFZError
from streamscope.tui.command_lines import CommandLine, set_words

BY_KIND = {
    CacheError.kind: "use --cache DIR with another one",
    DamageError.kind: "run 'streamscope cache verify'",
    DiskFullError.kind: "free some ('streamscope cache prune') or use --cache DIR on another disk, then run the same "
    "command again: what was finished is kept",
    DownloadError.kind: "download {place} elsewhere, pass it with --weights, or try --model demo",
    MisfitError.kind: "name its architecture with --model",
}


def worded(error: StreamscopeError) -> str:
    """One line: what was wrong, and what to do."""
    match error:
        case MissingFZError(info=info, key=key, target=target):
            words = ("--block", target.block, *set_words(key, info.default_recipe))
            return f"{error}; run '{CommandLine(info.name)('compute', *words)}'"
        case ChangedImageError(info=info, source=source):
            return f"{error}; run '{CommandLine(info.name)('scan', source)}' again"
    return worded_kind(str(error), error.kind, error.place)


def worded_kind(message: str, kind: str, place: str = "") -> str:
    """The same of an error of which only the message, the kind and the place are left, as in a job's record."""
    return f"{message}; {BY_KIND[kind].format(place=place)}" if kind in BY_KIND else message
