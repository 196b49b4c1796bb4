"""A terminal that is only read: where text, cursor and pictures are, and what is answered to what it is asked."""

from __future__ import annotations

import re
from codecs import getincrementaldecoder
from collections.abc import Iterator
from dataclasses import dataclass, field

from rich.cells import get_character_cell_size

CELL = (8, 17)
"""Width and height of one cell in pixels."""
PLACEHOLDER = "\U0010eeee"
HALF = "▀"
_PART = re.compile(
    r"\x1b\[(?P<mark>[?>=<]?)(?P<given>[\d;:]*)(?P<between>[ -/]*)(?P<final>[@-~])"
    r"|\x1bP(?P<dcs>(?:[^\x1b]|\x1b\x1b|\x1b(?!\\))*)\x1b\\"
    r"|\x1b_(?P<apc>[^\x1b]*)\x1b\\"
    r"|\x1b[\]X^](?P<other>[^\x1b\x07]*)(?:\x1b\\|\x07)"
    r"|\x1b(?P<escape>[ -/]*[0-OQ-WYZ`-~])"
    r"|(?P<control>[\x00-\x1a\x1c-\x1f])"
    r"|(?P<text>[^\x00-\x1f]+)",
    re.DOTALL,
)


@dataclass
class Screen:
    """Reads what a program writes to a terminal of `columns` x `rows` cells that draws Sixel, or as kitty does, or not.

    `pictures` counts what came to be seen: Sixels drawn, images of kitty's whose placeholders stand on the screen, and
    for half blocks the cells that changed.
    """

    columns: int
    rows: int
    name: str = "XTerm(379)"
    sixel: bool = True
    kitty: bool = False
    asked: int = 0
    """How often the terminal was asked for its status."""
    sixels: int = 0
    halves: int = 0
    images: set[int] = field(default_factory=set)
    """Ids of kitty's images that were sent whole."""
    seen: set[int] = field(default_factory=set)
    """Those of them whose placeholders stand on the screen, or did."""

    def __post_init__(self) -> None:
        self._text = [[" "] * self.columns for _ in range(self.rows)]
        self._colour = 0
        self._y = self._x = 0
        self._saved = (0, 0)
        self._last = " "
        self._rest = ""
        self._decode = getincrementaldecoder("utf-8")("replace").decode

    @property
    def pictures(self) -> int:
        return self.sixels + self.halves + len(self.seen & self.images)

    def has_more_than(self, pictures: int) -> bool:
        return self.pictures > pictures

    def line(self, y: int) -> str:
        return "".join(self._text[y])

    def shows(self, words: str) -> bool:
        """Whether a line has these words."""
        return any(words in self.line(y) for y in range(self.rows))

    def feed(self, data: bytes) -> bytes:
        """Goes on reading, and returns what the terminal answers; a sequence cut off waits for the next call."""
        came = self._decode(data)
        if self._rest[1:2] in ("P", "_", "]") and "\\" not in came and "\x07" not in came:
            # A long picture in many pieces is not gone through again for each.
            self._rest += came
            return b""
        text, self._rest = self._rest + came, ""
        place = 0
        replies: list[str] = []
        while place < len(text):
            match = _PART.match(text, place)
            if match is None:
                self._rest = text[place:]
                break
            place = match.end()
            replies.extend(self._take(match))
        return "".join(replies).encode()

    def _take(self, match: re.Match[str]) -> Iterator[str]:
        if match["text"] is not None:
            self._write(match["text"])
        elif match["final"] is not None:
            yield from self._csi(match["mark"], match["given"], match["between"], match["final"])
        elif match["dcs"] is not None:
            self.sixels += self.sixel and re.match(r"[\d;]*q", match["dcs"]) is not None
        elif match["apc"] is not None:
            yield from self._graphics(match["apc"])
        elif match["control"] is not None:
            self._control(match["control"])
        elif match["escape"] == "7":
            self._saved = (self._y, self._x)
        elif match["escape"] == "8":
            self._y, self._x = self._saved

    def _control(self, letter: str) -> None:
        if letter == "\r":
            self._x = 0
        elif letter == "\n":
            self._y, self._x = min(self._y + 1, self.rows - 1), 0
        elif letter == "\b":
            self._x = max(0, self._x - 1)

    def _write(self, text: str) -> None:
        for letter in text:
            width = get_character_cell_size(letter)
            row = self._text[self._y]
            if width == 0:
                # A mark over the letter before it, which for a placeholder is a number.
                if 0 < self._x <= self.columns and row[self._x - 1] != PLACEHOLDER:
                    row[self._x - 1] += letter
                continue
            if self._x < self.columns:
                if letter == HALF:
                    self.halves += 1
                elif letter == PLACEHOLDER:
                    self.seen.add(self._colour)
                row[self._x : self._x + width] = [letter, *[""] * (width - 1)]
            self._last = letter
            self._x += width

    def _csi(self, mark: str, given: str, between: str, final: str) -> Iterator[str]:
        numbers = [int(part) if part.isdigit() else 0 for part in re.split("[;:]", given)] if given else []
        first = numbers[0] if numbers else 0
        by = max(1, first)
        if mark or between:
            yield from self._asked_privately(mark, numbers, between, final)
        elif final in "Hf":
            self._y = min(self.rows, by) - 1
            self._x = (max(1, numbers[1]) if len(numbers) > 1 else 1) - 1
        elif final in "AF":
            self._y = max(0, self._y - by)
        elif final in "BE":
            self._y = min(self.rows - 1, self._y + by)
        elif final == "C":
            self._x += by
        elif final == "D":
            self._x = max(0, self._x - by)
        elif final in "G`":
            self._x = by - 1
        elif final == "d":
            self._y = min(self.rows, by) - 1
        elif final == "X":
            self._blank(self._y, self._x, self._x + by)
        elif final == "K":
            self._blank(self._y, 0 if first else self._x, self._x + 1 if first == 1 else self.columns)
        elif final == "J":
            for y in range(self.rows):
                if first == 2 or (first == 0 and y > self._y) or (first == 1 and y < self._y):
                    self._blank(y, 0, self.columns)
            if first == 0:
                self._blank(self._y, self._x, self.columns)
        elif final == "b":
            self._write(self._last * by)
        elif final == "m":
            self._style(numbers)
        elif final == "n" and first == 5:
            self.asked += 1
            yield "\x1b[0n"
        elif final == "c":
            yield "\x1b[?62;4c" if self.sixel else "\x1b[?62c"
        elif final == "t" and first == 16:
            yield f"\x1b[6;{CELL[1]};{CELL[0]}t"

    def _asked_privately(self, mark: str, numbers: list[int], between: str, final: str) -> Iterator[str]:
        if (mark, final) == (">", "q"):
            yield f"\x1bP>|{self.name}\x1b\\"
        elif (mark, final) == (">", "c"):
            yield "\x1b[>41;379;0c"
        elif (mark, between, final) == ("?", "$", "p"):
            # It draws frames as a whole, and tells nothing of its size by itself.
            yield f"\x1b[?{numbers[0]};{2 if numbers[0] == 2026 else 0}$y"

    def _blank(self, y: int, start: int, stop: int) -> None:
        stop = min(stop, self.columns)
        if start < stop:
            self._text[y][start:stop] = " " * (stop - start)

    def _style(self, numbers: list[int]) -> None:
        for start in range(len(numbers)):
            if numbers[start : start + 2] == [38, 2] and len(numbers) >= start + 5:
                red, green, blue = numbers[start + 2 : start + 5]
                self._colour = red << 16 | green << 8 | blue

    def _graphics(self, message: str) -> Iterator[str]:
        if not self.kitty or not message.startswith("G"):
            return
        head, _, _ = message[1:].partition(";")
        keys = dict(part.split("=", 1) for part in head.split(",") if "=" in part)
        identity = int(keys.get("i", 0))
        if keys.get("a") == "q":
            yield f"\x1b_Gi={identity};OK\x1b\\"
        elif keys.get("a", "t") == "t" and keys.get("m", "0") == "0":
            self.images.add(identity)
        elif keys.get("a") == "d" and identity in self.images:
            self.images.discard(identity)
            self.seen.discard(identity)
