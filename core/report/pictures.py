"""Pictures of a report: FZs, scaled FZs, MEIs and best patches, one file each however many pages show it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from streamscope.core.errors import StreamscopeError, UsageError
from streamscope.core.images.scaling import SIZES, patch_at_sizes, scaled_picture
from streamscope.core.model.arrays import Pixels
from streamscope.core.model.blocks import TENSORS, Block, Field, Target, Tensor
from streamscope.core.report.material import Material
from streamscope.core.store import FZSet, Scan
from streamscope.core.store.files.disk_errors import writing
from streamscope.core.store.scans.photographs import patches_to_read
from streamscope.core.table.retries import retry_of, shown_fz

QUALITY = 92
"""JPEG with full colour resolution: an FZ of 224 px takes 17 kB instead of 70 as PNG, which is how the store has it
exactly; a grey level differs by 1.4 on average."""
SMALL = 75
"""The same for a report in one file, with half the colour resolution."""
MOST = 200_000_000
"""Bytes of all pictures of a report in one file; browsers are slow to open more."""
SCALED: dict[Tensor, str] = {"in": "up", "block": "down"}
"""Which way an FZ is scaled for the scale criteria."""
AT_ONCE = 64
PATCHES = 3
"""Shown of every channel and tensor."""
PATCH_SIDE, PATCH_GAP = 64, 2
"""Px of a patch at most, and between two."""
PHOTOGRAPHS = 256
"""In memory at a time: many channels have one in common."""


@dataclass
class BlockPictures:
    """Files of one block's channels, as paths within the report; None where there is no picture."""

    fz: dict[Tensor, list[str | None]]
    scaled: dict[Tensor, list[str | None]]
    """S(FZ(I)) and S-(FZ(B))."""


