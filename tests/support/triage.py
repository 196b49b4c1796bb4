"""The work that the app is for, done in the real app by keys alone, every one counted, and the outcome checked.

    python -m tests.support.triage --model resnet18 --weights FILE --cache COPY [--block 2.1] [--steps N] [--out FOLDER]

goes through the channels of a block with M near 1, highest scale metric first: looks at the pictures of each; keeps,
rejects or doubts it; notes why; compares the doubtful ones side by side; queues more steps and another seed of them;
exports what was kept, with pictures, into a note. Jobs are put into the queue of the cache, which no worker takes up:
give a copy.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
from collections import Counter
from collections.abc import Iterable
from contextlib import chdir
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from textual.pilot import Pilot

from streamscope.core.model.recipe import Capture
from streamscope.core.model.spec import ModelSpec
from streamscope.core.store import job_states
from streamscope.tui.app.app import StreamscopeApp
from streamscope.tui.app.options import AppOptions
from streamscope.tui.data.marking import open_marks
from streamscope.tui.screens.compare import CompareScreen
from streamscope.tui.screens.dialogs.compute import ComputeDialog
from streamscope.tui.screens.dialogs.export import ExportDialog
from streamscope.tui.table.arrangement import Key
from streamscope.tui.table.channel_text import ChannelValues
from streamscope.tui.widgets.picture import PictureBox
from tests.support.app_driver import channels_screen, idle_workers, opened, screen_text, shown, status_left, until

NOTE = "tonight.md"
KEPT_BECAUSE, DOUBTED_BECAUSE = "curve at both scales", "texture?"
BY_HAND, ADVANCING = "judge: a mark, next", "judge with auto-advance"
MOST_KEYS = {BY_HAND: 2, ADVANCING: 1}
"""To judge a channel and move on."""


@dataclass
class Keys:
    """Presses keys and counts them, by the step they belong to."""

    pilot: Pilot[None]
    step: str = ""
    pressed: Counter[str] = field(default_factory=Counter)
    written: Counter[str] = field(default_factory=Counter)
    """Of those pressed, the letters of notes and of names, which no tool can spare."""

    async def press(self, *keys: str) -> None:
        self.pressed[self.step] += len(keys)
        await self.pilot.press(*keys)

    async def write(self, text: str) -> None:
        self.written[self.step] += len(text)
        await self.press(*text)


@dataclass
class Outcome:
    """What the person did, in their own words: to be found again in marks, jobs and the note."""

    keys: Keys
    verdicts: dict[Key, str] = field(default_factory=dict)
    judged_in: Counter[str] = field(default_factory=Counter)
    """Channels judged in each step that judges."""
    seen: int = 0
    """Channels whose three pictures stood on the screen before they were judged."""

    def channels(self, *marks: str) -> list[Key]:
        return [key for key, mark in self.verdicts.items() if mark in marks]


def verdict(row: ChannelValues) -> str:
    """Keep what is scale invariant, doubt what meets one of the criteria 3 and 4 only, reject the rest."""
    if row["scale_invariant"]:
        return "keep"
    return "unsure" if bool(row["meets_block"]) != bool(row["meets_input"]) else "reject"


async def triage(app: StreamscopeApp, pilot: Pilot[None], block: str) -> Outcome:
    """The whole task, in the folder that the note is to be in. Fails where the app does not come to what it should."""
    outcome = Outcome(Keys(pilot))
    await _arrange(app, outcome.keys, block)
    await _judge(app, outcome)
    await _compare_and_queue(app, outcome)
    await _export(app, outcome)
    return outcome


async def _arrange(app: StreamscopeApp, keys: Keys, block: str) -> None:
    screen = channels_screen(app)
    keys.step = f"show block {block}"

    def moved_on(before: str | None) -> bool:
        return screen.arrangement.block != before

    while screen.arrangement.block != block:
        before = screen.arrangement.block
        await keys.press("right_square_bracket")
        await until(keys.pilot, partial(moved_on, before))
    keys.step = "only M near 1"
    await keys.press("slash", *"mee", "tab", "enter")
    await until(keys.pilot, lambda: screen.filter_bar.text == "meets_mix" and screen.table.has_focus)
    keys.step = "highest scale metric first"
    await keys.press("s", *"sc", "enter")
    await until(keys.pilot, lambda: status_left(app) == "scale_metric, descending")


async def _judge(app: StreamscopeApp, outcome: Outcome) -> None:
    keys, screen, todo = outcome.keys, channels_screen(app), shown(app)
    letters = {"keep": "y", "reject": "n", "unsure": "u"}
    half = len(todo) // 2
    for place, key in enumerate(todo):
        assert screen.table.key == key, f"the cursor is on {screen.table.key}, not on {key}"
        await until(keys.pilot, lambda: _pictures_are_of(app, screen.table.key))
        outcome.seen += 1
        row = screen.channel_values
        assert row is not None
        mark = verdict(row)
        if place == half:
            keys.step = "turn auto-advance on"
            await keys.press("a")
        keys.step = judging = BY_HAND if place < half else ADVANCING
        await keys.press(letters[mark])
        outcome.judged_in[judging] += 1
        if mark == "keep" and "keep" not in outcome.verdicts.values():
            keys.step = "note why one was kept"
            # Auto-advance has gone on, unless this is the last.
            await keys.press(*(["k"] if screen.table.key != key else []), "e")
            await keys.write(KEPT_BECAUSE)
            await keys.press("enter", *(["j"] if place >= half else []))
        if place < half:
            keys.step = judging
            await keys.press("j")
        outcome.verdicts[key] = mark
    await until(keys.pilot, lambda: f"{len(todo)} of {len(todo)} judged" in screen_text(app))


def _pictures_are_of(app: StreamscopeApp, key: Key | None) -> bool:
    boxes = [box for box in channels_screen(app).query("#pictures PictureBox").results(PictureBox) if box.display]
    return len(boxes) == 3 and all(
        b.subject is not None and b.subject.key == key and b.picture is not None for b in boxes
    )


async def _compare_and_queue(app: StreamscopeApp, outcome: Outcome) -> None:
    keys, doubtful = outcome.keys, outcome.channels("unsure")
    keys.step = "compare the doubtful ones"
    await keys.press("equals_sign")
    await until(keys.pilot, lambda: isinstance(app.screen, CompareScreen))
    view = app.screen
    assert isinstance(view, CompareScreen)
    assert view.keys == doubtful
    for _ in doubtful[1:]:
        await keys.press("l")
    keys.step = "note why the last is doubtful"
    await keys.press("e")
    await keys.write(DOUBTED_BECAUSE)
    await keys.press("enter")
    await until(keys.pilot, lambda: app.judgement(doubtful[-1]).note == DOUBTED_BECAUSE)
    keys.step = "queue more steps"
    await _queue(app, keys, "plus")
    keys.step = "queue another seed"
    await _queue(app, keys, "asterisk")
    keys.step = "back to the table"
    await keys.press("q")
    await until(keys.pilot, lambda: app.screen is channels_screen(app))


async def _queue(app: StreamscopeApp, keys: Keys, key: str) -> None:
    before = len(job_states(app.store))
    await keys.press(key)
    await until(keys.pilot, lambda: isinstance(app.screen, ComputeDialog))
    await keys.press("enter")
    await until(keys.pilot, lambda: len(job_states(app.store)) == before + 1 and "J shows it" in screen_text(app))


async def _export(app: StreamscopeApp, outcome: Outcome) -> None:
    keys = outcome.keys
    keys.step = "export those kept"
    await keys.press("E")
    await until(keys.pilot, lambda: isinstance(app.screen, ExportDialog))
    while "keep:" not in screen_text(app):
        await keys.press("ctrl+g")
        await keys.pilot.pause()
    await keys.press("ctrl+u")
    await keys.write(NOTE)
    await until(keys.pilot, lambda: f"{Path(NOTE).stem}-pictures/" in screen_text(app))
    await keys.press("enter")
    await until(keys.pilot, lambda: status_left(app).endswith(f"written to {NOTE}"))


def check(outcome: Outcome, options: AppOptions, app: StreamscopeApp) -> None:
    """That it is all there, on the disk: marks and notes, the jobs with their channels, the note with its pictures."""
    reading = app.reading
    assert reading is not None
    said = open_marks(options.marks, reading.info).all()
    assert {key: judgement.mark for key, judgement in said.items()} == outcome.verdicts
    kept, doubtful = outcome.channels("keep"), outcome.channels("unsure")
    assert said[kept[0]].note == KEPT_BECAUSE
    assert said[doubtful[-1]].note == DOUBTED_BECAUSE
    assert outcome.seen == len(outcome.verdicts)
    more, seed = (state.job.spec for state in job_states(app.store)[-2:])
    for spec in (more, seed):
        assert spec.channels == {doubtful[0][0]: tuple(sorted(channel for _, channel in doubtful))}
    recipe, first = reading.key.recipe, reading.key.seed
    assert (more.steps, more.seed) == (2 * recipe.steps, first)
    assert seed.steps == recipe.steps
    assert seed.seed not in {key.seed for key in reading.sets if key.recipe == recipe}
    text = Path(NOTE).read_text()
    assert [text.count(f"## {block} · {channel} ") for block, channel in kept] == [1] * len(kept)
    assert f"> {KEPT_BECAUSE}" in text
    assert DOUBTED_BECAUSE not in text
    assert len(list(Path(f"{Path(NOTE).stem}-pictures").glob("*.png"))) == len(kept)
    assert all(outcome.keys.pressed[step] <= most * outcome.judged_in[step] > 0 for step, most in MOST_KEYS.items())


def table(outcome: Outcome) -> str:
    """Keys by step, in the order done."""
    keys = outcome.keys
    rows = [("step", "keys", "of them text", "keys a channel")]
    for step, count in keys.pressed.items():
        channels = outcome.judged_in[step]
        rows.append((step, str(count), str(keys.written[step] or ""), f"{count / channels:.2f}" if channels else ""))
    in_all, written = keys.pressed.total(), keys.written.total()
    rows.append(("in all", str(in_all), str(written), f"{in_all / len(outcome.verdicts):.2f}"))
    return "\n".join(f"{a:<32}{b:>6}{c:>14}{d:>16}" for a, b, c, d in rows)


async def _run(options: AppOptions, block: str) -> None:
    async with opened(options, workers=idle_workers()) as (app, pilot):
        outcome = await triage(app, pilot, block)
    check(outcome, options, app)
    counts = ", ".join(f"{len(outcome.channels(mark))} {mark}" for mark in ("keep", "unsure", "reject"))
    print(f"{len(outcome.verdicts)} channels judged: {counts}")
    print(table(outcome))


def main(arguments: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.support.triage", description=__doc__)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--block", default="2.1")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--capture", choices=("exact", "lucent"))
    parser.add_argument("--out", type=Path, help="folder for the note and the marks; a temporary one by default")
    given = parser.parse_args(None if arguments is None else list(arguments))
    out = (given.out or Path(tempfile.mkdtemp(prefix="triage-"))).absolute()
    out.mkdir(parents=True, exist_ok=True)
    spec = ModelSpec(given.model, given.weights.absolute() if given.weights else None)
    capture: Capture | None = given.capture
    options = AppOptions(
        spec, given.cache.absolute(), out / "marks", steps=given.steps, seed=given.seed, capture=capture
    )
    with chdir(out):
        asyncio.run(_run(options, given.block))
    print(f"the note: {out / NOTE}")


if __name__ == "__main__":
    os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
    main()
