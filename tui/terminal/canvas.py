"""What should stand on the terminal and what does stand there, cell by cell: only the difference is sent."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, TypeGuard

from rich.cells import cell_len, get_character_cell_size
from rich.color import Color, ColorSystem
from rich.style import Style
from textual._compositor import ChopsUpdate, LayoutUpdate
from textual.strip import SGR_STYLES, Strip

from streamscope.tui.terminal.drawing import HALF, Drawing, Picture, picture_of

BRIDGE = 4
"""So many letters that are right already are written again, as moving over them takes as many bytes."""
LEVELS = (0, 95, 135, 175, 215, 255)
"""Of each colour in the cube that is part of a palette of 256."""
NEAR = 40
"""In few colours a half block takes that of its neighbour where none of red, green and blue differs by more."""
JOINER = "\u200d"
"""What follows it is of the same letter (emoji of several parts)."""


class Pen(NamedTuple):
    """How a letter is written: SGR codes of its attributes, its colour and the one behind it; "" is the terminal's."""

    attributes: str = ""
    colour: str = ""
    ground: str = ""


class Letter(NamedTuple):
    """One cell of text; the second cell of a wide letter has "" for text, and no colour stands before a blank."""

    text: str
    pen: Pen


class Piece(NamedTuple):
    """One cell of a row of a picture; of a `Drawing` where it was drawn."""

    picture: Picture | Drawing
    row: int
    ground: str = ""
    """The colour behind a picture that is still to come; of what was drawn nobody asks."""


Cell = Letter | Piece
Update = LayoutUpdate | ChopsUpdate
"""What Textual's compositor makes of a change: all of the screen, or parts of lines."""
NOTHING = Letter(" ", Pen())


@dataclass(frozen=True)
class Placed:
    """A picture, and its top left cell."""

    picture: Picture
    x: int
    y: int


