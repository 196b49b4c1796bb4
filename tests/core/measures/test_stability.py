"""How often verdicts hold over FZ seeds, worked out by hand."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from streamscope.core.measures.stability import stability
from streamscope.core.model.blocks import Tensor
from streamscope.core.store import FZSet, Store
from streamscope.core.table.frame import build_frame
from tests.support.stores import KEY, toy_info

NAN = np.nan


def test_verdicts_are_counted_over_the_seeds_in_which_m_is_defined() -> None:
    found = stability(
        mix_ratio=[[1.0, 0.2, 1.0, NAN, 2.0], [1.1, 3.0, NAN, 1.0, 2.0], [0.1, 0.3, NAN, 1.0, 2.0]],
        scale_invariant=[[1, 0, 1, NAN, 0], [0, 0, NAN, 1, 0], [0, 0, NAN, 1, 0]],
        fz_seed=[[0] * 5, [1] * 5, [2] * 5],
    )
    assert found.seeds.tolist() == [3, 3, 1, 2, 3]
    # Channel 2 has one seed; channel 3's own row is undefined, so that it has no update to agree with.
    assert found.update == pytest.approx([2 / 3, 2 / 3, NAN, NAN, 1], nan_ok=True)
    assert found.scale_invariant == pytest.approx([1 / 3, 0, NAN, 1, 0], nan_ok=True)


def test_the_same_pair_of_fzs_in_two_sets_counts_once() -> None:
    """Channel 0 of the first set was undefined and is read from seed 1, which is the second set's own."""
    found = stability([[1.0, 1.0], [1.0, 1.0], [3.0, 3.0]], [[1, 1], [1, 1], [0, 0]], [[1, 0], [1, 1], [2, 2]])
    assert found.seeds.tolist() == [2, 3]
    assert found.update == pytest.approx([1 / 2, 2 / 3])
    assert found.scale_invariant == pytest.approx([1 / 2, 2 / 3])


def measure(fzset: FZSet, ratio: float, up: float = 3.0) -> None:
    """Channel 0 of block 1.1: M = ratio; criterion (3) compares `up` with 1, (4) 2 with 1."""
    own_activations: dict[Tensor, float] = {"in": ratio, "block": 1.0}
    for tensor, own in own_activations.items():
        plain = np.ones((1, 3, 4), dtype=np.float32)
        plain[0, 2, 0] = own
        scaled = np.full((1, 3, 4), up if tensor == "in" else 2.0, dtype=np.float32)
        fzset.commit_measures("1.1", tensor, [0], plain, scaled)


def test_the_table_reads_the_sets_that_differ_in_seed_only(tmp_path: Path) -> None:
    store = Store.open(tmp_path, create=True)
    keys = [dataclasses.replace(KEY, seed=seed) for seed in range(3)]
    sets = [store.set(toy_info(), key, create=True) for key in keys]
    for fzset, ratio, up in zip(sets, (1.0, 1.2, 3.0), (3.0, 0.5, 3.0), strict=True):
        measure(fzset, ratio, up)
    other = dataclasses.replace(KEY, recipe=dataclasses.replace(KEY.recipe, steps=20))
    measure(store.set(toy_info(), other, create=True), 5.0)
    measure(store.set(toy_info(), dataclasses.replace(KEY, capture="lucent"), create=True), 5.0)

    row = build_frame(toy_info(), sets[0], ["1.1"]).rows([0, 1])
    assert row[0]["seeds"] == 3
    assert row[0]["stable_update"] == pytest.approx(2 / 3)
    assert row[0]["stable_scale_invariant"] == pytest.approx(1 / 3)
    assert (row[1]["seeds"], row[1]["stable_update"], row[1]["stable_scale_invariant"]) == (None, None, None)
    # Set 2 itself says skip, as no other does.
    assert build_frame(toy_info(), sets[2], ["1.1"]).rows([0])[0]["stable_update"] == pytest.approx(1 / 3)


def test_a_seed_that_lands_later_is_seen_and_one_that_goes_is_not(tmp_path: Path) -> None:
    store = Store.open(tmp_path, create=True)
    first = store.set(toy_info(), KEY, create=True)
    measure(first, 1.0)
    assert build_frame(toy_info(), first, ["1.1"])["seeds"][0] == 1
    second = store.set(toy_info(), dataclasses.replace(KEY, seed=7), create=True)
    measure(second, 1.0)
    assert build_frame(toy_info(), first, ["1.1"])["seeds"][0] == 2
    signature = first.signature()
    second.mark_completed("a job")
    assert first.signature() != signature
    second.path.rename(tmp_path / "elsewhere")
    assert build_frame(toy_info(), first, ["1.1"])["seeds"][0] == 1


def test_a_damaged_set_beside_it_is_left_out(tmp_path: Path) -> None:
    store = Store.open(tmp_path, create=True)
    first = store.set(toy_info(), KEY, create=True)
    measure(first, 1.0)
    second = store.set(toy_info(), dataclasses.replace(KEY, seed=1), create=True)
    measure(second, 1.0)
    (second.path / "set.json").write_text("{}")
    again = Store.open(tmp_path).set(toy_info(), KEY)
    assert build_frame(toy_info(), again, ["1.1"])["seeds"][0] == 1
