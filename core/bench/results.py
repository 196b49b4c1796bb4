"""A benchmark's results as one document: what they were measured on, and what changed between two of them."""

from __future__ import annotations

import json
import os
import platform
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from streamscope import __version__
from streamscope.core.engine.network import Network
from streamscope.core.errors import UsageError

PACKAGES = ("torch", "torchvision", "torch-lucent", "kornia", "numpy", "textual", "textual-image")
LABELS = ("block", "model", "workers")
"""What names an entry of a list: its number would change with what was measured beside it."""


def header(network: Network) -> dict[str, Any]:
    """The machine, its devices and the versions that figures depend on."""
    device = network.device
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "model": network.info.name,
        "fingerprint": network.info.fingerprint,
        "device": str(device),
        "gpu": gpu,
        "cpu": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "streamscope": __version__,
        **{name: version(name) for name in PACKAGES},
    }


def peak_bytes(device: torch.device) -> dict[str, int]:
    """Most memory that this process has had: of the machine, and of a CUDA device."""
    found = {"machine": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
    if device.type == "cuda":
        found["device"] = torch.cuda.max_memory_allocated(device)
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


@dataclass(frozen=True)
class Change:
    """One figure in both results; `ratio` is the second over the first."""

    name: str
    before: float
    after: float

    @property
    def ratio(self) -> float | None:
        return self.after / self.before if self.before else None


def read_results(path: Path) -> dict[str, Any]:
    """What `streamscope bench --out` wrote. Raises UsageError when it is something else."""
    try:
        data = json.loads(path.read_text())
    except OSError as error:
        raise UsageError(f"cannot read {path} ({error.strerror})") from error
    except ValueError as error:
        raise UsageError(f"{path} is no JSON; give a file of figures that the bench wrote") from error
    if not isinstance(data, dict) or "machine" not in data:
        raise UsageError(f"{path} holds no benchmark; give a file of figures that the bench wrote")
    return data


def compare(before: dict[str, Any], after: dict[str, Any]) -> list[Change]:
    """Every figure that both results have, in the order of the first; the machine's description aside."""
    figures = [dict(_figures({k: v for k, v in d.items() if k != "machine"})) for d in (before, after)]
    return [Change(name, value, figures[1][name]) for name, value in figures[0].items() if name in figures[1]]


def differing_machine(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What the two were not measured alike on, such as `torch: 2.9 and 2.10`."""
    first, second = before["machine"], after["machine"]
    names = list(dict.fromkeys([*first, *second]))
    return [f"{n}: {first.get(n)} and {second.get(n)}" for n in names if first.get(n) != second.get(n)]


def _figures(data: Any, name: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(data, bool):
        return
    if isinstance(data, int | float):
        yield name, float(data)
    elif isinstance(data, dict):
        for key, value in data.items():
            if key not in LABELS:
                yield from _figures(value, f"{name}.{key}" if name else str(key))
    elif isinstance(data, list):
        for number, value in enumerate(data):
            label = next((str(value[k]) for k in LABELS if k in value), None) if isinstance(value, dict) else None
            if label is not None or isinstance(value, dict):
                yield from _figures(value, f"{name}.{label or number}")
