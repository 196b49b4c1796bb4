"""Checkpoints in the layouts that people have: which load, what is said of them, and that the weights are the same."""

import argparse
import json
import pathlib
import re
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from streamscope.core.engine.network import load_network, rebuild_network
from streamscope.core.errors import MisfitError, WeightsError
from streamscope.core.model.checkpoints.choosing import Choice, choose
from streamscope.core.model.checkpoints.contents import Contents
from streamscope.core.model.checkpoints.key_sets import Expected
from streamscope.core.model.demo.network import build
from streamscope.core.model.spec import DEMO_MODEL, ModelSpec

State = dict[str, Any]
FILE = Path("weights.pth")


@pytest.fixture(scope="module")
def state() -> State:
    """Of the demo's architecture, whose files are small: it is a torchvision ResNet of other sizes."""
    torch.manual_seed(0)
    return dict(build().state_dict())


@pytest.fixture(scope="module")
def fingerprint(state: State, tmp_path_factory: pytest.TempPathFactory) -> Callable[[State], str]:
    """Of a plain file."""
    folder = tmp_path_factory.mktemp("plain")

    def of(plain: State) -> str:
        torch.save(plain, folder / "plain.pth")
        network = load_network(ModelSpec(DEMO_MODEL, folder / "plain.pth"), "cpu")
        return network.info.fingerprint

    return of


def before(prefix: str, state: State) -> State:
    return {prefix + key: value for key, value in state.items()}


def without_fc(state: State) -> State:
    return {key: value for key, value in state.items() if not key.startswith("fc.")}


def with_classes(state: State, count: int) -> State:
    features = state["fc.weight"].shape[1]
    return {**state, "fc.weight": torch.ones(count, features), "fc.bias": torch.zeros(count)}


def other(state: State) -> State:
    """The same keys with other weights."""
    return {key: value + 1 if value.is_floating_point() else value for key, value in state.items()}


def sequential(state: State) -> State:
    places = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}
    split = (key.partition(".") for key in state)
    return {f"{places[first]}.{rest}": state[f"{first}.{rest}"] for first, _, rest in split if first in places}


