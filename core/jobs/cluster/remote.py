"""What runs in a cluster's worker: an order in, a reply out. Networks are kept from one order to the next."""

from __future__ import annotations

import hashlib
import io
import threading
import time
from functools import cache
from pathlib import Path

import numpy as np
import safetensors.torch
from distributed import get_worker
from numpy.typing import NDArray
from PIL import Image

import streamscope
from streamscope.core.engine.network import Network, rebuild_network
from streamscope.core.jobs.allocator import keep_freed_memory
from streamscope.core.jobs.cluster.parcel import NetworkParcel, Order, Reply, WorkerKind
from streamscope.core.jobs.plan import Task
from streamscope.core.jobs.pulse import BEAT_SECONDS
from streamscope.core.jobs.run import JobStoppedError
from streamscope.core.jobs.tasks import commit_task, compute_task, default_batch
from streamscope.core.model.sources.own import code_here
from streamscope.core.store import Store
from streamscope.core.store.layout import JobFolder, jobs_folder
from streamscope.core.watch import Watch

_networks: dict[tuple[str, str], Network] = {}
_loading = threading.Lock()


def answer(network: bytes, order: bytes) -> bytes:
    """Does a packed order with a packed network; the packed reply. Raises StreamscopeError for what went wrong."""
    given = Order.unpack(order)
    loaded = _load(network, given.device)
    if given.task is None:
        batch = default_batch(loaded.info, loaded.device)
        return WorkerKind(str(loaded.device), batch, _shares_disk(given), str(streamscope.__file__)).pack()
    return _do(loaded, given, given.task).pack()


def _load(parcel: bytes, device: str) -> Network:
    place = (hashlib.sha256(parcel).hexdigest(), device)
    with _loading:
        if place not in _networks:
            keep_freed_memory()
            unpacked = NetworkParcel.unpack(parcel)
            state = safetensors.torch.load(unpacked.state)
            # One at a time: a worker that goes from job to job must not fill its device with networks.
            _networks.clear()
            code = None if unpacked.code is None else code_here(unpacked.architecture, unpacked.path, unpacked.code)
            _networks[place] = rebuild_network(unpacked.architecture, state, unpacked.info, device, code)
        return _networks[place]


def _shares_disk(order: Order) -> bool:
    """Whether the store of the job that this is for is here under the same path."""
    return JobFolder(jobs_folder(Path(order.root)) / order.job).record.is_file()


def _do(network: Network, order: Order, task: Task) -> Reply:
    shared = _shares_disk(order)
    fzset = Store(Path(order.root)).set(network.info, order.key)
    images = None if order.pngs is None else _images(order.pngs, task)
    if task.kind == "measure" and images is None and not shared:
        return Reply(None, needs_images=True)
    with _turn(str(network.device)):
        computed = compute_task(network, fzset, task, images, _watch(order))
    if shared:
        commit_task(fzset, task, computed.files)
        return Reply(computed.event, committed=True)
    return Reply(computed.event, computed.files)


@cache
def _turn(device: str) -> threading.Semaphore:
    """Held by whoever uses a GPU: a worker with several threads has it only once. A CPU is there for all of them."""
    return threading.Semaphore(1 if device.startswith("cuda") else 2**16)


def _images(pngs: dict[int, bytes], task: Task) -> NDArray[np.uint8]:
    found = []
    for channel in task.channels:
        with Image.open(io.BytesIO(pngs[channel])) as image:
            found.append(np.asarray(image.convert("RGB")))
    return np.stack(found)


def _watch(order: Order) -> Watch:
    """Tells the client how far a batch is, and leaves it once nobody wants it any more."""
    worker = get_worker()
    key = worker.get_current_task()
    told, reported = time.monotonic(), 0

    def watch(step: int, steps: int) -> None:
        nonlocal told, reported
        now = time.monotonic()
        if now - told < BEAT_SECONDS and step < steps:
            return
        told = now
        state = worker.state.tasks.get(key)
        if state is None or state.state not in ("executing", "long-running"):
            # Cancelled, or its client is gone: a thread cannot be ended from outside.
            raise JobStoppedError
        worker.log_event(order.topic, {"name": order.name, "step": step, "more": step - reported})
        reported = step

    return watch
