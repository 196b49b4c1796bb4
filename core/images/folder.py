"""Folders of real images, and how a model is shown them. Never imports torch."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from streamscope.core.errors import AmbiguousValuesError, ImageError, UsageError
from streamscope.core.files import open_regular, read_regular
from streamscope.core.images.pixels import AS_TRAINED, Interpretation, Trait, rgb_image
from streamscope.core.model.arrays import Pixels
from streamscope.core.model.blocks import MAX_SIDE, ModelInfo
from streamscope.core.model.preprocessing import Interpolation, former_resize

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".jpe", ".jfif")
"""Files with other endings (in any case of letters) are skipped: the list is that of torchvision's ImageFolder, so that
a folder is the same images to both, with JPEG's other two names."""
HIDDEN, IRREGULAR, UNNAMED = "hidden", "not a regular file", "without an ending"
"""Kinds of skipped files beside endings."""
_LONGEST_ENDING = 12
"""Characters of an ending that is told; what is longer is a part of a name."""

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

    As `Preprocessing` has it, but that normalising is left to whoever runs the model.
    """

    resize: int
    side: int
    interpretation: Interpretation = AS_TRAINED
    interpolation: Interpolation = "bilinear"

    @classmethod
    def of(cls, info: ModelInfo, interpretation: Interpretation = AS_TRAINED) -> Preparation:
        """As the model asks for."""
        return cls(info.shorter_side, info.input_size, interpretation, info.interpolation)

    @classmethod
    def recorded(
        cls,
        info: ModelInfo,
        interpretation: Interpretation,
        resize: int | None = None,
        interpolation: Interpolation = "bilinear",
    ) -> Preparation:
        """What records say by `to_json`, whatever the model asks for today.

        Raises UsageError for a shorter side that is none.
        """
        resize = resize or former_resize(info.name, info.input_size)
        if not info.input_size <= resize <= MAX_SIDE:
            raise UsageError(f"images resized to {resize} px")
        return cls(resize, info.input_size, interpretation, interpolation)

    def to_json(self, info: ModelInfo) -> dict[str, Any]:
        """What differs from how versions up to 0.2 prepared images for this model."""
        former = Preparation.recorded(info, AS_TRAINED)
        found = self.interpretation.to_json()
        if self.resize != former.resize:
            found["resize"] = self.resize
        if self.interpolation != former.interpolation:
            found["interpolation"] = self.interpolation
        return found

    def __str__(self) -> str:
        chosen = str(self.interpretation)
        return f"{self.geometry}{f', {chosen}' if chosen else ''}"

    @property
    def geometry(self) -> str:
        """Which pixels are shown, however files are read."""
        return f"resize {self.resize}, centre crop {self.side}, {self.interpolation}"

    def apply(self, image: Image.Image) -> Pixels:
        """(side, side, 3) uint8. Raises OSError for an image that ends too early, ValueError for a hopeless shape."""
        rgb = image if image.mode == "RGB" else image.convert("RGB")
        width, height = rgb.size
        short, long = min(width, height), max(width, height)
        if short != self.resize:
            other = int(self.resize * long / short)
            if other > MOST_ELONGATED * self.resize:
                raise ValueError(f"{width} x {height} px is too elongated")
            size = (self.resize, other) if width <= height else (other, self.resize)
            rgb = rgb.resize(size, Image.Resampling[self.interpolation.upper()])
        left, top = (round((extent - self.side) / 2.0) for extent in rgb.size)
        return np.asarray(rgb.crop((left, top, left + self.side, top + self.side)))


@dataclass(frozen=True)
class ImageFolder:
    """The images of a folder, sorted by path, and how many files of which kinds are there beside them."""

    images: tuple[ImagePath, ...]
    skipped: Mapping[str, int]
    """By ending (".gif") or kind, the most frequent first."""

    @property
    def files(self) -> int:
        return len(self.images) + sum(self.skipped.values())


def list_images(folder: Path) -> ImageFolder:
    """Every image in a folder, flat or with one folder a class. Folders whose name starts with a dot are not entered.

    Raises UsageError when there is no such folder or no image in it, ImageError when a part of it cannot be listed.
    """
    if not folder.is_dir():
        what = "is a file, not a folder of images" if folder.exists() else "is not there"
        raise UsageError(f"{folder} {what}; name a folder with images, or with one folder of them a class")
    skipped: Counter[str] = Counter()
    images = tuple(sorted(_walk(folder, "", frozenset(), skipped), key=lambda image: image.path))
    if not images:
        others = f"; skipped: {kinds_text(skipped)}" if skipped else ""
        raise UsageError(f"there are no images in {folder} (files that end in {', '.join(IMAGE_SUFFIXES)}){others}")
    return ImageFolder(images, dict(skipped.most_common()))


def find_images(folder: Path) -> list[ImagePath]:
    """The images of `list_images`. Raises as it does."""
    return list(list_images(folder).images)


def kinds_text(counts: Mapping[str, int]) -> str:
    """`3 .gif, 1 unreadable`."""
    return ", ".join(f"{count} {kind}" for kind, count in counts.items())


def _walk(folder: Path, prefix: str, above: frozenset[tuple[int, int]], skipped: Counter[str]) -> Iterator[ImagePath]:
    try:
        state = folder.stat()
        place = (state.st_dev, state.st_ino)
        if place in above:
            # A link back to a folder above it: what is there was seen already.
            return
        with os.scandir(folder) as entries:
            for entry in entries:
                path = prefix + entry.name
                if entry.name.startswith("."):
                    skipped[HIDDEN] += 1
                elif entry.is_dir():
                    yield from _walk(Path(entry.path), f"{path}/", above | {place}, skipped)
                elif not entry.name.lower().endswith(IMAGE_SUFFIXES):
                    skipped[_ending(entry.name)] += 1
                elif image := _described(entry, path):
                    yield image
                else:
                    skipped[IRREGULAR] += 1
    except OSError as error:
        raise ImageError(f"cannot list {error.filename or folder}: {error.strerror or error}") from error


def _ending(name: str) -> str:
    ending = os.path.splitext(name)[1].lower()
    return ending if 1 < len(ending) <= _LONGEST_ENDING else UNNAMED


def _described(entry: os.DirEntry[str], path: str) -> ImagePath | None:
    """None for what is no file."""
    label = path.partition("/")[0] if "/" in path else ""
    try:
        state = entry.stat()
    except OSError:
        # A dangling link: reading it will fail too, and say so.
        return ImagePath(path, label, 0, 0)
    if not stat.S_ISREG(state.st_mode):
        return None
    return ImagePath(path, label, state.st_size, state.st_mtime_ns)


@dataclass(frozen=True, eq=False)
class ReadImage:
    """An image file as a model is shown it: its content's SHA-256, and `pixels` (side, side, 3) uint8."""

    sha256: str
    pixels: Pixels
    traits: frozenset[Trait] = frozenset()


