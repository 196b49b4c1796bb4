from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike

from streamscope.core.errors import UsageError
from streamscope.core.jobs.plan import Request, Task, missing, missing_fzs, step_cost
from streamscope.core.model.blocks import TENSORS, Block, Field, ModelInfo, Target, Tensor
from streamscope.core.model.fz import NO_FLAG, FZBatch
from streamscope.core.model.recipe import Recipe, SetKey
from streamscope.core.model.spec import ModelSpec
from streamscope.core.store import FZSet, JobSpec, Store

KEY = SetKey(Recipe(steps=8))
CHANNELS = 6


@pytest.fixture
def info() -> ModelInfo:
    blocks = (
        Block("1.0", "simple", CHANNELS, None),
        Block("1.1", "simple", CHANNELS, "1.0"),
        Block("2.0", "downsample", CHANNELS, "1.1"),
    )
    fields = {f"{b.name}.{t}": Field(0, 8, 8) for b in blocks for t in ("in", "block", "out")}
    return ModelInfo("demo", "f" * 64, 8, (0, 0, 0), (1, 1, 1), blocks, ("1.1", "2.0"), Recipe(steps=8), fields)


@pytest.fixture
def fzset(tmp_path: Path, info: ModelInfo) -> FZSet:
    return Store.open(tmp_path / "cache", create=True).set(info, KEY, create=True)


def _fzs(fzset: FZSet, target: Target, channels: Sequence[int], retry: int = 0) -> None:
    n = len(channels)
    images = np.zeros((n, 8, 8, 3), dtype=np.uint8)
    batch = FZBatch(target, tuple(channels), images, np.ones(n), np.ones((n, 32)), (NO_FLAG,) * n)
    fzset.commit_fzs(batch, {"device": "cpu"}, retry)


def _measures(
    fzset: FZSet, block: str, tensor: Tensor, channels: Sequence[int], pre: ArrayLike, retry: int = 0
) -> None:
    """Measures whose `pre` of the own channel is `pre`."""
    plain = np.ones((len(channels), 3, CHANNELS), dtype=np.float32)
    plain[np.arange(len(channels)), 2, list(channels)] = pre
    fzset.commit_measures(block, tensor, channels, plain, None if tensor == "out" else plain, retry)


def _do(fzset: FZSet, request: Request, pre: float = 1.0) -> list[Task]:
    """Does what is missing until nothing is; returns the tasks in order."""
    info, done = fzset.info, []
    while task := next(missing(info, fzset, request), None):
        if task.kind == "fz":
            _fzs(fzset, info.source(task.block, task.tensor), task.channels, task.retry)
        else:
            _measures(fzset, task.block, task.tensor, task.channels, pre, task.retry)
        done.append(task)
        assert len(done) < 200
    return done


def _request(info: ModelInfo, **given: Any) -> Request:
    made: dict[str, Any] = {"blocks": (), "tensors": TENSORS, "batch": 4, "channels": None} | given
    return Request.of(info, KEY, made["blocks"], made["tensors"], made["batch"], made["channels"])


def test_fz_in_and_block_of_every_block_come_before_fz_out_and_a_shared_fz_is_made_once(
    info: ModelInfo, fzset: FZSet
) -> None:
    done = _do(fzset, _request(info))
    kinds = [(t.kind, t.block, t.tensor) for t in done if t.span == 0]
    assert kinds == [
        ("fz", "1.1", "in"),
        ("measure", "1.1", "in"),
        ("fz", "1.1", "block"),
        ("measure", "1.1", "block"),
        ("fz", "2.0", "in"),
        ("measure", "2.0", "in"),
        ("fz", "2.0", "block"),
        ("measure", "2.0", "block"),
        ("fz", "1.1", "out"),
        ("measure", "1.1", "out"),
        ("fz", "2.0", "out"),
        ("measure", "2.0", "out"),
    ]
    both = _request(info, blocks=("1.0", "1.1"))
    again = [t for t in _do(fzset, both) if t.kind == "fz"]
    # 1.0's out is 1.1's in, stored already.
    assert {(t.block, t.tensor) for t in again} == {("1.0", "in"), ("1.0", "block")}


