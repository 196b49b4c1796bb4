"""Which channels get a further seed: those that are undecided by the seeds there are."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from streamscope.core.jobs.deciding import Spent, next_request, spent
from streamscope.core.jobs.plan import Request
from streamscope.core.model.blocks import VERDICT_TENSORS, Tensor
from streamscope.core.store import FZSet, Store
from tests.support.stores import KEY, toy_info

YES, NO, NEAR = 0.5, -0.5, 0.0
"""Margins of both scale criteria, in denominators."""


def measure(fzset: FZSet, margins: dict[int, float]) -> None:
    """Channels of block 1.1 with M = 1 and these margins of (3) and (4): the scaled reading is 1 + margin, above 1."""
    channels = list(margins)
    for tensor in VERDICT_TENSORS:
        other = {"in": 1, "block": 0}[tensor]
        plain = np.ones((len(channels), 3, 4), dtype=np.float32)
        scaled = plain.copy()
        for row, channel in enumerate(channels):
            scaled[row, other, channel] = 1 + margins[channel]
        fzset.commit_measures("1.1", tensor, channels, plain, scaled)


def request(**changes: object) -> Request:
    tensors: tuple[Tensor, ...] = ("in", "block", "out")
    made: dict[str, object] = {"blocks": ("1.1",), "channels": None} | changes
    return Request.of(toy_info(), KEY, made["blocks"], tensors, 2, made["channels"])  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.open(tmp_path, create=True)
    measure(store.set(toy_info(), KEY, create=True), {0: NEAR, 1: YES, 2: NO})
    return store


def test_undecided_channels_get_the_next_seed_and_no_others(store: Store) -> None:
    more = next_request(store, toy_info(), request())
    assert more is not None
    assert more.key == dataclasses.replace(KEY, seed=1)
    assert (more.blocks, more.tensors, dict(more.channels)) == (("1.1",), VERDICT_TENSORS, {"1.1": (0,)})
    # Channel 3 has no verdict at all yet: it is the request itself that asks for it.
    assert next_request(store, toy_info(), request(channels={"1.1": [1, 2, 3]})) is None


def test_where_the_kind_of_update_is_undecided_seeds_are_spent_when_asked_for(store: Store) -> None:
    fzset = store.set(toy_info(), KEY)
    plain = np.ones((1, 3, 4), dtype=np.float32)
    fzset.commit_measures("1.1", "block", [3], plain, plain)
    plain = plain.copy()
    plain[0, 2, 3] = 1.45
    fzset.commit_measures("1.1", "in", [3], plain, np.full_like(plain, -1))
    more = next_request(store, toy_info(), request(channels={"1.1": [1, 2, 3]}), updates=True)
    assert more is not None
    assert dict(more.channels) == {"1.1": (3,)}
    assert next_request(store, toy_info(), request(channels={"1.1": [1, 2, 3]})) is None


def test_a_seed_that_is_there_is_not_asked_for_again(store: Store) -> None:
    measure(store.set(toy_info(), dataclasses.replace(KEY, seed=1), create=True), {0: NEAR, 1: YES})
    more = next_request(store, toy_info(), request())
    assert more is not None
    assert more.key.seed == 2
    assert dict(more.channels) == {"1.1": (0,)}
    assert next_request(store, toy_info(), request(), most=2) is None


def test_what_further_seeds_settle_is_asked_for_no_more(store: Store) -> None:
    for seed in (1, 2):
        measure(store.set(toy_info(), dataclasses.replace(KEY, seed=seed), create=True), {0: YES})
    assert next_request(store, toy_info(), request()) is None
    assert spent(toy_info(), store.set(toy_info(), KEY), request()) == Spent(3, 2, 1, 0, 5 / 3)


def test_nothing_is_decided_where_nothing_is_measured(tmp_path: Path) -> None:
    store = Store.open(tmp_path, create=True)
    fzset = store.set(toy_info(), KEY, create=True)
    assert next_request(store, toy_info(), request()) is None
    assert spent(toy_info(), fzset, request()) == Spent(0, 0, 0, 0, 0.0)
