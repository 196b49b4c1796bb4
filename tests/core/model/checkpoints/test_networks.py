"""Checkpoints of networks beside torchvision's ResNets: by the names that published files have, they load."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from streamscope.core.errors import MisfitError, WeightsError
from streamscope.core.model.checkpoints.choosing import Choice, choose
from streamscope.core.model.checkpoints.contents import Contents
from streamscope.core.model.checkpoints.key_sets import Expected
from streamscope.core.model.checkpoints.reading import class_names, imagenet_classes, read_weights
from streamscope.core.model.classifier import class_count, classifier_name, load_weights
from streamscope.core.model.networks import NETWORKS, build
from streamscope.core.model.networks.torchvision_table import CLASSIFIERS
from streamscope.core.model.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from streamscope.core.model.preprocessing_sources import of_weights
from streamscope.core.model.spec import ModelSpec

State = dict[str, Tensor]


def fresh(name: str, side: int | None = None) -> nn.Module:
    torch.manual_seed(1)
    network: nn.Module = build(NETWORKS[name], side)
    return network


def before(prefix: str, state: State) -> State:
    return {prefix + key: value for key, value in state.items()}


def chosen(name: str, tree: Any) -> Choice:
    with torch.device("meta"):
        expected = Expected.of(build(NETWORKS[name]))
    return choose(Contents(Path("weights.pth"), tree), name, expected)


def check_loads(name: str, tree: Any, expected: State) -> Choice:
    """That what is read from `tree` and loaded has the tensors of `expected`."""
    choice = chosen(name, tree)
    module = build(NETWORKS[name])
    load_weights(module, choice.state, strict=False)
    loaded = module.state_dict()
    assert loaded.keys() == expected.keys()
    for key, value in expected.items():
        if not key.endswith("num_batches_tracked"):
            assert torch.equal(loaded[key], value.float()), key
    return choice


def pytorch_cifars(state: State) -> State:
    """The names of akamaster's pytorch_resnet_cifar10 and kuangliu's pytorch-cifar."""
    return {k.replace("fc.", "linear.").replace("downsample.", "shortcut."): v for k, v in state.items()}


CIFAR: dict[str, tuple[str, Callable[[State], Any], str]] = {
    "akamaster": (
        "cifar_resnet20",
        lambda s: {"state_dict": before("module.", pytorch_cifars(s)), "best_prec1": 91.7},
        "unwrapped state_dict, dropped the prefix module., pytorch-cifar's names made torchvision's",
    ),
    "akamaster, option B": ("cifar_resnet20_b", pytorch_cifars, "pytorch-cifar's names made torchvision's"),
    "chenyaofo": ("cifar_resnet20_b", dict, ""),
    "of torchvision's names, option A": ("cifar_resnet20", dict, ""),
    "Lightning": ("cifar_resnet20", lambda s: {"state_dict": before("model.", s)}, "unwrapped state_dict, dropped the"),
}


@pytest.mark.parametrize("layout", CIFAR)
def test_cifar_resnets(layout: str) -> None:
    name, laid_out, line = CIFAR[layout]
    state = dict(fresh(name).state_dict())
    assert check_loads(name, laid_out(state), state).line.startswith(line)


def test_a_cifar_resnet_has_as_many_classes_as_its_checkpoint() -> None:
    state = dict(fresh("cifar_resnet32_b").state_dict())
    state |= {"fc.weight": torch.rand(100, 64), "fc.bias": torch.rand(100)}
    module = build(NETWORKS["cifar_resnet32_b"])
    for tree in (state, pytorch_cifars(state)):
        choice = chosen("cifar_resnet32_b", tree)
        assert choice.line.endswith("fc has 100 classes")
        load_weights(module, choice.state, strict=False)
        assert module(torch.rand(1, 3, 32, 32)).shape == (1, 100)
        assert class_count(module) == 100


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ("cifar_resnet20", "cifar_resnet20_b"),
        ("cifar_resnet20_b", "cifar_resnet56"),
        ("cifar_resnet20", "cornet_s"),
        ("squeezenet1_1", "clip_rn50"),
    ],
)
def test_weights_of_another_network_are_told(asked: str, given: str) -> None:
    tree = dict(fresh(given).state_dict())
    with pytest.raises(MisfitError, match=rf"does not fit {asked}.*; it fits {given}$"):
        chosen(asked, tree)


def test_cornet_s() -> None:
    state = dict(fresh("cornet_s").state_dict())
    tree = {"state_dict": before("module.", state), "epoch": 43, "optimizer": {"state": {}}}
    line = check_loads("cornet_s", tree, state).line
    assert line == "unwrapped state_dict, dropped the prefix module.; left aside an optimiser"


def test_cornet_s_without_its_decoder() -> None:
    state = {key: value for key, value in fresh("cornet_s").state_dict().items() if not key.startswith("decoder")}
    assert chosen("cornet_s", state).line == "no classifier"


def test_clips_image_encoder_is_taken_out_of_the_whole() -> None:
    """OpenAI's state dict: half precision, with the encoder of texts and numbers that say what was built."""
    state = {k: v.half() if v.is_floating_point() else v for k, v in fresh("clip_rn50").state_dict().items()}
    texts = {
        "positional_embedding": torch.rand(77, 512),
        "text_projection": torch.rand(512, 1024),
        "logit_scale": torch.tensor(4.6),
        "transformer.resblocks.0.ln_1.weight": torch.rand(512),
        "token_embedding.weight": torch.rand(100, 512),
        "ln_final.weight": torch.rand(512),
    }
    built = {"input_resolution": torch.tensor(224), "context_length": torch.tensor(77)}
    choice = check_loads("clip_rn50", {**texts, **before("visual.", state), **built}, state)
    assert choice.line.startswith("dropped the prefix visual., float16 weights read as float32; left aside ")
    for part in ("positional_embedding", "transformer", "token_embedding"):
        assert part in choice.line


