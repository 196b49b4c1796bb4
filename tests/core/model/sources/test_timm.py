"""timm's networks by name: what is built, shown and loaded, up to where the network's edge is."""

from __future__ import annotations

import sys
from pathlib import Path

import huggingface_hub.constants
import pytest
import timm
import torch

from streamscope.core.errors import ArchitectureError, DownloadError, UsageError, WeightsError
from streamscope.core.model.checkpoints.key_sets import Expected
from streamscope.core.model.checkpoints.reading import read_weights
from streamscope.core.model.classifier import class_count, classifier_name, fit_classifier
from streamscope.core.model.preprocessing import Changes, Preprocessing
from streamscope.core.model.sources.building import build_architecture, open_named, open_source
from streamscope.core.model.sources.of_timm import TimmNetwork
from streamscope.core.model.spec import ModelSpec

HALF = (0.5, 0.5, 0.5)


def test_it_is_shown_what_its_configuration_says() -> None:
    for name, shown in (
        ("timm:test_vit", Preprocessing(160, 168, "bicubic", HALF, HALF)),
        ("timm:resnet50.a1_in1k", Preprocessing(224, 235, "bicubic")),
        ("timm:resnet18.tv_in1k", Preprocessing(224, 256, "bilinear")),
    ):
        spec = ModelSpec(name)
        assert not spec.says_preprocessing
        assert open_source(spec).preprocessing == shown
        assert spec.text == f"{name} default weights"
    assert ModelSpec("timm:test_vit", changes=Changes(size=96)).text.endswith("default weights, --input-size 96")


def test_a_name_that_timm_lacks_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=rf"^timm {timm.__version__} has no 'resnt18'; the nearest are resnet18, "):
        open_source(ModelSpec("timm:resnt18"))
    with pytest.raises(UsageError, match=r"has no weights 'resnet18\.a9_in1k'; the nearest are resnet18\.a\d_in1k"):
        open_source(ModelSpec("timm:resnet18.a9_in1k"))


def test_without_timm_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(
        ArchitectureError, match=r"^timm:resnet18 is a network of timm's, .*; install streamscope\[timm\]$"
    ):
        open_source(ModelSpec("timm:resnet18"))


def test_a_network_that_is_built_for_one_size_is_built_for_the_one_that_was_said() -> None:
    module = build_architecture(ModelSpec("timm:test_vit", changes=Changes(size=96)))
    assert module(torch.zeros(1, 3, 96, 96)).shape == (1, 1000)
    again = open_named("timm:test_vit").build(96)
    again.load_state_dict(module.state_dict())


def test_weights_of_a_file_are_read_by_timms_own_names(tmp_path: Path) -> None:
    spec = ModelSpec("timm:test_vit", tmp_path / "mine.pth")
    module = build_architecture(spec)
    # The state dict of another width, as timm's training writes it.
    other = timm.create_model("test_vit", num_classes=7)
    torch.save(
        {"state_dict": {f"module.{key}": value for key, value in other.state_dict().items()}}, tmp_path / "mine.pth"
    )
    read = read_weights(spec, Expected.of(module), HALF, HALF)
    assert read.line == "unwrapped state_dict, dropped the prefix module.; head has 7 classes"
    fit_classifier(module, read.state)
    module.load_state_dict(read.state)
    assert (classifier_name(module), class_count(module)) == ("head", 7)
    images = torch.linspace(-1, 1, 3 * 160 * 160).reshape(1, 3, 160, 160)
    assert torch.equal(module(images), other.eval()(images))
    headless = {key: value for key, value in other.state_dict().items() if not key.startswith("head.")}
    torch.save(headless, tmp_path / "mine.pth")
    module = build_architecture(spec)
    read = read_weights(spec, Expected.of(module), HALF, HALF)
    assert read.line == "no classifier"
    fit_classifier(module, read.state)
    module.load_state_dict(read.state)
    assert class_count(module) is None


def test_numbers_that_the_architecture_itself_says_may_be_in_a_file_or_not(tmp_path: Path) -> None:
    spec = ModelSpec("timm:swin_tiny_patch4_window7_224", tmp_path / "mine.pth")
    module = timm.create_model("swin_tiny_patch4_window7_224", depths=(1, 1), embed_dim=24, num_heads=(1, 2))
    module.register_buffer("index", torch.arange(4))
    expected = Expected.of(module)
    assert "index" in expected.whole
    state = module.state_dict()
    for saved in (state, {key: value for key, value in state.items() if value.is_floating_point()}):
        torch.save(saved, tmp_path / "mine.pth")
        read = read_weights(spec, expected, HALF, HALF)
        assert read.line == ""
        assert read.state.keys() == expected.shapes.keys()


def test_its_own_weights_are_asked_for_and_where_they_cannot_be_had_it_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Where nobody listens, as behind a firewall, and with nothing in Hugging Face's cache.
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    network = TimmNetwork("timm:test_vit")
    with pytest.raises(DownloadError, match=r"^the weights of timm:test_vit could not be had \(") as raised:
        network.build_trained(160)
    assert raised.value.place == "https://huggingface.co/timm/test_vit.r160_in1k"
    assert "\n" not in str(raised.value)
    assert not huggingface_hub.constants.HF_HUB_OFFLINE


def test_weights_that_were_downloaded_before_are_taken_without_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = timm.create_model("test_vit")
    asked = []

    def load(model: torch.nn.Module, **more: object) -> None:
        asked.append(huggingface_hub.constants.HF_HUB_OFFLINE)
        model.load_state_dict(trained.state_dict())

    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("timm.models._builder.load_pretrained", load)
    module = TimmNetwork("timm:test_vit").build_trained(160)
    assert asked == [True]
    assert torch.equal(module.state_dict()["head.weight"], trained.state_dict()["head.weight"])


def test_a_network_that_timm_has_no_weights_of_needs_a_file() -> None:
    bare = next(name for name in timm.list_models() if not timm.models.get_pretrained_cfg(name).has_weights)
    with pytest.raises(WeightsError, match=rf"^timm has no weights of timm:{bare}; pass some with --weights FILE$"):
        TimmNetwork(f"timm:{bare}").build_trained(224)


def test_an_untrained_copy_is_drawn_by_its_seed() -> None:
    source = open_source(ModelSpec("timm:test_resnet-untrained-0"))
    torch.manual_seed(0)
    first = source.build(160).state_dict()
    torch.manual_seed(0)
    assert all(torch.equal(value, first[key]) for key, value in source.build(160).state_dict().items())
    assert source.class_names is not None
    assert source.class_names[0] == "tench"
