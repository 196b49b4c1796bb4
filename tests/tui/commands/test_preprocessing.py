"""The options of a model's preprocessing: which model, which set and which scan commands are about."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from streamscope.core.engine.network import load_network
from streamscope.core.images.folder import Preparation
from streamscope.core.jobs import worker
from streamscope.core.model.demo import write_images
from streamscope.core.model.preprocessing import Changes, Preprocessing
from streamscope.core.model.spec import ModelSpec
from streamscope.core.store import Store
from streamscope.core.store.files.documents import write_document
from streamscope.tui.command_lines import command_line
from streamscope.tui.data.job_control import describe_command
from tests.support.command_line import Run
from tests.support.networks import untrained
from tests.support.optional import present
from tests.support.scans import write_scan
from tests.support.stores import KEY, commit, toy_info

HALF = "0.5,0.5,0.5"


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(tmp_path / "cache", capsys)


def test_fzs_of_another_input_size_are_another_set(run: Run, tmp_path: Path) -> None:
    """97 px is a multiple of no stride."""
    ask = ("--block", "2.1", "--channels", "0-1", "--steps", 2)
    assert run("compute", *ask)[0] == 0
    assert run("compute", *ask, "--input-size", 97)[0] == 0
    store = Store.open(tmp_path / "cache")
    usual, other = sorted(store.models(), key=lambda info: info.input_size)
    assert (usual.fingerprint, usual.identity) == (other.fingerprint, usual.fingerprint)
    assert other.identity != usual.identity
    assert (usual.input_size, other.input_size) == (64, 97)
    assert usual.fields["2.1.block"].centre != other.fields["2.1.block"].centre
    for info, side in ((usual, 64), (other, 97)):
        (fzset,) = store.sets(info)
        target = fzset.target("2.1", "block")
        assert fzset.fz_image(target, 1).shape == (side, side, 3)
    ids = []
    for more in ((), ("--input-size", 97)):
        code, out, err = run.without_torch("table", "--block", "2.1", "--format", "csv", *more)
        assert (code, err) == (0, [])
        ids.append([row["mix_ratio"] for row in csv.DictReader(io.StringIO(out))][:2])
    assert ids[0] != ids[1]
    assert run("cache", "verify")[:2] == (0, "everything is intact\n")
    code, _, err = run("table", "--input-size", 96)
    assert code == 1
    assert "compute' first" in err[0]
    assert "--input-size 96" in err[0]
    assert "demo (--model demo --input-size 97)" in err[0]


def test_the_process_that_describes_a_model_for_the_app_is_told_its_preprocessing(tmp_path: Path) -> None:
    spec = ModelSpec("demo", changes=Changes(size=97, resize=99, interpolation="bicubic", std=(0.3, 0.3, 0.3)))
    command = describe_command(tmp_path / "cache", spec)
    assert worker.main(command[command.index("describe") :]) == 0
    store = Store.open(tmp_path / "cache")
    info = present(store.recall(spec.text))
    assert (info.input_size, info.resize, info.interpolation) == (97, 99, "bicubic")
    assert info.full_preprocessing == spec.preprocessing
    words = command_line(spec, tmp_path / "cache")("table")
    assert "--input-size 97 --resize 99 --interpolation bicubic --std 0.3,0.3,0.3 --cache" in words


def test_networks_take_any_input_from_the_smallest_side_on(tmp_path: Path) -> None:
    save_file(untrained("resnet18").state_dict(), tmp_path / "w.safetensors")
    found = [
        load_network(ModelSpec("resnet18", tmp_path / "w.safetensors", changes=Changes(size=size)), "cpu").info
        for size in (32, 97, 224)
    ]
    assert len({info.identity for info in found}) == 3
    assert len({info.fingerprint for info in found}) == 1
    assert [info.input_size for info in found] == [32, 97, 224]
    assert found[2].identity == found[2].fingerprint
    # layer4 of 97 px has 4 x 4 positions, 32 px apart; the centre neuron is the third.
    assert [info.fields["4.1.block"].centre for info in found] == [0, 64, 96]


def test_colours_reach_the_network(tmp_path: Path) -> None:
    spec = ModelSpec("demo", changes=Changes(mean=(0.5, 0.5, 0.5), std=(0.25, 0.5, 1.0)))
    info = load_network(spec, "cpu").info
    assert (info.mean, info.std) == ((0.5, 0.5, 0.5), (0.25, 0.5, 1.0))
    assert info.preprocessing == "64 px, mean 0.5,0.5,0.5, std 0.25,0.5,1"


def test_a_scan_says_how_its_images_were_prepared_and_another_way_is_another_scan(run: Run, tmp_path: Path) -> None:
    write_images(tmp_path / "shapes", 1, 0)
    assert run("scan", tmp_path / "shapes", "--workers", 1)[0] == 0
    code, out, _ = run("scan", tmp_path / "shapes", "--workers", 1, "--resize", 80, "--interpolation", "bicubic")
    assert (code, "before; nothing is missing" in out) == (0, False)
    code, out, _ = run("scan", tmp_path / "shapes", "--resize", 80, "--interpolation", "bicubic")
    assert (code, "before; nothing is missing" in out) == (0, True)
    (model,) = (tmp_path / "cache" / "models").iterdir()
    records = [json.loads((scan / "scan.json").read_text()) for scan in (model / "scans").iterdir()]
    former, other = sorted(records, key=lambda record: "resize" in record)
    assert former["preparation"] == "resize 64, centre crop 64, bilinear"
    assert "interpolation" not in former
    assert (other["resize"], other["interpolation"]) == (80, "bicubic")
    store = Store.open(tmp_path / "cache")
    info = present(store.recall(ModelSpec("demo").text))
    for asked in (info, info.showing(Preprocessing(64, 80, "bicubic"))):
        scan = present(store.choose_scan(asked))
        assert scan.preparation == Preparation.of(asked)
        with Image.open(tmp_path / "shapes" / scan.images[0].path) as image:
            assert np.array_equal(scan.image(0), Preparation.of(asked).apply(image.convert("RGB")))
    # One that nobody made yet: the newest is read, and said to be another.
    scan = present(store.choose_scan(info.showing(Preprocessing(64, 70))))
    assert scan.preparation.resize == 80


def test_a_scan_of_the_former_preprocessing_is_read_and_said_to_be_one(run: Run, tmp_path: Path) -> None:
    """As version 0.2 scanned for ResNet50's default weights, which want 232 px, not 256."""
    store = Store.open(tmp_path / "cache", create=True)
    former = replace(toy_info("resnet50"), input_size=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    store.register(former)
    store.remember(ModelSpec("resnet50").text, former.identity)
    commit(store.set(former, KEY, create=True))
    write_scan(store, former, tmp_path / "val")
    code, _, err = run.without_torch("table", "--model", "resnet50", model=None)
    assert code == 0
    assert len(err) == 1
    assert (
        f"reading the scan of {tmp_path / 'val'}: its images were prepared by 'resize 256, centre crop 224, bilinear', "
        "the model asks for 'resize 232, centre crop 224, bilinear'; "
    ) in err[0]
    assert f"scan {tmp_path / 'val'}' scans them so" in err[0]
    assert run.without_torch("table", "--model", "resnet50", "--resize", 256, model=None)[2] == []
    write_scan(store, former.showing(ModelSpec("resnet50").preprocessing), tmp_path / "val")
    assert run.without_torch("table", "--model", "resnet50", model=None)[2] == []
    assert len(store.scans(former)) == 2


def test_models_shows_what_pictures_each_is_shown(run: Run) -> None:
    code, out, _ = run.without_torch("models", "--json", model=None)
    rows = {row["model"]: row["preprocessing"] for row in json.loads(out)}
    assert code == 0
    assert {rows[name]["resize"] for name in ("resnet18", "resnet34")} == {256}
    assert {row["resize"] for name, row in rows.items() if name not in ("resnet18", "resnet34", "demo")} == {232}
    assert rows["resnet50"] == {
        "resize": 232,
        "input_size": 224,
        "interpolation": "bilinear",
        "antialias": True,
        "value_range": [0, 1],
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    }
    code, out, _ = run.without_torch("models", "--input-size", 97, "--mean", HALF, "--json")
    (given,) = [row for row in json.loads(out) if row["input_size"] == 97]
    assert (code, given["model"], given["preprocessing"]["mean"]) == (0, "demo", [0.5, 0.5, 0.5])
    code, out, _ = run.without_torch("models", "--input-size", 97, "--mean", HALF)
    assert "97 px bilinear, mean 0.5,0.5,0.5, std 0.229,0.224,0.225" in out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--mean", "0.5,0.5"), "malformed --mean '0.5,0.5': three numbers"),
        (("--std", "0,1,1"), "--std is of numbers above 0"),
        (("--input-size", 8), "an input of 8 px is not from 32"),
        (("--resize", 40), "resized to 40 px, pictures are smaller than the 64 px"),
        (("--interpolation", "cubic"), "'cubic' is not one of 'nearest'"),
    ],
)
def test_what_makes_no_sense_is_one_line_before_torch_is_loaded(
    run: Run, arguments: tuple[object, ...], line: str
) -> None:
    for command in (("table",), ("compute",), ("models",)):
        code, out, err = run.without_torch(*command, *arguments)
        assert (code, out, len(err)) == (2, "", 1)
        assert line in err[0]


def test_a_later_versions_preparation_is_not_read_as_the_former_one(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "cache", create=True)
    scan = write_scan(store, toy_info(), tmp_path / "images")
    record = json.loads((scan.path / "scan.json").read_text())
    del record["sha256"]
    for change, what in (
        ({"padding": 4}, "later version"),
        ({"resize": 3}, "is damaged"),
        ({"resize": "x"}, "damaged"),
    ):
        write_document(scan.path / "scan.json", {**record, **change})
        opened = Store.open(tmp_path / "cache")
        assert opened.scans(toy_info()) == []
        assert what in str(opened.problems[0])


def test_untrained_copies_are_calibrated_on_what_they_are_shown() -> None:
    torch.manual_seed(0)
    usual, other = (
        load_network(ModelSpec("demo-untrained-0", changes=changes), "cpu").info
        for changes in (Changes(), Changes(std=(0.1, 0.1, 0.1)))
    )
    assert usual.fingerprint != other.fingerprint
