"""`streamscope scan` and what reads scans on the command line: every wrong input is one line and its exit code."""

import csv
import io
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from streamscope.core.model.blocks import ModelInfo
from streamscope.core.model.demo import write_images
from streamscope.core.model.spec import ModelSpec
from streamscope.core.store import Store
from streamscope.core.store.files.checksums import SUMS, sha256
from streamscope.core.store.files.documents import encode
from tests.support.command_line import Run
from tests.support.scans import draw_images, write_scan
from tests.support.stores import KEY, toy_info


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(tmp_path / "cache", capsys)


@pytest.fixture
def toy(tmp_path: Path) -> tuple[Store, ModelInfo]:
    """A store that takes a toy model for resnet18's weights, with FZs measured of one block: no weights are loaded."""
    store = Store.open(tmp_path / "cache", create=True)
    info = toy_info("resnet18")
    store.register(info)
    store.remember(ModelSpec("resnet18").text, info.fingerprint)
    store.set(info, KEY, create=True)
    return store, info


def test_scanning_twice_scans_once_and_what_could_not_be_read_is_named(run: Run, tmp_path: Path) -> None:
    write_images(tmp_path / "shapes", 2, 0)
    (tmp_path / "shapes" / "disc" / "broken.png").write_text("no image")
    code, out, err = run("scan", tmp_path / "shapes", "--workers", 1)
    assert code == 0
    assert out.startswith(f"scanned 20 images of {tmp_path / 'shapes'}, 1 unreadable left out in ")
    kept = "kept the 9 best patches of every channel of in, block and out: one of an image, from anywhere in its map"
    assert out.splitlines()[1] == kept
    assert len(err) == 1
    assert "broken.png is not an image that can be read" in err[0]
    code, out, _ = run("scan", tmp_path / "shapes", "--json")
    found = json.loads(out)
    assert (code, found["images"], found["patches"], found["seconds"]) == (0, 20, 9, 0)
    assert [image["path"] for image in found["unreadable"]] == ["disc/broken.png"]
    code, out, _ = run("cache", "info", "--json")
    (scan,) = json.loads(out)["scans"]
    assert (scan["folder"], scan["images"]) == (str(tmp_path / "shapes"), 21)
    assert scan["finished"] is not None
    assert run("cache", "verify")[:2] == (0, "everything is intact\n")


