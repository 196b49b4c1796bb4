"""What is offered while a filter is written, and filters that need no writing."""

from __future__ import annotations

import pytest

from streamscope.core.table.columns import column
from streamscope.core.table.completion import complete
from streamscope.core.table.filter import compile_filter
from streamscope.tui.forms.quick_filters import GENERAL, invert, join, like, quick_filters
from streamscope.tui.table.arrangement import Arrangement
from tests.support.frames import small_frame

VALUES = {"update": ["mix", "skip", "", "mix"], "tags": ["edge big", "edge"], "block": ["2.1", "3.0"]}


def offered(before: str) -> list[str]:
    return [c.text for c in complete(before, lambda name: VALUES.get(name, []))]


@pytest.mark.parametrize(
    ("before", "first"),
    [
        ("mi", "mix_ratio"),
        ("mix_ratio > 1 and sca", "scale_metric"),
        ("metr", "scale_metric"),
        ("update == ", '"mix"'),
        ('update == "sk', '"skip"'),
        ('block in ["2.1", 3', '"3.0"'),
        ("tagged(", '"big"'),
    ],
)
def test_the_likeliest_name_or_value_comes_first(before: str, first: str) -> None:
    assert offered(before)[0] == first


@pytest.mark.parametrize("before", ["", "mix_ratio > ", "mix_ratio > 1.", 'note == "mi', "channel"])
def test_nothing_is_offered_where_nothing_helps(before: str) -> None:
    assert offered(before) == []


def test_what_is_completed_replaces_what_was_begun() -> None:
    before = 'not marked and update == "sk'
    chosen = complete(before, lambda name: VALUES[name])[0]
    assert before[: chosen.start] + chosen.text == 'not marked and update == "skip"'


def test_quick_filters_compile_and_keep_the_channel_they_are_like() -> None:
    frame = small_frame(
        block=["2.1", "2.1"],
        channel=[3, 4],
        mix_ratio=[1.02, 4.0],
        update=["mix", "skip"],
        robust=[1, None],
        tags=["edge", ""],
        note=['say "hi"', ""],
        scale_metric=[None, 0.2],
    )
    row = frame.rows([0])[0]
    found = dict(quick_filters(row, Arrangement(column="mix_ratio")))
    assert next(iter(found)) == "0.918 <= mix_ratio <= 1.12"
    general = {expression for expression, _ in GENERAL}
    for expression in found:
        mask = compile_filter(expression).mask(frame)
        assert expression in general or mask[0], expression
    assert compile_filter(like(column("update"), "mix")).mask(frame).tolist() == [True, False]


def test_joining_keeps_what_both_keep_and_says_nothing_twice() -> None:
    assert join("", "marked") == "marked"
    assert join("channel < 2 or channel > 5", "marked") == "(channel < 2 or channel > 5) and marked"
    assert join("channel < 2 and marked", "marked") == "channel < 2 and marked"
    assert join("channel <", "marked") == "marked"


@pytest.mark.parametrize("expression", ["marked", "channel < 2 or marked", 'not tagged("edge")', "mix_ratio > 1"])
def test_inverting_keeps_the_others_and_twice_gives_it_back(expression: str) -> None:
    frame = small_frame(channel=[1, 3], marked=["keep", ""], mix_ratio=[2.0, None], tags=["", "edge"])
    there, back = invert(expression), invert(invert(expression))
    kept = compile_filter(expression).mask(frame)
    assert (compile_filter(there).mask(frame) == ~kept).all()
    assert (compile_filter(back).mask(frame) == kept).all()
