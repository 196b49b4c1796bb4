"""The table over a real store whose activations are chosen so that every column is known on paper."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamscope.core.errors import UsageError
from streamscope.core.model.blocks import Block, Field, ModelInfo, SkipWeights, Target
from streamscope.core.model.fz import NO_FLAG, Flag, FZBatch
from streamscope.core.model.recipe import Recipe, SetKey
from streamscope.core.store import FZSet, Judgement, Marks, Store
from streamscope.core.table.columns import COLUMNS, DEFAULT_COLUMNS, column, near_names, number_text, parse_columns
from streamscope.core.table.frame import build_frame, summarise, top_scale_invariant, with_marks
from tests.support.frames import small_frame

CONTRACT = (
    "model, fingerprint, block, kind, channel, mix_ratio, update, out_on_in, out_on_block, out_on_out, in_on_in, "
    "in_on_block, in_on_out, block_on_in, block_on_block, block_on_out, block_on_in_up, in_on_block_down, block_gain, "
    "input_gain, scale_metric, meets_mix, meets_block, meets_input, scale_invariant, robust, bn_weight, conv_weight, "
    "rho, marked, tags, note, late_rise, steps, seed, capture, images, status"
)
INFO = ModelInfo(
    name="tiny",
    fingerprint="ab" * 32,
    input_size=8,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    blocks=(
        Block("1.0", "simple", 4, None),
        Block("1.1", "simple", 4, "1.0"),
        Block("2.0", "downsample", 6, "1.1"),
    ),
    default_blocks=("1.1", "2.0"),
    default_recipe=Recipe(steps=16),
    weights={"2.0": SkipWeights((1.0, 2.0, 3.0, 4.0, 5.0, 6.0), (0.5,) * 6, (0.25,) * 6)},
)
KEY = SetKey(Recipe(steps=16), seed=3)
FIELDS = {f"{block.name}.{tensor}": Field(0, 8, 7, 4.0) for block in INFO.blocks for tensor in ("in", "block", "out")}
WITH_FIELDS = dataclasses.replace(INFO, fields=FIELDS)
NAN = float("nan")


@pytest.fixture
def fzset(tmp_path: Path) -> FZSet:
    return Store.open(tmp_path / "cache", create=True).set(INFO, KEY, create=True)


def measure(
    fzset: FZSet,
    block: str,
    tensor: Any,
    read: dict[int, tuple[float, float, float]],
    scaled: dict[int, float] | None = None,
    blurred: dict[int, float] | None = None,
    retry: int = 0,
) -> None:
    """Commits (in, block, out) of each channel on its own FZ; every other channel reads 99, which no row may show."""
    channels = list(read)
    plain = np.full((len(channels), 3, INFO.block(block).channels), 99, dtype=np.float32)
    again, other = np.full_like(plain, 99), np.full_like(plain, 99)
    for row, channel in enumerate(channels):
        plain[row, :, channel] = read[channel]
        again[row, 1 if tensor == "in" else 0, channel] = (scaled or {}).get(channel, 0.0)
        other[row, 1 if tensor == "in" else 0, channel] = (blurred or {}).get(channel, 0.0)
    further = {} if blurred is None else {"blurred": other, "reversed": other}
    fzset.commit_measures(block, tensor, channels, plain, None if tensor == "out" else again, retry, further)


def visualise(
    fzset: FZSet,
    target: Target,
    rises: dict[int, float],
    flags: dict[int, Flag] | None = None,
    retry: int = 0,
) -> None:
    """Commits FZs whose activation ends at 1 and gained the given share in the last quarter."""
    channels = list(rises)
    traces = np.stack([np.where(np.arange(32) < 24, 1 - rises[c], 1.0) for c in channels]).astype(np.float32)
    images = np.zeros((len(channels), 8, 8, 3), dtype=np.uint8)
    marks = tuple((flags or {}).get(c, NO_FLAG) for c in channels)
    batch = FZBatch(target, tuple(channels), images, np.ones(len(channels)), traces, marks)
    fzset.commit_fzs(batch, {"device": "cpu"}, retry)


def test_columns_are_the_contract_in_its_order() -> None:
    names = tuple(c.name for c in COLUMNS)
    contract = tuple(CONTRACT.split(", "))
    assert names[: len(contract)] == contract
    assert len(set(names)) == len(names)
    assert all(c.help for c in COLUMNS)


def test_default_columns_fit_eighty_characters() -> None:
    assert sum(column(name).width + 1 for name in DEFAULT_COLUMNS) <= 80


def test_nothing_computed_gives_every_channel_of_the_default_blocks_with_empty_fields() -> None:
    frame = build_frame(INFO, None, [], None)
    assert len(frame) == 10
    assert frame["block"].tolist() == ["1.1"] * 4 + ["2.0"] * 6
    assert frame["channel"].tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 4, 5]
    first, *_, last = frame.rows(range(10))
    filled = {"model": "tiny", "fingerprint": "ab" * 32, "block": "1.1", "kind": "simple", "channel": 0}
    assert {k: v for k, v in first.items() if v is not None} == {**filled, "status": "missing in,block"}
    weights = {"bn_weight": 6.0, "conv_weight": 0.5, "effective_gain": 0.25}
    filled = {**filled, "block": "2.0", "kind": "downsample", "channel": 5}
    assert {k: v for k, v in last.items() if v is not None} == {**filled, **weights, "status": "missing in,block"}


def test_blocks_come_in_stream_order_and_an_unknown_one_is_named() -> None:
    assert dict.fromkeys(build_frame(INFO, None, ["2.0", "1.0"])["block"].tolist()) == {"1.0": None, "2.0": None}
    with pytest.raises(UsageError, match=r"unknown block '9\.9'; tiny has 1\.0, 1\.1, 2\.0"):
        build_frame(INFO, None, ["9.9"])


def test_each_measured_column_is_what_it_is_on_paper(fzset: FZSet) -> None:
    measure(fzset, "2.0", "in", {0: (4, 1, 6)}, {0: 3})
    measure(fzset, "2.0", "block", {0: (0.5, 8, 5)}, {0: 2.5})
    measure(fzset, "2.0", "out", {0: (7, 9, 16)})
    visualise(fzset, Target("2.0", "in"), {0: 0.125})
    visualise(fzset, Target("2.0", "block"), {0: 0.25})
    row = build_frame(INFO, fzset, ["2.0"]).rows([0])[0]
    assert row == {
        "model": "tiny",
        "fingerprint": "ab" * 32,
        "block": "2.0",
        "kind": "downsample",
        "channel": 0,
        "mix_ratio": 1.2,  # 6 / 5
        "update": "mix",
        "out_on_in": 6.0,
        "out_on_block": 5.0,
        "out_on_out": 16.0,
        "in_on_in": 4.0,
        "in_on_block": 0.5,
        "in_on_out": 7.0,
        "block_on_in": 1.0,
        "block_on_block": 8.0,
        "block_on_out": 9.0,
        "block_on_in_up": 3.0,
        "in_on_block_down": 2.5,
        "block_gain": 0.25,  # (3 - 1) / 8
        "input_gain": 0.5,  # (2.5 - 0.5) / 4
        "scale_metric": 0.75,
        "meets_mix": True,
        "meets_block": True,  # 3 > 1
        "meets_input": True,  # 2.5 > 0.5
        "scale_invariant": True,
        "robust": None,
        "bn_weight": 1.0,
        "conv_weight": 0.5,
        "rho": None,
        "marked": None,
        "tags": None,
        "note": None,
        "late_rise": 0.25,  # the larger
        "steps": 16,
        "seed": 3,
        "capture": "exact",
        "images": None,
        "status": "ok",
        "fz_seed": 3,
        "effective_gain": 0.25,
        "flags": None,
        "rho_p": None,
        "rho_images": None,
        "mei_mix_ratio": None,
        "mei_meets_mix": None,
        "mei_meets_block": None,
        "mei_meets_input": None,
        "mei_scale_invariant": None,
        "mei_images": None,
        "seeds": 1,
        "stable_update": None,
        "stable_scale_invariant": None,
        "protocol": "paper",
        "block_on_in_blur": None,
        "in_on_block_blur": None,
        "block_gain_beyond_blur": None,
        "input_gain_beyond_blur": None,
        "beyond_blur": None,
        "agreement": 1.0,
        # The smallest margin is that of M: 2.03 units above 0, where a seed varies by .8 of one.
        "probability": pytest.approx(0.992, abs=1e-3),
        "verdict": "yes",
        "seeds_mix_ratio": 1.2,
        "seeds_update": "mix",
        # A mean of log 1.2 known to sqrt(.95) of the usual noise of a seed, .11: it is below log 1.5 by 2.08 of that.
        "update_probability": pytest.approx(0.9814, abs=1e-4),
        "q": None,
        "photo_peak_in": None,
        "photo_peak_block": None,
        "photo_block_larger": None,
        "photo_in_smaller": None,
        "photo_p_block": None,
        "photo_p_in": None,
        "photo_width_in": None,
        "photo_width_out": None,
        "photo_images": None,
        "photo_invariant": None,
        "photo_pairs_block": None,
        "photo_pairs_in": None,
        "photo_mates_block": None,
        "photo_mates_in": None,
        "photo_block_low": None,
        "photo_in_low": None,
        "photo_beyond_blur": None,
        "not_applicable": None,
    }


def test_beyond_blur_is_what_it_is_on_paper(tmp_path: Path) -> None:
    key = SetKey(Recipe(steps=16), seed=3, protocol="centred")
    centred = Store.open(tmp_path / "cache", create=True).set(WITH_FIELDS, key, create=True)
    measure(centred, "2.0", "in", {0: (4, 1, 6), 1: (4, 1, 6), 2: (4, 1, 6)}, {0: 3, 1: 3, 2: 3}, {0: 2, 1: 3, 2: 0.5})
    measure(centred, "2.0", "block", {0: (0.5, 8, 5), 1: (0.5, 8, 5)}, {0: 2.5, 1: 2.5}, {0: 1.5, 1: 0})
    names = ("protocol", "block_on_in_blur", "in_on_block_blur", "block_gain_beyond_blur", "input_gain_beyond_blur")
    rows = build_frame(WITH_FIELDS, centred, ["2.0"]).rows([0, 1, 2], (*names, "scale_invariant", "beyond_blur"))
    assert [tuple(row.values()) for row in rows] == [
        ("centred", 2.0, 1.5, 0.125, 0.25, True, True),  # (3 - 2) / 8, (2.5 - 1.5) / 4
        ("centred", 3.0, 0.0, 0.0, 0.5, True, False),  # blurring does as much; (2.5 - 0.5) / 4
        ("centred", 0.5, None, None, None, None, None),  # B(FZ(B)) is not known yet
    ]


def test_a_row_read_from_a_retry_has_nothing_blurred_of_the_fzs_before(tmp_path: Path) -> None:
    key = SetKey(Recipe(steps=16), seed=3, protocol="centred")
    centred = Store.open(tmp_path / "cache", create=True).set(WITH_FIELDS, key, create=True)
    for tensor in ("in", "block"):
        measure(centred, "1.1", tensor, {0: (1, 1, -1)}, {0: 2}, {0: 7})
        measure(centred, "1.1", tensor, {0: (1, 1, 1)}, {0: 2}, retry=1)
    row = build_frame(WITH_FIELDS, centred, ["1.1"]).rows([0])[0]
    assert (row["fz_seed"], row["scale_invariant"]) == (4, True)
    assert (row["block_on_in_blur"], row["beyond_blur"]) == (None, None)


def test_channels_land_in_their_rows_whatever_the_order_and_batches_they_came_in(fzset: FZSet) -> None:
    measure(fzset, "2.0", "in", {4: (1, 1, 3), 1: (1, 1, 2)})
    measure(fzset, "2.0", "in", {2: (1, 1, 4)})
    measure(fzset, "2.0", "block", {1: (1, 1, 2), 2: (1, 1, 2), 4: (1, 1, -2)})
    frame = build_frame(INFO, fzset, ["2.0"])
    np.testing.assert_array_equal(frame["mix_ratio"], [NAN, 1, 2, NAN, 5, NAN])
    assert frame["update"].tolist() == ["", "mix", "skip", "", "skip", ""]


def test_status_names_the_missing_fz_and_out_is_not_needed(fzset: FZSet) -> None:
    measure(fzset, "2.0", "in", {0: (1, 1, 1), 1: (1, 1, 1)})
    measure(fzset, "2.0", "block", {0: (1, 1, 1), 2: (1, 1, 1)})
    measure(fzset, "2.0", "out", {3: (1, 1, 1)})
    frame = build_frame(INFO, fzset, ["2.0"])
    assert frame["status"].tolist() == [
        "ok",
        "missing block",
        "missing in",
        "missing in,block",
        "missing in,block",
        "missing in,block",
    ]
    np.testing.assert_array_equal(frame["out_on_out"], [NAN, NAN, NAN, 1, NAN, NAN])
    np.testing.assert_array_equal(frame["fz_seed"], [3, NAN, NAN, NAN, NAN, NAN])
    np.testing.assert_array_equal(frame["mix_ratio"], [1, NAN, NAN, NAN, NAN, NAN])


def test_a_criterion_that_needs_one_fz_only_is_known_before_the_other_exists(fzset: FZSet) -> None:
    measure(fzset, "2.0", "in", {0: (1, 1, 1)}, {0: 2})
    row = build_frame(INFO, fzset, ["2.0"]).rows([0])[0]
    assert (row["meets_block"], row["meets_input"], row["scale_invariant"]) == (True, None, None)


def test_fz_of_in_of_a_simple_block_is_the_out_of_the_block_before(fzset: FZSet) -> None:
    visualise(fzset, Target("1.0", "out"), {0: 0.5}, {0: "no gradient"})
    visualise(fzset, Target("1.1", "block"), {0: 0.25, 1: 0.25}, {0: "never positive", 1: "non-finite"})
    frame = build_frame(INFO, fzset, ["1.1"])
    assert frame["flags"].tolist() == ["in: no gradient; block: never positive", "block: non-finite", "", ""]
    np.testing.assert_array_equal(frame["late_rise"], [0.5, NAN, NAN, NAN])  # unknown until both are stored


def test_late_rise_of_one_fz_counts_when_the_other_has_none(fzset: FZSet) -> None:
    visualise(fzset, Target("2.0", "in"), {0: 0.5})
    images, trace = np.zeros((1, 8, 8, 3), dtype=np.uint8), np.full((1, 32), -1.0)
    fzset.commit_fzs(FZBatch(Target("2.0", "block"), (0,), images, trace[:, -1], trace, ("never positive",)), {})
    assert build_frame(INFO, fzset, ["2.0"])["late_rise"][0] == 0.5


def test_an_undefined_row_is_read_from_the_retry_that_defines_it(fzset: FZSet) -> None:
    measure(fzset, "1.1", "in", {0: (1, -3, -2), 1: (1, 1, 8)}, {0: 7, 1: 7})
    measure(fzset, "1.1", "block", {0: (-3, 1, -2), 1: (1, 1, 4)}, {0: 7, 1: 7})
    measure(fzset, "1.1", "out", {0: (5, 5, 10)})
    measure(fzset, "1.1", "in", {0: (2, 1, 3)}, {0: 5}, retry=1)
    measure(fzset, "1.1", "block", {0: (1, 4, 2)}, {0: 6}, retry=1)
    visualise(fzset, Target("1.0", "out"), {0: 0.0, 1: 0.0}, {0: "never positive"})
    visualise(fzset, Target("1.1", "block"), {0: 0.0, 1: 0.0})
    visualise(fzset, Target("1.0", "out"), {0: 0.5}, retry=1)
    visualise(fzset, Target("1.1", "block"), {0: 0.25}, retry=1)
    frame = build_frame(INFO, fzset, ["1.1"])
    assert frame["mix_ratio"][:2].tolist() == [1.5, 2.0]
    assert frame["fz_seed"][:2].tolist() == [4, 3]
    assert frame["seed"][:2].tolist() == [3, 3]
    assert frame["block_gain"][0] == 1.0  # (5 - 1) / 4
    assert frame["input_gain"][0] == 2.5  # (6 - 1) / 2
    assert frame["out_on_out"][0] == 10.0  # FZ(O) is the shared one still
    assert frame["late_rise"][:2].tolist() == [0.5, 0.0]
    assert frame["flags"][0] == ""
    assert frame["status"][:2].tolist() == ["ok", "ok"]


def test_a_row_still_undefined_after_both_retries_says_so_with_seeds_and_flags(fzset: FZSet) -> None:
    for retry in range(3):
        measure(fzset, "1.1", "in", {0: (1, 1, -1 - retry)}, retry=retry)
        measure(fzset, "1.1", "block", {0: (1, 1, -1)}, retry=retry)
    visualise(fzset, Target("1.0", "out"), {0: 0.0}, {0: "no gradient"}, retry=2)
    frame = build_frame(INFO, fzset, ["1.1"])
    assert frame["status"][0] == "undefined: neither FZ excites out (seeds 3, 4, 5; in: no gradient)"
    assert frame["out_on_in"][0] == -3
    assert frame["fz_seed"][0] == 5
    assert np.isnan(frame["mix_ratio"][0])
    assert frame["update"][0] == ""
    assert np.isnan(frame["scale_invariant"][0])


def test_a_retry_counts_only_when_both_its_fzs_are_measured_and_those_before_it_were(fzset: FZSet) -> None:
    measure(fzset, "1.1", "in", {0: (1, 1, -1), 1: (1, 1, -1)})
    measure(fzset, "1.1", "block", {0: (1, 1, -1), 1: (1, 1, -1)})
    measure(fzset, "1.1", "in", {0: (1, 1, 4)}, retry=1)  # FZ(B) not there yet
    measure(fzset, "1.1", "in", {1: (1, 1, 4)}, retry=2)  # the first retry is not there yet
    measure(fzset, "1.1", "block", {1: (1, 1, 4)}, retry=2)
    frame = build_frame(INFO, fzset, ["1.1"])
    assert frame["status"][:2].tolist() == ["undefined: neither FZ excites out (seed 3)"] * 2
    assert frame["out_on_in"][:2].tolist() == [-1, -1]


def test_activations_that_are_not_finite_leave_a_row_undefined_with_that_reason(fzset: FZSet) -> None:
    measure(fzset, "2.0", "in", {0: (1, 1, NAN)})
    measure(fzset, "2.0", "block", {0: (1, 1, 1)})
    row = build_frame(INFO, fzset, ["2.0"]).rows([0])[0]
    assert row["status"] == "undefined: an activation is not finite (seed 3)"
    assert row["mix_ratio"] is None


def test_summary_counts_updates_and_places_m_in_its_bins(fzset: FZSet) -> None:
    # M = 0.25, 5 (O(FZ(B)) negative), 1, undefined; channel 4 lacks FZ(B), channel 5 both
    measure(
        fzset,
        "2.0",
        "in",
        {0: (1, 1, 1), 1: (1, 1, 1), 2: (1, 1, 4), 3: (1, 1, -4), 4: (1, 1, 1)},
        {0: 2, 1: 2, 2: 2, 3: 2, 4: 2},
    )
    measure(fzset, "2.0", "block", {0: (1, 1, 4), 1: (1, 1, -4), 2: (1, 1, 4), 3: (1, 1, -4)}, {0: 2, 1: 2, 2: 2, 3: 2})
    summaries = summarise(build_frame(INFO, fzset, ["1.1", "2.0"]))
    assert list(summaries) == ["1.1", "2.0"]
    empty, found = summaries.values()
    assert (empty.channels, empty.computed, sum(empty.histogram)) == (4, 0, 0)
    assert (found.channels, found.computed, found.undefined) == (6, 4, 1)
    assert (found.skip, found.mix, found.overwrite, found.scale_invariant) == (1, 1, 1, 1)
    assert len(found.histogram) == 20
    assert {n: count for n, count in enumerate(found.histogram) if count} == {1: 1, 4: 1, 19: 1}


def test_marks_go_to_their_rows_and_replace_earlier_ones() -> None:
    plain = build_frame(INFO, None, ["1.1", "2.0"], None)
    frame = build_frame(
        INFO,
        None,
        ["1.1", "2.0"],
        {("2.0", 1): Judgement("keep", ("edge", "top"), "a note"), ("9.9", 0): Judgement("keep")},
    )
    assert frame.rows([5], ["block", "channel", "marked", "tags", "note"]) == [
        {"block": "2.0", "channel": 1, "marked": "keep", "tags": "edge top", "note": "a note"}
    ]
    assert (frame["marked"] != "").sum() == 1
    again = with_marks(frame, {("1.1", 0): Judgement("reject")})
    assert [(int(r), again["marked"][r]) for r in np.flatnonzero(again["marked"] != "")] == [(0, "reject")]
    assert again["mix_ratio"] is frame["mix_ratio"]
    assert (plain["marked"] == "").all()
    assert (frame["marked"] == "keep").sum() == 1


def test_marks_may_come_as_the_journals_themselves(tmp_path: Path) -> None:
    marks = Marks(tmp_path, INFO.fingerprint)
    marks.mark("1.1", [2, 3], "unsure")
    marks.tag("1.1", [2], add=["edge", "blue"])
    marks.note("1.1", 2, "look again")
    rows = build_frame(INFO, None, ["1.1"], marks).rows([1, 2, 3], ["marked", "tags", "note"])
    assert [tuple(row.values()) for row in rows] == [
        (None, None, None),
        ("unsure", "blue edge", "look again"),
        ("unsure", None, None),
    ]


def test_a_frame_cannot_be_changed() -> None:
    frame = build_frame(INFO, None, ["1.1"])
    with pytest.raises(ValueError, match="read-only"):
        frame["mix_ratio"][0] = 1.0


@pytest.mark.parametrize(
    ("descending", "expected"),
    [(False, [3, 1, 4, 0, 5, 2, 6]), (True, [0, 5, 1, 4, 3, 2, 6])],
)
def test_numbers_sort_stably_with_empty_ones_last_both_ways(descending: bool, expected: list[int]) -> None:
    frame = small_frame(mix_ratio=[2.0, 1.0, None, 0.0, 1.0, 2.0, None])
    assert frame.order("mix_ratio", descending).tolist() == expected


@pytest.mark.parametrize(("descending", "expected"), [(False, [1, 3, 0, 4, 2]), (True, [0, 4, 1, 3, 2])])
def test_truths_sort_false_before_true_with_empty_ones_last(descending: bool, expected: list[int]) -> None:
    frame = small_frame(scale_invariant=[1, 0, None, 0, 1])
    assert frame.order("scale_invariant", descending).tolist() == expected


@pytest.mark.parametrize(("descending", "expected"), [(False, [2, 4, 1, 0, 3]), (True, [0, 1, 2, 4, 3])])
def test_text_sorts_stably_by_the_numbers_in_it_with_empty_last(descending: bool, expected: list[int]) -> None:
    frame = small_frame(block=["3.10", "3.9", "2.1", "", "2.1"])
    assert frame.order("block", descending).tolist() == expected


def test_text_sorts_without_regard_to_case_and_takes_any_characters() -> None:
    frame = small_frame(note=["b", "A", "9" * 5000, "é", "a²", "\ud800", "a"])
    assert frame.order("note").tolist() == [2, 1, 6, 4, 0, 3, 5]


def test_sorting_an_empty_frame_or_by_an_empty_column_changes_nothing() -> None:
    frame = small_frame(channel=[1, 2, 3])
    assert frame.order("rho", descending=True).tolist() == [0, 1, 2]
    assert frame.order("note").tolist() == [0, 1, 2]
    assert frame.take([]).order("note").tolist() == []


def test_taking_rows_keeps_their_order_and_takes_masks() -> None:
    frame = small_frame(channel=[10, 11, 12])
    assert frame.take([2, 0])["channel"].tolist() == [12, 10]
    assert frame.take(np.array([False, True, True]))["channel"].tolist() == [11, 12]
    assert len(frame.take([])) == 0


def test_a_channel_is_found_in_the_frame_or_not() -> None:
    frame = build_frame(INFO, None, [])
    assert frame.row_of("2.0", 1) == 5
    assert frame.row_of("2.0", 6) is None


def test_rows_are_python_values_of_float32_precision() -> None:
    frame = small_frame(
        mix_ratio=[0.1, None, float("inf")], channel=[7, 8, None], meets_mix=[1, 0, None], tags=["a b", "", ""]
    )
    names = ["channel", "mix_ratio", "meets_mix", "tags"]
    rows = frame.rows([0, 1, 2], names)
    assert [list(row.values()) for row in rows] == [
        [7, 0.1, True, "a b"],
        [8, None, False, None],
        [None, None, None, None],
    ]
    assert [type(v) for v in rows[0].values()] == [int, float, bool, str]
    assert small_frame(rho=[np.float64(np.float32(0.1))]).rows([0], ["rho"]) == [{"rho": 0.1}]


def test_top_list_takes_scale_invariant_channels_only() -> None:
    frame = small_frame(scale_metric=[1.0, 9.0, 3.0, None, 2.0], scale_invariant=[1, 0, 1, 1, 1])
    assert top_scale_invariant(frame, 2).tolist() == [2, 4]
    assert top_scale_invariant(frame, 99).tolist() == [2, 4, 0]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mix_ration", "unknown column 'mix_ration'; did you mean mix_ratio, mei_mix_ratio or seeds_mix_ratio?"),
        ("Mix-Ratio", "unknown column 'Mix-Ratio'; did you mean mix_ratio?"),
        ("metric", "unknown column 'metric'; did you mean scale_metric?"),
    ],
)
def test_an_unknown_column_suggests_near_names(name: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        column(name)
    assert str(caught.value) == message
    with pytest.raises(UsageError, match="unknown column"):
        small_frame(channel=[1]).order(name)


def test_an_unknown_column_like_no_other_lists_all() -> None:
    with pytest.raises(UsageError, match="unknown column 'zzz'; columns are model, fingerprint, block, kind"):
        column("zzz")
    assert near_names("x" * 10_000, ["mix_ratio"]) == []


def test_a_column_list_is_read_in_its_order_and_checked() -> None:
    assert parse_columns("mix_ratio, block") == ("mix_ratio", "block")
    with pytest.raises(UsageError, match="column 'block' is named twice"):
        parse_columns("block,channel,block")
    with pytest.raises(UsageError, match="empty column name in 'block,,channel'"):
        parse_columns("block,,channel")
    with pytest.raises(UsageError, match="did you mean block"):
        parse_columns("blok")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (NAN, ""),
        (True, "true"),
        (np.bool_(False), "false"),
        (12, "12"),
        (np.int64(12), "12"),
        (0.0, "0.000"),
        (-0.0, "0.000"),
        (1.23456, "1.235"),
        (np.float32(0.1), "0.100"),
        (-0.0004, "-4.0e-04"),
        (0.0005, "0.001"),
        (999.94, "999.940"),
        (999.96, "1000.0"),
        (-12345.67, "-12345.7"),
        (99999.6, "1.00e+05"),
        (-1e300, "-1.00e+300"),
        (float("inf"), "inf"),
        ("skip", "skip"),
        ("two\nlines\x1b[31m", "two lines␛[31m"),
    ],
)
def test_fields_are_shown_short(value: object, text: str) -> None:
    assert number_text(value) == text
