"""What torchvision, timm and Hugging Face say of a network's preprocessing. Never imports torch."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from streamscope.core.errors import UsageError, WeightsError
from streamscope.core.files import read_regular
from streamscope.core.model.networks import NETWORKS
from streamscope.core.model.preprocessing import (
    IMAGENET_MEAN,
    IMAGENET_SIZE,
    IMAGENET_STD,
    Colour,
    Interpolation,
    Preprocessing,
    check_size,
    usual,
)
from streamscope.core.schema import MalformedError, parse_object

TORCHVISION: Mapping[str, Mapping[str, tuple[str, int]]] = {
    "resnet18": {"IMAGENET1K_V1": ("f37072fd", 256)},
    "resnet34": {"IMAGENET1K_V1": ("b627a593", 256)},
    "resnet50": {"IMAGENET1K_V1": ("0676ba61", 256), "IMAGENET1K_V2": ("11ad3fa6", 232)},
    "resnet101": {"IMAGENET1K_V1": ("63fe2227", 256), "IMAGENET1K_V2": ("cd907fc2", 232)},
    "resnet152": {"IMAGENET1K_V1": ("394f9c45", 256), "IMAGENET1K_V2": ("f82ba261", 232)},
    "resnext50_32x4d": {"IMAGENET1K_V1": ("7cdf4587", 256), "IMAGENET1K_V2": ("1a0047aa", 232)},
    "resnext101_32x8d": {"IMAGENET1K_V1": ("8ba56ff5", 256), "IMAGENET1K_V2": ("110c445d", 232)},
    "resnext101_64x4d": {"IMAGENET1K_V1": ("173b62eb", 232)},
    "wide_resnet50_2": {"IMAGENET1K_V1": ("95faca4d", 256), "IMAGENET1K_V2": ("9ba9bcbe", 232)},
    "wide_resnet101_2": {"IMAGENET1K_V1": ("32ee1156", 256), "IMAGENET1K_V2": ("d733dc28", 232)},
}
"""By architecture and name of the weights, the default ones last: how torchvision's files are called after the
architecture (`resnet50-11ad3fa6.pth`), and px of the shorter side. All else is as `Preprocessing` has it; a test
compares with the installed torchvision."""
_FOLDER_FILES = ("model.safetensors", "pytorch_model.bin")
"""What Hugging Face's folders call weights; beside files of other names, `config.json` may be anything's."""
_CONFIG_LIMIT = 2**20
OPTIONS = "--input-size, --resize, --interpolation, --mean, --std"
"""What says all of a network's preprocessing."""
_PILLOW: Mapping[int, Interpolation] = {
    0: "nearest",
    1: "lanczos",
    2: "bilinear",
    3: "bicubic",
    4: "box",
    5: "hamming",
}
"""By Pillow's numbers, which Hugging Face's files have."""


def of_weights(architecture: str, weights: Path | None, own: Preprocessing | None = None) -> Preprocessing:
    """Of a network with these weights: torchvision's own (the default ones for None, others by their name or that of
    their file), a Hugging Face folder's (or a file's in it) as its configuration says, and else `own`, the usual where
    the network has none of its own.

    Raises UsageError where a folder's configuration is of what cannot be done, WeightsError where it is damaged.
    """
    entry = NETWORKS.get(architecture)
    if entry is not None and weights is not None:
        for release, found in entry.releases.items():
            if weights.name in (release, f"{found.file}.pth"):
                return found.preprocessing
    known = TORCHVISION.get(architecture, {})
    if weights is None:
        resizes = [resize for _, resize in known.values()]
    else:
        resizes = [
            size for name, (digest, size) in known.items() if weights.name in (name, f"{architecture}-{digest}.pth")
        ]
    if resizes:
        return replace(usual(architecture), resize=resizes[-1])
    configured = _configured(weights) if weights is not None else None
    return configured or own or usual(architecture)


