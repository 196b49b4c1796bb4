"""Scans on disk: what is written is read back, and what is damaged or moved is noticed."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from streamscope.core.errors import ImageError, UsageError
from streamscope.core.images.folder import Preparation, find_images
from streamscope.core.model.blocks import TENSORS, VERDICT_TENSORS, Field
from streamscope.core.store import Store
from streamscope.core.store.scans.scan import Scan
from streamscope.core.table.frame import build_frame
from streamscope.tui.data.store_reader import SetChoice, StoreReader
from tests.support.optional import present
from tests.support.scans import draw_images, made_up_activations, write_scan
from tests.support.stores import KEY, toy_info

INFO = toy_info()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "cache", create=True)


@pytest.fixture
def scan(store: Store, tmp_path: Path) -> Scan:
    return write_scan(store, INFO, tmp_path / "images")


def test_activations_read_back_are_those_written_image_by_image(scan: Scan) -> None:
    values = made_up_activations(INFO, 24)
    for block in INFO.blocks:
        for axis, tensor in enumerate(("in", "block", "pre")):
            found = scan.activations(block.name, tensor)
            assert np.array_equal(found, values[block.name][:, axis])
            assert not found.flags.writeable
    assert [image.path for image in scan.images][:2] == ["disc/000.png", "disc/003.png"]
    assert [image.label for image in scan.images][7:9] == ["disc", "ring"]


def test_meis_are_ranked_before_the_relu(scan: Scan) -> None:
    values = made_up_activations(INFO, 24)
    expected = np.argsort(-values["1.0"][:, 2], axis=0, kind="stable")[:9]
    assert np.array_equal(scan.extremes("1.1", "in").top, expected)
    assert np.array_equal(scan.extremes("1.0", "out").top, expected)
    assert np.array_equal(scan.extremes("2.0", "block").bottom, np.argsort(values["2.0"][:, 1], axis=0)[:9])
    own = scan.extremes("2.0", "in")
    assert np.array_equal(own.top_values, np.take_along_axis(values["2.0"][:, 0], own.top, axis=0))


def test_rho_is_scipys_over_the_images_with_positive_input(scan: Scan) -> None:
    rho, p, n = scan.rho("2.0")
    in_, block = (scan.activations("2.0", tensor) for tensor in ("in", "block"))
    for channel in range(6):
        used = in_[:, channel] > 0
        expected = stats.spearmanr(in_[used, channel], block[used, channel])
        assert (rho[channel], p[channel]) == pytest.approx((expected.statistic, expected.pvalue))
        assert n[channel] == used.sum()


def test_an_image_is_what_the_model_was_shown(scan: Scan) -> None:
    pixels = scan.image(3)
    assert pixels.shape == (12, 12, 3)
    assert pixels.dtype == np.uint8


def test_moved_and_changed_images_are_noticed(scan: Scan) -> None:
    path = scan.source / scan.images[0].path
    shutil.copy(scan.source / scan.images[1].path, path)
    with pytest.raises(ImageError, match=r"000\.png was changed since it was scanned"):
        scan.image(0)
    path.unlink()
    with pytest.raises(ImageError, match=r"000\.png cannot be read: No such file"):
        scan.image(0)
    scan.source.rename(scan.source.with_name("elsewhere"))
    with pytest.raises(ImageError, match="the scanned images were moved"):
        scan.image(1)


def test_the_newest_scan_is_chosen_unless_told(store: Store, tmp_path: Path) -> None:
    assert store.choose_scan(INFO) is None
    first = write_scan(store, INFO, tmp_path / "a")
    before = store.signature(INFO)
    second = write_scan(store, INFO, tmp_path / "b")
    assert store.signature(INFO) != before
    assert [scan.path for scan in store.scans(INFO)] == [first.path, second.path]
    assert present(store.choose_scan(INFO)).path == second.path
    assert present(store.choose_scan(INFO, tmp_path / "a")).path == first.path
    assert store.choose_scan(INFO, tmp_path / "c") is None


def test_an_unknown_tensor_or_block_is_a_usage_error(scan: Scan) -> None:
    with pytest.raises(UsageError, match="unknown tensor 'out'"):
        scan.activations("1.1", "out")
    with pytest.raises(UsageError, match=r"unknown block '9\.9'"):
        scan.rho("9.9")


def test_images_are_found_flat_or_by_class_and_other_files_are_not(tmp_path: Path) -> None:
    draw_images(tmp_path, 4)
    draw_images(tmp_path, 1, flat=True)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / ".hidden.png").write_text("no image")
    (tmp_path / "ring" / "back").symlink_to(tmp_path)
    found = find_images(tmp_path)
    assert [(image.path, image.label) for image in found] == [
        ("000.png", ""),
        ("disc/000.png", "disc"),
        ("disc/003.png", "disc"),
        ("ring/001.png", "ring"),
        ("square/002.png", "square"),
    ]


def test_a_folder_without_images_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder, words in (("empty", "no images in"), ("nowhere", "is not there")):
        with pytest.raises(UsageError, match=words):
            find_images(tmp_path / folder)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        find_images(tmp_path / "file")


def test_a_224_px_model_sees_256_px_images_cut_to_224() -> None:
    assert str(Preparation(256, 224)) == "resize 256, centre crop 224, bilinear"
    assert Preparation.of(toy_info("demo")) == Preparation(12, 12)


def test_the_table_has_what_the_scan_says(store: Store, scan: Scan) -> None:
    frame = build_frame(INFO, None, ["2.0"], scan=scan)
    robust, (rho, p, n) = scan.robust("2.0"), scan.rho("2.0")
    assert np.array_equal(frame["rho"], rho)
    assert np.array_equal(frame["rho_p"], p)
    assert np.array_equal(frame["rho_images"], n)
    assert set(frame["images"].tolist()) == {24.0}
    assert np.array_equal(frame["mei_mix_ratio"], robust.mix_ratio, equal_nan=True)
    assert np.array_equal(frame["mei_images"], robust.images)
    # Without FZs nothing is known to be scale invariant by both.
    assert np.isnan(frame["robust"]).all()
    assert np.isnan(build_frame(INFO, None, ["2.0"])["images"]).all()


def test_a_row_is_robust_when_fz_and_meis_both_say_scale_invariant(store: Store, scan: Scan) -> None:
    fzset = store.set(INFO, KEY, create=True)
    on_in, on_block = np.full((6, 3, 6), 2.0), np.full((6, 3, 6), 2.0)
    fzset.commit_measures("2.0", "in", range(6), on_in, on_in + 1)
    fzset.commit_measures("2.0", "block", range(6), on_block, on_block + 1)
    frame = build_frame(INFO, fzset, ["2.0"], scan=scan)
    assert set(frame["scale_invariant"].tolist()) == {1.0}
    assert np.array_equal(frame["robust"], scan.robust("2.0").scale_invariant, equal_nan=True)
    assert {0.0, 1.0} <= set(frame["robust"].tolist())


def test_a_row_of_a_centred_set_is_robust_by_meis_scaled_as_its_fzs_are(store: Store, scan: Scan) -> None:
    centre = Field(0, INFO.input_size, INFO.input_size, 0.0)
    info = replace(INFO, fields={f"{block.name}.{tensor}": centre for block in INFO.blocks for tensor in TENSORS})
    fzset = store.set(info, replace(KEY, protocol="centred"), create=True)
    own, more = np.full((6, 3, 6), 2.0), np.full((6, 3, 6), 3.0)
    for tensor in VERDICT_TENSORS:
        fzset.commit_measures("2.0", tensor, range(6), own, more, further={"blurred": own, "reversed": own})
    frame = build_frame(info, fzset, ["2.0"], scan=scan)
    centred, paper = scan.robust("2.0", "centred").scale_invariant, scan.robust("2.0").scale_invariant
    assert np.array_equal(frame["robust"], centred, equal_nan=True)
    assert not np.array_equal(centred, paper, equal_nan=True)
    # Finished scans of 0.2.0 have no such part: what is by MEIs is unknown then, and what needs no scaling is not.
    shutil.rmtree(scan.path / "robust-centred")
    frame = build_frame(info, fzset, ["2.0"], scan=scan)
    assert np.isnan(frame["robust"]).all()
    assert np.isnan(frame["mei_mix_ratio"]).all()
    assert not np.isnan(frame["rho"]).all()
    assert not scan.problems.errors()


def test_a_damaged_part_of_a_scan_leaves_its_block_empty_and_is_named(store: Store, scan: Scan) -> None:
    path = scan.path / "result" / "2.0.rho.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    frame = build_frame(INFO, None, ["1.1", "2.0"], scan=Store.choose_scan(store, INFO))
    assert not np.isnan(frame["rho"][:4]).any()
    assert np.isnan(frame["rho"][4:]).all()
    assert any("2.0.rho.safetensors is damaged" in str(problem) for problem in store.problems)


def test_an_open_app_sees_a_scan_that_was_finished_meanwhile_and_keeps_to_its_folder(
    store: Store, tmp_path: Path
) -> None:
    store.register(INFO)
    reader = StoreReader(store.root, INFO, SetChoice())
    assert present(reader.read()).scan is None
    first = write_scan(store, INFO, tmp_path / "a")
    reading = present(reader.read())
    assert present(reading.scan).path == first.path
    assert reading.frame["images"][0] == 24
    write_scan(store, INFO, tmp_path / "b")
    assert present(present(reader.read()).scan).path == first.path
    told = StoreReader(store.root, INFO, SetChoice(images=tmp_path / "b"))
    assert present(present(told.read()).scan).source == tmp_path / "b"
