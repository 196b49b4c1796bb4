"""What is stored of one channel beside its table row: tuning curves on FZs, MEIs and patches of photographs, and how
its FZs' activations grew. Read in a thread of its own; imports no Textual."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from rich.style import Style
from rich.text import Text

from streamscope.core.errors import StoreError
from streamscope.core.measures.photographs import SCALES, mean_curves
from streamscope.core.measures.tuning import half_width_octaves, invariance
from streamscope.core.model.arrays import Float32Array
from streamscope.core.model.blocks import TENSORS, ModelInfo, Target
from streamscope.core.model.recipe import SetKey
from streamscope.core.store import Scan, Store
from streamscope.core.store.scans.photographs import Photographs, stored_photographs
from streamscope.core.store.sets.curves import Curves, curves_of
from streamscope.core.table.retries import shown_fz
from streamscope.core.text import short_name
from streamscope.tui.data.hints import KeyOf
from streamscope.tui.table.arrangement import Key
from streamscope.tui.table.channel_text import ChannelValues
from streamscope.tui.table.headings import DIM, UPDATE_STYLES, figure, number
from streamscope.tui.table.plot import Line, margin_of, plot, sparkline, x_axis

CURVE_STYLES = {"in": Style(color="cyan"), "block": Style(color="orange1"), "out": Style(color="green")}
STEP_FIGURES = 34
"""Cells of a step's figures beside its name."""
LETTERS = {"in": "I", "block": "B", "out": "O"}
SCALE_LABELS = ((-1.0, "½"), (0.0, "1"), (1.0, "2"))
"""log2 of the scale, and what stands there."""


@dataclass(frozen=True)
class OwnCurves:
    """One channel's tuning curves, on its FZs or its MEIs: (K,) scales, and by (read, on) the (K,) activations."""

    scales: NDArray[np.float64]
    values: Mapping[tuple[str, str], NDArray[np.float32]]
    images: int


@dataclass(frozen=True)
class Facts:
    key: Key
    by_fz: OwnCurves | None = None
    by_mei: OwnCurves | None = None
    by_patch: Mapping[str, OwnCurves] = field(default_factory=dict)
    """On the best patches of photographs of each tensor."""
    unread_scan: Path | None = None
    """Images that were scanned, and whose best patches of this block were not read yet."""
    without_patches: bool = False
    """That scan is of an earlier release, and kept none."""
    traces: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """By tensor, (32,): the activation of its FZ over the optimisation."""


class FactsReader:
    """Reads them; has a store of its own, and lets one thread in at a time."""

    def __init__(self, root: Path, info: ModelInfo, key: SetKey, images: Path | None) -> None:
        self._store = Store(root)
        self._info = info
        self._key = key
        self._images = images
        self._lock = Lock()
        self._photographs: tuple[Hashable, Photographs | None] = None, None
        """Of the block that was read last: a wide one's take 81 MB."""

    def read(self, key: Key, retry: int) -> Facts:
        """Those of a channel whose row is read from FZs of `retry`. What is damaged is left out."""
        block, channel = key
        with self._lock:
            fzset = self._store.set(self._info, self._key)
            scan = self._store.choose_scan(self._info, self._images)
            traces: dict[str, Float32Array] = {}
            for tensor in TENSORS:
                shown = shown_fz(fzset, block, tensor, channel, retry)
                if shown is not None:
                    try:
                        traces[tensor] = fzset.trace(fzset.target(block, tensor), channel, shown[0])
                    except StoreError:
                        continue
            by_fz = _own(curves_of(fzset, block), channel)
            if scan is None:
                return Facts(key, by_fz, traces=traces)
            by_patch = _on_patches(self._stored_photographs(scan, block), channel)
            return Facts(
                key,
                by_fz,
                _own(curves_of(scan, block, protocol=self._key.protocol), channel),
                by_patch or {},
                scan.source if by_patch is None else None,
                not scan.has_patches,
                traces,
            )

    def _stored_photographs(self, scan: Scan, block: str) -> Photographs | None:
        state = scan.path, block, self._store.signature(self._info)
        if self._photographs[0] != state:
            self._photographs = state, stored_photographs(scan, block)
        return self._photographs[1]


def _on_patches(stored: Photographs | None, channel: int) -> Mapping[str, OwnCurves] | None:
    """None where nothing is stored of a channel; without those that too few images excite."""
    row = stored.row_of(channel) if stored is not None else None
    if stored is None or row is None:
        return None
    own = stored.readings.of(row)
    curves, images = mean_curves(own)[0].astype(np.float32), own.images[0].tolist()
    found = {}
    for place, on in enumerate(TENSORS):
        if not np.isnan(curves[place]).all():
            values: dict[tuple[str, str], Float32Array] = {(r, on): curves[place, n] for n, r in enumerate(TENSORS)}
            found[str(on)] = OwnCurves(np.array(SCALES), values, images[place])
    return found


