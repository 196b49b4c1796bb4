"""Images as lines for the terminal."""

from __future__ import annotations

import base64
import io
import re
import zlib

import numpy as np
import pytest
from PIL import Image

from streamscope.tui.bench.wire import picture as bench_picture
from streamscope.tui.terminal.detection import Graphics, Mode
from streamscope.tui.terminal.drawing import Drawing, picture_of
from streamscope.tui.terminal.encoding import MOST_REPEATED, PictureCache, adopt_cell_size, encode, fit
from tests.support.app_store import made_up_image
from tests.support.optional import present

CELL = (8, 16)
IMAGE = made_up_image("picture", 64)


@pytest.fixture(autouse=True)
def _cell() -> None:
    adopt_cell_size(CELL)


def decode_sixels(data: str, select_on_define: bool) -> np.ndarray:
    """(H, W, 3) uint8 of Sixel data; terminals differ in whether a definition also selects the colour."""
    size = re.search(r'"1;1;(\d+);(\d+)', data)
    assert size is not None
    width, height = int(size[1]), int(size[2])
    canvas = np.zeros((height + 6, width, 3), dtype=np.uint8)
    colours: dict[int, list[int]] = {}
    current, x, y = -1, 0, 0
    token = re.compile(r'"[\d;]*|#(\d+)(?:;2;(\d+);(\d+);(\d+))?|!(\d+)([?-~])|([?-~])|(\$)|(-)')
    for match in token.finditer(data[data.index("q") + 1 :]):
        if match[1]:
            if match[2]:
                colours[int(match[1])] = [int(match[k]) * 255 // 100 for k in (2, 3, 4)]
            if not match[2] or select_on_define:
                current = int(match[1])
        elif match[6] or match[7]:
            count, bits = int(match[5] or 1), ord(match[6] or match[7]) - 63
            for row in range(6):
                if bits >> row & 1:
                    canvas[y + row, x : x + count] = colours[current]
            x += count
        elif match[8]:
            x = 0
        elif match[9]:
            x, y = 0, y + 6
    return canvas[:height]


def test_half_blocks_are_as_many_cells_as_asked_for_and_show_the_colours() -> None:
    image = np.zeros((4, 4, 3), dtype=np.uint8)
    image[:2], image[2:] = (255, 0, 0), (0, 0, 255)
    picture = encode(image, (4, 2), Graphics("half", CELL))
    assert [line.cell_length for line in picture.lines] == [4, 4]
    segment = next(iter(picture.lines[0]))
    assert segment.style is not None
    assert [present(segment.style.color).name, present(segment.style.bgcolor).name] == ["#ff0000", "#ff0000"]
    last = next(iter(picture.lines[1]))
    assert last.style is not None
    assert last.style.color is not None
    assert last.style.color.name == "#0000ff"


def test_lines_of_a_picture_in_pixels_are_blank_and_say_which_picture_is_to_be_there() -> None:
    picture = encode(IMAGE, (12, 6), Graphics("sixel", CELL))
    assert [line.cell_length for line in picture.lines] == [12] * 6
    assert all(line.text == " " * 12 for line in picture.lines)
    marks = [present(next(iter(line)).style).meta["picture"] for line in picture.lines]
    assert marks == [(picture.number, row) for row in range(6)]
    assert picture_of(picture.number) is picture


@pytest.mark.parametrize("select_on_define", [True, False])
def test_sixels_show_the_image_in_terminals_that_select_a_colour_when_it_is_defined_and_in_xterm(
    select_on_define: bool,
) -> None:
    (drawing,) = encode(IMAGE, (12, 6), Graphics("sixel", CELL)).drawings
    data = drawing.rows[0]
    assert drawing.rows[1:] == ("",) * 5
    wanted = np.asarray(Image.fromarray(IMAGE).resize((96, 96), Image.Resampling.BICUBIC), dtype=float)
    difference = np.abs(decode_sixels(data, select_on_define) - wanted)
    assert difference.shape == (96, 96, 3)
    assert difference.mean() < 8
    assert np.percentile(difference, 99.9) < 80


@pytest.mark.parametrize("mode", ["sixel", "kitty"])
def test_pixels_of_an_enlarged_picture_are_sharp_squares(mode: Mode) -> None:
    """4 x 4 pixels, black and white by turns, in 12 x 6 cells of 96 x 96 pixels."""
    board = np.indices((4, 4)).sum(axis=0) % 2 * 255
    (drawing,) = encode(
        np.repeat(board[:, :, None], 3, axis=2).astype(np.uint8), (12, 6), Graphics(mode, CELL)
    ).drawings
    shown = decode_sixels(drawing.rows[0], False) if mode == "sixel" else np.asarray(sent(drawing).convert("RGB"))
    times = len(shown) // 4
    assert times == (24 if mode == "sixel" else MOST_REPEATED)
    expected = np.repeat(np.repeat(board, times, axis=0), times, axis=1)
    assert np.abs(np.asarray(shown, dtype=int)[:, :, 0] - expected).max() <= 3


def sent(drawing: Drawing) -> Image.Image:
    """The image that kitty gets."""
    messages = re.findall(r"\x1b_G(.*?)\x1b\\", drawing.setup, re.DOTALL)
    data = base64.b64decode("".join(message.split(";", 1)[1] for message in messages[:-1]))
    return Image.open(io.BytesIO(data))


def test_kitty_gets_the_image_at_its_own_resolution_and_placeholders_for_it() -> None:
    (drawing,) = encode(IMAGE, (12, 6), Graphics("kitty", CELL)).drawings
    assert (np.asarray(sent(drawing)) == IMAGE).all()
    identity = re.search(r"i=(\d+)", drawing.setup)
    assert identity is not None
    assert drawing.setup.endswith(f"\x1b_Ga=p,i={identity[1]},c=12,r=6,U=1,q=2\x1b\\")
    assert drawing.teardown == f"\x1b_Ga=d,d=I,i={identity[1]},q=2\x1b\\"
    assert len(drawing.rows) == 6
    for row in drawing.rows:
        assert row.count("\U0010eeee") == 12
        colour = re.match(r"\x1b\[0;38;2;(\d+);(\d+);(\d+)m", row)
        assert colour is not None
        assert int(colour[1]) << 16 | int(colour[2]) << 8 | int(colour[3]) == int(identity[1])


def test_kitty_gets_no_more_pixels_than_are_seen() -> None:
    (drawing,) = encode(made_up_image("picture", 224), (12, 6), Graphics("kitty", CELL)).drawings
    assert sent(drawing).size == (96, 96)


def test_drafts_come_first_and_what_is_better_is_made_later() -> None:
    image = made_up_image("picture", 224)
    modes: tuple[Mode, ...] = ("sixel", "kitty")
    for mode in modes:
        picture = encode(image, (30, 15), Graphics(mode, CELL), drafts=True)
        assert len(picture.drawings) == 1
        while picture.better:
            picture.improve()
        sizes = [drawing.setup_size + drawing.rows_size for drawing in picture.drawings]
        assert len(sizes) == 3
        assert sizes == sorted(sizes)
        assert sizes[0] < sizes[-1] / 2
        assert len(encode(image, (30, 15), Graphics(mode, CELL)).drawings) == 1


def test_an_image_as_small_as_a_draft_has_none() -> None:
    small = encode(made_up_image("picture", 43), (12, 6), Graphics("kitty", CELL), drafts=True)
    assert (len(small.drawings), small.better) == (1, [])


def test_inside_tmux_kitty_messages_are_passed_through() -> None:
    (drawing,) = encode(IMAGE, (12, 6), Graphics("kitty", CELL, tmux=True)).drawings
    assert drawing.setup.startswith("\x1bPtmux;\x1b\x1b_G")
    assert drawing.teardown.endswith("\x1b\x1b\\\x1b\\")


@pytest.mark.parametrize(
    ("available", "cell", "size"),
    [
        ((22, 40), (8, 17), (21, 10)),
        ((60, 8), (8, 17), (17, 8)),
        ((20, 10), (10, 20), (20, 10)),
        ((1, 1), (8, 17), (1, 1)),
    ],
)
def test_a_picture_fits_its_room_and_stays_square(
    available: tuple[int, int], cell: tuple[int, int], size: tuple[int, int]
) -> None:
    assert fit(available, cell) == size


def test_the_cache_keeps_what_was_looked_at_last() -> None:
    cache = PictureCache(limit=4)
    pictures = [encode(IMAGE, (2, 1), Graphics("half", CELL)) for _ in range(3)]
    cache.put("a", pictures[0])
    cache.put("b", pictures[1])
    assert cache.get("a") is pictures[0]
    cache.put("c", pictures[2])
    assert cache.get("b") is None
    assert cache.get("a") is pictures[0]


def test_what_kitty_gets_is_shorter_than_compressed_pixels() -> None:
    noisy = bench_picture(np.random.default_rng(0))
    picture = encode(noisy, (26, 12), Graphics("kitty", (8, 17)), drafts=True)
    while picture.better:
        picture.improve()
    for drawing in picture.drawings:
        pixels = sent(drawing).convert("RGB").tobytes()
        assert drawing.setup_size < len(base64.b64encode(zlib.compress(pixels, 9)))


def test_three_of_the_roughest_pictures_go_over_a_megabit_in_a_quarter_of_a_second() -> None:
    noisy = bench_picture(np.random.default_rng(0))
    modes: tuple[Mode, ...] = ("sixel", "kitty")
    for mode in modes:
        (drawing,) = encode(noisy, (26, 12), Graphics(mode, (8, 17)), drafts=True).drawings
        assert 3 * (drawing.setup_size + drawing.rows_size) <= 0.25 * 125e3
