"""Verdicts over stored seeds against seeds held out: planted channels whose verdict is known."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from streamscope.core.analysis.calibration import calibrate
from streamscope.core.errors import StoreError
from streamscope.core.model.blocks import Block, Tensor
from streamscope.core.store import FZSet, Store
from tests.support.stores import KEY, toy_info

COUNT = 40
INFO = dataclasses.replace(toy_info(), blocks=(Block("1.1", "simple", COUNT, None),), weights={})


def commit(store: Store, seed: int, gains: np.ndarray) -> FZSet:
    """A set whose margins (3) and (4) are `gains` of each channel, and whose M is 1."""
    fzset = store.set(INFO, dataclasses.replace(KEY, seed=seed), create=True)
    sides: tuple[tuple[Tensor, int, int], ...] = (("in", 1, 0), ("block", 0, 1))
    for tensor, other, own in sides:
        plain, scaled = (np.zeros((len(gains), 3, COUNT), dtype=np.float32) for _ in range(2))
        channel = np.arange(len(gains))
        plain[channel, own, channel] = plain[channel, 2, channel] = 1
        scaled[channel, other, channel] = gains
        fzset.commit_measures("1.1", tensor, channel.tolist(), plain, scaled)
    return fzset


def planted(root: Path, seeds: int) -> tuple[Store, np.ndarray]:
    """Ten channels that pass in every seed, ten that pass or fail by chance, and twenty that never do."""
    store = Store.open(root, create=True)
    draw = np.random.default_rng(0)
    own = np.concatenate([np.full(10, 0.3), np.zeros(10), np.full(20, -0.3)])
    drawn = own + draw.normal(size=(seeds, COUNT)) * 0.03
    for seed in range(seeds):
        commit(store, seed, drawn[seed])
    return store, drawn


def test_seeds_that_decide_are_checked_by_those_held_out(tmp_path: Path) -> None:
    store, drawn = planted(tmp_path, 9)
    # Of channels that were undecided alone: no sample, and left out.
    commit(store, 9, np.ones(5))
    found = calibrate(store.set(INFO, dataclasses.replace(KEY, seed=3)), ["1.1"], 4)
    assert (found.deciding, found.held_out) == ((0, 1, 2, 3), (4, 5, 6, 7, 8))
    truth = (drawn[4:] > 0).sum(axis=0) >= 3
    assert found.invariant == truth.sum()
    assert list(found.by_seeds) == [1, 2, 3, 4]
    assert {one.n for one in found.by_seeds.values()} == {COUNT}
    assert found.every.n == 4 * COUNT
    assert found.every.brier == pytest.approx(np.mean([one.brier for one in found.by_seeds.values()]))
    assert found.every.error < 0.2
    # The thirty clear channels take a seed each, at least five of the others all four.
    spent = found.spending
    assert spent.channels == COUNT
    assert spent.yes >= 10
    assert spent.no >= 20
    assert spent.yes + spent.no + spent.undecided == COUNT
    assert spent.right >= 30
    assert (COUNT + 5 * 3) / (4 * COUNT) < spent.share < (30 + 10 * 4 + 1) / (4 * COUNT)


def test_too_few_seeds_are_said(tmp_path: Path) -> None:
    store, _ = planted(tmp_path, 3)
    with pytest.raises(StoreError, match=r"takes 2 seeds that decide and at least 2 .* of 1\.1; stored: 0, 1, 2$"):
        calibrate(store.set(INFO, KEY), ["1.1"], 2)
