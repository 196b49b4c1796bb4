"""False positives of the scale criteria: worked out by hand, and computed on hand-set and untrained networks."""

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike

from streamscope.core.analysis.null_shares import real_shares, sham_shares, shuffled_pairs
from streamscope.core.analysis.nulls import read_nulls
from streamscope.core.engine.network import Network
from streamscope.core.images.lanczos import Resampling
from streamscope.core.model.blocks import Target, Tensor
from streamscope.core.model.recipe import Recipe, SetKey
from streamscope.core.model.spec import untrained_name
from streamscope.core.reading.shams import compute_shams, flip, quarter_turn, sham_versions, shift
from streamscope.core.store import FZSet, Store
from streamscope.core.store.sets.responses import SHAM_TRANSFORMS
from streamscope.core.table.frame import build_frame
from tests.support.drawn import CHANNELS, KEY, drawn_set
from tests.support.networks import SCALE_INVARIANT, hand_set_network
from tests.support.optional import present
from tests.support.stores import toy_info

TOY = SetKey(Recipe(steps=10))
Rows = Sequence[Sequence[float]] | np.ndarray


def measure(fzset: FZSet, block_on: Rows, up_on: Rows, input_on: Rows, down_on: Rows, pre: ArrayLike = 1.0) -> None:
    """Commits the first channels of block 1.1. Row d of `block_on` and `up_on` is what each B says to FZ(I_d) and to
    its double, row c of `input_on` and `down_on` what each I says to FZ(B_c) and to its half."""
    sides: tuple[tuple[Tensor, int, Rows, Rows], ...] = (
        ("in", 1, block_on, up_on),
        ("block", 0, input_on, down_on),
    )
    for tensor, axis, plain_rows, scaled_rows in sides:
        count = len(plain_rows)
        plain = np.full((count, 3, 4), 99, dtype=np.float32)
        scaled = np.full((count, 3, 4), 99, dtype=np.float32)
        plain[:, axis, :count], scaled[:, axis, :count] = plain_rows, scaled_rows
        plain[:, 2] = pre
        fzset.commit_measures("1.1", tensor, list(range(count)), plain, scaled)


BLOCK_ON = [[1, -2, 0], [3, 1, 1], [0, 0, 5]]  # row: FZ(I_d), column: B_c
UP_ON = [[2, 1, -1], [2, 2, 0], [1, 0, 5]]
INPUT_ON = [[0, 1, 4], [1, 1, 1], [-1, -5, 0]]  # row: FZ(B_c), column: I_d
DOWN_ON = [[1, 2, 5], [0, 2, 0], [1, -1, 1]]


@pytest.fixture
def toy_set(tmp_path: Path) -> FZSet:
    fzset = Store.open(tmp_path, create=True).set(toy_info(), TOY, create=True)
    measure(fzset, BLOCK_ON, UP_ON, INPUT_ON, DOWN_ON)
    return fzset


def test_shuffled_pairs_are_counted_as_on_paper(toy_set: FZSet) -> None:
    found = present(shuffled_pairs(toy_set, "1.1"))
    # (3), rows d, columns c: UP > relu(BLOCK): [[1, 1, 0], [0, 1, 0], [1, 0, 0]]
    # (4), rows c, columns d: DOWN > relu(INPUT): [[1, 1, 1], [0, 1, 0], [1, 0, 1]]
    # Both, (d, c): [[1, 0, 0], [0, 1, 0], [1, 0, 0]], (4) being turned round.
    assert {name: (share.k, share.n) for name, share in found.real.items()} == {
        "meets_block": (2, 3),
        "meets_input": (3, 3),
        "meets_both": (2, 3),
    }
    assert {name: (share.k, share.n) for name, share in found.shares.items()} == {
        "meets_block": (2, 6),
        "meets_input": (3, 6),
        "meets_both": (1, 6),
    }
    # Pairings d = c, c + 1, c + 2: (3) holds in 2, 0 and 2 of three channels, (4) in 3, 1 and 2, both in 2, 0 and 1.
    assert found.p == pytest.approx({"meets_block": 2 / 3, "meets_input": 1 / 3, "meets_both": 1 / 3})


def test_the_real_share_is_that_of_the_table(toy_set: FZSet) -> None:
    frame = build_frame(toy_info(), toy_set, ["1.1"])
    real = real_shares(toy_set, "1.1")
    for name in ("meets_mix", "meets_block", "meets_input", "scale_invariant"):
        assert (real[name].k, real[name].n) == ((frame[name] == 1).sum(), 3)
    found = present(shuffled_pairs(toy_set, "1.1"))
    assert {name: found.real[name] for name in found.real} == {name: real[name] for name in found.real}


