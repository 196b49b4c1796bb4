"""Which preprocessing a model has: what its weights say, what beside them says, what was said on the command line."""

import json
from pathlib import Path
from typing import Any

import pytest

from streamscope.core.errors import UsageError, WeightsError
from streamscope.core.model.blocks import ModelInfo
from streamscope.core.model.demo.network import INPUT_SIZE, MEAN, STD
from streamscope.core.model.preprocessing import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    UNCHANGED,
    Changes,
    Preprocessing,
    parse_colours,
    usual,
)
from streamscope.core.model.preprocessing_sources import of_hugging_face, of_timm
from streamscope.core.model.spec import ModelSpec
from streamscope.core.store import JobSpec
from tests.support.stores import toy_info

HALF = (0.5, 0.5, 0.5)
CONVNEXT = {
    "crop_pct": 0.875,
    "do_normalize": True,
    "do_resize": True,
    "feature_extractor_type": "ConvNextFeatureExtractor",
    "image_mean": list(IMAGENET_MEAN),
    "image_std": list(IMAGENET_STD),
    "resample": 3,
    "size": 224,
}
"""As Hugging Face's ResNets have it."""
BIT = {
    "image_processor_type": "BitImageProcessor",
    "size": {"shortest_edge": 256},
    "crop_size": {"height": 224, "width": 224},
    "do_center_crop": True,
    "image_mean": list(HALF),
    "image_std": list(HALF),
    "resample": 2,
}


def test_a_file_of_weights_is_resized_as_most_are_trained_whatever_the_default_weights_want() -> None:
    assert ModelSpec("resnet50").preprocessing.resize == 232
    assert ModelSpec("resnet50-untrained-0").preprocessing.resize == 232
    assert ModelSpec("resnet50", Path("mine.pth")).preprocessing == Preprocessing(224, 256)
    assert ModelSpec("resnet50", Path("resnet50-11ad3fa6.pth")).preprocessing.resize == 232
    assert ModelSpec("resnet50", Path("resnet50-0676ba61.pth")).preprocessing.resize == 256


def test_the_demos_images_fit_as_they_are() -> None:
    for name in ("demo", "demo-untrained-3", "demo-0.2"):
        assert usual(name) == Preprocessing(INPUT_SIZE, INPUT_SIZE, "bilinear", MEAN, STD)


def test_another_input_size_alone_keeps_the_share_that_is_seen() -> None:
    def sides(name: str, size: int, resize: int | None = None) -> tuple[int, int]:
        found = ModelSpec(name, changes=Changes(size, resize)).preprocessing
        return found.resize, found.size

    assert sides("resnet18", size=288) == (329, 288)
    assert sides("resnet50", size=448) == (464, 448)
    assert sides("resnet18", size=224) == (256, 224)
    assert sides("resnet18", size=97, resize=97) == (97, 97)
    assert sides("demo", size=96) == (96, 96)


@pytest.mark.parametrize(
    ("said", "what"),
    [
        (Changes(size=16), "an input of 16 px is not from 32 to 16384 px"),
        (Changes(size=10**6), "an input of 1000000 px is not from 32"),
        (Changes(resize=200), "resized to 200 px, pictures are smaller than the 224 px that are cut out of them"),
        (Changes(size=300, resize=256), "resized to 256 px, pictures are smaller than the 300 px"),
        (Changes(resize=10**6), "cannot be resized to 1000000 px"),
        (Changes(std=(0.2, 0.0, 0.2)), "--std is of numbers above 0, not 0.2,0,0.2"),
        (Changes(mean=(0.5, float("nan"), 0.5)), "--mean is three numbers"),
        (Changes(mean=(-0.1, 0.5, 0.5)), "--mean -0.1,0.5,0.5 is not of values from 0 to 1$"),
        (
            Changes(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)),
            "from 0 to 255, write --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225$",
        ),
    ],
)
def test_what_makes_no_sense_is_one_line(said: Changes, what: str) -> None:
    with pytest.raises(UsageError, match=what) as raised:
        _ = ModelSpec("resnet18", changes=said).text
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["0.5,0.5", "0.5", "a,b,c", "", "1,2,3,4"])
def test_colours_that_are_not_three_numbers_are_one_line(text: str) -> None:
    with pytest.raises(UsageError, match=r"malformed --mean .*: three numbers .red, green, blue., such as 0.485,0.456"):
        parse_colours(text, "--mean")


def test_only_what_fzs_depend_on_makes_another_model() -> None:
    usually = ModelSpec("resnet18").text
    for same in (Changes(size=224), Changes(mean=IMAGENET_MEAN), Changes(resize=300), Changes(interpolation="bicubic")):
        assert ModelSpec("resnet18", changes=same).text == usually
    others = {
        ModelSpec("resnet18", changes=said).text
        for said in (Changes(size=225), Changes(mean=HALF), Changes(std=HALF), Changes(mean=HALF, std=HALF))
    }
    assert len(others | {usually}) == 5
    assert ModelSpec("resnet18", changes=Changes(size=97)).text.endswith(
        ", 97 px, mean 0.485,0.456,0.406, std 0.229,0.224,0.225"
    )


