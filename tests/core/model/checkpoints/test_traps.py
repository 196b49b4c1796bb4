"""Weights that fit although their network is another: the file says so, and so do we."""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from streamscope.core.model.checkpoints.choosing import choose
from streamscope.core.model.checkpoints.contents import read_contents
from streamscope.core.model.checkpoints.key_sets import Expected
from streamscope.core.model.checkpoints.traps import find_traps
from streamscope.core.model.demo.network import build

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
State = dict[str, Any]


@pytest.fixture(scope="module")
def state() -> State:
    return dict(build().state_dict())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "weights.pth"


def traps(file: Path, tree: Any, state: State, config: dict[str, Any] | None = None) -> list[str]:
    """What is found in a file with this content, and in the configuration beside it."""
    torch.save(tree, file)
    contents = replace(read_contents(file), config=config or {})
    shapes = {key: value.shape for key, value in state.items()}
    return find_traps(contents, choose(contents, "demo", Expected(shapes)).key_set, "resnet50", MEAN, STD)


def checkpoint(**more: Any) -> Callable[[State], State]:
    return lambda state: {"state_dict": state, **more}


NORMALISER = {"normalizer.new_mean": torch.zeros(3, 1, 1), "normalizer.new_std": torch.ones(3, 1, 1)}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            checkpoint(arch="resnetblur50"),
            "arch is resnetblur50: such a network blurs before it subsamples, and the blur has no weights; here it is "
            "run as torchvision's resnet50",
        ),
        (checkpoint(args=argparse.Namespace(model="resnetaa50")), "args.model is resnetaa50: such a network averages"),
        (checkpoint(hyper_parameters={"backbone_name": "resnet50_dilated"}), "replaces stride with dilation"),
        (checkpoint(args={"model": "deeplabv3_resnet50"}), "args.model is deeplabv3_resnet50"),
        (
            checkpoint(cfg={"model": {"backbone": {"arch": "resnet50_caffe"}}}),
            "has its stride in conv1 of a bottleneck",
        ),
        (checkpoint(args=argparse.Namespace(output_stride=8)), "args.output_stride is 8"),
        (checkpoint(args={"replace_stride_with_dilation": [False, True, True]}), "replaces stride with dilation"),
        (checkpoint(arch="resnet50.a1_in1k"), "arch is resnet50.a1_in1k, weights of timm's"),
        (
            lambda s: {**{f"backbone.{k}": v for k, v in s.items()}, "classifier.4.weight": torch.zeros(21, 8, 1, 1)},
            "classifier.4.weight is a convolution: this is the backbone of a segmentation network",
        ),
        (
            lambda s: {**{f"model.{k}": v for k, v in s.items()}, **NORMALISER},
            "normalizer.new_mean is 0, 0, 0; here the images' mean is taken to be 0.485, 0.456, 0.406",
        ),
    ],
)
def test_what_the_file_says_of_its_network_is_passed_on(
    make: Callable[[State], Any], message: str, state: State, file: Path
) -> None:
    assert any(message in line for line in traps(file, make(state), state))


class Node:
    """As omegaconf keeps a value."""

    def __init__(self, value: Any) -> None:
        self._val = value


class DictConfig:
    """As omegaconf keeps entries."""

    def __init__(self, **entries: Any) -> None:
        self._content = {name: Node(value) for name, value in entries.items()}


def test_entries_of_omegaconf_are_looked_through(state: State, file: Path) -> None:
    config = DictConfig(arch="resnetblur50", lr=0.1)
    (line,) = traps(file, {"state_dict": state, "cfg": config}, state)
    assert line.startswith("cfg.arch is resnetblur50: such a network blurs")


def test_a_configuration_of_another_network_is_passed_on(state: State, file: Path) -> None:
    (line,) = traps(file, state, state, {"hidden_act": "silu"})
    assert line == "hidden_act is silu; here the network is run with ReLUs"


def test_the_name_of_a_file_counts_where_nothing_else_can_tell(state: State, tmp_path: Path) -> None:
    (line,) = traps(tmp_path / "resnetblur50-84f4748f.pth", state, state)
    assert line.startswith("the file is called resnetblur50-84f4748f.pth: such a network blurs")


@pytest.mark.parametrize(
    "make",
    [
        lambda s: s,
        checkpoint(arch="resnet50", args=argparse.Namespace(model="resnet50", name="blur study"), epoch=3),
        checkpoint(arch="tv_resnet50", args={"model": "resnet50.tv_in1k", "output_stride": 32}),
        checkpoint(hyper_parameters={"downsample_in_bottleneck": False, "lr": 0.1}),
        lambda s: {**{f"backbone.{k}": v for k, v in s.items()}, "classifier.weight": torch.zeros(21, 48)},
    ],
)
def test_nothing_is_said_of_what_is_as_it_seems(make: Callable[[State], Any], state: State, tmp_path: Path) -> None:
    assert traps(tmp_path / "resnet50-0676ba61.pth", make(state), state) == []


def test_a_file_that_refers_to_itself_is_looked_through_once(state: State, file: Path) -> None:
    args: dict[str, Any] = {"arch": "resnet50"}
    args.update({f"again {n}": args for n in range(100)})
    assert traps(file, {"state_dict": state, "args": args}, state) == []
