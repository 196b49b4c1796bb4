"""Where the pictures of a channel come from: its FZs, as they are and scaled, the images that excite it most (MEIs),
their best patches at several sizes, its channel FZs, and its FZs by other seeds. Read in one thread only, off the event
loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from streamscope.core.errors import StreamscopeError
from streamscope.core.images.scaling import SIZES, patch_at_sizes, scaled_picture
from streamscope.core.model.blocks import TENSORS, Field, ModelInfo, Target, Tensor
from streamscope.core.model.recipe import SetKey
from streamscope.core.store import FZSet, Store
from streamscope.core.store.jobs.growing import find_growing
from streamscope.core.store.layout import JobFolder
from streamscope.core.store.scans.photographs import patches_to_read
from streamscope.core.table.retries import shown_fz
from streamscope.tui.table.arrangement import Key

Image = NDArray[np.uint8]
PictureKind = Literal["fzs", "scaled", "meis", "patches", "channel", "seeds"]
PICTURE_KINDS: dict[PictureKind, str] = {
    "fzs": "FZs",
    "scaled": "FZs scaled: the middle of FZ(I) twice as large, FZ(B) at half the size",
    "meis": "MEIs: the nine images that excite each most",
    "patches": "patches of photographs: the five best places of each, at half to twice their size",
    "channel": "channel FZs: the mean over space (streamscope compute --objective channel)",
    "seeds": "FZs by other seeds (* computes one)",
}
LETTERS: dict[Tensor, str] = {"in": "I", "block": "B", "out": "O"}
GAP_PX = 2
"""Between the images of a mosaic."""
GROUND = 40
"""Its grey."""
SHOWN_SEEDS = 9
SHOWN_PATCHES = len(SIZES)
"""As many as sizes of each: the mosaic is a square."""


def kind_after(kind: PictureKind, by: int = 1) -> PictureKind:
    """The kind of pictures `by` further on; after the last comes the first."""
    kinds = list(PICTURE_KINDS)
    return kinds[(kinds.index(kind) + by) % len(kinds)]


@dataclass(frozen=True)
class Subject:
    """One picture of a channel: `kind` of its FZ of `tensor`, by the retry that its row is read from, whole or cropped
    to what the centre neuron sees."""

    kind: PictureKind
    key: Key
    tensor: Tensor
    retry: int = 0
    whole: bool = False


@dataclass(frozen=True)
class ImageEntry:
    """What there is of a subject: how to name it, and what to draw, or why there is nothing.

    `identity` is the same only for the same pixels; `load` reads them and may raise StreamscopeError.
    """

    caption: str
    identity: Hashable = None
    load: Callable[[], Image] | None = None
    message: str = "not computed"


class PictureLibrary:
    """Finds pictures of one model in one stored set, its siblings and its scan. Has a store of its own."""

    def __init__(self, root: Path, info: ModelInfo, key: SetKey, images: Path | None = None) -> None:
        self._store = Store(root)
        self._info = info
        self._key = key
        self._images = images
        self._jobs: tuple[JobFolder, ...] = ()

    def follow(self, jobs: Iterable[JobFolder]) -> None:
        """The jobs under way that optimise FZs of this set: what they have so far is shown where nothing is stored."""
        self._jobs = tuple(jobs)

    def find(self, subject: Subject) -> ImageEntry:
        """Does not read pixels yet."""
        return {
            "fzs": self._fz,
            "scaled": self._scaled,
            "meis": self._meis,
            "patches": self._patches,
            "channel": self._channel,
            "seeds": self._seeds,
        }[subject.kind](subject)

    def _target(self, subject: Subject) -> Target:
        return self._info.target(subject.key[0], subject.tensor, self._key.protocol)

    def _field(self, subject: Subject, target: Target) -> Field | None:
        return None if subject.whole else self._info.area(target)

    def _set(self) -> FZSet:
        return self._store.set(self._info, self._key)

    def _fz(self, subject: Subject) -> ImageEntry:
        target, channel = self._target(subject), subject.key[1]
        caption = f"FZ({LETTERS[subject.tensor]}) {target} {channel}"
        fzset = self._set()
        shown = shown_fz(fzset, subject.key[0], subject.tensor, channel, subject.retry)
        field = self._field(subject, target)
        if shown is None:
            growing = find_growing(self._jobs, target, channel)
            if growing is None:
                return ImageEntry(caption)
            return ImageEntry(
                f"{caption} so far", (growing.path, growing.stamp, field), lambda: crop(growing.image, field)
            )
        retry, record = shown
        return ImageEntry(caption, (record.path, field), lambda: crop(fzset.fz_image(target, channel, retry), field))

    def _scaled(self, subject: Subject) -> ImageEntry:
        """S(FZ(I)) as `block` sees it, S-(FZ(B)) as `in` does; FZ(O) is measured at its own size only."""
        if subject.tensor == "out":
            return ImageEntry(f"FZ(O) {subject.key[1]}", message="not scaled")
        reader, sign = ("block", "S") if subject.tensor == "in" else ("in", "S⁻")
        target, channel = self._target(subject), subject.key[1]
        caption = f"{sign}(FZ({LETTERS[subject.tensor]})) {channel}"
        fzset = self._set()
        shown = shown_fz(fzset, subject.key[0], subject.tensor, channel, subject.retry)
        if shown is None:
            return ImageEntry(caption)
        retry, record = shown
        field = self._field(subject, self._info.source(subject.key[0], reader))

        source = self._info.area(target)
        if self._key.protocol == "centred" and (source is None or source.middle is None):
            # The app was opened before a network was loaded by a version that knows where its fields' centres are.
            return ImageEntry(caption, message="open the app again")

        def load() -> Image:
            scale = scaled_picture(self._info, subject.key[0], subject.tensor, self._key.protocol)
            return crop(scale(fzset.fz_image(target, channel, retry)), field)

        return ImageEntry(caption, (record.path, sign, field), load)

    def _meis(self, subject: Subject) -> ImageEntry:
        block, channel = subject.key
        caption = f"MEIs({LETTERS[subject.tensor]}) {channel}"
        scan = self._store.choose_scan(self._info, self._images)
        if scan is None:
            return ImageEntry(caption, message="no scan of images")
        rows = [int(row) for row in scan.extremes(block, subject.tensor).top[:, channel] if row >= 0]
        if not rows:
            return ImageEntry(caption, message="no images")
        field = self._field(subject, self._target(subject))
        identity = (scan.path, tuple(rows), field)
        return ImageEntry(caption, identity, lambda: mosaic([crop(scan.image(row), field) for row in rows], 9))

    def _patches(self, subject: Subject) -> ImageEntry:
        """A row a patch, small to large, about the point where a block's tensors are read of them."""
        block, channel = subject.key
        caption = f"patches({LETTERS[subject.tensor]}) {channel}"
        scan = self._store.choose_scan(self._info, self._images)
        if scan is None:
            return ImageEntry(caption, message="no scan of images")
        areas = [self._info.area(Target(block, tensor)) for tensor in TENSORS]
        if any(area is None or area.middle is None for area in areas):
            # As for what is scaled.
            return ImageEntry(caption, message="open the app again")
        patches = patches_to_read(scan, block, [channel])
        if patches is None:
            return ImageEntry(caption, message="scan again")
        area = self._info.field_of(Target(block, "block"))
        kept = list(zip(patches.rows[0], patches.centres[0], strict=True))[TENSORS.index(subject.tensor)]
        found = [(int(row), (float(y), float(x))) for row, (y, x) in zip(*kept, strict=True) if row >= 0]
        if not found:
            return ImageEntry(caption, message="no images")
        window = (0, self._info.input_size) if subject.whole else (area.start, area.stop)
        shown = found[:SHOWN_PATCHES]

        def load() -> Image:
            rows = [patch_at_sizes(scan.image(row), centre, area.centre, window) for row, centre in shown]
            return mosaic([patch for row in rows for patch in row], len(SIZES) ** 2)

        return ImageEntry(caption, (scan.path, tuple(shown), window), load)

    def _channel(self, subject: Subject) -> ImageEntry:
        target, channel = self._target(subject), subject.key[1]
        caption = f"channel FZ({LETTERS[subject.tensor]}) {channel}"
        fzset = self._store.set(self._info, replace(self._key, objective="channel"))
        record = fzset.fzs(target).get(channel)
        if record is None:
            return ImageEntry(caption)
        # Its neuron is no single one: the whole image counts.
        return ImageEntry(caption, record.path, lambda: fzset.fz_image(target, channel))

    def _seeds(self, subject: Subject) -> ImageEntry:
        target, channel = self._target(subject), subject.key[1]
        others = [
            (fzset, record)
            for fzset in self._store.sets(self._info)
            if fzset.key != self._key and replace(fzset.key, seed=self._key.seed) == self._key
            for record in [fzset.fzs(target).get(channel)]
            if record is not None
        ][:SHOWN_SEEDS]
        name = f"FZ({LETTERS[subject.tensor]}) {channel}"
        if not others:
            return ImageEntry(name, message="no other seed")
        field = self._field(subject, target)
        caption = f"{name} seed {' '.join(str(fzset.key.seed) for fzset, _ in others)}"
        identity = (tuple(record.path for _, record in others), field)
        return ImageEntry(
            caption,
            identity,
            lambda: mosaic([crop(fzset.fz_image(target, channel), field) for fzset, _ in others], len(others)),
        )


def crop(image: Image, field: Field | None) -> Image:
    """(H, W, 3) cut to a receptive field; the whole for None."""
    return image if field is None else image[field.start : field.stop, field.start : field.stop]


def mosaic(images: Sequence[Image], places: int) -> Image:
    """Images of one size, row by row in a square of `places` places at least, on grey."""
    side = math.ceil(math.sqrt(places))
    if side == 1:
        return images[0]
    height, width = images[0].shape[:2]
    ground = np.full((side * (height + GAP_PX) - GAP_PX, side * (width + GAP_PX) - GAP_PX, 3), GROUND, dtype=np.uint8)
    for place, image in enumerate(images):
        y, x = place // side * (height + GAP_PX), place % side * (width + GAP_PX)
        ground[y : y + height, x : x + width] = image
    return ground


def damage_message(error: StreamscopeError) -> str:
    """What to say in a box in place of a picture that cannot be read."""
    return "images moved or changed" if "moved" in str(error) else "damaged"
