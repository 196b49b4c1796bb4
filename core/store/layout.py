"""Where everything lies in a store: the one module that knows the names of its folders, and reads meaning from them.

store.json, aliases/…json
leases/….json, ….taken                          who is working on what
jobs/20261128-212222-234804/job.json, heartbeat.json, log.jsonl, stderr.txt, place, hold, stop
models/resnet18-f37072fd2ad6/model.json
  ablations/2.1-1a2b3c4d5e6f.json
  sets/paper-2560-s0-exact-1a2b3c4d/set.json, completed.json
    fzs/2.1.block/0000-0063-1a2b3c4d/           FZs of a target
    measures/2.1/on_block/0000-0063-1a2b3c4d/   activations on the FZs of a block's tensor
    curves/, shams/                             responses to altered FZs, alike
    pairs/2.1.json                              a block's gains among those of all pairs of its channels
    retries/1/fzs/, measures/, …                the same of FZs that were optimised again
  scans/val-1a2b3c4d5e6f/scan.json, finished.json
    chunks/, patch-chunks/, result/, robust/, robust-centred/, patches/, photographs/, curves/
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from streamscope.core.model.recipe import Protocol

ResponseKind = Literal["curves", "shams"]
CURVES: ResponseKind = "curves"
"""Rescaled images."""
SHAMS: ResponseKind = "shams"
"""Images under sham transforms."""
PHOTOGRAPHS = "photographs"
"""Patches of photographs, rescaled; of a scan."""
BatchKind = Literal["fzs", "measures", "curves", "shams"]


def batch_name(channels: Sequence[int]) -> str:
    """`0000-0031-1a2b3c4d`: the same channels give the same name everywhere."""
    ordered = sorted(channels)
    if len(set(ordered)) != len(ordered) or not ordered or ordered[0] < 0:
        raise ValueError(f"channels of a batch must be different, 0 or more and at least one: {list(channels)}")
    digest = hashlib.sha256(",".join(map(str, ordered)).encode()).hexdigest()[:8]
    return f"{ordered[0]:04d}-{ordered[-1]:04d}-{digest}"


def channel_range(name: str) -> tuple[int, int]:
    """The first and last channel of a batch by its name; all that there may be for a name that says none."""
    first, _, rest = name.partition("-")
    last = rest.partition("-")[0]
    if first.isdecimal() and last.isdecimal():
        return int(first), int(last)
    return 0, 2**31


def response_folder(base: Path, kind: ResponseKind, block: str, on: str, variant: str = "") -> Path:
    """Where batches of a kind are, on images of a block's tensor; `base` is the folder of a set, a retry or a scan."""
    return base / kind / block / f"on_{on}{variant and '-'}{variant}"


def inside(path: Path) -> list[Path]:
    """What is in a folder, in order of name, but what is being written; `path` itself when it cannot be listed."""
    try:
        return sorted(path / name for name in os.listdir(path) if not name.startswith("."))
    except OSError:
        return [path] if os.path.lexists(path) else []


def jobs_folder(root: Path) -> Path:
    """Where the jobs of the store at `root` are."""
    return root / "jobs"


def leases_folder(root: Path) -> Path:
    """Where the leases of the store at `root` are."""
    return root / "leases"


@dataclass(frozen=True)
class JobFolder:
    """One job."""

    path: Path

    @property
    def record(self) -> Path:
        """What it is to do."""
        return self.path / "job.json"

    @property
    def heartbeat(self) -> Path:
        """What its worker says."""
        return self.path / "heartbeat.json"

    @property
    def log(self) -> Path:
        """Its events, a line each."""
        return self.path / "log.jsonl"

    @property
    def errors(self) -> Path:
        """What its process printed about what went wrong."""
        return self.path / "stderr.txt"

    @property
    def growing(self) -> Path:
        """FZs that are being optimised, as they look so far."""
        return self.path / "growing"

    @property
    def output(self) -> Path:
        """What the command that it is printed."""
        return self.path / "output.txt"

    @property
    def place(self) -> Path:
        """Its place in its queue."""
        return self.path / "place"

    @property
    def hold(self) -> Path:
        """There when it is to pause."""
        return self.path / "hold"

    @property
    def stop(self) -> Path:
        """There when it is to end."""
        return self.path / "stop"


@dataclass(frozen=True)
class ModelFolder:
    """What is stored of one model."""

    path: Path

    @property
    def document(self) -> Path:
        return self.path / "model.json"

    @property
    def ablations(self) -> Path:
        return self.path / "ablations"

    @property
    def sets(self) -> Path:
        return self.path / "sets"

    @property
    def scans(self) -> Path:
        return self.path / "scans"