MOMENT = {"exp_avg": torch.zeros(3)}
NORMALISER = {"new_mean": torch.tensor([0.485, 0.456, 0.406]), "new_std": torch.tensor([0.229, 0.224, 0.225])}
LAYOUTS: dict[str, tuple[Callable[[State], Any], str]] = {
    "plain": (lambda s: s, ""),
    "ordered": (OrderedDict, ""),
    "parameters": (lambda s: {k: nn.Parameter(v) if v.is_floating_point() else v for k, v in s.items()}, ""),
    "without counts of batches": (
        lambda s: {k: v for k, v in s.items() if not k.endswith("num_batches_tracked")},
        "",
    ),
    "pytorch examples": (
        lambda s: {
            "epoch": 90,
            "arch": "resnet18",
            "state_dict": before("module.", s),
            "best_acc1": torch.tensor(69.7),
            "optimizer": {"state": {0: MOMENT}, "param_groups": [{"lr": 0.1}]},
        },
        "unwrapped state_dict, dropped the prefix module.; left aside an optimiser",
    ),
    "compiled": (lambda s: before("_orig_mod.", s), "dropped the prefix _orig_mod."),
    "torchvision's reference": (
        lambda s: {
            "model": s,
            "optimizer": {},
            "args": argparse.Namespace(model="resnet18"),
            "model_ema": {**before("module.", other(s)), "n_averaged": torch.tensor(3)},
        },
        "unwrapped model; left aside an average (model_ema)",
    ),
    "timm's": (
        lambda s: {"arch": "resnet18", "state_dict": s, "state_dict_ema": other(s), "version": 2},
        "unwrapped state_dict; left aside an average (state_dict_ema)",
    ),
    "madry's": (
        lambda s: {
            "model": {
                **before("module.normalizer.", NORMALISER),
                **before("module.model.", s),
                **before("module.attacker.model.", s),
                **before("module.attacker.normalize.", NORMALISER),
            }
        },
        "unwrapped model, dropped the prefix module.model.; left aside the buffers of a normaliser",
    ),
    "nested containers": (
        lambda s: {"checkpoint": {"net": before("module.encoder.", s)}},
        "unwrapped checkpoint.net, dropped the prefix module.encoder.",
    ),
    "two equal ones": (lambda s: {"state_dict": s, "best_state_dict": s}, "unwrapped state_dict"),
    "what else is in checkpoints": (
        lambda s: {
            "state_dict": s,
            "best": np.float64(70.1),
            "curve": np.arange(3),
            "rng": np.random.RandomState(0).get_state(),
            "generator": np.random.default_rng(0),
            "torch_rng": torch.get_rng_state(),
            "args": argparse.Namespace(lr=0.1, where=pathlib.PurePosixPath("/data"), inner=argparse.Namespace(a=1)),
            "history": defaultdict(list, {"loss": [1.0]}),
            "dtype": torch.float16,
        },
        "unwrapped state_dict",
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_weights_of_a_layout_are_those_of_a_plain_file(
    name: str, state: State, fingerprint: Callable[[State], str], tmp_path: Path
) -> None:
    make, line = LAYOUTS[name]
    torch.save(make(state), tmp_path / "weights.pth")
    network = load_network(ModelSpec(DEMO_MODEL, tmp_path / "weights.pth"), "cpu")
    assert (network.layout, network.warnings) == (line, ())
    assert network.info.fingerprint == fingerprint(state)
    assert network.class_names is None


@pytest.mark.parametrize("options", [{"_use_new_zipfile_serialization": False}, {"pickle_protocol": 2}])
def test_formats_of_torch_save_are_read_alike(
    options: dict[str, Any], state: State, fingerprint: Callable[[State], str], tmp_path: Path
) -> None:
    content = {"state_dict": state, "best": np.float64(70.1), "args": argparse.Namespace(lr=0.1)}
    torch.save(content, tmp_path / "weights.pth", **options)
    network = load_network(ModelSpec(DEMO_MODEL, tmp_path / "weights.pth"), "cpu")
    assert network.info.fingerprint == fingerprint(state)


def test_safetensors_are_told_by_what_is_in_them_not_by_their_name(
    state: State, fingerprint: Callable[[State], str], tmp_path: Path
) -> None:
    save_file(before("module.", state), tmp_path / "weights.bin")
    network = load_network(ModelSpec(DEMO_MODEL, tmp_path / "weights.bin"), "cpu")
    assert network.layout == "dropped the prefix module."
    assert network.info.fingerprint == fingerprint(state)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_are_read_as_float32(
    dtype: torch.dtype, state: State, fingerprint: Callable[[State], str], tmp_path: Path
) -> None:
    cast = {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}
    torch.save(cast, tmp_path / "weights.pth")
    network = load_network(ModelSpec(DEMO_MODEL, tmp_path / "weights.pth"), "cpu")
    assert network.layout == f"{str(dtype).removeprefix('torch.')} weights read as float32"
    assert network.module.get_parameter("conv1.weight").dtype == torch.float32
    assert network.info.fingerprint == fingerprint({k: v.float() for k, v in cast.items()})


def test_tensors_without_numbers_are_no_weights(state: State) -> None:
    empty = {**state, "conv1.weight": state["conv1.weight"].to("meta")}
    assert "keys 1 missing (conv1.weight)" in refused(empty, state)
    assert chosen({"sparse": {**state, "conv1.weight": state["conv1.weight"].to_sparse()}, "model": state}, state)


def test_a_whole_model_in_an_entry_is_named(tmp_path: Path) -> None:
    torch.save({"model": nn.Conv2d(3, 2, 1), "optimizer": {"moment": torch.zeros(3)}}, tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match=r"is a whole pickled model, .* \(it is its entry 'model'\)"):
        load_network(ModelSpec(DEMO_MODEL, tmp_path / "weights.pth"), "cpu")


def test_weights_of_whole_numbers_are_refused(state: State, tmp_path: Path) -> None:
    torch.save({**state, "conv1.weight": state["conv1.weight"].to(torch.int8)}, tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match=r"has weights of int8, which must be unquantised \(conv1.weight\)"):
        load_network(ModelSpec(DEMO_MODEL, tmp_path / "weights.pth"), "cpu")


def chosen(tree: Any, state: State, entry: str = "") -> Choice:
    return choose(Contents(FILE, tree), "demo", Expected({key: value.shape for key, value in state.items()}), entry)


def refused(tree: Any, state: State, entry: str = "") -> str:
    with pytest.raises(WeightsError) as raised:
        chosen(tree, state, entry)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def moco(state: State) -> State:
    head = {"fc.0.weight": torch.zeros(4, 48), "fc.2.weight": torch.zeros(4, 4)}
    return {
        "state_dict": {
            **before("module.encoder_q.", {**without_fc(state), **head}),
            **before("module.encoder_k.", {**without_fc(other(state)), **head}),
            "module.queue": torch.zeros(4, 8),
            "module.queue_ptr": torch.zeros(1, dtype=torch.long),
        },
        "optimizer": {"state": {0: MOMENT}},
    }


@pytest.mark.parametrize(
    ("make", "classes", "line"),
    [
        (lambda s: with_classes(s, 365), 365, "fc has 365 classes"),
        (without_fc, None, "no classifier"),
        (
            moco,
            None,
            "unwrapped state_dict, dropped the prefix module.encoder_q.; no classifier; left aside the momentum "
            "encoder (encoder_k), a projection head (fc), a queue, an optimiser",
        ),
        (
            lambda s: {**before("encoder.", s), "queue": torch.zeros(4, 8)},
            None,
            "dropped the prefix encoder.; no classifier; left aside a projection head (fc), a queue",
        ),
        (
            lambda s: {**before("backbone.", without_fc(s)), "projection_head.layers.0.weight": torch.zeros(4, 4)},
            None,
            "dropped the prefix backbone.; no classifier; left aside a projection head (projection_head)",
        ),
        (
            lambda s: {**without_fc(s), "linear.weight": torch.zeros(10, 48)},
            None,
            "no classifier; left aside other tensors (linear)",
        ),
        (
            lambda s: before("encoder.", sequential(s)),
            None,
            "dropped the prefix encoder., nn.Sequential's names made torchvision's; no classifier",
        ),
        (lambda s: {k: v for k, v in s.items() if k != "fc.bias"}, 10, ""),
    ],
)
def test_a_classifier_may_have_any_width_or_be_missing(
    make: Callable[[State], Any], classes: int | None, line: str, state: State
) -> None:
    choice = chosen(make(state), state)
    assert (choice.classes, choice.line) == (classes, line)
    assert all(torch.equal(choice.state[k], v) for k, v in state.items() if k in choice.state and k[:3] != "fc.")


def test_a_network_is_loaded_and_rebuilt_with_the_classifier_that_its_weights_have(
    state: State, tmp_path: Path
) -> None:
    variants = with_classes(state, 3), without_fc(state), {k: v for k, v in state.items() if k != "fc.bias"}
    for variant, classes in zip(variants, (3, None, 10), strict=True):
        torch.save(variant, tmp_path / "weights.pth")
        network = load_network(ModelSpec(DEMO_MODEL, tmp_path / "weights.pth"), "cpu")
        assert network.classes == classes
        again = rebuild_network(DEMO_MODEL, network.module.state_dict(), network.info, "cpu")
        assert again.classes == classes
        assert again.module.state_dict().keys() == network.module.state_dict().keys()


def test_of_two_that_fit_and_differ_one_is_to_be_chosen(state: State) -> None:
    tree = {
        "student": before("module.backbone.", state),
        "teacher": {**before("backbone.", other(state)), "head.mlp.0.weight": torch.zeros(2, 2)},
    }
    assert refused(tree, state) == ("weights.pth has 2 sets of weights that fit demo and differ: student, teacher")
    for entry in ("teacher", "teacher.backbone", "teacher.backbone."):
        choice = chosen(tree, state, entry)
        assert choice.line.startswith(
            "unwrapped teacher, dropped the prefix backbone.; left aside other weights (student"
        )
        assert torch.equal(choice.state["conv1.weight"], other(state)["conv1.weight"])
    assert torch.equal(chosen(tree, state, "student").state["conv1.weight"], state["conv1.weight"])
    assert refused(tree, state, "techer") == (
        "weights.pth has no weights called 'techer' that fit; it has student, teacher"
    )


def test_two_classifiers_on_equal_backbones_are_two_networks(state: State) -> None:
    tree = {"best": state, "last": with_classes(state, 10)}
    assert "fit demo and differ in their classifier: best, last" in refused(tree, state)
    assert chosen({"best": without_fc(state), "last": state}, state).classes == 10


def test_an_average_or_a_momentum_encoder_is_taken_only_when_it_is_named(state: State) -> None:
    tree = {"model": state, "model_ema": before("module.", other(state))}
    assert torch.equal(chosen(tree, state).state["conv1.weight"], state["conv1.weight"])
    choice = chosen(tree, state, "model_ema")
    assert torch.equal(choice.state["conv1.weight"], other(state)["conv1.weight"])
    assert choice.line == "unwrapped model_ema, dropped the prefix module.; left aside other weights (model)"
    alone = refused({"model_ema": state}, state)
    assert alone == "weights.pth has no weights that fit demo but averages: model_ema"
    choice = chosen(moco(state), state, "encoder_k")
    assert torch.equal(choice.state["conv1.weight"], other(state)["conv1.weight"])


def test_what_lies_at_the_top_of_a_file_can_be_chosen_too(state: State) -> None:
    tree = {**state, "second": other(state)}
    assert "differ: ., second" in refused(tree, state)
    assert torch.equal(chosen(tree, state, ".").state["conv1.weight"], state["conv1.weight"])


def hugging_face(state: State) -> State:
    """torchvision's keys as transformers' ResNetForImageClassification has them."""
    found = {}
    for key, value in state.items():
        if key.startswith("fc."):
            found[key.replace("fc.", "classifier.1.")] = value
            continue
        new = re.sub(r"^conv1\.", "embedder.embedder.convolution.", key)
        new = re.sub(r"^bn1\.", "embedder.embedder.normalization.", new)
        stage = re.match(r"layer(\d)\.(\d+)\.", new)
        if stage:
            rest = new[stage.end() :].replace("downsample.0", "shortcut.convolution")
            rest = rest.replace("downsample.1", "shortcut.normalization")
            rest = re.sub(r"conv(\d)", lambda m: f"layer.{int(m[1]) - 1}.convolution", rest)
            rest = re.sub(r"bn(\d)", lambda m: f"layer.{int(m[1]) - 1}.normalization", rest)
            new = f"encoder.stages.{int(stage[1]) - 1}.layers.{stage[2]}.{rest}"
        found[f"resnet.{new}"] = value
    return found


CONFIG = {"architectures": ["ResNetForImageClassification"], "hidden_act": "relu", "downsample_in_first_stage": False}


def folder_of(path: Path, tensors: State, config: dict[str, Any], shards: int = 1) -> Path:
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config))
    keys = list(tensors)
    if shards == 1:
        save_file(tensors, path / "model.safetensors")
        return path
    files = {key: f"model-{number % shards}.safetensors" for number, key in enumerate(keys)}
    for file in set(files.values()):
        save_file({key: tensors[key] for key in keys if files[key] == file}, path / file)
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    return path


