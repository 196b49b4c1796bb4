"""Figures of a report, each as PNG and PDF. Every one says which model, weights, recipe and images it is of."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from streamscope.core.analysis.comparison import KINDS
from streamscope.core.analysis.overwrite import QUANTITIES
from streamscope.core.analysis.skip_weights import WEIGHTS
from streamscope.core.analysis.spectrum import BY_BOTH, BY_FZ, BY_MEI, spectrum
from streamscope.core.measures.criteria import MIX_MAX, UPDATE_BOUND
from streamscope.core.report.material import Pair
from streamscope.core.report.tables import Table
from streamscope.core.store.ablations import Ablation
from streamscope.core.store.files.disk_errors import writing
from streamscope.core.table.frame import HISTOGRAM_EDGES, Frame
from streamscope.core.text import visible

COLOURS = {"overwrite": "#d55e00", "mix": "#c99700", "skip": "#0072b2", "invariant": "#009e73", "other": "#777777"}
"""Okabe and Ito's, told apart by the colour-blind; the pages use the same."""
BY_COLOURS = {BY_FZ: COLOURS["skip"], BY_MEI: COLOURS["mix"], BY_BOTH: COLOURS["invariant"]}
WIDTH = 5.0
"""Inches: on a phone's screen, 9 point text stays readable."""
STYLE = Path(__file__).parent / "figures.mplstyle"


@dataclass(frozen=True)
class Drawn:
    """A figure of the report: `name` is its files' stem under `figures/`; `plot` that it has no pictures in it."""

    name: str
    caption: str
    plot: bool = True
    block: str = ""
    lines: tuple[str, ...] = ()
    """Its numbers in words, part by part, where the caption has not all of them."""

    @property
    def alt(self) -> str:
        """All that it shows, for those who cannot see it."""
        return " ".join([self.caption, *(f"{line}." for line in self.lines)])

    @property
    def png(self) -> str:
        return f"figures/{self.name}.png"

    @property
    def pdf(self) -> str:
        return f"figures/{self.name}.pdf"


def save(report: Path, drawn: Drawn, provenance: str, draw: Callable[[], Figure]) -> Drawn:
    """Draws a figure and writes its PNG and PDF, both with `provenance` under them. Raises StoreError."""
    folder = report / "figures"
    with mpl.rc_context(fname=STYLE), writing(folder):
        folder.mkdir(exist_ok=True)
        figure = _finished(draw(), provenance)
        for path in (drawn.png, drawn.pdf):
            figure.savefig(report / path, metadata=_metadata(Path(path).suffix, provenance))
    return drawn


def picture(kind: str, provenance: str, draw: Callable[[], Figure]) -> bytes:
    """A figure as a PNG, SVG or PDF file, with `provenance` under it."""
    content = io.BytesIO()
    # SVG names its parts by chance else.
    with mpl.rc_context(fname=STYLE), mpl.rc_context({"svg.hashsalt": "streamscope"}):
        _finished(draw(), provenance).savefig(content, format=kind, metadata=_metadata(f".{kind}", provenance))
    return content.getvalue()


def _finished(figure: Figure, provenance: str) -> Figure:
    """With its provenance, and laid out once, not again for each file and its size."""
    # The line is as long as a recipe and a folder's name make it.
    fits = figure.get_figwidth() * 72 / (0.56 * max(1, len(provenance)))
    figure.supxlabel(provenance, fontsize=min(6.0, max(3.5, fits)), color="#666666", x=0.01, ha="left")
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure


def _metadata(ending: str, provenance: str) -> dict[str, str | None]:
    """Of a file: where it is from, and nothing that differs every time."""
    said = visible(provenance)
    return {
        ".png": {"Software": None, "Description": said},
        ".pdf": {"CreationDate": None, "Subject": said},
        ".svg": {"Date": None, "Description": said},
    }[ending]


def new_figure(height: float, width: float = WIDTH) -> Figure:
    return Figure(figsize=(width, height), layout="constrained")


