"""A small model and stores of it, for tests."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamscope.core.model.blocks import Block, Field, ModelInfo, SkipWeights, Target
from streamscope.core.model.fz import FZBatch
from streamscope.core.model.recipe import Recipe, SetKey
from streamscope.core.store import FZSet, Store

REPOSITORY = Path(__file__).parents[2]
SIDE = 12
KEY = SetKey(Recipe(steps=10))
CONV2 = Target("1.0", "block")


def model_files(store: Store) -> dict[Path, int]:
    """The files that a store has of its models, and when each was written, in ns."""
    return {p: p.stat().st_mtime_ns for p in (store.root / "models").rglob("*") if p.is_file()}


def toy_info(name: str = "toy", fingerprint: str = "ab" * 32) -> ModelInfo:
    """Three blocks of 4, 4 and 6 channels; the last one has a downsampling shortcut."""
    return ModelInfo(
        name=name,
        fingerprint=fingerprint,
        input_size=SIDE,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        blocks=(
            Block("1.0", "simple", 4, None),
            Block("1.1", "simple", 4, "1.0"),
            Block("2.0", "downsample", 6, "1.1"),
        ),
        default_blocks=("1.1", "2.0"),
        default_recipe=Recipe(steps=10),
        fields={"1.0.block": Field(2, 9, 7)},
        weights={"1.0": SkipWeights((0.1, 0.2, 0.3, 0.4), (1.0, 2.0, 3.0, 4.0), (0.5, 0.5, 0.5, 0.5))},
    )


def toy_set(root: Path, key: SetKey = KEY) -> FZSet:
    return Store.open(root, create=True).set(toy_info(), key, create=True)


def images_of(channels: Sequence[int], side: int = SIDE) -> np.ndarray:
    """Noise that depends on the channel only."""
    draws = [np.random.default_rng(c).integers(0, 256, (side, side, 3), dtype=np.uint8) for c in channels]
    return np.stack(draws)


def commit(fzset: FZSet, target: Target = CONV2, channels: Sequence[int] = (0, 1), **changes: Any) -> bool:
    """Commits FZs whose activation is the channel plus a half and whose trace climbs to it in a straight line."""
    activation = np.asarray(channels, dtype=np.float32) + 0.5
    given = {
        "images": images_of(channels),
        "activation": activation,
        "trace": activation[:, None] * np.arange(1, 33, dtype=np.float32) / 32,
        "flags": [""] * len(channels),
        "provenance": {"device": "cpu", "dtype": "float32", "engine": "9.9", "torch": "2.6"},
        **changes,
    }
    images, activation, trace = (given[name] for name in ("images", "activation", "trace"))
    batch = FZBatch(target, tuple(channels), images, activation, trace, tuple(given["flags"]))
    return fzset.commit_fzs(batch, given["provenance"], given.get("retry", 0))


def activations_of(channels: Sequence[int], width: int, offset: float = 0.0) -> np.ndarray:
    """(n, 3, width) where FZ channel c, tensor t and read channel k give 100 c + 10 t + k + offset."""
    c, t, k = np.meshgrid(channels, np.arange(3), np.arange(width), indexing="ij")
    values: np.ndarray = 100 * c + 10 * t + k + offset
    return values.astype(np.float32)


def python(code: str, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    """A process of its own that runs `code` with the tests' modules at hand, talking over pipes."""
    paths = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")])
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": paths},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )


OTHER = 65534
"""A user who is nobody in particular."""


@contextmanager
def another_user() -> Iterator[None]:
    """Runs the block as somebody else. Skips the test where only root could."""
    if os.geteuid() != 0:
        pytest.skip("only root can act as another user")
    os.seteuid(OTHER)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def shared_folder() -> Iterator[Path]:
    """A folder that everybody may write in; pytest's own are closed to other users."""
    with tempfile.TemporaryDirectory(prefix="streamscope-shared-") as name:
        os.chmod(name, 0o777)
        yield Path(name)


@contextmanager
def plain_user() -> Iterator[None]:
    """Runs the block without root's right to read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def names_under(folder: Path) -> list[str]:
    """Every file and folder below, with temporary ones."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@contextmanager
def same_mtime(folder: Path) -> Iterator[None]:
    """Gives a folder its mtime back after the block, as if all of it happened within one tick of a coarse clock."""
    state = folder.stat()
    yield
    os.utime(folder, ns=(state.st_atime_ns, state.st_mtime_ns))


@contextmanager
def tiny_disk(folder: Path, kilobytes: int) -> Iterator[Path]:
    """A file system of its own with very little room."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("only root may mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path, leave: int = 0) -> Path:
    """Takes all room of a disk but `leave` bytes; removing the file gives it back."""
    path = folder / "filling"
    with open(path, "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            file.truncate(max(file.tell() - leave, 0))
    return path