@pytest.mark.parametrize("shards", [1, 2])
def test_a_hugging_face_folder_is_the_network_of_a_plain_file(
    shards: int, state: State, fingerprint: Callable[[State], str], tmp_path: Path
) -> None:
    names = {str(index): f"class {index}" for index in range(10)}
    folder = folder_of(tmp_path / "resnet", hugging_face(state), {**CONFIG, "id2label": names}, shards)
    spec = ModelSpec(DEMO_MODEL, folder)
    network = load_network(spec, "cpu")
    assert network.layout == "dropped the prefix resnet., Hugging Face's names made torchvision's"
    assert (network.info.fingerprint, network.warnings) == (fingerprint(state), ())
    assert network.class_names == tuple(names.values())
    before = spec.text
    (folder / "config.json").write_text(json.dumps({**CONFIG, "downsample_in_bottleneck": True}))
    assert spec.text != before
    (warning,) = load_network(spec, "cpu").warnings
    assert "downsample_in_bottleneck says that the network has its stride in conv1 of a bottleneck" in warning


def test_a_folder_of_torch_save_is_read_and_one_without_weights_is_not(state: State, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "pytorch_model.bin")
    network = load_network(ModelSpec(DEMO_MODEL, tmp_path), "cpu")
    assert network.classes == 10
    (tmp_path / "pytorch_model.bin").unlink()
    with pytest.raises(WeightsError, match=r"is a directory, and none of weights: it has no model.safetensors"):
        load_network(ModelSpec(DEMO_MODEL, tmp_path), "cpu")


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({"weight_map": {"a": "../weights.pth"}}, "which is no file beside it"),
        ({"weight_map": {"a": "gone.safetensors"}}, "names gone.safetensors, which is not there"),
        ({"weight_map": {}}, "names no files of weights"),
        ({}, "names no files of weights"),
        ("[", "is not JSON"),
    ],
)
def test_an_index_of_shards_names_files_beside_it(index: Any, message: str, tmp_path: Path) -> None:
    text = index if isinstance(index, str) else json.dumps(index)
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(WeightsError, match=message):
        load_network(ModelSpec(DEMO_MODEL, tmp_path), "cpu")