def test_batches_are_cut_at_fixed_channel_ranges(info: ModelInfo, fzset: FZSet) -> None:
    spans = {(t.span, t.channels) for t in _do(fzset, _request(info, blocks=("2.0",), tensors=("block",)))}
    assert spans == {(0, (0, 1, 2, 3)), (1, (4, 5))}
    picked = _request(info, blocks=("1.1",), tensors=("block",), channels={"1.1": [5, 3, 1]})
    assert [t.channels for t in _do(fzset, picked) if t.kind == "fz"] == [(1, 3), (5,)]


def test_only_what_is_missing_is_planned(info: ModelInfo, fzset: FZSet) -> None:
    _fzs(fzset, Target("2.0", "block"), [0, 2])
    request = _request(info, blocks=("2.0",), tensors=("block",))
    assert missing_fzs(info, fzset, request) == {Target("2.0", "block"): {1, 3, 4, 5}}
    assert next(missing(info, fzset, request)) == Task("fz", "2.0", "block", (1, 3), 0)
    _do(fzset, request)
    assert not list(missing(info, fzset, request))


def test_undefined_rows_are_tried_again_twice_with_fzs_of_their_own(info: ModelInfo, fzset: FZSet) -> None:
    request = _request(info, blocks=("2.0",), channels={"2.0": [0, 1]})
    for tensor in ("in", "block"):
        _fzs(fzset, Target("2.0", tensor), [0, 1])
        _measures(fzset, "2.0", tensor, [0, 1], pre=[1.0, -1.0])
    done = _do(fzset, request, pre=-1.0)
    tries = [(t.kind, t.tensor, t.channels, t.retry) for t in done if t.retry]
    assert tries == [
        (kind, tensor, (1,), retry) for retry in (1, 2) for tensor in ("in", "block") for kind in ("fz", "measure")
    ]


def test_a_retry_that_defines_the_row_is_the_last(info: ModelInfo, fzset: FZSet) -> None:
    request = _request(info, blocks=("2.0",), channels={"2.0": [3]})
    for tensor in ("in", "block"):
        _fzs(fzset, Target("2.0", tensor), [3])
        _measures(fzset, "2.0", tensor, [3], pre=0.0)
    assert {t.retry for t in _do(fzset, request, pre=0.5)} == {0, 1}


def test_leases_differ_between_ranges_tensors_and_retries(info: ModelInfo) -> None:
    tasks = [
        Task("fz", "2.0", "block", (0,), 0),
        Task("fz", "2.0", "block", (4,), 1),
        Task("fz", "2.0", "in", (0,), 0),
        Task("fz", "2.0", "block", (0,), 0, 1),
        Task("measure", "2.0", "block", (0,), 0),
    ]
    assert len({t.lease(info, KEY) for t in tasks}) == len(tasks)
    # The same FZ under two names is one piece of work.
    assert Task("fz", "1.1", "in", (0,), 0).lease(info, KEY) == Task("fz", "1.0", "out", (0,), 0).lease(info, KEY)


def test_a_request_survives_being_a_stored_job(info: ModelInfo) -> None:
    request = _request(info, blocks=("2.0",), channels={"2.0": [1, 2]})
    spec = JobSpec.from_json(request.job_spec(ModelSpec("demo"), batch=request.batch).to_json())
    assert Request.of_job(info, spec, 99) == request


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"blocks": ("9.9",)}, "unknown block"),
        ({"tensors": ("middle",)}, "unknown tensor"),
        ({"batch": 0}, "batch"),
        ({"channels": {"2.0": [6]}}, "channel 6 is out of range"),
    ],
)
def test_a_request_for_what_is_not_there_is_a_usage_error(info: ModelInfo, given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        _request(info, **given)


def test_a_wider_receptive_field_costs_more(info: ModelInfo) -> None:
    fields = {"a": Field(90, 133, 43), "b": Field(0, 224, 435)}
    narrow, wide = (Field(f.start, f.stop, f.size) for f in fields.values())
    info.fields.update({"1.0.block": narrow, "2.0.block": wide})
    assert step_cost(info, Target("1.0", "block")) < step_cost(info, Target("2.0", "block"))
