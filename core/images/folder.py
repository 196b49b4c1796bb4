"""Folders of real images, and how a model is shown them. Never imports torch."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from streamscope.core.errors import ImageError, UsageError
from streamscope.core.model.arrays import Pixels
from streamscope.core.model.blocks import ModelInfo
from streamscope.core.model.spec import DEMO_MODEL, architecture_of

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""Files with other endings (in any case of letters) are no images: the list is torchvision's."""

MOST_ELONGATED = 200
"""Long side over short side; resizing what is longer still would take gigabytes for a model that sees its middle."""


@dataclass(frozen=True)
class ImagePath:
    """An image of a folder: its path from there, with forward slashes, and its class folder, "" in a flat one."""

    path: str
    label: str
    size: int
    """Bytes."""
    modified: int
    """Nanoseconds since 1970. With `size` it tells a changed image without reading it."""


@dataclass(frozen=True)
class Preparation:
    """How an image becomes a model's input: its shorter side resized to `resize` px, the middle `side` px cut out.

    As torchvision's weights ask for: bilinear with antialiasing. Normalising is left to whoever runs the model.
    """

    resize: int
    side: int

    @classmethod
    def of(cls, info: ModelInfo) -> Preparation:
        """256 and 224 px for ImageNet models; the demo model's own images fit as they are."""
        side = info.input_size
        return cls(side if architecture_of(info.name) == DEMO_MODEL else side * 256 // 224, side)

    def __str__(self) -> str:
        return f"resize {self.resize}, centre crop {self.side}, bilinear"

    def apply(self, image: Image.Image) -> Pixels:
        """(side, side, 3) uint8. Raises OSError for an image that ends too early, ValueError for a hopeless shape."""
        rgb = image.convert("RGB")
        width, height = rgb.size
        short, long = min(width, height), max(width, height)
        if short != self.resize:
            other = int(self.resize * long / short)
            if other > MOST_ELONGATED * self.resize:
                raise ValueError(f"{width} x {height} px is too elongated")
            size = (self.resize, other) if width <= height else (other, self.resize)
            rgb = rgb.resize(size, Image.Resampling.BILINEAR)
        left, top = (round((extent - self.side) / 2.0) for extent in rgb.size)
        return np.asarray(rgb.crop((left, top, left + self.side, top + self.side)))


def find_images(folder: Path) -> list[ImagePath]:
    """Every image in a folder, flat or with one folder a class, sorted by path. Names that start with a dot are not
    looked at.

    Raises UsageError when there is no such folder or no image in it, ImageError when a part of it cannot be listed.
    """
    if not folder.is_dir():
        what = "is a file, not a folder of images" if folder.exists() else "is not there"
        raise UsageError(f"{folder} {what}; name a folder with images, or with one folder of them a class")
    found = sorted(_walk(folder, "", frozenset()), key=lambda image: image.path)
    if not found:
        raise UsageError(f"there are no images in {folder} (files that end in {', '.join(IMAGE_SUFFIXES)})")
    return found


def _walk(folder: Path, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[ImagePath]:
    try:
        state = folder.stat()
        place = (state.st_dev, state.st_ino)
        if place in above:
            # A link back to a folder above it: what is there was seen already.
            return
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                path = prefix + entry.name
                if entry.is_dir():
                    yield from _walk(Path(entry.path), f"{path}/", above | {place})
                elif entry.name.lower().endswith(IMAGE_SUFFIXES) and (image := _described(entry, path)):
                    yield image
    except OSError as error:
        raise ImageError(f"cannot list {error.filename or folder}: {error.strerror or error}") from error


def _described(entry: os.DirEntry[str], path: str) -> ImagePath | None:
    """None for what is no file: reading a named pipe would wait for ever."""
    label = path.partition("/")[0] if "/" in path else ""
    try:
        state = entry.stat()
    except OSError:
        # A dangling link: reading it will fail too, and say so.
        return ImagePath(path, label, 0, 0)
    if not stat.S_ISREG(state.st_mode):
        return None
    return ImagePath(path, label, state.st_size, state.st_mtime_ns)


def read_image(path: Path, preparation: Preparation) -> tuple[str, Pixels]:
    """An image's SHA-256 and its pixels, (side, side, 3) uint8. Raises ImageError naming the file and what is wrong."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror or error}") from error
    return hashlib.sha256(content).hexdigest(), decode(content, path, preparation)


def decode(content: bytes, path: Path, preparation: Preparation) -> Pixels:
    """Pixels (side, side, 3) uint8 of an image file's bytes; `path` is only named. Raises ImageError."""
    try:
        with warnings.catch_warnings():
            # A large picture, a broken tag: what can be decoded is used, what cannot raises.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content)) as image:
                return preparation.apply(image)
    except MemoryError as error:
        raise ImageError(f"{path} is too large for this machine's memory") from error
    except Exception as error:  # bytes that are no image can trip a decoder in any way at all
        what = "is empty" if not content else f"is not an image that can be read ({_reason(error)})"
        raise ImageError(f"{path} {what}") from error


def contents_digest(images: Iterable[tuple[str, str]]) -> str:
    """One SHA-256 for many images, (path, SHA-256) each: of the list that `sha256sum` would print.

    Names that are not UTF-8 count by their bytes. Stored ablations and tables are known by it.
    """
    digest = hashlib.sha256()
    for path, sha256 in images:
        digest.update(f"{sha256}  {path}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _reason(error: Exception) -> str:
    # Pillow names the buffer that the bytes came in, which says nothing.
    text = str(error).partition(" <_io")[0].strip()
    return text or type(error).__name__
