"""What is stored of one channel beside its table row: tuning curves and how its FZs' activations grew. Read in a thread
of its own; imports no Textual."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from rich.style import Style
from rich.text import Text

from streamscope.core.errors import StoreError
from streamscope.core.measures.tuning import half_width_octaves, invariance
from streamscope.core.model.arrays import Float32Array
from streamscope.core.model.blocks import TENSORS, ModelInfo
from streamscope.core.model.recipe import SetKey
from streamscope.core.store import Store
from streamscope.core.store.sets.curves import Curves, curves_of
from streamscope.core.table.retries import shown_fz
from streamscope.tui.command_lines import HERE, CommandLine
from streamscope.tui.table.arrangement import Key
from streamscope.tui.table.headings import DIM, number
from streamscope.tui.table.plot import Line, margin_of, plot, sparkline, x_axis

CURVE_STYLES = {"in": Style(color="cyan"), "block": Style(color="orange1"), "out": Style(color="green")}
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
            return Facts(
                key,
                _own(curves_of(fzset, block), channel),
                _own(curves_of(scan, block, protocol=self._key.protocol), channel) if scan is not None else None,
                traces,
            )


def _own(curves: Curves | None, channel: int) -> OwnCurves | None:
    values = curves.of(channel) if curves is not None else None
    return OwnCurves(curves.scales, values, curves.images) if curves is not None and values is not None else None


def traces_text(facts: Facts, width: int) -> list[Text]:
    """How each FZ's activation grew over the optimisation, a line each."""
    lines = [Text("activation while optimised, before rounding to 8 bits", style=DIM)] if facts.traces else []
    for tensor, trace in facts.traces.items():
        head = f"FZ({LETTERS[tensor]}) "
        text = Text.assemble((head, DIM), (sparkline(trace, max(8, width - len(head) - 8)), CURVE_STYLES[tensor]))
        lines.append(text.append(f" {number(float(trace[-1]))}"))
    return lines


def curves_text(facts: Facts, width: int, height: int, commands: CommandLine = HERE) -> list[Text]:
    """Tuning curves on the FZs and on the MEIs as plots, with each curve's invariance and half-width in octaves."""
    lines: list[Text] = []
    for name, curves in (("FZ", facts.by_fz), ("MEI", facts.by_mei)):
        if curves is None:
            continue
        for on in ("in", "block"):
            if (on, on) in curves.values:
                lines += _one_plot(name, on, curves, width, height)
    return lines or [Text(f"no tuning curves yet: run '{commands.on_set('curves')}'", style=DIM)]


def _one_plot(name: str, on: str, curves: OwnCurves, width: int, height: int) -> list[Text]:
    octaves = np.log2(curves.scales)
    title = Text.assemble((f"{name}({LETTERS[on]})", Style(bold=True)), (" over scale", DIM))
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
