"""What stands in place of an empty table: what to do first, how long it takes, and what will appear."""

from __future__ import annotations

from rich.style import Style
from rich.text import Text
from textual.widgets import Static

from streamscope.core.model.blocks import ModelInfo
from streamscope.tui.data.hints import KeyOf
from streamscope.tui.data.store_reader import Reading
from streamscope.tui.table.headings import DIM
from streamscope.tui.widgets.status import duration

KEY = Style(bold=True, reverse=True)
NAME = Style(bold=True)


class FirstSteps(Static):
    """A card of keys."""

    DEFAULT_CSS = """
    FirstSteps {
        display: none; width: 1fr; max-width: 96; height: auto; margin: 1 2; padding: 1 2; border: round $primary;
        background: $surface;
    }
    """


def card(reading: Reading, keys: KeyOf, count: int, seconds: float | None, is_computing: bool) -> Text:
    """The card of a set of which nothing is stored: `count` FZs are missing, and take `seconds` where that is known."""
    info = reading.info
    text = Text().append(f"{info.name}: nothing is computed yet\n\n", NAME)
    if is_computing:
        text.append("FZs are being optimised: the first rows appear with the first batch.\n")
        return text.append(f"{keys('jobs')} shows the jobs, {keys('stop')} stops one.", DIM)
    takes = f", about {duration(seconds)} on this machine" if seconds is not None else ""
    steps = [
        (
            keys("compute"),
            f"Compute {count:,} feature visualizations{takes}",
            f"of {_blocks(info)}; the table fills as they land",
        ),
        (
            keys("scan"),
            "Scan a folder of images",
            "then every channel shows the photographs that excite it most",
        ),
        (keys("keys"), "All keys", f"{keys('make')} lists all that can be computed, {keys('quit')} quits"),
    ]
    if reading.sets:
        which = "one of the stored sets" if len(reading.sets) > 1 else "the stored set"
        steps.insert(0, (keys("set"), f"Open {which}", "made by another recipe, or with another seed"))
    for key, name, what in steps:
        text.append(f" {key} ", KEY).append(f"  {name}\n", NAME).append(f"     {what}\n\n", DIM)
    text.rstrip()
    return text


def _blocks(info: ModelInfo) -> str:
    names = info.default_blocks
    if len(names) <= 8:
        return f"block{'s' * (len(names) != 1)} {', '.join(names)}"
    return f"{len(names)} blocks, {names[0]} to {names[-1]}"
