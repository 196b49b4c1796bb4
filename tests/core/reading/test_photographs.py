"""Patches of photographs, smaller and larger: what is read is the whole network's, and finds what was planted."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models.resnet import BasicBlock

from streamscope.core.engine.fourier import from_8_bit
from streamscope.core.engine.network import Network
from streamscope.core.engine.normalisation import Normalisation
from streamscope.core.errors import StoreError
from streamscope.core.images.folder import find_images
from streamscope.core.images.lanczos import brought, brought_blurred
from streamscope.core.measures.photographs import (
    LARGER,
    SCALES,
    UNSCALED,
    contrast,
    photo_measures,
    preferences,
)
from streamscope.core.model.blocks import READ, TENSORS, Target
from streamscope.core.reading.photographs import BATCH, DistinctPatches, PatchReader, compute_photographs
from streamscope.core.reading.scan import scan_images
from streamscope.core.store import Scan, Store
from streamscope.core.store.files.atomic import remove_folder
from streamscope.core.store.leases import Leases
from streamscope.core.store.scans.photographs import (
    Photographs,
    missing_photographs,
    patches_to_read,
    stored_photographs,
)
from tests.support.networks import SCALE_INVARIANT, hand_set_network, network_of, untrained
from tests.support.optional import present
from tests.support.scans import write_scan

BLOCK = "1.1"
COUNT = 24


def draw_blobs(folder: Path) -> None:
    """Bright blobs of one size an image, from smaller than any channel's to larger, on dim tinted noise."""
    folder.mkdir()
    y, x = np.mgrid[:64, :64]
    for number in range(COUNT):
        random = np.random.default_rng(number)
        image = random.uniform(0, 25, (64, 64, 3)) + random.uniform(0, 25, 3)
        for row, column in ((16, 16), (16, 48), (32, 32), (48, 16), (48, 48)):
            bright = np.hypot(y - row, x - column) <= 1 + 0.25 * number
            image[bright] = 255 - random.uniform(0, 40, 3)
        Image.fromarray(image.astype(np.uint8)).save(folder / f"{number:02}.png")


def same_size_network() -> Network:
    """As `hand_set_network`, but the block adds the very blob of its input."""
    network = hand_set_network()
    block = network.module.get_submodule("layer1.1")
    assert isinstance(block, BasicBlock)
    first, second = block.conv1, block.conv2
    first.weight[4], second.weight[SCALE_INVARIANT] = 0, 0
    first.weight[4, SCALE_INVARIANT, 1, 1] = 1
    block.bn1.bias[4] = 0
    second.weight[SCALE_INVARIANT, 4, 1, 1] = 1
    found = network_of(network.module, "demo")
    return Network(
        dataclasses.replace(found.info, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)), found.module, found.folded
    )


def scanned(network: Network, root: Path) -> tuple[Store, Scan]:
    folder = root / "images"
    if not folder.is_dir():
        draw_blobs(folder)
    store = Store.open(root / "cache", create=True)
    return store, scan_images(network, store, folder, find_images(folder), 1)


def read(network: Network, store: Store, scan: Scan, batch: int = BATCH) -> Photographs:
    compute_photographs(network, store, scan, BLOCK, batch=batch)
    return present(stored_photographs(scan, BLOCK))


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Network, Store, Scan, Photographs]:
    network = hand_set_network()
    store, scan = scanned(network, tmp_path_factory.mktemp("planted"))
    return network, store, scan, read(network, store, scan)


def test_a_planted_feature_of_twice_the_size_is_found_in_photographs(
    planted: tuple[Network, Store, Scan, Photographs],
) -> None:
    found = {name: values[SCALE_INVARIANT] for name, values in photo_measures(planted[3].readings).items()}
    assert found["photo_images"] == 9
    assert found["photo_peak_block"] > 0.4
    assert found["photo_peak_in"] < -0.4
    assert found["photo_block_low"] > 0.5
    assert found["photo_in_low"] > 0.5
    assert (found["photo_pairs_block"], found["photo_pairs_in"]) == (1, 1)
    assert found["photo_invariant"] == found["photo_beyond_blur"] == 1


def test_a_feature_of_the_same_size_prefers_neither(tmp_path: Path) -> None:
    network = same_size_network()
    found = photo_measures(read(network, *scanned(network, tmp_path)).readings)
    of = {name: values[SCALE_INVARIANT] for name, values in found.items()}
    assert (of["photo_peak_block"], of["photo_peak_in"]) == (0, 0)
    # A blob of one size is not missed alike by larger and smaller ones, but what one way gains the other loses.
    assert of["photo_block_larger"] + of["photo_in_smaller"] == pytest.approx(0, abs=0.05)
    assert max(of["photo_block_larger"], of["photo_in_smaller"]) < 0.5
    assert of["photo_invariant"] == of["photo_beyond_blur"] == 0


def shown(image: np.ndarray, at: np.ndarray, about: float, version: int) -> torch.Tensor:
    """(1, 3, side, side) in 0..1: the whole image that one of the versions shows."""
    side = image.shape[0]
    scaled = version < len(SCALES)
    make, factor = (brought, SCALES[version]) if scaled else (brought_blurred, LARGER[version - len(SCALES)])
    rows, columns = (torch.from_numpy(make(side, float(place), about, factor, 0, side)) for place in at)
    whole: torch.Tensor = rows @ from_8_bit(image[None]).double() @ columns.T
    return whole.float()


