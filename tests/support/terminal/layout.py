"""Where the app puts its pictures in a terminal of a given size, and which: by the app itself, without a terminal."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from streamscope.tui.data.pictures import PictureLibrary
from streamscope.tui.table.arrangement import Key
from streamscope.tui.terminal.detection import Graphics
from streamscope.tui.terminal.encoding import fit
from streamscope.tui.widgets.picture import GAP, PictureBox
from tests.support.app_driver import channels_screen, opened, options, until
from tests.support.app_store import make_info


@dataclass(frozen=True)
class Place:
    """A picture's top left cell, its size in cells, and the image drawn there, (rows, columns) of cells scaled."""

    x: int
    y: int
    columns: int
    rows: int
    image: np.ndarray

    def pixels(self, cell: tuple[int, int]) -> np.ndarray:
        """The image at the size of its cells."""
        size = (self.columns * cell[0], self.rows * cell[1])
        return np.asarray(Image.fromarray(self.image).resize(size, Image.Resampling.BICUBIC), dtype=np.float64)

    def repeated(self, cell: tuple[int, int]) -> np.ndarray:
        """As `pixels`, of the image with each pixel as often as fits, four times at most: as a terminal that scales by
        itself is sent it."""
        room = min(self.columns * cell[0] // self.image.shape[1], self.rows * cell[1] // self.image.shape[0])
        times = max(1, min(4, room))
        larger = np.repeat(np.repeat(self.image, times, axis=0), times, axis=1)
        return Place(self.x, self.y, self.columns, self.rows, larger).pixels(cell)

    def on(self, screen: np.ndarray, cell: tuple[int, int], border: int) -> np.ndarray:
        """What stands on a screenshot at its place."""
        top, left = border + self.y * cell[1], border + self.x * cell[0]
        bottom, right = top + self.rows * cell[1], left + self.columns * cell[0]
        return screen[top:bottom, left:right].astype(np.float64)


def places(folder: Path, size: tuple[int, int], cell: tuple[int, int], key: Key) -> list[Place]:
    """The three pictures of a channel on the main screen."""

    async def ask() -> list[Place]:
        given = options(folder, marks=folder / "unused")
        async with opened(given, size=size, graphics=Graphics("half", cell)) as (app, pilot):
            screen = channels_screen(app)
            screen.table.move_to(key)
            boxes = list(screen.query("#pictures PictureBox").results(PictureBox))
            await until(pilot, lambda: all(box.picture and box.subject and box.subject.key == key for box in boxes))
            assert app.reading is not None
            library = PictureLibrary(given.cache, make_info(), app.reading.key)
            found = []
            for box in boxes:
                assert box.subject is not None
                load = library.find(box.subject).load
                assert load is not None
                columns, rows = fit((box.size.width - GAP, box.size.height - 1), cell)
                left = box.content_region.x + (box.size.width - columns) // 2
                found.append(Place(left, box.content_region.y + 1, columns, rows, load()))
            return found

    return asyncio.run(ask())
