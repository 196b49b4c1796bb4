"""Which weights a model is meant with: a file, a folder, an entry of a file, or the name of torchvision's."""

from pathlib import Path

import pytest
import torchvision

from streamscope.core.errors import UsageError, WeightsError
from streamscope.core.model.spec import RELEASES, RESNETS, ModelSpec


@pytest.mark.parametrize("name", RESNETS)
def test_the_names_of_torchvisions_weights_are_known_the_default_last(name: str) -> None:
    weights = torchvision.models.get_model_weights(name)
    assert set(RELEASES[name]) == {entry.name for entry in weights}
    assert weights.DEFAULT.name == RELEASES[name][-1]


@pytest.mark.parametrize("text", ["IMAGENET1K_V1", "ResNet50_Weights.IMAGENET1K_V1"])
def test_torchvisions_weights_are_meant_by_their_name(text: str) -> None:
    spec = ModelSpec.given("resnet50", text)
    assert spec == ModelSpec("resnet50", release="IMAGENET1K_V1")
    assert spec.text == "resnet50 IMAGENET1K_V1 weights"
    assert spec.is_downloaded


@pytest.mark.parametrize("text", ["DEFAULT", "IMAGENET1K_V2", "ResNet50_Weights.DEFAULT", None])
def test_the_default_is_the_same_model_by_its_name_as_without(text: str | None) -> None:
    assert ModelSpec.given("resnet50", text) == ModelSpec("resnet50")
    assert ModelSpec("resnet50").text == "resnet50 default weights"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "resnet18",
            "IMAGENET1K_V2",
            "resnet18 has no weights IMAGENET1K_V2; of torchvision's there are: IMAGENET1K_V1",
        ),
        ("resnet18", "ResNet50_Weights.IMAGENET1K_V1", "ResNet50_Weights.IMAGENET1K_V1 are not weights of resnet18"),
        ("demo", "IMAGENET1K_V1", "demo has no weights IMAGENET1K_V1; of torchvision's there are: none"),
        ("resnet18-untrained-0", "IMAGENET1K_V1", "has no weights IMAGENET1K_V1"),
    ],
)
def test_weights_that_torchvision_does_not_have_are_a_usage_error(name: str, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ModelSpec.given(name, text)


def test_a_file_of_such_a_name_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "IMAGENET1K_V1").write_bytes(b"x")
    assert ModelSpec.given("resnet18", "IMAGENET1K_V1") == ModelSpec("resnet18", Path("IMAGENET1K_V1"))


@pytest.mark.parametrize("text", ["https://host/r.pth", "s3://bucket/r.pth", "hf://owner/name"])
def test_an_address_is_no_file(text: str) -> None:
    with pytest.raises(WeightsError, match=f"{text} is an address, not a file: download it"):
        ModelSpec.given("resnet18", text)


def test_an_entry_is_of_a_file_and_part_of_what_a_model_is_known_by(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(b"x")
    plain, chosen = (ModelSpec.given("resnet18", str(tmp_path / "w.pth"), entry) for entry in ("", "teacher"))
    assert chosen == ModelSpec("resnet18", tmp_path / "w.pth", entry="teacher")
    assert chosen.text == f"{plain.text} teacher"
    with pytest.raises(UsageError, match="'teacher' is to be chosen in a file of weights, and none is named"):
        ModelSpec.given("resnet18", None, "teacher")


def test_a_folder_is_known_by_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"x")
    spec = ModelSpec("resnet18", tmp_path)
    before = spec.text
    (tmp_path / "readme.md").write_text("of no weight")
    assert spec.text == before
    (tmp_path / "config.json").write_text("{}")
    assert spec.text != before
