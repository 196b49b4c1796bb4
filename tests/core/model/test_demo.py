"""The demo model: its images are drawn alike for a seed, and its bundled weights know them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from streamscope.core.engine import train_demo as train
from streamscope.core.errors import StoreError, UsageError
from streamscope.core.model import demo
from streamscope.core.model.demo import CLASSES, SIDE, dataset, draw, weights_path, write_images
from streamscope.core.model.demo.images import class_images
from streamscope.core.model.demo.network import INPUT_SIZE, build


def files_below(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def loaded_demo() -> torch.nn.Module:
    net = build()
    weights = load_file(weights_path())
    missing, unexpected = net.load_state_dict(weights, strict=False)
    assert unexpected == []
    assert all(name.endswith("num_batches_tracked") for name in missing)
    return net


@pytest.mark.parametrize("label", range(len(CLASSES)))
def test_drawing_depends_on_the_generator_only(label: int) -> None:
    image = draw(label, np.random.default_rng(7))
    assert image.shape == (SIDE, SIDE, 3)
    assert image.dtype == np.uint8
    assert np.array_equal(image, draw(label, np.random.default_rng(7)))
    assert not np.array_equal(image, draw(label, np.random.default_rng(8)))


def test_dataset_is_the_same_for_a_seed_and_another_for_another() -> None:
    images, labels = dataset(50, 3)
    again, same_labels = dataset(50, 3)
    assert np.array_equal(images, again)
    assert np.array_equal(labels, same_labels)
    assert not np.array_equal(images, dataset(50, 4)[0])


def test_dataset_shares_its_images_out_among_the_classes() -> None:
    images, labels = dataset(53, 3)
    assert images.shape == (53, SIDE, SIDE, 3)
    assert sorted(np.bincount(labels).tolist()) == [5] * 7 + [6] * 3
    assert labels.tolist() != sorted(labels.tolist())
    for label in range(len(CLASSES)):
        drawn = {image.tobytes() for image in images[labels == label]}
        assert drawn == {image.tobytes() for image in class_images(label, len(drawn), 3)}


def test_more_images_of_a_class_begin_with_the_same_ones() -> None:
    many = class_images(4, 130, seed=9)
    assert np.array_equal(many[:5], class_images(4, 5, seed=9))
    assert len({image.tobytes() for image in many}) == 130


def test_figures_span_two_octaves_from_small_to_nearly_filling() -> None:
    sides = []
    for seed in range(120):
        # Both classes draw the same random numbers, so the two images differ in the figure's pixels alone.
        disc, square = (draw(CLASSES.index(name), np.random.default_rng(seed)) for name in ("disc", "square"))
        rows, columns = np.nonzero((disc != square).any(axis=2))
        sides.append(max(np.ptp(rows), np.ptp(columns)) + 1)
    assert min(sides) < 17
    assert max(sides) > 56
    assert 20 < np.median(sides) < 36


def test_images_are_written_one_folder_a_class(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "set"
    assert write_images(folder, per_class=3, seed=5) == 30
    expected = [*CLASSES, *(f"{name}/000{i}.png" for name in CLASSES for i in range(3))]
    assert files_below(folder) == sorted(expected)
    assert files_below(tmp_path / "new")[0] == "set"
    with Image.open(folder / "star" / "0002.png") as image:
        assert np.array_equal(np.asarray(image), class_images(CLASSES.index("star"), 3, 5)[2])


def test_images_are_written_into_an_empty_folder_that_stays_the_same_folder(tmp_path: Path) -> None:
    before = tmp_path.stat().st_ino
    assert write_images(tmp_path, per_class=1, seed=5) == 10
    assert tmp_path.stat().st_ino == before
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(CLASSES)


def test_a_file_in_the_folders_place_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "set"
    path.write_text("mine")
    with pytest.raises(UsageError, match="is a file"):
        write_images(path, 1, 0)
    assert path.read_text() == "mine"


def test_a_folder_that_holds_anything_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        write_images(tmp_path, 1, 0)
    assert files_below(tmp_path) == ["notes.txt"]


@pytest.mark.parametrize(("per_class", "seed"), [(0, 0), (-1, 0), (1, -1)])
def test_senseless_numbers_are_refused(tmp_path: Path, per_class: int, seed: int) -> None:
    with pytest.raises(UsageError, match="must be"):
        write_images(tmp_path / "set", per_class, seed)
    assert files_below(tmp_path) == []


def test_a_folder_below_a_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreError, match="cannot write images to"):
        write_images(tmp_path / "file" / "set", 1, 0)


@pytest.mark.parametrize("existing", [True, False])
def test_a_write_that_fails_half_way_leaves_nothing(tmp_path: Path, existing: bool) -> None:
    target = tmp_path / "set"
    if existing:
        target.mkdir()
    sizes = [len(path.read_bytes()) for path in _written(tmp_path / "whole")]
    # No file may grow beyond the limit: some images of the set fit, the first that does not stops it.
    code = f"""
import resource
from pathlib import Path
from streamscope.core.model.demo import write_images
from streamscope.core.errors import StoreError
resource.setrlimit(resource.RLIMIT_FSIZE, ({max(sizes) - 1}, {max(sizes) - 1}))
try:
    write_images(Path({str(target)!r}), 2, 5)
except StoreError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "cannot write images to" in done.stdout
    assert sorted(p.name for p in tmp_path.iterdir()) == (["set", "whole"] if existing else ["whole"])
    assert not existing or files_below(target) == []


def _written(folder: Path) -> list[Path]:
    write_images(folder, 2, 5)
    return sorted(folder.rglob("*.png"))


def test_bundled_weights_are_small_and_fit_the_network() -> None:
    assert weights_path().stat().st_size <= 3_000_000
    weights = load_file(weights_path())
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    assert not [name for name in weights if name.endswith("num_batches_tracked")]
    loaded_demo()


def test_network_has_torchvisions_names_and_six_blocks() -> None:
    net = build()
    assert [name for name, _ in net.named_children()] == [
        *("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "avgpool", "fc")
    ]
    with torch.no_grad():
        stream: torch.Tensor = net.maxpool(net.bn1(net.conv1(torch.zeros(1, 3, INPUT_SIZE, INPUT_SIZE))))
        assert stream.shape == (1, 16, 32, 32)
        shapes = []
        for layer in (net.layer1, net.layer2, net.layer3):
            for block in layer:
                stream = block(stream)
                shapes.append(tuple(stream.shape[1:]))
    assert shapes == [(16, 32, 32), (16, 32, 32), (32, 16, 16), (32, 16, 16), (48, 8, 8), (48, 8, 8)]


def test_bundled_weights_know_images_they_never_saw() -> None:
    accuracy = train.measure_accuracy(loaded_demo(), *dataset(500, seed=987654321))
    assert accuracy > 0.9
    assert abs(accuracy - demo.accuracy()) < 0.04


def test_what_is_told_of_the_training_is_what_the_script_does() -> None:
    about = json.loads(weights_path().with_suffix(".json").read_text())
    assert about["classes"] == list(CLASSES)
    assert (about["seed"], about["images"], about["epochs"]) == (train.SEED, train.IMAGES, train.EPOCHS)
    assert (about["plain_epochs"], about["radius"]) == (train.PLAIN_EPOCHS, train.RADIUS)
    assert about["seed"] != about["held_out_seed"]
    assert about["held_out_accuracy"] == demo.accuracy() > 0.9


def test_importing_the_demo_leaves_torch_alone(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from streamscope.core.model import demo; demo.accuracy();"
        f"demo.write_images(Path({str(tmp_path / 'set')!r}), 1, 0); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