@pytest.mark.parametrize(
    ("more", "names"),
    [
        ({"classes": [str(n) for n in range(10)]}, tuple(map(str, range(10)))),
        ({"class_to_idx": {f"c{n}": n for n in range(10)}}, tuple(f"c{n}" for n in range(10))),
        ({"classes": ["too", "few"]}, None),
        ({"class_to_idx": {"a": 7}}, None),
    ],
)
def test_names_of_classes_are_those_that_the_checkpoint_has(
    more: State, names: tuple[str, ...] | None, state: State, tmp_path: Path
) -> None:
    torch.save({"state_dict": state, **more}, tmp_path / "weights.pth")
    assert load_network(ModelSpec(DEMO_MODEL, tmp_path / "weights.pth"), "cpu").class_names == names


@pytest.fixture(scope="module")
def resnet18() -> State:
    return dict(torchvision.models.resnet18().state_dict())


def misfit(tree: Any, resnet18: State, name: str = "resnet18") -> str:
    if name != "resnet18":
        with torch.device("meta"):
            resnet18 = torchvision.models.get_model(name).state_dict()
    with pytest.raises(WeightsError) as raised:
        choose(Contents(FILE, tree), name, Expected({key: value.shape for key, value in resnet18.items()}))
    assert "\n" not in str(raised.value)
    assert isinstance(raised.value, MisfitError) == ("; it fits " in str(raised.value))
    return str(raised.value)


