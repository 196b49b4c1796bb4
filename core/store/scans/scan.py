"""Finished scans: the centre activations of every image of a folder, and what follows from them. Read only.

A scan is a folder of its model's:

scans/val-1a2b3c4d5e6f/scan.json           which images, how they were prepared
  result/2.1.block.npy, images.json, …     activations (n, C), MEIs, rho
  robust/2.1.safetensors                   M and the scale criteria on MEIs
  finished.json                            written last
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from streamscope.core.errors import DamageError, ImageError, UsageError
from streamscope.core.images.folder import Preparation, contents_digest, read_image
from streamscope.core.images.pixels import AS_TRAINED, Interpretation
from streamscope.core.measures.robust import RobustMeasures
from streamscope.core.model.arrays import Float32Array, Float64Array, Pixels
from streamscope.core.model.blocks import READ, ModelInfo, Target, Tensor
from streamscope.core.store.files.checksums import read_checked, read_sums
from streamscope.core.store.files.disk_errors import reason
from streamscope.core.store.files.documents import read_document
from streamscope.core.store.files.listing import Problems
from streamscope.core.store.layout import ScanFolder

IMAGES = "images.json"


class ChangedImageError(ImageError):
    """An image is not the one that was scanned."""

    def __init__(self, info: ModelInfo, source: Path, path: Path) -> None:
        self.info, self.source = info, source
        super().__init__(f"{path} was changed since it was scanned")


@dataclass(frozen=True)
class ScannedImage:
    """`path` is from the scanned folder, `label` its class folder or "", `sha256` that of the file's bytes."""

    path: str
    label: str
    sha256: str


@dataclass(frozen=True)
class Described:
    """Of what a scan is, finished or not: `images` of the folder `source`, readable or not."""

    source: str
    images: int
    interpretation: Interpretation = AS_TRAINED

    @classmethod
    def read(cls, path: Path) -> Described:
        """Raises OSError, StoreError when it is damaged."""
        document = ScanFolder(path).document
        data = read_document(document)
        try:
            return cls(str(data["source"]), int(data["images"]), Interpretation.from_json(data))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise DamageError(f"{document} is damaged ({error})") from error


@dataclass(frozen=True, eq=False)
class Extremes:
    """The images that excite each channel most and least: rows of the scan (9, C), -1 where there are fewer.

    The most and the least exciting first. Values are those that were ranked, NaN in place of a missing image.
    """

    top: NDArray[np.int64]
    top_values: Float32Array
    bottom: NDArray[np.int64]
    bottom_values: Float32Array


