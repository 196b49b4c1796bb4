"""How throughput grows with worker processes on this machine, and how fast one process stores what others compute."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from streamscope.core.errors import StreamscopeError
from streamscope.core.jobs.plan import Task
from streamscope.core.jobs.tasks import commit_task
from streamscope.core.model.blocks import Target
from streamscope.core.model.fz import NO_FLAG, SAMPLES, FZBatch
from streamscope.core.model.recipe import Recipe, SetKey
from streamscope.core.model.spec import DEMO_MODEL
from streamscope.core.processes import WORKER, module_command
from streamscope.core.store import JobSpec, Store, create_job, job_state, read_log
from streamscope.core.store.jobs.events import BatchDone

STORED = 64
"""FZs in the batch whose storing is timed."""


def measure_workers(counts: Sequence[int] = (1, 2), steps: int = 112, device: str = "cpu") -> dict[str, Any]:
    """Image-steps a second of the demo model's whole set by 1, 2, … worker processes on one device of this machine.

    Counted from the first batch's beginning to the last one's end, without the start of Python and torch. Several
    processes divide the cores of a CPU; on CUDA give the names of as many devices as `counts` has at most, with commas.
    Raises StreamscopeError when a job fails.
    """
    names = device.split(",")
    found: dict[str, Any] = {"device": device, "cores": os.cpu_count(), "steps": steps, "workers": {}}
    first = None
    for count in counts:
        devices = [names[number % len(names)] for number in range(count)]
        with tempfile.TemporaryDirectory() as folder:
            rate = _rate(Path(folder), devices, steps)
        first = first or rate
        found["workers"][str(count)] = {"image_steps_a_second": round(rate), "times_one": round(rate / first, 2)}
    with tempfile.TemporaryDirectory() as folder:
        found["stored_fzs_a_second"] = round(_stored(Path(folder)))
    return found


def _rate(root: Path, devices: Sequence[str], steps: int) -> float:
    store = Store.open(root, create=True)
    spec = JobSpec(DEMO_MODEL, steps=steps)
    several = len(devices) > 1
    job = create_job(store, replace(spec, devices=tuple(devices)) if several else replace(spec, device=devices[0]))
    command = module_command(WORKER, "run", "--cache", str(root), "--job", job.id)
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise StreamscopeError(f"a job on {', '.join(devices)} failed: {job_state(store, job).message}")
    batches = [
        (line.time, line.event)
        for line in read_log(job)[0]
        if isinstance(line.event, BatchDone) and line.event.kind == "fz"
    ]
    began = min(time - event.seconds for time, event in batches)
    return steps * sum(event.count for _, event in batches) / (max(time for time, _ in batches) - began)


def _stored(root: Path) -> float:
    """FZs of 224 px a second that one process commits, of what came encoded: what a cluster's client can take."""
    from streamscope.core.bench.store import made_up_info

    store = Store.open(root, create=True)
    info = made_up_info("resnet18")
    fzset = store.set(info, SetKey(Recipe()), create=True)
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (STORED, 224, 224, 3), dtype=np.uint8)
    ones, traces = np.ones(STORED), np.ones((STORED, SAMPLES))
    took = []
    for block in ("3.0", "3.1", "4.0", "4.1"):
        channels = tuple(range(STORED))
        batch = FZBatch(Target(block, "block"), channels, images, ones, traces, (NO_FLAG,) * STORED)
        files = fzset.fz_files(batch, {"device": "made up"})
        began = time.perf_counter()
        commit_task(fzset, Task("fz", block, "block", channels, 0), files)
        took.append(time.perf_counter() - began)
    return STORED / float(np.median(took))
