"""Nulls of verdicts by images: MEIs under shams as the whole network answers them, and the same images untrained."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from streamscope.core.analysis.image_verdicts import (
    BY_MEIS,
    BY_PATCHES,
    image_verdicts,
    image_verdicts_under,
    lacks_image_nulls,
)
from streamscope.core.analysis.nulls import coverage, read_nulls
from streamscope.core.engine.network import Network
from streamscope.core.images.folder import Preparation, find_images, read_image
from streamscope.core.images.lanczos import blur, scaling
from streamscope.core.measures.robust import own_activations
from streamscope.core.model.blocks import Tensor
from streamscope.core.model.recipe import CENTRED, PROTOCOLS, Protocol, SetKey
from streamscope.core.model.spec import untrained_name
from streamscope.core.reading.photographs import compute_photographs
from streamscope.core.reading.scan import scan_images
from streamscope.core.reading.shams import compute_mei_shams
from streamscope.core.store import Scan, Store, drop, verify
from streamscope.core.store.layout import SHAMS
from streamscope.core.store.scans.responses import mei_responses, missing_mei_responses
from streamscope.core.store.sets.curves import variant
from streamscope.core.store.sets.responses import ALTERATIONS, READ_OUT, SHAM_TRANSFORMS
from streamscope.core.table.frame import build_frame
from tests.support.by_hand import forward_by_hand
from tests.support.drawn import drawn_set
from tests.support.networks import SCALE_INVARIANT, hand_set_network
from tests.support.optional import present

BLOCK = "1.1"
COUNT = 24
KEY = SetKey(CENTRED, protocol="centred")
OTHER: dict[Tensor, Tensor] = {"in": "block", "block": "in"}


def draw_blobs(folder: Path) -> None:
    """Bright blobs in the middle, from smaller than any channel's to larger, on dim noise of one side."""
    for number in range(COUNT):
        random = np.random.default_rng(number)
        y, x = np.mgrid[:64, :64]
        image = random.uniform(0, 25, (64, 64, 3))
        image[:, 40:] += random.uniform(0, 60, 3)
        image[np.hypot(y - 32, x - 32) <= 1 + 0.25 * number] = 255 - random.uniform(0, 40, 3)
        Image.fromarray(image.astype(np.uint8)).save(folder / f"{number:02}.png")


@pytest.fixture(scope="module")
def network() -> Network:
    return hand_set_network()


@pytest.fixture
def store(tmp_path: Path, network: Network) -> Store:
    store = Store.open(tmp_path / "cache", create=True)
    store.register(network.info)
    return store


@pytest.fixture
def scan(network: Network, store: Store, tmp_path: Path) -> Scan:
    folder = tmp_path / "images"
    folder.mkdir()
    draw_blobs(folder)
    return scan_images(network, store, folder, find_images(folder), workers=1)


def stored(scan: Scan, on: Tensor, protocol: Protocol) -> dict[str, np.ndarray]:
    """By alteration, (C,): what the other tensor says to the MEIs of `on`."""
    [batch] = mei_responses(scan, SHAMS, BLOCK, on, variant(protocol, in_scan=True))
    read = READ_OUT.index(OTHER[on])
    return {name: batch.values[:, read, axis] for axis, name in enumerate(batch.versions)}


def by_hand(network: Network, scan: Scan, on: Tensor, versions: list[torch.Tensor]) -> np.ndarray:
    """(C,): the mean over altered versions of all images, then over each channel's nine, rectified."""
    read = OTHER[on]
    passes = [forward_by_hand(network.module, version.float())[BLOCK][read][:, :, 8, 8] for version in versions]
    own = own_activations(torch.stack(passes).mean(dim=0).numpy(), scan.extremes(BLOCK, on).top)
    return np.asarray(np.maximum(own, 0).mean(axis=0))


def test_altered_meis_are_read_as_the_whole_network_answers_them(network: Network, scan: Scan) -> None:
    preparation = Preparation.of(network.info)
    shown = [read_image(scan.source / image.path, preparation).pixels for image in scan.images]
    pixels = np.stack(shown).transpose(0, 3, 1, 2) / 255
    images = torch.from_numpy(pixels)
    for protocol in PROTOCOLS:
        assert compute_mei_shams(network, scan, BLOCK, protocol) == 8
        assert compute_mei_shams(network, scan, BLOCK, protocol) == 0
    factors: tuple[tuple[Tensor, float], ...] = (("in", 2), ("block", 0.5))
    for on, factor in factors:
        enough = np.asarray((scan.extremes(BLOCK, on).top_values > 0).all(axis=0))
        assert enough[SCALE_INVARIANT]
        paper, centred = stored(scan, on, "paper"), stored(scan, on, "centred")
        assert (tuple(paper), tuple(centred)) == (tuple(SHAM_TRANSFORMS), ALTERATIONS)
        assert np.array_equal(np.isnan(paper["flip"]), ~enough)
        expected = by_hand(network, scan, on, [images.flip(3)])
        assert paper["flip"][enough] == pytest.approx(expected[enough], abs=1e-5)
        expected = by_hand(network, scan, on, [torch.rot90(images, dims=(2, 3))])
        assert paper["quarter turn"][enough] == pytest.approx(expected[enough], abs=1e-5)
        # About c, at 32 of 64 px, as the mean over moves by half a pixel.
        for name, resampling in (("reversed", scaling(64, 32, 1 / factor)), ("blurred", blur(64, 32))):
            moved = [resampling.rows[row] @ pixels @ resampling.columns[column].T for row, column in resampling.pairs]
            expected = by_hand(network, scan, on, [torch.from_numpy(version) for version in moved])
            assert centred[name][enough] == pytest.approx(expected[enough], abs=1e-5)