class Scan:
    """One finished scan of one folder by one model. Cheap to make; what is large is read when asked for.

    Every method raises StoreError where what is stored is damaged, UsageError for an unknown block.
    """

    def __init__(
        self,
        path: Path,
        info: ModelInfo,
        source: Path,
        finished_at: float,
        problems: Problems | None = None,
        interpretation: Interpretation = AS_TRAINED,
    ) -> None:
        self.path, self.folder = path, ScanFolder(path)
        self.info = info
        self.source = source
        self.finished_at = finished_at
        """Seconds since 1970; NaN while it is being made."""
        self.problems = problems or Problems()
        self.interpretation = interpretation
        self._robust: dict[str, RobustMeasures] = {}
        self._rho: dict[str, tuple[NDArray[Any], ...]] = {}
        self._extremes: dict[Target, Extremes] = {}

    @classmethod
    def open(cls, path: Path, info: ModelInfo, problems: Problems | None = None) -> Scan:
        """The finished scan at `path`. Raises OSError, StoreError when there is none or its description is damaged."""
        described, finished = Described.read(path), read_document(ScanFolder(path).finished)
        source, at = Path(described.source), float(finished["time"])
        return cls(path, info, source, at, problems, described.interpretation)

    def __repr__(self) -> str:
        return f"Scan({self.info.name}, {self.source})"

    @property
    def images(self) -> tuple[ScannedImage, ...]:
        """In the order of the rows of `activations`."""
        return self._listed[0]

    @property
    def unreadable(self) -> tuple[tuple[str, str], ...]:
        """(path, what was wrong) of images that have no row."""
        return self._listed[1]

    @property
    def traits(self) -> Mapping[str, int] | None:
        """How many images have each `Trait`; None for a scan by a release that did not look (0.2.0)."""
        return self._listed[2]

    def activations(self, block: str, tensor: str) -> Float32Array:
        """Centre activations (n, C) of `in`, `block` or `pre`: read-only, mapped from disk, column by column."""
        if tensor not in READ:
            raise UsageError(f"unknown tensor {tensor!r}; activations are of {', '.join(READ)}")
        channels = self.info.block(block).channels
        path = self.folder.result / activations_name(block, tensor)
        try:
            found: Float32Array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            what = reason(error) if isinstance(error, OSError) else str(error)
            raise DamageError(f"cannot read {path}: {what}") from error
        if found.shape != (len(self.images), channels) or found.dtype != np.float32:
            raise DamageError(f"{path} is damaged (its shape is {found.shape})")
        return found

    def extremes(self, block: str, tensor: Tensor) -> Extremes:
        """MEIs of `in`, `block` or `out` and their opposites.

        Ranked before the ReLU: `out` by `pre`, a simple block's `in` by the previous block's `pre`.
        """
        target = self.info.target(block, tensor)
        if target not in self._extremes:
            arrays = self._arrays(self.folder.result, extremes_name(target))
            self._extremes[target] = Extremes(*(arrays(name) for name in Extremes.__dataclass_fields__))
        return self._extremes[target]

    def robust(self, block: str) -> RobustMeasures:
        """M and the scale criteria with MEIs in place of FZs, of every channel."""
        if block not in self._robust:
            arrays = self._arrays(self.folder.robust, f"{self.info.block(block).name}.safetensors")
            self._robust[block] = RobustMeasures(*(arrays(name) for name in RobustMeasures.names()))
        return self._robust[block]

    def rho(self, block: str) -> tuple[Float64Array, Float64Array, NDArray[np.int64]]:
        """Spearman's rho of B against I over the images with I > 0, its p, and how many images those are; each (C,)."""
        if block not in self._rho:
            arrays = self._arrays(self.folder.result, rho_name(self.info.block(block).name))
            self._rho[block] = tuple(arrays(name) for name in ("rho", "p", "n"))
        rho, p, n = self._rho[block]
        return rho, p, n

    def image(self, row: int) -> Pixels:
        """An image as the model saw it, (side, side, 3) uint8.

        Raises ImageError when it cannot be read, or is not the image that was scanned.
        """
        scanned = self.images[row]
        path = self.source / scanned.path
        if not self.source.is_dir():
            raise ImageError(f"{self.source} is gone: the scanned images were moved; scan them where they are now")
        image = read_image(path, Preparation.of(self.info, self.interpretation))
        if image.sha256 != scanned.sha256:
            raise ChangedImageError(self.info, self.source, path)
        return image.pixels

    @property
    def described(self) -> dict[str, Any]:
        """For the `.meta.json` of a table: the folder's name, how many images, and a digest of all their contents."""
        digest = contents_digest((image.path, image.sha256) for image in self.images)
        return {"folder": self.source.name, "count": len(self.images), "sha256": digest}

    @cached_property
    def _listed(self) -> tuple[tuple[ScannedImage, ...], tuple[tuple[str, str], ...], dict[str, int] | None]:
        content = self._content(self.folder.result, IMAGES)
        try:
            data = json.loads(content)
            images = tuple(ScannedImage(*(str(part) for part in image)) for image in data["images"])
            unreadable = tuple((str(path), str(what)) for path, what in data["unreadable"])
            traits = {str(name): int(count) for name, count in data["traits"].items()} if "traits" in data else None
            return images, unreadable, traits
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamageError(f"{self.folder.result / IMAGES} is damaged") from error

    def _arrays(self, folder: Path, name: str) -> Any:
        content = self._content(folder, name)
        path = folder / name
        try:
            arrays = safetensors.numpy.load(content)
        except Exception as error:  # checksums were right: something else wrote such a file
            raise DamageError(f"{path} is damaged ({error})") from error

        def get(key: str) -> NDArray[Any]:
            if key not in arrays:
                raise DamageError(f"{path} is damaged ({key} is missing)")
            return arrays[key]

        return get

    def _content(self, folder: Path, name: str) -> bytes:
        try:
            return read_checked(folder, name, read_sums(folder))
        except OSError as error:
            raise DamageError(f"cannot read {folder / name}: {reason(error)}") from error


def tensor_name(block: str, tensor: str) -> str:
    return f"{block}.{tensor}"


def activations_name(block: str, tensor: str) -> str:
    return f"{tensor_name(block, tensor)}.npy"


def extremes_name(target: Target) -> str:
    return f"{target}.extremes.safetensors"


def rho_name(block: str) -> str:
    return f"{block}.rho.safetensors"


def ranked_tensor(target: Target) -> str:
    """What the MEIs of a target are ranked by: its tensor, `out` before the ReLU."""
    return "pre" if target.tensor == "out" else target.tensor


def ranked_targets(info: ModelInfo) -> list[Target]:
    """Every target that MEIs are kept of, each once."""
    every = [info.target(block.name, tensor) for block in info.blocks for tensor in ("in", "block", "out")]
    return list(dict.fromkeys(every))
