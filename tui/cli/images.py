"""What the commands that read a folder of images share: how files become pixels, and what is said of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any

import click
from PIL import ImageColor

from streamscope.core.errors import AmbiguousValuesError, UsageError
from streamscope.core.images.folder import ImageFolder, kinds_text
from streamscope.core.images.pixels import Interpretation, Trait
from streamscope.tui.advice import BY_KIND
from streamscope.tui.cli.lines import say

UNREADABLE, AMBIGUOUS = "unreadable", "ambiguous"

_TOLD = {
    Trait.ROTATED: ("an EXIF rotation, which is ignored as in training", "--exif-rotate turns them upright", "turned"),
    Trait.TRANSPARENT: (
        "transparent parts, shown in the colours behind them as in training",
        "--background COLOUR puts a colour there",
        "put on a background",
    ),
    Trait.FRAMES: ("further frames or pages; the first is read", "", ""),
}

_OPTIONS = (
    click.option(
        "--value-range",
        metavar="LOW,HIGH",
        help="Black and white of files with more than 8 bits a value, for those that do not say it.",
    ),
    click.option("--exif-rotate", is_flag=True, help="Turn photographs upright by their EXIF; training did not."),
    click.option(
        "--background",
        metavar="COLOUR",
        help="Put transparent images on a colour (white, #808080); training dropped transparency.",
    ),
)


def interpretation_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that say how files become pixels; the command gets them as `interpretation`."""

    @wraps(command)
    def run(*positional: Any, value_range: str | None, exif_rotate: bool, background: str | None, **values: Any) -> Any:
        chosen = Interpretation(
            None if value_range is None else _parse_range(value_range),
            exif_rotate,
            None if background is None else _parse_colour(background),
        )
        return command(*positional, interpretation=chosen, **values)

    for option in reversed(_OPTIONS):
        run = option(run)
    return run


def _parse_range(text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"malformed value range {text!r}; write for example --value-range 0,4095") from None
    if not -float("inf") < low < high < float("inf"):
        raise UsageError(f"value range {text!r} is empty; write the value that is black, then the one that is white")
    return low, high


def _parse_colour(text: str) -> tuple[int, int, int]:
    try:
        return ImageColor.getrgb(text)[:3]
    except ValueError:
        raise UsageError(f"unknown colour {text!r}; write for example --background white or #808080") from None


def skipped_files(found: ImageFolder, unreadable: Sequence[tuple[str, str]]) -> dict[str, int]:
    """How many files were left out, by kind."""
    ambiguous = sum(AmbiguousValuesError.is_meant_by(problem) for _, problem in unreadable)
    own = {AMBIGUOUS: ambiguous, UNREADABLE: len(unreadable) - ambiguous}
    return {**found.skipped, **{kind: count for kind, count in own.items() if count}}


def described_files(
    found: ImageFolder, unreadable: Sequence[tuple[str, str]], traits: Mapping[str, int]
) -> dict[str, Any]:
    """For `--json`: files of the folder, how many were read, what was skipped, and traits of the images."""
    skipped = skipped_files(found, unreadable)
    read = found.files - sum(skipped.values())
    return {"found": found.files, "read": read, "skipped": skipped, "traits": dict(traits)}


def say_files(
    found: ImageFolder,
    unreadable: Sequence[tuple[str, str]],
    traits: Mapping[str, int],
    interpretation: Interpretation,
) -> None:
    """The last line of a command that read a folder: what was left out of it; before it, on stderr, what images have
    that the model was not shown."""
    skipped = skipped_files(found, unreadable)
    if skipped.get(AMBIGUOUS) and interpretation.value_range is None:
        say(f"streamscope: {skipped[AMBIGUOUS]} with ambiguous values: {BY_KIND[AmbiguousValuesError.kind]}", err=True)
    applied = {
        Trait.ROTATED: interpretation.exif_rotate,
        Trait.TRANSPARENT: interpretation.background is not None,
        Trait.FRAMES: False,
    }
    for trait, (what, remedy, done) in _TOLD.items():
        if count := traits.get(trait):
            images = f"{count} image{'s' * (count != 1)}"
            line = f"{images} {done}" if applied[trait] else f"{images} with {what}{f'; {remedy}' if remedy else ''}"
            say(f"streamscope: {line}", err=True)
    if skipped:
        left_out = sum(skipped.values())
        say(f"{found.files - left_out} of {found.files} files read, {left_out} skipped: {kinds_text(skipped)}")
