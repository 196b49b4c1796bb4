"""What looking at a store costs grows with what is left to do; the made-up store that this is measured on is whole."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from streamscope.core.bench.store import made_up_info, measure_store
from streamscope.core.jobs.plan import Plan, Request
from streamscope.core.model.blocks import Target, Tensor
from streamscope.core.model.fz import NO_FLAG, FZBatch
from streamscope.core.model.recipe import SetKey
from streamscope.core.store import FZSet, Store, verify
from streamscope.core.store.usage import usage

INFO = made_up_info("resnet18")
KEY = SetKey(INFO.default_recipe)


class _Counted(FZSet):
    """A set that counts how often it is asked what it holds."""

    asked = 0

    def stored(self, target: Target, retry: int = 0) -> frozenset[int]:
        self.asked += 1
        return super().stored(target, retry)


def _commit(fzset: FZSet, tensor: Tensor, channels: Sequence[int]) -> None:
    count = len(channels)
    images = np.zeros((count, 8, 8, 3), dtype=np.uint8)
    target = Target("4.0", tensor)
    batch = FZBatch(target, tuple(channels), images, np.ones(count), np.ones((count, 32)), (NO_FLAG,) * count)
    fzset.commit_fzs(batch, {"device": "cpu"})
    plain = np.ones((count, 3, 512), dtype=np.float32)
    fzset.commit_measures("4.0", tensor, channels, plain, None if tensor == "out" else plain)


def test_a_look_at_a_plan_costs_what_is_left_not_what_is_done(tmp_path: Path) -> None:
    store = Store.open(tmp_path, create=True)
    fzset = _Counted(INFO, KEY, store.set(INFO, KEY, create=True).path)
    plan = Plan(INFO, fzset, Request.of(INFO, KEY, ["4.0", "4.1"], ["block"], 16))
    assert sum(1 for _ in plan.tasks()) == 64
    for first in range(0, 496, 16):
        task = next(plan.tasks())
        assert task.channels == tuple(range(first, first + 16))
        assert plan.is_missing(task)
        _commit(fzset, "block", task.channels)
        assert not plan.is_missing(task)
    fzset.asked = 0
    assert next(plan.tasks()).channels == tuple(range(496, 512))
    assert fzset.asked == 1


def test_what_was_damaged_after_it_was_done_is_planned_again_at_the_end(tmp_path: Path) -> None:
    store = Store.open(tmp_path, create=True)
    fzset = store.set(INFO, KEY, create=True)
    plan = Plan(INFO, fzset, Request.of(INFO, KEY, ["4.0"], ["block"], 16, {"4.0": range(32)}))
    first, second = plan.tasks()
    _commit(fzset, "block", first.channels)
    assert list(plan.tasks()) == [second]
    (batch,) = (fzset.path / "measures/4.0/on_block").iterdir()
    batch.rename(tmp_path / "gone")
    _commit(fzset, "block", second.channels)
    assert [(task.kind, task.channels) for task in plan.tasks()] == [("measure", first.channels)]


def test_failed_tasks_are_not_planned_while_they_are_left_out(tmp_path: Path) -> None:
    fzset = Store.open(tmp_path, create=True).set(INFO, KEY, create=True)
    plan = Plan(INFO, fzset, Request.of(INFO, KEY, ["4.0"], ["block"], 16, {"4.0": range(32)}))
    first, second = plan.tasks()
    assert list(plan.tasks(without={first})) == [second]
    assert list(plan.tasks(without={first, second})) == []
    assert list(plan.tasks()) == [first, second]


def test_a_made_up_store_is_whole_and_its_measurement_counts_what_is_there(tmp_path: Path) -> None:
    found = measure_store(tmp_path / "cache", 3000)
    store = Store.open(tmp_path / "cache")
    used = usage(store)
    assert list(verify(store)) == []
    assert 3000 <= sum(part.fzs for part in used) == found["cache_info"]["fzs"] < 3100
    assert found["open"]["sets"] == len(used)
    assert (found["plan_largest"]["model"], found["app_reads"]["rows"]) == ("resnet18", 1920)
    assert all(found[name]["seconds"] > 0 < found[name]["peak_mb"] for name in ("open", "plan", "cache_info"))
