"""Pictures of channels to hand on: the three FZs of each, side by side, and a sheet of many. By Pillow alone."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from streamscope.core.errors import StreamscopeError, UsageError
from streamscope.core.export.files import Index, write_with_meta
from streamscope.core.model.arrays import Pixels
from streamscope.core.model.blocks import TENSORS, ModelInfo, Tensor
from streamscope.core.store import FZSet
from streamscope.core.table.columns import Value, number_text
from streamscope.core.table.frame import Frame
from streamscope.core.table.retries import retry_of, shown_fz

LETTERS: Mapping[Tensor, str] = {"in": "I", "block": "B", "out": "O"}
SIDE = 128
"""Pixels of a picture's side: 4.1's field of 224 px still shows, 1.1's of 43 px is enlarged smoothly."""
GAP = 4
MARGIN = 12
LINE = 16
TILE = 3 * SIDE + 2 * GAP
ACROSS = 4
MAX_CHANNELS = 1000
"""On one sheet: 4 across, 1,000 make a picture of 1,650 by 43,000 px."""
GROUND, INK, SOFT, EMPTY = "#ffffff", "#1c1c1c", "#6c6c6c", "#e4e4e4"


@dataclass(frozen=True)
class Pictured:
    """One channel: its fields, and the FZs that they were measured on, (h, w, 3) uint8 or None."""

    row: Mapping[str, Value]
    fzs: Mapping[Tensor, Pixels | None]

    @property
    def name(self) -> str:
        return f"{self.row['block']} · {self.row['channel']}"


def pictured(info: ModelInfo, fzset: FZSet, frame: Frame, row: int, whole: bool = False) -> Pictured:
    """The FZs of one row of a frame, cropped to what the centre neuron sees unless they are wanted whole.

    Raises StoreError for a damaged one.
    """
    fields = frame.rows([row])[0]
    block, channel = str(fields["block"]), int(str(fields["channel"]))
    retry = retry_of(fields)
    fzs: dict[Tensor, Pixels | None] = {}
    for tensor in TENSORS:
        target = fzset.target(block, tensor)
        shown = shown_fz(fzset, block, tensor, channel, retry)
        field = None if whole else info.area(target)
        cut = slice(field.start, field.stop) if field is not None else slice(None)
        fzs[tensor] = None if shown is None else fzset.fz_image(target, channel, shown[0])[cut, cut]
    return Pictured(fields, fzs)


def strip(fzs: Mapping[Tensor, Pixels | None], side: int = SIDE) -> Image.Image:
    """FZ(I), FZ(B) and FZ(O) side by side; what is not computed is an empty square that says so."""
    image = Image.new("RGB", (3 * side + 2 * GAP, side), GROUND)
    draw = ImageDraw.Draw(image)
    for place, tensor in enumerate(TENSORS):
        left, pixels = place * (side + GAP), fzs[tensor]
        if pixels is not None:
            image.paste(Image.fromarray(pixels).resize((side, side), Image.Resampling.LANCZOS), (left, 0))
        else:
            draw.rectangle((left, 0, left + side - 1, side - 1), fill=EMPTY)
            words = f"FZ({LETTERS[tensor]})\nnot computed"
            draw.multiline_text(
                (left + side // 2, side // 2), words, fill=SOFT, font=_font(11), anchor="mm", align="center"
            )
    return image


def contact_sheet(title: str, channels: Sequence[Pictured]) -> Image.Image:
    """Channels in reading order, each with its name, mark and figures over its three FZs."""
    across = max(1, min(ACROSS, len(channels)))
    height = 2 * LINE + SIDE + MARGIN
    image = Image.new("RGB", sheet_size(len(channels)), GROUND)
    draw = ImageDraw.Draw(image)
    draw.text((MARGIN, MARGIN), _printable(title), fill=INK, font=_font(13))
    for place, channel in enumerate(channels):
        left = MARGIN + place % across * (TILE + MARGIN)
        top = 2 * MARGIN + LINE + place // across * height
        first, second = _captions(channel.row)
        draw.text((left, top), _printable(first), fill=INK, font=_font(12))
        draw.text((left, top + LINE), _printable(second), fill=SOFT, font=_font(11))
        image.paste(strip(channel.fzs), (left, top + 2 * LINE))
    return image


def sheet_size(count: int) -> tuple[int, int]:
    """Width and height in pixels of a sheet of so many channels."""
    across = max(1, min(ACROSS, count))
    rows = math.ceil(count / across)
    return MARGIN + across * (TILE + MARGIN), 2 * MARGIN + LINE + rows * (2 * LINE + SIDE + MARGIN)


def write_sheet(
    info: ModelInfo,
    fzset: FZSet,
    frame: Frame,
    index: Index,
    path: Path,
    meta: Mapping[str, Any],
    advance: Callable[[int], object] = lambda done: None,
) -> None:
    """A contact sheet as a PNG file, and FILE.meta.json. `advance` hears how many channels were read.

    Raises UsageError for no channels or too many, StoreError for a damaged FZ, and as `write_with_meta` does.
    """
    rows = [int(row) for row in index]
    check_count(len(rows))
    channels = []
    for done, row in enumerate(rows, 1):
        channels.append(pictured(info, fzset, frame, row))
        advance(done)
    title = f"{info.name} {info.fingerprint[:12]}   {fzset.key}   {len(rows)} channels: FZ(I), FZ(B), FZ(O)"
    content = png(contact_sheet(title, channels))
    write_with_meta(path, content, {**meta, "format": "png", "rows": len(rows)})


def check_count(count: int) -> None:
    """Raises UsageError when so many channels do not make a sheet."""
    if not count:
        raise UsageError("no channel is selected; nothing to write")
    if count > MAX_CHANNELS:
        raise UsageError(f"{count} channels are too many pictures for one file ({MAX_CHANNELS}); select fewer")


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "png")
    return buffer.getvalue()


def _captions(row: Mapping[str, Value]) -> tuple[str, str]:
    mark = f"   {row['marked']}" if row["marked"] else ""
    invariant = "   scale invariant" if row["scale_invariant"] else ""
    tags = f"   {row['tags']}" if row["tags"] else ""
    m, scale = (number_text(row[name]) or "-" for name in ("mix_ratio", "scale_metric"))
    figures = f"M {m} {row['update'] or ''}   SM {scale}"
    return f"{row['block']} · {row['channel']}{mark}{tags}", f"{figures}{invariant}"


def _printable(text: str) -> str:
    """In the letters that Pillow's own font has: sheets look alike on every machine."""
    return "".join(letter if letter.isascii() or letter == "·" else "?" for letter in text)


def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise StreamscopeError("this Pillow was built without FreeType, and cannot write on a contact sheet")
    return font
