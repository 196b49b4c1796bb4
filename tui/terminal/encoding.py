"""Encodes images for the terminal, off the event loop: what a widget gets is lines that only have to be written."""

from __future__ import annotations

import base64
import io
import re
import sys
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from functools import partial
from itertools import count
from threading import Lock

import numpy as np
from PIL import Image
from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from streamscope.tui.terminal.detection import Graphics
from streamscope.tui.terminal.drawing import HALF, Drawing, Picture
from streamscope.tui.terminal.tmux import through_tmux

# textual-image asks the terminal what it can do when it is imported, with timeouts that fail over SSH. `graphics`
# has asked already, so for the time of the import there is no terminal.
_stdout = sys.__stdout__
sys.__stdout__ = None  # type: ignore[misc]  # declared as final
try:
    from textual_image import _terminal
    from textual_image._sixel import SixelOptions, image_to_sixels
    from textual_image.renderable.tgp import _NUMBER_TO_DIACRITIC
finally:
    sys.__stdout__ = _stdout  # type: ignore[misc]  # as above

SIXEL_COLOURS = 256
DRAFT_COLOURS = 64
"""Dithered, an FZ of 208 px takes 25 to 45 kB in Sixel and 18 to 29 for kitty; in full 33 to 72 and 54 to 102."""
ROUGH_SCALE = 4
"""Pixels of a side that are one in the roughest Sixels: 5 to 11 kB."""
FEWEST_COLOURS, ROUGH_BYTES = 32, 10_000
"""They have so few colours where they would be larger than this: 8 kB then."""
ROUGH_SIDE = 80
"""Pixels of the roughest image for kitty, which scales it: 4 to 5 kB."""
_DEFINITION = re.compile(r"(#(\d+);2;\d+;\d+;\d+)")
PNG_LEVEL = 4
"""zlib's. FZs come out no longer than at 9, and in 10 ms instead of 65."""
KITTY_CHUNK = 4096
MOST_REPEATED = 4
"""Times that kitty gets a pixel: twice makes an FZ of 99 px a third longer, four times by a half."""
_PLACEHOLDER = "\U0010eeee"
_image_ids = count(0x5C0001)
"""Kitty image ids; three bytes, as a placeholder carries its id as a 24-bit colour."""


def adopt_cell_size(cell: tuple[int, int]) -> None:
    """Tell textual-image the cell size, or it would ask the terminal while Textual reads the keyboard."""
    setattr(_terminal.get_cell_size, "_result", _terminal.CellSize(*cell))  # noqa: B010


