"""The analyses of a report as tables: what `streamscope.core.analysis` finds, a row a finding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple

import numpy as np
from numpy.typing import ArrayLike

from streamscope.core.analysis.ablation import sets_count
from streamscope.core.analysis.comparison import KINDS, SetChange, compare_sets
from streamscope.core.analysis.null_shares import CRITERIA
from streamscope.core.analysis.overwrite import QUANTITIES, inhibition
from streamscope.core.analysis.skip_weights import WEIGHTS, skip_weight_correlations
from streamscope.core.analysis.spectrum import shares, spectrum, top_mixes
from streamscope.core.measures.ablation import Ratio
from streamscope.core.measures.statistics import Proportion
from streamscope.core.report import lacking
from streamscope.core.report.material import Material, Pair
from streamscope.core.report.tables import Field, Table, frame_table, make_table, with_missing
from streamscope.core.store.ablations import Ablation
from streamscope.core.table.columns import Value
from streamscope.core.table.frame import HISTOGRAM_EDGES, top_scale_invariant

TOP_COLUMNS = (
    "block",
    "channel",
    "mix_ratio",
    "update",
    "scale_metric",
    "block_gain",
    "input_gain",
    "scale_invariant",
    "robust",
    "rho",
    "marked",
    "tags",
    "note",
)

_PROPORTION = (
    Field("n", "channels whose verdict is known"),
    Field("share", "of them", "percent"),
    Field("low", "lower end of the 95 % Wilson interval", "percent"),
    Field("high", "upper end", "percent"),
)


def blocks_table(material: Material) -> Table:
    fields = (
        Field("block", "block, 2.1 for layer2.1"),
        Field("kind", "simple (identity shortcut) or downsample (conv + BN shortcut)"),
        Field("receptive_field", "receptive field of the centre neuron of out, px"),
        Field("channels", "channels of the block"),
        Field("computed", "channels whose FZ(I) and FZ(B) are measured"),
        Field("overwrite", "M <= 1/1.5"),
        Field("mix", "1/1.5 < M < 1.5"),
        Field("skip", "M >= 1.5"),
        Field("undefined", "neither FZ excites out"),
    )
    found = {s.block: s for s in spectrum(material.frame)}
    rows: list[Sequence[object]] = []
    for block in material.blocks:
        s = found[block.name]
        area = material.info.fields.get(f"{block.name}.out") or material.info.fields.get(f"{block.name}.block")
        size = area.size if area else None
        rows.append((block.name, block.kind, size, s.channels, s.computed, s.overwrite, s.mix, s.skip, s.undefined))
    return make_table("blocks", "Update kinds", fields, rows)


def spectrum_table(material: Material) -> Table:
    fields = (
        Field("block", "block"),
        Field("from", "lower end of the bin of M, inclusive"),
        Field("to", "upper end, exclusive (5 itself is in the last bin)"),
        Field("channels", "channels in the bin"),
    )
    rows = [
        (s.block, low, high, count)
        for s in spectrum(material.frame)
        for low, high, count in zip(HISTOGRAM_EDGES, HISTOGRAM_EDGES[1:], s.counts, strict=False)
    ]
    return make_table("spectrum", "Histogram of M", fields, rows)


def shares_table(material: Material) -> Table:
    fields = (
        Field("block", "block"),
        Field("by", "verdict by FZ, by MEI (real images), or both"),
        Field("mix", "whether the mix criterion (2) is asked for, beside (3) and (4)"),
        Field("invariant", "channels that meet the criteria"),
        *_PROPORTION,
    )
    rows = [(s.block, s.by, s.mix, *_proportion(s.proportion)) for s in shares(material.frame)]
    return make_table("shares", "Scale-invariant channels", fields, rows)


def top_mixes_table(material: Material, count: int) -> Table:
    rows = top_mixes(material.frame, count)
    return with_missing(_top("top_mixes", "Channels that mix most evenly", material, rows), lacking.no_fzs(material))


def top_scale_table(material: Material, count: int) -> Table:
    rows = top_scale_invariant(material.frame, count)
    known = (~np.isnan(material.frame["scale_invariant"])).any()
    why = "no channel of these blocks meets all scale criteria" if known else lacking.no_fzs(material)
    return with_missing(_top("top_scale", "Scale-invariant channels by scale metric", material, rows), why)


def skip_weights_table(material: Material) -> Table:
    fields = (
        Field("block", "block"),
        Field("weight", "skip weight", words=WEIGHTS),
        Field("rho", "Spearman's rho of the weight against M"),
        Field("p", "two-sided p"),
        Field("n", "channels"),
        Field("reason", "why there is no rho"),
    )
    rows = [
        (s.block, s.weight, s.correlation.rho, s.correlation.p, s.correlation.n, s.correlation.reason)
        for s in skip_weight_correlations(material.info, material.measured)
    ]
    why = "skip weights are studied in simple blocks other than the last one; none of them is measured here"
    return make_table("skip_weights", "Skip weights against M", fields, rows, why)


def inhibition_table(material: Material) -> Table:
    fields = (
        Field("block", "block"),
        Field("quantity", "; ".join(f"{name}: {what}" for name, what in QUANTITIES.items()), words=QUANTITY_WORDS),
        Field("mean_below", "mean over channels with M < 1"),
        Field("n_below", "how many those are"),
        Field("mean_above", "mean over channels with M >= 1"),
        Field("n_above", "how many those are"),
        Field("F", "one-way ANOVA of the two groups"),
        Field("p", "its p"),
        Field("rho", "Spearman's rho against M"),
        Field("rho_p", "its p"),
        Field("n", "channels"),
        Field("reason", "why there is no F or rho"),
    )
    rows = []
    for found in inhibition(material.measured):
        if found.quantity == "rho" and material.scan is None:
            continue
        below, above = ((found.groups.means[i], found.groups.sizes[i]) for i in (0, 1))
        c = found.correlation
        reason = found.groups.reason or c.reason
        rows.append(
            (found.block, found.quantity, *below, *above, found.groups.F, found.groups.p, c.rho, c.p, c.n, reason)
        )
    return make_table("inhibition", "Overwrite inhibition", fields, rows, lacking.no_fzs(material))


def nulls_table(material: Material) -> Table:
    fields = (
        Field("block", "block"),
        Field("null", "what takes the place of the real thing"),
        Field("criterion", "; ".join(f"{name}: {what}" for name, what in CRITERIA.items()), words=CRITERIA),
        Field("real_k", "channels that really meet it"),
        Field("real_n", "of how many"),
        Field("real_share", "share that really meet it", "percent"),
        Field("null_k", "channels, or pairs of channels, that meet it under the null"),
        Field("null_n", "of how many"),
        Field("null_share", "share that meet it under the null", "percent"),
        Field("null_low", "lower end of its 95 % Wilson interval", "percent"),
        Field("null_high", "upper end", "percent"),
        Field("p", "share of pairings that do at least as well as the real one (shuffled pairs only)"),
        Field("real_only", "channels that meet it really, and not under the null"),
        Field("null_only", "channels that meet it under the null alone"),
        Field("paired_p", "exact McNemar test of these two, two-sided, where the null is of the same channels"),
        Field("difference", "real share less that under the null", "percent"),
        Field("difference_low", "lower end of its 95 % interval", "percent"),
        Field("difference_high", "upper end", "percent"),
        Field("excess_p", "McNemar's p; of an untrained copy Fisher's; of shuffled pairs that of random pairings"),
        Field("holm_p", "corrected by Holm for the nulls of the block that this criterion is tested against"),
        Field("seeds", "seeds that verdicts over seeds are from"),
    )
    rows = []
    for block, nulls in material.nulls.items():
        for null in nulls.nulls:
            for criterion, share in null.shares.items():
                real = null.real[criterion]
                found = (real.k, real.n, real.share, *_proportion(share), null.p.get(criterion, np.nan))
                paired = null.paired.get(criterion)
                test = (np.nan,) * 3 if paired is None else (paired.first_only, paired.second_only, paired.p)
                excess = null.excess.get(criterion)
                more = (np.nan,) * 4 if excess is None else astuple(excess)
                corrected = nulls.holm.get((null.null, criterion), np.nan)
                rows.append((block, null.null, criterion, *found, *test, *more, corrected, null.seeds))
    return make_table(
        "nulls", "How often the criteria hold where they should mean nothing", fields, rows, lacking.no_fzs(material)
    )


AGREEMENT_WORDS = {
    "same_update": "the same update again",
    "holds_again": "scale invariant, and again",
    "appears": "not scale invariant, but then",
}
QUANTITY_WORDS = {"block_on_in": "B(FZ(I))", "rho": "rho of B against I"}
AGREEMENTS = ("same_update", "holds_again", "appears")
"""Of `streamscope.core.analysis.nulls.SeedAgreement`."""


def seeds_table(material: Material) -> Table:
    fields = (
        Field("block", "block"),
        Field("seeds", "FZ seeds stored, at most"),
        Field(
            "of",
            "same_update: another seed says the same update kind; holds_again: a scale-invariant channel is so with "
            "another seed; appears: one that is not, is with another seed",
            words=AGREEMENT_WORDS,
        ),
        Field("k", "pairs of a channel and another seed"),
        *_PROPORTION,
    )
    rows = []
    for block, nulls in material.nulls.items():
        if nulls.seeds is not None:
            for of in AGREEMENTS:
                rows.append((block, nulls.seeds.seeds, of, *_proportion(getattr(nulls.seeds, of))))
    return make_table("seeds", "How often verdicts hold with other FZ seeds", fields, rows, lacking.no_seeds(material))


def comparison_table(material: Material) -> Table:
    fields = (
        Field("differ", "what the two sets differ in"),
        Field("first", "protocol, capture or seed of this report's set"),
        Field("second", "of the other"),
        Field("block", "block"),
        Field("of", "update: kind of update differs; verdict: scale invariant in one set only"),
        Field("changed", "channels that change"),
        Field("n", "channels that both sets have"),
        *_PROPORTION[1:],
        Field("rho", "Spearman's rho of M in the one set against M in the other"),
        Field("median_shift", "median |difference of M|"),
    )
    rows = []
    for pair, first, second, changes in _pairs(material):
        for change in changes:
            for of, proportion in (("update", change.update), ("verdict", change.verdict)):
                m = (change.mix_ratio.rho, change.median_shift) if of == "update" else (None, None)
                rows.append((pair.sets.differ, first, second, change.block, of, *_proportion(proportion), *m))
    return make_table("comparison", "What changes between sets", fields, rows, lacking.no_pair(material))


def transitions_table(material: Material) -> Table:
    fields = (
        Field("differ", "what the two sets differ in"),
        Field("first", "protocol, capture or seed of this report's set"),
        Field("second", "of the other"),
        Field("block", "block"),
        Field("update_first", "kind of update in this report's set"),
        *(Field(kind, f"channels of which it is {kind} in the other") for kind in KINDS),
    )
    rows = []
    for pair, first, second, changes in _pairs(material):
        for change in changes:
            for kind, counts in zip(KINDS, change.transitions, strict=True):
                rows.append((pair.sets.differ, first, second, change.block, kind, *counts))
    return make_table("transitions", "From one kind of update to another", fields, rows, lacking.no_pair(material))


def ablation_table(name: str, ablation: Ablation) -> Table:
    """One ablation, a row a zoom."""
    ratios = {
        "chosen_to_intact": "accuracy with the chosen channels ablated over the intact one's",
        "controls_to_intact": "mean accuracy with a control set ablated over the intact one's",
        "chosen_to_controls": "accuracy with the chosen channels ablated over that with a control set ablated",
        "chosen_to_random": "accuracy with the chosen channels ablated over that with a random set ablated",
    }
    fields = (
        Field("zoom", "s; a side of int(side * (2 - s)) px is cut out and resized back"),
        Field("true_zoom", "side over the side that is cut out"),
        Field("images", "images"),
        Field("intact", "accuracy of the whole network", "percent"),
        Field("intact_low", "lower end of its 95 % Wilson interval", "percent"),
        Field("intact_high", "upper end", "percent"),
        Field("chosen", "accuracy with the chosen channels ablated", "percent"),
        Field("chosen_low", "lower end", "percent"),
        Field("chosen_high", "upper end", "percent"),
        Field("controls", "mean accuracy over the matched control sets", "percent"),
        Field("controls_min", "of the worst control set", "percent"),
        Field("controls_max", "of the best", "percent"),
        Field(
            "controls_at_or_below",
            "control sets that harm as much as the chosen channels, or more; empty where the sets are nearly one",
        ),
        Field("random", "mean accuracy over the random sets", "percent"),
        Field("random_min", "of the worst random set", "percent"),
        Field("random_max", "of the best", "percent"),
        Field("random_at_or_below", "random sets that harm as much as the chosen channels, or more"),
        *(
            Field(f"{ratio}{end}", f"{what}{', 95 % bootstrap interval' if end else ''}")
            for ratio, what in ratios.items()
            for end in ("", "_low", "_high")
        ),
    )
    counted = sets_count(ablation)
    rows: list[Sequence[object]] = []
    for z in ablation.zooms:
        rows.append(
            (
                *(z.zoom, z.true_zoom, z.intact.n),
                *(z.intact.share, z.intact.low, z.intact.high),
                *(z.chosen.share, z.chosen.low, z.chosen.high),
                *_accuracies(z.controls, z.controls_at_or_below if counted else None),
                *_accuracies(z.random, z.random_at_or_below),
                *(end for name in ratios for end in _ratio(getattr(z, name))),
            )
        )
    count = len(ablation.channels)
    title = f"Block {ablation.block}, {count} channels ({ablation.selected}), {ablation.images:,} images"
    return make_table(name, title, fields, rows)


def tuning_summary(material: Material, tuning: Mapping[str, Table]) -> Table:
    """Medians over channels of each block's curves; `tuning` has the table of every block's channels."""
    fields = (
        Field("block", "block"),
        Field("source", "on FZs, or on MEIs"),
        Field("on", "of which tensor those are"),
        Field("read", "whose centre activation it is"),
        Field("channels", "scale invariant by FZ, or all others with a verdict"),
        Field("n", "channels whose curve is positive somewhere"),
        Field("invariance", "median invariance"),
        Field("half_width", "median half-width, octaves"),
    )
    rows: list[tuple[Value, ...]] = []
    for block, table in tuning.items():
        verdict = dict(
            zip(material.rows[block]["channel"], material.rows[block]["scale_invariant"].tolist(), strict=True)
        )
        found: dict[tuple[Value, ...], list[tuple[float, float]]] = {}
        for values in table.rows:
            named = dict(zip(table.columns, values, strict=True))
            holds = verdict.get(named["channel"], np.nan)
            if named["invariance"] is None or np.isnan(holds):
                continue
            group = "scale invariant" if holds else "others"
            key: tuple[Value, ...] = (block, named["source"], named["on"], named["read"], group)
            found.setdefault(key, []).append((float(named["invariance"]), float(named["half_width"] or 0)))
        for key in sorted(found, key=lambda key: [str(part) for part in key]):
            rows.append((*key, len(found[key]), *np.median(np.array(found[key]), axis=0).tolist()))
    return make_table("tuning", "Scale tuning, by block", fields, rows, lacking.no_curves(material))


def _pairs(material: Material) -> Iterator[tuple[Pair, str, str, list[SetChange]]]:
    """Each pair, what its first and second set have of what they differ in, and the blocks that both have."""
    for pair in material.pairs:
        changes = [change for change in compare_sets(pair.first, pair.second) if change.update.n]
        yield pair, pair.own, pair.other, changes


def _top(name: str, title: str, material: Material, rows: ArrayLike) -> Table:
    return frame_table(name, title, material.frame, rows, TOP_COLUMNS)


def _accuracies(sets: Sequence[Proportion], at_or_below: int | None) -> tuple[object, ...]:
    """Mean, lowest and highest accuracy of sets, and in how many it is as low; None where there are no sets."""
    if not sets:
        return None, None, None, None
    shares = [found.share for found in sets]
    return float(np.mean(shares)), min(shares), max(shares), at_or_below


def _ratio(found: Ratio | None) -> tuple[object, ...]:
    return (None, None, None) if found is None else (found.value, found.low, found.high)


def _proportion(found: Proportion) -> tuple[float, ...]:
    """k, n, share, low, high."""
    return found.k, found.n, found.share, found.low, found.high
