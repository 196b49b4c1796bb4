"""What a model is shown of an image file, and which files are images."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional

from streamscope.core.errors import ImageError, UsageError
from streamscope.core.images.folder import Preparation, contents_digest, decode, find_images, list_images, read_image
from streamscope.core.model.blocks import ModelInfo
from tests.support.stores import toy_info

IMAGENET = Preparation(256, 224)


def photograph(width: int, height: int, mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


@pytest.mark.parametrize(
    ("size", "mode"),
    [((500, 375), "RGB"), ((375, 501), "L"), ((256, 300), "RGBA"), ((90, 31), "P"), ((257, 257), "CMYK")],
)
def test_pixels_are_those_of_torchvisions_preprocessing(size: tuple[int, int], mode: str) -> None:
    image = photograph(*size, mode)
    resized = functional.resize(image.convert("RGB"), [256], antialias=True)
    expected = np.asarray(functional.center_crop(resized, [224]))
    assert np.array_equal(IMAGENET.apply(image), expected)


def test_an_image_of_the_models_own_size_is_taken_as_it_is(tmp_path: Path) -> None:
    image = photograph(12, 12)
    image.save(tmp_path / "a.png")
    demo: ModelInfo = toy_info("demo")
    assert np.array_equal(read_image(tmp_path / "a.png", Preparation.of(demo)).pixels, np.asarray(image))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is empty"),
        (b"no image at all", "is not an image that can be read"),
        (b"\x89PNG\r\n\x1a\n", "is not an image that can be read"),
    ],
)
def test_what_is_no_image_is_named(tmp_path: Path, content: bytes, what: str) -> None:
    with pytest.raises(ImageError, match=rf"a\.png {what}"):
        decode(content, tmp_path / "a.png", IMAGENET)


def test_an_image_that_ends_early_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    photograph(300, 300).save(path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ImageError, match=r"a\.jpg is not an image that can be read \(image file is truncated"):
        read_image(path, Preparation.of(toy_info()))


def test_an_image_of_a_hopeless_shape_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "line.png"
    Image.new("RGB", (1, 300)).save(path)
    with pytest.raises(ImageError, match="1 x 300 px is too elongated"):
        read_image(path, Preparation.of(toy_info()))


def test_neither_pipes_nor_links_in_circles_hold_up_the_search(tmp_path: Path) -> None:
    photograph(12, 12).save(tmp_path / "a.PNG")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "round").symlink_to(tmp_path)
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    assert [image.path for image in find_images(tmp_path)] == ["a.PNG", "gone.png"]
    assert list_images(tmp_path).skipped == {"not a regular file": 1}


def test_every_file_that_is_no_image_is_counted_by_its_kind(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    for name in (
        "a.jpg",
        "b.JFIF",
        "c.jpe",
        "d.gif",
        "e.GIF",
        "f.npy",
        "._a.jpg",
        ".DS_Store",
        "README",
        "v1.final draft 2",
    ):
        (tmp_path / "cat" / name).write_bytes(b"")
    found = list_images(tmp_path)
    assert [image.path for image in found.images] == ["cat/a.jpg", "cat/b.JFIF", "cat/c.jpe"]
    assert found.skipped == {".gif": 2, "hidden": 2, "without an ending": 2, ".npy": 1}
    assert list(found.skipped.values()) == sorted(found.skipped.values(), reverse=True)
    assert found.files == 10


def test_a_folder_without_images_names_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "a.gif").write_bytes(b"")
    with pytest.raises(UsageError, match=r"there are no images in .*; skipped: 1 \.gif$"):
        find_images(tmp_path)


def test_decoding_processes_do_not_import_torch() -> None:
    code = """
import sys, streamscope.core.images.decoding
print([m for m in ('torch', 'scipy', 'textual') if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_8_bit_pixels_are_what_torchvision_would_normalise(tmp_path: Path) -> None:
    from streamscope.core.engine.fourier import from_8_bit

    image = photograph(400, 300)
    pixels = from_8_bit(IMAGENET.apply(image)[None])
    expected = functional.pil_to_tensor(functional.center_crop(functional.resize(image, [256]), [224])) / 255
    assert torch.equal(pixels[0], expected)


def test_one_digest_stands_for_the_contents_of_many_images_whatever_their_names_are() -> None:
    named = [("a.png", "11" * 32), ("b/\udcff.png", "22" * 32)]
    listed = b"11" * 32 + b"  a.png\n" + b"22" * 32 + b"  b/\xff.png\n"
    assert contents_digest(named) == hashlib.sha256(listed).hexdigest()
    assert contents_digest(reversed(named)) != contents_digest(named)
