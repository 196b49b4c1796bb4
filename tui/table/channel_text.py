"""The figures of one channel as text: activations under their FZs, mix ratio, gains, criteria, judgement."""

from __future__ import annotations

from collections.abc import Mapping

from rich.style import Style
from rich.text import Text

from streamscope.core.table.columns import Value
from streamscope.core.text import short_name, visible_lines
from streamscope.tui.table.headings import (
    DIM,
    FAILED,
    MARK_GLYPHS,
    MARK_STYLES,
    PASSED,
    PLAIN,
    UPDATE_STYLES,
    figure,
    number,
)

ChannelValues = Mapping[str, Value]
"""Every column of one channel, by its name."""

_ACTIVATIONS = (
    ("I", ("in_on_in", "in_on_block", "in_on_out")),
    ("B", ("block_on_in", "block_on_block", "block_on_out")),
    ("O", ("out_on_in", "out_on_block", "out_on_out")),
)
NAME = 28
"""Cells of a block's name at most, so that verdicts stand in one line with it."""
SHORT = 40
"""Cells below which a verdict is said as in the table's heading, so that it stands in one line with the mark."""
NAMED = 70
"""Cells from which the criteria are called by what they are about, not by their numbers only."""
_TENSOR_NAMES = {"I": "in", "B": "block", "O": "out"}


def describe(row: ChannelValues, width: int) -> Text:
    """Lines of at most `width` cells; from 56 cells on, the activations stand under three pictures of a third each."""
    lines = [_title(row, short=width < SHORT), *(_matrix(row, width)), *_criteria(row, width), *_rest(row, width)]
    return Text("\n").join(lines)


def one_line(row: ChannelValues) -> Text:
    """Name, update, verdict, mark, M and scale metric of a channel."""
    return _title(row).append(f"   M {_figure(row, 'mix_ratio')}  SM {_figure(row, 'scale_metric')}")


def _figure(row: ChannelValues, name: str, places: int = 2) -> str:
    value = row.get(name)
    return figure(name, float(value) if isinstance(value, (int, float)) else None, places)


def _title(row: ChannelValues, short: bool = False) -> Text:
    text = Text(f"{short_name(str(row['block']), NAME)} · {row['channel']}", style=Style(bold=True), no_wrap=True)
    update = row.get("update")
    if isinstance(update, str):
        text.append("  ").append(update, UPDATE_STYLES[update])
    if row.get("scale_invariant"):
        text.append("  ").append("SI" if short else "scale invariant", PASSED)
    mark = row.get("marked")
    if isinstance(mark, str):
        text.append("  ").append(f"{MARK_GLYPHS.get(mark, '')} {mark}", MARK_STYLES.get(mark, PLAIN))
    return text


def _matrix(row: ChannelValues, width: int) -> list[Text]:
    wide = width >= 56
    lines = []
    if not wide:
        head = "".join(f"{f'FZ({letter})':>8}" for letter in "IBO")
        lines.append(Text(f"  {head}", style=DIM))
    for letter, names in _ACTIVATIONS:
        label = f"{letter} {_TENSOR_NAMES[letter]}" if wide else letter
        line = Text(no_wrap=True)
        for place, name in enumerate(names):
            figure = _figure(row, name)
            if wide:
                third = width // 3
                lead = label if place == 0 else ""
                line.append(lead, DIM).append(figure.center(third)[len(lead) :].ljust(third - len(lead)))
            else:
                line.append(f"{label} " if place == 0 else "", DIM).append(f"{figure:>8}")
        lines.append(line)
    return lines


def _tick(row: ChannelValues, name: str) -> tuple[str, Style]:
    value = row.get(name)
    if value is None:
        return "·", DIM
    return ("✓", PASSED) if value else ("✗", FAILED)


def _criteria(row: ChannelValues, width: int) -> list[Text]:
    if width < 56:
        ratio = Text.assemble("M ", (_figure(row, "mix_ratio"), Style(bold=True)), " ", _tick(row, "meets_mix"))
        ratio.append(f"  SM {_figure(row, 'scale_metric')}")
        gains = Text.assemble(
            f"gain B {_figure(row, 'block_gain')} ",
            _tick(row, "meets_block"),
            f"  I {_figure(row, 'input_gain')} ",
            _tick(row, "meets_input"),
        )
        return [ratio, gains]
    mix, block, scaled = ("(2) mix   ", "(3) block ", "(4) input ") if width >= NAMED else ("(2) ", "(3) ", "(4) ")
    return [
        Text.assemble("M ", (_figure(row, "mix_ratio"), Style(bold=True)), f"   SM {_figure(row, 'scale_metric')}"),
        Text.assemble(_tick(row, "meets_mix"), (f" {mix}1/1.5 < M < 1.5", DIM)),
        Text.assemble(
            _tick(row, "meets_block"),
            (f" {block}B(S(FZ(I))) > relu(B(FZ(I)))  ", DIM),
            f"{_figure(row, 'block_on_in_up')} > {_relu(row, 'block_on_in')}",
            ("  gain ", DIM),
            _figure(row, "block_gain"),
        ),
        Text.assemble(
            _tick(row, "meets_input"),
            (f" {scaled}I(S⁻(FZ(B))) > relu(I(FZ(B)))  ", DIM),
            f"{_figure(row, 'in_on_block_down')} > {_relu(row, 'in_on_block')}",
            ("  gain ", DIM),
            _figure(row, "input_gain"),
        ),
    ]


def _relu(row: ChannelValues, name: str) -> str:
    value = row.get(name)
    return number(max(0.0, float(value)) if isinstance(value, (int, float)) else None)


def _said(status: str) -> str:
    """`missing in,block` in the words of this pane."""
    kind, _, tensors = status.partition(" ")
    if kind != "missing":
        return status
    letters = {name: letter for letter, name in _TENSOR_NAMES.items()}
    return "not computed: " + ", ".join(f"FZ({letters.get(tensor, tensor)})" for tensor in tensors.split(","))


def _rest(row: ChannelValues, width: int) -> list[Text]:
    lines = []
    for name, label in (("tags", "tags"), ("note", "note"), ("flags", "FZs")):
        if row.get(name):
            lines.append(Text.assemble((f"{label} ", DIM), visible_lines(str(row[name]))))
    if row.get("not_applicable"):
        lines.append(Text(str(row["not_applicable"]), style=Style(color="yellow")))
    status = row.get("status")
    if status and status != "ok" and not (row.get("not_applicable") and str(status).startswith("not applicable")):
        lines.append(Text(visible_lines(_said(str(status))), style=Style(color="yellow")))
    if row.get("fz_seed") is not None and row.get("fz_seed") != row.get("seed"):
        lines.append(Text(f"optimised again with seed {row['fz_seed']}", style=DIM))
    weights = Text(f"|γ| {_figure(row, 'bn_weight', 3)}  |w| {_figure(row, 'conv_weight', 4)}", style=DIM)
    if row.get("late_rise") is not None:
        weights.append("\n" if width < 56 else "  ").append(f"late rise {_figure(row, 'late_rise')}")
    lines.append(weights)
    return lines