class Canvas:
    """`columns` x `rows` cells. What is asked of it as text is taken for sent."""

    def __init__(self, columns: int, rows: int, colours: ColorSystem = ColorSystem.TRUECOLOR) -> None:
        self.columns, self.rows = columns, rows
        self._colours = colours
        self._wanted: list[list[Cell]] = [[NOTHING] * columns for _ in range(rows)]
        self._shown: list[list[Cell | None]] = [[None] * columns for _ in range(rows)]
        """None where it is not known what stands there."""
        self._changed = set(range(rows))
        """Rows whose text may differ."""
        self._halved: set[int] = set()
        self._pictured: set[int] = set()
        """Rows with half blocks, and with pictures drawn in pixels."""
        self._unfinished: set[int] = set()
        """Rows whose half blocks may not all be as they should."""
        self.replaced = self.added = 0
        """How often something else was wanted where a picture or half blocks had been, and one where there was none."""

    def forget(self) -> None:
        """Nothing is known of what the terminal shows."""
        self._shown = [[None] * self.columns for _ in range(self.rows)]
        self._changed = set(range(self.rows))
        self._unfinished = set(range(self.rows))

    def apply(self, update: Update) -> None:
        """Take over what the compositor drew."""
        if isinstance(update, LayoutUpdate):
            for y, line in enumerate(update.strips, update.region.y):
                x = update.region.x
                for strip in line:
                    self._put(x, y, strip)
                    x += strip.cell_length
        else:
            for y, start, stop in update.spans:
                for end, (x, part) in zip(update.chop_ends[y], update.chops[y].items(), strict=False):
                    if part is None or x > stop or end <= start:
                        continue
                    self._put(x, y, part if end <= stop else part.crop(0, min(end, stop) - x))

    def _put(self, x: int, y: int, strip: Strip) -> None:
        if not 0 <= y < self.rows or x >= self.columns:
            return
        cells: list[Cell] = []
        for text, style, control in strip:
            if control:
                continue
            pen, mark = _pen(style, self._colours)
            picture = picture_of(mark[0]) if mark is not None else None
            if picture is not None and mark is not None:
                cells.extend([Piece(picture, mark[1], pen.ground)] * len(text))
            else:
                cells.extend(_letters(text, pen))
        cells = cells[: self.columns - x]
        row = self._wanted[y]
        before = row[x : x + len(cells)]
        if before != cells:
            changes = [(old, new) for old, new in zip(before, cells, strict=True) if old != new]
            self.replaced += any(_is_drawn(old) for old, _ in changes)
            self.added += any(_is_drawn(new) for _, new in changes)
            row[x : x + len(cells)] = cells
            # A wide letter of which one half is covered is none any more.
            for place in (x - 1, x + len(cells) - 1, x + len(cells)):
                _mend(row, place)
            self._changed.add(y)
            self._unfinished.add(y)
            for rows, holds in (
                (self._halved, any(cell[0] == HALF for cell in row)),
                (self._pictured, any(isinstance(cell, Piece) for cell in row)),
            ):
                rows.add(y) if holds else rows.discard(y)

    # -- text ----------------------------------------------------------------------------------------------------------

    def text(self, drawn: Iterable[Placed] = ()) -> str:
        """What makes all text as it should be, but for half blocks. Where a picture is to be, what else stood there is
        wiped; a picture that stood there stays where one of `drawn` is about to take its place."""
        kept = {(p.y + row, p.x) for p in drawn for row in range(p.picture.height)}
        parts = []
        for y in sorted(self._changed):
            wanted = self._as_text(y, kept)
            parts.append(self._write_row(y, wanted))
        self._changed.clear()
        return "".join(parts)

    def _as_text(self, y: int, kept: set[tuple[int, int]]) -> list[Cell | None]:
        """What is to stand in a row until pictures come; None for what may stay as it is."""
        shown = self._shown[y]
        cells: list[Cell | None] = []
        keeping = 0
        for x, cell in enumerate(self._wanted[y]):
            keeping -= 1
            if isinstance(cell, Piece):
                assert isinstance(cell.picture, Picture)
                if (y, x) in kept:
                    keeping = cell.picture.width
                there = shown[x]
                right = isinstance(there, Piece) and (keeping > 0 or there.picture in cell.picture.drawings)
                cells.append(None if right else Letter(" ", Pen("", "", cell.ground)))
            elif cell.text == HALF:
                # These are written right after the text.
                cells.append(None)
            else:
                cells.append(cell)
        return cells

    def halves(self, coarse: bool = False, room: float = math.inf) -> str:
        """What makes half blocks as they should be, in few colours if `coarse`; of as many rows as take `room` bytes,
        from the top."""
        parts: list[str] = []
        for y in sorted(self._halved & self._unfinished):
            if room <= 0:
                break
            row = self._wanted[y]
            wanted: list[Cell | None] = [
                new if cell[0] == HALF and cell != there else None
                for cell, new, there in zip(row, _coarse(row) if coarse else row, self._shown[y], strict=True)
            ]
            parts.append(self._write_row(y, wanted))
            room -= len(parts[-1].encode())
            if not coarse:
                self._unfinished.discard(y)
        return "".join(parts)

    @property
    def lacks_halves(self) -> bool:
        """Whether half blocks are not there, or in few colours."""
        return any(
            cell[0] == HALF and cell != there
            for y in self._halved & self._unfinished
            for cell, there in zip(self._wanted[y], self._shown[y], strict=True)
        )

    def _write_row(self, y: int, wanted: list[Cell | None]) -> str:
        """Writes the letters of a row that differ from what is shown, and takes them for shown."""
        shown = self._shown[y]
        differs = [x for x, cell in enumerate(wanted) if cell is not None and cell != shown[x]]
        if not differs:
            return ""
        parts: list[str] = []
        pen: Pen | None = None
        place = -1
        for x in differs:
            if x < place:
                # The second half of a wide letter.
                continue
            start = self._begin(wanted, x)
            between = wanted[place:start] if 0 <= place <= start and start - place <= BRIDGE else None
            if between and all(_is_plain(cell) and _needed(cell, pen) == pen for cell in between):
                start = place
            elif place != start:
                parts.append(f"\x1b[{y + 1};{start + 1}H")
            place = start
            while place <= x or (place < len(wanted) and _is_continued(wanted[place])):
                cell = wanted[place]
                assert isinstance(cell, Letter)
                needed = _needed(cell, pen)
                if pen != needed:
                    parts.append(_change(pen, needed))
                    pen = needed
                parts.append(cell.text)
                shown[place] = cell
                place += 1
        if pen != Pen():
            parts.append("\x1b[m")
        return "".join(parts)

    @staticmethod
    def _begin(wanted: list[Cell | None], x: int) -> int:
        """The first cell of the letter that has cell `x`."""
        while x > 0 and _is_continued(wanted[x]):
            x -= 1
        return x

    # -- pictures ------------------------------------------------------------------------------------------------------

    def pictures(self) -> list[Placed]:
        """Those to be seen whole, from the top."""
        found: list[Placed] = []
        for y in sorted(self._pictured):
            row, x = self._wanted[y], 0
            while x < self.columns:
                cell = row[x]
                if isinstance(cell, Piece) and isinstance(cell.picture, Picture):
                    if cell.row == 0 and self._is_whole(cell.picture, cell.ground, x, y):
                        found.append(Placed(cell.picture, x, y))
                    x += cell.picture.width
                else:
                    x += 1
        return found

    def _is_whole(self, picture: Picture, ground: str, x: int, y: int) -> bool:
        if y + picture.height > self.rows or x + picture.width > self.columns:
            return False
        return all(
            self._wanted[y + row][x : x + picture.width] == [Piece(picture, row, ground)] * picture.width
            for row in range(picture.height)
        )

    def drawing_at(self, placed: Placed) -> Drawing | None:
        """Which of its drawings stands whole where a picture is to be."""
        first = self._shown[placed.y][placed.x]
        if not isinstance(first, Piece) or not isinstance(first.picture, Drawing):
            return None
        drawing, picture = first.picture, placed.picture
        if drawing not in picture.drawings:
            return None
        whole = all(
            self._shown[placed.y + row][placed.x : placed.x + picture.width] == [Piece(drawing, row)] * picture.width
            for row in range(picture.height)
        )
        return drawing if whole else None

    def draw(self, placed: Placed, drawing: Drawing) -> str:
        """What draws a picture at its place, once the terminal has the drawing's `setup`."""
        for row in range(placed.picture.height):
            self._shown[placed.y + row][placed.x : placed.x + placed.picture.width] = [
                Piece(drawing, row)
            ] * placed.picture.width
        return "".join(f"\x1b[{placed.y + row + 1};{placed.x + 1}H{text}" for row, text in enumerate(drawing.rows))

    def drawings(self) -> set[Drawing]:
        """Those that stand somewhere."""
        return {
            cell.picture
            for row in self._shown
            for cell in row
            if isinstance(cell, Piece) and isinstance(cell.picture, Drawing)
        }


