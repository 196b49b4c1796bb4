"""The arithmetic of convolutions on CUDA: TF32 while FZs are optimised, float32 wherever something is measured.

TF32 rounds what is multiplied to 10 bits of mantissa and sums in float32, which is what NVIDIA's tensor cores do from
compute capability 8.0 (A100) on, and what torch does by default, Lucent with it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

OVERRIDE = "NVIDIA_TF32_OVERRIDE"
"""NVIDIA's own environment variable: 0 keeps every library of theirs from using TF32."""
CAPABLE = (8, 0)


def step_dtype(device: torch.device) -> str:
    """`tf32` or `float32`: what an optimisation's convolutions multiply in on this device."""
    if device.type != "cuda" or os.environ.get(OVERRIDE) == "0":
        return "float32"
    return "tf32" if torch.cuda.get_device_capability(device) >= CAPABLE else "float32"


def measure_in_float32() -> None:
    """Sets what holds everywhere but within `optimising`: float32, gradients summed in a fixed order."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.deterministic = True


@contextmanager
def optimising(device: torch.device) -> Iterator[None]:
    """Convolutions on `device` may use TF32 within, backward passes too.

    The switch is the process's: it is on while any thread is within, so nothing may be measured on CUDA meanwhile.
    Whoever computes there has the device alone.
    """
    if step_dtype(device) != "tf32":
        yield
        return
    _count(1)
    try:
        yield
    finally:
        _count(-1)


def _count(by: int) -> None:
    """Threads within `optimising`. What each found when it came would not do: they leave in any order."""
    global _within
    with _switch:
        _within += by
        torch.backends.cudnn.allow_tf32 = _within > 0


_switch = threading.Lock()
_within = 0