@pytest.mark.parametrize("block", ["1.1", "2.0"])
def test_what_is_read_of_a_patch_is_what_the_whole_network_says_to_the_image_shown(tmp_path: Path, block: str) -> None:
    network = network_of(untrained("resnet18"))
    store = Store.open(tmp_path / "cache", create=True)
    scan = write_scan(store, network.info, tmp_path / "images", 12)
    channels = [5, 40]
    patches = present(patches_to_read(scan, block, channels))
    found = PatchReader(network, scan, block).read(channels, DistinctPatches(patches), lambda done: None)
    about = network.info.field_of(Target(block, "block")).centre
    normalise = Normalisation.of(network.info, network.device)
    row, on, k = 1, 1, 3
    answers = []
    for version in range(len(SCALES) + len(LARGER)):
        image = scan.image(int(patches.rows[row, on, k]))
        with torch.no_grad():
            crop = normalise(shown(image, patches.centres[row, on, k], about, version))
            answers.append(network.stream.read_centres(crop)[block][0].numpy())
    whole = np.stack(answers)
    own = np.concatenate([found.curves[row, on, k], found.blurred[row, on, k]])
    assert own == pytest.approx(whole[:, :, channels[row]], abs=2e-4)
    assert np.ptp(own[:, READ.index("pre")]) > 0.01


def test_of_the_others_is_kept_the_mean_contrast_and_reading_in_their_deviations(
    planted: tuple[Network, Store, Scan, Photographs],
) -> None:
    _, _, scan, stored = planted
    readings, channel = stored.readings, SCALE_INVARIANT
    for on, tensor in ((0, "block"), (1, "in")):
        curves = readings.curves[channel, on, :, :, READ.index(tensor)].astype(np.float64)
        activations = scan.activations(BLOCK, tensor)[:, channel].astype(np.float64)
        mean, deviation = activations.mean(), activations.std()
        assert readings.deviation[channel, READ.index(tensor)] == pytest.approx(deviation, rel=1e-5)
        own = contrast(curves).mean() / deviation
        assert readings.pair_contrast[channel, on, channel] == pytest.approx(own, rel=1e-4)
        at_one = (curves[:, UNSCALED].mean() - mean) / deviation
        assert readings.pair_reading[channel, on, channel] == pytest.approx(at_one, rel=1e-4)
    larger, _ = preferences(readings)
    # What never varies over the images is no pair.
    varied = (scan.activations(BLOCK, "block").std(axis=0) > 0).sum()
    assert larger.against.pairs[channel] == varied - 1


def test_at_its_own_size_a_patch_excites_its_channel_as_the_scan_says(
    planted: tuple[Network, Store, Scan, Photographs],
) -> None:
    _, _, scan, stored = planted
    for on, tensor in enumerate(TENSORS):
        best = present(scan.patches(BLOCK, tensor))
        exciting = best.values > 0
        assert np.array_equal(stored.patches.rows[:, on] >= 0, exciting.T)
        # The image's middle was read over the same pixels: all places are whole strides from the centre.
        found = stored.readings.curves[:, on, :, UNSCALED, on].T
        assert found[exciting] == pytest.approx(best.values[exciting], abs=1e-4)


def contents(scan: Scan) -> dict[str, bytes]:
    folder = scan.folder.photographs
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.safetensors"))}


def test_reading_that_was_interrupted_goes_on_and_comes_to_the_same(
    planted: tuple[Network, Store, Scan, Photographs],
) -> None:
    network, store, scan, _ = planted
    remove_folder(scan.folder.photographs)
    read(network, store, scan, batch=3)
    whole = contents(scan)
    assert len(whole) == 3
    remove_folder(scan.folder.photographs)
    seen: list[tuple[int, int, str]] = []

    def stop(done: int, total: int, what: str) -> None:
        seen.append((done, total, what))
        if len(contents(scan)) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compute_photographs(network, store, scan, BLOCK, stop, batch=3)
    assert missing_photographs(scan, BLOCK) == [6, 7]
    assert seen[0][0] == 0
    assert seen[-1][0] < seen[-1][1]
    assert {what for *_, what in seen} == {"patches of 1.1"}
    assert compute_photographs(network, store, scan, BLOCK, batch=3) == 2
    assert contents(scan) == whole
    assert compute_photographs(network, store, scan, BLOCK, batch=3) == 0


def test_two_at_one_block_are_refused(planted: tuple[Network, Store, Scan, Photographs]) -> None:
    network, store, scan, _ = planted
    remove_folder(scan.folder.photographs)
    other = Leases(store.root, "somebody")
    key = f"photographs {network.info.identity} {scan.path.name} {BLOCK}"
    assert other.claim(key)
    try:
        with pytest.raises(StoreError, match=r"is at work on the photographs of 1\.1"):
            compute_photographs(network, store, scan, BLOCK)
    finally:
        other.release_all()
    assert compute_photographs(network, store, scan, BLOCK) == 8


def test_a_lease_that_was_lost_ends_the_work_before_the_next_commit(
    planted: tuple[Network, Store, Scan, Photographs],
) -> None:
    network, store, scan, _ = planted
    remove_folder(scan.folder.photographs)

    def lose(done: int, total: int, what: str) -> None:
        if done > 0:
            for lease in (store.root / "leases").iterdir():
                lease.unlink()
            other = Leases(store.root, "somebody")
            other.claim(f"photographs {network.info.identity} {scan.path.name} {BLOCK}")

    with pytest.raises(StoreError, match=r"took over the photographs of|was lost"):
        compute_photographs(network, store, scan, BLOCK, lose, batch=3)
    assert len(contents(scan)) <= 1
    for lease in (store.root / "leases").iterdir():
        lease.unlink()
