"""The demo model's image set: labelled shapes and textures at random scales and places. Never imports torch.

One class is one figure, so a network can only tell a large disc from a small one by what they share: the set asks for
scale invariance, which is what the residual stream is to be searched for.
"""

from __future__ import annotations

import errno
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from streamscope.core.errors import DiskFullError, StoreError, UsageError
from streamscope.core.model.arrays import FloatArray, Pixels

SIDE = 64
"""Side of an image in px."""

RADII = (7.0, 29.0)
"""Smallest and largest radius of a figure in px; radii are log-uniform between them."""

TINT = 0.12
"""Deviation of a colour's red, green and blue from its grey."""

CLASSES = ("disc", "ring", "square", "triangle", "star", "cross", "stripes", "checks", "dots", "target")

BATCH = 64
"""Images drawn together from one generator, so that image n of a class does not depend on how many are asked for."""


class _Figures:
    """`n` figures' geometry: `u`, `v` are (n, 64, 64) coordinates in radii from each centre, turned by its angle."""

    def __init__(self, n: int, rng: np.random.Generator) -> None:
        low, high = np.log(RADII)
        self.rng = rng
        self.radius = _column(np.exp(rng.uniform(low, high, n)))
        # A tenth of the radius may leave the image; few figures of any class reach that far on every side.
        reach = 0.9 * self.radius
        self.cx = reach + (SIDE - 2 * reach) * self.uniform(0, 1)
        self.cy = reach + (SIDE - 2 * reach) * self.uniform(0, 1)
        angle = self.uniform(0, 2 * np.pi)
        centres = np.arange(SIDE, dtype=np.float32) + 0.5
        x = (centres[None, None, :] - self.cx) / self.radius
        y = (centres[None, :, None] - self.cy) / self.radius
        self.u: FloatArray = np.cos(angle) * x + np.sin(angle) * y
        self.v: FloatArray = np.cos(angle) * y - np.sin(angle) * x

    def uniform(self, low: float, high: float) -> FloatArray:
        """One random number a figure, (n, 1, 1)."""
        return _column(self.rng.uniform(low, high, len(self.radius)))

    def covered(self, distance: FloatArray) -> FloatArray:
        """Share of each pixel inside, from the signed distance to the edge in radii (negative inside)."""
        return np.clip(0.5 - distance * self.radius, 0, 1)


def _column(values: FloatArray) -> FloatArray:
    return values.astype(np.float32)[:, None, None]


# Outlines: signed distance to the edge in radii, (n, 64, 64), negative inside.


def _disc(f: _Figures) -> FloatArray:
    distance: FloatArray = np.hypot(f.u, f.v)
    return distance - 0.95


def _ring(f: _Figures) -> FloatArray:
    half = f.uniform(0.13, 0.24)
    distance: FloatArray = np.abs(np.hypot(f.u, f.v) - (0.97 - half))
    return distance - half


def _square(f: _Figures) -> FloatArray:
    distance: FloatArray = np.maximum(np.abs(f.u), np.abs(f.v))
    return distance - 0.78


def _triangle(f: _Figures) -> FloatArray:
    corners = 2 * np.pi / 3 * np.arange(3, dtype=np.float32)
    sides: list[FloatArray] = [np.cos(a) * f.u + np.sin(a) * f.v for a in corners]
    distance: FloatArray = np.maximum.reduce(sides)
    return distance - 0.5


def _star(f: _Figures) -> FloatArray:
    """Five points, folded into half a point: right of the line from its tip to the notch beside it is outside."""
    half = np.float32(np.pi / 5)
    angle = np.abs((np.arctan2(f.v, f.u) + half) % (2 * half) - half)
    length = np.hypot(f.u, f.v)
    notch = f.uniform(0.4, 0.5)
    edge_x, edge_y = notch * np.cos(half) - 1, notch * np.sin(half)
    x, y = length * np.cos(angle) - 1, length * np.sin(angle)
    distance: FloatArray = (edge_y * x - edge_x * y) / np.hypot(edge_x, edge_y)
    return distance


def _cross(f: _Figures) -> FloatArray:
    u, v, arm = np.abs(f.u), np.abs(f.v), f.uniform(0.2, 0.32)
    return np.minimum(np.maximum(u - 0.97, v - arm), np.maximum(v - 0.97, u - arm))


def _patch(f: _Figures) -> FloatArray:
    """What a texture is cut to: a disc or a square at random, so that the outline says nothing of the class."""
    return np.where(f.uniform(0, 1) < 0.5, _disc(f), _square(f))


# Textures: share of the second colour in each pixel, (n, 64, 64).


def _bands(f: _Figures, position: FloatArray, periods: FloatArray) -> FloatArray:
    """Alternating bands along `position` (in radii), `periods` to the figure's width, with edges one pixel soft."""
    wave = np.abs((position * periods / 2) % 1 - 0.5) - 0.25
    return np.clip(0.5 + wave * (2 * f.radius / periods), 0, 1)


