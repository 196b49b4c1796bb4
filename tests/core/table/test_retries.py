"""Which FZ stands beside a row, where some were optimised again."""

from pathlib import Path

import numpy as np

from streamscope.core.export.sheet import pictured
from streamscope.core.model.blocks import TENSORS, Target
from streamscope.core.model.recipe import Recipe, SetKey
from streamscope.core.store import FZSet
from streamscope.core.table.frame import build_frame
from streamscope.core.table.retries import retry_of, shown_fz
from tests.support.optional import present
from tests.support.stores import commit, images_of, toy_set

KEY = SetKey(Recipe(steps=10), seed=5)


def test_the_retry_of_a_row_follows_from_its_seed_and_is_the_first_where_nothing_is_measured() -> None:
    assert retry_of({"fz_seed": 7, "seed": 5}) == 2
    assert retry_of({"fz_seed": 5, "seed": 5}) == 0
    assert retry_of({"fz_seed": None, "seed": 5}) == 0
    assert retry_of({"fz_seed": None, "seed": None}) == 0


def retried(root: Path) -> FZSet:
    """FZs of block 1.1, of channel 1 also those of a retry, and of `out` one that a later block had optimised again."""
    fzset = toy_set(root, KEY)
    for target in (Target("1.0", "out"), Target("1.1", "block"), Target("1.1", "out")):
        commit(fzset, target, [0, 1])
        commit(fzset, target, [1], images=255 - images_of([1]), retry=1)
    return fzset


def test_a_retried_row_shows_the_fzs_it_is_read_from_and_the_first_out(tmp_path: Path) -> None:
    fzset = retried(tmp_path)
    shown = {tensor: shown_fz(fzset, "1.1", tensor, 1, retry=1) for tensor in TENSORS}
    assert {tensor: found and found[0] for tensor, found in shown.items()} == {"in": 1, "block": 1, "out": 0}
    assert shown_fz(fzset, "1.1", "in", 0, retry=1) == (0, fzset.fzs(Target("1.0", "out"))[0])
    assert shown_fz(fzset, "1.1", "in", 3, retry=0) is None


def test_a_sheet_shows_the_first_out_beside_a_retried_row(tmp_path: Path) -> None:
    fzset = retried(tmp_path)
    frame = build_frame(fzset.info, fzset, ["1.1"])
    frame = type(frame)({**frame.columns, "fz_seed": np.array([5.0, 6.0, np.nan, np.nan])})
    fzs = pictured(fzset.info, fzset, frame, 1, whole=True).fzs
    assert np.array_equal(present(fzs["out"]), images_of([1])[0])
    assert np.array_equal(present(fzs["block"]), 255 - images_of([1])[0])
