"""What was read of patches of photographs, on disk: what is written is read back, and what is damaged is noticed."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from streamscope.core.measures.photographs import photo_measures
from streamscope.core.model.blocks import Field
from streamscope.core.store import Scan, Store, drop, prune, verify
from streamscope.core.store.files.checksums import SUMS, sha256
from streamscope.core.store.scans.photographs import (
    block_bytes,
    commit_photographs,
    missing_photographs,
    patches_to_read,
    photograph_columns,
    stored_photographs,
)
from streamscope.core.table.frame import build_frame
from tests.support.optional import present
from tests.support.photographs import commit_made_up, made_up_readings
from tests.support.scans import write_patches, write_scan
from tests.support.stores import toy_info

FIELDS = {f"{b}.{t}": Field(0, 8, 7, 4.0) for b in ("1.0", "1.1", "2.0") for t in ("in", "block", "out")}
INFO = dataclasses.replace(toy_info(), fields=FIELDS)
BLOCK = "2.0"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "cache", create=True)


@pytest.fixture
def scan(store: Store, tmp_path: Path) -> Scan:
    return write_scan(store, INFO, tmp_path / "images")


def batches(scan: Scan) -> list[Path]:
    return sorted((scan.folder.photographs / BLOCK).iterdir())


def test_what_was_written_in_any_order_is_read_back_channel_by_channel(scan: Scan) -> None:
    assert stored_photographs(scan, BLOCK) is None
    assert photograph_columns(scan, BLOCK) == {}
    assert missing_photographs(scan, BLOCK) == list(range(6))
    written = {channels: made_up_readings(scan, BLOCK, channels) for channels in ((3, 4), (0, 2))}
    for channels in written:
        assert commit_made_up(scan, BLOCK, channels)
    assert not commit_made_up(scan, BLOCK, (0, 2))
    assert missing_photographs(scan, BLOCK) == [1, 5]
    found = present(stored_photographs(scan, BLOCK))
    assert found.readings.channels.tolist() == [0, 2, 3, 4]
    assert (found.row_of(3), found.row_of(1)) == (2, None)
    for channels, readings in written.items():
        for row, channel in enumerate(channels):
            for field in dataclasses.fields(readings):
                stored = getattr(found.readings, field.name)[present(found.row_of(channel))]
                assert np.array_equal(stored, getattr(readings, field.name)[row], equal_nan=True), field.name
    wanted = present(patches_to_read(scan, BLOCK, [0, 2, 3, 4]))
    assert np.array_equal(found.patches.rows, wanted.rows)
    assert np.array_equal(found.patches.centres, wanted.centres, equal_nan=True)
    assert scan.problems.errors() == []


def test_patches_that_do_not_excite_their_channel_are_none(scan: Scan) -> None:
    best, wanted = present(scan.patches(BLOCK, "block")), present(patches_to_read(scan, BLOCK, list(range(6))))
    exciting = (best.values > 0).T
    assert not exciting.all()
    assert np.array_equal(wanted.rows[:, 1] >= 0, exciting)
    assert np.array_equal(np.isnan(wanted.centres[:, 1]).all(axis=2), ~exciting)


def test_the_table_has_it_and_notices_what_is_added(store: Store, scan: Scan) -> None:
    commit_made_up(scan, BLOCK, (0, 1))
    before = store.signature(INFO)
    frame = build_frame(INFO, None, [BLOCK], scan=scan)
    names = ("photo_images", "photo_peak_block", "photo_invariant", "photo_beyond_blur")
    first, second, third, *_ = frame.rows(range(6), names)
    assert (first["photo_peak_block"], first["photo_invariant"], first["photo_beyond_blur"]) == (1, True, True)
    assert (second["photo_invariant"], second["photo_beyond_blur"]) == (False, False)
    assert set(third.values()) == {None}
    columns = photograph_columns(scan, BLOCK)
    assert photograph_columns(scan, BLOCK) is columns
    commit_made_up(scan, BLOCK, (2, 3))
    assert store.signature(INFO) != before
    assert photograph_columns(scan, BLOCK)["photo_invariant"][2] == 1
    assert np.isnan(build_frame(INFO, None, ["1.1"], scan=scan)["photo_invariant"]).all()


def test_a_flipped_byte_costs_its_batch_alone_and_is_named_and_made_again(store: Store, scan: Scan) -> None:
    for channels in ((0, 1), (2, 3)):
        commit_made_up(scan, BLOCK, channels)
    assert list(verify(store)) == []
    for name in ("readings.safetensors", "batch.json", SUMS):
        path = batches(scan)[0] / name
        whole = path.read_bytes()
        path.write_bytes(whole[:-2] + bytes([whole[-2] ^ 0x20]) + whole[-1:])
        problems = list(verify(store))
        assert problems, name
        assert {problem.removes for problem in problems} == {batches(scan)[0]}, name
        assert present(stored_photographs(scan, BLOCK)).readings.channels.tolist() == [2, 3]
        assert str(batches(scan)[0]) in str(scan.problems.errors()[0])
        path.write_bytes(whole)
    (batches(scan)[0] / "batch.json").write_bytes(b"{}")
    (problem,) = verify(store)
    assert drop(problem) == [problem.removes]
    # The scan itself is whole.
    assert store.choose_scan(INFO) is not None
    assert missing_photographs(scan, BLOCK) == [0, 1, 4, 5]
    assert commit_made_up(scan, BLOCK, (0, 1))
    assert missing_photographs(scan, BLOCK) == [4, 5]


def resigned(folder: Path) -> None:
    """Checksums of what is in a batch now."""
    lines = [f"{sha256(path.read_bytes())}  {path.name}\n" for path in sorted(folder.iterdir()) if path.name != SUMS]
    (folder / SUMS).write_text("".join(lines))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"block": "1.1"}, "is of"),
        ({"scan": "another-0123456789ab"}, "is of scan another"),
        ({"fingerprint": "cd" * 32}, "is of the model"),
        ({"kind": "curves"}, "holds curves, not photographs"),
        ({"scales": [0.5, 1, 2]}, "other scales"),
        ({"channels": [0, 2]}, "is of other channels"),
        ({"channels": [0, 1, 2]}, "shape"),
        ({"channels": None}, "is damaged"),
        ({"later": 1}, "later version"),
    ],
)
def test_a_batch_that_does_not_belong_where_it_lies_is_not_read(
    store: Store, scan: Scan, change: dict[str, object], said: str
) -> None:
    commit_made_up(scan, BLOCK, (0, 1))
    (folder,) = batches(scan)
    record = json.loads((folder / "batch.json").read_text())
    (folder / "batch.json").write_text(json.dumps(record | change))
    resigned(folder)
    assert stored_photographs(scan, BLOCK) is None
    (error,) = scan.problems.errors()
    assert said in str(error)
    (problem,) = verify(store)
    assert problem.removes == (None if said == "later version" else folder)


def test_a_batch_under_a_block_that_is_none_is_named(store: Store, scan: Scan) -> None:
    commit_made_up(scan, BLOCK, (0, 1))
    (scan.folder.photographs / BLOCK).rename(scan.folder.photographs / "9.9")
    (problem,) = verify(store)
    assert problem.what == "is of no block of the model"


def test_what_other_patches_said_is_missing_and_replaced(scan: Scan, store: Store) -> None:
    commit_made_up(scan, BLOCK, (0, 1))
    shutil.rmtree(scan.folder.patches)
    write_patches(scan.path, dataclasses.replace(INFO, blocks=INFO.blocks), 20)
    again = present(store.choose_scan(INFO))
    fresh = Scan.open(again.path, INFO)
    assert missing_photographs(fresh, BLOCK) == list(range(6))
    assert commit_made_up(fresh, BLOCK, (0, 1))
    assert missing_photographs(fresh, BLOCK) == [2, 3, 4, 5]


def test_readings_of_other_channels_than_they_say_are_refused(scan: Scan) -> None:
    patches = present(patches_to_read(scan, BLOCK, (0, 1, 2)))
    with pytest.raises(ValueError, match="rows of 2 channels is not"):
        commit_photographs(scan, BLOCK, {}, patches, made_up_readings(scan, BLOCK, (0, 1)))


def test_a_scan_that_kept_no_patches_has_none_to_read(scan: Scan) -> None:
    shutil.rmtree(scan.folder.patches)
    assert patches_to_read(Scan.open(scan.path, INFO), BLOCK, [0]) is None


def test_pruning_a_scan_takes_it_too(store: Store, scan: Scan) -> None:
    commit_made_up(scan, BLOCK, (0, 1))
    size = sum(path.stat().st_size for path in scan.path.rglob("*") if path.is_file())
    (removed,) = prune(store, model=INFO, images=scan.source)
    assert removed.bytes == size
    assert not scan.path.exists()


def test_its_size_is_bounded_by_the_channels_whatever_the_images(scan: Scan) -> None:
    commit_made_up(scan, BLOCK, range(6))
    (folder,) = batches(scan)
    size = (folder / "readings.safetensors").stat().st_size
    assert 0 <= size - block_bytes(INFO, BLOCK) < 1024
    wide = dataclasses.replace(INFO.blocks[2], channels=2048)
    assert block_bytes(dataclasses.replace(INFO, blocks=(*INFO.blocks[:2], wide)), BLOCK) == pytest.approx(
        81.4e6, rel=0.01
    )


def test_measures_of_made_up_readings_are_as_they_were_made_up(scan: Scan) -> None:
    found = photo_measures(made_up_readings(scan, BLOCK, range(6)))
    assert found["photo_invariant"][[0, 1, 2]].tolist() == [1, 0, 1]
