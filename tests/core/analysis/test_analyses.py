"""Spectrum, shares, skip weights, inhibition and comparison of sets, on frames whose answers are known on paper."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from streamscope.core.analysis.comparison import compare_sets
from streamscope.core.analysis.overwrite import inhibition
from streamscope.core.analysis.skip_weights import skip_weight_correlations
from streamscope.core.analysis.spectrum import BY_BOTH, BY_FZ, BY_MEI, shares, spectrum, top_mixes
from streamscope.core.errors import UsageError
from streamscope.core.measures import criteria
from streamscope.core.table.frame import Frame
from tests.support.frames import small_frame
from tests.support.stores import toy_info

FINGERPRINT = "ab" * 32


def frame_of(block: str, **columns: list[Any]) -> Frame:
    count = len(next(iter(columns.values())))
    given: dict[str, list[Any]] = {
        "block": [block] * count,
        "channel": list(range(count)),
        "fingerprint": [FINGERPRINT] * count,
    }
    return small_frame(**{**given, **columns})


def with_columns(frame: Frame, **columns: list[Any]) -> Frame:
    return Frame({**frame.columns, **{name: np.array(values, dtype=float) for name, values in columns.items()}})


def joined(*frames: Frame) -> Frame:
    return Frame({name: np.concatenate([f.columns[name] for f in frames]) for name in frames[0].columns})


def test_spectrum_counts_each_block() -> None:
    one = frame_of("1.1", mix_ratio=[0.1, 0.3, 5.0, None], update=["overwrite", "overwrite", "skip", ""])
    two = frame_of("2.0", mix_ratio=[1.0, 1.2], update=["mix", "mix"])
    frame = with_columns(joined(one, two), fz_seed=[0, 0, 0, 0, 0, math.nan])
    first, second = spectrum(frame)
    assert (first.block, first.channels, first.computed, first.undefined) == ("1.1", 4, 4, 1)
    assert first.counts[:2] == (1, 1)
    assert first.counts[-1] == 1
    assert sum(first.counts) == 3
    assert len(first.edges) == len(first.counts) + 1
    assert (second.mix, second.skip, second.overwrite, second.counts[4]) == (2, 0, 0, 2)


def test_a_bin_that_a_bound_divides_is_counted_by_kind_as_its_channels_are() -> None:
    m = [0.1, 0.55, 2 / 3, 0.67, 0.7, 0.74, 1.49, 1.5, 1.6, 5.0]
    (found,) = spectrum(frame_of("1.1", mix_ratio=m, update=criteria.update_kind(m).tolist()))
    stacks = {place: stack for place, stack in enumerate(found.stacks) if sum(stack)}
    assert stacks == {0: (1, 0, 0), 2: (2, 3, 0), 5: (0, 1, 0), 6: (0, 0, 2), 19: (0, 0, 1)}
    assert np.sum(found.stacks, axis=0).tolist() == [found.overwrite, found.mix, found.skip] == [3, 4, 3]


def test_shares_by_fz_count_known_verdicts_with_and_without_the_mix_criterion() -> None:
    frame = frame_of(
        "2.1",
        meets_mix=[1, 1, 0, 0, None],
        meets_block=[1, 0, 1, 0, 1],
        meets_input=[1, 1, 1, 0, None],
        scale_invariant=[1, 0, 0, 0, None],
    )
    found = {(s.by, s.mix): s.proportion for s in shares(frame)}
    assert (found[BY_FZ, True].k, found[BY_FZ, True].n) == (1, 4)
    assert (found[BY_FZ, False].k, found[BY_FZ, False].n) == (2, 4)
    for by in (BY_MEI, BY_BOTH):
        assert found[by, True].n == 0


def test_shares_by_both_need_both_verdicts() -> None:
    frame = with_columns(frame_of("2.1", scale_invariant=[1, 1, 0, 1]), mei_scale_invariant=[1, 0, 1, math.nan])
    found = {(s.by, s.mix): s.proportion for s in shares(frame)}
    assert (found[BY_MEI, True].k, found[BY_MEI, True].n) == (2, 3)
    assert (found[BY_BOTH, True].k, found[BY_BOTH, True].n) == (1, 3)
    assert found[BY_BOTH, True].low < 1 / 3 < found[BY_BOTH, True].high


def test_top_mixes_are_nearest_to_one() -> None:
    frame = frame_of("2.1", mix_ratio=[0.2, 1.3, None, 0.9, 1.05, 5.0])
    assert top_mixes(frame, 3).tolist() == [4, 3, 1]
    assert top_mixes(frame, 99).tolist() == [4, 3, 1, 0, 5]


def test_skip_weights_are_those_of_simple_blocks_other_than_the_last() -> None:
    m = [0.5, 1.0, 1.5, 4.0]
    weights = {"bn_weight": [4, 3, 2, 1], "conv_weight": [1, 2, 4, 3], "effective_gain": [1, 2, 3, 4]}
    frame = joined(
        frame_of("1.0", mix_ratio=m, **weights),
        frame_of("1.1", mix_ratio=m, **weights),
        frame_of("2.0", mix_ratio=m, **weights),
    )
    found = {(c.block, c.weight): c.correlation for c in skip_weight_correlations(toy_info(), frame)}
    assert {block for block, _ in found} == {"1.0", "1.1"}
    assert found["1.1", "bn_weight"].rho == pytest.approx(-1)
    assert found["1.1", "effective_gain"].rho == pytest.approx(1)
    expected = stats.spearmanr(weights["conv_weight"], m)
    assert (found["1.1", "conv_weight"].rho, found["1.1", "conv_weight"].p) == pytest.approx(expected)


def test_the_last_block_has_no_skip_weights_even_when_it_is_simple() -> None:
    info = toy_info()
    last = dataclasses.replace(info.blocks[-1], kind="simple")
    info = dataclasses.replace(info, blocks=(*info.blocks[:-1], last))
    frame = frame_of("2.0", mix_ratio=[1, 2, 3], bn_weight=[1, 2, 3])
    assert skip_weight_correlations(info, frame) == []


def test_folded_batch_norms_leave_the_effective_gain_and_say_so() -> None:
    m = [0.5, 1.0, 1.5, 4.0]
    frame = frame_of("1.1", mix_ratio=m, bn_weight=[1] * 4, conv_weight=[1, 2, 3, 4], effective_gain=[1, 2, 3, 4])
    found = {c.weight: c.correlation for c in skip_weight_correlations(toy_info(), frame)}
    assert math.isnan(found["bn_weight"].rho)
    assert found["bn_weight"].reason == "every |gamma| of the last BN is 1; are the batch norms folded?"
    assert found["effective_gain"].rho == pytest.approx(1)
    assert found["effective_gain"].reason == ""


def test_inhibition_groups_are_split_at_a_mix_ratio_of_one() -> None:
    m = [0.2, 0.9, 0.5, 1.0, 2.0, 3.0]
    values = [-3.0, -1.0, -2.0, 1.0, 2.0, 3.0, 99.0]
    block_on_in, rho = inhibition(frame_of("2.1", mix_ratio=[*m, None], block_on_in=values))
    assert block_on_in.groups.means == (-2.0, 2.0)
    assert block_on_in.groups.sizes == (3, 3)
    assert pytest.approx(stats.f_oneway(values[:3], values[3:6]).statistic) == block_on_in.groups.F
    assert block_on_in.correlation.rho == pytest.approx(stats.spearmanr(values[:6], m).statistic)
    assert (rho.quantity, rho.correlation.n, rho.groups.sizes) == ("rho", 0, (0, 0))


def test_comparison_counts_changed_kinds_and_verdicts_of_channels_that_both_sets_define() -> None:
    first = frame_of(
        "2.1",
        update=["mix", "mix", "skip", "overwrite", "", "mix"],
        scale_invariant=[1, 0, 0, 0, None, 0],
        mix_ratio=[1.0, 1.1, 2.0, 0.1, None, 1.2],
    )
    second = frame_of(
        "2.1",
        update=["mix", "overwrite", "mix", "overwrite", "mix", ""],
        scale_invariant=[0, 0, 1, 0, 1, None],
        mix_ratio=[1.2, 0.5, 1.4, 0.1, 1.0, None],
    )
    (change,) = compare_sets(first, second)
    assert (change.update.k, change.update.n) == (2, 4)
    assert (change.verdict.k, change.verdict.n) == (2, 4)
    assert change.transitions == ((1, 0, 0), (1, 1, 0), (0, 1, 0))
    assert change.median_shift == pytest.approx(0.4)
    assert change.mix_ratio.n == 4


def test_comparison_tells_channels_whose_fz_never_moved_apart() -> None:
    first = frame_of("2.1", update=["mix", "mix", "skip", "mix"], flags=[None, None, None, "in: never positive"])
    second = frame_of(
        "2.1",
        update=["skip", "skip", "skip", "skip"],
        flags=["block: no gradient", None, "in: never positive; block: no gradient", None],
    )
    (change,) = compare_sets(first, second)
    assert (change.update.k, change.update.n) == (3, 4)
    assert (change.update_with_gradient.k, change.update_with_gradient.n) == (2, 2)


def test_comparison_pairs_rows_by_channel_and_blocks_by_name() -> None:
    first = joined(frame_of("1.1", update=["mix"]), frame_of("2.1", update=["mix", "skip", "overwrite"]))
    second = frame_of("2.1", channel=[2, 0], update=["overwrite", "skip"])
    (change,) = compare_sets(first, second)
    assert (change.block, change.update.k, change.update.n) == ("2.1", 1, 2)


def test_sets_of_other_weights_are_not_compared() -> None:
    with pytest.raises(UsageError, match="different weights"):
        compare_sets(frame_of("2.1", update=["mix"]), frame_of("2.1", update=["mix"], fingerprint=["cd" * 32]))