def _needed(letter: Letter, pen: Pen | None) -> Pen:
    """How a letter is to be written: a blank without attributes in any colour, so in that of `pen`."""
    if pen is None or letter.text != " " or letter.pen.attributes or pen.attributes:
        return letter.pen
    return Pen("", pen.colour, letter.pen.ground)


def _is_plain(cell: Cell | None) -> TypeGuard[Letter]:
    return isinstance(cell, Letter) and len(cell.text) == 1 and cell.text.isascii()


def _is_continued(cell: Cell | None) -> bool:
    return isinstance(cell, Letter) and cell.text == ""


def _is_drawn(cell: Cell) -> bool:
    return isinstance(cell, Piece) or cell.text == HALF


def _mend(row: list[Cell], x: int) -> None:
    """Makes a blank of what is left at `x` of a wide letter whose other half was covered."""
    cell = row[x] if 0 <= x < len(row) else NOTHING
    if not isinstance(cell, Letter):
        return
    if cell.text:
        width = cell_len(cell.text)
        rest = row[x + 1 : x + width]
        whole = len(rest) == width - 1 and all(_is_continued(part) for part in rest)
    else:
        first = x
        while first > 0 and _is_continued(row[first]):
            first -= 1
        start = row[first]
        whole = isinstance(start, Letter) and cell_len(start.text) > x - first
    if not whole:
        row[x] = _letter(" ", cell.pen)


def _letter(text: str, pen: Pen) -> Letter:
    return Letter(text, Pen("", "", pen.ground) if text == " " and not pen.attributes else pen)


