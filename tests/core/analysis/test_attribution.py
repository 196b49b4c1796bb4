"""By which change the verdicts of two protocols differ, on FZs of which it is known what each change does to them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from streamscope.core.analysis.attribution import MOVES, Attribution, Reader, Versions, attribute, moves_of
from streamscope.core.engine.network import Network
from streamscope.core.images.lanczos import scaling
from streamscope.core.measures.agreement import Flips
from streamscope.core.model.blocks import VERDICT_TENSORS, Target
from streamscope.core.model.recipe import CENTRED, Recipe, SetKey
from streamscope.core.reading.altered import read_altered
from streamscope.core.store import FZSet, Store
from streamscope.core.store.sets.readings import ALTERED, Readings
from tests.support.planted import BLOCKS, PLANTED, SAME_SIZE, SMOOTH_ONLY, drawing, planted_network, planted_set

CENTRED_KEY, PAPER_KEY = SetKey(CENTRED, protocol="centred"), SetKey(Recipe())
BETWEEN_KEY = replace(PAPER_KEY, protocol="centred")
CHANNELS = np.array([PLANTED, SMOOTH_ONLY, SAME_SIZE])


@pytest.fixture(scope="module")
def network() -> Network:
    return planted_network()


@pytest.fixture(scope="module")
def read(network: Network) -> Reader:
    return partial(read_altered, network)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("attribution")


@pytest.fixture(scope="module")
def paper(network: Network, root: Path) -> FZSet:
    return planted_set(root, network, PAPER_KEY)


@pytest.fixture(scope="module")
def centred(network: Network, root: Path) -> FZSet:
    return planted_set(root, network, CENTRED_KEY)


def changes(found: Attribution) -> dict[str, tuple[set[int], str]]:
    """Channels whose verdict each step flips, and what it does to criterion (4)."""
    flipped = {step.name: (set(step.flipped["scale_invariant"]), step.criteria["meets_input"]) for step in found.steps}
    return {name: (channels, f"+{four.gained} -{four.lost}") for name, (channels, four) in flipped.items()}


def as_same_size(channel: int, tensor: str, centre: float) -> np.ndarray:
    return drawing(SAME_SIZE if channel == PLANTED else channel, tensor, centre)


@pytest.mark.parametrize("block", BLOCKS[:-1])
def test_half_a_pixel_from_the_image_s_centre_the_kernel_alone_decides(
    paper: FZSet, centred: FZSet, block: str, root: Path, read: Reader
) -> None:
    # About 111.5 the paper's S- is the mean of two pixels on each axis, which smooths. About 112 it takes every other
    # one: what answers to smoothness no longer rises, until Lanczos smooths again.
    found = attribute(Store.open(root), paper, centred, block, CHANNELS, read)
    assert changes(found) == {
        "jitter and recipe": (set(), "+0 -0"),
        "centre": ({SMOOTH_ONLY}, "+0 -1"),
        "kernel": ({SMOOTH_ONLY}, "+1 -0"),
    }
    assert found.lacking == BETWEEN_KEY
    assert found.causes(SMOOTH_ONLY, ["scale_invariant"]) == ["centre", "kernel"]
    assert found.causes(SMOOTH_ONLY, ["update", "meets_input"]) == []
    assert found.causes(PLANTED, ["scale_invariant", "update"]) == []


def test_where_the_receptive_field_is_elsewhere_the_centre_decides(
    paper: FZSet, centred: FZSet, root: Path, read: Reader
) -> None:
    found = attribute(Store.open(root), paper, centred, BLOCKS[-1], CHANNELS, read)
    assert changes(found) == {
        "jitter and recipe": (set(), "+0 -0"),
        "centre": ({PLANTED}, "+1 -0"),
        "kernel": (set(), "+0 -0"),
    }
    [_, centre, _] = found.steps
    assert centre.criteria["scale_invariant"] == Flips(n=3, before=1, after=2, gained=1, lost=0)
    assert centre.criteria["meets_mix"] == Flips(n=3, before=3, after=3, gained=0, lost=0)


def test_jitter_and_recipe_are_told_apart_by_the_set_between(
    network: Network, paper: FZSet, centred: FZSet, tmp_path: Path, read: Reader
) -> None:
    """There the FZs of `PLANTED` are those of `SAME_SIZE`, a dot for both tensors."""
    between = planted_set(tmp_path, network, BETWEEN_KEY, as_same_size)
    store, block = Store.open(tmp_path), "2.1"
    found = attribute(store, paper, centred, block, CHANNELS, read)
    assert [step.changes for step in found.steps] == [("jitter",), ("recipe",), ("centre",), ("kernel",)]
    assert [PLANTED in step.flipped["scale_invariant"] for step in found.steps] == [True, True, False, False]
    assert found.lacking is None

    # Where the centred set is the one with the paper's recipe, there is no step between.
    found = attribute(store, paper, between, block, CHANNELS, read)
    assert [step.changes for step in found.steps] == [("jitter",), ("centre",), ("kernel",)]
    assert found.steps[0].flipped["scale_invariant"] == {PLANTED}
    assert found.lacking is None


def test_half_a_pixel_flips_the_paper_s_verdict_and_no_centred_one(paper: FZSet, centred: FZSet, read: Reader) -> None:
    for move in moves_of(paper, "2.1", CHANNELS, read):
        assert (move.block, move.protocol) == ("2.1", "paper")
        assert move.criteria["meets_input"] == Flips(n=3, before=2, after=1, gained=0, lost=1)
        assert move.criteria["meets_block"].flipped == 0
        assert move.criteria["scale_invariant"].jaccard == 1 / 2
    found = moves_of(centred, "2.1", CHANNELS, read)
    assert [move.move for move in found] == list(MOVES)
    assert {move.criteria["scale_invariant"] for move in found} == {Flips(n=3, before=2, after=2, gained=0, lost=0)}


def test_fzs_read_as_their_set_scales_them_say_what_is_stored(centred: FZSet, network: Network) -> None:
    block, side = "2.1", network.info.input_size
    about = network.info.field_of(Target(block, "block")).centre
    calls: list[tuple[int, int]] = []
    ways: Versions = {"own": {"in": scaling(side, about, 2), "block": scaling(side, about, 1 / 2)}}
    chosen = np.array([PLANTED, SAME_SIZE])
    found = read_altered(network, centred, block, chosen, ways, lambda done, total: calls.append((done, total)))
    readings = Readings(centred, [network.info.block(block)])
    for on in VERDICT_TENSORS:
        stored = readings.values[ALTERED[on][0]]
        assert np.allclose(found["own"][on][chosen], stored[chosen], rtol=1e-6)
        assert np.isnan(np.delete(found["own"][on], chosen)).all()
    assert calls == [(2, 4), (4, 4)]
