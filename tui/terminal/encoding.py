"""Encodes images for the terminal, off the event loop: what a widget gets is lines that only have to be written."""

from __future__ import annotations

import base64
import io
import re
import sys
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from itertools import count
from threading import Lock

import numpy as np
from PIL import Image
from rich.console import Console
from rich.segment import ControlType, Segment
from rich.style import Style
from textual.color import Color
from textual.filter import LineFilter
from textual.strip import Strip

from streamscope.tui.terminal.detection import Graphics

# textual-image asks the terminal what it can do when it is imported, with timeouts that fail over SSH. `graphics`
# has asked already, so for the time of the import there is no terminal.
_stdout = sys.__stdout__
sys.__stdout__ = None  # type: ignore[misc]  # declared as final
try:
    from textual_image import _terminal
    from textual_image.renderable import HalfcellImage, SixelImage, TGPImage
finally:
    sys.__stdout__ = _stdout  # type: ignore[misc]  # as above

SIXEL_COLOURS = 256
_DEFINITION = re.compile(r"(#(\d+);2;\d+;\d+;\d+)")
KITTY_CHUNK = 4096
_CONTROL = [(ControlType.CURSOR_FORWARD, 0)]
"""Marks a segment as taking no cells; the code itself is not looked at."""
_image_ids = count(0x5C0001)
"""Kitty image ids; three bytes, as a placeholder carries its id as a 24-bit colour."""


class PixelStrip(Strip):
    """A line that draws pixels: whole or not at all. Cut as text is, its escape sequence would swallow what follows."""

    def crop(self, start: int, end: int | None = None) -> Strip:
        last = self.cell_length if end is None else min(end, self.cell_length)
        return self if start <= 0 and last == self.cell_length else Strip.blank(max(0, last - max(0, start)))

    def apply_filter(self, filter: LineFilter, background: Color) -> Strip:
        # Pixels are no text, and what is filtered is a plain strip, which would be cut.
        return self


@dataclass(frozen=True)
class Picture:
    """An image as terminal lines, `width` x `height` cells.

    `setup` has to be written to the terminal once before the lines mean anything, `teardown` when they are thrown away.
    """

    width: int
    height: int
    lines: tuple[Strip, ...]
    pixels: bool = False
    """Drawn in pixels by the terminal; else it is text."""
    setup: str = ""
    teardown: str = ""


def adopt_cell_size(cell: tuple[int, int]) -> None:
    """Tell textual-image the cell size, or it would ask the terminal while Textual reads the keyboard."""
    setattr(_terminal.get_cell_size, "_result", _terminal.CellSize(*cell))  # noqa: B010