def test_a_description_says_only_what_is_not_as_it_was() -> None:
    info = toy_info()
    assert (info.shorter_side, info.interpolation) == (13, "bilinear")
    assert not {"resize", "interpolation"} & info.to_json().keys()
    assert info.showing(Preprocessing(12, 13)).to_json() == info.to_json()
    other = info.showing(Preprocessing(12, 12, "bicubic"))
    assert (other.to_json()["resize"], other.to_json()["interpolation"]) == (12, "bicubic")
    again = ModelInfo.from_json(json.loads(json.dumps(other.to_json())))
    assert (again.resize, again.interpolation) == (12, "bicubic")
    assert other == info
    assert other.identity == info.identity


def test_a_job_is_of_the_model_with_its_preprocessing() -> None:
    changes = Changes(size=160, mean=HALF, interpolation="bicubic")
    model = ModelSpec("resnet18", changes=changes)
    job = JobSpec.of_set(model, toy_info().new_key(), ["2.1"], ["in"], {})
    again = JobSpec.from_json(json.loads(json.dumps(job.to_json())))
    assert again == job
    assert again.model_spec == model
    assert again.is_of(model)
    assert not again.is_of(ModelSpec("resnet18"))
    assert "preprocessing" not in JobSpec("resnet18").to_json()
    assert JobSpec.from_json({"model": "resnet18"}).preprocessing == UNCHANGED


def folder_of(path: Path, **files: Any) -> Path:
    path.mkdir()
    (path / "model.safetensors").write_bytes(b"")
    for name, content in files.items():
        (path / f"{name}.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_hugging_face_folder_says_its_preprocessing(tmp_path: Path) -> None:
    timm = {"architecture": "resnet50", "pretrained_cfg": {"input_size": [3, 224, 224], "crop_pct": 0.95}}
    by_timm = folder_of(tmp_path / "timm", config=timm)
    for weights in (by_timm, by_timm / "model.safetensors"):
        assert ModelSpec("resnet50", weights).preprocessing == Preprocessing(224, 235, "bicubic")
    own = folder_of(tmp_path / "own", config={"model_type": "resnet"}, preprocessor_config=CONVNEXT)
    assert ModelSpec("resnet50", own).preprocessing == Preprocessing(224, 256, "bicubic")
    silent = folder_of(tmp_path / "silent", config={"model_type": "resnet"})
    assert ModelSpec("resnet50", silent).preprocessing == Preprocessing()
    # Anything may lie beside a file of another name.
    (by_timm / "mine.pth").write_bytes(b"")
    assert ModelSpec("resnet50", by_timm / "mine.pth").preprocessing == Preprocessing()


def test_hugging_faces_configurations_are_read() -> None:
    assert of_hugging_face(BIT) == Preprocessing(224, 256, "bilinear", HALF, HALF)
    unscaled = of_hugging_face({**BIT, "do_rescale": False, "image_mean": [127.5] * 3, "image_std": [127.5] * 3})
    assert unscaled == Preprocessing(224, 256, "bilinear", HALF, HALF)
    plain = of_hugging_face({**BIT, "do_normalize": False})
    assert (plain.mean, plain.std) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"size": {"height": 224, "width": 224}}, "squashes pictures"),
        ({"do_center_crop": False}, "without a crop"),
        ({"do_resize": False}, "not resized"),
        ({"crop_size": {"height": 224, "width": 192}}, "not square"),
        ({"resample": 9}, "no configuration"),
        ({"image_mean": [0.5, 0.5]}, "no configuration"),
        ({"size": "large"}, "no whole number"),
    ],
)
def test_what_an_image_processor_does_that_cannot_be_done_is_said(
    tmp_path: Path, change: dict[str, Any], what: str
) -> None:
    folder = folder_of(tmp_path / "model", preprocessor_config={**BIT, **change})
    with pytest.raises(
        UsageError, match=rf"preprocessor_config.json says .*{what}.*; to go without it, say all of --in"
    ):
        _ = ModelSpec("resnet50", folder).text
    said = Changes(224, 256, "bilinear", HALF, HALF)
    assert ModelSpec("resnet50", folder, changes=said).preprocessing == Preprocessing(224, 256, "bilinear", HALF, HALF)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"crop_mode": "squash"}, "'squash'; only 'center'"),
        ({"input_size": [3, 224, 192]}, "3 x 224 x 192"),
        ({"input_size": [1, 224, 224]}, "1 x 224 x 224"),
        ({"input_size": 224}, "no configuration of timm's"),
        ({"crop_border_pixels": 4}, "trimmed"),
        ({"crop_pct": 1.5}, "smaller than the 224 px"),
        ({"interpolation": "random"}, "unknown interpolation 'random'"),
        ({"mean": [0.5]}, "no configuration of timm's"),
    ],
)
def test_what_timm_does_that_cannot_be_done_is_said(change: dict[str, Any], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        of_timm(change)


def test_a_damaged_configuration_is_not_taken_for_none(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"config.json cannot be read"):
        _ = ModelSpec("resnet50", folder_of(tmp_path / "model", config="{")).text
