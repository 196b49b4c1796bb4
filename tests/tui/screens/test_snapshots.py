"""What the main screens look like, as text: each is compared with a file under snapshots/.

`pytest tests/tui/screens/test_snapshots.py --update-snapshots` writes the files anew;
look at the diff before keeping it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import unified_diff
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from streamscope.core.store import JobSpec, create_job
from streamscope.core.store.files.owner import this_process
from streamscope.core.store.jobs.events import Report
from streamscope.tui.app.app import StreamscopeApp
from streamscope.tui.terminal.detection import Graphics
from tests.support.app_driver import drawn, open_export, opened, options, screen_text, small_store, until

SNAPSHOTS = Path(__file__).parent / "snapshots"
SIZES = [((80, 24), Graphics("off")), ((120, 40), Graphics("half"))]
CHANGING = (
    (r"\d{8}-\d{6}-[0-9a-f]{6}", "DATE-OF-JOB-RANDOM"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "DATE AND TIME OF DAY"),
    (r"[\d.]+ GB free", "? GB free"),
    (r"[\d.]+ GB of the worker", "? GB of the worker"),
    (r"process \d+", "process ?"),
    (rf"\bon {re.escape(this_process().host[:6])}\S*", "on HOST"),
)
"""What differs between two runs or two machines."""


def shown(app: StreamscopeApp) -> str:
    """The text of the screen, or of the dialog alone: what is dimmed below it is another screen's."""
    if not app.screen.is_modal:
        return screen_text(app)
    box = app.screen.query_one(".box").region
    lines = app.screen._compositor.render_strips()[box.y : box.bottom]
    return "\n".join(line.crop(box.x, box.right).text for line in lines)


def steady(text: str) -> str:
    for pattern, instead in CHANGING:
        text = re.sub(pattern, instead, text)
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


class Snapshots:
    """Compares with the files, or writes them; what differs is kept until all screens have been seen."""

    def __init__(self, update: bool, size: tuple[int, int]) -> None:
        self._update = update
        self._size = size
        self.differences: list[str] = []

    def compare(self, name: str, text: str) -> None:
        path = SNAPSHOTS / f"{name}-{self._size[0]}x{self._size[1]}.txt"
        if self._update:
            SNAPSHOTS.mkdir(exist_ok=True)
            path.write_text(text)
            return
        stored = path.read_text() if path.exists() else ""
        self.differences += unified_diff(
            stored.splitlines(), text.splitlines(), f"{path.name}, stored", f"{path.name}, now", lineterm="", n=1
        )


@pytest.mark.parametrize(("size", "graphics"), SIZES, ids=["80x24", "120x40"])
async def test_the_screens_look_as_they_did(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pytestconfig: pytest.Config,
    size: tuple[int, int],
    graphics: Graphics,
) -> None:
    monkeypatch.chdir(tmp_path)
    store = small_store(Path("cache"))
    create_job(store, JobSpec("resnet18", device="cpu", steps=64, blocks=("2.1",)), queued=True)
    running = create_job(store, JobSpec("resnet18", device="cuda:0", steps=64, blocks=("2.0",)), queued=True)
    report = Report(done=4, total=16, rate=1234.0, unit="image-steps", eta=200.0, message="2.0 in")
    memory = {"cuda:0": (11_900_000_000, 85_000_000_000)}
    running.heartbeat(report, device="cuda:0", device_memory=memory)
    snapshots = Snapshots(pytestconfig.getoption("update_snapshots"), size)
    async with opened(options(Path()), size, graphics) as (app, pilot):

        async def look(name: str, ready: Callable[[], bool]) -> None:
            await until(pilot, ready)
            await pilot.pause()
            snapshots.compare(name, steady(shown(app)))

        await until(pilot, lambda: len(app.jobs) == 2)
        await _judge(app, pilot)
        await look("channels", drawn(app))
        await pilot.press("enter")
        await look("detail", lambda: drawn(app)() and ("no tuning" in screen_text(app) or size[1] < 30))
        await pilot.press("q", "equals_sign")
        await look("compare", drawn(app))
        await pilot.press("q", "H")
        await look("spectrum", lambda: "of 6 computed" in screen_text(app))
        await pilot.press("q", "J")
        await look("jobs", lambda: "1 running, 1 waiting" in screen_text(app))
        await pilot.press("q", "L")
        await look("columns", lambda: "mix_ratio" in screen_text(app))
        await pilot.press("escape")
        await open_export(pilot, app, "keep")
        app.screen.query_one("#path", Input).value = "tonight.md"
        await look("export", lambda: "tonight-pictures/" in screen_text(app))
        await pilot.press("escape", "question_mark")
        await look("keys", lambda: "mark.keep" in screen_text(app))
    if snapshots.differences:
        pytest.fail("\n".join(["the screens look otherwise:", *snapshots.differences]), pytrace=False)


async def _judge(app: StreamscopeApp, pilot: Pilot[None]) -> None:
    """A mark of each kind, a tag and a note."""
    await pilot.press("y", "e", *"curve", "enter", "j", "u", "t", *"edge", "enter", "j", "u", "j", "n", "k", "k", "k")
    await until(pilot, lambda: len(app.judgements) == 4 and "4 of 22 judged" in screen_text(app))
    app.notify("ready")
