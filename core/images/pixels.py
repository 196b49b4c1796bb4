"""What an image file's numbers mean: from whatever it holds to 8-bit RGB. Never imports torch.

Scaled by what the file declares: 8 or 16 bits, a PGM's maximum; floats are within 0..1 or 0..255. What could mean
several things is refused unless a value range says it. 8-bit images keep their values.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from streamscope.core.errors import AmbiguousValuesError

REACH = 4
"""A range is believed when the brightest value reaches a quarter of it: 12 bits stored in 16 do not."""
MANY_FRAMES = ("TIFF", "WEBP", "GIF", "PNG")
"""Formats whose further frames are images too; a telephone's JPEG holds previews of itself."""
_ORIENTATION = 0x0112
_TIFF_BITS, _TIFF_PHOTOMETRIC = 258, 262


class Trait(StrEnum):
    """What an image has that the model isn't shown unless asked for; the values are stored."""

    ROTATED = "exif-rotation"
    TRANSPARENT = "transparency"
    FRAMES = "frames"


@dataclass(frozen=True)
class Interpretation:
    """How a file becomes RGB where that is a matter of choice. The defaults are torchvision's: as models were trained.

    `value_range` is (black, white) of whatever has more than 8 bits a value; `background` is RGB.
    """

    value_range: tuple[float, float] | None = None
    exif_rotate: bool = False
    background: tuple[int, int, int] | None = None

    def __str__(self) -> str:
        """What differs from the default, in words; "" where nothing does."""
        parts = []
        if self.value_range is not None:
            parts.append("values {:g} to {:g}".format(*self.value_range))
        if self.exif_rotate:
            parts.append("rotated by EXIF")
        if self.background is not None:
            parts.append("on #{:02x}{:02x}{:02x}".format(*self.background))
        return ", ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """Only what differs from the default."""
        found: dict[str, Any] = {}
        if self.value_range is not None:
            found["value_range"] = list(self.value_range)
        if self.exif_rotate:
            found["exif_rotate"] = True
        if self.background is not None:
            found["background"] = list(self.background)
        return found


AS_TRAINED = Interpretation()


def rgb_image(
    image: Image.Image, content: bytes, interpretation: Interpretation = AS_TRAINED
) -> tuple[Image.Image, frozenset[Trait]]:
    """8-bit RGB of an opened image and what else it has; `content` is its file's bytes.

    Raises AmbiguousValuesError, and as Pillow does for what it cannot decode.
    """
    traits = set()
    if image.format in MANY_FRAMES and bool(getattr(image, "is_animated", False)):
        traits.add(Trait.FRAMES)
    image.load()
    orientation = 1
    # A broken EXIF block says nothing, and spoils no pixel.
    with suppress(Exception):
        orientation = image.getexif().get(_ORIENTATION, 1)
    declared = _declared(image, content)
    if declared.bits > 8:
        image = _scaled(image, declared, interpretation.value_range)
    if image.has_transparency_data:
        alpha = image.convert("RGBA")
        if alpha.getchannel("A").getextrema()[0] != 255:
            traits.add(Trait.TRANSPARENT)
            if interpretation.background is not None:
                ground = Image.new("RGBA", alpha.size, (*interpretation.background, 255))
                image = Image.alpha_composite(ground, alpha)
    rgb = image.convert("RGB")
    if orientation in range(2, 9):
        traits.add(Trait.ROTATED)
        if interpretation.exif_rotate:
            rgb = _upright(rgb, orientation)
    return rgb, frozenset(traits)


def _upright(rgb: Image.Image, orientation: int) -> Image.Image:
    tagged = rgb.copy()
    tagged.getexif()[_ORIENTATION] = orientation
    return ImageOps.exif_transpose(tagged)


@dataclass(frozen=True)
class _Declared:
    """What a file says of its values: `bits` of each, `white` the largest; `whole` that they do get there."""

    bits: int
    white: int
    whole: bool


def _declared(image: Image.Image, content: bytes) -> _Declared:
    bits = 16 if image.mode.startswith("I;16") else 32 if image.mode in ("I", "F") else 8
    if image.format == "PNG":
        bits = content[24]
    elif image.format == "TIFF":
        with suppress(Exception):
            bits = int(max(image.tag_v2[_TIFF_BITS]))  # type: ignore[attr-defined]  # of TiffImageFile
    elif image.format == "PPM" and image.mode != "F":
        white = _pnm_maximum(content)
        return _Declared(16 if white > 255 else 8, white, whole=white != 2**16 - 1)
    # Whoever has fewer than 16 bits stores them in 16, but for TIFF's packed 12.
    return _Declared(bits, 2**bits - 1, whole=bits != 16)


def _pnm_maximum(content: bytes) -> int:
    words = re.sub(rb"#[^\n]*", b" ", content[:4096]).split(maxsplit=4)
    return int(words[3]) if content[:2] in (b"P2", b"P3", b"P5", b"P6") and words[3].isdigit() else 255


def _scaled(image: Image.Image, declared: _Declared, value_range: tuple[float, float] | None) -> Image.Image:
    """An image of more than 8 bits a value as one of 8."""
    if image.mode != "F" and not image.mode.startswith("I"):
        _check_colours(image, declared, value_range)
        return image
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise AmbiguousValuesError("some of its values are not finite")
    if image.format == "PPM" and image.mode == "I":
        # Pillow stretches them to 16 bits.
        values *= declared.white / (2**16 - 1)
    black, white = value_range or _range(image, declared, values)
    if image.format == "TIFF" and image.tag_v2.get(_TIFF_PHOTOMETRIC) == 0:  # type: ignore[attr-defined]  # likewise
        # White is zero; Pillow turns only 8 bits round.
        black, white = white, black
    grey = Image.fromarray(np.rint(np.clip((values - black) * (255 / (white - black)), 0, 255)).astype(np.uint8))
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        # The one value that stands for "nothing here".
        grey.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    return grey


def _range(image: Image.Image, declared: _Declared, values: NDArray[np.float64]) -> tuple[float, float]:
    """What is black and what is white, from 0 on."""
    low, high = float(values.min()), float(values.max())
    run = f"they run from {low:g} to {high:g}"
    if image.mode == "F":
        if low >= 0 and high <= 1:
            return 0, 1
        if low >= 0 and 255 / REACH <= high <= 255:
            return 0, 255
        raise AmbiguousValuesError(f"{run}, neither within 0 to 1 nor up to some way below 255")
    if declared.bits > 16 or (image.format == "TIFF" and image.mode == "I"):
        raise AmbiguousValuesError(f"{run}, signed or of {declared.bits} bits: which one is white is not said")
    if not declared.whole and not _reaches(high, 2**declared.bits):
        raise AmbiguousValuesError(f"{run}, of {declared.bits} bits: fewer may be meant")
    return 0, declared.white


def _check_colours(image: Image.Image, declared: _Declared, value_range: tuple[float, float] | None) -> None:
    """Pillow keeps the upper 8 bits of colours: right where the whole range is meant, too few of any other."""
    bits = declared.bits
    if value_range == (0, declared.white):
        return
    if value_range is not None:
        raise AmbiguousValuesError(f"colours of {bits} bits can be read as 0 to {declared.white} only")
    colours = np.asarray(image)[..., : -1 if image.mode in ("LA", "RGBA") else None]
    high = int(colours.max())
    if not declared.whole and not _reaches(high, 2**8):
        raise AmbiguousValuesError(f"the brightest is {high / 2**8:.0%} of {bits} bits: fewer may be meant")


def _reaches(high: float, count: int) -> bool:
    # Black is black in every range.
    return high == 0 or high >= count // REACH
