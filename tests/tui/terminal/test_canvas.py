"""Only what differs is sent, and what stands on the terminal then is what was wanted."""

from __future__ import annotations

import numpy as np
import pytest
from rich.segment import Segment
from rich.style import Style
from textual._compositor import LayoutUpdate
from textual.geometry import Region
from textual.strip import Strip

from streamscope.tui.bench.screen import Screen
from streamscope.tui.terminal.canvas import Canvas, Letter, Placed
from streamscope.tui.terminal.drawing import Drawing, Picture

WIDTH, HEIGHT = 24, 5
STYLES = [Style.null(), Style(bold=True), Style(color="#ff0000"), Style(color="#ff0000", bgcolor="#000080")]
WORDS = ["a", "row 12", "   ", "é", "名前", "→", "0.25", "e\u0301"]


def update(*lines: Strip) -> LayoutUpdate:
    return LayoutUpdate([[line] for line in lines], Region(0, 0, WIDTH, HEIGHT))


def line(*parts: tuple[str, Style]) -> Strip:
    return Strip([Segment(text, style) for text, style in parts]).adjust_cell_length(WIDTH)


def random_line(random: np.random.Generator) -> Strip:
    return line(*[(WORDS[random.integers(len(WORDS))], STYLES[random.integers(len(STYLES))]) for _ in range(6)])


def pictured(picture: Picture) -> LayoutUpdate:
    """The picture at the second cell of the first line."""
    blank = Strip.blank(WIDTH)
    lines = [Strip.join([Strip.blank(1), part]).adjust_cell_length(WIDTH) for part in picture.lines]
    return update(*lines, *[blank] * (HEIGHT - len(lines)))


def test_after_any_changes_the_terminal_shows_what_a_new_one_would() -> None:
    random = np.random.default_rng(0)
    canvas, screen = Canvas(WIDTH, HEIGHT), Screen(WIDTH, HEIGHT)
    lines = [random_line(random) for _ in range(HEIGHT)]
    for _ in range(60):
        lines[random.integers(HEIGHT)] = random_line(random)
        canvas.apply(update(*lines))
        screen.feed(canvas.text().encode())
        fresh, other = Canvas(WIDTH, HEIGHT), Screen(WIDTH, HEIGHT)
        fresh.apply(update(*lines))
        other.feed(fresh.text().encode())
        assert [screen.line(y) for y in range(HEIGHT)] == [other.line(y) for y in range(HEIGHT)]


def test_what_is_the_same_is_not_sent_again() -> None:
    canvas = Canvas(WIDTH, HEIGHT)
    canvas.apply(update(*[line(("row 1 of 22", STYLES[1]))] * HEIGHT))
    assert canvas.text()
    canvas.apply(update(*[line(("row 1 of 22", STYLES[1]))] * HEIGHT))
    assert canvas.text() == ""
    changed = [line(("row 1 of 22", STYLES[1])), line(("row 2 of 22", STYLES[1]))]
    canvas.apply(update(*changed, *[line(("row 1 of 22", STYLES[1]))] * (HEIGHT - 2)))
    assert canvas.text() == "\x1b[2;5H\x1b[0;1m2\x1b[m"


def test_only_the_colour_that_changed_is_named_and_short_gaps_are_written_over() -> None:
    canvas = Canvas(WIDTH, HEIGHT)
    blank = [Strip.blank(WIDTH)] * (HEIGHT - 1)
    canvas.apply(update(line(("abcdefgh", STYLES[2])), *blank))
    canvas.text()
    canvas.apply(update(line(("Abc", STYLES[2]), ("Defg", STYLES[3]), ("H", STYLES[2])), *blank))
    assert canvas.text() == "\x1b[1;1H\x1b[0;38;2;255;0;0mAbc\x1b[48;2;0;0;128mDefg\x1b[49mH\x1b[m"


def test_after_forgetting_all_is_sent_again() -> None:
    canvas = Canvas(WIDTH, HEIGHT)
    canvas.apply(update(*[line(("abc", STYLES[0]))] * HEIGHT))
    first = canvas.text()
    canvas.forget()
    assert canvas.text() == first


def test_a_picture_is_drawn_at_its_place_and_text_wipes_it() -> None:
    canvas = Canvas(WIDTH, HEIGHT)
    drawing = Drawing(("first", "second"))
    picture = Picture(6, 2, (drawing,))
    canvas.apply(update(*[line(("text", STYLES[0]))] * HEIGHT))
    canvas.text()
    canvas.apply(pictured(picture))
    assert "text" not in canvas.text()
    (placed,) = canvas.pictures()
    assert placed == Placed(picture, 1, 0)
    assert canvas.drawing_at(placed) is None
    assert canvas.draw(placed, drawing) == "\x1b[1;2Hfirst\x1b[2;2Hsecond"
    assert canvas.drawing_at(placed) is drawing
    canvas.apply(update(line(("   text", STYLES[0])), *[Strip.blank(WIDTH)] * (HEIGHT - 1)))
    assert canvas.pictures() == []
    screen = Screen(WIDTH, HEIGHT)
    screen.feed(canvas.text().encode())
    assert screen.line(0).rstrip() == "   text"
    assert canvas.drawings() == set()


