"""Scale tuning: numbers worked out by hand, images that are what S and S- make of them, and curves on real stores."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from streamscope.core.engine.network import Network
from streamscope.core.errors import DamageError, UsageError
from streamscope.core.images.folder import find_images
from streamscope.core.measures.tuning import SCALES, half_width_octaves, invariance
from streamscope.core.model.blocks import VERDICT_TENSORS
from streamscope.core.model.recipe import CENTRED, SetKey
from streamscope.core.reading.activations import scale_down, scale_up
from streamscope.core.reading.scan import scan_images
from streamscope.core.reading.tuning import compute_curves, compute_mei_curves, real_scale, rescale, shown_side
from streamscope.core.store import Store, drop, verify
from streamscope.core.store.layout import CURVES, response_folder
from streamscope.core.store.scans.scan import Scan
from streamscope.core.store.sets.curves import curves_of, missing_curves, missing_mei_curves
from streamscope.core.table.frame import build_frame
from tests.support.drawn import CHANNELS, drawn_set
from tests.support.networks import SCALE_INVARIANT, SKIP, hand_set_network
from tests.support.optional import present

NAN = np.nan
CENTRED_KEY = SetKey(CENTRED, protocol="centred")


def test_scales_are_equal_steps_of_octaves_from_half_to_twice_with_1_among_them() -> None:
    assert len(SCALES) >= 13
    assert (SCALES[0], SCALES[-1]) == (0.5, 2.0)
    assert 1.0 in SCALES
    assert np.diff(np.log2(SCALES)) == pytest.approx(2 / (len(SCALES) - 1))


def test_invariance_is_the_mean_of_the_rectified_curve_over_its_maximum() -> None:
    curves: list[list[float]] = [[2, 2, 2, 2], [0, 4, 0, 0], [-3, 4, 2, -9], [-1, -2, -3, 0], [1, NAN, 1, 1]]
    assert invariance(curves) == pytest.approx([1, 0.25, 0.375, NAN, NAN], nan_ok=True)


def test_half_width_is_where_the_curve_falls_to_half_in_octaves() -> None:
    scales = [0.5, 2**-0.5, 1, 2**0.5, 2]
    curves = [
        [1, 1, 1, 1, 1],  # never falls: the whole range
        [0, 0, 4, 0, 0],  # half at a quarter octave on each side
        [-4, 0, 4, 3, 1],  # half at -1/4, and midway between 3 and 1
        [4, 1, 4, 4, 4],  # the first of equal peaks counts: to the dip at a third of the way
        [0, 0, 0, 0, 5],  # at the border: a quarter octave inwards
        [-1, 0, -1, -1, -1],
    ]
    # From 4 to 1, half (2) lies two thirds of the way.
    expected = [2, 0.5, 0.25 + 0.75, 0.5 * 2 / 3, 0.25, NAN]
    assert half_width_octaves(scales, curves) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("side", [224, 64, 25])
def test_rescaling_by_2_and_one_half_is_that_of_the_scale_criteria_and_by_1_nothing(side: int) -> None:
    images = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    assert torch.equal(rescale(images, 2), scale_up(images))
    assert torch.equal(rescale(images, 0.5), scale_down(images))
    assert torch.equal(rescale(images, 1), images)
    assert all(rescale(images, scale).shape == images.shape for scale in (*SCALES, 0.2, 0.01))


@pytest.mark.parametrize("side", [224, 64])
def test_what_is_shown_lies_in_the_middle_and_scales_stay_near_those_asked_for(side: int) -> None:
    assert all((side - shown_side(side, scale)) % 2 == 0 for scale in SCALES)
    real = np.array([real_scale(side, scale) for scale in SCALES])
    assert (np.diff(real) > 0).all()
    assert np.abs(np.log2(real / SCALES)).max() < 2 / side * 2


def test_a_reflection_wider_than_the_shrunk_image_is_itself_reflected() -> None:
    row = torch.arange(16.0).expand(1, 3, 16, 16)
    # A quarter of the size: 4 px, each the mean of the middle two of four: 1.5, 5.5, 9.5, 13.5.
    got = rescale(row, 0.25)[0, 0, 0]
    a, b, c, d = 1.5, 5.5, 9.5, 13.5
    assert got.tolist() == [a, b, c, d, c, b, a, b, c, d, c, b, a, b, c, d]


def test_antialiasing_averages_what_plain_resizing_steps_over() -> None:
    stripes = torch.tensor([0.0, 1, 1, 0] * 16).expand(1, 3, 64, 64)
    # Plainly, each pixel of a quarter of the size is the mean of the middle two of its four.
    assert rescale(stripes, 0.25)[0, 0, 32, 30] == 1
    assert rescale(stripes, 0.25, antialias=True)[0, 0, 32, 30] == pytest.approx(0.5, abs=0.1)
    assert torch.equal(rescale(stripes, 1.5, antialias=True), rescale(stripes, 1.5))


@pytest.fixture(scope="module")
def network() -> Network:
    return hand_set_network()


def test_curves_at_1_2_and_one_half_are_what_the_table_says(network: Network, tmp_path: Path) -> None:
    fzset = drawn_set(tmp_path, network)
    assert curves_of(fzset, "1.1") is None
    assert compute_curves(network, fzset, "1.1") == 2 * len(CHANNELS)
    curves = present(curves_of(fzset, "1.1"))
    table = build_frame(network.info, fzset, ["1.1"])
    assert curves.channels.tolist() == list(CHANNELS)
    assert (curves.scales[0], curves.scales[8], curves.scales[16]) == (0.5, 1, 2)
    for on in ("in", "block"):
        for read in ("in", "block"):
            assert curves.values[read, on][:, 8] == pytest.approx(table[f"{read}_on_{on}"], abs=1e-6)
        assert curves.values["pre", on][:, 8] == pytest.approx(table[f"out_on_{on}"], abs=1e-6)
        assert (curves.values["out", on] == np.maximum(curves.values["pre", on], 0)).all()
    assert curves.values["block", "in"][:, 16] == pytest.approx(table["block_on_in_up"], abs=1e-6)
    assert curves.values["in", "block"][:, 0] == pytest.approx(table["in_on_block_down"], abs=1e-6)


def test_curves_of_a_centred_set_are_scaled_as_its_criteria_are(network: Network, tmp_path: Path) -> None:
    fzset = drawn_set(tmp_path, network, key=CENTRED_KEY)
    assert missing_curves(fzset, "1.1")
    assert compute_curves(network, fzset, "1.1") == 2 * len(CHANNELS)
    assert not missing_curves(fzset, "1.1")
    curves = present(curves_of(fzset, "1.1"))
    assert curves.antialias
    assert curves.scales.tolist() == list(SCALES)
    # There is no other kind of them.
    assert compute_curves(network, fzset, "1.1", antialias=True) == 0
    own = {on: present(fzset.own("1.1", on)) for on in VERDICT_TENSORS}
    for on in VERDICT_TENSORS:
        scaled, reverse = present(own[on].scaled), own[on].further["reversed"]
        up, down = (scaled, reverse) if on == "in" else (reverse, scaled)
        for axis, read in enumerate(("in", "block", "pre")):
            for place, stored in ((0, down), (8, own[on].plain), (16, up)):
                assert curves.values[read, on][:, place] == pytest.approx(stored[:, axis], abs=1e-5)


def test_a_flat_colour_has_a_flat_curve_and_the_small_blob_of_a_scale_invariant_channel_a_wide_one(
    network: Network, tmp_path: Path
) -> None:
    fzset = drawn_set(tmp_path, network)
    compute_curves(network, fzset, "1.1")
    curves = present(curves_of(fzset, "1.1"))
    # Red all over: 1 for red, and 0.3 of bias; nothing is added by a block that looks for green.
    red = present(curves.of(SKIP))
    assert red["in", "in"] == pytest.approx(1.3)
    assert red["block", "in"] == pytest.approx(0)
    assert invariance(red["out", "in"]) == 1
    assert half_width_octaves(curves.scales, red["out", "in"]) == 2
    blob = present(curves.of(SCALE_INVARIANT))
    # The input feature answers to the blob as it is, the block feature to its double.
    assert blob["in", "in"].argmax() < blob["block", "in"].argmax()
    assert invariance(blob["out", "in"]) > invariance(blob["in", "in"])
    assert curves.of(99) is None


def test_an_interrupted_run_is_gone_on_with_and_ends_as_an_uninterrupted_one(network: Network, tmp_path: Path) -> None:
    fzset = drawn_set(tmp_path / "a", network)

    def stop(done: int, total: int) -> None:
        if done == 11:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compute_curves(network, fzset, "1.1", watch=stop, batch=3)
    seen = []
    assert compute_curves(network, fzset, "1.1", watch=lambda done, total: seen.append((done, total)), batch=3) == 5
    assert seen == [(3, 5), (5, 5)]
    assert compute_curves(network, fzset, "1.1") == 0
    whole = drawn_set(tmp_path / "b", network)
    compute_curves(network, whole, "1.1")
    for key, values in present(curves_of(whole, "1.1")).values.items():
        assert (present(curves_of(fzset, "1.1")).values[key] == values).all()


def test_channels_that_are_computed_later_are_added(network: Network, tmp_path: Path) -> None:
    fzset = drawn_set(tmp_path, network, channels=(0, 5))
    compute_curves(network, fzset, "1.1")
    fzset = drawn_set(tmp_path, network, channels=(3, 4))
    assert compute_curves(network, fzset, "1.1") == 4
    assert present(curves_of(fzset, "1.1")).channels.tolist() == [0, 3, 4, 5]


def test_curves_with_antialiasing_are_kept_apart(network: Network, tmp_path: Path) -> None:
    fzset = drawn_set(tmp_path, network, channels=(3, 4))
    compute_curves(network, fzset, "1.1", antialias=True)
    assert curves_of(fzset, "1.1") is None
    found = present(curves_of(fzset, "1.1", antialias=True))
    assert found.antialias
    compute_curves(network, fzset, "1.1")
    plain = present(curves_of(fzset, "1.1")).values["in", "block"]
    assert (found.values["in", "block"][:, 8:] == plain[:, 8:]).all()
    assert not (found.values["in", "block"][:, :8] == plain[:, :8]).all()


def test_a_row_read_from_a_retry_has_the_curves_of_its_fzs(network: Network, tmp_path: Path) -> None:
    # On blue neither red nor green excites the skip channel's `out`; the retry's red FZs do.
    fzset = drawn_set(tmp_path, network, channels=(SKIP,), colours={SKIP: (0, 0, 255)})
    drawn_set(tmp_path, network, channels=(SKIP,), retry=1)
    row = build_frame(network.info, fzset, ["1.1"]).rows([SKIP])[0]
    assert row["fz_seed"] == 1
    compute_curves(network, fzset, "1.1")
    assert present(present(curves_of(fzset, "1.1")).of(SKIP))["pre", "in"][8] == pytest.approx(row["out_on_in"])


def test_a_damaged_batch_is_told_and_made_again(network: Network, tmp_path: Path) -> None:
    fzset = drawn_set(tmp_path, network)
    compute_curves(network, fzset, "1.1")
    before = present(curves_of(fzset, "1.1"))
    folder = response_folder(fzset.path, CURVES, "1.1", "in")
    values = next(folder.glob("*/values.npy"))
    values.write_bytes(values.read_bytes()[:-1] + b"x")
    assert np.isnan(present(curves_of(fzset, "1.1")).values["in", "in"]).all()
    assert [problem for problem in fzset.problems.errors() if isinstance(problem, DamageError)]
    assert compute_curves(network, fzset, "1.1") == len(CHANNELS)
    assert (present(curves_of(fzset, "1.1")).values["in", "in"] == before.values["in", "in"]).all()
    assert not fzset.problems.errors()


def test_an_unknown_block_is_named(network: Network, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown block"):
        curves_of(drawn_set(tmp_path, network, channels=(0,)), "7.7")


@pytest.fixture(scope="module")
def scan(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Scan:
    folder = tmp_path_factory.mktemp("photographs")
    random = np.random.default_rng(0)
    for number in range(60):
        pixels = np.zeros((64, 64, 3), dtype=np.uint8)
        if number < 58:
            pixels[:] = random.integers(0, 256, (1, 1, 3)) // (1, 4, 1)
            pixels[20:44, 20:44] = random.integers(0, 256, (24, 24, 3)) // (1, 4, 1)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    store = Store.open(tmp_path_factory.mktemp("scanned"), create=True)
    store.register(network.info)
    return scan_images(network, store, folder, find_images(folder), workers=1)


def test_curves_on_meis_are_means_of_rectified_activations_of_the_nine(network: Network, scan: Scan) -> None:
    assert curves_of(scan, "1.1") is None
    assert compute_mei_curves(network, scan, "1.1") == 8
    curves = present(curves_of(scan, "1.1"))
    assert curves.images == 9
    measured = 0
    for on in ("in", "block"):
        extremes = scan.extremes("1.1", on)
        for channel in range(8):
            rows = extremes.top[:, channel]
            enough = bool((extremes.top_values[:, channel] > 0).all())
            got = {read: present(curves.of(channel))[read, on] for read in ("in", "block", "pre", "out")}
            assert all(np.isnan(values).all() != enough for values in got.values())
            if enough:
                measured += 1
                own = {read: scan.activations("1.1", read)[rows, channel] for read in ("in", "block", "pre")}
                for read in ("in", "block"):
                    assert got[read][8] == pytest.approx(np.maximum(own[read], 0).mean(), abs=1e-5)
                assert got["pre"][8] == pytest.approx(own["pre"].mean(), abs=1e-5)
                assert got["out"][8] == pytest.approx(np.maximum(own["pre"], 0).mean(), abs=1e-5)
    assert 0 < measured < 16
    assert missing_mei_curves(scan, "1.1") == []
    assert compute_mei_curves(network, scan, "1.1") == 0


def test_a_scan_keeps_the_curves_of_both_protocols(network: Network, scan: Scan) -> None:
    compute_mei_curves(network, scan, "1.1")
    assert curves_of(scan, "1.1", protocol="centred") is None
    assert compute_mei_curves(network, scan, "1.1", protocol="centred") == 8
    assert missing_mei_curves(scan, "1.1", protocol="centred") == []
    paper, centred = present(curves_of(scan, "1.1")), present(curves_of(scan, "1.1", protocol="centred"))
    assert (paper.antialias, centred.antialias) == (False, True)
    assert centred.scales.tolist() == list(SCALES)
    for read in ("in", "block", "pre", "out"):
        assert centred.values[read, "in"][:, 8] == pytest.approx(paper.values[read, "in"][:, 8], abs=1e-5, nan_ok=True)
    same = centred.values["in", "in"][:, 0] == paper.values["in", "in"][:, 0]
    assert not same[~np.isnan(paper.values["in", "in"][:, 0])].all()
    assert list(verify(Store.open(scan.path.parents[3]))) == []


def test_mei_curves_do_not_depend_on_how_images_are_batched(network: Network, scan: Scan) -> None:
    compute_mei_curves(network, scan, "1.1")
    before = present(curves_of(scan, "1.1")).values["block", "in"]
    # The other kind of curves, at the scales that antialiasing does not touch.
    compute_mei_curves(network, scan, "1.1", antialias=True, batch=3)
    after = present(curves_of(scan, "1.1", antialias=True)).values["block", "in"]
    assert after[:, 8:] == pytest.approx(before[:, 8:], abs=1e-5, nan_ok=True)


def test_verify_finds_a_damaged_curve_and_dropping_an_fz_drops_what_was_read_from_it(
    network: Network, tmp_path: Path
) -> None:
    fzset = drawn_set(tmp_path, network)
    store = Store.open(tmp_path)
    compute_curves(network, fzset, "1.1")
    compute_curves(network, fzset, "1.1", antialias=True)
    assert list(verify(store)) == []
    [folder] = response_folder(fzset.path, CURVES, "1.1", "block").iterdir()
    (folder / "values.npy").write_bytes(b"nonsense")
    [problem] = verify(store)
    assert drop(problem) == [folder]
    assert list(verify(store)) == []

    compute_curves(network, fzset, "1.1")
    [image] = fzset.path.glob("fzs/1.1.block/*/0000.png")
    image.write_bytes(b"nonsense")
    [problem] = verify(store)
    drop(problem)
    kept = sorted({path.parent.parent.name for path in fzset.path.glob("curves/**/values.npy")})
    assert kept == ["on_in", "on_in-antialiased"]
