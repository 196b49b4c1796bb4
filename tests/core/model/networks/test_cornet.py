"""CORnet-S against the published figures and against a forward pass written down from the state dict."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from streamscope.core.model.networks import NETWORKS, build
from streamscope.core.model.networks.cornet import CORnetArea

STEPS = {"V2": 2, "V4": 4, "IT": 2}


def area(state: dict[str, Tensor], name: str, x: Tensor, steps: int) -> Tensor:
    """One area's output, from the tensors of the state dict."""

    def norm(x: Tensor, part: str) -> Tensor:
        mean, var, weight, bias = (
            state[f"{name}.{part}.{which}"] for which in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean, var, weight, bias)

    x = F.conv2d(x, state[f"{name}.conv_input.weight"])
    for step in range(steps):
        stride = 2 if step == 0 else 1
        y = norm(F.conv2d(x, state[f"{name}.conv1.weight"]), f"norm1_{step}").relu()
        y = norm(F.conv2d(y, state[f"{name}.conv2.weight"], stride=stride, padding=1), f"norm2_{step}").relu()
        y = norm(F.conv2d(y, state[f"{name}.conv3.weight"]), f"norm3_{step}")
        if step == 0:
            x = norm(F.conv2d(x, state[f"{name}.skip.weight"], stride=2), "norm_skip")
        x = (x + y).relu()
    return x


def test_parameters_are_as_many_as_published() -> None:
    with torch.device("meta"):
        network = build(NETWORKS["cornet_s"])
    assert round(sum(value.numel() for value in network.parameters()) / 1e6, 1) == 53.4


def test_the_names_are_those_of_the_published_checkpoint() -> None:
    names = ["V1.conv1.weight", "V1.conv2.weight", "decoder.linear.weight", "decoder.linear.bias"]
    norms = ["V1.norm1", "V1.norm2"]
    for place, steps in STEPS.items():
        names += [f"{place}.{conv}.weight" for conv in ("conv_input", "skip", "conv1", "conv2", "conv3")]
        norms += [f"{place}.norm_skip"]
        norms += [f"{place}.norm{which}_{step}" for which in (1, 2, 3) for step in range(steps)]
    parts = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    names += [f"{norm}.{part}" for norm in norms for part in parts]
    with torch.device("meta"):
        assert build(NETWORKS["cornet_s"]).state_dict().keys() == set(names)


def test_an_area_is_that_of_the_definition() -> None:
    torch.manual_seed(0)
    part = CORnetArea(3, 5, steps=4).eval()
    for module in part.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    state = {f"V4.{key}": value for key, value in part.state_dict().items()}
    for side in (8, 11):
        x = torch.randn(2, 3, side, side)
        with torch.no_grad():
            torch.testing.assert_close(part(x), area(state, "V4", x, 4))


def test_areas_are_as_deep_and_wide_as_described() -> None:
    with torch.device("meta"):
        network = build(NETWORKS["cornet_s"])
        x = torch.zeros(1, 3, 224, 224)
        shapes = []
        for name in ("V1", "V2", "V4", "IT"):
            x = network.get_submodule(name)(x)
            shapes.append(tuple(x.shape[1:]))
    assert shapes == [(64, 56, 56), (128, 28, 28), (256, 14, 14), (512, 7, 7)]
    for name, steps in STEPS.items():
        part = network.get_submodule(name)
        assert isinstance(part, CORnetArea)
        assert part.steps == steps
