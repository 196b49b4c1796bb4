"""Curves and histograms as text."""

from __future__ import annotations

import numpy as np
from rich.style import Style

from streamscope.tui.table.plot import Line, bars, plot, sparkline, x_axis

RED, GREEN, DIM = Style(color="red"), Style(color="green"), Style(dim=True)


def dots(text: str) -> int:
    return sum((ord(letter) - 0x2800).bit_count() for letter in text if 0x2800 <= ord(letter) < 0x2900)


def line_of(*values: float, style: Style = RED) -> Line:
    return Line(np.arange(len(values), dtype=float), np.array(values, dtype=float), style)


def test_a_rising_line_goes_from_the_bottom_left_to_the_top_right() -> None:
    drawn = [text.plain.split("│")[1] for text in plot([line_of(0, 8)], 20, 4, DIM)]
    assert [len(row) for row in drawn] == [len(drawn[0])] * 4
    assert drawn[0].strip()[-1] != " "
    assert drawn[0][:8].strip() == ""
    assert drawn[3][:4].strip() != ""


def test_the_axis_names_the_ends_and_zero_where_the_curve_crosses_it() -> None:
    labels = [text.plain.split("│")[0].strip() for text in plot([line_of(-2.5, 5.0)], 20, 6, DIM)]
    assert labels[0] == "5.0"
    assert labels[-1] == "-2.5"
    assert "0" in labels[1:-1]


def test_a_gap_in_the_values_is_no_zero_and_an_empty_plot_says_so() -> None:
    whole = "".join(text.plain for text in plot([line_of(4, 4, 4, 4)], 20, 4, DIM))
    half = "".join(text.plain for text in plot([line_of(4, 4, np.nan, np.nan)], 20, 4, DIM))
    assert dots(half) < dots(whole)
    assert plot([line_of(np.nan, np.nan)], 20, 4, DIM)[0].plain == "nothing to plot"


def test_a_later_line_is_drawn_over_an_earlier_one() -> None:
    drawn = plot([line_of(3, 3), line_of(3, 3, style=GREEN)], 20, 4, DIM)
    styles = {span.style for text in drawn for span in text.spans}
    assert GREEN in styles
    assert RED not in styles


def test_bars_fill_their_height_and_no_count_is_invisible() -> None:
    drawn = [text.plain for text in bars([[0], [1], [80], [40]], [RED], 2)]
    assert drawn == ["  █ ", " ▁██"]


def test_a_stack_has_each_part_in_its_colour_and_as_high_as_its_count() -> None:
    (top, bottom) = bars([[2, 14], [16, 0], [0, 12]], [RED, GREEN], 2)
    assert [top.plain, bottom.plain] == ["██▄", "▂██"]
    assert [span.style for span in top.spans] == [GREEN, RED, GREEN]
    assert [span.style for span in bottom.spans] == [RED + Style(bgcolor="green"), RED, GREEN]


def test_where_a_stack_ends_within_a_cell_the_larger_part_colours_it() -> None:
    drawn = bars([[1, 3], [3, 1], [4, 4]], [RED, GREEN], 1)[0]
    assert drawn.plain == "▄▄▄"
    assert [span.style for span in drawn.spans] == [GREEN, RED, RED + Style(bgcolor="green")]


def test_labels_under_a_plot_stand_at_their_places_and_never_overlap() -> None:
    assert x_axis([(0.0, "0"), (0.5, "½"), (1.0, "1")], 0.0, 1.0, 12, 1) == " 0    ½    1"
    assert x_axis([(0.0, "long"), (0.1, "lost"), (1.0, "end")], 0.0, 1.0, 12, 0) == "long     end"


def test_a_sparkline_has_its_lowest_and_highest_bar_at_the_ends_of_a_rise() -> None:
    drawn = sparkline(np.linspace(0, 5, 32), 16)
    assert (len(drawn), drawn[0], drawn[-1]) == (16, "▁", "█")
    assert sparkline([np.nan], 8) == ""