def odd_folder(folder: Path) -> None:
    """20 images of the demo's, and beside them what people have in their folders."""
    write_images(folder, 2, 0)
    (folder / "disc" / "a.gif").write_bytes(b"")
    (folder / ".DS_Store").write_bytes(b"")
    os.mkfifo(folder / "disc" / "pipe.png")
    (folder / "disc" / "b\x1b[31m\n\udcff.png").write_text("no image")
    grey = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    Image.fromarray(grey).save(folder / "ring" / "deep.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((64, 64, 4), np.uint8)).save(folder / "ring" / "odd.png", exif=exif)


def test_what_was_left_out_is_counted_by_kind_and_what_was_ignored_is_told(run: Run, tmp_path: Path) -> None:
    odd_folder(tmp_path / "shapes")
    code, out, err = run("scan", tmp_path / "shapes", "--workers", 1)
    assert code == 0
    first, _, last = out.splitlines()
    assert first.startswith(f"scanned 21 images of {tmp_path / 'shapes'}, 2 unreadable left out in ")
    counts, _, kinds = last.partition(": ")
    assert counts == "21 of 26 files read, 5 skipped"
    assert sorted(kinds.split(", ")) == ["1 .gif", "1 ambiguous", "1 hidden", "1 not a regular file", "1 unreadable"]
    assert not set("".join([out, *err])) & set("\x1b\udcff")
    assert any("disc/b␛[31m␊\\xff.png is not an image" in line for line in err)
    assert any("deep.png has ambiguous values: they run from 0 to 4095" in line for line in err)
    assert (
        "streamscope: 1 with ambiguous values: say what is black and what is white with --value-range LOW,HIGH" in err
    )
    assert any("1 image with an EXIF rotation, which is ignored" in line for line in err)
    assert any("1 image with transparent parts" in line for line in err)
    _, out, _ = run("scan", tmp_path / "shapes", "--json")
    counted = json.loads(out)["files"]
    by_kind = {".gif": 1, "hidden": 1, "not a regular file": 1, "ambiguous": 1, "unreadable": 1}
    assert counted == {"found": 26, "read": 21, "skipped": by_kind, "traits": {"exif-rotation": 1, "transparency": 1}}


def test_what_is_chosen_of_the_images_makes_another_scan_and_nothing_else_does(run: Run, tmp_path: Path) -> None:
    odd_folder(tmp_path / "shapes")
    read = ("scan", tmp_path / "shapes", "--workers", 1, "--json")
    plain = json.loads(run(*read)[1])
    assert plain["path"] == json.loads(run(*read)[1])["path"]
    chosen = (*read, "--value-range", "0,4095", "--exif-rotate", "--background", "white")
    other = json.loads(run(*chosen)[1])
    assert other["path"] != plain["path"]
    assert (other["images"], plain["images"]) == (22, 21)
    store = Store.open(tmp_path / "cache")
    (info,) = store.models()
    rows = {scan.path.name: scan for scan in store.scans(info)}
    scan = rows[Path(other["path"]).name]
    (row,) = [place for place, image in enumerate(scan.images) if image.path == "ring/odd.png"]
    assert scan.image(row).min() == 255


@pytest.mark.parametrize(
    ("option", "value", "line"),
    [
        ("--value-range", "4095", "malformed value range '4095'; write for example --value-range 0,4095"),
        ("--value-range", "9,1", "value range '9,1' is empty"),
        ("--value-range", "0,inf", "value range '0,inf' is empty"),
        ("--background", "nocolour", "unknown colour 'nocolour'"),
    ],
)
def test_a_wrong_choice_is_a_usage_error(run: Run, tmp_path: Path, option: str, value: str, line: str) -> None:
    code, out, err = run("scan", tmp_path, option, value)
    assert (code, out, len(err)) == (2, "", 1)
    assert line in err[0]


def test_a_scan_by_a_release_that_made_16_bits_white_is_told(
    run: Run, toy: tuple[Store, ModelInfo], tmp_path: Path
) -> None:
    store, info = toy
    draw_images(tmp_path / "shapes")
    Image.fromarray(np.arange(4096, dtype=np.uint16).reshape(64, 64) * 16).save(tmp_path / "shapes" / "deep.png")
    scan = write_scan(store, info, tmp_path / "shapes")
    assert run("scan", tmp_path / "shapes", model=None)[2] == []
    # What 0.2.0 wrote: no word of traits.
    result = scan.path / "result"
    listed = json.loads((result / "images.json").read_bytes())
    del listed["traits"]
    old = (result / "images.json").read_bytes()
    (result / "images.json").write_bytes(encode(listed))
    sums = (result / SUMS).read_text().replace(sha256(old), sha256(encode(listed)))
    (result / SUMS).write_text(sums)
    code, out, err = run("scan", tmp_path / "shapes", model=None)
    assert (code, out.splitlines()[0]) == (0, f"scanned 25 images of {tmp_path / 'shapes'} before; nothing is missing")
    assert len(err) == 1
    assert "1 of these images have more than 8 bits a value, which the release that scanned them took for" in err[0]
    assert f"cache prune --images {tmp_path / 'shapes'}', then scan again" in err[0]


@pytest.mark.parametrize(
    ("make", "arguments", "line"),
    [
        (None, (), "images is not there; name a folder with images, or with one folder of them a class"),
        ("file", (), "images is a file, not a folder of images"),
        ("empty", (), "there are no images in "),
        ("empty", ("--workers", "0"), "Invalid value for '--workers': 0 is not in the range x>=1"),
        ("image", ("--model", "resnet19"), "unknown model 'resnet19'"),
    ],
)
def test_a_wrong_input_is_a_usage_error_that_writes_nothing(
    run: Run, tmp_path: Path, make: str | None, arguments: tuple[str, ...], line: str
) -> None:
    images = tmp_path / "images"
    if make == "file":
        images.write_text("")
    elif make is not None:
        images.mkdir()
    if make == "image":
        (images / "a.png").write_text("")
    code, out, err = run("scan", images, *arguments, model=None if "--model" in arguments else "demo")
    assert (code, out) == (2, "")
    assert len(err) == 1
    assert line in err[0]
    assert not (tmp_path / "cache" / "models").exists()


def test_only_broken_images_are_an_error_that_names_the_first(run: Run, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_text("no image")
    code, _, err = run("scan", tmp_path / "images", "--workers", 1)
    assert code == 1
    assert "none of the 1 images could be read; the first: " in err[0]


def test_reading_commands_take_the_newest_scan_and_name_it_where_there_are_several(
    run: Run, toy: tuple[Store, ModelInfo], tmp_path: Path
) -> None:
    store, info = toy
    write_scan(store, info, tmp_path / "a", seed=1)
    ask = ("table", "--block", "2.0", "--format", "csv")
    code, only, err = run(*ask, model=None)
    assert (code, err) == (0, [])
    assert {row["images"] for row in csv.DictReader(io.StringIO(only))} == {"24"}
    write_scan(store, info, tmp_path / "b", seed=2)
    code, newest, err = run(*ask, model=None)
    assert err == [f"streamscope: reading the scan of {tmp_path / 'b'}"]
    assert newest != only
    assert run(*ask, "--images", tmp_path / "a", model=None) == (0, only, [])
    code, _, err = run(*ask, "--images", tmp_path / "c", model=None)
    assert code == 1
    assert "c has no finished scan by resnet18 in" in err[0]


def test_filters_and_files_know_the_scan(run: Run, toy: tuple[Store, ModelInfo], tmp_path: Path) -> None:
    store, info = toy
    scan = write_scan(store, info, tmp_path / "a")
    rho = scan.rho("2.0")[0]
    out = tmp_path / "table.csv"
    code, _, _ = run(
        "table", "--block", "2.0", "--filter", "rho < 0", "--columns", "channel,rho", "--out", out, model=None
    )
    assert code == 0
    assert [int(row["channel"]) for row in csv.DictReader(out.open())] == [c for c in range(6) if rho[c] < 0]
    assert json.loads((tmp_path / "table.csv.meta.json").read_text())["images"] == scan.described
    assert scan.described["count"] == 24


def test_pruning_takes_the_scans_of_one_folder_only(run: Run, toy: tuple[Store, ModelInfo], tmp_path: Path) -> None:
    store, info = toy
    first, second = write_scan(store, info, tmp_path / "a"), write_scan(store, info, tmp_path / "b")
    code, out, _ = run("cache", "prune", "--images", tmp_path / "a", "--dry-run", model=None)
    assert code == 0
    assert f"would remove resnet18, the scan of {tmp_path / 'a'}" in out
    assert first.path.is_dir()
    assert run("cache", "prune", "--images", tmp_path / "a", "--yes", model=None)[0] == 0
    assert not first.path.exists()
    assert second.path.is_dir()
    code, _, err = run("cache", "prune", "--images", tmp_path / "a", "--yes", model=None)
    assert (code, len(err)) == (2, 1)
    assert "was never scanned" in err[0]
    assert run("cache", "prune", "--images", tmp_path / "b", "--all-sets", model=None)[0] == 2


def test_a_scan_of_fewer_images_than_meis_is_warned_of_when_made_and_when_read(
    run: Run, toy: tuple[Store, ModelInfo], tmp_path: Path
) -> None:
    store, info = toy
    write_scan(store, info, tmp_path / "many")
    few = "4 images, fewer than the 9 MEIs that robust and all mei_ columns need"
    _, _, err = run("table", model=None)
    assert err == []
    write_scan(store, info, tmp_path / "few", count=4)
    code, out, err = run("scan", tmp_path / "few", model=None)
    assert (code, out.split()[:3]) == (0, ["scanned", "4", "images"])
    assert err == [f"streamscope: {few}; commands read this scan, the newest, unless --images names another"]
    assert run("table", model=None)[2] == [f"streamscope: reading the scan of {tmp_path / 'few'}: {few}"]
    assert run("table", "--images", tmp_path / "many", model=None)[2] == []


def test_which_set_is_read_is_said_by_what_the_sets_differ_in_unless_it_was_told(
    run: Run, toy: tuple[Store, ModelInfo]
) -> None:
    store, info = toy
    assert run("table", model=None)[2] == []
    store.set(info, replace(KEY, seed=1), create=True).mark_completed("1")
    said = ["streamscope: reading seed 1 of 2 stored sets (--seed chooses another)"]
    assert run("table", model=None)[2] == said
    assert run("table", "--seed", "0", model=None)[2] == []
    recipe = KEY.recipe.until_converged()
    store.set(info, replace(KEY, recipe=recipe), create=True).mark_completed("2")
    line = "reading until converged, seed 0 of 3 stored sets (--until-converged or --seed chooses another)"
    assert run("table", model=None)[2] == [f"streamscope: {line}"]