def spectrum_figure(frame: Frame) -> Figure:
    """Histograms of M, a panel a block."""
    found = spectrum(frame)
    columns = 1 if len(found) == 1 else 2
    rows = math.ceil(len(found) / columns)
    figure = new_figure(2.6 if len(found) == 1 else 1.6 * rows + 0.5)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    for ax, s in zip(axes, found, strict=False):
        _update_bands(ax)
        ax.bar(HISTOGRAM_EDGES[:-1], s.counts, width=0.25, align="edge", color="#444444", edgecolor="white", lw=0.4)
        ax.set_xlim(0, MIX_MAX)
        ax.set_title(f"{s.block} ({s.computed} of {s.channels} channels)", loc="left")
        ax.set_ylabel("channels")
        ax.set_xlabel("mix ratio M")
        ax.tick_params(labelbottom=True)
        if columns == 1:
            for kind, x in (("overwrite", 1 / 3), ("mix", (1 / UPDATE_BOUND + UPDATE_BOUND) / 2), ("skip", 3.25)):
                ax.text(
                    x,
                    0.98,
                    kind,
                    transform=ax.get_xaxis_transform(),
                    ha="center",
                    va="top",
                    color=COLOURS[kind],
                    fontsize=8,
                )
            ax.margins(y=0.15)
    for ax in axes[len(found) :]:
        ax.set_axis_off()
    return figure


def updates_figure(blocks: Table) -> Figure:
    """Kinds of update, a bar a block."""
    computed = [row for row in range(len(blocks)) if blocks.value(row, "computed")]
    figure = new_figure(0.34 * len(computed) + 1.3)
    ax = figure.subplots()
    names = [str(blocks.value(row, "block")) for row in computed]
    left = np.zeros(len(computed))
    total = _numbers(blocks, computed, "computed")
    for kind, colour in [*((kind, COLOURS[kind]) for kind in KINDS), ("undefined", "#bbbbbb")]:
        counts = _numbers(blocks, computed, kind)
        ax.barh(names, counts / total, left=left, color=colour, label=kind, edgecolor="white", lw=0.5)
        left += counts / total
    ax.invert_yaxis()
    ax.set_xlim(0, 1)
    ax.xaxis.set_major_formatter(PercentFormatter(1))
    ax.set_ylabel("block")
    ax.set_xlabel("share of the channels computed")
    figure.legend(loc="outside upper center", ncols=4)
    return figure


def shares_figure(shares: Table, nulls: Table) -> Figure:
    """Shares of scale-invariant channels with and without the mix criterion, by FZ, by MEI and by both, with nulls."""
    known = [row for row in range(len(shares)) if shares.value(row, "n")]
    names = list(dict.fromkeys(str(shares.value(row, "block")) for row in known))
    kinds = [by for by in BY_COLOURS if any(shares.value(row, "by") == by for row in known)]
    width = 0.27
    figure = new_figure(4.6)
    axes = figure.subplots(2, 1, sharex=True)
    for ax, mix in zip(axes, (True, False), strict=True):
        for place, by in enumerate(kinds):
            rows = [row for row in known if shares.value(row, "by") == by and shares.value(row, "mix") is mix]
            x = _places(shares, rows, names) + (place - (len(kinds) - 1) / 2) * width
            share, low, high = (_numbers(shares, rows, column) for column in ("share", "low", "high"))
            ax.bar(x, share, width=width * 0.92, color=BY_COLOURS[by], label=f"by {by}")
            ax.errorbar(x, share, yerr=np.abs([share - low, high - share]), fmt="none", ecolor="#333333", lw=0.8)
        criterion = "scale_invariant" if mix else "meets_both"
        rows = [row for row in range(len(nulls)) if nulls.value(row, "criterion") == criterion]
        x = _places(nulls, rows, names) - (len(kinds) - 1) / 2 * width
        ax.scatter(x, _numbers(nulls, rows, "null_share"), marker="_", s=160, color="black", label="nulls", zorder=3)
        ax.set_title("all criteria" if mix else "without the mix criterion", loc="left")
        ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        ax.set_xlim(-0.6, len(names) - 0.4)
        ax.set_ylim(bottom=0)
        ax.set_ylabel("scale invariant")
    axes[1].set_xticks(range(len(names)), names)
    axes[1].set_xlabel("block")
    handles, labels = axes[1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4)
    return figure


def _places(table: Table, rows: Sequence[int], blocks: Sequence[str]) -> np.ndarray:
    return np.array([blocks.index(str(table.value(row, "block"))) for row in rows], dtype=float)


def _numbers(table: Table, rows: Sequence[int], name: str) -> np.ndarray:
    """One column of some rows; NaN where empty."""
    return np.array([table.value(row, name) for row in rows], dtype=float)


