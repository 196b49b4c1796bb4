"""The nulls of a block: how often the scale criteria hold where they should mean nothing. Read in a thread of its own;
imports no Textual."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from rich.style import Style
from rich.text import Text

from streamscope.core.model.blocks import ModelInfo
from streamscope.core.model.recipe import SetKey
from streamscope.core.store import Store
from streamscope.core.table.columns import number_text
from streamscope.tui.data.hints import KeyOf
from streamscope.tui.table.headings import DIM, PLAIN

if TYPE_CHECKING:
    from streamscope.core.analysis.nulls import Lacking, Nulls, SeedAgreement
    from streamscope.core.measures.statistics import Proportion

BOLD = Style(bold=True)
LABEL = 11
"""Cells of a row's name."""
CELL = 18
"""Of a share with its count and interval."""
LEGEND = "shuffled: of two channels; last: p of the excess in (3)(4), Holm's over the nulls"
SHORT_NAMES = {"shuffled pairs": "shuffled", "sham: quarter turn": "sham turn"}
NAMES: dict[Lacking, str] = {
    "pairs": "pairs",
    "sham": "shams",
    "untrained": "an untrained copy",
    "seeds": "other seeds",
    "images": "nulls by images",
}
ALL, BOTH = "scale_invariant", "meets_both"
"""The criteria shown: all three, and (3) with (4) alone."""


class NullsReader:
    """Reads them; has a store of its own, and lets one thread in at a time."""

    def __init__(self, root: Path, info: ModelInfo, key: SetKey) -> None:
        self._store = Store(root)
        self._info = info
        self._key = key
        self._lock = Lock()

    def read(self, block: str) -> Nulls | None:
        """Every null of a block that is stored, or follows from what is; None where it has no verdict.

        Raises StoreError.
        """
        # Together with what it imports 10 ms, which the app's start need not pay.
        from streamscope.core.analysis.nulls import read_nulls

        with self._lock:
            return read_nulls(self._store, self._info, self._key, block)


def null_lines(nulls: Nulls) -> list[Text]:
    """A line of at most 56 cells for each null, its shares of all criteria and of (3) and (4) in columns `LABEL` and
    twice `CELL` wide, and for the agreement of seeds. What is not computed has a line that says so."""
    kinds = {null.kind for null in nulls.nulls}
    lines = [_said("shuffled", "needs two channels")] if "shuffled" not in kinds else []
    for (name, shares, kind), null in zip(_named(nulls), nulls.nulls, strict=True):
        of_all, of_both = shares.get(ALL), shares[BOTH]
        line = Text(f"{name:<{LABEL}}", no_wrap=True)
        cell = share_text(of_all)
        line.append_text(cell).append(" " * max(1, CELL - len(cell)))
        if kind == "shuffled":
            # Of thousands of pairs: their number has no room, and the interval says more.
            line.append(percent_text(of_both), BOLD)
            line.append(_interval_text(of_both), DIM)
            cell = line[LABEL + CELL :]
        else:
            cell = share_text(of_both)
            line.append_text(cell)
        if (p := nulls.holm.get((null.null, BOTH))) is not None:
            line.append(" " * max(1, CELL - len(cell))).append(_p_text(p), DIM)
        lines.append(line)
        if kind == "shuffled" and "sham" not in kinds and "sham" in nulls.lacking:
            lines.append(_said("shams", "not computed"))
    if "untrained" not in kinds and "untrained" in nulls.lacking:
        lines.append(_said("untrained", "not computed"))
    return [*lines, *(_seed_lines(nulls.seeds) if nulls.seeds else [_said("seeds", "no other seed is computed")])]


