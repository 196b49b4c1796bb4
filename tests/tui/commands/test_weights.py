"""What commands say of weights that they load, and which of them they load."""

import io
import json
import urllib.error
from pathlib import Path
from typing import Any, Never

import pytest
import torch
from safetensors.torch import load_file

from streamscope.core.model.demo import CLASSES, weights_path, write_images
from streamscope.core.model.spec import ModelSpec
from streamscope.core.store import Store
from tests.support.command_line import Run

ABLATION = ("--block", "2.1", "--channels", "0-2", "--controls", 2, "--zooms", "1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "images"
    write_images(path, 2, seed=3)
    return path


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return load_file(weights_path())


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(tmp_path / "cache", capsys)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "weights.pth"


def wrapped(state: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"state_dict": {f"module.{key}": value for key, value in state.items()}, **more}


def test_what_was_done_to_get_the_weights_is_a_line_and_listed(
    run: Run, folder: Path, file: Path, state: dict[str, torch.Tensor]
) -> None:
    torch.save(wrapped(state, arch="resnetblur50"), file)
    layout = "unwrapped state_dict, dropped the prefix module."
    code, _, err = run("scan", folder, "--weights", file)
    assert code == 0
    assert err[0] == f"streamscope: {file}: {layout}"
    assert err[1].startswith("streamscope: warning: arch is resnetblur50: such a network blurs before it subsamples")
    assert not [line for line in err[2:] if "arch" in line or layout in line]
    # What is stored is the bundled weights': their file was another one only.
    assert Store.open(run.cache).recall(ModelSpec("demo").text) == Store.open(run.cache).models()[0]
    (row,) = [row for row in json.loads(run("models", "--json")[1]) if row["model"] == "demo"]
    (weights,) = row["weights"]
    assert (weights["layout"], len(weights["warnings"])) == (layout, 1)
    assert str(file) in weights["weights"]
    assert layout in run("models")[1]
    # Nothing is loaded now, and nothing to be said.
    assert run("scan", folder, "--weights", file)[2] == []


def test_nothing_is_said_of_a_plain_state_dict(
    run: Run, folder: Path, file: Path, state: dict[str, torch.Tensor]
) -> None:
    torch.save(state, file)
    assert run("scan", folder, "--weights", file)[::2] == (0, [])


def test_without_a_classifier_only_ablate_is_refused_and_nothing_is_written(
    run: Run, folder: Path, file: Path, state: dict[str, torch.Tensor]
) -> None:
    torch.save({key: value for key, value in state.items() if not key.startswith("fc.")}, file)
    code, out, err = run("ablate", folder, *ABLATION, "--weights", file)
    assert (code, out) == (1, "")
    assert err[0] == f"streamscope: {file}: no classifier"
    assert err[1].startswith("streamscope: these weights of demo have no classifier (fc)")
    assert len(err) == 2
    assert not run.cache.exists()
    assert run("scan", folder, "--weights", file)[0] == 0


def test_classes_are_the_folders_in_sorted_order_or_those_of_a_file(
    run: Run, folder: Path, file: Path, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    torch.save(state, file)

    def accuracy(*words: object) -> float:
        (told,) = json.loads(run("ablate", folder, *ABLATION, "--json", *words)[1])
        return float(told["zooms"][0]["intact"]["right"] / told["images"])

    right = accuracy()
    order = sorted(range(len(CLASSES)), key=lambda index: CLASSES[index])
    torch.save({**state, "fc.weight": state["fc.weight"][order], "fc.bias": state["fc.bias"][order]}, file)
    assert accuracy("--weights", file) == right
    err = run("ablate", folder, *ABLATION, "--weights", file)[2]
    assert err == [
        "streamscope: the classes are taken to be the folders in sorted order, since the weights do not say what "
        "theirs are called"
    ]
    torch.save(state, file)
    (tmp_path / "names.txt").write_text("\n".join(CLASSES))
    assert accuracy("--weights", file, "--classes", tmp_path / "names.txt") == right
    (tmp_path / "names.txt").write_text("disc")
    code, _, err = run("ablate", folder, *ABLATION, "--weights", file, "--classes", tmp_path / "names.txt")
    assert (code, len(err)) == (2, 1)
    assert "has 1 class names, a line each, but the model has 10 classes" in err[0]


def test_classes_of_unknown_names_are_not_guessed(
    run: Run, folder: Path, file: Path, state: dict[str, torch.Tensor]
) -> None:
    torch.save({**state, "fc.weight": torch.zeros(1000, 48), "fc.bias": torch.zeros(1000)}, file)
    code, _, err = run("ablate", folder, *ABLATION, "--weights", file)
    assert (code, len(err)) == (2, 2)
    assert err[0].endswith("fc has 1000 classes")
    assert "do not say what their 1000 classes are called, and 10 folders are too few" in err[1]
    assert err[1].endswith("or pass their names with --classes FILE")


def test_one_of_several_weights_is_chosen_by_name(
    run: Run, folder: Path, file: Path, state: dict[str, torch.Tensor]
) -> None:
    other = {key: value + 1 if value.is_floating_point() else value for key, value in state.items()}
    torch.save({"student": state, "teacher": other}, file)
    code, _, err = run("scan", folder, "--weights", file)
    assert (code, len(err)) == (1, 1)
    assert not run.cache.exists()
    assert err[0].endswith(
        "has 2 sets of weights that fit demo and differ: student, teacher; choose one with --weights-entry NAME"
    )
    for entry in ("teacher", "student"):
        code, _, err = run("scan", folder, "--weights", file, "--weights-entry", entry)
        assert code == 0
        assert err[0].startswith(f"streamscope: {file}: unwrapped {entry}; left aside other weights (")
    store = Store.open(run.cache)
    infos = [store.recall(ModelSpec("demo", file, entry=entry).text) for entry in ("student", "teacher")]
    assert infos[0] == store.recall(ModelSpec("demo").text) != infos[1]
    assert len(store.models()) == 2


def test_what_cannot_be_chosen_is_a_line(run: Run, folder: Path) -> None:
    for words, message, expected in (
        (("--weights", "https://host/r.pth"), "https://host/r.pth is an address, not a file: download it", 1),
        (("--weights-entry", "teacher"), "'teacher' is to be chosen in a file of weights", 2),
        (("--weights", "IMAGENET1K_V1"), "demo has no weights IMAGENET1K_V1", 2),
    ):
        code, out, err = run("compute", *words)
        assert (code, out, len(err)) == (expected, "", 1)
        assert message in err[0]
    assert not run.cache.exists()


def test_torchvisions_weights_are_downloaded_by_their_name(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    opened: list[str] = []

    def urlopen(request: Any, *_: object, **__: object) -> Never:
        opened.append(request.full_url)
        raise urllib.error.HTTPError(request.full_url, 503, "busy", {}, io.BytesIO())  # type: ignore[arg-type]

    monkeypatch.setattr("torch.hub.urlopen", urlopen)
    for words in ((), ("--weights", "IMAGENET1K_V1"), ("--weights", "ResNet50_Weights.IMAGENET1K_V2")):
        code, _, err = run("scan", folder, "--model", "resnet50", *words, model=None)
        assert (code, len(err)) == (1, 1)
        assert "the weights of resnet50 could not be downloaded (HTTP 503)" in err[0]
    names = [url.rpartition("/")[2] for url in opened]
    assert names == ["resnet50-11ad3fa6.pth", "resnet50-0676ba61.pth", "resnet50-11ad3fa6.pth"]
