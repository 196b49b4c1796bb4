"""`streamscope models --check`: the demo, which was trained on such images, is shown them rightly and wrongly."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from streamscope.core.engine.network import load_network
from streamscope.core.images.folder import Preparation, find_images, read_image
from streamscope.core.model.demo import CLASSES, weights_path, write_images
from streamscope.core.model.spec import ModelSpec
from tests.support.command_line import Run

AS_THEY_ARE = ("--mean", "0,0,0", "--std", "1,1,1")
OF_255 = ("--mean", "0,0,0", "--std", "0.00392156863,0.00392156863,0.00392156863")
IMAGENET = ["--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225"]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images") / "shapes"
    write_images(folder, 6, 0)
    return folder


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(tmp_path / "cache", capsys)


def checked(run: Run, folder: Path, *more: object) -> tuple[dict[str, Any], list[str]]:
    code, out, err = run("models", "--check", folder, "--json", *more)
    assert code == 0
    return json.loads(out), err


def test_the_accuracy_is_that_of_the_network_on_the_labelled_images(run: Run, shapes: Path) -> None:
    found, err = checked(run, shapes)
    network = load_network(ModelSpec("demo"), "cpu")
    images = find_images(shapes)
    preparation = Preparation.of(network.info)
    mean, std = (torch.tensor(values)[:, None, None] for values in (network.info.mean, network.info.std))
    right = 0
    for image in images:
        pixels = torch.tensor(read_image(shapes / image.path, preparation).pixels).permute(2, 0, 1) / 255
        right += int(network.module(((pixels - mean) / std)[None]).argmax()) == CLASSES.index(image.label)
    assert (found["accuracy"]["right"], found["accuracy"]["n"], found["images"]) == (right, 60, 60)
    assert right > 45
    assert found["accuracy"]["low"] < right / 60 < found["accuracy"]["high"]
    assert (found["warnings"], err) == ([], [])
    assert not (run.cache / "models").exists()


def test_the_first_layer_is_compared_over_images_and_positions(run: Run, shapes: Path) -> None:
    found, _ = checked(run, shapes)
    network = load_network(ModelSpec("demo"), "cpu")
    preparation = Preparation.of(network.info)
    mean, std = (torch.tensor(values)[:, None, None] for values in (network.info.mean, network.info.std))
    pixels = [torch.tensor(read_image(shapes / i.path, preparation).pixels) for i in find_images(shapes)]
    first = network.module.get_submodule("conv1")((torch.stack(pixels).permute(0, 3, 1, 2) / 255 - mean) / std)
    norm: Any = network.module.get_submodule("bn1")
    shift = (first.mean(dim=(0, 2, 3)) - norm.running_mean).abs() / norm.running_var.sqrt()
    ratio = first.double().var(dim=(0, 2, 3), correction=0) / norm.running_var
    (layer,) = [layer for layer in found["layers"] if layer["name"] == "bn1"]
    # torch's median is the lower of two.
    assert layer["shift"] == pytest.approx(shift.quantile(0.5).item(), abs=1e-5)
    assert layer["ratio"] == pytest.approx(ratio.quantile(0.5).item(), rel=1e-4)
    assert len(found["layers"]) == 21


@pytest.mark.parametrize("wrong", [AS_THEY_ARE, OF_255], ids=["0 to 1", "0 to 255"])
def test_other_colours_than_in_training_are_told_with_what_fits(run: Run, shapes: Path, wrong: tuple[str, ...]) -> None:
    found, err = checked(run, shapes, *wrong)
    (line,) = [line for line in err if "bn1 meets other values than in training" in line]
    assert line.endswith("ImageNet's mean and deviation fit: " + " ".join(IMAGENET))
    assert found["better"] == {"what": "ImageNet's mean and deviation", "options": IMAGENET}
    assert checked(run, shapes, *found["better"]["options"])[1] == []


def test_another_input_size_shows_in_later_layers(run: Run, shapes: Path) -> None:
    found, err = checked(run, shapes, "--input-size", 128)
    assert found["better"] is None
    assert len(err) == 1
    assert "later layers meet other values than in training" in err[0]
    assert "shown at 128 px" in err[0]


def test_shuffled_classes_are_near_chance_and_batch_norms_as_in_training(
    run: Run, shapes: Path, tmp_path: Path
) -> None:
    names = [*CLASSES[1:], CLASSES[0]]
    for name, other in zip(CLASSES, names, strict=True):
        shutil.copytree(shapes / name, tmp_path / "shuffled" / other)
    found, err = checked(run, tmp_path / "shuffled")
    assert found["accuracy"]["low"] < 0.2
    assert len(err) == 1
    assert "accuracy is near chance (1 of 10)" in err[0]


def test_without_labels_batch_norms_alone_are_compared(run: Run, shapes: Path, tmp_path: Path) -> None:
    (tmp_path / "flat").mkdir()
    for number, path in enumerate(sorted(shapes.rglob("*.png"))):
        shutil.copy(path, tmp_path / "flat" / f"{number}.png")
    (tmp_path / "flat" / "broken.png").write_text("no image")
    code, out, err = run("models", "--check", tmp_path / "flat")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].endswith(f"60 images of {tmp_path / 'flat'}: resize 64, centre crop 64, bilinear")
    assert lines[1].startswith("what batch norms meet, against training: bn1 variances ")
    assert len(err) == 1
    assert "left out broken.png" in err[0]


def test_batch_norms_that_say_nothing_are_said_to(run: Run, shapes: Path, tmp_path: Path) -> None:
    state = load_file(weights_path())
    for name, value in state.items():
        if name.endswith("running_mean"):
            value.zero_()
        elif name.endswith("running_var"):
            value.fill_(1)
    save_file(state, tmp_path / "folded.safetensors")
    code, out, _ = run("models", "--check", shapes, "--weights", tmp_path / "folded.safetensors")
    assert code == 0
    assert "the batch norms keep no statistics of training" in out


@pytest.mark.parametrize(
    ("folder", "code", "line"),
    [("nowhere", 2, "is not there"), ("unknown", 2, "'zebra' is no class"), ("broken", 1, "none of the 1 images")],
)
def test_what_cannot_be_checked_is_one_line(run: Run, tmp_path: Path, folder: str, code: int, line: str) -> None:
    (tmp_path / "unknown" / "zebra").mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(tmp_path / "unknown" / "zebra" / "a.png")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_text("no image")
    found, out, err = run("models", "--check", tmp_path / folder)
    assert (found, out, len(err)) == (code, "", 1)
    assert line in err[0]


def test_hooks_are_removed_even_where_the_network_fails(shapes: Path) -> None:
    from streamscope.core.reading.check import check_network

    network = load_network(ModelSpec("demo"), "cpu")
    network.module.get_submodule("layer2").register_forward_pre_hook(_fail)
    with pytest.raises(RuntimeError, match="on purpose"):
        check_network(network, shapes, find_images(shapes)[:2])
    norms = [module for module in network.module.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert not any(norm._forward_pre_hooks for norm in norms)


def _fail(*_: object) -> None:
    raise RuntimeError("on purpose")
