"""Judgements as the app gives them: undo, redo, and what somebody else said meanwhile. Choices of rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from streamscope.core.store import Judgement, Marks
from streamscope.tui.data.marking import Marking
from streamscope.tui.table.selection import Selection

A, B = ("2.1", 1), ("2.1", 2)


def test_everything_is_undone_and_done_again_in_order(tmp_path: Path) -> None:
    marking = Marking(Marks(tmp_path, "ab" * 32))
    marking.mark([A, B], "keep")
    marking.tag([A, B], ["edge"])
    marking.note([A], "why")
    marking.mark([B], "reject")
    final = marking.read()
    for _ in range(4):
        marking.undo()
    assert marking.read() == {}
    assert marking.undo() == "nothing to undo"
    for _ in range(4):
        marking.redo()
    assert marking.read() == final == {A: Judgement("keep", ("edge",), "why"), B: Judgement("reject", ("edge",))}
    assert marking.redo() == "nothing to redo"


def test_a_new_judgement_ends_what_could_be_done_again(tmp_path: Path) -> None:
    marking = Marking(Marks(tmp_path, "ab" * 32))
    marking.mark([A], "keep")
    marking.undo()
    marking.mark([B], "keep")
    assert marking.redo() == "nothing to redo"
    assert set(marking.read()) == {B}


def test_undo_leaves_what_somebody_else_judged_since(tmp_path: Path) -> None:
    marking = Marking(Marks(tmp_path, "ab" * 32))
    marking.mark([A, B], "keep")
    Marks(tmp_path, "ab" * 32).mark("2.1", [2], "reject")
    marking.refresh()
    assert "kept 1 that someone else has changed since" in marking.undo()
    assert marking.read() == {B: Judgement("reject")}


def test_tags_of_several_channels_are_added_and_taken_without_touching_their_others(tmp_path: Path) -> None:
    marking = Marking(Marks(tmp_path, "ab" * 32))
    marking.tag([A], ["edge", "old"])
    marking.tag([B], ["old"])
    marking.tag([A, B], ["new"], ["old"])
    assert marking.read() == {A: Judgement(tags=("edge", "new")), B: Judgement(tags=("new",))}


def test_a_selection_holds_on_to_its_rows_through_sorting_and_what_is_hidden_is_not_part_of_it() -> None:
    selection = Selection()
    selection.arrange(6, np.arange(6))
    selection.begin_span(1)
    selection.keep_span(3)
    selection.toggle(5, 5)
    selection.arrange(6, np.array([5, 0, 3, 1]))
    assert selection.mask(0).tolist() == [True, False, True, True]
    selection.toggle(2, 2)
    assert selection.mask(0).tolist() == [True, False, False, True]
    selection.arrange(6, np.arange(6))
    assert np.flatnonzero(selection.mask(0)).tolist() == [1, 2, 5]
    assert selection.clear()
    assert not selection.clear()


def test_a_range_grows_and_shrinks_with_the_cursor_in_both_directions() -> None:
    selection = Selection()
    selection.arrange(6, np.arange(6)[::-1])
    selection.begin_span(3)
    assert np.flatnonzero(selection.mask(5)).tolist() == [3, 4, 5]
    assert np.flatnonzero(selection.mask(2)).tolist() == [2, 3]
    assert selection.holds(2, 2)
    assert not selection.holds(4, 2)