def fit(available: tuple[int, int], cell: tuple[int, int]) -> tuple[int, int]:
    """The largest near-square (columns, rows) within `available` cells of `cell` pixels; at least 1 x 1."""
    rows = max(1, min(available[0] * cell[0] // cell[1], available[1]))
    return max(1, min(available[0], round(rows * cell[1] / cell[0]))), rows


def encode(image: np.ndarray, size: tuple[int, int], graphics: Graphics, drafts: bool = False) -> Picture:
    """Make an image (H, W, 3 uint8) into a picture of `size` cells; only roughly at first where `drafts` are wanted.
    Slow (0.1 s for Sixel): not on the event loop."""
    columns, rows = size
    source = Image.fromarray(image)
    if graphics.mode == "half":
        return Picture(columns, rows, text=_half_lines(source, columns, rows))
    area = (columns * graphics.cell[0], rows * graphics.cell[1])
    if graphics.mode == "sixel":
        levels = _sixel_levels(_resized(source, area), rows, drafts)
    elif graphics.mode == "kitty":
        levels = _kitty_levels(_at_most(source, area), area, columns, rows, graphics.tmux, drafts)
    else:
        raise ValueError(f"nothing is drawn in mode {graphics.mode!r}")
    return Picture(columns, rows, (levels[0](),), levels[1:])


def _sixel_levels(image: Image.Image, rows: int, drafts: bool) -> list[Callable[[], Drawing]]:
    def full() -> Drawing:
        return _sixel_drawing(_few_colours(image, SIXEL_COLOURS), rows)

    def draft() -> Drawing:
        return _sixel_drawing(_few_colours(image, DRAFT_COLOURS), rows)

    def rough() -> Drawing:
        size = (max(1, image.width // ROUGH_SCALE), max(1, image.height // ROUGH_SCALE))
        small = image.resize(size, Image.Resampling.BOX)

        def coloured(colours: int) -> Drawing:
            # Not dithered: runs of one colour are what makes it short.
            few = small.quantize(colours, Image.Quantize.FASTOCTREE)
            return _sixel_drawing(few.resize(image.size, Image.Resampling.NEAREST), rows)

        drawing = coloured(DRAFT_COLOURS)
        return drawing if drawing.rows_size <= ROUGH_BYTES else coloured(FEWEST_COLOURS)

    return [rough, draft, full] if drafts else [full]


def _kitty_levels(
    image: Image.Image, room: tuple[int, int], columns: int, rows: int, tmux: bool, drafts: bool
) -> list[Callable[[], Drawing]]:
    def draft(side: int) -> Drawing:
        small = _at_most(image, (side, side))
        return _kitty_drawing(_few_colours(small, DRAFT_COLOURS), columns, rows, tmux)

    full = partial(_kitty_drawing, _repeated(image, room), columns, rows, tmux)
    largest = max(image.size)
    return [partial(draft, ROUGH_SIDE), partial(draft, largest), full] if drafts and largest > ROUGH_SIDE else [full]


def _at_most(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The image with no more pixels than are seen."""
    wanted = (min(image.width, size[0]), min(image.height, size[1]))
    return image if wanted == image.size else image.resize(wanted, Image.Resampling.BICUBIC)


def _resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The image in so many pixels. One that is enlarged stays sharp: each of its pixels is repeated a whole number of
    times, more than needed, and what is too much averaged away."""
    times = max(-(-size[0] // image.width), -(-size[1] // image.height))
    if times <= 1:
        return image.resize(size, Image.Resampling.BICUBIC)
    grown = image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    return grown.resize(size, Image.Resampling.BOX)


def _repeated(image: Image.Image, room: tuple[int, int]) -> Image.Image:
    """Each pixel as often as fits into so many: what kitty enlarges further, smoothly, is less of a blur."""
    times = max(1, min(room[0] // image.width, room[1] // image.height, MOST_REPEATED))
    return image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)


def _half_lines(image: Image.Image, columns: int, rows: int) -> tuple[Strip, ...]:
    size = (columns, rows * 2)
    scaled = image.resize(size, Image.Resampling.BOX) if image.width > columns else _resized(image, size)
    pixels = np.asarray(scaled.convert("RGB")).tolist()
    return tuple(
        Strip(
            [
                Segment(HALF, Style(color=Color.from_rgb(*above), bgcolor=Color.from_rgb(*below)))
                for above, below in zip(pixels[2 * row], pixels[2 * row + 1], strict=True)
            ],
            columns,
        )
        for row in range(rows)
    )


def _sixel_drawing(image: Image.Image, rows: int) -> Drawing:
    """An image of at most 256 colours; all of it is drawn from its first row of cells."""
    sixels = image_to_sixels(image, SixelOptions(colors=SIXEL_COLOURS))
    # xterm defines a colour without selecting it, unlike other terminals; its first pixels would have the last one's.
    return Drawing((_DEFINITION.sub(r"\1#\2", sixels), *[""] * (rows - 1)))


def _few_colours(image: Image.Image, colours: int) -> Image.Image:
    """So many colours, dithered. An FZ is grey but for a small bright centre: without dithering, a palette flattens one
    of the two (seen with every method of Pillow); 60 ms and 44 kB for 224 px with 256, 200 ms by the best one
    without."""
    palette = image.quantize(colours, Image.Quantize.FASTOCTREE)
    return image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)


def _kitty_drawing(image: Image.Image, columns: int, rows: int, tmux: bool) -> Drawing:
    """The image at its own resolution, and placeholders for it; kitty scales it to their cells.

    As PNG, which of FZs is always shorter than compressed pixels (`o=z`): 54 to 102 kB against 87 to 146 in full, and 5
    to 9 against 9 to 11 at 56 px.
    """
    identity = next(_image_ids) & 0xFFFFFF
    colour = f"\x1b[0;38;2;{identity >> 16};{identity >> 8 & 255};{identity & 255}m"
    # A placeholder without numbers is the next one of its row.
    lines = [
        f"{colour}{_PLACEHOLDER}{_number(row)}{_number(0)}{_PLACEHOLDER * (columns - 1)}\x1b[m" for row in range(rows)
    ]
    setup = "".join(_kitty_messages(image, identity, columns, rows))
    teardown = f"\x1b_Ga=d,d=I,i={identity},q=2\x1b\\"
    if tmux:
        setup, teardown = through_tmux(setup), through_tmux(teardown)
    return Drawing(tuple(lines), setup, teardown)


def _number(place: int) -> str:
    """The mark that says which row or column of the image a placeholder stands for."""
    return chr(_NUMBER_TO_DIACRITIC[place])


def _kitty_messages(image: Image.Image, identity: int, columns: int, rows: int) -> Iterator[str]:
    buffer = io.BytesIO()
    image.save(buffer, "png", compress_level=PNG_LEVEL)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    for start in range(0, len(data), KITTY_CHUNK):
        more = int(start + KITTY_CHUNK < len(data))
        yield f"\x1b_Gi={identity},f=100,q=2,m={more};{data[start : start + KITTY_CHUNK]}\x1b\\"
    yield f"\x1b_Ga=p,i={identity},c={columns},r={rows},U=1,q=2\x1b\\"


class PictureCache:
    """The last pictures made, by what they show: as many as have `limit` cells together. 120 large ones have
    40,000, and so have the pictures of three walls."""

    def __init__(self, limit: int = 50_000) -> None:
        self._limit = limit
        self._cells = 0
        self._pictures: OrderedDict[Hashable, Picture] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable) -> Picture | None:
        with self._lock:
            picture = self._pictures.get(key)
            if picture is not None:
                self._pictures.move_to_end(key)
            return picture

    def put(self, key: Hashable, picture: Picture) -> None:
        with self._lock:
            before = self._pictures.pop(key, None)
            self._pictures[key] = picture
            self._cells += _cells(picture) - (_cells(before) if before is not None else 0)
            while self._cells > self._limit and len(self._pictures) > 1:
                self._cells -= _cells(self._pictures.popitem(last=False)[1])

    def clear(self) -> None:
        """Forget all, as after a change of the cell size."""
        with self._lock:
            self._pictures.clear()
            self._cells = 0


def _cells(picture: Picture) -> int:
    return picture.width * picture.height
