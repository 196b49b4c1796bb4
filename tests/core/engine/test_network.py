import io
import pickle
import urllib.error
from collections.abc import Callable
from dataclasses import replace
from email.message import Message
from pathlib import Path
from typing import Never

import pytest
import torch
import torchvision
from torchvision.models.resnet import BasicBlock

from streamscope.core.engine import network as model
from streamscope.core.engine.cone import fold_network
from streamscope.core.engine.network import load_network, pick_device
from streamscope.core.errors import DownloadError, UsageError, WeightsError
from streamscope.core.model.demo import weights_path
from streamscope.core.model.recipe import CENTRED, Recipe
from streamscope.core.model.spec import DEMO_MODEL, RESNETS, ModelSpec
from streamscope.tui.advice import worded
from tests.support.networks import untrained


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(untrained("resnet18").state_dict(), path)
    return path


def test_the_known_resnets_are_torchvisions() -> None:
    assert set(RESNETS) == set(torchvision.models.list_models(include=["resnet*", "resnext*", "wide_resnet*"]))


def test_a_given_state_dict_is_loaded_frozen_and_in_eval_mode(checkpoint: Path) -> None:
    network = load_network(ModelSpec("resnet18", checkpoint), "cpu")
    assert not network.module.training
    assert not any(p.requires_grad for p in network.module.parameters())
    stored = torch.load(checkpoint, weights_only=True)
    assert torch.equal(network.module.state_dict()["layer2.1.conv2.weight"], stored["layer2.1.conv2.weight"])


def test_resnet18_is_described_with_the_blocks_and_receptive_fields_of_the_paper(checkpoint: Path) -> None:
    info = load_network(ModelSpec("resnet18", checkpoint), "cpu").info
    assert [(b.name, b.kind, b.channels, b.previous) for b in info.blocks[:4]] == [
        ("1.0", "simple", 64, None),
        ("1.1", "simple", 64, "1.0"),
        ("2.0", "downsample", 128, "1.1"),
        ("2.1", "simple", 128, "2.0"),
    ]
    assert info.default_blocks == ("1.1", "2.0", "2.1", "3.0", "3.1", "4.0", "4.1")
    assert info.recipe("paper") == Recipe(steps=2560, rate=0.05)
    assert info.recipe("centred", 8) == replace(CENTRED, steps=8)
    assert info.fields["2.1.block"].size == 99
    # 2.1's input is 2.0's output, one target; a downsample block's input is its own shortcut.
    assert "2.1.in" not in info.fields
    assert info.fields["2.0.in"].size == 43
    assert str(info.source("2.1", "in")) == "2.0.out"
    assert str(info.source("2.0", "in")) == "2.0.in"


def test_skip_weights_are_those_of_the_last_bn_and_convolution(checkpoint: Path) -> None:
    info = load_network(ModelSpec("resnet18", checkpoint), "cpu").info
    block = untrained("resnet18").get_submodule("layer2.1")
    assert isinstance(block, BasicBlock)
    weights = info.weights["2.1"]
    assert weights.bn_weight == pytest.approx(block.bn2.weight.abs().tolist())
    assert weights.conv_weight == pytest.approx(block.conv2.weight.abs().mean(dim=(1, 2, 3)).tolist())


def test_folding_a_bn_leaves_the_effective_gain_as_it_was(tmp_path: Path) -> None:
    module = untrained("resnet18")
    before = model.describe("resnet18", module, fold_network(module)).weights["2.1"]
    block = module.get_submodule("layer2.1")
    assert isinstance(block, BasicBlock)
    gain = block.bn2.weight / torch.sqrt(block.bn2.running_var + block.bn2.eps)
    block.conv2.weight *= gain[:, None, None, None]
    block.bn2.bias -= block.bn2.running_mean * gain
    block.bn2.weight.fill_(1)
    block.bn2.running_mean.zero_()
    block.bn2.running_var.fill_(1 - block.bn2.eps)
    after = model.describe("resnet18", module, fold_network(module)).weights["2.1"]
    assert after.effective_gain == pytest.approx(before.effective_gain, rel=1e-5)
    assert after.bn_weight != pytest.approx(before.bn_weight, rel=0.1)


def test_the_fingerprint_is_of_the_weights_alone(checkpoint: Path, tmp_path: Path) -> None:
    other = torch.load(checkpoint, weights_only=True)
    first = load_network(ModelSpec("resnet18", checkpoint), "cpu").info.fingerprint
    without_counters = {k: v for k, v in other.items() if not k.endswith("num_batches_tracked")}
    torch.save(without_counters, tmp_path / "same.pth")
    assert load_network(ModelSpec("resnet18", tmp_path / "same.pth"), "cpu").info.fingerprint == first
    other["layer4.1.bn2.bias"][5] += 1e-3
    torch.save(other, tmp_path / "other.pth")
    assert load_network(ModelSpec("resnet18", tmp_path / "other.pth"), "cpu").info.fingerprint != first


