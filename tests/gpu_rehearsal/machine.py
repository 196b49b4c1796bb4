"""What the rehearsal runs on, as JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.gpu_rehearsal.packages import installed

SECONDS = 20
"""That nvidia-smi may take."""


def without_torch() -> dict[str, Any]:
    """What can be said although CUDA may not work."""
    names = [line.partition(":")[2].strip() for line in text_of("/proc/cpuinfo").splitlines() if "model name" in line]
    memory = [line.split()[1] for line in text_of("/proc/meminfo").splitlines() if line.startswith("MemTotal")]
    return {
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
        "processor": names[0] if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(int(memory[0]) / 1e6, 1) if memory else None,
        "disk_free_gb": round(shutil.disk_usage(".").free / 1e9, 1),
        "compilers": [name for name in ("cc", "gcc", "clang", "nvcc") if shutil.which(name)],
        "nvidia_smi": nvidia_smi(),
    }


def text_of(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def nvidia_smi() -> str:
    """All that it says, or why it says nothing."""
    try:
        done = subprocess.run(["nvidia-smi"], capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return done.stdout or done.stderr


def with_torch(name: str) -> dict[str, Any]:
    """The device by torch. Raises whatever CUDA does not do there."""
    import torch

    found: dict[str, Any] = {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "threads": torch.get_num_threads(),
        "triton": installed("triton"),
    }
    device = torch.device(name)
    if device.type == "cuda":
        about = torch.cuda.get_device_properties(device)
        found |= {
            "gpu": about.name,
            "capability": f"{about.major}.{about.minor}",
            "gpu_memory_gb": round(about.total_memory / 1e9, 1),
            "multiprocessors": about.multi_processor_count,
        }
    # It adds up there at all.
    found["one_and_one"] = float(torch.ones(2, device=device).sum())
    return found


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", required=True)
    device = parser.parse_args().device
    found = without_torch()
    try:
        found |= with_torch(device)
    except Exception as error:  # whatever a driver comes up with
        print(json.dumps(found))
        print(f"{device} does not work: {str(error).partition(chr(10))[0]}", file=sys.stderr)
        return 1
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