def test_every_pair_of_different_channels_counts_once_whatever_their_number(tmp_path: Path) -> None:
    fzset = Store.open(tmp_path, create=True).set(toy_info(), TOY, create=True)
    random = np.random.default_rng(0)
    tables = [random.normal(size=(4, 4)).astype(np.float32) for _ in range(4)]
    measure(fzset, *tables)
    block_on, up_on, input_on, down_on = tables
    both = [
        up_on[d, c] > max(block_on[d, c], 0) and down_on[c, d] > max(input_on[c, d], 0)
        for c, d in itertools.permutations(range(4), 2)
    ]
    share = present(shuffled_pairs(fzset, "1.1")).shares["meets_both"]
    assert (share.k, share.n) == (sum(both), 12)
    assert share.low < share.share < share.high


def test_one_channel_has_nobody_to_be_paired_with(tmp_path: Path) -> None:
    fzset = Store.open(tmp_path, create=True).set(toy_info(), TOY, create=True)
    assert shuffled_pairs(fzset, "1.1") is None
    measure(fzset, [[1]], [[2]], [[1]], [[2]])
    assert shuffled_pairs(fzset, "1.1") is None


def test_a_row_read_from_a_retry_is_paired_by_the_fzs_of_its_retry(tmp_path: Path) -> None:
    fzset = Store.open(tmp_path, create=True).set(toy_info(), TOY, create=True)
    ones = np.ones((2, 2))
    measure(fzset, ones, 2 * ones, ones, 2 * ones, pre=[[-1] * 4, [1] * 4])
    assert {(s.k, s.n) for s in present(shuffled_pairs(fzset, "1.1")).shares.values()} == {(2, 2)}
    for tensor in ("in", "block"):
        # The first channel's FZs of the next seed excite `out`, but meet neither criterion with the other channel.
        plain, scaled = np.ones((1, 3, 4), dtype=np.float32), np.zeros((1, 3, 4), dtype=np.float32)
        fzset.commit_measures("1.1", tensor, [0], plain, scaled, retry=1)
    shares = present(shuffled_pairs(fzset, "1.1")).shares
    # (3) fails for FZ(I_0) with B_1, (4) for FZ(B_0) with I_1; the other direction still reads channel 1's FZs.
    assert {name: (s.k, s.n) for name, s in shares.items()} == {
        "meets_block": (1, 2),
        "meets_input": (1, 2),
        "meets_both": (0, 2),
    }


def test_shams_move_what_is_in_an_image_and_change_no_size() -> None:
    image = torch.zeros(1, 1, 12, 12)
    image[0, 0, 2, 3] = 1
    assert flip(image).nonzero().tolist() == [[0, 0, 2, 8]]
    assert quarter_turn(image).nonzero().tolist() == [[0, 0, 8, 2]]
    assert shift(image, 4).nonzero().tolist() == [[0, 0, 2, 1], [0, 0, 2, 7]]  # the reflection comes in from the left
    assert torch.equal(shift(image, 0), image)
    assert all(version(image).shape == image.shape for version in (flip, quarter_turn, lambda x: shift(x, 30)))


@pytest.fixture(scope="module")
def network() -> Network:
    return hand_set_network()


def test_a_shift_is_a_quarter_of_the_receptive_field(network: Network) -> None:
    image = torch.arange(64.0).expand(1, 3, 64, 64)
    # The stem sees 7 px, block 1.0 adds 2 * 2 * 4 px twice over; block 1.1 again as much.
    fields: dict[Tensor, int] = {"in": 23, "block": 39}
    for on, field in fields.items():
        assert network.info.fields[str(network.info.source("1.1", on))].size == field
        published = sham_versions(network.info, "1.1", on, "paper")["shift"]
        assert callable(published)
        assert published(image)[0, 0, 0, 40] == 40 - round(field / 4)
        centred = sham_versions(network.info, "1.1", on, "centred")["shift"]
        assert isinstance(centred, Resampling)
        [unmoved] = [column for column in centred.columns if column[40].max() == 1]
        assert unmoved[40].argmax() == 40 - round(field / 4)


