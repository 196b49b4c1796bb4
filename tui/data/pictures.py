"""Where the pictures of a channel come from: its FZs, as they are and scaled, the images that excite it most (MEIs),
its channel FZs, and its FZs by other seeds. Read in one thread only, off the event loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from streamscope.core.errors import StreamscopeError
from streamscope.core.images.scaling import scaled_down, scaled_up
from streamscope.core.model.blocks import Field, ModelInfo, Target, Tensor
from streamscope.core.model.recipe import SetKey
from streamscope.core.store import FZRecord, FZSet, Store
from streamscope.tui.table.arrangement import Key

Image = NDArray[np.uint8]
Look = Literal["fzs", "scaled", "meis", "channel", "seeds"]
LOOKS: dict[Look, str] = {
    "fzs": "FZs",
    "scaled": "FZs scaled: the centre half of FZ(I) twice as large, FZ(B) at half the size",
    "meis": "MEIs: the nine images that excite each most",
    "channel": "channel FZs: the mean over space (streamscope compute --objective channel)",
    "seeds": "FZs by other seeds (* computes one)",
}
LETTERS: dict[Tensor, str] = {"in": "I", "block": "B", "out": "O"}
GAP_PX = 2
"""Between the images of a mosaic."""
GROUND = 40
"""Its grey."""
SHOWN_SEEDS = 9


def look_after(look: Look, by: int = 1) -> Look:
    """The kind of pictures `by` further on; after the last comes the first."""
    looks = list(LOOKS)
    return looks[(looks.index(look) + by) % len(looks)]


@dataclass(frozen=True)
class Shot:
    """One picture of a channel: `look` of its FZ of `tensor`, by the retry that its row is read from, whole or cropped
    to what the centre neuron sees."""

    look: Look
    key: Key
    tensor: Tensor
    retry: int = 0
    whole: bool = False


@dataclass(frozen=True)
class Found:
    """What there is of a shot: how to name it, and what to draw, or why there is nothing.

    `identity` is the same only for the same pixels; `load` reads them and may raise StreamscopeError.
    """

    caption: str
    identity: Hashable = None
    load: Callable[[], Image] | None = None
    message: str = "not computed"


class Library:
    """Finds pictures of one model in one stored set, its siblings and its scan. Has a store of its own."""

    def __init__(self, root: Path, info: ModelInfo, key: SetKey, images: Path | None = None) -> None:
        self._store = Store(root)
        self._info = info
        self._key = key
        self._images = images

    def find(self, shot: Shot) -> Found:
        """Does not read pixels yet."""
        return {
            "fzs": self._fz,
            "scaled": self._scaled,
            "meis": self._meis,
            "channel": self._channel,
            "seeds": self._seeds,
        }[shot.look](shot)

    def _target(self, shot: Shot) -> Target:
        return self._info.target(shot.key[0], shot.tensor)

    def _field(self, shot: Shot, target: Target) -> Field | None:
        return None if shot.whole else self._info.fields.get(str(target))

    def _set(self) -> FZSet:
        return self._store.set(self._info, self._key)

    def _fz(self, shot: Shot) -> Found:
        target, channel = self._target(shot), shot.key[1]
        caption = f"FZ({LETTERS[shot.tensor]}) {target} {channel}"
        fzset = self._set()
        retry, record = _record(fzset, target, channel, shot.retry)
        if record is None:
            return Found(caption)
        field = self._field(shot, target)
        return Found(caption, (record.path, field), lambda: crop(fzset.fz_image(target, channel, retry), field))

    def _scaled(self, shot: Shot) -> Found:
        """S(FZ(I)) as `block` sees it, S-(FZ(B)) as `in` does; FZ(O) is measured at its own size only."""
        if shot.tensor == "out":
            return Found(f"FZ(O) {shot.key[1]}", message="not scaled")
        scale, reader, sign = (scaled_up, "block", "S") if shot.tensor == "in" else (scaled_down, "in", "S⁻")
        target, channel = self._target(shot), shot.key[1]
        caption = f"{sign}(FZ({LETTERS[shot.tensor]})) {channel}"
        fzset = self._set()
        retry, record = _record(fzset, target, channel, shot.retry)
        if record is None:
            return Found(caption)
        field = self._field(shot, self._info.target(shot.key[0], reader))
        return Found(
            caption, (record.path, sign, field), lambda: crop(scale(fzset.fz_image(target, channel, retry)), field)
        )

    def _meis(self, shot: Shot) -> Found:
        block, channel = shot.key
        caption = f"MEIs({LETTERS[shot.tensor]}) {channel}"
        scan = self._store.choose_scan(self._info, self._images)
        if scan is None:
            return Found(caption, message="no scan of images")
        rows = [int(row) for row in scan.extremes(block, shot.tensor).top[:, channel] if row >= 0]
        if not rows:
            return Found(caption, message="no images")
        field = self._field(shot, self._target(shot))
        identity = (scan.path, tuple(rows), field)
        return Found(caption, identity, lambda: mosaic([crop(scan.image(row), field) for row in rows], 9))

    def _channel(self, shot: Shot) -> Found:
        target, channel = self._target(shot), shot.key[1]
        caption = f"channel FZ({LETTERS[shot.tensor]}) {channel}"
        fzset = self._store.set(self._info, replace(self._key, objective="channel"))
        record = fzset.fzs(target).get(channel)
        if record is None:
            return Found(caption)
        # Its neuron is no single one: the whole image counts.
        return Found(caption, record.path, lambda: fzset.fz_image(target, channel))

    def _seeds(self, shot: Shot) -> Found:
        target, channel = self._target(shot), shot.key[1]
        others = [
            (fzset, record)
            for fzset in self._store.sets(self._info)
            if fzset.key != self._key and replace(fzset.key, seed=self._key.seed) == self._key
            for record in [fzset.fzs(target).get(channel)]
            if record is not None
        ][:SHOWN_SEEDS]
        name = f"FZ({LETTERS[shot.tensor]}) {channel}"
        if not others:
            return Found(name, message="no other seed")
        field = self._field(shot, target)
        caption = f"{name} seed {' '.join(str(fzset.key.seed) for fzset, _ in others)}"
        identity = (tuple(record.path for _, record in others), field)
        return Found(
            caption,
            identity,
            lambda: mosaic([crop(fzset.fz_image(target, channel), field) for fzset, _ in others], len(others)),
        )


def _record(fzset: FZSet, target: Target, channel: int, retry: int) -> tuple[int, FZRecord | None]:
    """FZ(O) is never optimised again, so a retried row shows its first one."""
    if retry:
        record = fzset.fzs(target, retry).get(channel)
        if record is not None:
            return retry, record
    return 0, fzset.fzs(target).get(channel)


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


def damaged(error: StreamscopeError) -> str:
    """What to say in a box in place of a picture that cannot be read."""
    return "images moved or changed" if "moved" in str(error) else "damaged"
