"""What is in a bundle: the same table and pictures as in the store that it is of, and nothing more than that takes."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from streamscope.core.analysis.evidence import read_evidence
from streamscope.core.analysis.nulls import read_nulls
from streamscope.core.errors import StoreError, UsageError
from streamscope.core.export.bundle import write_bundle
from streamscope.core.model.blocks import TENSORS, ModelInfo
from streamscope.core.store import FZSet, Judgement, Marks, Scan, Store, verify
from streamscope.core.store.bundles import content
from streamscope.core.store.bundles.archive import unpacked
from streamscope.core.store.scans.photographs import stored_photographs
from streamscope.core.store.sets.curves import curves_of
from streamscope.core.table.columns import COLUMNS
from streamscope.core.table.frame import Frame, build_frame
from tests.support.app_store import commit_fzs, commit_measures, make_info
from tests.support.optional import present
from tests.support.photographs import with_centres
from tests.support.report_store import fill_everything

BLOCKS = ["1.1", "2.1"]
CHOSEN = {"1.1": [1, 4], "2.1": [0, 2, 7]}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, FZSet, Scan, Path]:
    folder = tmp_path_factory.mktemp("bundle")
    info = with_centres(make_info())
    fill_everything(folder / "cache", info, folder / "images")
    store = Store.open(folder / "cache")
    fzset = present(store.choose_set(info, seed=0, capture="exact"))
    # FZ(I) and FZ(B) of one channel once more, as for an undefined M; and a channel FZ.
    commit_fzs(fzset, info.target("2.1", "block", fzset.key.protocol), [2], retry=1)
    of_channels = store.set(info, replace(fzset.key, objective="channel"), create=True)
    commit_fzs(of_channels, info.target("2.1", "block", fzset.key.protocol), [0, 1, 2])
    scan = present(store.choose_scan(info))
    marks = Marks(folder / "marks", info.identity, info.name)
    marks.mark("2.1", [0, 1], "keep")
    marks.tag("2.1", [2], ["edge"])
    marks.note("1.1", 4, "=odd")
    frame = build_frame(info, fzset, BLOCKS, marks, scan)
    path = folder / "out.zip"
    told: list[tuple[int, int]] = []
    written = write_bundle(
        path,
        store,
        fzset,
        frame,
        rows_of(frame),
        {"model": info.name},
        scan=scan,
        marks=marks,
        watch=lambda done, total: told.append((done, total)),
    )
    # Of 5 channels 3 FZs; one again; channel FZs of two of those chosen.
    assert (written.channels, written.fzs, written.judgements) == (5, 5 * 3 + 1 + 2, 3)
    assert told == [(done, written.fzs) for done in range(written.fzs + 1)]
    assert written.bytes == path.stat().st_size
    return store, fzset, scan, path


def rows_of(frame: Frame) -> list[int]:
    return [present(frame.row_of(block, channel)) for block, channels in CHOSEN.items() for channel in channels]


@pytest.fixture
def bundled(made: tuple[Store, FZSet, Scan, Path]) -> Iterator[tuple[Store, ModelInfo, FZSet, Scan]]:
    with unpacked(made[3]) as folder:
        store = Store.open(folder)
        info = present(store.bundled)
        yield store, info, present(store.choose_set(info)), present(store.choose_scan(info))
        assert store.problems == []


def test_every_column_of_the_chosen_channels_is_as_it_was(
    made: tuple[Store, FZSet, Scan, Path], bundled: tuple[Store, ModelInfo, FZSet, Scan]
) -> None:
    _, info, fzset, scan = bundled
    there = build_frame(made[1].info, made[1], BLOCKS, scan=made[2])
    here = build_frame(info, fzset, BLOCKS, scan=scan)
    rows = rows_of(there)
    of_fzs = {"late_rise", "flags"}
    for column in COLUMNS:
        name = column.name
        np.testing.assert_array_equal(here[name][rows], there[name][rows], err_msg=name)
        if name not in of_fzs:
            np.testing.assert_array_equal(here[name], there[name], err_msg=name)
    # What is compared is there: of a sibling set, of pairs of images, of patches.
    for name in ("scale_metric", "seeds", "rho", "mei_scale_invariant", "photo_images", "late_rise"):
        assert np.isfinite(np.asarray(here[name][rows_of(here)[:2]], dtype=float)).all(), name
    assert np.isnan(here["late_rise"][present(here.row_of("2.1", 1))])


def test_pictures_traces_and_curves_are_as_they_were(
    made: tuple[Store, FZSet, Scan, Path], bundled: tuple[Store, ModelInfo, FZSet, Scan]
) -> None:
    _, _, fzset, scan = bundled
    for block, channels in CHOSEN.items():
        for tensor in TENSORS:
            target = fzset.target(block, tensor)
            for channel in channels:
                assert fzset.fz_png(target, channel) == made[1].fz_png(target, channel)
                np.testing.assert_array_equal(fzset.trace(target, channel), made[1].trace(target, channel))
                assert fzset.fzs(target)[channel][2:] == made[1].fzs(target)[channel][2:]
        for here, there in ((fzset, made[1]), (scan, made[2])):
            one, other = (present(curves_of(c, block, False, fzset.key.protocol)) for c in (here, there))
            for key, values in one.values.items():
                np.testing.assert_array_equal(values, other.values[key])
        for tensor in TENSORS:
            np.testing.assert_array_equal(scan.extremes(block, tensor).top, made[2].extremes(block, tensor).top)
    assert set(fzset.fzs(fzset.target("2.1", "block"), retry=1)) == {2}


def test_evidence_with_its_pairs_is_as_it_was(
    made: tuple[Store, FZSet, Scan, Path], bundled: tuple[Store, ModelInfo, FZSet, Scan]
) -> None:
    for block in BLOCKS:
        here, there = (evidence_of(block, *of) for of in (bundled[2:], made[1:3]))
        assert here.keys() == there.keys()
        for name, values in here.items():
            np.testing.assert_array_equal(values, there[name], err_msg=name)
    assert read_nulls(bundled[0], bundled[1], bundled[2].key, "2.1", bundled[3]) is not None


def evidence_of(block: str, fzset: FZSet, scan: Scan) -> dict[str, np.ndarray]:
    found = read_evidence(fzset, fzset.info.block(block), build_frame(fzset.info, fzset, [block], scan=scan), scan)
    arrays = {name: value for name, value in vars(found).items() if isinstance(value, np.ndarray)}
    return {**arrays, **found.tests}


def test_of_a_wide_block_the_table_is_as_it_was_without_what_grows_with_its_square(
    made: tuple[Store, FZSet, Scan, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "SQUARES", 100)
    store, fzset, scan, _ = made
    there = build_frame(fzset.info, fzset, BLOCKS, scan=scan)
    write_bundle(tmp_path / "out.zip", store, fzset, there, rows_of(there), {}, scan=scan)
    with unpacked(tmp_path / "out.zip") as folder:
        bundle = Store.open(folder)
        info = present(bundle.bundled)
        own, own_scan = present(bundle.choose_set(info)), present(bundle.choose_scan(info))
        here = build_frame(info, own, BLOCKS, scan=own_scan)
        for column in COLUMNS:
            expected = there[column.name][rows_of(there)]
            np.testing.assert_array_equal(here[column.name][rows_of(here)], expected, err_msg=column.name)
        assert own.measured("2.1", "in") is None
        assert present(stored_photographs(own_scan, "1.1")).readings.channels.tolist() == CHOSEN["1.1"]
        assert bundle.problems == []
        assert list(verify(bundle)) == []


def test_it_holds_no_other_picture_and_is_intact(
    made: tuple[Store, FZSet, Scan, Path], bundled: tuple[Store, ModelInfo, FZSet, Scan]
) -> None:
    store, info, fzset, _ = bundled
    assert list(verify(store)) == []
    assert set(fzset.fzs(fzset.target("2.1", "out"))) == set(CHOSEN["2.1"])
    # FZ(I) of 2.1 is FZ(O) of 2.0, of which no other is wanted.
    assert set(fzset.fzs(fzset.target("2.1", "in"))) == set(CHOSEN["2.1"])
    assert fzset.fzs(fzset.target("2.0", "block")) == {}
    channel_fzs = store.set(info, replace(fzset.key, objective="channel"))
    assert set(channel_fzs.fzs(channel_fzs.target("2.1", "block"))) == {0, 2}
    names = zipfile.ZipFile(made[3]).namelist()
    assert not [name for name in names if name.endswith((".npy", ".jpg", ".png")) and "/result/" in name]


def test_a_flipped_bit_of_what_was_unpacked_is_named(bundled: tuple[Store, ModelInfo, FZSet, Scan]) -> None:
    store, _, fzset, _ = bundled
    path = fzset.fzs(fzset.target("2.1", "out"))[0].path
    content = path.read_bytes()
    path.write_bytes(content[:-5] + bytes([content[-5] ^ 1]) + content[-4:])
    (problem,) = verify(store)
    assert (problem.path, problem.removes) == (path, None)
    path.write_bytes(content)


def test_what_a_person_who_unzips_it_looks_for_is_there(made: tuple[Store, FZSet, Scan, Path]) -> None:
    with zipfile.ZipFile(made[3]) as zipped:
        rows = list(csv.DictReader(io.TextIOWrapper(zipped.open("table.csv"), "utf-8")))
        meta = json.loads(zipped.read("table.csv.meta.json"))
        marks = list(csv.DictReader(io.TextIOWrapper(zipped.open("marks.csv"), "utf-8")))
        readme = zipped.read("README.txt").decode()
    assert [(row["block"], int(row["channel"])) for row in rows] == [(b, c) for b, cs in CHOSEN.items() for c in cs]
    assert (rows[2]["marked"], rows[1]["note"]) == ("keep", "'=odd")
    assert (meta["rows"], meta["model"]) == (5, "resnet18")
    # Channel 1 of 2.1 is marked, and not chosen.
    assert [(row["block"], row["channel"], row["marked"], row["tags"]) for row in marks] == [
        ("1.1", "4", "", ""),
        ("2.1", "0", "keep", ""),
        ("2.1", "2", "", "edge"),
    ]
    assert "1.1: 1,4, 2.1: 0,2,7" in readme


def test_marks_come_with_it_and_lose_to_later_words_of_whoever_opens_it(
    made: tuple[Store, FZSet, Scan, Path], bundled: tuple[Store, ModelInfo, FZSet, Scan], tmp_path: Path
) -> None:
    store, info, _, _ = bundled
    marks = Marks(tmp_path, info.identity, info.name, store.given_marks)
    given = {("1.1", 4): Judgement(note="=odd"), ("2.1", 0): Judgement("keep"), ("2.1", 2): Judgement(tags=("edge",))}
    assert (marks.all(), marks.own()) == (given, {})
    assert marks.is_given_mark("2.1", 0)
    marks.mark("2.1", [0], "reject")
    marks.tag("2.1", [2], remove=["edge"], add=["dot"])
    own = {("2.1", 0): Judgement("reject"), ("2.1", 2): Judgement(tags=("dot",))}
    for reader in (marks, Marks(tmp_path, info.identity, info.name, store.given_marks)):
        assert reader.all() == {**given, **own}
        assert reader.own() == own
        assert not reader.is_given_mark("2.1", 0)
    # Without the bundle what was said over it is still there.
    assert Marks(tmp_path, info.identity).all() == own
    # A journal that was cut is read anew, and what came with the bundle with it.
    (journal,) = (tmp_path / info.identity[:16]).iterdir()
    journal.write_bytes(b"")
    assert marks.refresh()
    assert (marks.all(), marks.own()) == (given, {})


def test_a_bundle_of_a_bundle_is_the_same(
    made: tuple[Store, FZSet, Scan, Path], bundled: tuple[Store, ModelInfo, FZSet, Scan], tmp_path: Path
) -> None:
    store, info, fzset, scan = bundled
    marks = Marks(tmp_path / "marks", info.identity, info.name, store.given_marks)
    frame = build_frame(info, fzset, BLOCKS, marks, scan)
    write_bundle(tmp_path / "again.zip", store, fzset, frame, rows_of(frame), {}, scan=scan, marks=marks)
    one, other = (zipfile.ZipFile(path) for path in (made[3], tmp_path / "again.zip"))
    assert sorted(one.namelist()) == sorted(other.namelist())
    for name in one.namelist():
        if name.startswith("marks/"):
            assert sorted(one.read(name).splitlines()) == sorted(other.read(name).splitlines())
        elif not name.startswith(("bundle.json", "table.csv.meta", "README")):
            assert one.read(name) == other.read(name), name


def test_what_is_damaged_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    info = make_info()
    fzset = fill_everything(tmp_path / "cache", info, tmp_path / "images")
    frame = build_frame(info, fzset, ["2.1"])
    path = fzset.fzs(fzset.target("2.1", "block"))[3].path
    path.write_bytes(b"x")
    store = Store.open(tmp_path / "cache")
    with pytest.raises(StoreError, match=r"0003\.png is damaged"):
        write_bundle(tmp_path / "out.zip", store, fzset, frame, [3], {})
    write_bundle(tmp_path / "out.zip", store, fzset, frame, [4], {})
    before = (tmp_path / "out.zip").read_bytes()

    class StopError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise StopError

    with pytest.raises(StopError):
        write_bundle(tmp_path / "out.zip", store, fzset, frame, [4], {}, watch=stop)
    assert (tmp_path / "out.zip").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache", "images", "out.zip"]


def test_nothing_to_look_at_is_no_bundle(tmp_path: Path) -> None:
    info = make_info()
    store = Store.open(tmp_path / "cache", create=True)
    store.register(info)
    fzset = store.set(info, info.new_key(), create=True)
    commit_measures(fzset, "2.1", [0, 1])
    frame = build_frame(info, fzset, ["2.1"])
    with pytest.raises(UsageError, match="no FZ of these channels is stored"):
        write_bundle(tmp_path / "out.zip", store, fzset, frame, [0], {})
    with pytest.raises(UsageError, match="no channel is selected"):
        write_bundle(tmp_path / "out.zip", store, fzset, frame, [], {})
