"""Scans in the making: chunks of images, committed one by one, then put together. Never imports torch.

    chunks/000000-000255/activations.safetensors, images.json, SHA256SUMS

A killed scan loses at most the chunk in flight. The result and what follows from it are committed whole; then the
chunks go.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from streamscope import __version__
from streamscope.core.errors import AmbiguousValuesError, DamageError, ImageError, MisplacedError, StoreError
from streamscope.core.images.folder import ImagePath, Preparation
from streamscope.core.images.pixels import AS_TRAINED, Interpretation
from streamscope.core.measures.robust import RobustMeasures
from streamscope.core.model.arrays import Float32Array, Float64Array
from streamscope.core.model.blocks import READ, ModelInfo, Target
from streamscope.core.model.recipe import PROTOCOLS, Protocol
from streamscope.core.schema import build, parse_object
from streamscope.core.store.files.atomic import build_folder, remove_folder, write_folder, write_new
from streamscope.core.store.files.checksums import SUMS, file_sha256, folder_damage, read_checked, read_sums
from streamscope.core.store.files.disk_errors import read_error
from streamscope.core.store.files.documents import encode, malformed, write_described_folder, write_document
from streamscope.core.store.layout import ModelFolder, ScanFolder
from streamscope.core.store.records import ChunkRecord
from streamscope.core.store.scans.arrays import array_metadata
from streamscope.core.store.scans.scan import (
    IMAGES,
    Described,
    Extremes,
    Scan,
    activations_name,
    extremes_name,
    read_finished,
    rho_name,
    robust_name,
    robust_subject,
    scan_prefix,
    tensor_name,
)
from streamscope.core.watch import PhaseWatch

ACTIVATIONS = "activations.safetensors"
CHUNK_BYTES = 32 * 2**20
CHUNK_IMAGES = (64, 256)
"""Fewest and most images of a chunk; between them as many as fill `CHUNK_BYTES`."""
GROUP_BYTES = 64 * 2**20
"""Chunks put together at a time: long runs for the disk, little memory."""

Activations = Mapping[str, Float32Array]
"""By block: (images, 3, C), axis 1 = READ."""


@dataclass(frozen=True)
class Seen:
    """An image of a chunk: its content's hash, or what was wrong with it."""

    path: str
    label: str
    sha256: str
    problem: str
    traits: frozenset[str] = frozenset()
    """`Trait`s: what else it has that the model was not shown, or was."""


@dataclass(frozen=True)
class ResultDraft:
    """A scan's result in the making: its activations are there, and what follows from them is added."""

    folder: Path
    info: ModelInfo
    scan: Path
    """The folder of the scan."""

    def activations(self, block: str, tensor: str) -> Float32Array:
        """Centre activations (n, C) of `in`, `block` or `pre`, mapped from disk column by column. Raises OSError."""
        activations: Float32Array = np.load(self.folder / activations_name(block, tensor), mmap_mode="r")
        return activations

    def write_extremes(self, target: Target, extremes: Extremes) -> None:
        """Raises OSError."""
        arrays = {field.name: getattr(extremes, field.name) for field in fields(Extremes)}
        metadata = array_metadata(self.scan, str(target))
        write_new(self.folder / extremes_name(target), safetensors.numpy.save(arrays, metadata))

    def write_rho(self, block: str, rho: Float64Array, p: Float64Array, n: NDArray[np.int64]) -> None:
        """Rank correlations of a block, each (C,), as `Scan.rho` gives them. Raises OSError."""
        metadata = array_metadata(self.scan, block)
        write_new(self.folder / rho_name(block), safetensors.numpy.save({"rho": rho, "p": p, "n": n}, metadata))


def image_bytes(info: ModelInfo) -> int:
    """Bytes of activations that one image takes."""
    return 4 * len(READ) * sum(block.channels for block in info.blocks)


