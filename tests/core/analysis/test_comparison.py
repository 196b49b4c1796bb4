"""What changes between two frames of the same channels, counted by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
from scipy import stats

from streamscope.core.analysis.comparison import ChannelChange, SetChange, changed_channels, compare_sets
from streamscope.core.measures.agreement import Flips
from streamscope.core.table.frame import Frame
from tests.support.frames import small_frame

FIRST: dict[str, list[Any]] = {
    "mix_ratio": [1.0, 1.2, 2.0, 0.1, None, 1.4],
    "update": ["mix", "mix", "skip", "overwrite", None, "mix"],
    "scale_metric": [0.1, 0.2, 0.3, None, 0.5, 0.6],
    "meets_mix": [1, 1, 0, 0, None, 1],
    "meets_block": [1, 1, 1, 0, 1, 0],
    "meets_input": [1, 0, 1, 1, 1, 1],
    "scale_invariant": [1, 0, 0, 0, None, 0],
}
SECOND: dict[str, list[Any]] = {
    "mix_ratio": [1.1, 0.5, 1.3, 0.3, 1.0, 1.4],
    "update": ["mix", "overwrite", "mix", "overwrite", "mix", "mix"],
    "scale_metric": [0.2, 0.1, 0.4, 0.5, 0.6, 0.7],
    "meets_mix": [1, 0, 1, 0, 1, 1],
    "meets_block": [0, 1, 1, 0, 1, 1],
    "meets_input": [1, 0, 1, 1, 1, 0],
    "scale_invariant": [0, 0, 1, 0, 1, 0],
}


def frame(columns: dict[str, list[Any]], block: str = "2.1", **changes: list[Any]) -> Frame:
    count = len(columns["mix_ratio"])
    given: dict[str, list[Any]] = {
        "block": [block] * count,
        "channel": list(range(count)),
        "fingerprint": ["ab" * 32] * count,
        "fz_seed": [0] * count,
    }
    return small_frame(**{**given, **columns, **changes})


@pytest.fixture
def change() -> SetChange:
    [found] = compare_sets(frame(FIRST), frame(SECOND))
    return found


def test_kinds_and_medians_are_those_of_channels_that_both_define(change: SetChange) -> None:
    assert change.channels == 6
    # Channel 4 has no M in the first.
    assert change.medians == (1.2, 1.1)
    assert change.transitions == ((1, 0, 0), (1, 2, 0), (0, 1, 0))
    assert change.kinds == ((1, 3, 1), (2, 3, 0))
    assert (change.update.k, change.update.n) == (2, 5)
    # 3 of 5 agree; by chance (1 * 2 + 3 * 3 + 1 * 0) / 25 = 0.44 would.
    assert change.kappa == pytest.approx((0.6 - 0.44) / 0.56)


def test_every_criterion_has_its_flips(change: SetChange) -> None:
    assert change.criteria == {
        "meets_mix": Flips(n=5, before=3, after=3, gained=1, lost=1),
        "meets_block": Flips(n=6, before=4, after=4, gained=1, lost=1),
        "meets_input": Flips(n=6, before=5, after=4, gained=0, lost=1),
        "scale_invariant": Flips(n=5, before=1, after=1, gained=1, lost=1),
    }
    assert change.criteria["scale_invariant"].jaccard == 0


def test_orders_are_compared_by_rank(change: SetChange) -> None:
    m = stats.spearmanr([1.0, 1.2, 2.0, 0.1, 1.4], [1.1, 0.5, 1.3, 0.3, 1.4]).statistic
    sm = stats.spearmanr([0.1, 0.2, 0.3, 0.5, 0.6], [0.2, 0.1, 0.4, 0.6, 0.7]).statistic
    assert change.mix_ratio.rho == pytest.approx(m)
    assert change.scale_metric.rho == pytest.approx(sm)
    assert (change.mix_ratio.n, change.scale_metric.n) == (5, 5)


def test_the_channels_that_change_are_listed_with_what_flips() -> None:
    found = changed_channels(frame(FIRST), frame(SECOND))
    # Channel 4 is undefined in the first, channel 5 keeps its verdict though two criteria flip.
    assert [(c.block, c.channel, c.flipped) for c in found] == [
        ("2.1", 0, ["meets_block", "scale_invariant"]),
        ("2.1", 1, ["update", "meets_mix"]),
        ("2.1", 2, ["update", "meets_mix", "scale_invariant"]),
    ]
    assert found[2] == ChannelChange(
        "2.1",
        2,
        {
            "mix_ratio": 2.0,
            "update": "skip",
            "meets_mix": False,
            "meets_block": True,
            "meets_input": True,
            "scale_invariant": False,
        },
        {
            "mix_ratio": 1.3,
            "update": "mix",
            "meets_mix": True,
            "meets_block": True,
            "meets_input": True,
            "scale_invariant": True,
        },
    )


def test_channels_and_blocks_of_one_set_only_do_not_count() -> None:
    other = frame(SECOND, channel=[2, 3, 4, 5, 6, 7], update=["mix"] * 6, scale_invariant=[1] * 6)
    assert [c.channel for c in changed_channels(frame(FIRST), other)] == [2, 3, 5]
    assert changed_channels(frame(FIRST), frame(SECOND, block="3.0")) == []
    [found] = compare_sets(frame(FIRST), frame(SECOND, fz_seed=[0, 0, None, None, None, None]))
    assert found.channels == 2


def test_sets_that_are_alike_do_not_differ() -> None:
    [found] = compare_sets(frame(FIRST), frame(FIRST))
    assert (found.kappa, found.criteria["scale_invariant"].jaccard, found.update.k) == (1, 1, 0)
    assert changed_channels(frame(FIRST), frame(FIRST)) == []


def test_nothing_defined_gives_no_numbers() -> None:
    nothing: dict[str, list[Any]] = {name: [None] for name in FIRST}
    [found] = compare_sets(frame(nothing), frame(nothing))
    assert math.isnan(found.kappa)
    assert math.isnan(found.medians[0])
    assert math.isnan(found.criteria["scale_invariant"].jaccard)
    assert found.update.n == 0
