"""Filters that need no writing: like the channel under the cursor, by its mark, by the criterion that it fails."""

from __future__ import annotations

import ast
import json

from streamscope.core.errors import FilterError
from streamscope.core.table.columns import COLUMNS, Column, Value
from streamscope.core.table.expression import Expression
from streamscope.tui.table.arrangement import Arrangement
from streamscope.tui.table.channel_text import ChannelValues

GENERAL = (
    ("not marked", "not judged yet"),
    ("marked", "judged"),
    ('marked == "keep"', "kept"),
    ('marked == "reject"', "rejected"),
    ('marked == "unsure"', "doubtful"),
    ('note != ""', "with a note"),
    ("scale_invariant", "scale invariant"),
    ("meets_mix == false", "failing criterion 2 (mix)"),
    ("meets_block == false", "failing criterion 3 (block)"),
    ("meets_input == false", "failing criterion 4 (input)"),
    ("late_rise > 0.15", "unconverged"),
    ('status != "ok"', "missing or undefined"),
)
LIKE = 0.1
"""A figure is like another within a tenth of it, or of 1 where it is small."""
_ALWAYS_ALIKE = frozenset({"model", "fingerprint"})


def quick_filters(row: ChannelValues, arrangement: Arrangement) -> list[tuple[str, str]]:
    """(expression, what it keeps): what is like `row` in the sorted column, in general, then in every other column."""
    alike = {c.name: like(c, row.get(c.name)) for c in COLUMNS if c.name not in _ALWAYS_ALIKE}
    tags = [(f"tagged({_quoted(tag)})", f"tagged {tag}") for tag in str(row["tags"] or "").split()]
    sorted_by = arrangement.column
    first = [(alike[sorted_by], f"{sorted_by} like this")] if sorted_by in alike else []
    shown = [name for name in ("block", *arrangement.shown) if name != sorted_by]
    others = [name for name in alike if name not in (sorted_by, *shown)]
    rest = [(alike[name], f"{name} like this") for name in (*shown, *others) if name in alike]
    once: dict[str, str] = {}
    for expression, label in (*first, *GENERAL, *tags, *rest):
        once.setdefault(expression, label)
    return list(once.items())


def like(column: Column, value: Value) -> str:
    """The condition that a channel's field is like `value`."""
    name = column.name
    if value is None:
        return f"missing({name})"
    if column.kind == "bool":
        return f"{name} == {'true' if value else 'false'}"
    if isinstance(value, str):
        return f"{name} == {_quoted(value)}"
    if column.whole:
        return f"{name} == {value}"
    margin = LIKE * max(abs(value), 1.0)
    return f"{value - margin:.3g} <= {name} <= {value + margin:.3g}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def join(expression: str, more: str) -> str:
    """What both conditions keep; one that is among them already is not said twice."""
    text = expression.strip()
    try:
        tree = Expression(text).parse() if text else None
    except FilterError:
        # What is being written is no condition yet.
        tree = None
    if tree is None:
        return more
    parts = tree.values if isinstance(tree, ast.BoolOp) and isinstance(tree.op, ast.And) else [tree]
    if any(ast.dump(part) == ast.dump(Expression(more).parse()) for part in parts):
        return text
    loose = isinstance(tree, ast.BoolOp) and isinstance(tree.op, ast.Or)
    return f"({text}) and {more}" if loose else f"{text} and {more}"


def invert(expression: str) -> str:
    """The condition that keeps what this one hides; twice gives the first one back."""
    source = Expression(expression)
    tree = source.parse()
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.Not):
        return source.text_of(tree.operand)
    single = isinstance(tree, ast.Name | ast.Call)
    return f"not {source.source}" if single else f"not ({source.source})"
