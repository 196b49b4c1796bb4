"""FZs are optimised in TF32 where a CUDA device has it; everything measured is float32."""

from collections.abc import Iterator

import pytest
import torch

from core import optimiser
from core.blocks import Target
from core.model import load_network
from core.optimiser import Optimiser
from core.precision import OVERRIDE, measure_in_float32, optimising, step_dtype
from core.recipe import Recipe
from core.spec import ModelSpec

CUDA, CPU = torch.device("cuda"), torch.device("cpu")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    before = torch.backends.cudnn.allow_tf32
    measure_in_float32()
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize(
    ("device", "capability", "override", "wanted"),
    [
        (CUDA, (9, 0), None, "tf32"),
        (CUDA, (8, 0), "1", "tf32"),
        (CUDA, (7, 5), None, "float32"),
        (CUDA, (9, 0), "0", "float32"),
        (CPU, (9, 0), None, "float32"),
    ],
)
def test_steps_use_what_the_device_has_and_the_environment_allows(
    device: torch.device,
    capability: tuple[int, int],
    override: str | None,
    wanted: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.delenv(OVERRIDE, raising=False)
    if override is not None:
        monkeypatch.setenv(OVERRIDE, override)
    assert step_dtype(device) == wanted
    with optimising(device):
        assert torch.backends.cudnn.allow_tf32 == (wanted == "tf32")
    assert not torch.backends.cudnn.allow_tf32


def test_threads_that_leave_in_any_order_leave_float32_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.precision.step_dtype", lambda device: "tf32")
    first, second = optimising(CPU), optimising(CPU)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert torch.backends.cudnn.allow_tf32
    second.__exit__(None, None, None)
    assert not torch.backends.cudnn.allow_tf32


def test_only_the_passes_of_a_step_may_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    network = load_network(ModelSpec("demo"), "cpu")
    seen: list[tuple[str, bool]] = []
    monkeypatch.setattr("core.precision.step_dtype", lambda device: "tf32")

    class Seen(Optimiser):
        def activation(self, parameters, own):  # type: ignore[no-untyped-def]
            seen.append(("read", torch.backends.cudnn.allow_tf32))
            return super().activation(parameters, own)

        def result(self, *given):  # type: ignore[no-untyped-def]
            seen.append(("result", torch.backends.cudnn.allow_tf32))
            return super().result(*given)

    def image(spectrum, parameters):  # type: ignore[no-untyped-def]
        seen.append(("image", torch.backends.cudnn.allow_tf32))
        return whole(spectrum, parameters)

    whole = optimiser.Spectrum.image
    monkeypatch.setattr(optimiser.Spectrum, "image", image)
    monkeypatch.setattr(
        torch.Tensor,
        "backward",
        lambda tensor: (seen.append(("backward", torch.backends.cudnn.allow_tf32)), torch.autograd.backward(tensor)),
    )
    Seen(network, Target("1.1", "block"), (0, 1), Recipe(steps=2), 0, "exact", "neuron").run(None)
    assert set(seen) >= {("image", True), ("backward", True), ("read", False), ("image", False), ("result", False)}
    assert not {("backward", False), ("read", True), ("result", True)} & set(seen)
