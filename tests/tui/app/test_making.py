"""Whatever is missing is made from where it is missed: keys queue the jobs that a command line would do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from textual.pilot import Pilot
from textual.widgets import Input, OptionList

from streamscope.core.errors import Fault
from streamscope.core.store import JobSpec, Store, create_job, job_states
from streamscope.core.store.jobs.events import Report
from streamscope.core.store.jobs.spec import NO_DEVICE
from streamscope.tui.app.app import StreamscopeApp
from streamscope.tui.app.measure_actions import MENU, bundle_scopes
from streamscope.tui.screens.detail import DetailScreen
from streamscope.tui.screens.dialogs.base import Choice, Prompt
from streamscope.tui.screens.dialogs.export import ExportDialog
from streamscope.tui.screens.dialogs.folder import FolderDialog
from streamscope.tui.screens.jobs import JobsScreen
from tests.support.app_driver import (
    channels_screen,
    dialog_text,
    idle_workers,
    job_line,
    opened,
    options,
    screen_text,
    small_store,
    status_left,
    until,
)


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Three images in two class folders."""
    for name in ("cat/1.png", "cat/2.png", "dog/3.png"):
        path = tmp_path / "photographs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)
    return tmp_path / "photographs"


async def the_job(pilot: Pilot[None], store: Store) -> JobSpec:
    await until(pilot, lambda: len(job_states(store)) == 1)
    return job_states(store)[0].job.spec


def chosen(app: StreamscopeApp) -> str:
    option = app.screen.query_one(OptionList).highlighted_option
    return str(option.id) if option is not None else ""


async def test_the_nulls_of_the_block_under_the_cursor(tmp_path: Path) -> None:
    store = small_store(tmp_path / "cache")
    async with opened(options(tmp_path), workers=idle_workers()) as (app, pilot):
        channels_screen(app).go_to(("2.1", 3))
        await pilot.press("N")
        assert isinstance(app.screen, Choice)
        assert "by-images" not in screen_text(app), "nothing is scanned"
        await pilot.press(*"shams")
        await until(pilot, lambda: chosen(app) == "shams")
        await pilot.press("enter")
        job = await the_job(pilot, store)
        assert job.command[:4] == ("nulls", "--block", "2.1", "--shams")
        assert job.command[-2:] == ("--device", "auto")
        assert (job.title, job.blocks, job.model) == ("2.1: shams", ("2.1",), "resnet18")
        await until(pilot, lambda: status_left(app) == "nulls starts; J shows it")


async def test_curves_of_one_block_or_of_all(tmp_path: Path) -> None:
    store = small_store(tmp_path / "cache")
    async with opened(options(tmp_path), workers=idle_workers()) as (_, pilot):
        await pilot.press("T", "down", "enter")
        job = await the_job(pilot, store)
        assert job.command[0] == "curves"
        assert "--block" not in job.command
        assert job.title == "all blocks"


async def test_further_seeds_until_verdicts_are_decided(tmp_path: Path) -> None:
    store = small_store(tmp_path / "cache")
    async with opened(options(tmp_path), workers=idle_workers()) as (_, pilot):
        await pilot.press("D", *"kinds", "enter")
        job = await the_job(pilot, store)
        assert job.command[:5] == ("compute", "--block", "1.1", "--decide", "--updates")


async def test_a_folder_of_images_is_scanned(tmp_path: Path, photographs: Path) -> None:
    store = small_store(tmp_path / "cache")
    async with opened(options(tmp_path), workers=idle_workers()) as (app, pilot):
        await pilot.press("M")
        assert isinstance(app.screen, FolderDialog)
        app.screen.query_one(Input).value = f"{tmp_path}/photo"
        await until(pilot, lambda: chosen(app) == "photographs")
        await pilot.press("tab")
        await until(pilot, lambda: "3 images in 2 folders" in screen_text(app))
        await pilot.press("enter")
        job = await the_job(pilot, store)
        assert job.command[:2] == ("scan", str(photographs))
        assert job.title == str(photographs)


async def test_a_folder_without_images_is_said_and_not_taken(tmp_path: Path) -> None:
    store = small_store(tmp_path / "cache")
    (tmp_path / "empty").mkdir()
    async with opened(options(tmp_path), workers=idle_workers()) as (app, pilot):
        await pilot.press("M")
        app.screen.query_one(Input).value = f"{tmp_path}/empty"
        await pilot.press("enter")
        await until(pilot, lambda: "there are no images in" in screen_text(app))
        await pilot.press("enter")
        assert isinstance(app.screen, FolderDialog)
        await pilot.press("escape")
        assert not job_states(store)


async def test_ablation_of_the_channels_chosen(tmp_path: Path, photographs: Path) -> None:
    store = small_store(tmp_path / "cache")
    async with opened(options(tmp_path), workers=idle_workers()) as (app, pilot):
        channels_screen(app).go_to(("2.0", 1))
        await pilot.press("space", "j", "space", "K")
        assert isinstance(app.screen, FolderDialog)
        app.screen.query_one(Input).value = str(photographs)
        await pilot.press("enter")
        job = await the_job(pilot, store)
        assert job.command[:6] == ("ablate", str(photographs), "--block", "2.0", "--channels", "1-2")


