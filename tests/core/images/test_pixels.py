"""What the numbers of an image file become: 8 bits by what the file declares, or a problem that names it."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from streamscope.core.errors import AmbiguousValuesError, ImageError
from streamscope.core.images.folder import Preparation, count_deep, find_images, read_image
from streamscope.core.images.pixels import AS_TRAINED, Interpretation, Trait
from streamscope.core.schema import build

SIDE = 16
RAMP = np.arange(SIDE * SIDE, dtype=np.uint8).reshape(SIDE, SIDE)
"""Every grey level once."""
COLOURS = np.stack([RAMP, RAMP.T, RAMP[::-1]], axis=2)


def shown(path: Path, interpretation: Interpretation = AS_TRAINED) -> NDArray[np.int64]:
    """(16, 16, 3), nothing resized or cut off."""
    return read_image(path, Preparation(SIDE, SIDE, interpretation)).pixels.astype(np.int64)


def traits(path: Path) -> frozenset[Trait]:
    return read_image(path, Preparation(SIDE, SIDE)).traits


def write_png(path: Path, values: NDArray[np.uint16], kind: int) -> None:
    """16 bits a value, which Pillow writes no colours of. `kind` as PNG has it: 0 grey, 2 RGB, 4 grey and alpha."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = values.shape[:2]
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


def write_tiff(path: Path, values: NDArray[np.generic], bits: int, kind: int = 1, white_is_zero: bool = False) -> None:
    """Uncompressed; `kind` as TIFF has it: 1 unsigned, 2 signed, 3 floats."""
    height, width = values.shape[:2]
    count = values.shape[2] if values.ndim == 3 else 1
    data = values.astype(values.dtype.newbyteorder("<")).tobytes()
    photometric = 2 if count == 3 else int(not white_is_zero)
    end = 8 + len(data)
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 8), (277, count)]
    tags += [(278, height), (279, len(data)), (339, kind)]
    after = end + 2 + 12 * len(tags) + 4
    entries, more = b"", b""
    for tag, value in tags:
        if tag in (258, 339) and count == 3:
            entries += struct.pack("<HHII", tag, 3, 3, after + len(more))
            more += struct.pack("<3H", *[value] * 3)
        else:
            entries += struct.pack("<HHII", tag, 4, 1, value)
    path.write_bytes(
        b"II*\0" + struct.pack("<I", end) + data + struct.pack("<H", len(tags)) + entries + bytes(4) + more
    )