def test_where_a_picture_is_to_come_the_colour_around_it_stands() -> None:
    canvas = Canvas(WIDTH, HEIGHT)
    picture = Picture(6, 2, (Drawing(("all", "")),))
    around = Style(bgcolor="#000080")
    blank = Strip([Segment(" " * WIDTH, around)], WIDTH)
    lines = [Strip.join([part.apply_style(around), blank.crop(0, WIDTH - 6)]) for part in picture.lines]
    canvas.apply(update(*lines, *[blank] * (HEIGHT - 2)))
    assert [placed.picture for placed in canvas.pictures()] == [picture]
    empty = Canvas(WIDTH, HEIGHT)
    empty.apply(update(*[blank] * HEIGHT))
    assert canvas.text() == empty.text()


def test_a_picture_that_is_covered_in_part_is_not_drawn() -> None:
    canvas = Canvas(WIDTH, HEIGHT)
    picture = Picture(6, 2, (Drawing(("all", "")),))
    covered = [picture.lines[0].crop(0, 4), picture.lines[1]]
    canvas.apply(update(*[part.adjust_cell_length(WIDTH) for part in covered], *[Strip.blank(WIDTH)] * (HEIGHT - 2)))
    assert canvas.pictures() == []


def test_another_picture_in_its_place_leaves_it_until_it_is_drawn_in_the_same_breath() -> None:
    canvas = Canvas(WIDTH, HEIGHT)
    old, new = Picture(6, 2, (Drawing(("old", "")),)), Picture(6, 2, (Drawing(("new", "")),))
    canvas.apply(pictured(old))
    canvas.text()
    canvas.draw(Placed(old, 1, 0), old.drawings[0])
    canvas.apply(pictured(new))
    assert canvas.text([Placed(new, 1, 0)]) == ""
    canvas.apply(pictured(old))
    canvas.apply(pictured(new))
    assert " " * 6 in canvas.text()


def test_half_blocks_in_few_colours_take_less_and_are_put_right_later() -> None:
    random = np.random.default_rng(1)
    upper, lower = (
        [f"rgb({value},{value},{value})" for value in np.rint(mean + 6 * random.normal(size=WIDTH)).astype(int)]
        for mean in (127, 215)
    )
    halves = Strip([Segment("▀", Style(color=one, bgcolor=two)) for one, two in zip(upper, lower, strict=True)])
    canvas, whole = Canvas(WIDTH, HEIGHT), Canvas(WIDTH, HEIGHT)
    for each in (canvas, whole):
        each.apply(update(halves, *[Strip.blank(WIDTH)] * (HEIGHT - 1)))
        assert "▀" not in each.text()
    coarse, exact = canvas.halves(coarse=True), whole.halves(coarse=False)
    assert coarse.count("▀") == exact.count("▀") == WIDTH
    assert len(coarse) < len(exact) / 3
    assert canvas.halves(coarse=True) == ""
    assert canvas.lacks_halves
    assert canvas.halves(coarse=False) == exact
    assert not canvas.lacks_halves


def test_a_wide_letter_of_which_one_half_is_covered_is_a_blank() -> None:
    canvas, screen = Canvas(WIDTH, HEIGHT), Screen(WIDTH, HEIGHT)
    blank = [Strip.blank(WIDTH)] * (HEIGHT - 1)
    for covered, left in ((1, " x前"), (2, "名x "), (3, "名 x")):
        canvas.apply(update(line(("名前", STYLES[0])), *blank))
        canvas.apply(LayoutUpdate([[Strip([Segment("x")])]], Region(covered, 0, 1, 1)))
        screen.feed(canvas.text().encode())
        assert screen.line(0).rstrip() == left.rstrip(), covered


def test_a_wide_letter_at_the_border_that_has_no_room_is_a_blank() -> None:
    canvas, screen = Canvas(WIDTH, HEIGHT), Screen(WIDTH, HEIGHT)
    canvas.apply(LayoutUpdate([[Strip([Segment("x" * (WIDTH - 1) + "名")])]], Region(0, 0, WIDTH, 1)))
    screen.feed(canvas.text().encode())
    assert screen.line(0) == "x" * (WIDTH - 1) + " "


@pytest.mark.parametrize("letter", ["e\u0301", "\u2764\ufe0f", "\U0001f469\u200d\U0001f52c", "名", "\U0001f1e9"])
def test_letters_of_several_characters_take_as_many_cells_as_in_textual(letter: str) -> None:
    canvas = Canvas(WIDTH, HEIGHT)
    canvas.apply(LayoutUpdate([[Strip([Segment(f"a{letter}b")])]], Region(0, 0, WIDTH, 1)))
    text = [cell.text for cell in canvas._wanted[0] if isinstance(cell, Letter)]
    assert text.index("b") == Strip([Segment(f"a{letter}")]).cell_length
    assert "".join(text).rstrip() == f"a{letter}b"


def test_before_a_blank_no_colour_is_named() -> None:
    canvas = Canvas(WIDTH, HEIGHT)
    blank = [Strip.blank(WIDTH)] * (HEIGHT - 1)
    canvas.apply(update(line(("a", STYLES[2]), (" ", STYLES[0]), ("b", STYLES[2])), *blank))
    assert "\x1b[0;38;2;255;0;0ma b" in canvas.text()


def test_half_blocks_come_from_the_top_as_far_as_there_is_room() -> None:
    canvas = Canvas(WIDTH, HEIGHT)
    halves = Strip([Segment("▀" * WIDTH, Style(color="#102030", bgcolor="#405060"))])
    canvas.apply(update(*[halves] * HEIGHT))
    canvas.text()
    assert canvas.halves(room=1).count("▀") == WIDTH
    assert canvas.lacks_halves
    assert canvas.halves().count("▀") == (HEIGHT - 1) * WIDTH
    assert not canvas.lacks_halves
