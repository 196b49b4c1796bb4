"""Networks that add nothing to a stream, and blocks of which not every measure is defined."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from streamscope.core.engine.cone import Cone, fold_network
from streamscope.core.engine.network import describe
from streamscope.core.errors import UsageError
from streamscope.core.jobs.plan import Request, missing
from streamscope.core.model.blocks import TENSORS, Block, Field, ModelInfo, Target, pick_scaled_blocks
from streamscope.core.model.fz import NO_FLAG, FZBatch
from streamscope.core.model.preprocessing import Preprocessing
from streamscope.core.model.recipe import Recipe, SetKey
from streamscope.core.store import Store
from streamscope.core.table.frame import build_frame, summarise

SIDE = 32
KEY = SetKey(Recipe(steps=8))


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.relu = nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True)
        self.pool, self.second = nn.MaxPool2d(2), nn.Conv2d(4, 6, 3, stride=2)
        self.head = nn.Linear(6, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.head(self.second(self.pool(self.relu(self.first(x)))).mean((2, 3)))
        return scores


@pytest.fixture(scope="module")
def module() -> nn.Module:
    torch.manual_seed(0)
    return Plain().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def info(module: nn.Module) -> ModelInfo:
    return describe("plain", module, fold_network(module, side=SIDE), Preprocessing(SIDE, SIDE))


def test_without_an_addition_the_blocks_are_the_layers_whose_output_is_a_map(info: ModelInfo) -> None:
    assert [(b.name, b.kind, b.channels) for b in info.blocks] == [
        ("first", "layer", 4),
        ("relu", "layer", 4),
        ("pool", "layer", 4),
        ("second", "layer", 6),
    ]
    assert info.default_blocks == ("relu", "pool", "second")  # the last before the map gets smaller
    assert ModelInfo.from_json(info.to_json()) == info


def test_all_tensors_of_a_layer_are_its_output_and_one_fz(info: ModelInfo) -> None:
    assert {info.target("second", tensor, "centred") for tensor in TENSORS} == {Target("second", "out")}
    # Two 3 px windows, the second at a quarter of the image's places, with a pool of 2 px between.
    assert info.field_of(Target("second", "block")).size == 3 + 1 + 2 * 2
    assert info.blocks[-1].not_applicable == "measures of the stream are not applicable: no addition was found"


def test_a_layer_is_read_as_the_forward_pass_makes_it_and_an_activation_before_it(module: nn.Module) -> None:
    network = fold_network(module, side=SIDE)
    images = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    outputs: dict[str, torch.Tensor] = {}
    hooks = [
        part.register_forward_hook(lambda _, __, output, name=name: outputs.__setitem__(name, output.clone()))
        for name, part in module.named_children()
    ]
    module(images)
    for hook in hooks:
        hook.remove()
    outputs["relu"] = outputs["first"]  # where its gradient is
    for name in ("first", "relu", "pool", "second"):
        cone = Cone(network, name, "pre", [SIDE])
        start, stop = cone.origin(), cone.origin() + cone.patch.length
        side = outputs[name].shape[2]
        expected = outputs[name][:, :, side // 2, side // 2]
        assert torch.allclose(cone(images[:, :, start:stop, start:stop]), expected, atol=1e-5), name


def test_a_layer_is_planned_as_one_fz_and_no_measure_of_the_stream_is_made_of_it(
    info: ModelInfo, tmp_path: Path
) -> None:
    fzset = Store.open(tmp_path / "cache", create=True).set(info, KEY, create=True)
    request = Request.of(info, KEY, ["pool"], TENSORS, 4)
    (task,) = missing(info, fzset, request)
    assert (task.kind, task.tensor, task.channels) == ("fz", "out", (0, 1, 2, 3))
    images = np.zeros((4, SIDE, SIDE, 3), dtype=np.uint8)
    target = Target("pool", "out")
    fzset.commit_fzs(FZBatch(target, task.channels, images, np.ones(4), np.ones((4, 32)), (NO_FLAG,) * 4), {})
    (task,) = missing(info, fzset, request)
    assert (task.kind, task.tensor) == ("measure", "out")
    # Never positive: of a stream M would be undefined, and both FZs made again.
    fzset.commit_measures("pool", "out", task.channels, np.full((4, 3, 4), -1, dtype=np.float32), None, 0)
    assert not list(missing(info, fzset, request))
    frame = build_frame(info, fzset, ["pool"])
    assert set(frame["status"]) == {"not applicable: no addition found"}
    assert (frame["out_on_out"] == -1).all()
    for name in ("mix_ratio", "scale_metric", "meets_mix", "scale_invariant", "in_on_in"):
        assert np.isnan(frame[name]).all(), name
    summary = summarise(frame)["pool"]
    assert (summary.computed, summary.undefined, summary.has_stream) == (4, 0, False)


def test_scale_is_not_measured_where_the_block_sees_no_more_than_in(tmp_path: Path) -> None:
    blocks = Block("attn", "simple", 2, None, "", widens=False), Block("conv", "simple", 2, "attn", "")
    fields = {f"{b.name}.{t}": Field(0, 8, 8, 4.0) for b in blocks for t in TENSORS}
    info = ModelInfo("tiny", "f" * 64, 8, (0, 0, 0), (1, 1, 1), blocks, ("attn", "conv"), Recipe(steps=8), fields)
    fzset = Store.open(tmp_path / "cache", create=True).set(info, KEY, create=True)
    plain = np.ones((2, 3, 2), dtype=np.float32)
    for block in ("attn", "conv"):
        for tensor in ("in", "block"):
            fzset.commit_measures(block, tensor, [0, 1], plain, 2 * plain, 0)
    frame = build_frame(info, fzset, ["attn", "conv"])
    assert frame["mix_ratio"].tolist() == [1.0] * 4
    assert frame["status"].tolist() == ["ok"] * 4
    for name in ("meets_block", "meets_input", "scale_invariant", "block_gain", "input_gain", "scale_metric"):
        assert np.isnan(frame[name]).tolist() == [True, True, False, False], name
    why = "scale is not applicable: block sees no more of the image than in"
    assert frame["not_applicable"].tolist() == [why, why, "", ""]
    assert [block.name for block in pick_scaled_blocks(info, ())] == ["conv"]
    with pytest.raises(UsageError, match="attn: scale is not applicable"):
        pick_scaled_blocks(info, ["attn"])
    assert ModelInfo.from_json(info.to_json()) == info
    assert "widens" not in info.to_json()["blocks"][1]
    older = dataclasses.replace(info, blocks=(Block("1.0", "simple", 2, None),), default_blocks=("1.0",), fields={})
    assert list(older.to_json()["blocks"]) == [{"name": "1.0", "kind": "simple", "channels": 2, "previous": None}]
