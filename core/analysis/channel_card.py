"""Everything that is known for and against the scale invariance of one channel, a finding a line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from streamscope.core.analysis.evidence import FALSE_DISCOVERIES, Evidence
from streamscope.core.measures import criteria
from streamscope.core.measures.criteria import UPDATE_BOUND
from streamscope.core.measures.photographs import CONFIDENCE, EXCEEDED, Preferences, preferences
from streamscope.core.model.blocks import Tensor
from streamscope.core.store.ablations import Ablation
from streamscope.core.store.sets.fz_set import FZSet
from streamscope.core.store.sets.readings import ALTERED, Readings
from streamscope.core.table.columns import number_text

Speaks = Literal["for", "against", ""]
_LETTER = {"in": "I", "block": "B"}
_ALTERED_NAMES = {"in": ("S(FZ(I))", "S(S-(FZ(I)))", "S-(FZ(I))"), "block": ("S-(FZ(B))", "S(S-(FZ(B)))", "S(FZ(B))")}
"""The FZs of a tensor scaled, blurred and scaled the other way, in the order of `ALTERED`."""


@dataclass(frozen=True)
class Finding:
    """One thing that is known of a channel: its value, what it stands beside, and whether it speaks for or against."""

    topic: str
    what: str
    value: float | int | bool | str | None
    beside: str
    speaks: Speaks = ""

    @property
    def text(self) -> str:
        return number_text(self.value)


def channel_card(
    evidence: Evidence, channel: int, sets: Sequence[FZSet], ablations: Sequence[Ablation]
) -> list[Finding]:
    """What is known of a channel: `sets` are its own first, then those of other seeds; nothing unknown is in it."""
    return [
        *_by_fzs(evidence, channel),
        *_by_seeds(evidence, channel, sets),
        *_by_photographs(evidence, channel),
        *_by_meis(evidence, channel),
        *_by_ablation(evidence, channel, ablations),
    ]


def _by_fzs(evidence: Evidence, channel: int) -> Iterator[Finding]:
    topic, v, rows = "FZs", evidence.readings.values, evidence.rows
    m = float(rows["mix_ratio"][channel])
    if not np.isnan(m):
        said = f"{rows['update'][channel]}; scale invariance needs {1 / UPDATE_BOUND:.3f} to {UPDATE_BOUND:g}"
        yield Finding(topic, "(2) M", m, said, _speaks(evidence.tests["(2)"][channel]))
    ways: tuple[tuple[Tensor, str, str, str], ...] = (
        ("in", "(3)", "block_gain", "block_on_in"),
        ("block", "(4)", "input_gain", "in_on_block"),
    )
    for on, number, gain, plain in ways:
        read = "B" if on == "in" else "I"
        scaled, blurred, reversed_ = (float(v[name][channel]) for name in ALTERED[on])
        base = float(v[plain][channel])
        if np.isnan([scaled, base]).any():
            continue
        names = _ALTERED_NAMES[on]
        said = f"{read}({names[0]}) {number_text(scaled)} beside {read}(FZ({_LETTER[on]})) {number_text(base)}"
        value = _known(rows[gain][channel])
        yield Finding(
            topic, f"{number} {gain.replace('_', ' ')}", value, said, _speaks(evidence.tests[number][channel])
        )
        beyond = _known(rows[f"{gain}_beyond_blur"][channel])
        if not np.isnan(blurred):
            text = f"{read}({names[1]}) {number_text(blurred)}: the same size, half the band"
            yield Finding(topic, "  beyond blur", beyond, text, _side(scaled > max(blurred, base, 0)))
        if not np.isnan(reversed_):
            text = f"{read}({names[2]}), scaled the other way, beside {number_text(scaled)}"
            yield Finding(topic, "  reversed", reversed_, text, _side(scaled > reversed_))
        for sham, answers in evidence.shams[on].items():
            if not np.isnan(answers[channel]):
                value = float(answers[channel])
                text = f"{read} of the FZ so altered, beside {number_text(scaled)}"
                yield Finding(topic, f"  sham: {sham}", value, text, _side(scaled > value))
    yield from _beside_pairs(evidence, channel)


def _beside_pairs(evidence: Evidence, channel: int) -> Iterator[Finding]:
    own, pairs = evidence.fz[channel], evidence.pairs_fz[~np.isnan(evidence.pairs_fz)]
    if np.isnan(own) or not len(pairs):
        return
    seeds = f"mean of {len(evidence.seeds)} seeds" if len(evidence.seeds) > 1 else "one seed"
    said = f"{seeds}; above {np.mean(pairs < own):.1%} of {len(pairs):,} pairs"
    yield Finding("FZs", "smaller gain", float(own), said)
    q = float(evidence.rows["q"][channel])
    if not np.isnan(q):
        said = f"false discoveries among channels that stand out as far; for it up to {FALSE_DISCOVERIES:g}"
        yield Finding("FZs", "q", q, said, _speaks(evidence.tests["pairs"][channel]))


def _by_seeds(evidence: Evidence, channel: int, sets: Sequence[FZSet]) -> Iterator[Finding]:
    rows, topic = evidence.rows, "seeds"
    if rows["verdict"][channel]:
        said = (
            f"probability {number_text(float(rows['probability'][channel]))}; "
            f"{rows['agreement'][channel]:.0%} of the seeds stored ({int(rows['seeds'][channel])}) agree"
        )
        yield Finding(topic, "verdict", str(rows["verdict"][channel]), said, _speaks(evidence.tests["seeds"][channel]))
    for fzset in sets:
        v = Readings(fzset, [evidence.block]).values
        m = criteria.mix_ratio(v["out_on_in"][channel], v["out_on_block"][channel])
        block = criteria.meets_block(v["block_on_in_up"][channel], v["block_on_in"][channel])
        input_ = criteria.meets_input(v["in_on_block_down"][channel], v["in_on_block"][channel])
        invariant = criteria.scale_invariant(criteria.meets_mix(m), block, input_)
        if np.isnan(invariant):
            continue
        gains = (
            criteria.block_gain(v["block_on_in_up"], v["block_on_in"], v["block_on_block"])[channel],
            criteria.input_gain(v["in_on_block_down"], v["in_on_block"], v["in_on_in"])[channel],
        )
        said = f"M {number_text(float(m))}, gains {number_text(float(gains[0]))} and {number_text(float(gains[1]))}"
        yield Finding(topic, f"  seed {fzset.key.seed}", bool(invariant), f"scale invariant; {said}")


def _by_photographs(evidence: Evidence, channel: int) -> Iterator[Finding]:
    photographs, rows, topic = evidence.photographs, evidence.rows, "photographs"
    row = photographs.row_of(channel) if photographs is not None else None
    if photographs is None or row is None or np.isnan(rows["photo_images"][channel]):
        return
    images = int(rows["photo_images"][channel])
    block, in_ = preferences(photographs.readings)
    yield from _preference("B prefers I's patches larger", block, row, evidence.tests["photo B"][channel])
    yield from _preference("I prefers B's patches smaller", in_, row, evidence.tests["photo I"][channel])
    for name, what in (("photo_peak_block", "B on I's patches"), ("photo_peak_in", "I on B's patches")):
        if not np.isnan(octaves := float(rows[name][channel])):
            larger = name == "photo_peak_block"
            side = _side(octaves > 0 if larger else octaves < 0)
            yield Finding(topic, f"  {what} peaks at", octaves, "octaves from the patch's own size", side)
    for name, what in (("photo_width_in", "I on its own patches"), ("photo_width_out", "O on its own patches")):
        if not np.isnan(width := float(rows[name][channel])):
            yield Finding(topic, f"  half width of {what}", width, "octaves")
    beyond = rows["photo_beyond_blur"][channel]
    if not np.isnan(beyond):
        said = "photo_invariant, and more than patches blurred to the same band"
        yield Finding(topic, "beyond blur", bool(beyond), said, _speaks(beyond))
    yield Finding(topic, "images", images, "that the patches of I, or of B if fewer, come from")


def _preference(what: str, found: Preferences, row: int, holds: float) -> Iterator[Finding]:
    mean, one = float(found.mean[row]), found.against
    if np.isnan(mean):
        return
    interval = (
        f"{CONFIDENCE:.0%} interval {number_text(float(found.low[row]))} to {number_text(float(found.high[row]))}"
    )
    said = (
        f"deviations; {interval}; pairs {number_text(float(one.pairs_mean[row]))} on average, above "
        f"{one.exceeded[row]:.1%} of {int(one.pairs[row])} (for it from {EXCEEDED:.0%})"
    )
    yield Finding("photographs", what, mean, said, _speaks(holds))
    mates = int(one.mates[row])
    p = float(one.p[row])
    if np.isnan(p):
        yield Finding("photographs", "  p against mates", None, f"{mates} mates answer as strongly: too few")
    else:
        yield Finding("photographs", "  p against mates", p, f"{mates} other channels that answer as strongly")


def _by_meis(evidence: Evidence, channel: int) -> Iterator[Finding]:
    rows = evidence.rows
    names = {"mei_meets_mix": "(2)", "mei_meets_block": "(3)", "mei_meets_input": "(4)"}
    for column, name in names.items():
        holds = rows[column][channel]
        if not np.isnan(holds):
            said = f"with the {int(rows['mei_images'][channel])} images that excite it most"
            if name == "(2)":
                said = f"M {number_text(float(rows['mei_mix_ratio'][channel]))}, {said}"
            yield Finding("MEIs", name, bool(holds), said, _speaks(holds))
    if not np.isnan(rows["robust"][channel]):
        yield Finding("MEIs", "robust", bool(rows["robust"][channel]), "scale invariant by FZs and by MEIs")


def _by_ablation(evidence: Evidence, channel: int, ablations: Sequence[Ablation]) -> Iterator[Finding]:
    for ablation in ablations:
        if ablation.block != evidence.block.name or channel not in ablation.channels:
            continue
        zoom = ablation.zooms[-1]
        ratio = zoom.chosen_to_controls
        said = (
            f"accuracy with {len(ablation.channels)} channels ({ablation.selected}) ablated over that with matched "
            f"controls, {number_text(ratio.low)} to {number_text(ratio.high)}, {zoom.true_zoom:.2f} times enlarged, "
            f"{ablation.images:,} images"
        )
        yield Finding("ablation", "one of those ablated", _known(ratio.value), said)


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _side(holds: bool) -> Speaks:
    return "for" if holds else "against"


def _speaks(holds: float) -> Speaks:
    return "" if np.isnan(holds) else _side(bool(holds))
