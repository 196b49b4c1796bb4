"""The line is measured by when the terminal answers."""

from __future__ import annotations

from threading import Timer

import numpy as np
import pytest

from streamscope.tui.terminal.link import ASSUMED, LOST_SECONDS, SILENT_SECONDS, Link


def carry(link: Link, lots: list[int], rate: float, delay: float, start: float = 0.0) -> float:
    """Sends lots one after another over a line of this rate and delay, waiting for each answer; when the last came."""
    now = start
    for size in lots:
        link.sent(size, now)
        now += delay + size / rate
        link.answered(now)
    return now


@pytest.mark.parametrize("rate", [125e3, 1e6, 10e6])
@pytest.mark.parametrize("delay", [0.02, 0.2])
def test_rate_and_delay_follow_from_when_answers_come(rate: float, delay: float) -> None:
    link = Link()
    carry(link, [4, 30_000, 200, 30_000, 30_000], rate, delay)
    assert link.delay == pytest.approx(delay, rel=0.05)
    assert link.rate == pytest.approx(rate, rel=0.05)


def test_lots_sent_in_a_row_wait_for_each_other_and_not_for_the_line() -> None:
    link, rate, delay = Link(), 125e3, 0.2
    carry(link, [4], rate, delay)
    now = 1.0
    for place in range(4):
        link.sent(5000, now + 0.001 * place)
    for place in range(4):
        link.answered(now + delay + (place + 1) * 5000 / rate)
    assert link.rate == pytest.approx(rate, rel=0.05)


def test_small_lots_that_waited_for_a_busy_machine_say_no_more_than_they_can() -> None:
    link, rate, busy = Link(), 1e6, 0.018
    now = carry(link, [4, 60_000, 60_000], rate, 0.02)
    for _ in range(10):
        now = carry(link, [10_000], rate, 0.02 + busy, now)
    assert link.rate == pytest.approx(rate, rel=0.1)


def test_one_answer_that_comes_very_late_says_nothing_of_the_line() -> None:
    link, rate = Link(), 10e6
    now = carry(link, [4, 60_000, 60_000], rate, 0.02)
    known = link.rate
    now = carry(link, [60_000], rate, 0.5, now)
    assert link.rate == pytest.approx(known)
    carry(link, [60_000], rate, 0.02, now)
    assert link.rate == pytest.approx(known)


def test_a_line_that_becomes_slow_is_noticed_within_a_few_sets() -> None:
    link = Link()
    now = carry(link, [4, 30_000, 30_000], 10e6, 0.02)
    carry(link, [30_000] * 6, 125e3, 0.02, now)
    assert link.rate < 200e3


def test_what_is_on_its_way_is_what_was_not_answered_for() -> None:
    link = Link()
    now = carry(link, [4], 1e6, 0.02)
    link.sent(100, now)
    link.sent(50, now + 0.1)
    assert link.on_its_way(now + 5.0) == 150
    link.answered(now + 5.0)
    assert link.on_its_way(now + 5.0) == 50
    link.answered(now + 6.0)
    assert link.on_its_way(now + 6.0) == 0


def test_until_there_is_a_first_answer_time_passes_for_one() -> None:
    link = Link()
    link.sent(12_500, 0.0)
    assert link.on_its_way(0.09) == 12_500
    assert link.until_due(0.09) == pytest.approx(0.01)
    assert link.on_its_way(0.11) == 0
    assert not link.is_known
    assert link.on_its_way(SILENT_SECONDS + 0.1) == 0
    assert link.is_known
    link.sent(int(ASSUMED), 10.0)
    assert link.on_its_way(10.9) == int(ASSUMED)
    assert link.on_its_way(11.1) == 0


def test_one_that_answers_after_all_is_heard_and_its_first_answer_is_about_the_first_lot() -> None:
    link = Link()
    for place, size in enumerate([4, 5000, 5000]):
        link.sent(size, 0.1 * place)
    assert link.on_its_way(SILENT_SECONDS + 1) == 0
    assert link.is_known
    link.answered(4.1)
    assert link.on_its_way(4.1) == 10_000
    assert link.delay == pytest.approx(4.1)


def test_a_line_that_stands_still_is_tried_again_in_the_end() -> None:
    link = Link()
    carry(link, [4], 1e6, 0.02)
    link.sent(100, 1.0)
    assert link.on_its_way(1.0 + LOST_SECONDS - 1) == 100
    assert link.on_its_way(1.0 + LOST_SECONDS + 1) == 0


def test_where_no_question_is_asked_time_passes_for_an_answer() -> None:
    link = Link(asks=False)
    link.sent(int(ASSUMED / 10), 0.0)
    assert link.on_its_way(0.05) > 0
    assert link.on_its_way(0.11) == 0
    assert link.rate == ASSUMED


def test_a_busy_machine_is_not_taken_for_a_slow_line() -> None:
    random = np.random.default_rng(0)
    link = Link()
    now = 0.0
    for size in [4, *[30_000, 6_000, 200] * 20]:
        link.sent(size, now)
        now += 0.02 + size / 10e6 + 0.015 * float(random.random())
        link.answered(now)
    assert link.rate > 2e6


def test_a_lot_is_waited_for_until_it_is_answered_for_whatever_else_is_on_its_way() -> None:
    link = Link()
    now = carry(link, [4], 1e6, 0.02)
    pictures = link.sent(30_000, now)
    text = link.sent(200, now)
    assert link.waits_for(pictures, now)
    link.answered(now + 0.1)
    assert not link.waits_for(pictures, now + 0.1)
    assert link.waits_for(text, now + 0.1)


def test_leaving_waits_for_answers_still_to_come_also_for_the_first() -> None:
    for already in (False, True):
        link = Link()
        if already:
            link.sent(4, 0.0)
            link.answered(0.1)
        link.sent(4, 0.2)
        came: list[float] = []

        def answer(link: Link = link, came: list[float] = came) -> None:
            came.append(0.6)
            link.answered(0.6)

        Timer(0.05, answer).start()
        link.drain()
        assert came
        assert link.on_its_way(0.7) == 0


def test_leaving_waits_for_nobody_who_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    unasked, silent = Link(asks=False), Link()
    for link in (unasked, silent):
        link.sent(4, 0.0)
        link.on_its_way(SILENT_SECONDS)
        monkeypatch.setattr(link._changed, "wait_for", lambda *_: pytest.fail("somebody waits"))
        link.drain()
        assert link.on_its_way(SILENT_SECONDS) == 0
