"""Computing from the app: the dialog, the worker process, progress, stopping, and what others compute."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from streamscope.core.errors import Fault, UsageError
from streamscope.core.jobs.plan import Request
from streamscope.core.model.demo import weights_path
from streamscope.core.model.recipe import SetKey
from streamscope.core.model.spec import ModelSpec
from streamscope.core.store import Job, JobSpec, Store, create_job, job_states
from streamscope.core.store.jobs.events import Report
from streamscope.tui.app.app import StreamscopeApp
from streamscope.tui.forms.compute import ComputeForm, request_of
from streamscope.tui.screens.loading import LoadingScreen
from streamscope.tui.terminal.detection import Graphics
from tests.support.app_driver import (
    channels_screen,
    dialog_text,
    job_line,
    opened,
    options,
    said,
    screen_text,
    small_store,
    status_left,
    until,
)
from tests.support.app_store import fill, make_info

INFO = make_info()
FORM = ComputeForm(blocks="all", tensors="in,block,out", channels="all", steps="2560", seed="0")


SHOWN = SetKey(INFO.default_recipe)


def request(shown: SetKey = SHOWN, **changes: str) -> Request:
    scopes = {"marked": {"2.0": [1, 5], "2.1": [0]}, "filtered": {}}
    return request_of(replace(FORM, **changes), INFO, shown, scopes)


def test_all_means_the_default_blocks_and_every_channel() -> None:
    wanted = request()
    assert (wanted.blocks, wanted.tensors, dict(wanted.channels)) == (("1.1", "2.0", "2.1"), ("in", "block", "out"), {})


def test_marked_channels_are_those_of_each_block_and_blocks_without_any_are_left_out() -> None:
    wanted = request(channels="marked")
    assert wanted.blocks == ("2.0", "2.1")
    assert dict(wanted.channels) == {"2.0": (1, 5), "2.1": (0,)}


def test_ranges_apply_to_every_block_named() -> None:
    wanted = request(blocks="2.1, 2.0", channels="0-2,7")
    assert dict(wanted.channels) == {"2.0": (0, 1, 2, 7), "2.1": (0, 1, 2, 7)}


def test_a_job_adds_to_sets_of_the_kind_that_is_shown() -> None:
    shown = SetKey(INFO.default_recipe.until_converged(), seed=2, capture="lucent")
    key = request(shown, steps="5120", seed="3").key
    assert key == SetKey(INFO.recipe("paper", 5120, converged=True), 3, "lucent")


def test_the_job_of_a_form_can_be_read_back_by_its_worker() -> None:
    wanted = request(blocks="2.1", channels="0-2", steps="20", seed="3", tensors="block in")
    spec = JobSpec.from_json(json.loads(json.dumps(FORM.job_spec(wanted, ModelSpec("resnet18")).to_json())))
    assert (spec.model, spec.weights, spec.device) == ("resnet18", None, "auto")
    assert Request.of_job(INFO, spec, 1) == wanted


@pytest.mark.parametrize(
    ("field", "text", "message"),
    [
        ("blocks", "5.0", "unknown block '5.0'"),
        ("tensors", "pre", "unknown tensor 'pre'"),
        ("tensors", " ", "name at least one tensor"),
        ("channels", "0-99", "channel 99 is out of range"),
        ("channels", "some", "malformed channel range"),
        ("channels", "filtered", "no channel of 1.1, 2.0, 2.1 is filtered"),
        ("steps", "many", "steps must be a whole number, not 'many'"),
        ("steps", "0", "steps must be 1 or more"),
        ("seed", "-1", "seed must be 0 or more"),
    ],
)
def test_what_makes_no_sense_is_said(field: str, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        request(SHOWN, **{field: text})


async def test_the_dialog_counts_each_fz_once_and_does_not_start_while_something_is_wrong(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path)) as (app, pilot):
        await pilot.press("C")
        await until(pilot, lambda: "58 FZs" in screen_text(app))
        await until(pilot, lambda: "nothing is missing: all 58 FZs are stored" in screen_text(app))
        await pilot.press("9", "enter")
        await until(pilot, lambda: "unknown block" in screen_text(app))
        assert job_states(app.store) == []
        await pilot.press("escape")
        assert app.screen is channels_screen(app)


async def test_the_dialog_says_how_many_fzs_are_missing(tmp_path: Path) -> None:
    small_store(tmp_path / "cache", ("1.1",))
    async with opened(options(tmp_path)) as (app, pilot):
        await pilot.press("C")
        await until(pilot, lambda: "40 of 58 FZs are missing" in screen_text(app))
        await pilot.press(*"1.1")
        await until(pilot, lambda: "nothing is missing: all 18 FZs are stored" in screen_text(app))


def another_process_starts(folder: Path) -> tuple[Store, Job]:
    store = Store.open(folder / "cache", create=True)
    return store, create_job(store, JobSpec("resnet18", blocks=("2.1",)))


async def test_a_job_of_another_process_shows_its_progress_and_its_end(tmp_path: Path) -> None:
    small_store(tmp_path / "cache", ("1.1",))
    store, job = another_process_starts(tmp_path)
    job.heartbeat(Report(done=4, total=16, rate=1234.0, unit="image-steps", eta=200.0, message="2.1 in"))
    async with opened(options(tmp_path)) as (app, pilot):
        await until(pilot, lambda: "4/16" in job_line(app))
        assert "1,234 image-steps/s  3 min left  2.1 in" in job_line(app)
        fill(store, INFO, ["2.1"])
        job.finish("done", report=Report(done=16, total=16))
        await until(pilot, lambda: job_line(app) == "")
        assert status_left(app) == "job done"


async def test_a_stopped_job_is_asked_through_its_folder(tmp_path: Path) -> None:
    small_store(tmp_path / "cache", ("1.1",))
    _, job = another_process_starts(tmp_path)
    job.heartbeat(Report(done=1, total=16))
    async with opened(options(tmp_path)) as (app, pilot):
        await until(pilot, lambda: "1/16" in job_line(app))
        assert not job.stop_requested()
        await pilot.press("S", "enter")
        await until(pilot, job.stop_requested)
        await until(pilot, lambda: "stopping" in job_line(app))


async def test_a_job_that_fails_says_why_in_a_dialog(tmp_path: Path) -> None:
    small_store(tmp_path / "cache", ("1.1",))
    _, job = another_process_starts(tmp_path)
    job.heartbeat(Report(done=1, total=16))
    async with opened(options(tmp_path)) as (app, pilot):
        await until(pilot, lambda: "1/16" in job_line(app))
        job.finish("failed", Fault("no space is left on the disk"))
        await until(pilot, lambda: "no space is left on the disk" in dialog_text(app))


async def test_a_worker_that_ends_before_its_first_word_is_noticed(tmp_path: Path) -> None:
    store = small_store(tmp_path / "cache", ("1.1",))
    async with opened(options(tmp_path)) as (app, pilot):
        (tmp_path / "cache" / "store.json").write_text('{"format": 7}')
        app.job_workers.start(store, JobSpec("resnet18"))
        await until(pilot, lambda: "written by another version (format 7" in dialog_text(app), 60)


async def test_two_jobs_are_counted(tmp_path: Path) -> None:
    small_store(tmp_path / "cache", ("1.1",))
    for done in (1, 2):
        another_process_starts(tmp_path)[1].heartbeat(Report(done=done, total=16))
    async with opened(options(tmp_path)) as (app, pilot):
        await until(pilot, lambda: "(and 1 more)" in job_line(app))


async def test_weights_that_cannot_be_read_are_said_and_q_quits(tmp_path: Path) -> None:
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"junk\n")
    given = options(tmp_path, spec=ModelSpec("resnet18", weights))
    app = StreamscopeApp(given, Store.open(given.cache), Graphics("half"), given.spec.text)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, LoadingScreen))
        screen = app.screen
        assert isinstance(screen, LoadingScreen)
        reading = f"reading the weights of {weights}: 8 blocks of 1,920 channels in all …"
        await until(pilot, lambda: screen.text == reading)
        await until(pilot, lambda: screen.text.startswith(f"{weights} is not a checkpoint"), 120)
        await pilot.press("q")
    assert app.return_code == 0


async def test_a_model_never_seen_is_read_and_a_job_started_in_the_app_fills_its_rows(tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    save_file({f"module.{key}": value for key, value in load_file(weights_path()).items()}, weights)
    given = options(tmp_path, spec=ModelSpec("demo", weights), device="cpu")
    app = StreamscopeApp(given, Store.open(given.cache), Graphics("half"), given.spec.text)
    async with app.run_test(size=(160, 48)) as pilot:
        await until(pilot, lambda: app.channels is not None and app.channels.frame is not None, 180)
        screen = channels_screen(app)
        assert "dropped the prefix module." in status_left(app)
        await pilot.press("C", *"1.1", "tab", *"in,block", "tab", *"1-2", "tab", *"2")
        await until(pilot, lambda: said(app, r"4 of 4 FZs are missing: about \d+ s; a new set: centred 2 seed 0"))
        await pilot.press("enter")

        def computed() -> list[int]:
            frame = screen.frame
            rows = frame["status"] == "ok" if frame is not None else []
            return frame["channel"][rows].astype(int).tolist() if frame is not None else []

        await until(pilot, lambda: computed() == [1, 2], 180)
        await until(pilot, lambda: [state.state for state in app.jobs.values()] == ["done"], 60)
        assert app.reading is not None
        assert (app.reading.key.protocol, app.reading.key.recipe.steps) == ("centred", 2)
    assert app.jobs_running == 0
