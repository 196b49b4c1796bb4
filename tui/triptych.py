"""The three FZs of a channel: read, cropped to what the centre neuron sees, made into pictures. Off the event loop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from core.blocks import TENSORS, ModelInfo, Target, Tensor
from core.errors import StoreError
from core.store import FZRecord, FZSet
from tui.graphics import Graphics
from tui.picture import Picture, PictureCache, draw, fit
from tui.view import Key

LETTERS: dict[Tensor, str] = {"in": "I", "block": "B", "out": "O"}


@dataclass(frozen=True)
class Request:
    """What to draw: a channel's FZs (of the retry its row is read from) within `room` cells each."""

    key: Key
    retry: int
    whole: bool
    room: tuple[int, int]
    graphics: Graphics


@dataclass(frozen=True)
class Shown:
    """One of the three: its caption, and a picture or why there is none."""

    caption: str
    picture: Picture | None
    message: str


class Triptychs:
    """Makes `Shown`s of one stored set; the set object is this one's own, so that no other thread reads through it."""

    def __init__(self, info: ModelInfo, fzset: FZSet | None, cache: PictureCache) -> None:
        self._info = info
        self._fzset = fzset
        self._cache = cache

    def draw(self, request: Request) -> Iterator[tuple[Tensor, Shown]]:
        """The three of a request, one after another: each takes 0.1 s or more in Sixel."""
        for tensor in TENSORS:
            yield tensor, self._one(request, tensor)

    def _one(self, request: Request, tensor: Tensor) -> Shown:
        block, channel = request.key
        target = self._info.target(block, tensor)
        caption = f"FZ({LETTERS[tensor]}) {target} {channel}"
        if request.graphics.mode == "off":
            return Shown(caption, None, "graphics off")
        retry, record = self._record(target, channel, request.retry)
        if record is None or self._fzset is None:
            return Shown(caption, None, "not computed")
        size = fit(request.room, request.graphics.cell)
        cached = (record.path, request.whole, size, request.graphics.mode, request.graphics.cell)
        picture = self._cache.get(cached)
        if picture is None:
            try:
                image = self._fzset.fz_image(target, channel, retry)
            except StoreError:
                return Shown(caption, None, "damaged")
            field = self._info.fields.get(str(target))
            if field is not None and not request.whole:
                image = image[field.start : field.stop, field.start : field.stop]
            picture = draw(image, size, request.graphics)
            self._cache.put(cached, picture)
        return Shown(caption, picture, "")

    def _record(self, target: Target, channel: int, retry: int) -> tuple[int, FZRecord | None]:
        """FZ(O) is never optimised again, so a retried row shows its first one."""
        if self._fzset is None:
            return 0, None
        if retry:
            record = self._fzset.fzs(target, retry).get(channel)
            if record is not None:
                return retry, record
        return 0, self._fzset.fzs(target).get(channel)