def _plain(f: _Figures) -> FloatArray:
    """Shading from nothing to a quarter of the second colour across the figure."""
    return np.clip(0.5 + f.u / 2, 0, 1) * f.uniform(0, 0.25)


def _stripes(f: _Figures) -> FloatArray:
    return _bands(f, f.u + f.uniform(0, 2), f.uniform(2.5, 3.5))


def _checks(f: _Figures) -> FloatArray:
    periods = f.uniform(2, 2.8)
    rows, columns = (_bands(f, axis + f.uniform(0, 2), periods) for axis in (f.u, f.v))
    return rows + columns - 2 * rows * columns


def _dots(f: _Figures) -> FloatArray:
    periods = f.uniform(2.5, 3.5)
    u, v = (((axis + f.uniform(0, 2)) * periods / 2) % 1 - 0.5 for axis in (f.u, f.v))
    return np.clip(0.5 + (f.uniform(0.28, 0.34) - np.hypot(u, v)) * (2 * f.radius / periods), 0, 1)


def _target(f: _Figures) -> FloatArray:
    return _bands(f, np.hypot(f.u, f.v) + f.uniform(0, 0.3), f.uniform(3, 3.8))


_DRAWN: dict[str, tuple[Callable[[_Figures], FloatArray], Callable[[_Figures], FloatArray]]] = {
    "disc": (_disc, _plain),
    "ring": (_ring, _plain),
    "square": (_square, _plain),
    "triangle": (_triangle, _plain),
    "star": (_star, _plain),
    "cross": (_cross, _plain),
    "stripes": (_patch, _stripes),
    "checks": (_patch, _checks),
    "dots": (_patch, _dots),
    "target": (_disc, _target),
}


