"""Files that are no checkpoint, and those that would run code: one line each, and nothing of them is run."""

import argparse
import gzip
import io
import os
import pathlib
import pickle
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from streamscope.core.errors import WeightsError
from streamscope.core.model.checkpoints.contents import read_contents
from streamscope.core.model.checkpoints.pickles import attributes

WEIGHTS = {"conv1.weight": torch.zeros(2, 2)}


def refusal(path: Path) -> str:
    with pytest.raises(WeightsError) as raised:
        read_contents(path)
    line = str(raised.value)
    assert line.startswith(str(path))
    assert "\n" not in line
    return line


class Calls:
    """An object whose pickle calls something."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


class Evaluated:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return eval, ("__import__('pathlib').Path('ran').touch()",)


HOSTILE: dict[str, Callable[[], Any]] = {
    "os.system": lambda: Calls(os.system, "touch ran"),
    "builtins.eval": Evaluated,
    "builtins.exec": lambda: Calls(exec, "open('ran', 'w')"),
    "builtins.getattr": lambda: Calls(getattr, pathlib.Path("ran"), "touch"),
    "builtins.open": lambda: Calls(open, "ran", "w"),
    "subprocess.Popen": lambda: Calls(subprocess.Popen, ["touch", "ran"]),
    "torch.load": lambda: Calls(torch.load, "ran"),
    "torch.hub.load": lambda: Calls(torch.hub.load, "owner/name", "model"),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize(
    "wrap", [lambda v: v, lambda v: {"state_dict": WEIGHTS, "args": argparse.Namespace(inner=[v])}]
)
@pytest.mark.parametrize("kind", ["zip", "legacy", "bare", "bare, protocol 0"])
def test_what_would_be_called_is_named_and_not_called(
    name: str, wrap: Callable[[Any], Any], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content, path = wrap(HOSTILE[name]()), tmp_path / "weights.pth"
    if kind.startswith("bare"):
        path.write_bytes(pickle.dumps(content, protocol=0 if "0" in kind else None))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    assert "would run code when loaded (" in refusal(path)
    # os.system is called posix.system in a pickle.
    assert name.rpartition(".")[2] in refusal(path)
    assert not (tmp_path / "ran").exists()


def test_a_name_that_is_put_together_while_loading_is_refused(tmp_path: Path) -> None:
    module = b"\x8c\x08builtins\x8c\x03str\x93\x8c\x02os\x85R"  # str("os")
    (tmp_path / "weights.pth").write_bytes(b"\x80\x04" + module + b"\x8c\x06system\x93\x8c\x09touch ran\x85R.")
    assert "would run code when loaded (unknown.name)" in refusal(tmp_path / "weights.pth")


class Config:
    """Plain data of somebody's own package."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


class Settings(dict[str, Any]):
    """A dictionary with attributes, as Lightning's and EasyDict are."""


class Steps(list[int]):
    pass


class Mode(Enum):
    FAST = 1


