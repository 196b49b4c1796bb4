"""The figure of a block's evidence: each channel by its FZs and by photographs, the pairs that mean nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from streamscope.core.analysis.evidence import Evidence
from streamscope.core.measures.photographs import EXCEEDED
from streamscope.core.model.arrays import Float64Array
from streamscope.core.model.blocks import format_channels
from streamscope.core.report.figures import COLOURS, new_figure

DRAWN_PAIRS = 2000
"""Pairs that are drawn, at most: the caption counts them all."""


@dataclass(frozen=True)
class Style:
    face: str
    edge: str
    width: float


VERDICTS = {
    "no": Style("#d9d9d9", "#9a9a9a", 0.6),
    "undecided": Style("white", "#333333", 0.9),
    "yes": Style(COLOURS["skip"], "black", 0.6),
}
"""How a channel of each verdict is drawn, those behind first: told apart by lightness, without any colour."""
MARKERS: dict[Literal["o", "D"], bool] = {"o": False, "D": True}
"""By whether photographs call the channel scale invariant."""
WORDS = {"yes": "scale invariant", "no": "not scale invariant", "undecided": "undecided"}
_PAIRS = "#555555"
_SIZE, _PAIR_SIZE = 30, 4
_AROUND = ((1, 1), (1, -1), (-1, 1), (-1, -1), (1.6, 0), (-1.6, 0), (0, 1.6), (0, -1.6))
"""Where a label may stand about its point, in label heights, the best first."""


def evidence_figure(evidence: Evidence) -> Figure:
    """Both statistics of each channel before those of pairs; of a block without photographs that by FZs alone."""
    return _plane(evidence) if evidence.photographed else _strip(evidence)


def evidence_caption(evidence: Evidence) -> str:
    """What the figure shows, with all numbers that it is of: for people who see it, and for those who do not."""
    shown = evidence.shown
    counts = {verdict: shown & evidence.verdict(verdict) for verdict in VERDICTS}
    seeds = ", ".join(map(str, evidence.seeds))
    by = f"FZs ({len(evidence.seeds)} seed{'s' * (len(evidence.seeds) != 1)}: {seeds})"
    if evidence.photographed:
        by += f" and by photographs ({evidence.images:,} images)"
    yes, no, undecided = (np.flatnonzero(counts[verdict]) for verdict in ("yes", "no", "undecided"))
    named = f": {format_channels(yes.tolist())}" if len(yes) else ""
    text = (
        f"Scale invariance of {int(shown.sum())} of the {evidence.block.channels} channels of {evidence.block.name}, "
        f"by {by}. Numbered: {len(yes)} that the seeds decide for{named}; pale: {len(no)} decided against; hollow: "
        f"{len(undecided)} undecided."
    )
    if evidence.photographed:
        invariant = shown & (evidence.rows["photo_invariant"] == 1)
        text += f" Diamonds: {int(invariant.sum())} that photographs alone call scale invariant."
        unseen = np.flatnonzero(~np.isnan(evidence.fz) & np.isnan(evidence.photo))
        if len(unseen):
            text += f" Not shown: {len(unseen)} that too few images excite, or whose patches are not read."
    return f"{text} {_pairs_text(evidence)}"


def _pairs_text(evidence: Evidence) -> str:
    count = int(evidence.known_pairs.sum())
    if not count:
        return "There are no pairs to compare with."
    text = f"Grey: {count:,} pairs of one channel's I with another's B"
    if count > DRAWN_PAIRS and evidence.photographed:
        text += f", {DRAWN_PAIRS:,} of them drawn"
    beyond, pairs = evidence.beyond
    shown = int(evidence.shown.sum())
    both = "both" if evidence.photographed else "it"
    return (
        f"{text}; dotted: what {EXCEEDED:.0%} of them stay below. Beyond {both}: {int(beyond.sum())} of {shown} "
        f"channels ({beyond.sum() / max(shown, 1):.1%}) and {pairs:.1%} of the pairs."
    )


def _drawn_pairs(evidence: Evidence) -> NDArray[np.int64]:
    """Which pairs are drawn: all, or some of them by chance, the same every time."""
    known = np.flatnonzero(evidence.known_pairs)
    return np.random.default_rng(0).permutation(known)[:DRAWN_PAIRS]


def _plane(evidence: Evidence) -> Figure:
    figure = new_figure(5.0)
    ax = figure.subplots()
    pairs = _drawn_pairs(evidence)
    ax.scatter(evidence.pairs_fz[pairs], evidence.pairs_photo[pairs], s=_PAIR_SIZE, color=_PAIRS, alpha=0.3, lw=0)
    across, up = evidence.points
    ax.axvline(across, color=_PAIRS, lw=0.8, ls=":")
    ax.axhline(up, color=_PAIRS, lw=0.8, ls=":")
    shown = evidence.shown
    _draw_channels(ax, evidence, shown, evidence.fz, evidence.photo)
    _limit(ax.set_xlim, evidence.fz[shown], evidence.pairs_fz[pairs])
    _limit(ax.set_ylim, evidence.photo[shown], evidence.pairs_photo[pairs])
    ax.set_xlabel(_fz_label(evidence))
    ax.set_ylabel("by photographs: smaller of both preferences\n(standard deviations)")
    ax.set_title(_title(evidence, "Evidence of scale invariance"), loc="left")
    figure.legend(handles=_handles(evidence), loc="outside upper center", ncols=3, fontsize=7.5)
    _label(figure, ax, shown, evidence.verdict("yes"), evidence.fz, evidence.photo)
    return figure


def _strip(evidence: Evidence) -> Figure:
    figure = new_figure(3.6)
    histogram, ax = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1.6))
    pairs = evidence.pairs_fz[evidence.known_pairs]
    shown = evidence.shown
    _limit(ax.set_xlim, evidence.fz[shown], pairs)
    if len(pairs):
        histogram.hist(pairs, bins=60, range=ax.get_xlim(), color="#bbbbbb", label="pairs")
        for both in (histogram, ax):
            both.axvline(evidence.points[0], color=_PAIRS, lw=0.8, ls=":")
    histogram.set_ylabel("pairs")
    histogram.set_title(_title(evidence, "Scale invariance by FZs"), loc="left")
    heights = np.full(len(shown), np.nan)
    for height, verdict in enumerate(VERDICTS):
        rows = np.flatnonzero(shown & evidence.verdict(verdict))
        # Spread within its row, so that points on each other show.
        heights[rows] = height + 0.5 * (np.arange(len(rows)) * 0.618 % 1 - 0.5)
    _draw_channels(ax, evidence, shown, evidence.fz, heights)
    ax.set_yticks(range(len(VERDICTS)), [WORDS[verdict].replace(" scale", "\nscale") for verdict in VERDICTS])
    ax.set_ylim(-0.5, len(VERDICTS) - 0.4)
    ax.set_xlabel(_fz_label(evidence))
    _label(figure, ax, shown & ~np.isnan(heights), evidence.verdict("yes"), evidence.fz, heights)
    return figure


def _title(evidence: Evidence, what: str) -> str:
    """With how many there are of each, for a figure that has lost its caption."""
    counts = f"{int(evidence.shown.sum())} channels, {int(evidence.known_pairs.sum()):,} pairs"
    return f"{what}, {evidence.block.name}: {counts}"


def _fz_label(evidence: Evidence) -> str:
    seeds = len(evidence.seeds)
    mean = f"; mean of {seeds} seeds" if seeds > 1 else ""
    return f"by FZs: smaller of block gain and input gain\n(in activations on the channel's own FZ{mean})"


def _draw_channels(ax: Axes, evidence: Evidence, shown: NDArray[np.bool_], x: Float64Array, y: Float64Array) -> None:
    invariant = evidence.rows["photo_invariant"] == 1
    for verdict, style in VERDICTS.items():
        for marker, photographed in MARKERS.items():
            rows = np.flatnonzero(shown & evidence.verdict(verdict) & (invariant == photographed))
            ax.scatter(
                x[rows],
                y[rows],
                s=_SIZE * (0.8 if photographed else 1),
                marker=marker,
                facecolor=style.face,
                edgecolor=style.edge,
                linewidth=style.width,
                zorder=3,
            )


def _handles(evidence: Evidence) -> list[Line2D]:
    """What the legend says: of verdicts, of the other marker, of pairs."""

    def handle(label: str, marker: Literal["o", "D"], face: str, edge: str, size: float) -> Line2D:
        return Line2D(
            [],
            [],
            linestyle="",
            label=label,
            marker=marker,
            markerfacecolor=face,
            markeredgecolor=edge,
            markersize=size,
        )

    side = _SIZE**0.5
    found = [handle(WORDS[verdict], "o", style.face, style.edge, side) for verdict, style in reversed(VERDICTS.items())]
    if (evidence.rows["photo_invariant"] == 1).any():
        found.append(handle("invariant by photographs", "D", "none", "#333333", 0.9 * side))
    pairs = handle("pairs (null)", "o", _PAIRS, "none", _PAIR_SIZE**0.5 + 1)
    return [*found, pairs, Line2D([], [], color=_PAIRS, lw=0.8, ls=":", label=f"{EXCEEDED:.0%} of pairs")]


def _limit(set_limits: Callable[[float, float], object], own: Float64Array, pairs: Float64Array) -> None:
    """Room for all channels and all but a thousandth of the pairs at either end."""
    ends = np.concatenate([own, np.quantile(pairs, [0.001, 0.999]) if len(pairs) else own[:0]])
    if not len(ends):
        return
    margin = 0.06 * max(float(np.ptp(ends)), 1e-6)
    set_limits(float(ends.min()) - margin, float(ends.max()) + margin)


def _label(
    figure: Figure, ax: Axes, shown: NDArray[np.bool_], named: NDArray[np.bool_], x: Float64Array, y: Float64Array
) -> None:
    """Names channels by number, each where it covers least of the points and labels that are there."""
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    points = ax.transData.transform(np.column_stack([x, y]))
    taken = [Bbox.from_bounds(px - 3, py - 3, 6, 6) for px, py in points[shown].tolist()]
    channels = np.flatnonzero(shown & named)
    for channel in channels[np.argsort(-y[channels], kind="stable")].tolist():
        px, py = points[channel].tolist()
        text = ax.annotate(str(channel), (x[channel], y[channel]), xytext=(0, 0), textcoords="offset points")
        text.set(fontsize=7, ha="center", va="center", zorder=4, color="black")
        box = text.get_window_extent()
        places = [_place(px, py, box, dx, dy) for dx, dy in _AROUND]
        best = min(range(len(places)), key=lambda n: sum(_overlap(places[n], other) for other in taken))
        _move(text, places[best], px, py, figure.dpi)
        taken.append(places[best])


def _place(px: float, py: float, box: Bbox, dx: float, dy: float) -> Bbox:
    """A label's box about a point, all in display pixels."""
    reach = 4 + box.height / 2
    cx, cy = px + dx * (reach + (box.width - box.height) / 2 * (dx != 0)) * 0.8, py + dy * reach * 0.8
    return Bbox.from_bounds(cx - box.width / 2, cy - box.height / 2, box.width, box.height)


def _move(text: Annotation, box: Bbox, px: float, py: float, dpi: float) -> None:
    to_points = 72 / dpi
    text.xyann = ((box.x0 + box.x1) / 2 - px) * to_points, ((box.y0 + box.y1) / 2 - py) * to_points


def _overlap(one: Bbox, other: Bbox) -> float:
    shared = Bbox.intersection(one, other)
    return shared.width * shared.height if shared is not None else 0.0
