"""A block's summary of what photographs say, on made-up readings."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from streamscope.core.analysis.photographs import summarise_photographs
from streamscope.core.measures.photographs import photo_measures
from streamscope.core.model.blocks import Field
from streamscope.core.store import Store
from streamscope.core.store.scans.photographs import Photographs, patches_to_read
from tests.support.optional import present
from tests.support.photographs import made_up_readings
from tests.support.scans import write_scan
from tests.support.stores import toy_info

FIELDS = {f"{b}.{t}": Field(0, 8, 7, 4.0) for b in ("1.0", "1.1", "2.0") for t in ("in", "block", "out")}
INFO = dataclasses.replace(toy_info(), fields=FIELDS)
BLOCK = "2.0"


@pytest.fixture
def stored(tmp_path: Path) -> Photographs:
    """Channels 0, 2 and 4 of six prefer both ways."""
    scan = write_scan(Store.open(tmp_path / "cache", create=True), INFO, tmp_path / "images")
    return Photographs(present(patches_to_read(scan, BLOCK, range(6))), made_up_readings(scan, BLOCK, range(6)))


def test_a_block_is_summarised_by_channel_and_beside_chance(stored: Photographs) -> None:
    found = summarise_photographs(BLOCK, stored)
    measures = photo_measures(stored.readings)
    assert (found.channels, found.invariant, found.beyond_blur, found.fz) == (6, 3, 3, {})
    assert found.images == len(np.unique(stored.patches.rows[:, :2])) - (stored.patches.rows[:, :2] < 0).any()
    for way, column in ((found.larger, "photo_block_larger"), (found.smaller, "photo_in_smaller")):
        assert way.mean == pytest.approx(measures[column].mean())
        assert way.low < way.mean < way.high
        assert way.pairs == pytest.approx(0, abs=0.1)
        # Of six alike channels one exceeds the other five in a sixth of all cases.
        assert [way.against_pairs.n, way.against_pairs.expected] == pytest.approx([6, 1])
        assert way.against_pairs.k >= 3
    assert [found.both_pairs.k, found.both_pairs.expected] == pytest.approx([3, 6 / 36])
    # Three or more of six, each with 1/36.
    assert found.both_pairs.p == pytest.approx(20 * 35**3 / 36**6, rel=0.05)


def test_verdicts_by_fzs_are_compared_channel_by_channel(stored: Photographs) -> None:
    columns = {
        "scale_invariant": np.array([1, 1, 0, 0, np.nan, 0]),
        "verdict": np.array(["yes", "no", "undecided", "", "yes", "no"], dtype=object),
    }
    found = summarise_photographs(BLOCK, stored, columns).fz
    one = found["scale_invariant"]
    assert (one.both, one.fz_only, one.photo_only, one.neither, one.n) == (1, 1, 1, 2, 5)
    # 3 of 5 agree, and by chance (2 * 2 + 3 * 3) / 25 would.
    assert one.kappa == pytest.approx((3 / 5 - 13 / 25) / (12 / 25))
    assert 0.5 <= one.auc < 1
    over_seeds = found["verdict"]
    assert (over_seeds.both, over_seeds.neither, over_seeds.n, over_seeds.auc, over_seeds.kappa) == (2, 2, 4, 1, 1)
    columns["verdict"][:] = ""
    assert set(summarise_photographs(BLOCK, stored, columns).fz) == {"scale_invariant"}
