"""How long FZs will take, by how long such FZs took before on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from itertools import islice

from streamscope.core.jobs.plan import Request, step_cost
from streamscope.core.model.blocks import ModelInfo, Target
from streamscope.core.model.spec import DEMO_MODEL, ModelSpec
from streamscope.core.store import Job, Store, device_queue, job_states, read_log
from streamscope.core.store.files.owner import this_process
from streamscope.core.store.jobs.events import BatchDone, JobStarted

LATEST = 5
"""Jobs that are looked at."""
LEAST_SECONDS = 2.0
"""Of work that says something about speed."""
PER_CORE: Mapping[str, float] = {"resnet18": 1.2e6, DEMO_MODEL: 4.0e6}
"""Cost a second (`step_cost` of image-steps) of one core of a server's CPU, where nothing was ever computed."""


def seconds_for(
    store: Store,
    spec: ModelSpec,
    info: ModelInfo,
    request: Request,
    missing: Mapping[Target, Iterable[int]],
    device: str,
) -> float | None:
    """Seconds that the missing FZs of a request will take on a device; None where nothing is known to judge by."""
    cost = sum(len(set(channels)) * step_cost(info, target) for target, channels in missing.items())
    speed = speed_before(store, spec, info, device)
    if speed is None and device_queue(device) == "cpu":
        speed = PER_CORE.get(spec.name, 0.0) * len(os.sched_getaffinity(0)) or None
    return cost * request.key.recipe.steps / speed if speed else None


def speed_before(store: Store, spec: ModelSpec, info: ModelInfo, device: str) -> float | None:
    """Cost a second of the latest jobs of a model on such a device of this machine that got anywhere; None for none."""
    here, queue = this_process().host, device_queue(device)
    states = [
        state
        for state in reversed(job_states(store))
        if not state.job.spec.command
        and state.job.spec.is_of(spec)
        and state.job.host == here
        and device_queue(state.job.spec.device) == queue
    ]
    spent, seconds = 0.0, 0.0
    for state in islice(states, LATEST):
        done, took = _work(state.job, info)
        spent, seconds = spent + done, seconds + took
    return spent / seconds if seconds >= LEAST_SECONDS and spent else None


def _work(job: Job, info: ModelInfo) -> tuple[float, float]:
    """The cost of the batches that a job has optimised, and the seconds from its start to the last of them."""
    steps, began, last, cost = 0, 0.0, 0.0, 0.0
    names = {block.name for block in info.blocks}
    for logged in read_log(job)[0]:
        match logged.event:
            case JobStarted(key=key):
                # A job that was taken up again: what passed between is no work.
                if not began:
                    steps, began = key.recipe.steps, logged.time
                else:
                    return cost, max(0.0, last - began)
            case BatchDone(kind="fz", block=block, tensor=tensor, count=count, mean_steps=mean) if block in names:
                target = info.source(block, tensor)
                cost += count * (mean or steps) * step_cost(info, target)
                last = logged.time
    return cost, max(0.0, last - began)
