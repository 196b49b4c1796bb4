"""Which devices a job works on: one, or several of one machine with a worker process each."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from streamscope.core.engine.network import pick_device
from streamscope.core.jobs.tasks import default_batch
from streamscope.core.model.blocks import ModelInfo
from streamscope.core.model.device_names import check_devices


def worker_devices(device: str = "auto", devices: Sequence[str] = ()) -> tuple[str, ...]:
    """One name a worker process: the `devices` given, else `device`, which when `auto` is every CUDA device there is.

    `devices` are CUDA indices (`0`) or names (`cuda:0`, `cpu`); a CPU may be named several times, which divides its
    cores. Raises UsageError for one that is not there.
    """
    names = check_devices(tuple(devices))
    for name in names or [device]:
        pick_device(name)
    if not names:
        count = torch.cuda.device_count() if device == "auto" and torch.cuda.is_available() else 0
        return tuple(f"cuda:{index}" for index in range(count)) if count > 1 else (device,)
    return names


def threads_each(devices: Sequence[str]) -> int:
    """CPU threads that each of several worker processes gets."""
    return max(1, torch.get_num_threads() // max(1, len(devices)))


def shared_batch(info: ModelInfo, devices: Sequence[str]) -> int:
    """Width of the channel ranges that fits each of the devices; no context is made on them for asking."""
    widths = []
    for name in devices:
        place = pick_device(name)
        memory = 0.9 * torch.cuda.get_device_properties(place).total_memory if place.type == "cuda" else None
        widths.append(default_batch(info, place, memory))
    return min(widths)
