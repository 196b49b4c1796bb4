"""What is known of networks before torch is imported, against what torchvision says of its own."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
import torchvision
from torch import nn

from streamscope.core.errors import UsageError
from streamscope.core.model.networks import NETWORKS, build
from streamscope.core.model.networks.torchvision_table import BACKBONES, CLASSIFIERS
from streamscope.core.model.preprocessing import Preprocessing
from streamscope.core.model.spec import MODELS, RESNETS

WITHOUT_CLASSIFIER = {("vgg16", "IMAGENET1K_FEATURES")}


def test_names_are_known_without_torch() -> None:
    code = "import sys; from streamscope.core.model.networks import NETWORKS; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_network_has_the_name_of_another() -> None:
    assert not NETWORKS.keys() & set(MODELS)


def test_the_table_has_every_classifier_of_torchvisions() -> None:
    listed = torchvision.models.list_models(module=torchvision.models)
    assert set(CLASSIFIERS) == set(listed) - set(RESNETS)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_the_table_has_the_weights_that_torchvision_has(name: str) -> None:
    known = torchvision.models.get_model_weights(name)
    releases = CLASSIFIERS[name]
    assert set(releases) == {w.name for w in known if (name, w.name) not in WITHOUT_CLASSIFIER}
    assert [*releases][-1] == known.DEFAULT.name
    for release, found in releases.items():
        weights = known[release]
        shown = weights.transforms()
        assert weights.url.endswith(f"/{found.file}.pth")
        assert found.preprocessing == Preprocessing(
            shown.crop_size[0], shown.resize_size[0], shown.interpolation.value, tuple(shown.mean), tuple(shown.std)
        )
    assert NETWORKS[name].preprocessing == releases[known.DEFAULT.name].preprocessing


@pytest.mark.parametrize("name", BACKBONES)
def test_the_table_has_the_weights_around_backbones(name: str) -> None:
    known = torchvision.models.get_model_weights(name)
    assert [*BACKBONES[name]] == [weights.name for weights in known]
    for release, found in BACKBONES[name].items():
        assert known[release].url.endswith(f"/{found.file}.pth")
        assert found.preprocessing == Preprocessing()


def test_weights_that_are_left_out_have_no_classifier() -> None:
    for name, release in WITHOUT_CLASSIFIER:
        assert torchvision.models.get_model_weights(name)[release].meta["categories"] is None


@pytest.mark.parametrize(
    "name", ["squeezenet1_1", "mobilenet_v3_small", "shufflenet_v2_x0_5", "googlenet", "mnasnet0_5", "regnet_y_400mf"]
)
def test_a_classifier_is_torchvisions_in_eval_mode(name: str) -> None:
    built = build(NETWORKS[name])
    assert type(built) is type(torchvision.models.get_model(name, weights=None, **_quietly(name)))
    assert not any(module.training for module in built.modules())
    assert built(torch.rand(1, 3, 64, 64)).shape == (1, 1000)


def _quietly(name: str) -> dict[str, bool]:
    return {"init_weights": False} if name == "googlenet" else {}


def test_what_was_trained_on_other_colours_undoes_those_that_it_is_shown() -> None:
    for name in ("googlenet", "inception_v3"):
        with torch.device("meta"):
            entry = NETWORKS[name]
            built = build(replace(entry))
        assert built.transform_input
        assert not any("aux" in child.lower() for child, module in built.named_children() if module is not None)


def test_position_embeddings_are_made_for_the_input() -> None:
    with torch.device("meta"):
        for side in (224, 384):
            built = build(NETWORKS["vit_b_16"], side)
            assert built.get_submodule("encoder").get_parameter("pos_embedding").shape[1] == (side // 16) ** 2 + 1


@pytest.mark.parametrize(("name", "side", "step"), [("vit_b_16", 100, 16), ("clip_rn50", 230, 32)])
def test_a_side_that_a_network_cannot_be_built_for_is_refused(name: str, side: int, step: int) -> None:
    with pytest.raises(UsageError, match=f"multiple of {step} px, not {side}"):
        build(NETWORKS[name], side)


def test_every_entry_builds_by_its_function() -> None:
    """Those that are cheap to build without numbers; the others are torchvision's by the same function."""
    for name, entry in NETWORKS.items():
        if entry.function == "classifier":
            continue
        with torch.device("meta"):
            assert isinstance(build(entry), nn.Module), name
