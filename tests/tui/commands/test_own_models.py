"""Commands about networks of one's own and of timm's: what is read without running them, and when files are gone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from streamscope.core.model.demo import weights_path
from streamscope.core.model.spec import ModelSpec
from tests.support.command_line import Run
from tests.support.own_code import research_folder

FEW = ("--block", "1.1", "--channels", "0-1", "--steps", "2", "--device", "cpu")


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(tmp_path / "cache", capsys)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return research_folder(tmp_path / "research folder")


def test_what_is_stored_of_ones_own_network_is_read_without_its_code(run: Run, path: Path) -> None:
    model = f"{path}:make"
    assert run("compute", *FEW, model=model)[0] == 0
    # The code would be heard of: nothing of it runs to read what is stored.
    code, out, err = run.without_torch("table", "--block", "1.1", "--format", "json", model=model)
    assert (code, err) == (0, [])
    rows = json.loads(out)
    assert {row["model"] for row in rows} == {"net.py:make"}
    assert [row["mix_ratio"] is not None for row in rows[:3]] == [True, True, False]
    code, out, err = run.without_torch("models", "--json", model=model)
    assert (code, err) == (0, [])
    (row,) = [row for row in json.loads(out) if row["model"] == "net.py:make"]
    assert (row["code"], row["input_size"], row["preprocessing"]["mean"]) == (str(path), 64, [0.5, 0.5, 0.5])
    assert f"code: {path}" in run("models", model=None)[1]
    # What another model lacks is answered with how this one is asked for.
    assert f"--model '{model}'" in run("table", model="demo")[2][0]


def test_what_is_stored_is_read_when_the_code_is_gone_and_nothing_more_is_computed(run: Run, path: Path) -> None:
    model = f"{path}:make"
    assert run("compute", *FEW, model=model)[0] == 0
    before = run("table", "--block", "1.1", "--format", "json", model=model)[1]
    path.unlink()
    what = "what is stored of net.py:make is read, and nothing more of it can be computed"
    gone = f"streamscope: no such file: {path}: {what}"
    assert run("table", "--block", "1.1", "--format", "json", model=model) == (0, before, [gone])
    assert run("models", model=model)[0] == 0
    code, out, err = run("compute", "--block", "1.0", "--steps", "2", "--device", "cpu", model=model)
    assert (code, out, err) == (1, "", [f"streamscope: no such file: {path}"])
    # Of another function of that file nothing is stored.
    assert run("table", model=f"{path}:other")[::2] == (1, [f"streamscope: no such file: {path}"])


def test_what_is_stored_is_read_when_the_weights_are_gone(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "mine.safetensors"
    state = load_file(weights_path())
    save_file({**state, "fc.bias": state["fc.bias"] + 1}, file)
    assert run("compute", *FEW, "--weights", file)[0] == 0
    file.unlink()
    code, out, err = run("table", "--block", "1.1", "--weights", file)
    assert (code, len(out.splitlines()) > 2) == (0, True)
    assert err == [
        f"streamscope: no such file: {file}: what is stored of demo is read, and nothing more of it can be computed"
    ]
    code, _, err = run("compute", *FEW, "--weights", file, "--seed", "1")
    assert (code, err) == (1, [f"streamscope: no such file: {file}"])


def test_another_file_is_another_model_only_where_its_network_is(run: Run, path: Path) -> None:
    model = f"{path}:make"
    assert run("compute", *FEW, model=model)[0] == 0
    before = run("table", "--block", "1.1", "--format", "json", model=model)[1]
    path.write_text(path.read_text() + "# A word more.\n")
    assert run("table", "--block", "1.1", "--format", "json", model=model)[:2] == (0, before)
    # Equal weights in other operations.
    path.write_text(path.read_text().replace("torch.relu(self", "nn.functional.gelu(self"))
    code, _, err = run("table", "--block", "1.1", model=model)
    assert code == 1
    assert err[0].startswith("streamscope: nothing is stored of net.py:make")


def test_names_that_none_has_and_code_that_makes_none_are_one_line_and_nothing_is_written(
    run: Run, path: Path, tmp_path: Path
) -> None:
    path.write_text(path.read_text() + "\ndef grey():\n    return Net(1)\n")
    for model, said, expected in (
        (f"{path}:grey", "net.py:grey takes images of 1 channel (grey images), not 3", 1),
        (f"{path}:mak", f"{path} has no function 'mak'; it has make", 1),
        ("nothing.like.it:make", "no module nothing.like.it in the installed packages or in ", 1),
        ("timm:resnt18", "has no 'resnt18'; the nearest are resnet18", 2),
        ("resnet19", "unknown model 'resnet19'; use one of resnet18", 2),
    ):
        code, out, err = run("compute", *FEW, model=model)
        assert (code, out, len(err)) == (expected, "", 1)
        assert said in err[0]
        assert not (tmp_path / "cache").exists()


def test_a_file_of_code_is_a_part_of_the_command_that_an_error_names(path: Path, run: Run) -> None:
    assert f"streamscope --model '{path}:make' --cache" in run("table", model=f"{path}:make")[2][0]


def test_a_network_of_timms_is_described_by_its_blocks(run: Run) -> None:
    model = "timm:test_vit-untrained-0"
    code, out, err = run("compute", "--block", "blocks.0.attn", *FEW[2:], model=model)
    assert (code, err) == (0, [])
    assert out.startswith("blocks.0.attn: 2 of ")
    code, out, err = run.without_torch("models", "--json", model=model)
    (row,) = [row for row in json.loads(out) if row["model"] == model]
    assert (row["input_size"], row["preprocessing"]["interpolation"]) == (160, "bicubic")
    assert "blocks.0.attn" in row["blocks"]
    assert ModelSpec(model).text == f"{model} initial weights"