def _configured(weights: Path) -> Preprocessing | None:
    """What a Hugging Face folder says; None where `weights` is in none, or nothing is said."""
    # Unlike Path's own, this is no error where there cannot be such a path.
    is_folder = os.path.isdir(weights)
    if not (is_folder or weights.name in _FOLDER_FILES):
        return None
    folder = weights if is_folder else weights.parent
    for name in ("preprocessor_config.json", "config.json"):
        path = folder / name
        try:
            config = parse_object(read_regular(path, limit=_CONFIG_LIMIT))
        except FileNotFoundError:
            continue
        except (OSError, MalformedError) as error:
            raise WeightsError(f"{path} cannot be read: {error}") from error
        try:
            if name == "preprocessor_config.json":
                return of_hugging_face(config)
            if isinstance(timm := config.get("pretrained_cfg"), Mapping):
                return of_timm(timm)
        except UsageError as error:
            raise UsageError(f"{path} says {error}; to go without it, say all of {OPTIONS}") from error
    return None


def of_timm(config: Mapping[str, Any]) -> Preprocessing:
    """The evaluation transform of timm's `pretrained_cfg`, as its `create_transform` makes it.

    Raises UsageError for one that does something else (squashes or pads), or is no such configuration.
    """
    try:
        channels, height, width = config.get("input_size") or (3, IMAGENET_SIZE, IMAGENET_SIZE)
        if channels != 3 or height != width:
            raise UsageError(f"an input of {channels} x {height} x {width}; only square ones of 3 colours can be read")
        mode = config.get("crop_mode") or "center"
        if mode != "center":
            raise UsageError(f"the crop mode {mode!r}; only 'center' can be made")
        if config.get("crop_border_pixels"):
            raise UsageError("a border that is trimmed, which cannot be made")
        check_size(height)
        return Preprocessing(
            size=height,
            resize=math.floor(height / (config.get("crop_pct") or 0.875)),
            interpolation=config.get("interpolation") or "bicubic",
            mean=_colour(config.get("mean") or IMAGENET_MEAN),
            std=_colour(config.get("std") or IMAGENET_STD),
        )
    except (TypeError, ValueError, ArithmeticError) as error:
        raise UsageError(f"something that is no configuration of timm's ({error})") from error


def of_hugging_face(config: Mapping[str, Any]) -> Preprocessing:
    """What a Hugging Face `preprocessor_config.json` does to a picture.

    Raises UsageError where it does something else (squashes, does not crop), or is no such configuration.
    """
    try:
        kind = str(config.get("image_processor_type") or config.get("feature_extractor_type") or "")
        short = _side(config.get("size", IMAGENET_SIZE), "size", "shortest_edge")
        if kind.startswith("ConvNext"):
            # What transformers' ResNets have, too: `size` is what is left after cropping.
            if short >= 384:
                raise UsageError(f"pictures squashed to {short} px; only ones that keep their shape can be made")
            size, resize = short, int(short / (config.get("crop_pct") or 224 / 256))
        elif config.get("do_center_crop"):
            size, resize = _side(config.get("crop_size", IMAGENET_SIZE), "crop_size"), short
        else:
            raise UsageError("pictures resized without a crop; only the middle of resized ones can be made")
        if config.get("do_resize") is False:
            raise UsageError("pictures that are not resized; only the middle of resized ones can be made")
        white = 255.0 * (config.get("rescale_factor") or 1 / 255) if config.get("do_rescale", True) else 255.0
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        if config.get("do_normalize", True):
            mean, std = _colour(config["image_mean"]), _colour(config["image_std"])
        if not math.isclose(white, 1.0, rel_tol=1e-6):
            mean, std = (_colour([value / white for value in values]) for values in (mean, std))
        check_size(size)
        return Preprocessing(size, resize, _PILLOW[config.get("resample", 2)], mean, std)
    except (TypeError, ValueError, LookupError, ArithmeticError) as error:
        raise UsageError(f"something that is no configuration of an image processor ({error})") from error


def _side(value: Any, what: str, name: str = "") -> int:
    """Of `224`, `{"shortest_edge": 224}` (where `name` says so) or a square's height and width."""
    if isinstance(value, Mapping):
        sides = [value[name]] if name and name in value else [] if name else [value["height"], value["width"]]
        if len(set(sides)) != 1:
            raise UsageError(f"{what} {dict(value)}, which squashes pictures or cuts out what is not square")
        value = sides[0]
    if type(value) is not int:
        raise UsageError(f"{what} {value!r}, which is no whole number")
    return value


def _colour(values: Sequence[float]) -> Colour:
    red, green, blue = map(float, values)
    return red, green, blue