@lru_cache(maxsize=8192)
def _letters(text: str, pen: Pen) -> tuple[Letter, ...]:
    """One for each cell. Marks over a letter, and what is joined to it, are in its cell; Rich says how wide it is."""
    if text.isascii():
        return tuple(_letter(letter, pen) for letter in text)
    parts: list[str] = []
    for letter in text:
        if parts and (parts[-1].endswith(JOINER) or get_character_cell_size(letter) == 0):
            parts[-1] += letter
        else:
            parts.append(letter)
    return tuple(cell for part in parts for cell in _cells_of(part, pen))


def _cells_of(letter: str, pen: Pen) -> Iterator[Letter]:
    width = cell_len(letter)
    if width:
        yield _letter(letter, pen)
        yield from [Letter("", pen)] * (width - 1)


Mark = tuple[int, int]
"""A picture's number and one of its rows."""


@lru_cache(maxsize=16384)
def _pen(style: Style | None, colours: ColorSystem) -> tuple[Pen, Mark | None]:
    if style is None:
        return Pen(), None
    bits = style._attributes & style._set_attributes
    attributes = ";".join(SGR_STYLES[bit] for bit in range(bits.bit_length()) if bits & (1 << bit))
    colour = _codes(style.color, colours, True)
    ground = _codes(style.bgcolor, colours, False)
    return Pen(attributes, colour, ground), style.meta.get("picture") if style._meta else None


def _codes(colour: Color | None, colours: ColorSystem, front: bool) -> str:
    return ";".join(colour.downgrade(colours).get_ansi_codes(front)) if colour is not None else ""


def _change(old: Pen | None, new: Pen) -> str:
    """From one pen to another."""
    if old is None or old.attributes != new.attributes:
        codes = [code for code in new if code]
        return f"\x1b[0;{';'.join(codes)}m" if codes else "\x1b[m"
    codes = []
    if old.colour != new.colour:
        codes.append(new.colour or "39")
    if old.ground != new.ground:
        codes.append(new.ground or "49")
    return f"\x1b[{';'.join(codes)}m"


def _coarse(cells: Sequence[Cell]) -> list[Cell]:
    """The half blocks of a row in few colours: those of the palette's cube of 6 x 6 x 6, and not another one as long as
    the one to the left is `NEAR` enough. Blanks where both halves have the same."""
    coarse: list[Cell] = []
    front = back = ""
    for cell in cells:
        if not isinstance(cell, Letter) or cell.text != HALF:
            front = back = ""
            coarse.append(cell)
            continue
        attributes, colour, ground = cell.pen
        front, back = _near(colour, front), _near(ground, back)
        if front.removeprefix("3") == back.removeprefix("4"):
            coarse.append(_letter(" ", Pen(attributes, "", back)))
        else:
            coarse.append(Letter(HALF, Pen(attributes, front, back)))
    return coarse


def _near(codes: str, last: str) -> str:
    """The cube's colour for one in all colours, or the last one if it is near enough."""
    colour, nearest = _in_cube(codes)
    before = _CUBE.get(last[3:])
    if colour is None or before is None:
        return nearest
    (red, green, blue), (old_red, old_green, old_blue) = colour, before
    near = abs(red - old_red) <= NEAR and abs(green - old_green) <= NEAR and abs(blue - old_blue) <= NEAR
    return last if near else nearest


@lru_cache(maxsize=65536)
def _in_cube(codes: str) -> tuple[tuple[int, int, int] | None, str]:
    """A colour's red, green and blue, and the codes of the nearest one of the cube; itself if it is one of few."""
    front, kind, *values = codes.split(";") if codes.count(";") == 4 else ("", "")
    if kind != "2":
        return None, codes
    red, green, blue = map(int, values)
    return (red, green, blue), f"{front};5;{16 + 36 * _LEVEL[red] + 6 * _LEVEL[green] + _LEVEL[blue]}"


_LEVEL = [min(range(6), key=lambda level: abs(LEVELS[level] - value)) for value in range(256)]
"""The nearest of `LEVELS` for each value."""
_CUBE = {
    f"5;{16 + 36 * red + 6 * green + blue}": (LEVELS[red], LEVELS[green], LEVELS[blue])
    for red in range(6)
    for green in range(6)
    for blue in range(6)
}