def test_timms_resnet18_is_torchvisions(resnet18: State) -> None:
    state = timm.create_model("resnet18").state_dict()
    choice = choose(Contents(FILE, state), "resnet18", Expected({key: value.shape for key, value in resnet18.items()}))
    assert choice.line == ""
    assert choice.state.keys() == {k for k in resnet18 if not k.endswith("num_batches_tracked")}


def test_weights_of_another_architecture_are_named_by_it(resnet18: State) -> None:
    assert misfit(before("module.", resnet18), resnet18, "resnet34").endswith("; it fits resnet18")
    assert misfit(resnet18, resnet18, "resnet50").endswith("; it fits resnet18")


def changed_stem(*shape: int) -> Callable[[State], State]:
    return lambda state: {**state, "conv1.weight": torch.zeros(shape)}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (changed_stem(64, 3, 3, 3), "its stem is a 3x3 convolution in place of a 7x7 one, as networks for CIFAR have"),
        (changed_stem(64, 1, 7, 7), "it takes images of 1 channel (grey images), not 3"),
        (changed_stem(64, 4, 7, 7), "it takes images of 4 channels, not 3"),
        (
            lambda s: {k.replace("downsample", "shortcut"): v for k, v in changed_stem(64, 3, 3, 3)(s).items()},
            "it looks like the CIFAR ResNets of pytorch-cifar",
        ),
        (
            lambda s: {k: v for k, v in changed_stem(16, 3, 3, 3)(s).items() if not k.startswith("layer4")},
            "it looks like a CIFAR ResNet (three stages, as ResNet-20 or ResNet-56)",
        ),
        (lambda s: {**s, "layer4.2.conv1.weight": torch.zeros(1)}, "the stages have 2, 2, 2, 3 basic blocks"),
        (lambda s: {**s, "layer1.0.se.fc1.weight": torch.zeros(1)}, "a network with squeeze-and-excitation"),
        (lambda s: {**s, "layer2.0.downsample.1.filt": torch.zeros(1)}, "an anti-aliased network"),
        (lambda s: {"V1.conv1.weight": torch.zeros(1), "IT.conv_input.weight": torch.zeros(1)}, "it looks like CORnet"),
        (lambda s: {"visual.attnpool.c_proj.weight": torch.zeros(1)}, "it looks like CLIP"),
        (lambda s: {"features.0.weight": torch.zeros(1)}, "(VGG, AlexNet"),
        (lambda s: {"blocks.0.attn.weight": torch.zeros(1), "cls_token": torch.zeros(1)}, "a vision transformer"),
        (
            lambda s: {"encoder.weight": torch.zeros(1)},
            "no key in it ends in layer1.0.conv1.weight (it has encoder.weight)",
        ),
        (lambda s: {"epoch": 3}, "holds no state dict (a dict of tensors)"),
    ],
)
def test_a_network_that_cannot_be_read_is_said_to_look_like_what_it_is(
    make: Callable[[State], Any], message: str, resnet18: State
) -> None:
    assert message in misfit(make(resnet18), resnet18)


@pytest.mark.parametrize("name", ["resnet50d", "resnetv2_50", "resnet26"])
def test_timms_other_networks_are_refused(name: str, resnet18: State) -> None:
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in timm.create_model(name).state_dict().items()}
    state = {key: torch.zeros(shape) for key, shape in shapes.items()}
    looks = {"resnet50d": "its stem is several", "resnetv2_50": "resnetv2", "resnet26": "2, 2, 2, 2 bottleneck blocks"}
    assert looks[name] in misfit(state, resnet18, "resnet50")