@pytest.fixture
def somewhere(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A package that the classes above are of while they are pickled, and that is gone afterwards."""
    module = ModuleType("somebodys.config")
    for cls in (Config, Settings, Steps, Mode):
        setattr(module, cls.__name__, cls)
        monkeypatch.setattr(cls, "__module__", module.__name__)
    monkeypatch.setitem(sys.modules, "somebodys", ModuleType("somebodys"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


@pytest.mark.parametrize("zipped", [True, False])
def test_data_of_classes_that_are_not_here_is_kept_and_none_of_their_code_is_run(
    zipped: bool, somewhere: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(lr=0.1)
    settings.__dict__["frozen"] = True
    content = {
        "state_dict": WEIGHTS,
        "config": Config(arch="resnet18", inner=Config(width=2), kind=Config),
        "settings": settings,
        "steps": Steps([1, 2]),
        "mode": Mode.FAST,
    }
    torch.save(content, tmp_path / "weights.pth", _use_new_zipfile_serialization=zipped)
    monkeypatch.delitem(sys.modules, somewhere.__name__)
    monkeypatch.delitem(sys.modules, "somebodys")
    tree = read_contents(tmp_path / "weights.pth").tree
    assert torch.equal(tree["state_dict"]["conv1.weight"], WEIGHTS["conv1.weight"])
    assert attributes(tree["config"])["arch"] == "resnet18"
    assert attributes(attributes(tree["config"])["inner"]) == {"width": 2}
    assert tree["settings"] == {"lr": 0.1}
    assert tree["steps"] == [1, 2]
    assert "somebodys" not in sys.modules


def test_setting_state_is_not_left_to_the_class_of_the_file(tmp_path: Path) -> None:
    """`Path` is a class of this process; the object of the file is none of it."""
    torch.save({"where": pathlib.PurePosixPath("/a"), "state_dict": WEIGHTS}, tmp_path / "weights.pth")
    where = read_contents(tmp_path / "weights.pth").tree["where"]
    assert not isinstance(where, pathlib.PurePath)
    assert where.of == "pathlib.PurePosixPath"


def test_an_attribute_of_a_mapping_does_not_stand_for_its_method() -> None:
    tree = OrderedDict(arch="resnet18")
    tree.__dict__["items"] = "no method"
    assert attributes(tree) == {"arch": "resnet18"}


def test_a_whole_model_is_said_to_be_one_and_not_made(tmp_path: Path) -> None:
    torch.save(nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2)), tmp_path / "model.pth")
    assert "is a whole pickled model, whose code would run when it is loaded" in refusal(tmp_path / "model.pth")


def test_torchscript_is_said_to_be_that(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(nn.Conv2d(3, 2, 1)), str(tmp_path / "model.pt"))
    assert "is a TorchScript archive" in refusal(tmp_path / "model.pt")


def test_a_later_pickle_protocol_is_named(tmp_path: Path) -> None:
    torch.save(WEIGHTS, tmp_path / "weights.pth", pickle_protocol=4)
    assert "is a pickle of protocol 4" in refusal(tmp_path / "weights.pth")


def python2(content: bytes) -> bytes:
    """A legacy file of torch.save whose object is `content`, a pickle without its beginning and its end."""
    start = b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
    return start + b"\x80\x02" + content + b"." + pickle.dumps([], 2)


def test_a_pickle_of_python_2_is_read_where_it_is_texts_and_tensors_and_named_where_not(tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(python2(b"}U\x05epochK\x03s"))
    assert read_contents(tmp_path / "weights.pth").tree == {"epoch": 3}
    # A text of more than 255 bytes, which torch does not read: the state of a generator, say.
    (tmp_path / "weights.pth").write_bytes(python2(b"}U\x01aT" + struct.pack("<i", 300) + b"x" * 300 + b"s"))
    assert "is a pickle of Python 2 that holds more than tensors" in refusal(tmp_path / "weights.pth")


def in_zip(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return buffer.getvalue()


def in_tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("weights.pth"))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("w.pth", b"", "is not a checkpoint: it is empty"),
        ("w.pth", b"\0" * 64, "is not a checkpoint"),
        (
            "w.pth",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n",
            "is a Git LFS pointer, not the weights",
        ),
        ("w.pth", b"\n<!DOCTYPE html><html>", "is a web page, saved in place of the weights"),
        ("w.pth.tar.gz", gzip.compress(b"x"), "is compressed by gzip; unpack it"),
        ("w.pth.tar", in_tar(), "is a tar archive; unpack it"),
        ("w.zip", in_zip("a.txt"), "is a zip archive without a checkpoint of torch.save"),
        ("w.npz", in_zip("a.npy"), "is an archive of NumPy arrays"),
        ("w.keras", in_zip("config.json", "model.weights.h5"), "is a Keras model"),
        ("w.pth", in_zip("archive/data.pkl")[:40], "its end is missing"),
        ("w.pth", in_zip("archive/data.pkl"), "its end is missing"),
        ("w.onnx", b"\x08\x08\x12\x07pytorch\x1a\x052.1.0", "is an ONNX model"),
        ("w.bin", b"\x08\x08\x12\x07pytorch\x1a\x052.1.0", "is an ONNX model"),
        ("w.h5", b"\x89HDF\r\n\x1a\n....", "is an HDF5 file, as Keras and TensorFlow write"),
        ("flax_model.msgpack", b"\x81\xa6params\x80", "is a msgpack file, as Flax writes"),
        ("model.ckpt-1.data-00000-of-00001", b"\0\1\2\3", "is TensorFlow's"),
        ("w.pb", b"\n\x0b\n\x01x", "is TensorFlow's"),
        ("w.npy", b"\x93NUMPY\1\0", "is a NumPy array, not a state dict"),
        ("R-50.pkl", pickle.dumps({"model": {"conv1": [1.0]}}, 2), "is a pickle that torch.save did not write"),
        ("w.safetensors", struct.pack("<Q", 100) + b'{"a":', "its end is missing"),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value and " " not in value else "",
)
def test_a_file_of_another_kind_is_said_to_be_what_it_is(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    assert message in refusal(tmp_path / name)


def test_what_is_no_file_does_not_hold_anybody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "weights.pth")
    assert "cannot be read (is not a regular file)" in refusal(tmp_path / "weights.pth")