def test_8_bit_images_keep_their_values(tmp_path: Path) -> None:
    for name in ("a.png", "a.bmp", "a.ppm", "a.tif", "a.webp"):
        Image.fromarray(COLOURS).save(tmp_path / name, lossless=True)
        assert np.array_equal(shown(tmp_path / name), COLOURS), name
    Image.fromarray(RAMP // 9).save(tmp_path / "dark.png")
    assert np.array_equal(shown(tmp_path / "dark.png")[..., 0], RAMP // 9)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_16_bit_grey_is_scaled_to_8(tmp_path: Path, name: str) -> None:
    values = RAMP.astype(np.uint16) * 257
    Image.fromarray(values).save(tmp_path / name)
    for channel in range(3):
        assert np.array_equal(shown(tmp_path / name)[..., channel], RAMP)


def test_16_bit_colours_are_scaled_to_8(tmp_path: Path) -> None:
    values = COLOURS.astype(np.uint16) * 257
    write_png(tmp_path / "a.png", values, kind=2)
    write_tiff(tmp_path / "a.tif", values, bits=16)
    for name in ("a.png", "a.tif"):
        assert np.abs(shown(tmp_path / name) - COLOURS).max() <= 1


def test_a_tiff_whose_white_is_zero_is_turned_round(tmp_path: Path) -> None:
    write_tiff(tmp_path / "a.tif", (255 - RAMP).astype(np.uint16) * 257, bits=16, white_is_zero=True)
    assert np.array_equal(shown(tmp_path / "a.tif")[..., 0], RAMP)


def test_the_maximum_of_a_pgm_is_white(tmp_path: Path) -> None:
    values = RAMP.astype(np.uint16) * 16
    header = f"P5\n# by a camera\n{SIDE} {SIDE}\n4080\n".encode()
    (tmp_path / "a.pgm").write_bytes(header + values.astype(">u2").tobytes())
    assert np.abs(shown(tmp_path / "a.pgm")[..., 0] - RAMP).max() <= 1
    chosen = Interpretation(value_range=(0, 2040))
    assert np.abs(shown(tmp_path / "a.pgm", chosen)[..., 0] - np.minimum(2 * RAMP.astype(int), 255)).max() <= 1


@pytest.mark.parametrize("scale", [1, 255])
def test_floats_are_within_0_to_1_or_within_0_to_255(tmp_path: Path, scale: int) -> None:
    Image.fromarray((RAMP / 255 * scale).astype(np.float32)).save(tmp_path / "a.tif")
    assert np.abs(shown(tmp_path / "a.tif")[..., 0] - RAMP).max() <= 1


AMBIGUOUS: dict[str, tuple[NDArray[Any], int, int, tuple[float, float]]] = {
    "12 bits in 16": (RAMP.astype(np.uint16) * 16, 16, 1, (0, 4080)),
    "14 bits in 16": (RAMP.astype(np.uint16) * 64, 16, 1, (0, 255 * 64)),
    "signed": (RAMP.astype(np.int16) * 128, 16, 2, (0, 255 * 128)),
    "32 bits": (RAMP.astype(np.int32) * 257, 32, 2, (0, 65535)),
    "floats to 1000": ((RAMP / 255 * 1000).astype(np.float32), 32, 3, (0, 1000)),
    "floats a little above 1": ((RAMP / 255 * 1.5).astype(np.float32), 32, 3, (0, 1.5)),
    "floats around 0": ((RAMP / 255 * 2 - 1).astype(np.float32), 32, 3, (-1, 1)),
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_ambiguous_values_are_refused_by_name_unless_a_range_says_it(tmp_path: Path, name: str) -> None:
    values, bits, kind, value_range = AMBIGUOUS[name]
    path = tmp_path / "a.tif"
    write_tiff(path, values, bits, kind)
    with pytest.raises(AmbiguousValuesError, match=r"a\.tif has ambiguous values: ") as caught:
        shown(path)
    assert AmbiguousValuesError.is_meant_by(str(caught.value))
    assert np.abs(shown(path, Interpretation(value_range=value_range))[..., 0] - RAMP).max() <= 1


def test_12_bit_colours_in_16_are_refused(tmp_path: Path) -> None:
    write_png(tmp_path / "rgb.png", COLOURS.astype(np.uint16) * 16, kind=2)
    write_png(tmp_path / "grey-alpha.png", np.stack([RAMP.astype(np.uint16) * 16, RAMP.astype(np.uint16) * 257], 2), 4)
    for name in ("rgb.png", "grey-alpha.png"):
        with pytest.raises(AmbiguousValuesError, match="of 16 bits: fewer may be meant"):
            shown(tmp_path / name)
    with pytest.raises(AmbiguousValuesError, match="can be read as 0 to 65535 only"):
        shown(tmp_path / "rgb.png", Interpretation(value_range=(0, 4080)))
    assert shown(tmp_path / "rgb.png", Interpretation(value_range=(0, 65535))).max() == 15


def test_black_is_black_and_what_is_not_finite_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((SIDE, SIDE), np.uint16)).save(tmp_path / "black.png")
    assert shown(tmp_path / "black.png").max() == 0
    values = (RAMP / 255).astype(np.float32)
    values[3, 3] = np.nan
    Image.fromarray(values).save(tmp_path / "nan.tif")
    with pytest.raises(AmbiguousValuesError, match="not finite"):
        shown(tmp_path / "nan.tif")


def test_a_value_range_changes_no_8_bit_image(tmp_path: Path) -> None:
    Image.fromarray(COLOURS).save(tmp_path / "a.png")
    assert np.array_equal(shown(tmp_path / "a.png", Interpretation(value_range=(0, 100))), COLOURS)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_exif_rotation_is_ignored_and_told_or_applied(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(COLOURS).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(shown(tmp_path / "a.png"), COLOURS)
    assert traits(tmp_path / "a.png") == ({Trait.ROTATED} if orientation > 1 else set())
    upright = {1: COLOURS, 3: COLOURS[::-1, ::-1], 6: np.rot90(COLOURS, -1), 8: np.rot90(COLOURS)}
    if orientation in upright:
        assert np.array_equal(shown(tmp_path / "a.png", Interpretation(exif_rotate=True)), upright[orientation])


def test_transparency_is_dropped_and_told_or_put_on_a_colour(tmp_path: Path) -> None:
    alpha = np.where(np.arange(SIDE) < 8, 0, 255).astype(np.uint8)[None].repeat(SIDE, 0)
    Image.fromarray(np.dstack([COLOURS, alpha])).save(tmp_path / "a.png")
    Image.fromarray(np.dstack([COLOURS, np.full_like(alpha, 255)])).save(tmp_path / "opaque.png")
    assert np.array_equal(shown(tmp_path / "a.png"), COLOURS)
    assert traits(tmp_path / "a.png") == {Trait.TRANSPARENT}
    assert not traits(tmp_path / "opaque.png")
    on_red = shown(tmp_path / "a.png", Interpretation(background=(255, 0, 0)))
    assert np.array_equal(on_red[:, 8:], COLOURS[:, 8:])
    assert np.array_equal(on_red[0, 0], (255, 0, 0))


def test_the_transparent_value_of_16_bit_grey_is_known(tmp_path: Path) -> None:
    Image.fromarray(RAMP.astype(np.uint16) * 257).save(tmp_path / "a.png", transparency=255 * 257)
    assert traits(tmp_path / "a.png") == {Trait.TRANSPARENT}
    assert shown(tmp_path / "a.png", Interpretation(background=(7, 7, 7)))[-1, -1].tolist() == [7, 7, 7]


def test_of_several_frames_the_first_is_read_and_that_is_told(tmp_path: Path) -> None:
    pages = [Image.fromarray(COLOURS), Image.fromarray(255 - COLOURS)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / "a.webp", save_all=True, append_images=pages[1:], lossless=True)
    for name in ("a.tif", "a.webp"):
        assert np.array_equal(shown(tmp_path / name), COLOURS)
        assert traits(tmp_path / name) == {Trait.FRAMES}


def test_what_is_no_regular_file_is_a_problem_of_that_image(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to("/dev/zero")
    with pytest.raises(ImageError, match=r"a\.png cannot be read: is not a regular file"):
        shown(tmp_path / "a.png")


def test_images_that_an_earlier_release_read_wrongly_are_counted_by_their_first_bytes(tmp_path: Path) -> None:
    for name in ("a.png", "a.tif", "a.pgm"):
        Image.fromarray(RAMP.astype(np.uint16) * 257).save(tmp_path / name)
    write_png(tmp_path / "rgb16.png", COLOURS.astype(np.uint16) * 257, kind=2)
    for name in ("b.png", "b.jpg", "b.tif"):
        Image.fromarray(COLOURS).save(tmp_path / name)
    (tmp_path / "c.tif").write_bytes(b"no image")
    assert count_deep(tmp_path, find_images(tmp_path)) == 3


def test_only_what_was_chosen_is_a_part_of_the_preparation() -> None:
    plain = Preparation(256, 224)
    assert str(plain) == "resize 256, centre crop 224, bilinear"
    chosen = Interpretation((0, 4095), True, (255, 255, 255))
    assert str(Preparation(256, 224, chosen)) == f"{plain}, values 0 to 4095, rotated by EXIF, on #ffffff"
    assert build(Interpretation, chosen.to_json()) == chosen
    assert (AS_TRAINED.to_json(), build(Interpretation, {})) == ({}, AS_TRAINED)