def skip_weights_figure(block: str, rows: Frame, table: Table) -> Figure:
    """Each skip weight of a block against M."""
    figure = new_figure(2.2)
    axes = figure.subplots(1, len(WEIGHTS), sharey=True)
    labels = {
        "bn_weight": "|γ| of the last BN",
        "conv_weight": "mean |w| of its conv",
        "effective_gain": "effective gain",
    }
    for ax, weight in zip(axes, WEIGHTS, strict=True):
        _scatter(ax, rows[weight], rows["mix_ratio"], rows)
        row = table.find(block=block, weight=weight)
        ax.set_title(_rho(table, row), fontsize=8)
        ax.set_xlabel(labels[weight])
        ax.locator_params(axis="x", nbins=4)
    axes[0].set_ylabel("mix ratio M")
    figure.suptitle(f"Skip weights of {block}", fontsize=10, x=0.01, ha="left")
    return figure


def inhibition_figure(block: str, rows: Frame, table: Table) -> Figure:
    """B(FZ(I)) and, where images were scanned, rho against M, with the means of both groups."""
    quantities = [q for q in QUANTITIES if table.find(block=block, quantity=q) is not None]
    figure = new_figure(2.5)
    axes = figure.subplots(1, len(quantities), squeeze=False)[0]
    labels = {"block_on_in": "B(FZ(I))", "rho": "rho of B against I"}
    for ax, quantity in zip(axes, quantities, strict=True):
        row = table.find(block=block, quantity=quantity)
        assert row is not None
        ax.axhline(0, color="#999999", lw=0.8)
        ax.axvline(1, color="#999999", lw=0.8, ls=":")
        _scatter(ax, rows["mix_ratio"], rows[quantity], rows)
        for name, ends in (("mean_below", (0, 1)), ("mean_above", (1, MIX_MAX))):
            mean = table.value(row, name)
            if mean is not None:
                ax.hlines(float(mean), *ends, color="black", lw=1.6)
        f, p = table.cell(row, "F").text, table.cell(row, "p").text
        ax.set_title(f"F = {f}, p = {p}\n{_rho(table, row, 'rho_p')}", fontsize=8)
        ax.set_xlabel("mix ratio M")
        ax.set_ylabel(labels[quantity])
        ax.set_xlim(-0.1, MIX_MAX + 0.1)
    figure.suptitle(f"Overwrite inhibition in {block}", fontsize=10, x=0.01, ha="left")
    return figure


def tuning_figure(block: str, rows: Frame, table: Table) -> Figure:
    """Mean over channels of the rectified curves, each over its maximum, of scale-invariant channels and of others."""
    scales = [name for name in table.columns if name[0] == "x" and name[1].isdigit()]
    octaves = np.log2([float(name[1:]) for name in scales])
    first = table.columns.index(scales[0])
    invariant = dict(zip(rows["channel"].tolist(), rows["scale_invariant"].tolist(), strict=True))
    sources = list(dict.fromkeys(str(table.value(row, "source")) for row in range(len(table))))
    figure = new_figure(2.2 * len(sources) + 0.5)
    axes = figure.subplots(len(sources), 2, sharex=True, sharey=True, squeeze=False)
    for row, source in enumerate(sources):
        for ax, on in zip(axes[row], ("in", "block"), strict=True):
            for read, colour in (("in", "skip"), ("block", "overwrite"), ("out", "invariant")):
                for holds, style in ((1, "-"), (0, ":")):
                    curves = [
                        values[first:]
                        for values in table.rows
                        if values[1:4] == (source, on, read) and invariant.get(values[0]) == holds
                    ]
                    curve = _mean_curve(np.array(curves, dtype=float).reshape(-1, len(scales)))
                    label = f"{read}, {'scale invariant' if holds else 'others'}"
                    ax.plot(octaves, curve, style, color=COLOURS[colour], lw=1.4, label=label)
            letter = {"in": "I", "block": "B"}[on]
            ax.set_title(f"{block} on FZ({letter})" if source == "FZ" else f"{block} on MEIs of {letter}", loc="left")
            ax.set_ylim(bottom=0)
    for ax in axes[-1]:
        ax.set_xticks([-1, -0.5, 0, 0.5, 1], ["0.5", "0.71", "1", "1.41", "2"])
        ax.set_xlabel("scale")
    for ax in axes[:, 0]:
        ax.set_ylabel("share of maximum")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, fontsize=7)
    return figure


def _mean_curve(curves: np.ndarray) -> np.ndarray:
    """Of rectified curves (n, K), each over its maximum; those that are nowhere positive are left out."""
    rectified = np.maximum(curves, 0)
    highest = rectified.max(axis=1, initial=0)
    if not (highest > 0).any():
        return np.full(curves.shape[1], np.nan)
    mean: np.ndarray = np.mean(rectified[highest > 0] / highest[highest > 0, None], axis=0)
    return mean


