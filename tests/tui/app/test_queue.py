"""The jobs screen, what is asked for from the table, and whether jobs go on when the app is quit."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
from textual.widgets import OptionList

from streamscope.core.errors import Fault
from streamscope.core.jobs import queue_worker
from streamscope.core.model.recipe import SetKey
from streamscope.core.model.spec import ModelSpec
from streamscope.core.store import (
    Job,
    JobSpec,
    JobState,
    Store,
    create_job,
    job_state,
    own_queue,
    request_stop,
    waiting,
)
from streamscope.core.store.jobs.events import LastWord, Report
from streamscope.tui.app.app import StreamscopeApp
from streamscope.tui.app.job_actions import end_message
from streamscope.tui.screens.dialogs.base import Choice
from streamscope.tui.screens.dialogs.compute import ComputeDialog
from streamscope.tui.screens.jobs import JobsScreen, memory, what
from streamscope.tui.widgets.status import StatusBar
from tests.support.app_driver import (
    channels_screen,
    dialog_text,
    idle_workers,
    job_line,
    opened,
    options,
    said,
    screen_text,
    small_store,
    status_left,
    until,
)
from tests.support.app_store import make_info
from tests.support.optional import present
from tests.support.stores import OTHER


def queued(store: Store, block: str = "2.1", seed: int = 0) -> Job:
    return create_job(store, JobSpec("resnet18", device="cpu", steps=64, seed=seed, blocks=(block,)), queued=True)


def lines(text: str, *words: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if all(word in line for word in words)]


def on_a_line(app: StreamscopeApp, *words: str) -> bool:
    """Whether some line of the screen has all of the words."""
    return bool(lines(screen_text(app), *words))


async def test_jobs_of_other_processes_are_listed_what_runs_first_then_what_waits_in_turn(tmp_path: Path) -> None:
    store = small_store(tmp_path / "cache", ("1.1",))
    waits, runs = queued(store, "2.0"), queued(store, "2.1")
    runs.heartbeat(
        Report(done=4, total=16, rate=1234.0, unit="image-steps", eta=200.0, message="2.1 in"),
        device="cuda:0",
        device_memory={"cuda:0": (11_900_000_000, 85_000_000_000)},
    )
    async with opened(options(tmp_path), size=(110, 30)) as (app, pilot):
        await until(pilot, lambda: len(app.jobs) == 2)
        await pilot.press("J")
        assert isinstance(app.screen, JobsScreen)
        await until(pilot, lambda: "1 running, 1 waiting" in screen_text(app))
        listed = [option.id for option in app.screen.query_one("#jobs", OptionList).options]
        assert listed == [runs.id, waits.id]
        for words in (
            ("running", "4/16", "1,234 steps/s", "3 min left", "cuda:0"),
            ("GB free",),
            ("device", "cuda:0", "process"),
            ("memory", "GB of the worker", "cuda:0 11.9 of 85.0 GB"),
        ):
            await until(pilot, partial(on_a_line, app, *words))


def test_a_job_on_a_cpu_shows_the_memory_of_its_worker_only(tmp_path: Path) -> None:
    store = small_store(tmp_path / "cache", ("1.1",))
    job = queued(store)
    job.heartbeat(Report(done=4, total=16), device="cpu")
    state = job_state(store, job)
    assert memory(state) == f"{present(state.memory) / 1e9:.2f} GB of the worker"


async def test_keys_move_a_job_let_it_rest_take_it_up_again_and_cancel_it(tmp_path: Path) -> None:
    store = small_store(tmp_path / "cache", ("1.1",))
    running, first, second = queued(store), queued(store, "2.0"), queued(store, "1.1")
    running.heartbeat(Report(done=1, total=16))

    def state(job: Job) -> str:
        return job_state(store, job).state

    async with opened(options(tmp_path), workers=idle_workers()) as (app, pilot):
        await until(pilot, lambda: len(app.jobs) == 3)
        await pilot.press("J", "j", "greater_than_sign")
        await until(pilot, lambda: [s.job.id for s in waiting(store, own_queue("cpu"))] == [second.id, first.id])
        screen = app.screen
        assert isinstance(screen, JobsScreen)
        await until(pilot, lambda: screen.highlighted is not None and screen.highlighted.job == first)
        await pilot.press("space")
        await until(pilot, lambda: state(first) == "paused" and "paused" in screen_text(app))
        await pilot.press("space")
        await until(pilot, lambda: state(first) == "queued")
        # A worker was started for it, and for no other.
        await until(pilot, first.errors.exists)
        assert not second.errors.exists()
        await pilot.press("X")
        await until(pilot, lambda: state(first) == "stopped")
        await until(pilot, lambda: "is cancelled" in screen_text(app))
        assert state(second) == "queued"


async def test_a_job_of_another_user_is_shown_and_left_alone(tmp_path: Path) -> None:
    store = small_store(tmp_path / "cache", ("1.1",))
    job = queued(store, "2.0")
    if os.geteuid() != 0:
        pytest.skip("only root can give a job to another user")
    for path in (job.folder / "job.json", job.folder):
        os.chown(path, OTHER, OTHER)
    async with opened(options(tmp_path), workers=idle_workers()) as (app, pilot):
        await until(pilot, lambda: len(app.jobs) == 1)
        await pilot.press("J")
        await until(pilot, lambda: bool(lines(screen_text(app), "user", "nobody; only they can start, stop or move")))
        assert lines(screen_text(app), "queued", "cpu on", "nobody's")
        await pilot.press("X")
        await until(pilot, lambda: f"job {job.id} is nobody's; only nobody can stop it" in dialog_text(app))
        assert not (job.folder / "stop").exists()
        assert not job.errors.exists()
        await pilot.press("escape", "escape", "q")
        await until(pilot, lambda: not app.is_running)


async def test_a_job_of_a_cluster_is_not_taken_up_by_a_queue(tmp_path: Path) -> None:
    store = small_store(tmp_path / "cache", ("1.1",))
    spec = JobSpec("resnet18", device="cpu", steps=64, blocks=("2.1",), scheduler="tcp://there:8786")
    job = create_job(store, spec)
    job.finish("stopped")
    async with opened(options(tmp_path), workers=idle_workers()) as (app, pilot):
        await until(pilot, lambda: len(app.jobs) == 1)
        await pilot.press("J")
        await until(pilot, lambda: bool(lines(screen_text(app), "device", "cluster of tcp://there:8786")))
        await pilot.press("space")
        await until(pilot, lambda: "streamscope compute --scheduler ADDRESS" in " ".join(dialog_text(app).split()))
        assert job_state(store, job).state == "stopped"


async def test_a_job_that_failed_says_why_and_can_be_taken_up_again(tmp_path: Path) -> None:
    store = small_store(tmp_path / "cache", ("1.1",))
    job = queued(store)
    job.finish("failed", Fault("no space is left on the disk"))
    async with opened(options(tmp_path), workers=idle_workers()) as (app, pilot):
        await until(pilot, lambda: len(app.jobs) == 1)
        await pilot.press("J")
        await until(pilot, lambda: "no space is left on the disk" in screen_text(app))
        await pilot.press("p")
        await until(pilot, lambda: job_state(store, job).state == "queued")


async def test_more_steps_and_another_seed_are_asked_for_the_channels_chosen(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path), size=(120, 40)) as (app, pilot):
        await pilot.press("space", "j", "space", "plus")
        assert isinstance(app.screen, ComputeDialog)
        await until(pilot, lambda: said(app, r"6 of 6 FZs are missing: .*; a new set: paper 5120 seed 0"))
        await pilot.press("escape", "asterisk")
        await until(pilot, lambda: said(app, r"6 of 6 FZs are missing: .*; a new set: paper 2560 seed 1"))


async def test_the_channels_in_view_can_be_asked_for(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path), size=(120, 40)) as (app, pilot):
        await pilot.press("C", *["tab"] * 2, *"visible")
        await until(pilot, lambda: "54 FZs" in screen_text(app))


async def test_quitting_asks_whether_queued_jobs_go_on_and_keeps_them(tmp_path: Path) -> None:
    store = small_store(tmp_path / "cache", ("1.1",))
    job = queued(store)
    job.heartbeat(Report(done=1, total=16))
    async with opened(options(tmp_path)) as (app, pilot):
        await until(pilot, lambda: len(app.jobs) == 1)
        await pilot.press("q")
        assert isinstance(app.screen, Choice)
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is channels_screen(app))
        await pilot.press("q", "enter")
    assert app.return_code == 0
    assert job_state(store, job).state == "running"


async def test_quitting_stops_them_when_told_to(tmp_path: Path) -> None:
    store = small_store(tmp_path / "cache", ("1.1",))
    running, waits = queued(store), queued(store)
    running.heartbeat(Report(done=1, total=16))
    async with opened(options(tmp_path)) as (app, pilot):
        await until(pilot, lambda: len(app.jobs) == 2)
        await pilot.press("q", *"stop", "enter")
        await until(pilot, lambda: not app.is_running)
    assert job_state(store, running).state == "stopping"
    assert job_state(store, waits).state == "stopped"


async def test_quitting_asks_nothing_about_a_job_that_a_command_waits_for(tmp_path: Path) -> None:
    store = small_store(tmp_path / "cache", ("1.1",))
    create_job(store, JobSpec("resnet18", blocks=("2.1",))).heartbeat(Report(done=1, total=16))
    async with opened(options(tmp_path)) as (app, pilot):
        await until(pilot, lambda: len(app.jobs) == 1)
        await pilot.press("q")
    assert app.return_code == 0


async def test_a_job_stopped_elsewhere_is_said(tmp_path: Path) -> None:
    store = small_store(tmp_path / "cache", ("1.1",))
    job = queued(store)
    async with opened(options(tmp_path)) as (app, pilot):
        await until(pilot, lambda: len(app.jobs) == 1)
        request_stop(job)
        await until(pilot, lambda: status_left(app).startswith("job stopped; what is missing"))


async def test_the_line_below_the_table_tells_of_what_runs_before_what_waits(tmp_path: Path) -> None:
    store = small_store(tmp_path / "cache", ("1.1",))
    waits, runs = JobState(queued(store), "queued"), JobState(queued(store), "running", done=3, total=9)
    async with opened(options(tmp_path)) as (app, _):
        for states in ([waits, runs], [runs, waits]):
            channels_screen(app).show_jobs(states)
            assert "3/9" in job_line(app)


async def test_a_job_of_another_model_names_it_in_the_list_and_where_one_is_stopped(tmp_path: Path) -> None:
    store = small_store(tmp_path / "cache", ("1.1",))
    queued(store, "2.0")
    words = "queued", "resnet18-untrained-0  2.1  64 steps seed 3"
    other = JobSpec("resnet18-untrained-0", device="cpu", steps=64, seed=3, blocks=("2.1",))
    create_job(store, other, queued=True)
    async with opened(options(tmp_path), size=(120, 40)) as (app, pilot):
        await until(pilot, lambda: len(app.jobs) == 2)
        await pilot.press("J")
        await until(pilot, lambda: bool(lines(screen_text(app), *words)))
        assert lines(screen_text(app), "queued", "  2.0  64 steps")
        assert not lines(screen_text(app), "queued", "resnet18  2.0")
        await pilot.press("escape", "S")
        assert isinstance(app.screen, Choice)
        await until(pilot, lambda: bool(lines(screen_text(app), *words)))


def test_a_job_of_the_model_shown_is_not_named_whichever_path_to_its_weights_was_given(tmp_path: Path) -> None:
    store = small_store(tmp_path / "cache", ("1.1",))
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "weights.pth").write_bytes(b"weights")
    paths = tmp_path / "weights.pth", tmp_path / "link" / "weights.pth"
    for of_job, of_app in (paths, paths[::-1]):
        state = job_state(store, create_job(store, JobSpec("resnet18", of_job, blocks=("2.1",)), queued=True))
        assert what(state, ModelSpec("resnet18", of_app)).startswith("2.1  auto on ")
        assert what(state, ModelSpec("resnet18")).startswith("resnet18 weights.pth  2.1  auto on ")


def test_the_end_of_a_job_says_how_to_open_the_set_that_it_filled(tmp_path: Path) -> None:
    store, info, own = small_store(tmp_path / "cache", ("1.1",)), make_info(), ModelSpec("resnet18")
    shown = SetKey(info.recipe("paper", 64))

    def said(seed: int, how: LastWord = "done", model: str = "resnet18") -> str:
        job = create_job(store, JobSpec(model, steps=64, seed=seed, blocks=("2.1",)))
        job.finish(how)
        return end_message(job_state(store, job), shown, info, own)

    assert said(0) == "job done"
    assert said(1) == "job done; o opens its set, paper 64 seed 1"
    assert said(1, model="resnet18-untrained-0") == "job done"
    assert said(1, "stopped") == "job stopped; what is missing can be computed later"


async def test_a_message_goes_after_a_while_but_not_one_of_a_failure(tmp_path: Path) -> None:
    small_store(tmp_path / "cache", ())
    async with opened(options(tmp_path), size=(80, 24)) as (app, pilot):
        failure, message = (StatusBar(seconds=0.05) for _ in range(2))
        await channels_screen(app).mount(failure, message)
        failure.say("broken", failed=True)
        message.say("something")
        assert message.left == "something"
        await until(pilot, lambda: message.left == "")
        assert "? keys" in screen_text(app)
        assert failure.left == "broken"


def test_a_job_says_that_it_starts_before_torch_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = small_store(tmp_path / "cache", ("1.1",))
    job = queued(store)
    seen: list[JobState] = []
    worker = ModuleType("streamscope.core.jobs.worker")

    def run_job(store: Store, job: Job, tell: object) -> None:
        seen.append(job_state(store, job))
        raise ValueError("broken")

    vars(worker)["run_job"] = run_job
    monkeypatch.setitem(sys.modules, "streamscope.core.jobs.worker", worker)
    errors = os.dup(sys.stderr.fileno())
    try:
        queue_worker._run(store, job)
    finally:
        os.dup2(errors, sys.stderr.fileno())
        os.close(errors)
    assert (seen[0].state, seen[0].message) == ("running", "starting: importing torch")
    assert (job_state(store, job).state, job_state(store, job).message) == ("failed", "ValueError: broken")
