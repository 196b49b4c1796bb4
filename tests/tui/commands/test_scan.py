"""`streamscope scan` and what reads scans on the command line: every wrong input is one line and its exit code."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from streamscope.core.model.blocks import ModelInfo
from streamscope.core.model.demo import write_images
from streamscope.core.model.spec import ModelSpec
from streamscope.core.store import Store
from tests.support.command_line import Run
from tests.support.scans import write_scan
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
    assert len(err) == 1
    assert "broken.png is not an image that can be read" in err[0]
    code, out, _ = run("scan", tmp_path / "shapes", "--json")
    found = json.loads(out)
    assert (code, found["images"], found["seconds"]) == (0, 20, 0)
    assert [image["path"] for image in found["unreadable"]] == ["disc/broken.png"]
    code, out, _ = run("cache", "info", "--json")
    (scan,) = json.loads(out)["scans"]
    assert (scan["folder"], scan["images"]) == (str(tmp_path / "shapes"), 21)
    assert scan["finished"] is not None
    assert run("cache", "verify")[:2] == (0, "everything is intact\n")


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
