"""What is sent over the wire, in which order, and when."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from rich.color import ColorSystem
from rich.segment import Segment
from textual._compositor import LayoutUpdate
from textual.geometry import Region
from textual.strip import Strip

from streamscope.tui.terminal.detection import STATUS
from streamscope.tui.terminal.drawing import Drawing, Picture
from streamscope.tui.terminal.link import Link
from streamscope.tui.terminal.wire import IDLE_SECONDS, KEPT, LARGEST_SECONDS, REST_SECONDS, TEXT_SECONDS, Wire

WIDTH, HEIGHT = 40, 6
SLOW, FAST = 125e3, 10e6
_IDS = iter(range(1, 10_000))


def picture(name: str, *sizes: int) -> Picture:
    """One in Sixel with drawings of so many bytes."""
    return Picture(8, 2, tuple(Drawing((f"<{name}:{level}>".ljust(size, "."), "")) for level, size in enumerate(sizes)))


def kitty(name: str, size: int = 500) -> Picture:
    return Picture(8, 2, (Drawing((f"<{name}>", ""), f"<setup {name}>".ljust(size, "."), f"<free {name}>"),))


@dataclass
class End:
    """A wire, the clock, and the terminal at its end."""

    rate: float = SLOW
    asks: bool = True
    now: float = 100.0
    sent: list[str] = field(default_factory=list)
    later: list[float] = field(default_factory=list)
    told: int = 0

    def __post_init__(self) -> None:
        self.link = Link(self.asks)
        self.wire = Wire(self.link, self.sent.append, self.later.append, self._tell, STATUS, lambda: self.now)

    def _tell(self) -> None:
        self.told += 1

    def show(self, text: str, *pictures: Picture) -> None:
        """A line of text, and pictures side by side below it."""
        lines = [Strip([Segment(text)]).adjust_cell_length(WIDTH)]
        for row in range(2):
            parts = [part for each in pictures for part in (each.lines[row], Strip([Segment(" ")], 1))]
            lines.append(Strip.join(parts).adjust_cell_length(WIDTH))
        lines += [Strip.blank(WIDTH)] * (HEIGHT - len(lines))
        region = Region(0, 0, WIDTH, HEIGHT)
        self.wire.show(LayoutUpdate([[line] for line in lines], region), (WIDTH, HEIGHT), (0, 0), ColorSystem.TRUECOLOR)

    def take(self) -> str:
        """What was sent since it was asked last."""
        found = "".join(self.sent)
        self.sent.clear()
        return found

    def answer(self) -> None:
        """The terminal answers for the oldest lot, as late as the line's rate makes it."""
        size = self.link._sent[0].size
        self.now += 0.01 + size / self.rate
        self.link.answered(self.now)
        self.wire.pump()

    def settle(self) -> None:
        """All answers come."""
        while self.link.on_its_way(self.now):
            self.answer()

    def rest(self, seconds: float) -> None:
        """Time passes with nothing new, and what is due is done."""
        self.now += seconds
        self.wire.pump()

    def measured(self) -> End:
        """After enough was sent to know the line."""
        self.show("x" * WIDTH, picture("measure", 20_000))
        self.settle()
        self.show("y" * WIDTH, picture("measure", 20_000))
        self.settle()
        self.show("")
        self.settle()
        self.rest(10)
        self.settle()
        self.take()
        return self


def drawn(sent: str) -> list[str]:
    return re.findall(r"<([^>]*)>", sent)


def test_text_comes_before_pictures_and_the_question_last() -> None:
    end = End().measured()
    end.show("channel 1", picture("one", 900))
    sent = end.take()
    assert sent.index("channel 1") < sent.index("<one:0>")
    assert sent.endswith(STATUS)
    assert sent.count(STATUS) == 1


def test_nothing_is_sent_before_the_answer_to_a_set_of_pictures_and_then_only_what_is_wanted_by_then() -> None:
    end = End().measured()
    end.show("channel 1", picture("one", 900), picture("two", 900))
    assert drawn(end.take()) == ["one:0", "two:0"]
    for place in range(2, 12):
        end.show(f"channel {place}", picture(f"at {place}", 900))
        assert end.take() == ""
    end.answer()
    sent = end.take()
    assert drawn(sent) == ["at 11:0"]
    assert "channel 10" not in sent