def ablation_figure(ablation: Ablation) -> Figure:
    """Accuracy over zooms: intact, and with the chosen channels, each matched control set or random ones ablated."""
    figure = new_figure(3.2)
    ax = figure.subplots()
    zooms = [z.true_zoom for z in ablation.zooms]
    for number in range(len(ablation.zooms[0].controls)):
        shares = [z.controls[number].share for z in ablation.zooms]
        ax.plot(zooms, shares, color="#aaaaaa", lw=0.8, label="" if number else "each matched control set")
    ax.plot(zooms, [z.controls_mean for z in ablation.zooms], color="#555555", lw=1.6, label="matched controls, mean")
    if ablation.random is not None:
        random = np.array([[found.share for found in z.random] for z in ablation.zooms])
        ax.plot(zooms, random.mean(axis=1), color="#555555", lw=1.2, ls=":", label="random sets, mean and range")
        ax.plot(zooms, random.min(axis=1), color="#aaaaaa", lw=0.8, ls=":")
        ax.plot(zooms, random.max(axis=1), color="#aaaaaa", lw=0.8, ls=":")
    for name, colour in (("intact", COLOURS["skip"]), ("chosen", COLOURS["overwrite"])):
        found = [getattr(z, name) for z in ablation.zooms]
        share = np.array([f.share for f in found])
        errors = np.abs([share - [f.low for f in found], np.array([f.high for f in found]) - share])
        label = "intact" if name == "intact" else f"{len(ablation.channels)} chosen channels ablated"
        ax.errorbar(zooms, share, yerr=errors, color=colour, marker="o", ms=4, lw=1.6, capsize=2, label=label)
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    ax.set_xlabel("zoom (side over the side shown)")
    ax.set_ylabel("accuracy")
    ax.set_title(f"Ablation in {ablation.block}, {ablation.images:,} images", loc="left")
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def has_panels(pair: Pair) -> bool:
    """Whether any block has M in both sets of a pair."""
    return next(_panels(pair), None) is not None


def comparison_figure(pair: Pair) -> Figure:
    """M of one set against M of the other, a panel a block that both have; there must be one."""
    panels = list(_panels(pair))
    columns = min(2, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = new_figure(2.4 * rows + 0.5)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax, (block, x, y) in zip(axes, panels, strict=False):
        ax.plot([0, MIX_MAX], [0, MIX_MAX], color="#bbbbbb", lw=0.8)
        for bound in (1 / UPDATE_BOUND, UPDATE_BOUND):
            ax.axhline(bound, color="#dddddd", lw=0.6)
            ax.axvline(bound, color="#dddddd", lw=0.6)
        ax.scatter(x, y, s=7, color=COLOURS["skip"], alpha=0.6, lw=0)
        ax.set_title(block, loc="left")
        ax.set_xlim(-0.1, MIX_MAX + 0.1)
        ax.set_ylim(-0.1, MIX_MAX + 0.1)
        ax.set_aspect("equal")
        ax.set_xlabel(f"M, {pair.sets.differ} {pair.own}")
        ax.set_ylabel(f"M, {pair.sets.differ} {pair.other}")
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    return figure


def _panels(pair: Pair) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """M of the channels of each block that are defined in both; frames of the same blocks have the same rows."""
    a, b = pair.first["mix_ratio"], pair.second["mix_ratio"]
    for block in dict.fromkeys(pair.first["block"].tolist()):
        known = (pair.first["block"] == block) & ~np.isnan(a) & ~np.isnan(b)
        if known.any():
            yield block, a[known], b[known]


def _update_bands(ax: Axes) -> None:
    edges = {
        "overwrite": (0, 1 / UPDATE_BOUND),
        "mix": (1 / UPDATE_BOUND, UPDATE_BOUND),
        "skip": (UPDATE_BOUND, MIX_MAX),
    }
    for kind, (low, high) in edges.items():
        ax.axvspan(low, high, color=COLOURS[kind], alpha=0.16, lw=0)


def _scatter(ax: Axes, x: np.ndarray, y: np.ndarray, rows: Frame) -> None:
    for kind in KINDS:
        of_kind = rows["update"] == kind
        ax.scatter(x[of_kind], y[of_kind], s=8, color=COLOURS[kind], alpha=0.75, lw=0, label=kind)


def _rho(table: Table, row: int | None, p: str = "p") -> str:
    if row is None or table.value(row, "rho") is None:
        return "rho undefined"
    return f"rho = {table.cell(row, 'rho').text}, p = {table.cell(row, p).text}"
