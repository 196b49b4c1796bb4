"""What somebody at the end of a line of a rate and a delay gets to see, and when; by a clock of the test's own."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass

import pytest

from streamscope.tui.bench.screen import Screen
from streamscope.tui.bench.wire import CHANNELS, KITTY, MOVE_SECONDS, MOVES, SIZE
from streamscope.tui.terminal.detection import Mode
from streamscope.tui.terminal.drawing import Drawing
from streamscope.tui.terminal.wire import IDLE_SECONDS, LARGEST_SECONDS, SET_SECONDS
from streamscope.tui.widgets.preview import DEBOUNCE, LATER
from tests.support.terminal.line import DRAW_SECONDS, Line, Recording, Walker, as_sent, record

MEGABIT, QUICK = 125e3, 10e6
NEAR, FAR = 0.02, 0.2
MODES: tuple[Mode, ...] = ("sixel", "kitty", "half", "off")
KB_A_MOVE = {"sixel": 60, "kitty": 60, "half": 15, "off": 4}


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return asyncio.run(record(tmp_path_factory.mktemp("recorded"), MOVES + 3))


def opened(recording: Recording, mode: Mode, rate: float, delay: float, jitter: float = 0.0) -> Walker:
    """After the first channel was looked at for long."""
    screen = Screen(*SIZE, KITTY if mode == "kitty" else "XTerm(379)", sixel=mode == "sixel", kitty=mode == "kitty")
    walker = Walker(Line(rate, delay, screen, jitter), recording, mode)
    walker.move()
    walker.line.run(15)
    return walker


@dataclass(frozen=True)
class Walked:
    kb_a_move: float
    behind: float
    """Seconds from a key until its row's number, or that of a later one, stood on the screen, at most."""
    waiting: float
    """Seconds that bytes waited for the line, at most, until nothing had happened for long."""
    settled: float
    """Seconds from the last key until nothing more came, but for what comes when nothing has happened for long."""
    full: float
    """Seconds from the last key until nothing more came at all."""


def walk(walker: Walker, delay: float) -> Walked:
    """20 moves, 0.3 s apart, and a rest. A key is half of the delay on its way."""
    line = walker.line
    before, line.behind = line.now, 0.0
    pressed: dict[str, float] = {}
    for _ in range(MOVES):
        words = f"row {walker.channel + 2} of {CHANNELS}"
        pressed[words] = line.now - delay / 2
        line.watch(words)
        walker.move()
        line.run(MOVE_SECONDS)
    last_key = pressed[words]
    line.run(IDLE_SECONDS - MOVE_SECONDS - 0.1)
    waiting = line.behind
    line.run(15)
    return Walked(
        line.letters(before, line.now) / MOVES / 1000,
        max(line.seen(words) - at for words, at in pressed.items()),
        waiting,
        line.last(last_key + IDLE_SECONDS) - last_key,
        line.last(line.now) - last_key,
    )


def when_drawn(walker: Walker, drawing: Drawing, since: float) -> float:
    """When this was on the terminal, after a moment; infinity where it is not."""
    came = [walker.line.came(as_sent(part), since) for part in (drawing.setup, drawing.rows[0]) if part]
    return max(math.inf if time is None else time for time in came)


@pytest.mark.parametrize("delay", [NEAR, FAR])
@pytest.mark.parametrize("mode", MODES)
def test_a_walk_over_a_megabit_costs_little_and_is_settled_two_seconds_after_its_last_key(
    recording: Recording, mode: Mode, delay: float
) -> None:
    walker = opened(recording, mode, MEGABIT, delay)
    walked = walk(walker, delay)
    assert walked.kb_a_move <= KB_A_MOVE[mode]
    assert walked.settled <= 2.0
    # A set of pictures, its answer, and the way there and back of key and text.
    assert walked.behind <= SET_SECONDS + 2 * delay + 0.1
    assert walked.waiting <= LARGEST_SECONDS + delay + 0.1


@pytest.mark.parametrize("delay", [NEAR, FAR])
@pytest.mark.parametrize("mode", ["sixel", "kitty"])
def test_over_a_megabit_a_look_shows_something_within_half_a_second_and_all_in_full_at_rest(
    recording: Recording, mode: Mode, delay: float
) -> None:
    walker = opened(recording, mode, MEGABIT, delay)
    line, pressed = walker.line, walker.line.now - delay / 2
    walker.move()
    line.run(2.0)
    rough = [picture.drawings[0] for picture in walker.pictures(0)]
    line.run(15)
    assert min(when_drawn(walker, drawing, pressed) for drawing in rough) <= pressed + 0.5
    assert max(when_drawn(walker, drawing, pressed) for drawing in rough) <= pressed + 1.0
    if delay == NEAR:
        for picture in walker.pictures(0):
            assert min(when_drawn(walker, drawing, pressed) for drawing in picture.drawings[1:]) <= pressed + 2.0
    for row in (0, 1):
        for picture in walker.pictures(row):
            assert not picture.better
            assert when_drawn(walker, picture.drawings[-1], pressed) < math.inf
    assert not walker.line.wire.holds_back


@pytest.mark.parametrize("delay", [NEAR, FAR])
@pytest.mark.parametrize("mode", ["sixel", "kitty"])
def test_over_a_quick_line_pictures_come_in_full_at_once(recording: Recording, mode: Mode, delay: float) -> None:
    walker = opened(recording, mode, QUICK, delay, jitter=0.005)
    assert not walker.line.wire.is_slow
    line, pressed = walker.line, walker.line.now - delay / 2
    walker.move()
    line.run(5)
    for row, seconds in enumerate((DEBOUNCE, LATER)):
        # Drawn one after another, and the third may wait for the answer to the first.
        slowest = seconds + 4 * DRAW_SECONDS + 2 * delay + 0.1
        for picture in walker.pictures(row):
            assert len(picture.drawings) == 1
            assert when_drawn(walker, picture.drawings[0], pressed) <= pressed + slowest
    walked = walk(walker, delay)
    assert walked.behind <= delay + 0.05
    assert not line.wire.is_slow


@pytest.mark.parametrize("mode", ["sixel", "half"])
def test_half_blocks_and_pictures_are_all_there_in_the_end(recording: Recording, mode: Mode) -> None:
    walker = opened(recording, mode, MEGABIT, NEAR)
    walk(walker, NEAR)
    assert not walker.line.wire.holds_back
    assert walker.line.screen.pictures > 0


@pytest.mark.parametrize(("rate", "slow"), [(MEGABIT, True), (1e6, False), (QUICK, False)])
@pytest.mark.parametrize("delay", [NEAR, FAR])
def test_delay_is_not_taken_for_slowness(recording: Recording, rate: float, slow: bool, delay: float) -> None:
    walker = opened(recording, "sixel", rate, delay, jitter=0.01)
    walk(walker, delay)
    link = walker.line.link
    assert walker.line.wire.is_slow is slow
    assert delay <= link.delay <= delay + 0.02
    assert link.rate > rate / 2


def test_a_terminal_that_never_answers_is_given_time(recording: Recording) -> None:
    screen = Screen(*SIZE)
    walker = Walker(Line(MEGABIT, NEAR, screen, answers=False), recording, "sixel")
    walker.move()
    walker.line.run(15)
    walked = walk(walker, NEAR)
    assert walked.kb_a_move <= KB_A_MOVE["sixel"]
    assert walked.settled <= 2.0
    assert walked.behind <= SET_SECONDS + 0.2
