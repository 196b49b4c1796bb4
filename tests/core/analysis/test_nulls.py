"""Nulls of verdicts over seeds, on planted channels: decided as the real ones are, with the null's readings."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from streamscope.core.analysis.null_shares import BY_IMAGES, SHUFFLED, TESTED
from streamscope.core.analysis.nulls import coverage, read_nulls
from streamscope.core.analysis.pairs import keep_pairs
from streamscope.core.measures.statistics import fisher
from streamscope.core.model.blocks import Block, ModelInfo, Tensor
from streamscope.core.model.recipe import Recipe, SetKey
from streamscope.core.model.spec import untrained_name
from streamscope.core.store import Store
from tests.support.optional import present
from tests.support.stores import toy_info

COUNT = 30
INFO = dataclasses.replace(toy_info("resnet18"), blocks=(Block("1.1", "simple", COUNT, None),), default_blocks=("1.1",))
INFO = dataclasses.replace(INFO, weights={}, fields={})
COPY = dataclasses.replace(INFO, name=untrained_name(INFO.name, 0), fingerprint="cd" * 32)
KEY = SetKey(Recipe(steps=10), protocol="centred")
PASSING = 12
_NO_IMAGES = "no image says anything of the block"


def commit(store: Store, info: ModelInfo, seed: int, up: np.ndarray, blurred: float, other_way: float) -> None:
    """A set whose channels' M is 1, and what is read of an FZ that is scaled (by channel), blurred and scaled back."""
    fzset = store.set(info, dataclasses.replace(KEY, seed=seed), create=True)
    channel = np.arange(COUNT)
    sides: tuple[tuple[Tensor, int, int], ...] = (("in", 1, 0), ("block", 0, 1))
    for tensor, other, own in sides:
        plain, scaled, blur, back = (np.zeros((COUNT, 3, COUNT), dtype=np.float32) for _ in range(4))
        plain[channel, own, channel] = plain[channel, 2, channel] = 1
        scaled[channel, other, channel] = up
        blur[channel, other, channel], back[channel, other, channel] = blurred, other_way
        fzset.commit_measures(
            "1.1", tensor, channel.tolist(), plain, scaled, further={"blurred": blur, "reversed": back}
        )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Twelve channels pass in each of three seeds; blurred they fail, and scaled the other way all pass. The copy has
    none that passes, in two of the seeds."""
    store = Store.open(tmp_path, create=True)
    for info in (INFO, COPY):
        store.register(info)
    up = np.where(np.arange(COUNT) < PASSING, 0.3, -0.3)
    for seed in range(3):
        commit(store, INFO, seed, up, blurred=-0.3, other_way=0.3)
    for seed in range(2):
        commit(store, COPY, seed, np.full(COUNT, -0.3), blurred=-0.3, other_way=-0.3)
    return store


def test_verdicts_over_seeds_have_the_nulls_that_single_ones_have(store: Store) -> None:
    found = present(read_nulls(store, INFO, KEY, "1.1"))
    assert (found.real["verdict"].k, found.real["verdict"].n) == (PASSING, COUNT)
    assert (found.real["beyond_blur"].k, found.real["beyond_blur"].n) == (PASSING, COUNT)
    nulls = {null.null: null for null in found.nulls}
    assert list(nulls) == [SHUFFLED, "blur", "reversed", "untrained copy 0"]
    counts = {name: {c: null.shares[c].k for c in TESTED if c in null.shares} for name, null in nulls.items()}
    assert counts["blur"] == {"meets_both": 0, "scale_invariant": 0, "verdict": 0}
    by_fzs = [name for name in TESTED if name not in BY_IMAGES]
    assert counts["reversed"] == dict.fromkeys(by_fzs, COUNT)
    assert counts["untrained copy 0"] == dict.fromkeys(by_fzs, 0)
    assert [nulls[name].seeds for name in ("blur", "reversed", "untrained copy 0")] == [3, 3, 2]


def test_excess_is_corrected_for_the_nulls_that_a_criterion_is_tested_against(store: Store) -> None:
    found = present(read_nulls(store, INFO, KEY, "1.1"))
    nulls = {null.null: null for null in found.nulls}
    blur, back, copy = (nulls[name].excess["verdict"] for name in ("blur", "reversed", "untrained copy 0"))
    assert (blur.difference, back.difference, copy.difference) == pytest.approx((0.4, -0.6, 0.4))
    assert blur.low > 0 > back.high
    # Of twelve that differ all do one way; of eighteen, the other.
    assert (blur.p, back.p) == pytest.approx((2 / 2**12, 2 / 2**18))
    assert copy.p == pytest.approx(fisher(found.real["verdict"], nulls["untrained copy 0"].shares["verdict"]))
    holm = {name: found.holm[name, "verdict"] for name in ("blur", "reversed", "untrained copy 0")}
    assert holm["reversed"] == pytest.approx(3 * back.p)
    smaller, larger = sorted(("blur", "untrained copy 0"), key=lambda name: nulls[name].excess["verdict"].p)
    assert holm[smaller] == pytest.approx(2 * nulls[smaller].excess["verdict"].p)
    assert holm[larger] == pytest.approx(max(holm[smaller], nulls[larger].excess["verdict"].p))
    assert (SHUFFLED, "verdict") not in found.holm
    # No pair answers anything: of 2,000 pairings the real one alone has as many.
    assert nulls[SHUFFLED].excess["meets_both"].p == 1 / 2000


def test_what_is_not_computed_is_told_from_what_cannot_be(store: Store) -> None:
    found = present(read_nulls(store, INFO, KEY, "1.1"))
    covered = coverage(found)
    assert found.lacking == ("pairs", "sham", "untrained")
    assert covered["verdict"]["blur"] == covered["verdict"]["untrained copy 0"] == "computed"
    assert covered["scale_invariant"]["sham: flip"] == "not computed"
    assert covered["beyond_blur"]["blur"] == "nothing is more than itself"
    assert "no M" in covered["verdict"][SHUFFLED]
    assert {state for column in BY_IMAGES for state in covered[column].values()} == {_NO_IMAGES}
    keep_pairs(store.set(INFO, KEY), "1.1")
    commit(store, COPY, 2, np.full(COUNT, -0.3), blurred=-0.3, other_way=-0.3)
    assert present(read_nulls(store, INFO, KEY, "1.1")).lacking == ("sham",)
