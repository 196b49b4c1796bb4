"""The arithmetic of convolutions on CUDA: TF32 while FZs are optimised, float32 wherever something is measured.

TF32 rounds what is multiplied to 10 bits of mantissa and sums in float32, which is what NVIDIA's tensor cores do from
compute capability 8.0 (A100) on, and what torch does by default, Lucent with it.
"""

from __future__ import annotations

import os
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

    The switch is the process's, so nothing may be measured on CUDA by another thread meanwhile: whoever computes there
    has the device alone.
    """
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = step_dtype(device) == "tf32"
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