def test_centred_shams_are_about_the_centre_of_the_receptive_field(network: Network) -> None:
    # c is at 32 of 64 px: pixel 0 has nothing on the other side of it.
    assert network.info.field_of(Target("1.1", "block")).centre == 32
    image = np.zeros((64, 64))
    image[30, 35] = 1
    versions = sham_versions(network.info, "1.1", "block", "centred")
    expected = {"flip": (30, 29), "quarter turn": (29, 30)}
    for name, place in expected.items():
        version = versions[name]
        assert isinstance(version, Resampling)
        source = image.T if version.transposed else image
        i, j = version.pairs[len(version.pairs) // 2]  # about c itself
        moved = version.rows[i] @ source @ version.columns[j].T
        assert np.unravel_index(moved.argmax(), moved.shape) == place


def test_a_blob_that_is_scale_invariant_is_not_so_under_shams(network: Network, tmp_path: Path) -> None:
    fzset = drawn_set(tmp_path, network)
    real = build_frame(network.info, fzset, ["1.1"]).rows([SCALE_INVARIANT])[0]
    assert (real["meets_block"], real["meets_input"]) == (True, True)
    assert sham_shares(fzset, "1.1") == []
    assert compute_shams(network, fzset, "1.1") == 2 * len(CHANNELS)
    assert compute_shams(network, fzset, "1.1") == 0
    found = {null.null: null for null in sham_shares(fzset, "1.1")}
    assert list(found) == [f"sham: {name}" for name in SHAM_TRANSFORMS]
    alone = drawn_set(tmp_path / "alone", network, channels=(SCALE_INVARIANT,))
    compute_shams(network, alone, "1.1")
    criteria = ("meets_block", "meets_input", "meets_both", "scale_invariant")
    for null in sham_shares(alone, "1.1"):
        counts = {name: (share.k, share.n) for name, share in null.shares.items()}
        if null.null != "sham: shift":
            # The drawing is its own mirror image, so nothing rises above what it was.
            assert counts == dict.fromkeys(criteria, (0, 1))
        assert (counts["scale_invariant"], null.real["scale_invariant"].k) == ((0, 1), real["scale_invariant"])


def test_all_that_is_stored_is_read_and_what_is_not_is_left_out(network: Network, tmp_path: Path) -> None:
    store = Store.open(tmp_path, create=True)
    store.register(network.info)
    assert read_nulls(store, network.info, KEY, "1.1") is None
    fzset = drawn_set(tmp_path, network)
    found = present(read_nulls(store, network.info, KEY, "1.1"))
    assert [null.null for null in found.nulls] == ["shuffled pairs"]
    assert found.seeds is None

    compute_shams(network, fzset, "1.1")
    name = untrained_name(network.info.name, 3)
    copy = dataclasses.replace(network, info=dataclasses.replace(network.info, name=name, fingerprint="cd" * 32))
    drawn_set(tmp_path, copy, channels=(1, 2))
    drawn_set(tmp_path, network, key=dataclasses.replace(KEY, seed=1))
    found = present(read_nulls(store, network.info, KEY, "1.1"))
    names = ["shuffled pairs", "sham: flip", "sham: quarter turn", "sham: shift", "untrained copy 3"]
    assert [null.null for null in found.nulls] == names
    assert found.nulls[-1].shares["meets_both"].n == 2
    # The other seed's FZs are the very same drawings: every verdict is the same.
    defined = found.real["meets_mix"].n
    seeds = present(found.seeds)
    assert (seeds.seeds, seeds.same_update.k, seeds.same_update.n) == (2, defined, defined)
    assert (seeds.holds_again.k, seeds.holds_again.n) == (found.real["scale_invariant"].k,) * 2
    assert (seeds.appears.k, seeds.appears.n) == (0, defined - found.real["scale_invariant"].k)


def test_agreement_over_seeds_is_counted_as_on_paper(tmp_path: Path) -> None:
    store = Store.open(tmp_path, create=True)
    yes, no = (2.0, 2.0), (0.0, 2.0)  # of (3) and (4), the plain activation being 1
    # By seed, for channels 0 to 2: O(FZ(I)) with O(FZ(B)) = 1, and whether (3) and (4) hold.
    seeds: list[list[tuple[float, tuple[float, float]]]] = [
        [(1, yes), (1, no), (3, yes)],
        [(1, yes), (1, yes), (3, yes)],
        [(3, yes), (0.1, yes), (2, no)],
    ]
    for seed, rows in enumerate(seeds):
        fzset = store.set(toy_info(), dataclasses.replace(TOY, seed=seed), create=True)
        for tensor in ("in", "block"):
            plain, scaled = np.ones((3, 3, 4), dtype=np.float32), np.ones((3, 3, 4), dtype=np.float32)
            for channel, (m, (up, down)) in enumerate(rows):
                plain[channel, 2] = m if tensor == "in" else 1
                scaled[channel] = up if tensor == "in" else down
            fzset.commit_measures("1.1", tensor, [0, 1, 2], plain, scaled)
    found = present(present(read_nulls(store, toy_info(), TOY, "1.1")).seeds)
    assert found.seeds == 3
    # Updates of seed 0: mix, mix, skip. The others agree once, once and twice of two.
    assert (found.same_update.k, found.same_update.n) == (4, 6)
    # Channel 0 is scale invariant, with seed 1 again and not with seed 2; of the others channel 1 is with seed 1.
    assert (found.holds_again.k, found.holds_again.n) == (1, 2)
    assert (found.appears.k, found.appears.n) == (1, 4)


def test_an_activation_that_is_not_finite_leaves_its_pairs_out(tmp_path: Path) -> None:
    fzset = Store.open(tmp_path, create=True).set(toy_info(), TOY, create=True)
    block_on = np.array(BLOCK_ON, dtype=float)
    block_on[0] = np.nan  # FZ(I_0) itself is beyond floats
    measure(fzset, block_on, UP_ON, INPUT_ON, DOWN_ON)
    found = present(shuffled_pairs(fzset, "1.1"))
    assert {name: (s.k, s.n) for name, s in found.shares.items()} == {
        "meets_block": (1, 4),
        "meets_input": (3, 6),
        "meets_both": (1, 4),
    }
    assert (found.real["meets_block"].k, found.real["meets_block"].n) == (1, 2)