def read_image(path: Path, preparation: Preparation) -> ReadImage:
    """Raises ImageError naming the file and what is wrong; it never waits for a pipe."""
    try:
        content = read_regular(path)
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror or error}") from error
    return ReadImage(hashlib.sha256(content).hexdigest(), *decode(content, path, preparation))


def decode(content: bytes, path: Path, preparation: Preparation) -> tuple[Pixels, frozenset[Trait]]:
    """Pixels (side, side, 3) uint8 of an image file's bytes, and what it has that is not shown; `path` is only named.

    Raises ImageError, AmbiguousValuesError.
    """
    try:
        with warnings.catch_warnings():
            # A large picture, a broken tag: what can be decoded is used, what cannot raises.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content)) as image:
                rgb, traits = rgb_image(image, content, preparation.interpretation)
                return preparation.apply(rgb), traits
    except AmbiguousValuesError as error:
        raise AmbiguousValuesError(f"{path} {AmbiguousValuesError.MARK} {error}") from error
    except MemoryError as error:
        raise ImageError(f"{path} is too large for this machine's memory") from error
    except Exception as error:  # bytes that are no image can trip a decoder in any way at all
        what = "is empty" if not content else f"is not an image that can be read ({_reason(error)})"
        raise ImageError(f"{path} {what}") from error


def count_deep(folder: Path, images: Iterable[ImagePath]) -> int:
    """How many images are grey with more than 8 bits a value, by their first bytes alone; unreadable ones are none."""
    return sum(_is_deep(folder / image.path) for image in images)


def _is_deep(path: Path) -> bool:
    try:
        with open_regular(path) as file:
            start = file.read(26)
            if start.startswith((b"\xff\xd8", b"\x89PNG")):
                # JPEG has 8 bits; of a PNG, the depth is 16 and the kind of colours grey.
                return start[24:] == b"\x10\x00"
            file.seek(0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return Image.open(file).mode.startswith(("I", "F"))
    except Exception:  # as for `decode`
        return False


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
