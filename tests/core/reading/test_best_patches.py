"""The best patches that a scan keeps: where they are, that they survive anything, and what an older scan lacks."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from PIL import Image
from torch import nn

from streamscope.core.engine.fourier import from_8_bit
from streamscope.core.engine.network import Network
from streamscope.core.engine.normalisation import Normalisation
from streamscope.core.errors import DamageError, ImageError
from streamscope.core.images.folder import find_images
from streamscope.core.measures.extremes import NONE
from streamscope.core.measures.places import inner_places
from streamscope.core.model.blocks import TENSORS, ranked_tensor
from streamscope.core.reading.best_patches import map_grids
from streamscope.core.reading.scan import scan_images
from streamscope.core.store import Store, drop, verify
from streamscope.core.store.files.atomic import remove_folder, write_folder
from streamscope.core.store.files.checksums import SUMS
from streamscope.core.store.scans.patches import PATCHES, BestPatches
from streamscope.core.store.scans.scan import Scan
from streamscope.core.watch import PhaseWatch
from tests.support.networks import SCALE_INVARIANT, hand_set_network, network_of, untrained
from tests.support.optional import present
from tests.support.scans import draw_images

PER_CHUNK, BATCH = 8, 3


@pytest.fixture(scope="module")
def network() -> Network:
    """Of 64 px: maps of 16 places, the receptive field of place p about pixel 4 p."""
    return hand_set_network()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "cache", create=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    draw_images(tmp_path / "images", 20, side=64)
    return tmp_path / "images"


def run(network: Network, store: Store, folder: Path, watch: PhaseWatch = lambda done, total, what: None) -> Scan:
    return scan_images(network, store, folder, find_images(folder), 1, watch, PER_CHUNK, BATCH)


def contents(scan: Scan) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (scan.path / "patches").iterdir() if path.name != SUMS}


def blobs(*places: tuple[int, int], brightness: float = 1.0) -> Image.Image:
    """Small bright blobs on black about pixels (row, column), as the small-blob feature likes them best."""
    y, x = np.mgrid[0:64, 0:64]
    bright = np.zeros((64, 64))
    for row, column in places:
        bright[np.hypot(y - row, x - column) <= 1.6] = 255 * brightness
    return Image.fromarray(np.repeat(bright[..., None], 3, axis=2).astype(np.uint8))


def write(folder: Path, **images: Image.Image) -> None:
    folder.mkdir(exist_ok=True)
    for name, image in images.items():
        image.save(folder / f"{name}.png")


def small_blobs(scan: Scan) -> tuple[list[int], list[list[int]], list[float]]:
    """Rows, places and values of the patches of the small-blob channel in `in` of 1.1, as many as there are."""
    found = present(scan.patches("1.1", "in"))
    rows, places, values = (part[:, SCALE_INVARIANT] for part in (found.rows, found.places, found.values))
    kept = rows != NONE
    return rows[kept].tolist(), places[kept].tolist(), values[kept].tolist()


def test_the_best_place_is_where_a_blob_was_drawn_and_an_image_gives_one_patch(
    network: Network, store: Store, tmp_path: Path
) -> None:
    folder = tmp_path / "blobs"
    a, b, c = blobs((20, 40)), blobs((48, 12), (24, 24), brightness=0.8), blobs((32, 52), brightness=0.6)
    write(folder, a=a, b=b, c=c)
    scan = run(network, store, folder)
    rows, places, values = small_blobs(scan)
    assert rows == [0, 1, 2]
    # Of the equal blobs of the second image the one that is read first, row by row.
    assert places == [[5, 10], [6, 6], [8, 13]]
    assert values == pytest.approx([1, (1.1 + 0.8) / 2.1, (1.1 + 0.6) / 2.1], abs=1e-2)
    found = present(scan.patches("1.1", "in"))
    centres = found.pixels(present(network.info.area(network.info.source("1.1", "in"))).centre)
    assert centres[:3, SCALE_INVARIANT].tolist() == [[20, 40], [24, 24], [32, 52]]
    assert np.isnan(centres[3:]).all()
    # `in` of a simple block is `out` of the one before, and stored once.
    assert np.array_equal(found.places, present(scan.patches("1.0", "out")).places)


def test_a_patch_whose_scaled_up_half_would_leave_the_image_is_not_kept(
    network: Network, store: Store, tmp_path: Path
) -> None:
    # The field of `in` of 1.1 is 23 px: its middle half is within the image from pixel 8 on to 56, in steps of 4.
    write(tmp_path / "blobs", a=blobs((4, 32)), b=blobs((8, 56)), c=blobs((60, 60), (56, 8), brightness=0.5))
    rows, places, _ = small_blobs(run(network, store, tmp_path / "blobs"))
    assert (rows[:2], places[:2]) == ([1, 2], [[2, 14], [14, 2]])
    assert places[2] != [1, 8]
    assert all(2 <= place <= 14 for place in places[2])


def test_of_images_that_are_as_strong_the_earlier_comes_first(network: Network, store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "blobs"
    write(folder, **{f"{number:02}": blobs((8 + 4 * (number % 5), 20)) for number in range(15)})
    rows, places, values = small_blobs(run(network, store, folder))
    assert rows == list(range(PATCHES))
    assert places == [[2 + number % 5, 5] for number in range(PATCHES)]
    assert len(set(values)) == 1


def hooked_maps(network: Network, images: torch.Tensor) -> dict[tuple[str, str], np.ndarray]:
    """Whole maps by block and tensor from the module's own forward pass, each copied as it is made."""
    found: dict[tuple[str, str], torch.Tensor] = {}

    def keep(block: str, tensor: str) -> Callable[[nn.Module, object, torch.Tensor], None]:
        def hook(module: nn.Module, inputs: object, output: torch.Tensor) -> None:
            found[block, tensor] = output.clone()

        return hook

    def keep_input(block: str) -> Callable[[nn.Module, tuple[torch.Tensor]], None]:
        def hook(module: nn.Module, inputs: tuple[torch.Tensor]) -> None:
            found[block, "in"] = inputs[0].clone()

        return hook

    handles = []
    for name, addition in network.stream.additions.items():
        block = network.module.get_submodule(addition.sum.meta["module"])
        handles.append(block.get_submodule("bn2").register_forward_hook(keep(name, "block")))
        shortcut = getattr(block, "downsample", None)
        if isinstance(shortcut, nn.Module):
            handles.append(shortcut.register_forward_hook(keep(name, "in")))
        else:
            handles.append(block.register_forward_pre_hook(keep_input(name)))
    try:
        with torch.no_grad():
            network.module(images)
    finally:
        for handle in handles:
            handle.remove()
    for name in network.stream.additions:
        found[name, "pre"] = found[name, "in"] + found[name, "block"]
    return {key: values.numpy() for key, values in found.items()}