def test_the_demo_model_loads_offline() -> None:
    network = load_network(ModelSpec(DEMO_MODEL), "cpu")
    assert network.info.input_size == 64
    assert len(network.info.blocks) == 6
    assert weights_path().stat().st_size <= 3e6


def _error(path: Path, name: str = "resnet18") -> str:
    with pytest.raises(WeightsError) as raised:
        load_network(ModelSpec(name, path), "cpu")
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_another_architectures_weights_are_named_by_their_keys(checkpoint: Path, tmp_path: Path) -> None:
    assert "keys" in _error(checkpoint, "resnet50")
    line = _error(checkpoint, "resnet34")
    assert "missing (layer1.2.bn1.bias" in line
    assert "does not fit resnet34" in line
    assert line.endswith("it fits resnet18")
    state = untrained("resnet18").state_dict()
    state["layer1.2.extra.weight"] = torch.zeros(1)
    state["layer2.0.conv1.weight"] = torch.zeros(128, 64, 1, 1)
    torch.save(state, tmp_path / "shape.pth")
    line = _error(tmp_path / "shape.pth")
    assert "1 unexpected (layer1.2.extra.weight)" in line
    assert "layer2.0.conv1.weight (128, 64, 1, 1) instead of (128, 64, 3, 3)" in line


class _Evil:
    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return print, ("this must never run",)


def test_a_pickle_that_would_run_code_is_refused_and_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"a": _Evil()}))
    torch.save({"a": _Evil()}, tmp_path / "evil_zip.pth")
    for name in ("evil.pth", "evil_zip.pth"):
        assert "would run code" in _error(tmp_path / name)
    assert "never run" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "content", [b"", b"not weights at all", b"these are no weights", b"PK\x03\x04no", b"\x80\x02garbage"]
)
def test_a_file_that_is_no_checkpoint_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    assert "is not a checkpoint" in _error(path)


def test_a_truncated_checkpoint_is_not_a_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "short.pth").write_bytes(checkpoint.read_bytes()[:200_000])
    assert "is not a checkpoint" in _error(tmp_path / "short.pth")


def test_a_bare_tensor_is_no_state_dict(tmp_path: Path) -> None:
    torch.save(torch.zeros(3), tmp_path / "tensor.pth")
    assert "no state dict" in _error(tmp_path / "tensor.pth")


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    state = untrained("resnet18").state_dict()
    state["layer1.0.conv1.weight"][0, 0, 0, 0] = float("nan")
    torch.save(state, tmp_path / "nan.pth")
    assert "not finite (layer1.0.conv1.weight)" in _error(tmp_path / "nan.pth")


def test_a_missing_file_and_a_directory_are_errors(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such file"):
        load_network(ModelSpec("resnet18", tmp_path / "nothing.pth"), "cpu")
    with pytest.raises(WeightsError, match="is a directory"):
        load_network(ModelSpec("resnet18", tmp_path), "cpu")


def test_without_a_network_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def urlopen(*_: object, **__: object) -> Never:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr("torch.hub.urlopen", urlopen)
    with pytest.raises(DownloadError) as raised:
        load_network(ModelSpec("resnet18"), "cpu")
    assert "Name or service not known" in str(raised.value)
    line = worded(raised.value)
    assert "https://download.pytorch.org/models/resnet18-f37072fd.pth" in line
    assert "--weights" in line
    assert "--model demo" in line


class _Response(io.BytesIO):
    def info(self) -> Message:
        message = Message()
        message["Content-Length"] = str(len(self.getvalue()))
        return message


def test_a_damaged_download_is_noticed_by_its_checksum_and_progress_is_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", lambda *_, **__: _Response(b"x" * 50_000))
    seen = []
    with pytest.raises(WeightsError, match="checksum"):
        load_network(ModelSpec("resnet18"), "cpu", lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == 50_000
    assert not list(tmp_path.rglob("*.pth"))


@pytest.mark.parametrize("name", ["resnet19", "alexnet2", ""])
def test_an_unknown_model_is_a_usage_error_that_lists_the_known(name: str) -> None:
    with pytest.raises(UsageError, match=r"wide_resnet50_2, .*demo"):
        ModelSpec(name)


def test_an_unknown_device_is_a_usage_error() -> None:
    for name in ("tpu", "cuda:99", "gpu0", "meta"):
        with pytest.raises(UsageError, match="device"):
            pick_device(name)
    assert pick_device("cpu").type == "cpu"