@dataclass(frozen=True)
class SetFolder:
    """One set of FZs."""

    path: Path

    @property
    def model(self) -> ModelFolder:
        return ModelFolder(self.path.parent.parent)

    @property
    def document(self) -> Path:
        return self.path / "set.json"

    @property
    def completed(self) -> Path:
        return self.path / "completed.json"

    @property
    def retries(self) -> Path:
        return self.path / "retries"

    @property
    def all_pairs(self) -> Path:
        return self.path / "pairs"

    def pairs(self, block: str) -> Path:
        """A block's gains among those of pairs."""
        return self.all_pairs / f"{block}.json"

    def of_retry(self, retry: int) -> RetryFolder:
        """0 is the first FZ of every channel."""
        return RetryFolder(self.retries / str(retry) if retry else self.path, self)

    def stored_retries(self) -> list[RetryFolder]:
        """The first FZs, then every retry that is on disk."""
        return [RetryFolder(path, self) for path in (self.path, *inside(self.retries))]


@dataclass(frozen=True)
class RetryFolder:
    """What belongs to the first FZs of a set, or to those of one retry: FZs, measures and responses."""

    path: Path
    set: SetFolder

    @property
    def number(self) -> int:
        """0 for the first FZs; -1 for a folder that is of no retry."""
        if self.path == self.set.path:
            return 0
        name = self.path.name
        return int(name) if name.isdecimal() and len(name) < 4 and name.isascii() and name[0] != "0" else -1

    @property
    def all_fzs(self) -> Path:
        return self.path / "fzs"

    @property
    def all_measures(self) -> Path:
        return self.path / "measures"

    def fzs(self, target: str) -> Path:
        """Batches of the FZs of a target."""
        return self.all_fzs / target

    def measures(self, block: str, tensor: str) -> Path:
        """Batches of what was measured on the FZs of a block's tensor."""
        return self.all_measures / block / f"on_{tensor}"

    def batches(self) -> Iterator[BatchFolder]:
        """Every batch of FZs and of measures on disk, and whatever is where a folder should be."""
        if not self.path.is_dir():
            yield BatchFolder(self.path, self, None)
            return
        for target in inside(self.all_fzs):
            block, _, tensor = target.name.rpartition(".")
            yield from self._in(target, "fzs", block, tensor)
        for block_folder in inside(self.all_measures):
            for tensor_folder in inside(block_folder):
                tensor = tensor_folder.name.removeprefix("on_")
                yield from self._in(tensor_folder, "measures", block_folder.name, tensor)

    def read_on(self, block: str, tensor: str, first: int, last: int) -> list[Path]:
        """Batches on disk of what was read of a tensor's FZs (measures, curves, shams) that share these channels."""
        kinds: tuple[BatchKind, ...] = ("measures", CURVES, SHAMS)
        # Curves with antialiasing are in a folder of their own, `on_in-antialiased`.
        folders = [folder for kind in kinds for folder in (self.path / kind / block).glob(f"on_{tensor}*")]
        ranges = [(path, *channel_range(path.name)) for folder in folders for path in inside(folder)]
        return [path for path, start, end in ranges if first <= end and start <= last]

    def _in(self, folder: Path, kind: BatchKind, block: str, tensor: str) -> Iterator[BatchFolder]:
        for path in inside(folder):
            yield BatchFolder(path, self, kind if path.parent == folder else None, block, tensor)


@dataclass(frozen=True)
class BatchFolder:
    """A committed batch of a set, as found on disk; of no kind where it is something else in a folder's place."""

    path: Path
    retry: RetryFolder
    kind: BatchKind | None
    block: str = ""
    tensor: str = ""
    """On whose FZs; of those of a target, the target's."""


@dataclass(frozen=True)
class ScanFolder:
    """One scan of a folder of images, finished or not."""

    path: Path

    @property
    def document(self) -> Path:
        return self.path / "scan.json"

    @property
    def finished(self) -> Path:
        """Written last."""
        return self.path / "finished.json"

    @property
    def chunks(self) -> Path:
        return self.path / "chunks"

    @property
    def result(self) -> Path:
        return self.path / "result"

    def robust(self, protocol: Protocol) -> Path:
        """What follows from MEIs scaled as a protocol does; that of `centred` came later."""
        return self.path / ("robust" if protocol == "paper" else f"robust-{protocol}")

    @property
    def patch_chunks(self) -> Path:
        """Of chunks of images, the best patches; apart from `chunks`, for a scan that has its result already."""
        return self.path / "patch-chunks"

    @property
    def patches(self) -> Path:
        """The best patches of all images; they came later."""
        return self.path / "patches"

    @property
    def later(self) -> frozenset[Path]:
        """What a finished scan may lack: earlier releases did not make it."""
        return frozenset({self.robust("centred"), self.patches, self.patch_chunks, self.photographs})

    @property
    def photographs(self) -> Path:
        """What channels say to their best patches, a folder a block; only where somebody asked for it."""
        return self.path / PHOTOGRAPHS
