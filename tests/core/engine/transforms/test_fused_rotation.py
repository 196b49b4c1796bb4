"""CUDA's kernels without a GPU: run by Triton's interpreter against torch's own operations, and compiled for GPUs."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from itertools import product

import pytest
import torch

from streamscope.core.engine.transforms.placement import PatchFormat, Placement
from streamscope.core.engine.transforms.rotation import check_function, fused_function, turn_by_operations
from tests.support.interpreted_kernels import CASES

pytest.importorskip("triton", reason="torch brings Triton on Linux only")
KERNELS = "streamscope.core.engine.transforms.fused_rotation"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, float | bool]]:
    """What `interpreted_kernels` found, in a process of its own: Triton decides to interpret when it is imported."""
    command = [sys.executable, "-m", "tests.support.interpreted_kernels"]
    done = subprocess.run(
        command, env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True, check=True
    )
    result: dict[str, dict[str, float | bool]] = json.loads(done.stdout)
    return result


@pytest.mark.parametrize("case", CASES)
def test_the_kernels_do_what_torchs_operations_do(found: dict[str, dict[str, float | bool]], case: str) -> None:
    assert found[case]["patch"] < 1e-5
    assert found[case]["gradient"] < 1e-5
    assert found[case]["gradient_channels_last"] < 1e-5
    assert found[case]["channels_last"]
    assert found[case]["half"]
    assert found[case]["gradient_of_half"] < 1e-5


def test_kernels_that_work_are_used(found: dict[str, dict[str, float | bool]]) -> None:
    assert found["chosen"] == {"fused": True}


@pytest.mark.parametrize("capability", [80, 90])
def test_the_kernels_compile_for_gpus(
    capability: int, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path_factory.mktemp("triton")))
    kernels = importlib.import_module(KERNELS)
    for kernel, dtype in product((kernels._forward, kernels._backward), ("fp32", "bf16")):
        for shifted in (False, True):
            chosen = {"shifted": shifted, "pixels": kernels.BLOCK}
            kinds = {name: _kind(name, dtype) for name in kernel.arg_names if name not in chosen}
            source = ASTSource(kernel, kinds | dict.fromkeys(chosen, "constexpr"), constexprs=chosen)
            target = GPUTarget("cuda", capability, 32)
            made = triton.compile(source, target=target, options={"enable_fp_fusion": True})
            assert len(made.asm["cubin"]) > 1000


def _kind(name: str, dtype: str) -> str:
    """The network's dtype is that of the patch, which `_forward` writes, and of its gradient."""
    if name == "size":
        return "*i64"
    if name == "patch":
        return f"*{dtype}"
    return "i32" if name.endswith("side") or name[1:].isdecimal() else "*fp32"


def test_kernels_that_do_not_work_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(source: torch.Tensor, placement: Placement, patch: PatchFormat) -> torch.Tensor:
        return turn_by_operations(source, placement, patch) * 1.01

    check_function(turn_by_operations, CPU)
    with pytest.raises(RuntimeError, match="differs from torch's own operations"):
        check_function(wrong, CPU)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.warns(UserWarning, match=r"FZs take longer on cpu: .*\(Triton needs a C compiler and there is none\)"):
        assert fused_function.__wrapped__(CPU) is None