def test_patches_of_a_resnet_are_those_of_a_plain_pass_with_hooks_that_copy(store: Store, tmp_path: Path) -> None:
    network = network_of(untrained("resnet18"))
    info, folder = network.info, tmp_path / "images"
    draw_images(folder, 11, side=256, flat=True)
    scan = run(network, store, folder)
    pixels = from_8_bit(np.stack([scan.image(row) for row in range(11)]))
    maps = hooked_maps(network, Normalisation.of(info, network.device)(pixels))
    grids = map_grids(network)
    for block in info.blocks:
        for tensor in TENSORS:
            found, target = present(scan.patches(block.name, tensor)), info.source(block.name, tensor)
            values, field = maps[target.block, ranked_tensor(target)], info.field_of(target)
            assert (found.size, found.stride) == grids[target] == (values.shape[2], 224 // values.shape[2])
            inner = inner_places(found.size, found.stride, field.centre, field.size, 224)
            best = values[:, :, inner.start : inner.stop, inner.start : inner.stop].max(axis=(2, 3))
            expected = -np.sort(-best, axis=0)[:PATCHES]
            assert np.allclose(found.values, expected, rtol=1e-4, atol=1e-4)
            # Each value is of the place that is named, and of an image of its own.
            rows, columns = found.places[..., 0], found.places[..., 1]
            assert ((found.places >= inner.start) & (found.places < inner.stop)).all()
            there = values[found.rows, np.arange(block.channels), rows, columns]
            assert np.allclose(found.values, there, rtol=1e-4, atol=1e-4)
            assert all(len(set(found.rows[:, channel])) == PATCHES for channel in range(block.channels))
    # The last block's field is so large that its centre place alone is left, where the scan reads anyway.
    last = present(scan.patches("4.1", "block"))
    assert (last.places == 3).all()
    assert np.allclose(last.values, scan.extremes("4.1", "block").top_values, rtol=1e-4, atol=1e-4)


def test_an_older_scan_has_none_until_it_is_scanned_again_and_keeps_all_else(
    network: Network, store: Store, folder: Path
) -> None:
    scan = run(network, store, folder)
    before, finished = contents(scan), (scan.path / "finished.json").read_bytes()
    shutil.rmtree(scan.path / "patches")
    old = present(store.choose_scan(network.info))
    assert old.patches("1.1", "in") is None
    assert list(verify(store)) == []
    stamps = {path: path.stat().st_mtime_ns for path in scan.path.rglob("*") if path.is_file()}
    phases = []
    again = run(network, store, folder, lambda done, total, what: phases.append(what))
    assert set(phases) == {"images", "putting patches together"}
    assert contents(again) == before
    assert (scan.path / "finished.json").read_bytes() == finished
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    assert not (scan.path / "patch-chunks").exists()


def test_what_is_added_to_an_older_scan_survives_an_interruption(network: Network, store: Store, folder: Path) -> None:
    scan = run(network, store, folder)
    before = contents(scan)
    shutil.rmtree(scan.path / "patches")
    for what, after in (("images", PER_CHUNK + 1), ("putting patches together", 1)):

        def watch(done: int, total: int, phase: str, what: str = what, after: int = after) -> None:
            if phase == what and done > after:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run(network, store, folder, watch)
    # What is whole stays readable meanwhile.
    assert present(store.choose_scan(network.info)).patches("1.1", "in") is None
    read = []
    again = run(network, store, folder, lambda done, total, what: read.append(what))
    assert "images" not in read
    assert contents(again) == before


def test_chunks_of_an_earlier_release_are_kept_and_only_their_patches_are_added(
    network: Network, store: Store, folder: Path, tmp_path: Path
) -> None:
    (folder / "disc" / "broken.png").write_text("no image")
    whole = contents(run(network, Store.open(tmp_path / "other", create=True), folder))

    def stop(done: int, total: int, what: str) -> None:
        if done == 2 * PER_CHUNK + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(network, store, folder, stop)
    (chunks,) = store.root.rglob("chunks")
    kept = {path: path.stat().st_mtime_ns for path in chunks.rglob("*") if path.is_file()}
    assert len(kept) == 2 * 3
    remove_folder(chunks.with_name("patch-chunks"))
    stamps = []

    def look(done: int, total: int, what: str) -> None:
        if what == "putting activations together":
            stamps.append({path: path.stat().st_mtime_ns for path in kept})

    scan = run(network, store, folder, look)
    assert stamps[0] == kept
    assert contents(scan) == whole
    assert len(scan.images) == 20


def test_an_image_that_changed_since_its_activations_were_stored_stops_it(
    network: Network, store: Store, folder: Path
) -> None:
    scan = run(network, store, folder)
    shutil.rmtree(scan.path / "patches")
    path = folder / "disc" / "003.png"
    state, content = path.stat(), path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    # Same size and date, so that only its content tells.
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    with pytest.raises(ImageError, match=r"003\.png .*changed while it was scanned"):
        run(network, store, folder)


def test_damaged_patches_are_found_and_made_again_and_the_rest_of_the_scan_stays(
    network: Network, store: Store, folder: Path
) -> None:
    scan = run(network, store, folder)
    before = contents(scan)
    path = scan.path / "patches" / "1.1.block.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(DamageError, match=r"1\.1\.block\.safetensors is damaged \(its checksum differs\)"):
        present(store.choose_scan(network.info)).patches("1.1", "block")
    (problem,) = verify(store)
    assert (problem.path, problem.removes) == (path, scan.path / "patches")
    assert drop(problem) == [scan.path / "patches"]
    assert present(store.choose_scan(network.info)).path == scan.path
    assert list(verify(store)) == []
    assert contents(run(network, store, folder)) == before


def test_a_damaged_chunk_of_patches_is_made_again(network: Network, store: Store, folder: Path, tmp_path: Path) -> None:
    whole = contents(run(network, Store.open(tmp_path / "other", create=True), folder))

    def stop(done: int, total: int, what: str) -> None:
        if what == "putting activations together":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(network, store, folder, stop)
    first, second, third = sorted(store.root.rglob("patches.safetensors"))
    first.write_bytes(first.read_bytes()[:-1] + b"x")
    # Intact as a file, and of other images.
    for name in (second.name, SUMS):
        shutil.copy(third.with_name(name), second.with_name(name))
    seen = []
    scan = run(network, store, folder, lambda done, total, what: seen.append((what, done)))
    assert seen[0] == ("images", 20 - 2 * PER_CHUNK)
    assert contents(scan) == whole


def hostile(patches: BestPatches, kind: str) -> dict[str, np.ndarray]:
    arrays = {name: np.array(getattr(patches, name)) for name in ("rows", "places", "values")}
    arrays["map"] = np.array([patches.size, patches.stride])
    if kind == "no such image":
        arrays["rows"][0, 0] = 20
    elif kind == "no such place":
        arrays["places"][0, 0, 1] = 16
    elif kind == "a place of no image":
        arrays["rows"][0, 0] = NONE
    elif kind == "other numbers":
        arrays["rows"] = arrays["rows"].astype(np.int32)
    elif kind == "another shape":
        arrays["values"] = arrays["values"][:, :-1].copy()
    elif kind == "no map":
        del arrays["map"]
    elif kind == "a map of nothing":
        arrays["map"][1] = 0
    return arrays


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("no such image", "names images that there are not"),
        ("no such place", "names places that there are not"),
        ("a place of no image", "names images that there are not"),
        ("other numbers", "of other numbers than patches"),
        ("another shape", "values has the shape"),
        ("no map", "map is missing"),
        ("a map of nothing", "0 px apart"),
        ("another tensor's", "is of '1.1.out patches', not 1.1.block patches"),
        ("another scan's", "is of the scan 'other', not"),
        ("no arrays", "is damaged"),
    ],
)
def test_whole_files_that_are_no_patches_of_this_scan_are_refused_in_one_line(
    network: Network, store: Store, folder: Path, kind: str, what: str
) -> None:
    scan = run(network, store, folder)
    patches, place = present(scan.patches("1.1", "block")), scan.path / "patches"
    files = contents(scan)
    subject = "1.1.out patches" if kind == "another tensor's" else "1.1.block patches"
    name = "other" if kind == "another scan's" else scan.path.name
    content = safetensors.numpy.save(hostile(patches, kind), {"of": f"{name}/{subject}"})
    files["1.1.block.safetensors"] = content if kind != "no arrays" else b"\xff" * 40
    remove_folder(place)
    write_folder(place, files)
    with pytest.raises(DamageError, match=what) as error:
        present(store.choose_scan(network.info)).patches("1.1", "block")
    assert "\n" not in str(error.value)
    (problem,) = verify(store)
    assert problem.removes == place
    assert drop(problem) == [place]
    assert present(store.choose_scan(network.info)).patches("1.1", "block") is None