def fit(available: tuple[int, int], cell: tuple[int, int]) -> tuple[int, int]:
    """The largest near-square (columns, rows) within `available` cells of `cell` pixels; at least 1 x 1."""
    rows = max(1, min(available[0] * cell[0] // cell[1], available[1]))
    return max(1, min(available[0], round(rows * cell[1] / cell[0]))), rows


def encode(image: np.ndarray, size: tuple[int, int], graphics: Graphics) -> Picture:
    """Make an image (H, W, 3 uint8) into a picture of `size` cells. Slow (0.1 s for Sixel): not on the event loop."""
    columns, rows = size
    source = Image.fromarray(image)
    if graphics.mode == "half":
        lines = _half_lines(source, columns, rows)
        return Picture(columns, rows, lines)
    scaled = source.resize((columns * graphics.cell[0], rows * graphics.cell[1]), Image.Resampling.BICUBIC)
    if graphics.mode == "sixel":
        return Picture(columns, rows, _sixel_lines(scaled, columns, rows), pixels=True)
    if graphics.mode == "kitty":
        return _kitty_picture(scaled, columns, rows, graphics.tmux)
    raise ValueError(f"nothing is drawn in mode {graphics.mode!r}")


def _console(columns: int, rows: int) -> Console:
    return Console(width=columns, height=rows, color_system="truecolor", file=io.StringIO(), force_terminal=True)


def _half_lines(image: Image.Image, columns: int, rows: int) -> tuple[Strip, ...]:
    scaled = image.resize(
        (columns, rows * 2), Image.Resampling.BOX if image.width > columns else Image.Resampling.BICUBIC
    )
    console = _console(columns, rows)
    drawn = console.render(HalfcellImage(scaled, width=columns, height=rows))
    return tuple(Strip(line, columns) for line in list(Segment.split_lines(drawn))[:rows])


def _sixel_lines(image: Image.Image, columns: int, rows: int) -> tuple[Strip, ...]:
    """Blank lines, which wipe what was there, and a last one that draws the whole image upwards from itself.

    The last line holds no text at all: text after the image would wipe its last row, and text before it would not be
    written when Textual cuts the line up.
    """
    console = _console(columns, rows)
    renderable = SixelImage(_few_colours(image), width=columns, height=rows)
    drawn = renderable.__rich_console__(console, console.options)
    sixels = next(part.text for part in drawn if isinstance(part, Segment) and part.text.startswith("\x1bP"))
    # xterm defines a colour without selecting it, unlike other terminals; its first pixels would have the last one's.
    sixels = _DEFINITION.sub(r"\1#\2", sixels)
    up = f"\x1b[{rows - 1}A" if rows > 1 else ""
    text = f"\x1b[{columns}X\x1b7{up}{sixels}\x1b8\x1b[{columns}C"
    return (*[Strip.blank(columns)] * (rows - 1), PixelStrip([Segment(text, Style.null(), _CONTROL)], columns))


def _few_colours(image: Image.Image) -> Image.Image:
    """256 colours, dithered. An FZ is grey but for a small bright centre: without dithering, a palette flattens one of
    the two (seen with every method of Pillow); 60 ms and 44 kB for 224 px with, 200 ms by the best one without."""
    palette = image.quantize(SIXEL_COLOURS, Image.Quantize.FASTOCTREE)
    return image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)


def _kitty_picture(image: Image.Image, columns: int, rows: int, tmux: bool) -> Picture:
    identity = next(_image_ids) & 0xFFFFFF
    renderable = TGPImage(image, width=columns, height=rows)
    # With an id the library takes the image for sent and yields the placeholders only. It would write to stdout past
    # Textual's writer thread, in the middle of a frame.
    renderable.terminal_image_id = identity
    drawn = _console(columns, rows).render(renderable)
    lines = tuple(Strip(line, columns) for line in list(Segment.split_lines(drawn))[:rows])
    setup = "".join(_kitty_messages(image, identity, columns, rows))
    teardown = f"\x1b_Ga=d,d=I,i={identity},q=2\x1b\\"
    if tmux:
        setup, teardown = _through_tmux(setup), _through_tmux(teardown)
    return Picture(columns, rows, lines, True, setup, teardown)


def _kitty_messages(image: Image.Image, identity: int, columns: int, rows: int) -> Iterator[str]:
    buffer = io.BytesIO()
    image.save(buffer, "png", compress_level=2)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    for start in range(0, len(data), KITTY_CHUNK):
        more = int(start + KITTY_CHUNK < len(data))
        yield f"\x1b_Gi={identity},f=100,q=2,m={more};{data[start : start + KITTY_CHUNK]}\x1b\\"
    yield f"\x1b_Ga=p,i={identity},c={columns},r={rows},U=1,q=2\x1b\\"


def _through_tmux(messages: str) -> str:
    """Wrap each message for tmux's passthrough (`allow-passthrough on`)."""
    parts = [part + "\x1b\\" for part in messages.split("\x1b\\") if part]
    return "".join(f"\x1bPtmux;{part.replace(chr(27), chr(27) * 2)}\x1b\\" for part in parts)


class PictureCache:
    """The last `limit` pictures made, by what they show; `take_retired` names those whose terminal memory can go."""

    def __init__(self, limit: int = 120) -> None:
        self._limit = limit
        self._pictures: OrderedDict[Hashable, Picture] = OrderedDict()
        self._retired: list[Picture] = []
        self._lock = Lock()

    def get(self, key: Hashable) -> Picture | None:
        with self._lock:
            picture = self._pictures.get(key)
            if picture is not None:
                self._pictures.move_to_end(key)
            return picture

    def put(self, key: Hashable, picture: Picture) -> None:
        with self._lock:
            self._pictures[key] = picture
            self._pictures.move_to_end(key)
            while len(self._pictures) > self._limit:
                self._retired.append(self._pictures.popitem(last=False)[1])

    def clear(self) -> None:
        """Forget all, as after a change of the cell size."""
        with self._lock:
            self._retired.extend(self._pictures.values())
            self._pictures.clear()

    def take_retired(self) -> list[Picture]:
        with self._lock:
            retired, self._retired = self._retired, []
            return retired
