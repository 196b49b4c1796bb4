"""What FZs are optimised in: on CUDA the network's maps and weights in bfloat16; whatever is measured is float32.

bfloat16 has float32's range and 8 bits of mantissa; tensor cores (compute capability 8.0, A100, and on) multiply it and
sum in float32. Parameters, their gradients, the inverse DFT, the transforms and Adam stay float32. docs/performance.md
has how much higher or lower the activations get, and the bytes that it saves.
"""

from __future__ import annotations

import os

import torch

from streamscope.core.errors import UsageError

OVERRIDE = "STREAMSCOPE_STEP_DTYPE"
"""Environment variable that chooses it for any device: `float32` or `bfloat16`."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
CAPABLE = (8, 0)


def step_dtype(device: torch.device) -> torch.dtype:
    """Of the network in the steps of an optimisation on this device. Raises UsageError for an unknown override."""
    chosen = os.environ.get(OVERRIDE)
    if chosen:
        if chosen not in DTYPES:
            raise UsageError(f"{OVERRIDE} is {chosen!r}; set it to {' or '.join(DTYPES)}, or not at all")
        return DTYPES[chosen]
    capable = device.type == "cuda" and torch.cuda.get_device_capability(device) >= CAPABLE
    return torch.bfloat16 if capable else torch.float32


def measure_in_float32() -> None:
    """Float32 is float32, where torch's default on CUDA is TF32, and gradients are summed in a fixed order."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
