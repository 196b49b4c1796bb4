"""Finished scans: the centre activations of every image of a folder, and what follows from them. Read only.

A scan is a folder of its model's:

scans/val-1a2b3c4d5e6f/scan.json           which images, how they were prepared
  result/2.1.block.npy, images.json, …     activations (n, C), MEIs, rho
  robust/2.1.safetensors, robust-centred/… M and the scale criteria on MEIs, by protocol
  patches/2.1.block.safetensors, …         best patches anywhere in the map
  finished.json                            written last
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamscope.core.errors import DamageError, ImageError, MisplacedError, StoreError, UsageError
from streamscope.core.images.folder import Preparation, contents_digest, read_image
from streamscope.core.images.pixels import Interpretation
from streamscope.core.measures.extremes import MEIS, NONE
from streamscope.core.measures.robust import RobustMeasures
from streamscope.core.model.arrays import Float32Array, Float64Array, Pixels
from streamscope.core.model.blocks import READ, VERDICT_TENSORS, ModelInfo, Target, Tensor, ranked_targets
from streamscope.core.model.recipe import UNSAID_PROTOCOL, Protocol
from streamscope.core.schema import build, parse_object
from streamscope.core.store.files.checksums import ARRAY_LIMIT, RECORD_LIMIT, SUMS, file_sha256, read_checked, read_sums
from streamscope.core.store.files.disk_errors import read_error
from streamscope.core.store.files.documents import malformed, read_record
from streamscope.core.store.files.listing import Problems
from streamscope.core.store.layout import ResponseKind, ScanFolder
from streamscope.core.store.records import (
    RESPONSES_OWN,
    FinishedRecord,
    ImagesRecord,
    Place,
    ScanRecord,
    check_identity,
    checked_time,
)
from streamscope.core.store.scans.arrays import ArrayOf, check_scan, read_arrays
from streamscope.core.store.scans.patches import BestPatches, patches_name, patches_subject, stored_patches

IMAGES = "images.json"
IMAGE_LIMIT = 32 * 2**10
"""Bytes that a list of images may have for each of them."""


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
    preparation: Preparation

    @classmethod
    def read(cls, path: Path, info: ModelInfo) -> Described:
        """Raises OSError, or StoreError when it is damaged or of another model or folder."""
        document = ScanFolder(path).document
        record = read_record(document, ScanRecord)
        check_identity(document, record.identity_fields, record.model, info)
        check_scan(document, record.scan, path)
        if not path.name.startswith(f"{scan_prefix(Path(record.source))}-"):
            raise MisplacedError(f"{document} is of a scan of {record.source!r}, not of {path.name}")
        if not 0 < record.images < 2**40:
            raise DamageError(f"{document} is damaged (it is of {record.images} images)")
        with malformed(document):
            interpretation = Interpretation(record.value_range, record.exif_rotate, record.background)
            preparation = Preparation.recorded(info, interpretation, record.resize, record.interpolation)
        return cls(record.source, record.images, preparation)


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
        described: Described,
        finished_at: float,
        problems: Problems | None = None,
    ) -> None:
        self.path, self.folder = path, ScanFolder(path)
        self.info = info
        self.source = Path(described.source)
        self._count = described.images
        self.finished_at = finished_at
        """Seconds since 1970; NaN while it is being made."""
        self.problems = problems or Problems()
        self.preparation = described.preparation
        """How its images were prepared, whatever the model asks for today."""
        self._whole: set[str] = set()
        """Files of activations whose checksums were compared."""
        self._robust: dict[tuple[str, Protocol], RobustMeasures] = {}
        self._rho: dict[str, tuple[NDArray[Any], ...]] = {}
        self._extremes: dict[Target, Extremes] = {}
        self._patches: dict[Target, BestPatches] = {}
        self.photograph_columns: dict[str, tuple[tuple[str, ...], Mapping[str, Float64Array]]] = {}
        """By block, with the batches that they follow from: kept for `photographs.photograph_columns`."""

    @classmethod
    def open(cls, path: Path, info: ModelInfo, problems: Problems | None = None) -> Scan:
        """The finished scan at `path`. Raises OSError, StoreError when there is none or its description is damaged."""
        return cls(path, info, Described.read(path, info), read_finished(path), problems)

    def other_preparation(self, info: ModelInfo) -> str:
        """In words, how its images were prepared otherwise than the model asks for today, as those of a scan by
        version 0.2 may be; "" where they were not."""
        own, wanted = self.preparation.geometry, Preparation.of(info).geometry
        return "" if own == wanted else f"its images were prepared by '{own}', the model asks for '{wanted}'"

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
        folder, name = self.folder.result, activations_name(block, tensor)
        path = folder / name
        try:
            # Its own first: images.json says whose result this is.
            rows = len(self.images)
            if name not in self._whole and not path.exists() and name not in read_sums(folder):
                raise StoreError(f"{folder} is without the activations of its images, as scans in bundles are")
            if name not in self._whole and file_sha256(path) != read_sums(folder).get(name):
                raise DamageError(f"{path} is damaged (its checksum differs)")
            self._whole.add(name)
            found: Float32Array = np.load(path, mmap_mode="r", allow_pickle=False)
        except OSError as error:
            raise read_error(path, error) from error
        except ValueError as error:
            raise DamageError(f"{path} is damaged ({error})") from error
        if found.shape != (rows, channels) or found.dtype != np.float32:
            raise DamageError(f"{path} is damaged (its shape is {found.shape})")
        return found

    def extremes(self, block: str, tensor: Tensor) -> Extremes:
        """MEIs of `in`, `block` or `out` and their opposites.

        Ranked before any activation: `out` by `pre`, a simple block's `in` by the previous block's `pre`.
        """
        target = self.info.source(block, tensor)
        if target not in self._extremes:
            rows, channels = len(self.images), self.info.block(target.block).channels
            name = extremes_name(target)
            arrays, _ = self._arrays(self.folder.result, name, str(target))
            found = Extremes(*(arrays(field, (MEIS, channels)) for field in Extremes.__dataclass_fields__))
            for ranked in (found.top, found.bottom):
                if ranked.dtype != np.int64 or (ranked < NONE).any() or (ranked >= rows).any():
                    raise DamageError(f"{self.folder.result / name} is damaged (it names images that there are not)")
            self._extremes[target] = found
        return self._extremes[target]

    def has_robust(self, protocol: Protocol) -> bool:
        """Whether there is anything for `robust` to read: finished scans of 0.2.0 have nothing `centred`."""
        return (self.folder.robust(protocol) / SUMS).is_file()

    def robust(self, block: str, protocol: Protocol = UNSAID_PROTOCOL) -> RobustMeasures:
        """M and the scale criteria with MEIs in place of FZs, of every channel, scaled as a protocol does."""
        if (block, protocol) not in self._robust:
            folder = self.folder.robust(protocol)
            channels = self.info.block(block).channels
            name = robust_name(block)
            arrays, named = self._arrays(folder, name, robust_subject(block, protocol))
            found = RobustMeasures(*(arrays(field, (channels,)) for field in RobustMeasures.names()))
            if not named and not np.array_equal(found.images, self._images_behind(block)):
                raise MisplacedError(f"{folder / name} is of another scan's result")
            self._robust[block, protocol] = found
        return self._robust[block, protocol]

    @property
    def has_patches(self) -> bool:
        """Whether there is anything for `patches` to read: scans of 0.2.0 kept none."""
        return (self.folder.patches / SUMS).is_file()

    def patches(self, block: str, tensor: Tensor) -> BestPatches | None:
        """The best patches of `in`, `block` or `out` anywhere in the map, ranked before activation as `extremes` are.

        None where an earlier release made the scan; scanning the folder again adds them.
        """
        target = self.info.source(block, tensor)
        if not self.has_patches:
            return None
        if target not in self._patches:
            name = patches_name(target)
            arrays, _ = self._arrays(self.folder.patches, name, patches_subject(target))
            channels = self.info.block(target.block).channels
            self._patches[target] = stored_patches(arrays, self.folder.patches / name, channels, len(self.images))
        return self._patches[target]

    def rho(self, block: str) -> tuple[Float64Array, Float64Array, NDArray[np.int64]]:
        """Spearman's rho of B against I over the images with I > 0, its p, and how many images those are; each (C,)."""
        if block not in self._rho:
            channels = self.info.block(block).channels
            arrays, _ = self._arrays(self.folder.result, rho_name(self.info.block(block).name), block)
            self._rho[block] = tuple(arrays(name, (channels,)) for name in ("rho", "p", "n"))
        rho, p, n = self._rho[block]
        return rho, p, n

    def responses_place(self, kind: ResponseKind, block: str, on: Tensor, variant: str) -> Place:
        """What the records of responses to the MEIs of a block's tensor must say."""
        header = {
            "kind": kind,
            "model": self.info.name,
            **self.info.identity_fields,
            "block": block,
            "on": on,
            "variant": variant,
            "scan": self.path.name,
        }
        return Place(header, RESPONSES_OWN, self.info.block(block).channels)

    def image(self, row: int) -> Pixels:
        """An image as the model saw it, (side, side, 3) uint8.

        Raises ImageError when it cannot be read, or is not the image that was scanned.
        """
        scanned = self.images[row]
        path = self.source / scanned.path
        if not self.source.is_dir():
            raise ImageError(f"{self.source} is gone: the scanned images were moved; scan them where they are now")
        image = read_image(path, self.preparation)
        if image.sha256 != scanned.sha256:
            raise ChangedImageError(self.info, self.source, path)
        return image.pixels

    @property
    def described(self) -> dict[str, Any]:
        """For the `.meta.json` of a table: the folder's name, how many images, a digest of all their contents, and how
        they were prepared."""
        digest = contents_digest((image.path, image.sha256) for image in self.images)
        return {
            "folder": self.source.name,
            "count": len(self.images),
            "sha256": digest,
            "preparation": str(self.preparation),
        }

    @cached_property
    def _listed(self) -> tuple[tuple[ScannedImage, ...], tuple[tuple[str, str], ...], Mapping[str, int] | None]:
        path = self.folder.result / IMAGES
        content = self._content(self.folder.result, IMAGES, RECORD_LIMIT + IMAGE_LIMIT * self._count)
        with malformed(path):
            record = build(ImagesRecord, parse_object(content))
        check_scan(path, record.scan, self.path)
        if len(record.images) + len(record.unreadable) != self._count:
            raise MisplacedError(f"{self.folder.result} is of another scan (it is of other images)")
        return tuple(ScannedImage(*image) for image in record.images), record.unreadable, record.traits

    def _images_behind(self, block: str) -> NDArray[np.int64]:
        """As `RobustMeasures.images`: all that tells whether what 0.2.0 wrote of them follows from this result."""
        behind = [(self.extremes(block, tensor).top_values > 0).sum(axis=0) for tensor in VERDICT_TENSORS]
        found: NDArray[np.int64] = np.min(behind, axis=0)
        return found

    def _arrays(self, folder: Path, name: str, subject: str) -> tuple[ArrayOf, bool]:
        """What gives an array of a file by its name, of a shape, and whether the file names its scan; `subject` is what
        the file is of."""
        _ = self.images
        content = self._content(folder, name)
        return read_arrays(content, folder / name, self.path, subject)

    def _content(self, folder: Path, name: str, limit: int = ARRAY_LIMIT) -> bytes:
        try:
            return read_checked(folder, name, read_sums(folder), limit)
        except OSError as error:
            raise read_error(folder / name, error) from error


