"""How long FZs will take follows from how long such FZs took before on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamscope.core.jobs import estimate
from streamscope.core.jobs.estimate import seconds_for, speed_before
from streamscope.core.jobs.plan import Request, missing_fzs, step_cost
from streamscope.core.model.blocks import Target
from streamscope.core.model.recipe import SetKey
from streamscope.core.model.spec import ModelSpec
from streamscope.core.store import Job, JobSpec, Store, create_job
from streamscope.core.store.jobs.events import BatchDone, JobStarted
from tests.support.app_store import make_info, open_store

INFO = make_info()
KEY = SetKey(INFO.default_recipe)
SPEC = ModelSpec("resnet18")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the time is when something is logged."""
    now = [1000.0]
    monkeypatch.setattr("streamscope.core.store.jobs.job.time.time", lambda: now[0])
    return now


def job_of(store: Store, clock: list[float], seconds: float, device: str = "cpu") -> Job:
    """A job that has optimised 8 channels of 2.1 `block` in so many seconds."""
    job = create_job(store, JobSpec("resnet18", device=device, blocks=("2.1",)))
    job.log(JobStarted(KEY, ("2.1",), ("block",), 8, {}, 8))
    clock[0] += seconds
    job.log(BatchDone("fz", "2.1", "block", 0, 8, (0, 7), seconds))
    return job


def test_it_goes_by_what_the_last_jobs_did_in_their_time(tmp_path: Path, clock: list[float]) -> None:
    store = open_store(tmp_path, INFO)
    job_of(store, clock, 10.0)
    job_of(store, clock, 30.0)
    done = 2 * 8 * KEY.recipe.steps * step_cost(INFO, Target("2.1", "block"))
    assert speed_before(store, SPEC, INFO, "cpu") == pytest.approx(done / 40)
    request = Request.of(INFO, KEY, ["2.1"], ["block"], 8)
    missing = missing_fzs(INFO, store.set(INFO, KEY), request)
    # 8 channels took 20 s on average, and 8 are missing.
    assert seconds_for(store, SPEC, INFO, request, missing, "cpu") == pytest.approx(20)


def test_other_devices_models_and_commands_say_nothing(tmp_path: Path, clock: list[float]) -> None:
    store = open_store(tmp_path, INFO)
    job_of(store, clock, 10.0, device="cuda:1")
    create_job(store, JobSpec.of_command(SPEC, ["curves"], "all blocks", "cpu"))
    assert speed_before(store, SPEC, INFO, "cpu") is None
    assert speed_before(store, ModelSpec("resnet34"), INFO, "cuda:1") is None
    assert speed_before(store, SPEC, INFO, "cuda:1") is not None


def test_where_nothing_was_computed_a_servers_core_is_supposed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path, INFO)
    monkeypatch.setattr("streamscope.core.jobs.estimate.os.sched_getaffinity", lambda pid: {0, 1, 2, 3})
    request = Request.of(INFO, KEY, ["2.1"], ["block"], 8)
    missing = missing_fzs(INFO, store.set(INFO, KEY), request)
    cost = 8 * KEY.recipe.steps * step_cost(INFO, Target("2.1", "block"))
    expected = cost / (4 * estimate.PER_CORE["resnet18"])
    assert seconds_for(store, SPEC, INFO, request, missing, "cpu") == pytest.approx(expected)
    assert seconds_for(store, ModelSpec("resnet34"), INFO, request, missing, "cpu") is None
    assert seconds_for(store, SPEC, INFO, request, missing, "cuda:0") is None