def test_position_embeddings_of_another_size_are_said_to_be_that() -> None:
    state = dict(fresh("clip_rn50", 64).state_dict())
    with pytest.raises(WeightsError, match=r"its position embeddings are for another input size \(--input-size\)$"):
        chosen("clip_rn50", state)


@pytest.mark.parametrize(
    ("name", "prefix"),
    [("fcn_resnet50", "backbone."), ("maskrcnn_resnet50_fpn", "backbone.body."), ("fcn_resnet50", "")],
)
def test_backbones(name: str, prefix: str) -> None:
    state = dict(fresh(name).state_dict())
    # Frozen norms do not count batches.
    given = {k: v for k, v in state.items() if prefix != "backbone.body." or not k.endswith("num_batches_tracked")}
    rest = {
        "classifier.0.weight": torch.rand(4, 2, 3, 3),
        "backbone.fpn.inner_blocks.0.0.weight": torch.rand(3, 3, 1, 1),
    }
    line = check_loads(name, {**before(prefix, given), **(rest if prefix else {})}, state).line
    assert line.startswith(f"dropped the prefix {prefix}; left aside" if prefix else "")


FORMER = {
    "densenet121": lambda key: re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", key),
    "vit_b_32": lambda key: re.sub(r"mlp\.0\.", "mlp.linear_1.", re.sub(r"mlp\.3\.", "mlp.linear_2.", key)),
}
"""The names that torchvision's own files of these networks have."""


@pytest.mark.parametrize("name", FORMER)
def test_torchvisions_former_names(name: str) -> None:
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in build(NETWORKS[name]).state_dict().items()}
    # A number each, wherever it is read: these networks are large.
    former = {FORMER[name](key): torch.zeros(()).expand(shape) for key, shape in shapes.items()}
    assert former.keys() != shapes.keys()
    choice = chosen(name, former)
    assert choice.line == "torchvision's former names made torchvision's"
    assert choice.state.keys() == {key for key in shapes if not key.endswith("num_batches_tracked")}


def test_torchvisions_own_weights_are_read_by_the_same_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    """A former name that is dropped would leave a layer as it was drawn."""
    network = fresh("densenet121")
    state = dict(network.state_dict())
    stored = {FORMER["densenet121"](key): value for key, value in state.items()}
    monkeypatch.setattr(torchvision.models.DenseNet121_Weights, "get_state_dict", lambda *_, **__: stored)
    read = read_weights(ModelSpec("densenet121"), Expected.of(network), IMAGENET_MEAN, IMAGENET_STD)
    assert (read.line, read.class_names) == ("", imagenet_classes())
    assert read.state.keys() == {key for key in state if not key.endswith("num_batches_tracked")}
    assert all(torch.equal(value, state[key]) for key, value in read.state.items())


@pytest.mark.parametrize("name", ["mnasnet0_5", "googlenet", "squeezenet1_1", "mobilenet_v3_small"])
def test_torchvisions_classifiers(name: str) -> None:
    state = dict(fresh(name).state_dict())
    assert check_loads(name, before("module.", state), state).line == "dropped the prefix module."


def test_heads_for_training_are_left_aside() -> None:
    state = dict(fresh("googlenet").state_dict())
    choice = check_loads("googlenet", {**state, "aux1.conv.conv.weight": torch.rand(128, 512, 1, 1)}, state)
    assert choice.line == "left aside other tensors (aux1)"


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("convnext_tiny", "classifier.2"),
        ("densenet121", "classifier"),
        ("vit_b_16", "heads.head"),
        ("swin_t", "head"),
        ("vgg11", "classifier.6"),
        ("mobilenet_v3_small", "classifier.3"),
        ("shufflenet_v2_x0_5", "fc"),
        ("squeezenet1_1", ""),
        ("cornet_s", "decoder.linear"),
        ("cifar_resnet20", "fc"),
        ("clip_rn50", ""),
        ("fcn_resnet50", ""),
    ],
)
def test_the_classifier_is_known(name: str, layer: str) -> None:
    with torch.device("meta"):
        assert classifier_name(build(NETWORKS[name])) == layer


def test_a_classifier_of_another_width_is_taken() -> None:
    state = dict(fresh("mobilenet_v3_small").state_dict())
    state |= {"classifier.3.weight": torch.rand(7, 1024), "classifier.3.bias": torch.rand(7)}
    module = build(NETWORKS["mobilenet_v3_small"])
    choice = chosen("mobilenet_v3_small", state)
    load_weights(module, choice.state, strict=False)
    assert (choice.line, class_count(module)) == ("classifier.3 has 7 classes", 7)


def test_backbones_have_no_classes_whose_names_could_be_said() -> None:
    assert class_names("fcn_resnet50") is None
    assert class_names("convnext_tiny") == imagenet_classes() == class_names("resnet18")


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_weights_of_torchvisions_are_shown_what_they_were_made_for(name: str) -> None:
    enum = torchvision.models.get_model_weights(name).__name__
    for release, found in CLASSIFIERS[name].items():
        assert of_weights(name, Path(f"{found.file}.pth")) == found.preprocessing
        assert ModelSpec.given(name, release).preprocessing == found.preprocessing
        assert ModelSpec.given(name, f"{enum}.{release}").preprocessing == found.preprocessing
    assert ModelSpec(name).preprocessing == found.preprocessing