async def test_a_report_does_not_wait_for_what_computes(tmp_path: Path) -> None:
    store = small_store(tmp_path / "cache")
    async with opened(options(tmp_path), workers=idle_workers()) as (app, pilot):
        await pilot.press("R")
        app.screen.query_one(Input).value = f"{tmp_path}/report"
        await pilot.press("enter")
        job = await the_job(pilot, store)
        assert job.command[:3] == ("report", "--out", str(tmp_path / "report"))
        assert job.device == NO_DEVICE


async def test_the_menu_names_every_action_with_its_key(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path), workers=idle_workers()) as (app, pilot):
        await pilot.press("m")
        assert isinstance(app.screen, Choice)
        await until(pilot, lambda: all(app.key_of(name) in screen_text(app) for name, _, _ in MENU))
        await pilot.press(*"export", "enter")
        await until(pilot, lambda: isinstance(app.screen, ExportDialog))


async def test_nothing_is_queued_where_there_are_no_fzs(tmp_path: Path) -> None:
    store = small_store(tmp_path / "cache", ())
    async with opened(options(tmp_path), workers=idle_workers()) as (app, pilot):
        for key in ("N", "T", "D", "K", "R"):
            await pilot.press(key)
            await until(pilot, lambda: "no FZs are stored yet; C computes them" in status_left(app))
        assert not job_states(store)


async def test_the_detail_screen_says_the_key_and_takes_it(tmp_path: Path) -> None:
    store = small_store(tmp_path / "cache")
    async with opened(options(tmp_path), workers=idle_workers()) as (app, pilot):
        await pilot.press("enter")
        assert isinstance(app.screen, DetailScreen)
        said = ("M scans a folder of them", "T computes them", "N computes nulls")
        await until(pilot, lambda: all(words in screen_text(app) for words in said))
        assert "streamscope" not in screen_text(app)
        await pilot.press("N", *"pairs", "enter")
        assert (await the_job(pilot, store)).command[0] == "nulls"


async def test_a_command_is_one_line_among_the_jobs_and_its_end_is_told(tmp_path: Path) -> None:
    store = small_store(tmp_path / "cache")
    async with opened(options(tmp_path), workers=idle_workers()) as (app, pilot):
        await pilot.press("T", "enter")
        await the_job(pilot, store)
        job = job_states(store)[0].job
        job.heartbeat(Report(2, 8, 0.25, 1.0, "FZs", 6.0, "1.1 FZs"), "cpu")
        await until(pilot, lambda: "curves 1.1" in job_line(app))
        await pilot.press("J")
        assert isinstance(app.screen, JobsScreen)
        await until(pilot, lambda: all(w in screen_text(app) for w in ("curves", "2/8", "2 of 8 FZs")))
        await pilot.press("escape")
        job.files.output.write_text("block images channels\n1.1 FZ(in) 8\n")
        job.finish("done", Fault("1.1 FZ(in) 8"))
        await until(pilot, lambda: status_left(app) == "curves, 1.1 done: 1.1 FZ(in) 8")
        await pilot.press("J")
        await until(pilot, lambda: "block images channels" in screen_text(app))


async def test_one_that_fails_is_said_by_what_it_was(tmp_path: Path) -> None:
    store = small_store(tmp_path / "cache")
    async with opened(options(tmp_path), workers=idle_workers()) as (app, pilot):
        await pilot.press("T", "enter")
        await the_job(pilot, store)
        job = job_states(store)[0].job
        await until(pilot, lambda: bool(app.jobs))
        job.finish("failed", Fault("no such file: x.pth"))
        await until(pilot, lambda: dialog_text(app) == "no such file: x.pth")


async def test_what_a_command_has_done_by_other_jobs_is_not_listed(tmp_path: Path) -> None:
    store = small_store(tmp_path / "cache")
    async with opened(options(tmp_path), workers=idle_workers()) as (app, pilot):
        await pilot.press("N", *"untrained", "enter")
        await the_job(pilot, store)
        above = job_states(store)[0].job
        part = create_job(store, replace(JobSpec("resnet18", blocks=("1.1",)), part_of=above.id))
        part.heartbeat(Report(1, 2))
        await until(pilot, lambda: len(app.jobs) == 1 and above.id in app.jobs)
        await pilot.pause(1.2)
        assert list(app.jobs) == [above.id]


async def test_marked_channels_are_bundled_in_a_file(tmp_path: Path) -> None:
    store = small_store(tmp_path / "cache")
    async with opened(options(tmp_path), workers=idle_workers()) as (app, pilot):
        await pilot.press("B", *"marked", "enter")
        await until(pilot, lambda: isinstance(app.screen, Prompt))
        app.screen.query_one(Input).value = str(tmp_path / "tonight")
        await pilot.press("enter")
        await until(pilot, lambda: "let its name end in .zip" in screen_text(app))
        app.screen.query_one(Input).value = str(tmp_path / "tonight.zip")
        await pilot.press("enter")
        job = await the_job(pilot, store)
        assert job.command[:3] == ("bundle", str(tmp_path / "tonight.zip"), "--marked")
        assert job.device == NO_DEVICE


async def test_what_is_handed_on_is_what_is_shown_or_selected(tmp_path: Path) -> None:
    small_store(tmp_path / "cache")
    async with opened(options(tmp_path), workers=idle_workers()) as (app, pilot):
        screen = channels_screen(app)
        assert bundle_scopes(screen)["filtered"] == []
        await pilot.press("slash", *"channel < 3", "enter", "space", "j", "space")
        scopes = bundle_scopes(screen)
        assert scopes["filtered"] == ["--filter", "channel < 3"]
        assert scopes["chosen"] == ["--block", "1.1", "--channels", "0-1"]