@dataclass
class Pictures:
    """Writes pictures into a report's folder, each once. What cannot be read is said in `problems`."""

    material: Material
    report: Path
    advance: Callable[[int], None] = lambda count: None
    small: bool = False
    """Whether they are to take little room rather than to be looked at closely."""
    problems: list[StreamscopeError] = field(default_factory=list)
    _size: int = 0
    _written: dict[str, bool] = field(default_factory=dict)
    _blocks: dict[str, BlockPictures] = field(default_factory=dict)
    _retried: dict[str, dict[int, int]] = field(default_factory=dict)

    def of_block(self, block: Block) -> BlockPictures:
        """Writes FZs and scaled FZs of a block's channels that pages show, those that their rows are read from."""
        if block.name in self._blocks:
            return self._blocks[block.name]
        found = BlockPictures(
            {tensor: [None] * block.channels for tensor in TENSORS}, {t: [None] * block.channels for t in SCALED}
        )
        self._write(self._jobs_of(block, found))
        for files in (*found.fz.values(), *found.scaled.values()):
            for channel, file in enumerate(files):
                if file is not None and not self._written[file]:
                    files[channel] = None
        self.advance(len(self.material.channels(block.name)))
        self._blocks[block.name] = found
        return found

    def of_patches(self, block: Block) -> dict[Tensor, list[str | None]]:
        """Writes the best patches of each channel, a file a tensor: a row a patch, small to large."""
        found: dict[Tensor, list[str | None]] = {tensor: [None] * block.channels for tensor in TENSORS}
        scan, areas = self.material.scan, [self.material.info.area(Target(block.name, tensor)) for tensor in TENSORS]
        if scan is None or any(area is None or area.middle is None for area in areas):
            return found
        channels = list(self.material.channels(block.name))
        patches = patches_to_read(scan, block.name, channels)
        if patches is None:
            return found
        area = self.material.info.field_of(Target(block.name, "block"))
        photograph = lru_cache(PHOTOGRAPHS)(scan.image)
        jobs = []
        for place, tensor in enumerate(TENSORS):
            for number, channel in enumerate(channels):
                some = patches.rows[number, place] >= 0
                rows = patches.rows[number, place][some][:PATCHES].tolist()
                centres = patches.centres[number, place][some][:PATCHES].tolist()
                if rows:
                    file = f"pictures/patches/{block.name}.{tensor}/{channel:04d}.jpg"
                    found[tensor][channel] = file
                    jobs.append(_Job((file,), partial(_patches, photograph, rows, centres, area)))
        self._write(iter(jobs))
        for files in found.values():
            for channel, written in enumerate(files):
                if written is not None and not self._written[written]:
                    files[channel] = None
        return found

    def of_images(self, rows: Iterable[int]) -> dict[int, str]:
        """Writes images of the scan as the model saw them; those that cannot be read are left out."""
        scan = self.material.scan
        assert scan is not None
        files = {row: f"pictures/images/{row:06d}.jpg" for row in sorted(set(rows)) if row >= 0}
        self._write(_Job((file,), partial(_one_image, scan, row)) for row, file in files.items())
        return {row: file for row, file in files.items() if self._written[file]}

    @property
    def files(self) -> list[str]:
        """All that were written."""
        return [file for file, written in self._written.items() if written]

    def file(self, block: str, tensor: Tensor, channel: int) -> str | None:
        """Writes the picture of one FZ; None where there is none."""
        target = self.material.fzset.target(block, tensor)
        retry = self._retry(block, tensor, channel)
        if retry is None:
            return None
        name = _fz_file(target, channel, retry)
        self._write(iter([_Job((name,), partial(_one_fz, self.material.fzset, target, channel, retry))]))
        return name if self._written[name] else None

    def fz(self, block: str, tensor: Tensor, channel: int) -> Pixels | None:
        """One FZ, cropped to what the centre neuron sees; None when it is not stored or damaged."""
        target = self.material.fzset.target(block, tensor)
        retry = self._retry(block, tensor, channel)
        if retry is None:
            return None
        try:
            image = self.material.fzset.fz_image(target, channel, retry)
        except StreamscopeError:
            return None
        area = self.material.info.area(target)
        return image[area.start : area.stop, area.start : area.stop] if area else image

    def _jobs_of(self, block: Block, found: BlockPictures) -> Iterator[_Job]:
        fzset = self.material.fzset
        for tensor in TENSORS:
            target = fzset.target(block.name, tensor)
            scaled: list[Callable[[Pixels], Pixels]] = []
            if tensor in SCALED:
                scaled = [scaled_picture(fzset.info, block.name, tensor, fzset.key.protocol)]
            for channel in self.material.channels(block.name):
                retry = self._retry(block.name, tensor, channel)
                if retry is None:
                    continue
                files = [_fz_file(target, channel, retry)]
                found.fz[tensor][channel] = files[0]
                if tensor in SCALED:
                    files.append(_fz_file(target, channel, retry, SCALED[tensor]))
                    found.scaled[tensor][channel] = files[1]

                def read(
                    target: Target = target,
                    channel: int = channel,
                    retry: int = retry,
                    scaled: Sequence[Callable[[Pixels], Pixels]] = scaled,
                ) -> tuple[Pixels, ...]:
                    image = fzset.fz_image(target, channel, retry)
                    return (image, *(scale(image) for scale in scaled))

                yield _Job(tuple(files), read)

    def _retry(self, block: str, tensor: Tensor, channel: int) -> int | None:
        """Which FZ a row shows; None where none is stored."""
        shown = shown_fz(self.material.fzset, block, tensor, channel, self._retries(block).get(channel, 0))
        return None if shown is None else shown[0]

    def _retries(self, block: str) -> dict[int, int]:
        """By channel, for the rows of a block that are read from FZs of a later seed."""
        if block not in self._retried:
            rows = self.material.rows[block]
            fields = rows.rows(range(len(rows)), ("channel", "fz_seed", "seed"))
            self._retried[block] = {int(str(row["channel"])): retry for row in fields if (retry := retry_of(row))}
        return self._retried[block]

    def _write(self, jobs: Iterable[_Job]) -> None:
        """Reading is Python's work, encoding is done by threads meanwhile; a few images are in memory at a time."""
        waiting = iter(jobs)
        with ThreadPoolExecutor(max_workers=max(1, min(8, os.cpu_count() or 1))) as pool:
            while several := list(islice(waiting, AT_ONCE)):
                self._size += sum(pool.map(self._one, self._ready(several)))
                if self.small and self._size > MOST:
                    raise UsageError(
                        f"the pictures of {self.material.shown:,} channels are more than one file can hold "
                        f"({MOST / 1e6:.0f} MB): choose fewer channels"
                    )

    def _ready(self, jobs: Sequence[_Job]) -> Iterator[tuple[str, Pixels]]:
        for job in jobs:
            lacking = [file for file in job.files if file not in self._written]
            if not lacking:
                continue
            try:
                images = job.read()
            except StreamscopeError as error:
                self.problems.append(error)
                self._written.update(dict.fromkeys(lacking, False))
                continue
            for file, image in zip(job.files, images, strict=True):
                if file in lacking:
                    self._written[file] = True
                    yield file, image

    def _one(self, ready: tuple[str, Pixels]) -> int:
        """Writes one; returns its size in bytes."""
        file, image = ready
        path = self.report / file
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            quality, subsampling = (SMALL, "4:2:0") if self.small else (QUALITY, "4:4:4")
            Image.fromarray(image).save(path, "JPEG", quality=quality, subsampling=subsampling)
            return path.stat().st_size


@dataclass(frozen=True)
class _Job:
    """Pictures to write and how to get them: one image a file."""

    files: tuple[str, ...]
    read: Callable[[], tuple[Pixels, ...]]


def _one_fz(fzset: FZSet, target: Target, channel: int, retry: int) -> tuple[Pixels, ...]:
    return (fzset.fz_image(target, channel, retry),)


def _one_image(scan: Scan, row: int) -> tuple[Pixels, ...]:
    return (scan.image(row),)


def _patches(
    photograph: Callable[[int], Pixels], rows: Sequence[int], centres: Sequence[tuple[float, float]], area: Field
) -> tuple[Pixels, ...]:
    """Patches of the images `rows` about `centres`, below each other, at each of `SIZES`, on white."""
    side = min(PATCH_SIDE, area.stop - area.start)
    step = side + PATCH_GAP
    ground = np.full((len(rows) * step - PATCH_GAP, len(SIZES) * step - PATCH_GAP, 3), 255, dtype=np.uint8)
    for place, (row, centre) in enumerate(zip(rows, centres, strict=True)):
        sizes = patch_at_sizes(photograph(row), (centre[0], centre[1]), area.centre, (area.start, area.stop))
        for number, patch in enumerate(sizes):
            small = np.asarray(Image.fromarray(patch).resize((side, side), Image.Resampling.LANCZOS))
            y, x = place * step, number * step
            ground[y : y + side, x : x + side] = small
    return (ground,)


def _fz_file(target: Target, channel: int, retry: int, kind: str = "fz") -> str:
    return f"pictures/{kind}/{target}/{channel:04d}{f'-retry{retry}' if retry else ''}.jpg"
