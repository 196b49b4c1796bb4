"""What is committed is read back exactly, by any number of processes, and nothing else is."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

from streamscope.core.errors import CacheError, StoreError, UsageError
from streamscope.core.model.blocks import Target
from streamscope.core.model.recipe import Recipe, SetKey
from streamscope.core.store import FZSet, Store, estimate_bytes, free_bytes
from streamscope.core.store.files.listing import SETTLED
from streamscope.core.store.sets.fz_set import MissingFZError
from tests.support.stores import (
    CONV2,
    KEY,
    SIDE,
    activations_of,
    commit,
    images_of,
    names_under,
    python,
    same_mtime,
    toy_info,
    toy_set,
)


def reopened(root: Path) -> FZSet:
    found = Store.open(root).choose_set(toy_info())
    assert found is not None
    return found


def the_batch(fzset: FZSet, target: Target = CONV2) -> Path:
    (batch,) = (fzset.path / "fzs" / str(target)).iterdir()
    return batch


def test_fzs_are_read_back_as_they_were_committed(tmp_path: Path) -> None:
    trace = np.random.default_rng(0).normal(size=(2, 32)).astype(np.float32)
    trace[:, 23], trace[:, 31] = 3.0, 4.0
    activation = np.array([1.1, -2.2], dtype=np.float32)
    commit(toy_set(tmp_path), channels=[3, 1], activation=activation, trace=trace, flags=["", "never positive"])

    fzset = reopened(tmp_path)
    records = fzset.fzs(CONV2)

    assert list(records) == [1, 3]
    assert records[3].activation == activation[0]
    assert records[3].late_rise == 0.25
    assert [records[1].flag, records[3].flag] == ["never positive", ""]
    assert (records[1].seed, records[1].device, records[1].dtype, records[1].engine) == (0, "cpu", "float32", "9.9")
    assert np.array_equal(fzset.fz_image(CONV2, 1), images_of([1])[0])
    assert np.array_equal(np.asarray(Image.open(records[1].path)), images_of([1])[0])
    assert np.array_equal(fzset.trace(CONV2, 3), trace[0])
    assert fzset.trace(CONV2, 3).dtype == np.float32


def test_activations_that_are_no_numbers_survive(tmp_path: Path) -> None:
    values = np.array([np.nan, np.inf, -np.inf], dtype=np.float32)
    commit(toy_set(tmp_path), channels=[0, 1, 2], activation=values, flags=["non-finite"] * 3)
    records = reopened(tmp_path).fzs(CONV2)
    assert np.array_equal([records[c].activation for c in range(3)], values, equal_nan=True)


def test_measures_are_merged_over_batches_by_channel(tmp_path: Path) -> None:
    fzset = toy_set(tmp_path)
    plain, scaled = activations_of([5, 0, 3], 6), activations_of([5, 0, 3], 6, offset=0.25)
    fzset.commit_measures("2.0", "in", [5, 0], plain[:2], scaled[:2])
    fzset.commit_measures("2.0", "in", [3], plain[2:], scaled[2:])

    measured = reopened(tmp_path).measured("2.0", "in")
    own = reopened(tmp_path).own("2.0", "in")

    assert measured is not None
    assert measured.channels.tolist() == [0, 3, 5]
    assert np.array_equal(measured.plain, activations_of([0, 3, 5], 6))
    assert measured.scaled is not None
    assert np.array_equal(measured.scaled, activations_of([0, 3, 5], 6, offset=0.25))
    assert own is not None
    assert own.plain.tolist() == [[0, 10, 20], [303, 313, 323], [505, 515, 525]]
    assert own.scaled is not None
    assert np.array_equal(own.scaled, own.plain + 0.25)


def test_measures_on_out_have_no_scaled_ones(tmp_path: Path) -> None:
    fzset = toy_set(tmp_path)
    fzset.commit_measures("2.0", "out", [1], activations_of([1], 6), None)
    measured = fzset.measured("2.0", "out")
    assert measured is not None
    assert measured.scaled is None
    assert fzset.measured("2.0", "block") is None
    with pytest.raises(ValueError, match="scaled activations belong to in and block"):
        fzset.commit_measures("2.0", "block", [1], activations_of([1], 6), None)


def test_what_is_read_of_blurred_fzs_and_the_other_way_is_kept_beside_the_rest(tmp_path: Path) -> None:
    fzset = toy_set(tmp_path)
    plain, scaled, blurred, reverse = (activations_of([4, 1], 6, offset=n / 4) for n in range(4))
    further = {"blurred": blurred, "reversed": reverse}
    fzset.commit_measures("2.0", "in", [4, 1], plain, scaled, further=further)
    own = reopened(tmp_path).own("2.0", "in")
    assert own is not None
    assert own.plain.tolist() == [[101, 111, 121], [404, 414, 424]]
    assert {name: (values - own.plain).tolist() for name, values in own.further.items()} == {
        "blurred": [[0.5] * 3] * 2,
        "reversed": [[0.75] * 3] * 2,
    }
    [folder] = (fzset.path / "measures/2.0/on_in").iterdir()
    arrays = safetensors.numpy.load_file(folder / "activations.safetensors")
    assert set(arrays) == {"channels", "plain", "scaled", "blurred", "reversed"}
    assert np.array_equal(arrays["reversed"], reverse)
    # Of channels whose batch lacks them they are unknown.
    fzset.commit_measures("2.0", "in", [3], activations_of([3], 6), activations_of([3], 6))
    own = reopened(tmp_path).own("2.0", "in")
    assert own is not None
    assert own.channels.tolist() == [1, 3, 4]
    assert np.array_equal(own.further["blurred"][:, 0], [101.5, np.nan, 404.5], equal_nan=True)
    with pytest.raises(ValueError, match="blurred must have shape"):
        fzset.commit_measures("2.0", "in", [0], plain[:1], scaled[:1], further={"blurred": blurred})


def test_the_in_of_a_simple_block_is_the_out_of_the_one_before(tmp_path: Path) -> None:
    fzset = toy_set(tmp_path)
    commit(fzset, Target("1.1", "in"))
    assert list(fzset.fzs(Target("1.0", "out"))) == [0, 1]
    assert not fzset.fzs(Target("2.0", "in"))


def test_retries_are_kept_apart_with_the_seed_they_used(tmp_path: Path) -> None:
    fzset = toy_set(tmp_path, SetKey(Recipe(steps=10), seed=5))
    commit(fzset, channels=[0])
    commit(fzset, channels=[0], retry=2, images=images_of([9]))
    fzset.commit_measures("1.0", "block", [0], activations_of([0], 4), activations_of([0], 4), retry=2)
    assert [fzset.fzs(CONV2, retry)[0].seed for retry in (0, 2)] == [5, 7]
    assert fzset.fzs(CONV2, 1) == {}
    assert np.array_equal(fzset.fz_image(CONV2, 0, 2), images_of([9])[0])
    assert fzset.measured("1.0", "block") is None
    assert fzset.measured("1.0", "block", 2) is not None


def test_a_batch_can_be_read_and_checked_without_this_program(tmp_path: Path) -> None:
    fzset = toy_set(tmp_path)
    commit(fzset, activation=np.array([np.nan, np.inf]), flags=["non-finite"] * 2)
    batch = the_batch(fzset)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    data = json.loads((batch / "batch.json").read_text(), parse_constant=refuse)
    assert subprocess.run(["sha256sum", "-c", "--strict", "SHA256SUMS"], cwd=batch, capture_output=True).returncode == 0
    assert sorted(path.name for path in batch.iterdir()) == [
        "0000.png",
        "0001.png",
        "SHA256SUMS",
        "batch.json",
        "trace.npy",
    ]
    assert data["provenance"] == {
        "seed": 0,
        "engine": "9.9",
        "device": "cpu",
        "dtype": "float32",
        "torch": "2.6",
    }
    assert (data["fingerprint"], data["target"], data["capture"]) == ("ab" * 32, "1.0.block", "exact")
    assert data["recipe"]["steps"] == 10


def test_the_same_batch_twice_leaves_the_first(tmp_path: Path) -> None:
    fzset = toy_set(tmp_path)
    assert commit(fzset, channels=[0, 1])
    assert not commit(fzset, channels=[1, 0], images=images_of([7, 8]))
    assert np.array_equal(fzset.fz_image(CONV2, 0), images_of([0])[0])
    assert not [name for name in names_under(tmp_path) if ".tmp-" in name]


def test_of_two_fzs_of_a_channel_the_first_committed_is_read(tmp_path: Path) -> None:
    fzset = toy_set(tmp_path)
    commit(fzset, channels=[2, 3])
    commit(fzset, channels=[0, 1, 2], images=images_of([0, 1, 9]))
    for reader in (fzset, reopened(tmp_path)):
        assert list(reader.fzs(CONV2)) == [0, 1, 2, 3]
        assert np.array_equal(reader.fz_image(CONV2, 2), images_of([2])[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": np.zeros((1, SIDE, SIDE, 3), np.uint8)}, "images must have shape"),
        ({"images": np.zeros((2, SIDE, SIDE, 3), np.float32)}, "images must be uint8"),
        ({"activation": [1.0]}, "activation must have shape"),
        ({"trace": np.zeros((2, 31))}, "trace must have shape"),
        ({"flags": ["", "odd"]}, "flags must be"),
        ({"channels": [0, 4]}, "channels of block 1.0 are 0-3"),
        ({"channels": [1, 1]}, "must be different"),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_nothing(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    fzset = toy_set(tmp_path)
    before = names_under(tmp_path)
    with pytest.raises(ValueError, match=message):
        commit(fzset, **changes)
    assert names_under(tmp_path) == before


def test_the_signature_changes_with_every_commit_and_only_then(tmp_path: Path) -> None:
    fzset, watcher = toy_set(tmp_path), reopened(tmp_path)
    seen = [watcher.signature()]

    def changed() -> bool:
        seen.append(watcher.signature())
        return seen[-1] not in seen[:-1]

    commit(fzset)
    assert changed()
    commit(fzset, channels=[2])
    assert changed()
    commit(fzset, retry=1)
    assert changed()
    fzset.commit_measures("1.0", "out", [0], activations_of([0], 4), None)
    assert changed()
    fzset.mark_completed("a job")
    assert changed()
    assert watcher.signature() == seen[-1]
    assert not commit(fzset)
    assert watcher.signature() == seen[-1]


def test_a_commit_within_the_clock_tick_of_the_last_look_is_seen(tmp_path: Path) -> None:
    fzset, watcher = toy_set(tmp_path), reopened(tmp_path)
    commit(fzset)
    before = watcher.signature()
    assert list(watcher.fzs(CONV2)) == [0, 1]
    assert watcher.stored(CONV2) == {0, 1}
    with same_mtime(the_batch(fzset).parent):
        commit(fzset, channels=[2, 3])
    assert watcher.signature() != before
    assert list(watcher.fzs(CONV2)) == [0, 1, 2, 3]
    assert watcher.stored(CONV2) == {0, 1, 2, 3}


def test_a_folder_left_alone_for_a_while_is_not_listed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fzset, watcher = toy_set(tmp_path), reopened(tmp_path)
    commit(fzset)
    watcher.fzs(CONV2)
    monkeypatch.setattr("time.monotonic", lambda: 1e9)
    watcher.fzs(CONV2)
    monkeypatch.setattr("time.monotonic", lambda: 1e9 + SETTLED + 1)
    watcher.fzs(CONV2)
    with same_mtime(the_batch(fzset).parent):
        commit(fzset, channels=[2, 3])
    assert list(watcher.fzs(CONV2)) == [0, 1]
    commit(fzset, channels=[2])
    assert list(watcher.fzs(CONV2)) == [0, 1, 2, 3]


def test_a_batch_made_again_under_its_name_is_read_again(tmp_path: Path) -> None:
    fzset, watcher = toy_set(tmp_path), reopened(tmp_path)
    commit(fzset)
    assert watcher.fzs(CONV2)[0].activation == 0.5
    before = watcher.signature()
    the_batch(fzset).rename(tmp_path / "elsewhere")
    commit(fzset, activation=np.array([7.0, 8.0]))
    assert watcher.signature() != before
    assert watcher.fzs(CONV2)[0].activation == 7.0


def test_polling_what_has_not_changed_gives_the_same_records(tmp_path: Path) -> None:
    fzset = toy_set(tmp_path)
    commit(fzset)
    assert fzset.fzs(CONV2) is fzset.fzs(CONV2)
    assert fzset.stored(CONV2) is fzset.stored(CONV2)


def test_a_missing_fz_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingFZError, match=r"^no FZ of channel 3 in 1.0.block is stored \(paper recipe, .*\)$"):
        toy_set(tmp_path).fz_image(CONV2, 3)


def test_unknown_blocks_are_usage_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown block '7.0'"):
        toy_set(tmp_path).fzs(Target("7.0", "out"))


def test_the_chosen_set_fits_what_was_given(tmp_path: Path) -> None:
    store, info = Store.open(tmp_path, create=True), toy_info()
    assert store.choose_set(info) is None
    short, long, other = (
        store.set(info, key, create=True)
        for key in (SetKey(Recipe(steps=10)), SetKey(Recipe(steps=20)), SetKey(Recipe(steps=20), 1, "lucent"))
    )
    reader = Store.open(tmp_path)

    def chosen(**given: Any) -> SetKey | None:
        found = reader.choose_set(info, **given)
        return found.key if found else None

    assert [s.key for s in reader.sets(info)] == [short.key, long.key, other.key]
    assert chosen() == other.key, "none completed: the newest"
    long.mark_completed("first")
    assert chosen() == long.key, "the only completed one"
    short.mark_completed("second")
    assert chosen() == short.key, "the last completed one"
    assert chosen(steps=20) == long.key
    assert chosen(capture="lucent") == other.key
    assert chosen(seed=1) == other.key
    assert chosen(steps=10, seed=1) is None, "never another than was asked for"


def test_the_only_set_is_chosen_whether_completed_or_not(tmp_path: Path) -> None:
    toy_set(tmp_path)
    assert reopened(tmp_path).completed_at() is None
    assert reopened(tmp_path).key == KEY


def test_models_are_described_without_their_weights(tmp_path: Path) -> None:
    store = Store.open(tmp_path, create=True)
    assert store.models() == []
    store.register(toy_info())
    store.remember("toy weights.pth 123", toy_info().fingerprint)
    reader = Store.open(tmp_path)
    assert reader.models() == [toy_info()]
    assert reader.model("ab" * 32) == toy_info()
    assert reader.model("ab" * 31 + "cd") is None
    assert reader.recall("toy weights.pth 123") == toy_info()
    assert reader.recall("toy") is None


def test_the_same_weights_under_two_names_share_their_fzs(tmp_path: Path) -> None:
    store = Store.open(tmp_path, create=True)
    commit(store.set(toy_info("resnet/18 (mine)"), KEY, create=True))
    again = store.set(toy_info("toy"), KEY, create=True)
    assert list(again.fzs(CONV2)) == [0, 1]
    assert len(list((tmp_path / "models").iterdir())) == 1


def test_new_models_and_sets_change_the_stores_signature(tmp_path: Path) -> None:
    store, watcher = Store.open(tmp_path, create=True), Store.open(tmp_path)
    signatures = {watcher.signature(toy_info())}
    store.register(toy_info())
    signatures.add(watcher.signature(toy_info()))
    store.set(toy_info(), KEY, create=True)
    signatures.add(watcher.signature(toy_info()))
    assert len(signatures) == 3


def test_a_cache_that_is_not_there_is_empty_and_stays_away(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "cache")
    fzset = store.set(toy_info(), KEY)
    assert store.models() == []
    assert fzset.fzs(CONV2) == {}
    assert fzset.measured("1.0", "in") is None
    assert fzset.signature() == fzset.signature()
    assert store.problems == []
    assert names_under(tmp_path) == []


def test_a_cache_of_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store.json").write_text('{"format": 7, "by": "streamscope 3.0"}')
    for create in (False, True):
        with pytest.raises(StoreError) as caught:
            Store.open(tmp_path, create=create)
        assert str(caught.value) == (
            f"{tmp_path} was written by another version (format 7; this one reads 1), which can go on with it"
        )


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "\x00"])
def test_a_damaged_store_json_is_one_clear_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "store.json").write_text(content)
    with pytest.raises(CacheError, match=r"store.json is damaged; .* can be deleted$"):
        Store.open(tmp_path)


def test_the_room_for_fzs_is_estimated_high_enough_even_for_noise(tmp_path: Path) -> None:
    fzset = toy_set(tmp_path)
    channels = range(4)
    commit(fzset, channels=channels)
    fzset.commit_measures("1.0", "block", channels, activations_of(channels, 4), activations_of(channels, 4))
    used = sum(path.stat().st_size for path in fzset.path.rglob("*") if path.is_file())
    assert used <= estimate_bytes(toy_info(), 4) <= 4 * used


def test_free_room_is_told_of_a_cache_yet_to_be_made(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "a" / "b") > 0


def test_reading_the_store_does_not_load_torch() -> None:
    process = python("import streamscope.core.store, sys; print('torch' in sys.modules)")
    assert process.communicate()[0] == "False\n"
