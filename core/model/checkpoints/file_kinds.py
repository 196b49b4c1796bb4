"""What a file is that holds no weights which can be read: one sentence for each kind, by how it begins."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import BinaryIO

HEAD = 4096
"""Bytes that a kind is told by."""

_SAVE_AGAIN = "save model.state_dict() with torch.save where the model was made"
_STARTS = (
    (
        b"version https://git-lfs.github.com/spec/",
        "is a Git LFS pointer, not the weights; run 'git lfs pull' in its repository",
    ),
    (b"\x1f\x8b", "is compressed by gzip; unpack it (gunzip, or tar -xzf) and pass the checkpoint inside"),
    (b"BZh", "is compressed by bzip2; unpack it and pass the checkpoint inside"),
    (b"\xfd7zXZ\0", "is compressed by xz; unpack it and pass the checkpoint inside"),
    (b"\x28\xb5\x2f\xfd", "is compressed by zstd; unpack it and pass the checkpoint inside"),
    (b"7z\xbc\xaf\x27\x1c", "is a 7z archive; unpack it and pass the checkpoint inside"),
    (b"\x89HDF\r\n\x1a\n", f"is an HDF5 file, as Keras and TensorFlow write; convert it to PyTorch, and {_SAVE_AGAIN}"),
    (b"\x93NUMPY", f"is a NumPy array, not a state dict; {_SAVE_AGAIN}"),
    (b"model_checkpoint_path:", f"names a TensorFlow checkpoint; convert that to PyTorch, and {_SAVE_AGAIN}"),
)
_ONNX = f"is an ONNX model, whose layers have lost the names of PyTorch's; {_SAVE_AGAIN}"
_TENSORFLOW = f"is TensorFlow's; convert it to PyTorch, and {_SAVE_AGAIN}"
_TORCHSCRIPT = (
    "is a TorchScript archive, whose code would run when it is loaded; where you trust it, save its weights: "
    "torch.save(torch.jit.load(FILE).state_dict(), 'state.pth')"
)
WHOLE_MODEL = (
    "is a whole pickled model, whose code would run when it is loaded; where you trust it, save its weights: "
    "torch.save(torch.load(FILE, weights_only=False).state_dict(), 'state.pth')"
)
BARE_PICKLE = f"is a pickle that torch.save did not write (detectron2 and Caffe2 write such); {_SAVE_AGAIN}"
PYTHON2_PICKLE = (
    "is a pickle of Python 2 that holds more than tensors; where you trust it, save its weights: torch.save("
    "torch.load(FILE, weights_only=False, encoding='latin1')['state_dict'], 'state.pth')"
)
NO_CHECKPOINT = "is not a checkpoint (a file of torch.save or safetensors)"
CUT_OFF = "is not a checkpoint: it is damaged, or its end is missing; download or copy it again"


def is_safetensors(head: bytes) -> bool:
    """Whether a file begins as safetensors do: the length of a JSON object, and the object."""
    return len(head) > 10 and int.from_bytes(head[:8], "little") < 100_000_000 and head[8:].lstrip(b" ")[:1] == b"{"


def foreign_kind(path: Path, head: bytes) -> str | None:
    """What a file is, and what to do, as the rest of a sentence that begins with its name; None where it may be a zip
    archive, a pickle or safetensors."""
    if not head:
        return "is not a checkpoint: it is empty; download or copy it again"
    for start, sentence in _STARTS:
        if head.startswith(start):
            return sentence
    if head[257:262] == b"ustar":
        return "is a tar archive; unpack it and pass the checkpoint inside"
    if head.lstrip()[:64].lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "is a web page, saved in place of the weights; download the file itself"
    if path.suffix == ".onnx" or (head[:1] == b"\x08" and head[2:3] == b"\x12" and head[1] < 32):
        return _ONNX
    if head[4:8] == b"TFL3" or path.suffix in (".pb", ".index", ".meta", ".tflite") or ".data-0" in path.name:
        return _TENSORFLOW
    # A small map of msgpack begins with a byte for its size; a pickle's second byte is its protocol, below a text's.
    if head[0] in (*range(0x81, 0x90), 0xDE, 0xDF) or path.suffix == ".msgpack":
        return f"is a msgpack file, as Flax writes; convert it to PyTorch, and {_SAVE_AGAIN}"
    return None


def foreign_archive(file: BinaryIO) -> str | None:
    """The same of a zip archive; None where torch.save wrote it."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return CUT_OFF
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in names):
        return _TORCHSCRIPT
    if any(name.endswith("/data.pkl") for name in names):
        return None
    if any(name.endswith(".weights.h5") for name in names):
        return f"is a Keras model; convert it to PyTorch, and {_SAVE_AGAIN}"
    if names and all(name.endswith(".npy") for name in names):
        return f"is an archive of NumPy arrays, not a state dict; {_SAVE_AGAIN}"
    if any(name.endswith("archive_format") for name in names):
        return f"is a program that torch.export wrote; {_SAVE_AGAIN}"
    return "is a zip archive without a checkpoint of torch.save; unpack it and pass the checkpoint inside"
