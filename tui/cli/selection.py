"""Which channels are meant: `--channels`, `--channels @FILE`, `--filter` and `--marked`, wherever channels are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from streamscope.core.errors import UsageError
from streamscope.core.model.blocks import ModelInfo, format_channels, parse_channels, pick_blocks
from streamscope.core.table.filter import compile_filter
from streamscope.core.table.frame import Frame

_OPTIONS = (
    click.option(
        "--block",
        "blocks",
        multiple=True,
        metavar="B",
        help="Block such as 2.1; may be repeated.  [default: all but the first, whose input is the stem's]",
    ),
    click.option("--channels", metavar="RANGE", help="Channels such as 0-31,108, or @FILE with such ranges."),
    click.option(
        "--filter",
        "expression",
        metavar="EXPR",
        help="Only channels that meet a condition, such as 'mix_ratio > 0.7 and not marked'; "
        "'streamscope table --help' describes the language.",
    ),
    click.option("--marked", is_flag=True, help="Only channels that you marked (keep, reject or unsure)."),
)


@dataclass(frozen=True)
class Selection:
    blocks: tuple[str, ...]
    channels: str | None
    expression: str | None
    marked: bool

    @property
    def needs_table(self) -> bool:
        """Whether it depends on what is stored or marked."""
        return self.expression is not None or self.marked

    @property
    def narrows(self) -> bool:
        """Whether it picks among the channels of its blocks."""
        return self.channels is not None or self.needs_table

    @property
    def words(self) -> str:
        """What it picks channels by, for people; "" where it takes all."""
        said = ["those that are marked"] if self.marked else []
        said += [f"channels {self.channels}"] if self.channels is not None else []
        said += [f"those with {self.expression}"] if self.expression is not None else []
        return ", ".join(said)

    def to_json(self, info: ModelInfo) -> dict[str, Any]:
        """For a `.meta.json`: the blocks, the channels as numbers however they were given (null for all), and whether
        only marked ones were taken. Raises UsageError."""
        picked = {block: format_channels(channels) for block, channels in self.by_range(info).items()}
        blocks = [block.name for block in pick_blocks(info, self.blocks)]
        return {"blocks": blocks, "channels": picked or None, "marked": self.marked}

    def by_range(self, info: ModelInfo) -> dict[str, tuple[int, ...]]:
        """What `--channels` picks of each block; empty when it was not given. Raises UsageError."""
        blocks = pick_blocks(info, self.blocks)
        if self.channels is None:
            return {}
        text = _read(self.channels)
        if len(blocks) > 1 and not self.blocks:
            raise UsageError("--channels needs --block: the same numbers mean other channels in every block")
        return {block.name: tuple(parse_channels(text, block.channels)) for block in blocks}

    def rows(self, frame: Frame, info: ModelInfo) -> NDArray[np.intp]:
        """Row numbers of a frame that all of the options pick. Raises UsageError, FilterError."""
        mask = np.ones(len(frame), dtype=bool)
        for block, channels in self.by_range(info).items():
            mask &= (frame["block"] != block) | np.isin(frame["channel"], channels)
        if self.expression is not None:
            mask &= compile_filter(self.expression).mask(frame)
        if self.marked:
            mask &= frame["marked"] != ""
        return np.flatnonzero(mask)

    def by_block(self, frame: Frame, info: ModelInfo) -> dict[str, tuple[int, ...]]:
        """The same as channels of each block; a block of which none is picked has an empty one."""
        rows = self.rows(frame, info)
        picked: dict[str, list[int]] = {block.name: [] for block in pick_blocks(info, self.blocks)}
        for block, channel in zip(frame["block"][rows], frame["channel"][rows], strict=True):
            picked[block].append(int(channel))
        return {block: tuple(channels) for block, channels in picked.items()}


def selection_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options that select channels; the command gets them as `selection`."""

    @wraps(command)
    def run(
        *args: Any, blocks: Sequence[str], channels: str | None, expression: str | None, marked: bool, **rest: Any
    ) -> Any:
        if expression is not None:
            compile_filter(expression)
        return command(*args, selection=Selection(tuple(blocks), channels, expression, marked), **rest)

    for option in reversed(_OPTIONS):
        run = option(run)
    return run


def _read(text: str) -> str:
    if not text.startswith("@"):
        return text
    path = Path(text[1:])
    try:
        lines = path.read_text().split()
    except IsADirectoryError as error:
        raise UsageError(
            f"{path} is a directory; --channels @FILE takes a file with ranges such as 0-31,108"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise UsageError(f"--channels {text}: cannot read {path} ({reason})") from error
    return ",".join(part.strip(",") for part in lines)