def test_a_channel_that_meis_call_scale_invariant_is_not_so_mirrored_blurred_or_reversed(
    network: Network, scan: Scan
) -> None:
    assert image_verdicts_under(scan, BLOCK, "centred") == {}
    compute_mei_shams(network, scan, BLOCK, "centred")
    assert image_verdicts(scan, BLOCK, "centred")[BY_MEIS][SCALE_INVARIANT] == 1
    under = image_verdicts_under(scan, BLOCK, "centred")
    assert tuple(under) == ALTERATIONS
    of = {name: found[BY_MEIS][SCALE_INVARIANT] for name, found in under.items()}
    assert of == dict.fromkeys(ALTERATIONS, 0)


def test_nulls_of_a_block_have_those_of_its_images(network: Network, store: Store, scan: Scan, tmp_path: Path) -> None:
    fzset = drawn_set(tmp_path / "cache", network, key=KEY)
    rows = build_frame(network.info, fzset, [BLOCK], scan=scan)
    found = present(read_nulls(store, network.info, KEY, BLOCK, scan))
    assert "images" in found.lacking
    for column in (BY_MEIS, "robust"):
        assert (found.real[column].k, found.real[column].n) == (
            np.nansum(rows[column]),
            (~np.isnan(rows[column])).sum(),
        )
    assert found.real[BY_MEIS].k == 2
    assert coverage(found)[BY_MEIS]["sham: flip"] == coverage(found)["robust"]["reversed"] == "not computed"
    assert set(coverage(found)[BY_PATCHES].values()) == {"no image says anything of the block"}

    compute_mei_shams(network, scan, BLOCK, "centred")
    compute_photographs(network, store, scan, BLOCK)
    name = untrained_name(network.info.name)
    copy = dataclasses.replace(network, info=dataclasses.replace(network.info, name=name, fingerprint="cd" * 32))
    store.register(copy.info)
    assert lacks_image_nulls(store, scan, [copy.info], BLOCK, "centred")
    copied = scan_images(copy, store, scan.source, find_images(scan.source), workers=1)
    assert lacks_image_nulls(store, scan, [copy.info], BLOCK, "centred")
    compute_photographs(copy, store, copied, BLOCK)
    assert not lacks_image_nulls(store, scan, [copy.info], BLOCK, "centred")
    [alone] = [
        null for null in present(read_nulls(store, network.info, KEY, BLOCK, scan)).nulls if null.kind == "untrained"
    ]
    assert set(alone.shares) == {BY_MEIS, BY_PATCHES}
    drawn_set(tmp_path / "cache", copy, key=KEY)

    found = present(read_nulls(store, network.info, KEY, BLOCK, scan))
    assert "images" not in found.lacking
    nulls = {null.null: null for null in found.nulls}
    under = image_verdicts_under(scan, BLOCK, "centred")["reversed"]
    for column, count in {BY_MEIS: 2, BY_PATCHES: 1}.items():
        assert nulls["reversed"].real[column].k == count
        assert nulls["reversed"].shares[column].k == np.nansum(under[column])
    assert under[BY_PATCHES][SCALE_INVARIANT] == 0
    assert nulls["reversed"].shares["robust"].k <= nulls["reversed"].shares[BY_MEIS].k
    for column in (BY_MEIS, "robust", BY_PATCHES):
        # The copy is the very network: it finds what the network finds.
        assert nulls["untrained copy 0"].shares[column] == nulls["reversed"].real[column]
    assert nulls["blur"].shares[BY_MEIS].n == nulls["reversed"].shares[BY_MEIS].n > 1
    assert ("reversed", "robust") in found.holm
    covered = coverage(found)
    assert "pairs itself" in covered[BY_PATCHES]["shuffled pairs"]
    assert covered[BY_PATCHES]["blur"] == "see photo_beyond_blur"
    assert "no M" in covered[BY_MEIS]["shuffled pairs"]
    # Without the scan they are not spoken of.
    without = present(read_nulls(store, network.info, KEY, BLOCK))
    assert not {BY_MEIS, "robust", BY_PATCHES} & {name for null in without.nulls for name in null.shares}


def test_images_that_changed_are_no_null(network: Network, store: Store, scan: Scan) -> None:
    name = untrained_name(network.info.name)
    copy = dataclasses.replace(network, info=dataclasses.replace(network.info, name=name, fingerprint="cd" * 32))
    store.register(copy.info)
    compute_mei_shams(network, scan, BLOCK, "centred")
    Image.fromarray(np.zeros((64, 64, 3), dtype=np.uint8)).save(scan.source / "99.png")
    scan_images(copy, store, scan.source, find_images(scan.source), workers=1)
    assert lacks_image_nulls(store, scan, [copy.info], BLOCK, "centred")


def test_a_damaged_batch_is_found_and_made_again(network: Network, store: Store, scan: Scan) -> None:
    compute_mei_shams(network, scan, BLOCK, "centred")
    assert list(verify(store)) == []
    [folder] = (scan.path / SHAMS / BLOCK / "on_in-centred").iterdir()
    (folder / "values.npy").write_bytes(b"nonsense")
    [problem] = verify(store)
    assert drop(problem) == [folder]
    assert missing_mei_responses(scan, SHAMS, BLOCK, "centred") == list(range(8))
    compute_mei_shams(network, scan, BLOCK, "centred")
    assert list(verify(store)) == []
