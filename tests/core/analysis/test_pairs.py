"""Gains among those of pairs, from a stored set to the column q: on paper, kept, made again, and never stale."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from streamscope.core.analysis.pairs import keep_pairs, lacks_pairs, pair_answers
from streamscope.core.errors import DamageError, MisplacedError
from streamscope.core.model.blocks import Tensor
from streamscope.core.store import FZSet, Store
from streamscope.core.store.files.documents import read_document, write_document
from streamscope.core.store.sets.pairs import Pairs, read_pairs
from streamscope.core.table.frame import build_frame
from tests.support.stores import toy_info, toy_set

NAN = np.nan
# Row: whose FZ it is; column: whose B, or I, reads it.
BLOCK_ON = [[1, 0, 2], [0, -1, 0], [0, 0, 4]]
UP_ON = [[3, 4, 2], [2, 5, -3], [0, 2, 5]]
INPUT_ON = [[0, 0, 1], [1, 0, 0], [2, 2, 0]]
DOWN_ON = [[2, 0, 0], [4, 4, 1], [2, 4, -1]]
OWN_BLOCK, OWN_INPUT = [4, 10, 1], [2, 4, 8]
"""B(FZ(B)) and I(FZ(I))."""


def measure(fzset: FZSet, channels: list[int]) -> None:
    sides: tuple[tuple[Tensor, int, int, list[list[int]], list[list[int]], list[int]], ...] = (
        ("in", 1, 0, BLOCK_ON, UP_ON, OWN_INPUT),
        ("block", 0, 1, INPUT_ON, DOWN_ON, OWN_BLOCK),
    )
    for tensor, other, own_axis, plain_rows, scaled_rows, own in sides:
        plain, scaled = (np.full((len(channels), 3, 4), 99, dtype=np.float32) for _ in range(2))
        for row, channel in enumerate(channels):
            plain[row, other, :3], scaled[row, other, :3] = plain_rows[channel], scaled_rows[channel]
            plain[row, own_axis, channel] = own[channel]
            plain[row, 2] = 1
        fzset.commit_measures("1.1", tensor, channels, plain, scaled)


def kept(fzset: FZSet) -> Pairs:
    found = fzset.pairs("1.1")
    assert found is not None
    return found


def q_of(fzset: FZSet) -> list[float]:
    return list(build_frame(toy_info(), fzset, ["1.1"])["q"])


def test_a_block_s_gains_are_set_against_those_of_its_pairs_as_on_paper(tmp_path: Path) -> None:
    fzset = toy_set(tmp_path)
    measure(fzset, [0, 1, 2])
    answers = pair_answers(fzset, "1.1")
    assert answers.block_on_in_up[0].tolist() == [3, 4, 2]
    assert answers.in_on_block_down[:, 1].tolist() == [4, 4, 1], "rows are I_d, columns FZ(B_c)"
    assert np.isnan(q_of(fzset)).all()
    assert lacks_pairs(fzset, "1.1")
    assert keep_pairs(fzset, "1.1")
    # Block gains (d, c): [[.5, .4, 0], [.5, .5, 0], [0, .2, 1]]; input gains, I_d on FZ(B_c), by I(FZ(I_d)):
    # [[1, 1.5, 0], [0, 1, .5], [-1/8, 1/8, 0]]. The smaller: [[.5, .4, 0], [0, .5, 0], [-1/8, 1/8, 0]].
    assert (kept(fzset).pairs, kept(fzset).channels, kept(fzset).reached) == (6, (0, 1, 2), (0, 0, 5))
    assert kept(fzset).block_gains == (0.0, 0.0, 0.5, 0.0, 0.2, 0.4)
    assert kept(fzset).input_gains == (-0.125, 0.0, 0.0, 0.5, 0.125, 1.5)
    # p: 1/7, 1/7 and 6/7; q of the two: 1/7 * 3/2.
    assert q_of(fzset) == pytest.approx([3 / 14, 3 / 14, 6 / 7, NAN], nan_ok=True)
    assert not keep_pairs(fzset, "1.1")
    assert q_of(toy_set(tmp_path)) == pytest.approx(q_of(fzset), nan_ok=True)


def test_what_was_kept_of_other_measures_says_nothing_and_is_made_again(tmp_path: Path) -> None:
    fzset = toy_set(tmp_path)
    measure(fzset, [0, 1])
    keep_pairs(fzset, "1.1")
    # Of the pairs (0, 1) and (1, 0) one has .4, and the channels .5.
    assert q_of(fzset) == pytest.approx([1 / 3, 1 / 3, NAN, NAN], nan_ok=True)
    before = fzset.signature()
    measure(fzset, [2])
    assert np.isnan(q_of(fzset)).all()
    assert lacks_pairs(fzset, "1.1")
    assert keep_pairs(fzset, "1.1")
    assert q_of(fzset)[2] == pytest.approx(6 / 7)
    # Whoever has the set open sees that there is more to read.
    assert len({before, fzset.signature()}) == 2
    (fzset.path / "pairs" / "1.1.json").unlink()
    assert np.isnan(q_of(toy_set(tmp_path))).all()


def test_writing_pairs_alone_changes_the_signature(tmp_path: Path) -> None:
    fzset = toy_set(tmp_path)
    measure(fzset, [0, 1])
    before = fzset.signature()
    keep_pairs(fzset, "1.1")
    assert fzset.signature() != before


@pytest.mark.parametrize("channels", [[], [1]])
def test_no_two_channels_are_no_pair_and_nothing_is_written(tmp_path: Path, channels: list[int]) -> None:
    fzset = toy_set(tmp_path)
    if channels:
        measure(fzset, channels)
    assert not lacks_pairs(fzset, "1.1")
    assert not keep_pairs(fzset, "1.1")
    assert not (fzset.path / "pairs").exists()


@pytest.fixture
def document(tmp_path: Path) -> Path:
    fzset = toy_set(tmp_path)
    measure(fzset, [0, 1, 2])
    keep_pairs(fzset, "1.1")
    return fzset.path / "pairs" / "1.1.json"


WRONG = {
    "more channels than counts": {"channels": [0, 1, 2, 3]},
    "a channel that the block lacks": {"channels": [0, 1, 4]},
    "channels out of order": {"channels": [1, 0, 2]},
    "a count beyond the pairs": {"reached": [0, 0, 7]},
    "fewer gains than pairs": {"block_gains": [0.0], "input_gains": [0.0]},
    "text": {"pairs": "6"},
    "a time that is none": {"created": -1},
}


@pytest.mark.parametrize("changes", WRONG.values(), ids=WRONG)
def test_a_record_whose_parts_do_not_fit_is_damaged_and_leaves_q_empty(
    document: Path, tmp_path: Path, changes: dict[str, object]
) -> None:
    write_document(document, {**read_document(document), **changes})
    with pytest.raises(DamageError, match="is damaged"):
        read_pairs(document, toy_info())
    store = Store.open(tmp_path)
    assert np.isnan(q_of(store.set(toy_info(), toy_set(tmp_path).key))).all()
    assert [str(document) in str(problem) for problem in store.problems] == [True]


def test_a_record_of_another_block_set_or_model_is_not_read(document: Path, tmp_path: Path) -> None:
    other = document.with_name("2.0.json")
    shutil.copyfile(document, other)
    with pytest.raises(MisplacedError, match="of another set or block"):
        read_pairs(other, toy_info())
    elsewhere = document.parent.parent.parent / "paper-10-s1" / "pairs" / "1.1.json"
    elsewhere.parent.mkdir(parents=True)
    shutil.copyfile(document, elsewhere)
    with pytest.raises(MisplacedError, match="of another set or block"):
        read_pairs(elsewhere, toy_info())
    with pytest.raises(MisplacedError, match="is of toy"):
        read_pairs(document, toy_info(fingerprint="cd" * 32))
