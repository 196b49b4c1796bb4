"""Records say what they are of; defaults say nothing more than version 0.2.0 did."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from streamscope.core.errors import DamageError, MisplacedError, NewerError, UsageError
from streamscope.core.model.blocks import ModelInfo
from streamscope.core.model.recipe import CENTRED, Recipe, SetKey
from streamscope.core.store import Store
from streamscope.core.store.files.checksums import SUMS, read_sums, sha256
from streamscope.core.store.files.documents import encode
from streamscope.core.store.sets.batches import read_channels, read_fzs
from tests.support.stores import CONV2, KEY, commit, toy_info, toy_set

GRAPHED = dataclasses.replace(toy_info(), graph="aa" * 32)


def test_a_record_begins_as_its_place_says(tmp_path: Path) -> None:
    fzset = toy_set(tmp_path)
    commit(fzset)
    (record,) = (fzset.path / "fzs" / str(CONV2)).glob("*/batch.json")
    place = fzset.fz_place(CONV2, 0)
    assert record.read_bytes().startswith(place.prefix)
    assert place.prefix == encode(place.header).removesuffix(b"\n}\n") + b',\n "created": '


def test_planning_and_reading_find_the_same_batches_out_of_place(tmp_path: Path) -> None:
    fzset = toy_set(tmp_path)
    commit(fzset)
    (batch,) = (fzset.path / "fzs" / str(CONV2)).iterdir()
    for place in (
        fzset.fz_place(CONV2, 1),
        fzset.fz_place(toy_info().source("1.0", "out"), 0),
        toy_set(tmp_path, SetKey(Recipe(steps=20))).fz_place(CONV2, 0),
        toy_set(tmp_path, SetKey(Recipe(steps=10), 1)).fz_place(CONV2, 0),
        toy_set(tmp_path, dataclasses.replace(KEY, objective="channel")).fz_place(CONV2, 0),
        Store(tmp_path).set(GRAPHED, KEY).fz_place(CONV2, 0),
        Store(tmp_path).set(toy_info("other", "cd" * 32), KEY).fz_place(CONV2, 0),
    ):
        with pytest.raises(MisplacedError):
            read_channels(batch, place)
        with pytest.raises(MisplacedError):
            read_fzs(batch, place, 0)


def _rewrite(batch: Path, old: bytes, new: bytes) -> None:
    """Changes the record of a batch, whose checksums are right after that too."""
    record = (batch / "batch.json").read_bytes()
    assert old in record
    changed = record.replace(old, new)
    (batch / "batch.json").write_bytes(changed)
    sums = (batch / SUMS).read_bytes()
    (batch / SUMS).write_bytes(sums.replace(sha256(record).encode(), sha256(changed).encode()))


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        (b'"created": ', b'"kind": "measures",\n "created": ', MisplacedError),
        (b'"provenance": ', b'"kind": "measures",\n "provenance": ', MisplacedError),
        (b'"provenance": ', b'"lenses": 2,\n "provenance": ', NewerError),
        (b'"trace_row": 1', b'"trace_row": 1,\n   "lens": 2', NewerError),
        (b'"trace_row": ', b'"lens": ', NewerError),
        (b',\n   "trace_row": 1', b"", DamageError),
        (b'"channel": 1', b'"channel": 1.0', DamageError),
        (b'"channel": 1', b'"channel": true', DamageError),
        (b'"flag": ""', b'"flag": 2', DamageError),
        (b'"activation": 1.5', b'"activation": "nan"', DamageError),
        (b'"activation": 1.5', b'"activation": NaN', DamageError),
        (b'"activation": 1.5', b'"activation": true', DamageError),
        (b'"fzs": [', b'"fzs": 3, "fzs": [[],', DamageError),
    ],
)
def test_a_record_is_compared_and_checked_to_its_end(
    tmp_path: Path, old: bytes, new: bytes, error: type[Exception]
) -> None:
    fzset = toy_set(tmp_path)
    commit(fzset)
    (batch,) = (fzset.path / "fzs" / str(CONV2)).iterdir()
    assert [record.activation for record in read_fzs(batch, fzset.fz_place(CONV2, 0), 0).records] == [0.5, 1.5]
    _rewrite(batch, old, new)
    with pytest.raises(error):
        read_fzs(batch, fzset.fz_place(CONV2, 0), 0)


@pytest.mark.parametrize(
    "change",
    [
        lambda sums: sums[:-1],
        lambda sums: sums + b"\n",
        lambda sums: sums.replace(b"  ", b" ", 1),
        lambda sums: sums.replace(b"  ", b"  ../", 1),
        lambda sums: b"G" + sums[1:],
        lambda sums: sums[1:],
        lambda sums: sums + sums,
        lambda sums: sums.upper(),
    ],
)
def test_checksums_that_are_none_are_not_read(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    fzset = toy_set(tmp_path)
    commit(fzset)
    (batch,) = (fzset.path / "fzs" / str(CONV2)).iterdir()
    (batch / SUMS).write_bytes(change((batch / SUMS).read_bytes()))
    with pytest.raises(DamageError):
        read_sums(batch)


def test_the_same_weights_under_another_name_are_the_same_model(tmp_path: Path) -> None:
    commit(toy_set(tmp_path))
    renamed = Store.open(tmp_path).set(toy_info("renamed"), KEY)
    assert renamed.stored(CONV2) == {0, 1}
    assert list(renamed.fzs(CONV2)) == [0, 1]


def test_other_graphs_of_the_same_weights_are_other_models(tmp_path: Path) -> None:
    store = Store.open(tmp_path, create=True)
    plain, graphed = store.set(toy_info(), KEY, create=True), store.set(GRAPHED, KEY, create=True)
    assert plain.path.parent.parent != graphed.path.parent.parent
    commit(graphed)
    assert plain.stored(CONV2) == frozenset()
    assert {info.graph for info in store.models()} == {"", "aa" * 32}
    reader = Store.open(tmp_path)
    assert reader.model(GRAPHED.identity) == GRAPHED
    assert reader.model(toy_info().fingerprint) == toy_info()
    assert [list(fzset.fzs(CONV2)) for fzset in reader.sets(GRAPHED)] == [[0, 1]]
    assert reader.problems == []


def test_defaults_change_neither_identity_nor_records() -> None:
    info = toy_info()
    assert info.identity == info.fingerprint
    assert not {"graph", "preprocessing"} & info.to_json().keys()
    assert list(KEY.to_json()) == ["recipe", "seed", "capture", "objective"]
    assert ModelInfo.from_json(GRAPHED.to_json() | {"blocks": [vars(b) for b in info.blocks]}) != info
    assert SetKey(CENTRED, protocol="centred").to_json()["protocol"] == "centred"
    with pytest.raises(UsageError, match="unknown protocol 'sideways'"):
        SetKey.from_json({**KEY.to_json(), "protocol": "sideways"})


def test_a_description_of_a_later_version_is_not_read_as_this_ones() -> None:
    data = toy_info().to_json()
    with pytest.raises(NewerError, match="unknown field 'heads'"):
        ModelInfo.from_json(data | {"heads": 12})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", 3),
        ("name", ""),
        ("name", "a\nb"),
        ("fingerprint", "../../.."),
        ("input_size", 0),
        ("input_size", "224"),
        ("std", [1.0, 0.0, 1.0]),
        ("mean", [0.0]),
        ("blocks", []),
        ("blocks", [{"name": "../..", "kind": "simple", "channels": 4, "previous": None}]),
        ("blocks", [{"name": "1.0", "kind": "simple", "channels": 10**9, "previous": None}]),
        ("blocks", [{"name": "1.0", "kind": "simple", "channels": 4, "previous": "0.9"}]),
        ("default_blocks", ["9.9"]),
        ("fields", {"1.0.block": {"start": 9, "stop": 2, "size": 7}}),
        ("fields", []),
        ("weights", {"1.0": {"bn_weight": [1.0], "conv_weight": [1.0], "effective_gain": [1.0]}}),
        ("default_recipe", {"steps": 0}),
        ("default_recipe", {"steps": "10"}),
    ],
)
def test_a_description_that_is_none_is_refused(field: str, value: object) -> None:
    with pytest.raises(DamageError, match="model description is damaged"):
        ModelInfo.from_json(toy_info().to_json() | {field: value})
