"""What is done to a picture before a network sees it: part of what a model is. Never imports torch.

A picture's shorter side is resized, its middle is cut out, its values (0 to 1) lose their mean and are divided by their
deviation. Other ranges of values are other means and deviations: of values from 0 to 255 both are divided by 255, and
values from -1 to 1 are those with a mean and a deviation of 0.5.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from streamscope.core.errors import UsageError

Interpolation = Literal["nearest", "bilinear", "bicubic", "box", "hamming", "lanczos"]
"""Of Pillow, which resizes what torchvision's, timm's and Hugging Face's transforms are given. All are antialiased but
`nearest`."""
INTERPOLATIONS: tuple[Interpolation, ...] = get_args(Interpolation)
Colour = tuple[float, float, float]
"""Red, green, blue."""

IMAGENET_MEAN: Colour = (0.485, 0.456, 0.406)
IMAGENET_STD: Colour = (0.229, 0.224, 0.225)
IMAGENET_SIZE = 224
SMALLEST_SIDE = 32
"""Pixels of an input's side: ResNets halve it five times, and the recipes' transforms reflect up to 16 px of it."""
LARGEST_SIDE = 2**14
_DEMO = re.compile(r"demo(-0\.2)?(-untrained-\d+)?")
DEMO_SIZE = 64
"""Of the demo model and of the images that it is shown."""


@dataclass(frozen=True)
class Preprocessing:
    """The shorter side resized to `resize` px, the middle `size` px cut out, then (x - mean) / std of values 0 to 1.

    Pictures that are grey, have a palette or transparency are RGB before. Raises UsageError for what makes no sense.
    """

    size: int = IMAGENET_SIZE
    resize: int = 256
    interpolation: Interpolation = "bilinear"
    mean: Colour = IMAGENET_MEAN
    std: Colour = IMAGENET_STD

    def __post_init__(self) -> None:
        if self.resize < self.size:
            raise UsageError(
                f"resized to {self.resize} px, pictures are smaller than the {self.size} px that are cut out of them"
            )
        if self.resize > LARGEST_SIDE:
            raise UsageError(f"pictures cannot be resized to {self.resize} px: {LARGEST_SIDE} px is the most")
        if self.interpolation not in INTERPOLATIONS:
            raise UsageError(f"unknown interpolation {self.interpolation!r}; use {', '.join(INTERPOLATIONS)}")
        check_colours(self.mean, self.std)

    @property
    def seen(self) -> tuple[int, Colour, Colour]:
        """All of it that FZs depend on, which are made at the input's size: side, mean and deviation."""
        return self.size, self.mean, self.std

    def changed(self, changes: Changes) -> Preprocessing:
        """With what was said instead; another input size alone keeps the share of the picture that is seen.

        Raises UsageError.
        """
        said = {name: value for name, value in vars(changes).items() if value is not None}
        if changes.size is not None:
            check_size(changes.size)
            if changes.resize is None:
                said["resize"] = changes.size * self.resize // self.size
        return replace(self, **said)

    def to_json(self) -> dict[str, Any]:
        """For people's own programs, which may do the same to other pictures."""
        return {
            "resize": self.resize,
            "input_size": self.size,
            "interpolation": self.interpolation,
            "antialias": self.interpolation != "nearest",
            "value_range": [0, 1],
            "mean": list(self.mean),
            "std": list(self.std),
        }

    def __str__(self) -> str:
        colours = "" if (self.mean, self.std) == (IMAGENET_MEAN, IMAGENET_STD) else f", {colours_text(*self.seen[1:])}"
        return f"resize {self.resize}, centre crop {self.size}, {self.interpolation}{colours}"


@dataclass(frozen=True)
class Changes:
    """What was said of a model's preprocessing; None leaves what it has."""

    size: int | None = None
    resize: int | None = None
    interpolation: Interpolation | None = None
    mean: Colour | None = None
    std: Colour | None = None

    def to_json(self) -> dict[str, Any]:
        """Only what was said."""
        return {n: list(v) if isinstance(v, tuple) else v for n, v in vars(self).items() if v is not None}

    def words(self) -> tuple[str, ...]:
        """The options of a command line that say it."""
        said: dict[str, object] = {"--input-size": self.size, "--resize": self.resize}
        said |= {"--interpolation": self.interpolation, "--mean": self.mean, "--std": self.std}
        return tuple(
            word
            for option, value in said.items()
            if value is not None
            for word in (option, numbers_text(value) if isinstance(value, tuple) else str(value))
        )


UNCHANGED = Changes()


def parse_colours(text: str, option: str) -> Colour:
    """Three numbers with commas between, as `--mean` and `--std` are given. Raises UsageError."""
    try:
        red, green, blue = map(float, text.split(","))
    except ValueError:
        raise UsageError(
            f"malformed {option} {text!r}: three numbers (red, green, blue), such as {numbers_text(IMAGENET_MEAN)}"
        ) from None
    return red, green, blue


def check_size(size: int) -> None:
    """Raises UsageError for an input that no network here takes."""
    if not SMALLEST_SIDE <= size <= LARGEST_SIDE:
        raise UsageError(f"an input of {size} px is not from {SMALLEST_SIDE} to {LARGEST_SIDE} px, which networks take")


def check_colours(mean: Sequence[float], std: Sequence[float]) -> None:
    """Raises UsageError where these are no mean and deviation of values from 0 to 1."""
    for option, values in (("mean", mean), ("std", std)):
        if len(values) != 3 or not all(map(math.isfinite, values)):
            raise UsageError(f"--{option} is three numbers (red, green, blue), not {numbers_text(values)}")
    if not all(value > 0 for value in std):
        raise UsageError(f"--std is of numbers above 0, not {numbers_text(std)}: colours are divided by it")
    if not all(0 <= value <= 1 for value in mean):
        hint = ""
        if all(0 <= value <= 255 for value in mean):
            of_one = [numbers_text([round(value / 255, 6) for value in values]) for values in (mean, std)]
            hint = f"; if they are of values from 0 to 255, write --mean {of_one[0]} --std {of_one[1]}"
        raise UsageError(f"--mean {numbers_text(mean)} is not of values from 0 to 1{hint}")


def colours_text(mean: Colour, std: Colour) -> str:
    return f"mean {numbers_text(mean)}, std {numbers_text(std)}"


def identity_text(seen: tuple[int, Colour, Colour], usual: tuple[int, Colour, Colour]) -> str:
    """What records and the identity of a model say of `Preprocessing.seen`: nothing where it is the usual one."""
    size, mean, std = seen
    return "" if seen == usual else f"{size} px, {colours_text(mean, std)}"


def former_resize(name: str, size: int) -> int:
    """Shorter side in px where nothing says more: what all pictures were resized to before descriptions had it."""
    return size if _is_demo(name) else size * 256 // IMAGENET_SIZE


def usual(name: str) -> Preprocessing:
    """Of a model whose weights do not say: as nearly all ResNets are trained, ImageNet's; of the demo its own."""
    size = DEMO_SIZE if _is_demo(name) else IMAGENET_SIZE
    return Preprocessing(size, former_resize(name, size))


def _is_demo(name: str) -> bool:
    """Of today, untrained, or of versions up to 0.2: their images fit as they are."""
    return _DEMO.fullmatch(name) is not None


def numbers_text(values: Sequence[float]) -> str:
    return ",".join(f"{value:.9g}" for value in values)