def _own(curves: Curves | None, channel: int) -> OwnCurves | None:
    values = curves.of(channel) if curves is not None else None
    return OwnCurves(curves.scales, values, curves.images) if curves is not None and values is not None else None


def steps_text(info: ModelInfo, rows: Sequence[ChannelValues], block: str, width: int) -> list[Text]:
    """Of each step of a channel: M and update, scale metric, receptive field of `block`; the step shown is marked.

    A line a step, or two where they would not fit.
    """
    cells = max(len(str(row["block"])) for row in rows)
    wide = cells + STEP_FIGURES <= width
    names = {str(row["block"]): short_name(str(row["block"]), cells if wide else width - 12) for row in rows}
    lines = [Text("steps of this channel", style=Style(bold=True))]
    if wide:
        lines.append(Text(f"  {'':<{cells}}{'M':>6} {'update':<10}{'SM':>6}{'field':>9}", style=DIM))
    for row in rows:
        name, update = str(row["block"]), str(row.get("update") or "·")
        area = info.area(Target(name, "block"))
        size = f"{area.size} px" if area is not None else "·"
        m, scale = (_own_figure(row, column) for column in ("mix_ratio", "scale_metric"))
        lead, style = "▸" if name == block else " ", UPDATE_STYLES.get(update, DIM)
        if wide:
            figures = f"{scale:>6}{size:>9}"
            lines.append(Text.assemble(f"{lead} {name:<{cells}}{m:>6} ", (f"{update:<10}", style), figures))
        else:
            lines.append(Text.assemble(f"{lead} {names[name]}  ", (update, style)))
            lines.append(Text.assemble(("    M ", DIM), m, ("  SM ", DIM), scale, f"  {size}"))
    return lines


def _own_figure(row: ChannelValues, name: str) -> str:
    value = row.get(name)
    return figure(name, float(value) if isinstance(value, (int, float)) else None)


def traces_text(facts: Facts, width: int) -> list[Text]:
    """How each FZ's activation grew over the optimisation, a line each."""
    lines = [Text("activation while optimised, before rounding to 8 bits", style=DIM)] if facts.traces else []
    for tensor, trace in facts.traces.items():
        head = f"FZ({LETTERS[tensor]}) "
        text = Text.assemble((head, DIM), (sparkline(trace, max(8, width - len(head) - 8)), CURVE_STYLES[tensor]))
        lines.append(text.append(f" {number(float(trace[-1]))}"))
    return lines


def curves_text(facts: Facts, width: int, height: int, keys: KeyOf = str) -> list[Text]:
    """Tuning curves on the FZs and on the MEIs as plots, with each curve's invariance and half-width in octaves."""
    lines: list[Text] = []
    for name, curves in (("FZ", facts.by_fz), ("MEI", facts.by_mei)):
        if curves is None:
            continue
        for on in ("in", "block"):
            if (on, on) in curves.values:
                lines += _one_plot(name, on, curves, width, height)
    return lines or [Text(f"no tuning curves yet; {keys('curves')} computes them", style=DIM)]


def patches_text(facts: Facts, width: int, height: int, keys: KeyOf = str) -> list[Text]:
    """The same on the best patches of photographs."""
    if facts.unread_scan is not None:
        if facts.without_patches:
            old = f"the scan of {facts.unread_scan} is of an earlier release and has no patches"
            return [Text(f"{old}; {keys('scan')} scans it again", style=DIM)]
        return [Text(f"not measured in photographs yet; {keys('photographs')} measures them", style=DIM)]
    lines: list[Text] = []
    for on, curves in facts.by_patch.items():
        lines += _one_plot("patches", on, curves, width, height, f"of {curves.images} photographs, ")
    return lines


def _one_plot(name: str, on: str, curves: OwnCurves, width: int, height: int, of: str = "") -> list[Text]:
    octaves = np.log2(curves.scales)
    title = Text.assemble((f"{name}({LETTERS[on]})", Style(bold=True)), (f" {of}over scale", DIM))
    drawn, said = [], []
    for read in ("in", "block", "out"):
        values = curves.values.get((read, on))
        if values is None:
            continue
        y = np.asarray(values, dtype=np.float64)
        drawn.append(Line(octaves, y, CURVE_STYLES[read]))
        flat, wide = float(invariance(y)), float(half_width_octaves(curves.scales, y[None])[0])
        said.append(
            Text.assemble(
                (f"  {LETTERS[read]} ", CURVE_STYLES[read]), f"invariance {number(flat)}  half-width {number(wide)} oct"
            )
        )
    axis = x_axis(SCALE_LABELS, float(octaves[0]), float(octaves[-1]), width, margin_of(drawn))
    return [title, *plot(drawn, width, height, DIM), Text(axis, style=DIM), *said, Text()]