def against_nulls(nulls: Nulls, width: int, keys: KeyOf = str) -> list[Text]:
    """A block's shares in few lines: the real ones, and what they are under each null; abreast where `width` allows, or
    below each other in 30 cells."""
    columns = [("real", nulls.real.get(ALL), nulls.real.get(BOTH))]
    columns += [(name, shares.get(ALL), shares.get(BOTH)) for name, shares, _ in _named(nulls)]
    lines = _abreast(columns, nulls.block)
    if lines[0].cell_len > width:
        lines = [Text.assemble((f"{f'all of {nulls.block}':<{LABEL}}", BOLD), (f"{'SI':>5}{'(3)(4)':>8}", DIM))]
        for name, of_all, of_both in columns:
            style = BOLD if name == "real" else PLAIN
            lines.append(Text(f"{name:<{LABEL}}").append(f"{percent_text(of_all):>5}{percent_text(of_both):>8}", style))
    if (p := _p(nulls)) is not None:
        lines.append(Text(f"p {p} against shuffled pairs", style=DIM))
    lacking = [null for null in nulls.lacking if null != "seeds"]
    return [*lines, *([Text(lacking_text(lacking, keys), style=DIM)] if lacking else [])]


def lacking_text(lacking: Sequence[Lacking], keys: KeyOf = str) -> str:
    """What is lacking of a block, and the key that computes it."""
    return f"not computed: {', '.join(NAMES[null] for null in lacking)}; {keys('nulls')} computes nulls"


def share_text(share: Proportion | None) -> Text:
    """`26/128 20% 14–28`: k of n, the share and its interval; `–` where nothing is known."""
    if share is None or not share.n:
        return Text("–", style=DIM)
    return Text(f"{share.k}/{share.n} ").append(percent_text(share), BOLD).append(_interval_text(share), DIM)


def percent_text(share: Proportion | None) -> str:
    """`20%`; `–` where nothing is known."""
    return f"{100 * share.share:.0f}%" if share is not None and share.n else "–"


def _interval_text(share: Proportion) -> str:
    return f" {100 * share.low:.0f}–{100 * share.high:.0f}" if share.n else ""


def _abreast(columns: Sequence[tuple[str, Proportion | None, Proportion | None]], block: str) -> list[Text]:
    labels = f"all of {block}", "scale invariant", "(3) block, (4) input"
    head, *rows = (Text(f"{label:<{max(map(len, labels))}}") for label in labels)
    head.stylize(BOLD)
    for name, *shares in columns:
        heading = f"  {name.removeprefix('sham ')}"
        head.append(heading, DIM)
        for row, share in zip(rows, shares, strict=True):
            row.append(f"{percent_text(share):>{len(heading)}}", BOLD if name == "real" else PLAIN)
    return [head, *rows]


def _named(nulls: Nulls) -> list[tuple[str, Mapping[str, Proportion], str]]:
    """Each null: a name of at most ten cells, its shares by criterion, and its kind."""
    several = sum(null.kind == "untrained" for null in nulls.nulls) > 1
    found: list[tuple[str, Mapping[str, Proportion], str]] = []
    for null in nulls.nulls:
        name = SHORT_NAMES.get(null.null, null.null.replace(":", ""))
        if null.kind == "untrained":
            name = f"untr. {null.null.split()[-1]}" if several else "untrained"
        found.append((name, null.shares, null.kind))
    return found


def _p(nulls: Nulls) -> str | None:
    """How often a pairing does as well as the real one; None where there are no pairs."""
    return next((number_text(null.p[BOTH]) for null in nulls.nulls if null.kind == "shuffled"), None)


def _p_text(p: float) -> str:
    """Of at most five cells."""
    return "" if math.isnan(p) else "<.001" if p < 0.0005 else f"{p:.3f}"


def _said(name: str, what: str) -> Text:
    return Text(f"{name:<{LABEL}}", no_wrap=True).append(what, DIM)


def _seed_lines(seeds: SeedAgreement) -> list[Text]:
    same = Text(f"{f'{seeds.seeds} seeds':<{LABEL}}same update ", no_wrap=True).append_text(
        share_text(seeds.same_update)
    )
    again = Text(f"{'  SI':<{LABEL}}again ", no_wrap=True).append_text(share_text(seeds.holds_again))
    # Of thousands of channels and seeds: as with pairs, their number has no room.
    again.append("  new ").append(percent_text(seeds.appears), BOLD).append(_interval_text(seeds.appears), DIM)
    return [same, again]
