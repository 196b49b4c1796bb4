"""Evidence of channels beside pairs, on paper: by FZs over seeds, by photographs, and what speaks for what."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from streamscope.core.analysis.channel_card import channel_card
from streamscope.core.analysis.evidence import TESTS, Evidence, read_evidence
from streamscope.core.measures.photographs import contrast
from streamscope.core.model.blocks import ModelInfo, Tensor
from streamscope.core.model.recipe import Recipe, SetKey
from streamscope.core.store import FZSet, Scan, Store
from streamscope.core.table.frame import build_frame
from tests.support.app_store import fill, make_info, open_store
from tests.support.photographs import commit_made_up, made_up_readings, with_centres
from tests.support.report_store import made_up_ablation, other_set
from tests.support.scans import write_scan

NAN = np.nan
BLOCK = "1.1"
KEY = SetKey(Recipe(steps=2560))
Answers = list[list[float]]
UP: Answers = [[4.0, 2, 0], [6, 2, 0], [0, 0, -4]]
DOWN: Answers = [[2.0, 8, 0], [0, 4, 2], [0, 0, 2]]


@pytest.fixture
def info() -> ModelInfo:
    return with_centres(make_info())


@pytest.fixture
def store(tmp_path: Path, info: ModelInfo) -> Store:
    return open_store(tmp_path / "cache", info)


def measure(store: Store, info: ModelInfo, seed: int, up: Answers, down: Answers) -> FZSet:
    """Of three channels of the block: row d of `up` is what each B says to S(FZ(I_d)), row c of `down` what each I says
    to S-(FZ(B_c)). Plain readings are 0, own ones 2."""
    fzset = store.set(info, replace(KEY, seed=seed), create=True)
    sides: tuple[tuple[Tensor, int, Answers], ...] = (("in", 1, up), ("block", 0, down))
    for tensor, other, scaled_rows in sides:
        plain, scaled = (np.zeros((3, 3, info.block(BLOCK).channels), dtype=np.float32) for _ in range(2))
        scaled[:, other, :3] = scaled_rows
        plain[range(3), 1 - other, range(3)] = 2
        plain[:, 2] = 1
        fzset.commit_measures(BLOCK, tensor, [0, 1, 2], plain, scaled)
    return fzset


def evidence_of(fzset: FZSet, scan: Scan | None = None, block: str = BLOCK) -> Evidence:
    return read_evidence(fzset, fzset.info.block(block), build_frame(fzset.info, fzset, [block], None, scan), scan)


def table(evidence: Evidence, pairs: np.ndarray) -> np.ndarray:
    """Pairs as (C, C), the diagonal NaN: row d, column c for I of d with B of c."""
    count = evidence.block.channels
    found = np.full((count, count), NAN)
    found[~np.eye(count, dtype=bool)] = pairs
    return found


def test_the_statistic_by_fzs_is_the_smaller_gain_of_each_pair(store: Store, info: ModelInfo) -> None:
    found = evidence_of(measure(store, info, 0, UP, DOWN))
    # Gains are relu(reading) / 2. Own: up 2, 1, 0; down 1, 2, 1.
    assert found.fz[:3].tolist() == [1, 1, 0]
    assert np.isnan(found.fz[3:]).all()
    # I of 1 with B of 0: B_0 says 6 to S(FZ(I_1)), I_1 says 8 to S-(FZ(B_0)).
    assert table(found, found.pairs_fz)[1, 0] == 3
    # I of 0 with B of 1: 2 and 0.
    assert table(found, found.pairs_fz)[0, 1] == 0
    assert found.known_pairs.sum() == 6
    assert (found.photographed, found.seeds) == (False, (0,))


def test_several_seeds_give_their_mean_of_channels_and_of_pairs_alike(store: Store, info: ModelInfo) -> None:
    up: Answers = [[8, 0, 0], [2, 6, 0], [0, 0, 4]]
    down: Answers = [[8, 2, 0], [0, 0, 0], [0, 0, 4]]
    measure(store, info, 1, up, down)
    found = evidence_of(measure(store, info, 0, UP, DOWN))
    assert found.seeds == (0, 1)
    # 1 and 4; 1 and 0; 0 and 2.
    assert found.fz[:3].tolist() == [2.5, 0.5, 1]
    # 3 and 1.
    assert table(found, found.pairs_fz)[1, 0] == 2


def test_a_set_that_lacks_the_block_is_no_seed_of_it(store: Store, info: ModelInfo) -> None:
    store.set(info, replace(KEY, seed=1), create=True)
    assert evidence_of(measure(store, info, 0, UP, DOWN)).seeds == (0,)


def test_photographs_are_of_the_same_pairs(store: Store, info: ModelInfo, tmp_path: Path) -> None:
    fzset = fill(store, info, [BLOCK])
    scan = write_scan(store, info, tmp_path / "images")
    commit_made_up(scan, BLOCK, range(6))
    readings = made_up_readings(scan, BLOCK, range(6))
    found = evidence_of(fzset, scan)
    assert (found.photographed, found.images) == (True, 24)
    larger = np.nanmean(contrast(readings.curves[2, 0, :, :, 1]))
    smaller = np.nanmean(-contrast(readings.curves[2, 1, :, :, 0]))
    assert found.photo[2] == pytest.approx(min(larger, smaller), rel=1e-5)
    assert found.photo[2] > 1
    assert found.photo[[1, 3, 5]].max() < 0.1
    # I of 4 with B of 1: B_1 on the patches of I_4, and I_4 on the patches of B_1.
    expected = min(readings.pair_contrast[4, 0, 1], -readings.pair_contrast[1, 1, 4])
    assert table(found, found.pairs_photo)[4, 1] == pytest.approx(expected)
    assert found.known_pairs.sum() == 30


def test_what_speaks_for_a_channel_and_against_it(store: Store, info: ModelInfo, tmp_path: Path) -> None:
    fzset = fill(store, info, [BLOCK])
    scan = write_scan(store, info, tmp_path / "images")
    commit_made_up(scan, BLOCK, range(6))
    found = evidence_of(fzset, scan)
    rows = found.rows
    assert list(found.tests) == list(TESTS)
    for name, column in (("(2)", "meets_mix"), ("(3)", "meets_block"), ("MEIs", "mei_scale_invariant")):
        assert np.array_equal(found.tests[name], rows[column], equal_nan=True)
    # Every second channel is invariant.
    assert found.tests["photo B"].tolist() == [1, 0, 1, 0, 1, 0]
    assert found.tests["photo I"].tolist() == [1, 0, 1, 0, 1, 0]
    assert np.isnan(found.tests["shams"]).all()
    for channel in range(6):
        for_, against = found.holding(channel, True), found.holding(channel, False)
        assert not set(for_) & set(against)
        assert "shams" not in [*for_, *against]
        assert ("(2)" in for_) == bool(rows["meets_mix"][channel])
        assert ("photo B" in for_) == (channel % 2 == 0)


def test_what_exceeds_pairs_both_ways(store: Store, info: ModelInfo, tmp_path: Path) -> None:
    found = evidence_of(fill(store, info, [BLOCK]))
    count = info.block(BLOCK).channels
    made_up = replace(
        found,
        fz=np.array([3.0, 3, 1, 1, NAN, 3]),
        photo=np.array([3.0, 1, 3, 1, 3, NAN]),
        pairs_fz=np.repeat([0.0, 2.0], count * (count - 1) // 2),
        pairs_photo=np.tile([0.0, 2.0], count * (count - 1) // 2),
    )
    assert made_up.points == [2, 2]
    beyond, share = made_up.beyond
    assert beyond.tolist() == [True, False, False, False, False, False]
    assert share == 0
    assert made_up.shown.tolist() == [True] * 4 + [False] * 2


def test_a_card_has_everything_that_is_known_of_a_channel_and_nothing_else(
    store: Store, info: ModelInfo, tmp_path: Path
) -> None:
    fzset = fill(store, info, [BLOCK])
    bare = channel_card(evidence_of(fzset), 2, [fzset], [])
    assert {finding.topic for finding in bare} == {"FZs", "seeds"}
    other_set(store, info, replace(KEY, seed=1), [BLOCK])
    scan = write_scan(store, info, tmp_path / "images")
    commit_made_up(scan, BLOCK, range(6))
    ablation = replace(made_up_ablation(info, BLOCK, fzset), channels=(2, 4))
    found = evidence_of(fzset, scan)
    sets = [fzset, *fzset.siblings()]
    card = channel_card(found, 2, sets, [ablation])
    assert list(dict.fromkeys(finding.topic for finding in card)) == ["FZs", "seeds", "photographs", "MEIs", "ablation"]
    by_name = {finding.what.strip(): finding for finding in card}
    assert by_name["(2) M"].value == found.rows["mix_ratio"][2]
    assert by_name["(3) block gain"].value == pytest.approx(found.rows["block_gain"][2])
    assert by_name["B prefers I's patches larger"].speaks == "for"
    assert by_name["B prefers I's patches larger"].value == pytest.approx(found.rows["photo_block_larger"][2])
    assert by_name["I on B's patches peaks at"].value == found.rows["photo_peak_in"][2]
    assert {"seed 0", "seed 1"} <= by_name.keys()
    assert by_name["one of those ablated"].value == ablation.zooms[-1].chosen_to_controls.value
    speaking = {finding.what.split()[0]: finding.speaks for finding in card if finding.topic == "FZs"}
    assert speaking["(3)"] == ("for" if found.rows["meets_block"][2] else "against")
    other = channel_card(found, 3, sets, [ablation])
    assert "ablation" not in {finding.topic for finding in other}
    assert {f.what: f.speaks for f in other}["B prefers I's patches larger"] == "against"