def test_a_silent_terminal_is_given_time_instead_of_an_answer() -> None:
    end = End(asks=False)
    end.show("channel 1", picture("one", 12_500))
    assert drawn(end.take()) == ["one:0"]
    end.show("channel 2", picture("two", 12_500))
    assert end.take() == ""
    assert end.later
    end.rest(0.5)
    sent = end.take()
    assert drawn(sent) == ["two:0"]
    assert STATUS not in sent


def test_text_does_not_wait_for_text_while_the_line_has_room() -> None:
    end = End().measured()
    for place in range(3):
        end.show(f"channel {place}")
        assert f"{place}" in end.take()
    for place in range(100):
        end.show(f"{place}" * (WIDTH // 2))
    assert end.link.on_its_way(end.now) < SLOW * 0.2
    end.settle()
    assert "99" * 5 in end.take()


def test_over_a_slow_line_pictures_come_roughly_at_once_better_at_rest_and_in_full_when_nothing_happens() -> None:
    end = End().measured()
    assert end.wire.is_slow
    shown = [picture(name, 6_000, 35_000, 110_000) for name in "abc"]
    end.show("channel 1", *shown)
    end.settle()
    assert drawn(end.take()) == ["a:0", "b:0", "c:0"]
    end.rest(REST_SECONDS)
    end.settle()
    assert drawn(end.take()) == ["a:1", "b:1", "c:1"]
    end.rest(IDLE_SECONDS)
    end.settle()
    assert drawn(end.take()) == ["a:2", "b:2", "c:2"]
    end.rest(IDLE_SECONDS)
    assert end.take() == ""


def test_pictures_that_join_others_do_not_put_off_the_better_ones_and_come_first() -> None:
    end = End().measured()
    one, two = picture("one", 6_000, 40_000), picture("two", 6_000, 40_000)
    end.show("channel 1", one)
    end.settle()
    assert drawn(end.take()) == ["one:0"]
    end.rest(REST_SECONDS)
    end.answer()
    assert drawn(end.take()) == ["one:1"]
    end.show("channel 1", one, two)
    end.settle()
    assert drawn(end.take()) == ["two:1"]


def test_who_moves_on_never_waits_for_better_pictures() -> None:
    end = End().measured()
    for place in range(10):
        end.show(f"channel {place}", picture(f"{place}", 6_000, 60_000))
        end.settle()
        end.rest(REST_SECONDS / 3)
        end.settle()
    assert drawn(end.take()) == [f"{place}:0" for place in range(10)]


def test_pictures_that_do_not_fit_into_one_set_come_one_after_another() -> None:
    end = End().measured()
    end.show("channel 1", *[picture(name, 25_000) for name in "abc"])
    assert drawn(end.take()) == ["a:0"]
    end.answer()
    assert drawn(end.take()) == ["b:0"]
    end.show("channel 2", picture("d", 25_000))
    end.answer()
    assert drawn(end.take()) == ["d:0"]


def test_over_a_fast_line_the_best_comes_at_once() -> None:
    end = End(FAST).measured()
    assert not end.wire.is_slow
    end.show("channel 1", *[picture(name, 6_000, 60_000) for name in "abc"])
    assert drawn(end.take()) == ["a:1", "b:1", "c:1"]


def test_over_a_fast_line_text_does_not_wait_for_the_answer_to_pictures_but_pictures_do() -> None:
    end = End(FAST).measured()
    end.show("channel 1", picture("one", 6_000))
    assert drawn(end.take()) == ["one:0"]
    end.show("channel 2", picture("two", 6_000))
    sent = end.take()
    assert "2" in sent
    assert drawn(sent) == []
    end.answer()
    assert drawn(end.take()) == ["two:0"]


def test_over_a_fast_line_pictures_of_the_same_selection_join_the_set_that_is_on_its_way() -> None:
    end = End(FAST).measured()
    one, two, next_one = picture("one", 6_000), picture("two", 6_000), picture("next", 6_000)
    end.show("channel 1", one)
    end.show("channel 1", one, two)
    assert drawn(end.take()) == ["one:0", "two:0"]
    end.show("channel 2", next_one)
    end.answer()
    assert drawn(end.take()) == []
    end.settle()
    assert drawn(end.take()) == ["next:0"]


def test_over_a_fast_line_bytes_of_pictures_on_their_way_do_not_hold_text_back() -> None:
    end = End(1e6).measured()
    end.show("channel 1", picture("one", 120_000))
    assert end.link.on_its_way(end.now) > end.link.rate * TEXT_SECONDS
    end.take()
    end.show("channel 2")
    assert "2" in end.take()


def test_a_set_takes_no_more_than_it_has_room_for() -> None:
    end = End(1e6).measured()
    room = end.link.rate * (LARGEST_SECONDS + end.link.delay)
    assert not end.wire.is_slow
    assert 240_000 < room < 480_000
    shown = [picture(name, 120_000) for name in "abcd"]
    for many in range(1, 5):
        end.show("channel 1", *shown[:many])
    fit = int(room // 120_000)
    assert drawn(end.take()) == [f"{name}:0" for name in "abcd"[:fit]]
    end.settle()
    assert drawn(end.take()) == [f"{name}:0" for name in "abcd"[fit:]]


def test_after_pictures_the_cursor_is_put_back_in_the_same_lot() -> None:
    end = End(FAST).measured()
    end.show("channel 1", picture("one", 6_000))
    assert end.take().endswith("\x1b[1;1H" + STATUS)
    end.settle()
    assert end.take() == ""


def test_the_rest_begins_with_the_change_and_not_when_it_could_be_sent() -> None:
    end = End().measured()
    end.show("channel 1", picture("one", 25_000))
    end.show("channel 2", picture("two", 6_000, 40_000))
    changed = end.now
    end.answer()
    assert drawn(end.take()) == ["one:0", "two:0"]
    end.answer()
    assert 0.2 < end.now - changed < REST_SECONDS
    end.rest(changed + REST_SECONDS - end.now)
    assert drawn(end.take()) == ["two:1"]


def test_a_drawing_made_later_is_sent_when_there_is_time() -> None:
    end = End(FAST).measured()
    shown = picture("a", 6_000)
    end.show("channel 1", shown)
    end.settle()
    shown.drawings = (*shown.drawings, Drawing(("<a:better>", "")))
    end.wire.pump()
    assert drawn(end.take()) == ["a:0", "a:better"]


def test_what_kitty_keeps_is_not_sent_again_and_is_freed_in_the_end() -> None:
    end = End(FAST).measured()
    one, two = kitty("one"), kitty("two")
    for shown in (one, two, one, two):
        end.show("channel", shown)
        end.settle()
    assert drawn(end.take()) == ["setup one", "one", "setup two", "two", "one", "two"]
    end.wire.close()
    assert drawn(end.take()) == ["free one", "free two"]
    end.show("channel 9", one)
    assert end.take() == ""
    end.wire.forget()
    end.show("channel 9", one)
    assert drawn(end.take()) == ["setup one", "one"]


def test_kitty_keeps_no_more_than_so_many() -> None:
    end = End(FAST).measured()
    for place in range(KEPT + 5):
        end.show("channel", kitty(f"{place}", 10))
        end.settle()
    assert [name for name in drawn(end.take()) if name.startswith("free")] == [f"free {place}" for place in range(5)]


def test_a_change_of_the_size_sends_all_again() -> None:
    end = End().measured()
    end.show("channel 1")
    end.settle()
    end.take()
    lines: list[Iterable[Strip]] = [[Strip([Segment("channel 1")]).adjust_cell_length(20)]] * 3
    end.wire.show(LayoutUpdate(lines, Region(0, 0, 20, 3)), (20, 3), (0, 0), ColorSystem.TRUECOLOR)
    assert end.take().count("channel 1") == 3


def test_it_is_told_when_pictures_are_held_back_and_when_they_no_longer_are() -> None:
    end = End().measured()
    end.show("channel 1", picture("one", 6_000, 40_000))
    assert end.wire.holds_back
    end.settle()
    assert end.told == 1
    end.rest(REST_SECONDS)
    end.settle()
    assert not end.wire.holds_back
    assert end.told == 2


def test_a_line_that_turns_out_quick_is_told_once() -> None:
    end = End().measured()
    assert end.wire.is_slow
    end.rate = FAST
    for place in range(12):
        end.show("channel", picture(f"{place}", 30_000))
        end.settle()
    assert not end.wire.is_slow
    assert end.told == 1