def _colours(shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
    """Random RGB colours, (*shape, 3): greys of any brightness with a tint, as most colours of photographs are, so that
    what a network learns to see are edges of brightness first."""
    grey = rng.uniform(0, 1, (*shape, 1))
    tint = rng.normal(0, TINT, (*shape, 3))
    colours: FloatArray = np.clip(grey + tint, 0, 1).astype(np.float32)
    return colours


def _colours_unlike(others: list[FloatArray], rng: np.random.Generator) -> FloatArray:
    """A random RGB colour an image, (n, 1, 1, 3), at least 0.5 from each of the others wherever 16 tries allow it."""
    tries = _colours((len(others[0]), 16), rng)
    nearest = np.min([np.linalg.norm(tries - other[:, 0], axis=2) for other in others], axis=0)
    passed = nearest > 0.5
    pick = np.where(passed.any(axis=1), passed.argmax(axis=1), nearest.argmax(axis=1))
    colours: FloatArray = tries[np.arange(len(tries)), pick][:, None, None, :]
    return colours


def _across(n: int, rng: np.random.Generator) -> FloatArray:
    """Place of each pixel along a random direction, in half sides from the middle, (n, SIDE, SIDE)."""
    axis = np.linspace(-1, 1, SIDE, dtype=np.float32)
    angle = _column(rng.uniform(0, 2 * np.pi, n))
    place: FloatArray = np.cos(angle) * axis[None, None, :] + np.sin(angle) * axis[None, :, None]
    return place


def _clouds(n: int, cells: int, rng: np.random.Generator) -> FloatArray:
    """Clouds, `cells` across an image, grey with a little colour, values about -1 to 1, (n, SIDE, SIDE, 3)."""
    grey = rng.uniform(-1, 1, (n, cells + 1, cells + 1, 1))
    grid = (grey + 0.3 * rng.uniform(-1, 1, (n, cells + 1, cells + 1, 3))).astype(np.float32)
    at = np.linspace(0, cells, SIDE)
    weights = np.clip(1 - np.abs(at[:, None] - np.arange(cells + 1)[None, :]), 0, 1).astype(np.float32)
    noise: FloatArray = np.einsum("yi,nijc,xj->nyxc", weights, grid, weights, optimize=True)
    return noise


def _backgrounds(base: FloatArray, rng: np.random.Generator) -> FloatArray:
    """A gradient with clouds, up to four soft blobs and, in half of the images, a straight edge, which belong to no
    class; (n, SIDE, SIDE, 3)."""
    n = len(base)
    canvas = base + (_across(n, rng) * _column(rng.uniform(-0.2, 0.2, n)))[..., None]
    beyond = np.clip(0.5 + (_across(n, rng) - _column(rng.uniform(-0.8, 0.8, n))) * SIDE / 2, 0, 1)
    cut = beyond * _column((rng.uniform(0, 1, n) < 0.5).astype(np.float32))
    canvas += (cut * _column(rng.uniform(-0.3, 0.3, n)))[..., None]
    for cells in (4, 9):
        canvas += _column(rng.uniform(0, 0.1, n))[..., None] * _clouds(n, cells, rng)
    pixels = np.arange(SIDE, dtype=np.float32)
    for _ in range(4):
        x, y = (_column(rng.uniform(0, SIDE, n)) for _ in "xy")
        width, height = (_column(rng.uniform(2, 9, n)) for _ in "xy")
        blob = np.exp(-(((pixels[None, None, :] - x) / width) ** 2) - ((pixels[None, :, None] - y) / height) ** 2)
        share = blob * _column(rng.uniform(0.3, 0.8, n) * (rng.uniform(0, 1, n) < 0.5))
        canvas += share[..., None] * (_colours((n, 1, 1), rng) - canvas)
    return canvas


def _draw_batch(name: str, n: int, rng: np.random.Generator) -> Pixels:
    figures = _Figures(n, rng)
    base = 0.1 + 0.8 * _colours((n, 1, 1), rng)
    first = _colours_unlike([base], rng)
    second = _colours_unlike([base, first], rng)
    outline, texture = _DRAWN[name]
    share = texture(figures)[..., None]
    inside = figures.covered(outline(figures))[..., None]
    canvas = _backgrounds(base, rng)
    canvas += inside * (first + share * (second - first) - canvas)
    grain = _column(rng.uniform(0.01, 0.05, n))[..., None]
    canvas += grain * rng.standard_normal(canvas.shape, dtype=np.float32)
    levels: FloatArray = np.clip(canvas, 0, 1) * 255 + 0.5
    return levels.astype(np.uint8)


def draw(label: int, rng: np.random.Generator) -> Pixels:
    """One image of class `CLASSES[label]`, (64, 64, 3) uint8."""
    image: Pixels = _draw_batch(CLASSES[label], 1, rng)[0]
    return image


def class_images(label: int, count: int, seed: int) -> Pixels:
    """The first `count` images of a class, (count, 64, 64, 3) uint8: the same for a seed however many are drawn."""
    images = np.empty((count, SIDE, SIDE, 3), dtype=np.uint8)
    for first in range(0, count, BATCH):
        rng = np.random.default_rng([seed, label, first])
        images[first : first + BATCH] = _draw_batch(CLASSES[label], BATCH, rng)[: count - first]
    return images


def dataset(count: int, seed: int) -> tuple[Pixels, NDArray[np.int64]]:
    """`count` shuffled images, classes as equal as can be: (n, 64, 64, 3) uint8 and (n,) labels."""
    labels = np.arange(count, dtype=np.int64) % len(CLASSES)
    images = np.empty((count, SIDE, SIDE, 3), dtype=np.uint8)
    for label in range(len(CLASSES)):
        mine = np.flatnonzero(labels == label)
        images[mine] = class_images(label, len(mine), seed)
    order = np.random.default_rng([seed, len(CLASSES)]).permutation(count)
    return images[order], labels[order]


def write_images(folder: Path, per_class: int, seed: int) -> int:
    """Writes `per_class` PNGs of each class into `folder/CLASS/0000.png` …; returns how many in all.

    The folder appears complete or not at all. Raises UsageError when it is a file or holds anything already, or when a
    number makes no sense; StoreError when it cannot be written, DiskFullError when it does not fit.
    """
    if per_class < 1:
        raise UsageError(f"images per class must be 1 or more, not {per_class}")
    if seed < 0:
        raise UsageError(f"seed must be 0 or more, not {seed}")
    try:
        folder = folder.resolve()
        existed = folder.exists()
        if existed and not folder.is_dir():
            raise UsageError(f"{folder} is a file; name a new folder for the images")
        if existed and any(folder.iterdir()):
            raise UsageError(f"{folder} is not empty; name a new or empty folder for the images")
        _write_whole(folder, existed, per_class, seed)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(f"no space left to write the images to {folder}; nothing was kept", folder) from error
        raise StoreError(f"cannot write images to {folder}: {error.strerror or error}") from error
    return per_class * len(CLASSES)


def _write_whole(folder: Path, existed: bool, per_class: int, seed: int) -> None:
    # An empty folder that is there already may be a mount or the shell's own: it is filled, never replaced.
    beside = folder if existed else folder.parent
    beside.mkdir(parents=True, exist_ok=True)
    partial = beside / f".{folder.name}-{secrets.token_hex(4)}.partial"
    moved: list[Path] = []
    try:
        for label, name in enumerate(CLASSES):
            (partial / name).mkdir(parents=True)
            for index, image in enumerate(class_images(label, per_class, seed)):
                Image.fromarray(image).save(partial / name / f"{index:04d}.png")
        if existed:
            for name in CLASSES:
                moved.append((partial / name).rename(folder / name))
        else:
            partial.rename(folder)
    except BaseException:
        for path in moved:
            shutil.rmtree(path, ignore_errors=True)
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