def chunk_images(info: ModelInfo) -> int:
    fewest, most = CHUNK_IMAGES
    return int(np.clip(CHUNK_BYTES // image_bytes(info), fewest, most))


def chunk_name(chunk: range) -> str:
    return f"{chunk[0]:07d}-{chunk[-1]:07d}"


class Draft:
    """A scan that may be unfinished: of these images, prepared so, whatever was done of it already.

    The same images (by path, size and date) in the same folder give the same draft, so that a rerun goes on with it.
    """

    def __init__(
        self,
        model_folder: Path,
        info: ModelInfo,
        source: Path,
        images: Sequence[ImagePath],
        per_chunk: int | None = None,
        interpretation: Interpretation = AS_TRAINED,
    ) -> None:
        """`per_chunk` images are committed together; None chooses by how many bytes their activations take."""
        self.info, self.images = info, images
        self.source = Path(os.path.abspath(source))
        self.preparation = Preparation.of(info, interpretation)
        self.per_chunk = per_chunk or chunk_images(info)
        self.path = ModelFolder(model_folder).scans / self._name()
        self._folder = ScanFolder(self.path)

    def _name(self) -> str:
        digest = hashlib.sha256()
        for part in (str(self.source), str(self.preparation), str(self.per_chunk)):
            digest.update(f"{part}\n".encode(errors="surrogateescape"))
        for image in self.images:
            line = f"{image.path}\0{image.size}\0{image.modified}\n"
            digest.update(line.encode(errors="surrogateescape"))
        return f"{scan_prefix(self.source)}-{digest.hexdigest()[:12]}"

    @property
    def finished(self) -> bool:
        return self._folder.finished.is_file()

    @property
    def has_result(self) -> bool:
        return (self._folder.result / SUMS).is_file()

    def has_robust(self, protocol: Protocol) -> bool:
        return (self._folder.robust(protocol) / SUMS).is_file()

    @property
    def has_patches(self) -> bool:
        return (self._folder.patches / SUMS).is_file()

    @property
    def complete(self) -> bool:
        """Finished, and nothing that came later is lacking, or left over."""
        whole = self.finished and self.has_patches and all(map(self.has_robust, PROTOCOLS))
        return whole and not os.path.lexists(self._folder.patch_chunks)

    def hashes(self, chunk: range) -> dict[str, str]:
        """SHA-256 by path, of the images whose activations a chunk or the result has. Raises StoreError."""
        if self.has_result:
            return self._result_hashes
        return {image.path: image.sha256 for image in self._seen(chunk) if not image.problem}

    @cached_property
    def _result_hashes(self) -> dict[str, str]:
        return {image.path: image.sha256 for image in self.scan().images}

    def create(self) -> None:
        """Makes the scan's folder and describes it, if that was not done. Raises StoreError."""
        if not self._folder.document.is_file():
            described = {
                "model": self.info.name,
                **self.info.identity_fields,
                "source": str(self.source),
                "images": len(self.images),
                "preparation": str(self.preparation),
                **self.preparation.to_json(self.info),
                "engine": __version__,
                "created": time.time(),
                "scan": self.path.name,
            }
            write_described_folder(self.path, self._folder.document.name, described)

    def chunks(self) -> list[range]:
        """The images of each chunk, as places in `images`."""
        count = len(self.images)
        return [range(first, min(first + self.per_chunk, count)) for first in range(0, count, self.per_chunk)]

    def missing(self) -> list[range]:
        """Chunks that are still to be made. A damaged one is removed and made again. Raises StoreError."""
        absent = []
        for chunk in self.chunks():
            folder = self._chunk(chunk)
            if not os.path.lexists(folder):
                absent.append(chunk)
                continue
            damage = folder_damage(folder)
            if unreadable := next((found for found in damage if found.unreadable), None):
                raise StoreError(f"{unreadable.path} {unreadable.what}")
            if damage or not self._belongs(chunk):
                remove_folder(folder)
                absent.append(chunk)
        return absent

    def _belongs(self, chunk: range) -> bool:
        """Whether an intact chunk is of this scan's images. Raises NewerError."""
        try:
            return [image.path for image in self._seen(chunk)] == [self.images[place].path for place in chunk]
        except DamageError:
            return False

    def commit_chunk(self, chunk: range, seen: Sequence[Seen], activations: Activations) -> bool:
        """Stores a chunk: what was seen of every image, and the activations of those without a problem.

        Raises StoreError, DiskFullError.
        """
        count = sum(not image.problem for image in seen)
        if [image.path for image in seen] != [self.images[place].path for place in chunk]:
            raise ValueError("a chunk holds its own images, in their order")
        arrays = {}
        for block in self.info.blocks:
            values = np.asarray(activations[block.name], dtype=np.float32)
            if values.shape != (count, len(READ), block.channels):
                raise ValueError(f"activations of {block.name} must be {(count, len(READ), block.channels)}")
            for axis, tensor in enumerate(READ):
                # Channel by channel, as the result has them.
                arrays[tensor_name(block.name, tensor)] = np.ascontiguousarray(values[:, axis].T)
        described: dict[str, Any] = {"images": [[i.path, i.label, i.sha256, i.problem] for i in seen]}
        # Beside the images: an earlier release reads four fields of each.
        if traits := {image.path: sorted(image.traits) for image in seen if image.traits}:
            described["traits"] = traits
        described["scan"] = self.path.name
        files = {ACTIVATIONS: safetensors.numpy.save(arrays), IMAGES: encode(described)}
        return write_folder(self._chunk(chunk), files)

    def commit_result(
        self, provenance: Mapping[str, Any], add: Callable[[ResultDraft], None], watch: PhaseWatch = lambda *_: None
    ) -> None:
        """Puts the chunks together, has `add` write what follows from all activations, and commits all of it at once.

        Memory does not grow with the number of images. Raises ImageError when no image could be read, StoreError,
        DiskFullError.
        """
        seen = [image for chunk in self.chunks() for image in self._seen(chunk)]
        readable = [image for image in seen if not image.problem]
        if not readable:
            problem = seen[0].problem
            kind = AmbiguousValuesError if AmbiguousValuesError.is_meant_by(problem) else ImageError
            raise kind(f"none of the {len(seen)} images could be read; the first: {problem}")
        listed = {
            "images": [[i.path, i.label, i.sha256] for i in readable],
            "unreadable": [[i.path, i.problem] for i in seen if i.problem],
            "traits": Counter(trait for i in readable for trait in sorted(i.traits)),
            "provenance": {"engine": __version__, **provenance},
            "scan": self.path.name,
        }

        def fill(folder: Path) -> dict[str, str]:
            write_new(folder / IMAGES, encode(listed))
            self._write_activations(folder, len(readable), watch)
            add(ResultDraft(folder, self.info, self.path))
            return {path.name: file_sha256(path) for path in sorted(folder.iterdir())}

        build_folder(self._folder.result, fill)

    def commit_robust(self, found: Mapping[str, RobustMeasures], protocol: Protocol) -> None:
        """Stores M and the criteria by MEIs of every block, scaled as a protocol does.

        Raises StoreError, DiskFullError.
        """
        files = {
            robust_name(block.name): safetensors.numpy.save(
                {name: np.asarray(getattr(found[block.name], name)) for name in RobustMeasures.names()},
                array_metadata(self.path, robust_subject(block.name, protocol)),
            )
            for block in self.info.blocks
        }
        write_folder(self._folder.robust(protocol), files)

    def finish(self) -> None:
        """Says that the scan is whole; what it was put together from goes. Raises StoreError."""
        if self._folder.chunks.is_dir():
            remove_folder(self._folder.chunks)
        write_document(self._folder.finished, {"time": time.time(), "scan": self.path.name})

    def scan(self) -> Scan:
        """What is committed of it, to be read; whole once it is finished. Raises StoreError."""
        try:
            finished = read_finished(self.path) if self.finished else math.nan
        except OSError as error:
            raise read_error(self._folder.finished, error) from error
        described = Described(str(self.source), len(self.images), self.preparation)
        return Scan(self.path, self.info, described, finished)

    def _chunk(self, chunk: range) -> Path:
        return self._folder.chunks / chunk_name(chunk)

    def _seen(self, chunk: range) -> list[Seen]:
        folder = self._chunk(chunk)
        try:
            content = read_checked(folder, IMAGES, read_sums(folder))
        except OSError as error:
            raise StoreError(f"{folder} cannot be read ({error}); run the scan again") from error
        with malformed(folder / IMAGES):
            record = build(ChunkRecord, parse_object(content))
        if record.scan not in (None, self.path.name):
            raise MisplacedError(f"{folder} is of the scan {record.scan[:80]!r}, not {self.path.name}")
        return [Seen(*image, frozenset(record.traits.get(image[0], ()))) for image in record.images]

    def _write_activations(self, folder: Path, rows: int, watch: PhaseWatch) -> None:
        """Column by column: all images of a channel lie together, which is how everything reads them."""
        files = {
            tensor_name(block.name, tensor): folder / activations_name(block.name, tensor)
            for block in self.info.blocks
            for tensor in READ
        }
        channels = {tensor_name(block.name, tensor): block.channels for block in self.info.blocks for tensor in READ}
        starts = {}
        for name, path in files.items():
            with open(path, "xb") as file:
                header = {"descr": "<f4", "fortran_order": True, "shape": (rows, channels[name])}
                np.lib.format.write_array_header_1_0(file, header)
                starts[name] = file.tell()
                file.truncate(starts[name] + 4 * rows * channels[name])
        chunks, first = self.chunks(), 0
        per_group = max(1, GROUP_BYTES // (image_bytes(self.info) * self.per_chunk))
        for at in range(0, len(chunks), per_group):
            parts = [self._arrays(chunk) for chunk in chunks[at : at + per_group]]
            for name, path in files.items():
                values = np.concatenate([part.pop(name) for part in parts], axis=1)
                with open(path, "r+b") as file:
                    for channel, column in enumerate(values):
                        file.seek(starts[name] + 4 * (channel * rows + first))
                        file.write(column.astype("<f4", copy=False).tobytes())
            first += values.shape[1]
            watch(min(at + per_group, len(chunks)), len(chunks), "putting activations together")
        for path in files.values():
            with open(path, "r+b") as file:
                os.fsync(file.fileno())

    def _arrays(self, chunk: range) -> dict[str, Float32Array]:
        folder = self._chunk(chunk)
        try:
            return safetensors.numpy.load(read_checked(folder, ACTIVATIONS, read_sums(folder)))
        except OSError as error:
            raise StoreError(f"{folder} cannot be read ({error}); run the scan again") from error