def read_finished(path: Path) -> float:
    """When the scan at `path` was finished, in seconds since 1970. Raises OSError, StoreError."""
    document = ScanFolder(path).finished
    record = read_record(document, FinishedRecord)
    check_scan(document, record.scan, path)
    return checked_time(document, record.time)


def scan_prefix(source: Path) -> str:
    """How the folder of a scan of `source` begins: as people know it."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", source.name).strip(".-")[:40] or "images"


def tensor_name(block: str, tensor: str) -> str:
    return f"{block}.{tensor}"


def activations_name(block: str, tensor: str) -> str:
    return f"{tensor_name(block, tensor)}.npy"


def extremes_name(target: Target) -> str:
    return f"{target}.extremes.safetensors"


def rho_name(block: str) -> str:
    return f"{block}.rho.safetensors"


def robust_name(block: str) -> str:
    return f"{block}.safetensors"


def robust_subject(block: str, protocol: Protocol) -> str:
    """What a file of robust measures says that it is of."""
    return block if protocol == UNSAID_PROTOCOL else f"{block} {protocol}"


def result_files(info: ModelInfo) -> set[str]:
    """Names of the files of a scan's result."""
    blocks = [block.name for block in info.blocks]
    arrays = {activations_name(block, tensor) for block in blocks for tensor in READ}
    return {IMAGES, *arrays, *map(rho_name, blocks), *map(extremes_name, ranked_targets(info))}


def robust_files(info: ModelInfo) -> set[str]:
    return {robust_name(block.name) for block in info.blocks}
